"""Tunesmith: hyperparameter search that feels like Ray Tune, weighs as little as Optuna, and survives any crash.

Everything public is here, and loaded when it is first used::

    import tunesmith as tune

    def train(config):
        for step in range(10):
            tune.report(loss=(config["lr"] - 0.1) ** 2 / (step + 1))

    analysis = tune.run(train, config={"lr": tune.loguniform(1e-4, 1)}, num_samples=20, metric="loss", mode="min")
    print(analysis.best_config)

Sub-modules (``tune.schedulers``, ``tune.search``, ``tune.stopper`` ...) need no import of their own.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself would be the heaviest import of all; type checkers know the name
if TYPE_CHECKING:
    # isort: off
    from tunesmith import (
        analysis as analysis, callback as callback, checkpoints as checkpoints, config as config, errors as errors,
        executors as executors, experiment as experiment, integration as integration, journal as journal, logger as logger,
        progress as progress, registry as registry, resources as resources, result as result, schedulers as schedulers,
        search as search, session as session, simulation as simulation, sklearn as sklearn, space as space, stopper as stopper,
        suggest as suggest, testing as testing, track as track, trainable as trainable, trial as trial,
    )
    # isort: on
    from tunesmith.analysis import Analysis, ExperimentAnalysis, IdenticalCurves, Result, ResultGrid, open_experiment
    from tunesmith.callback import Callback
    from tunesmith.checkpoints import Checkpoint
    from tunesmith.config import CheckpointConfig, FailureConfig, RunConfig, SyncConfig, TuneConfig
    from tunesmith.create import create_scheduler, create_searcher
    from tunesmith.defining import define_by_run
    from tunesmith.errors import (
        BugError,
        ExecutorError,
        Infeasible,
        JournalCorrupt,
        JournalError,
        JournalLocked,
        MetricError,
        RemoteStorageError,
        SerializationError,
        SpaceError,
        SpecError,
        StorageFull,
        TrialsFailed,
        TrialStopped,
        TuneError,
        UserCodeError,
    )
    from tunesmith.executors.ray_cluster import RayExecutor
    from tunesmith.experiment import Experiment
    from tunesmith.preflights import Preflight, preflight
    from tunesmith.progress.reporters import CLIReporter, JupyterNotebookReporter, ProgressReporter
    from tunesmith.registry import register_env, register_trainable
    from tunesmith.resources import PlacementGroupFactory
    from tunesmith.runner import run, run_experiments
    from tunesmith.schedulers import (
        PB2,
        ASHAScheduler,
        AsyncHyperBandScheduler,
        DistributeResources,
        DistributeResourcesToTopJob,
        FIFOScheduler,
        FixedCutScheduler,
        HyperBandForBOHB,
        HyperBandScheduler,
        MedianStoppingRule,
        PASHAScheduler,
        PatienceScheduler,
        PercentileStoppingRule,
        PopulationBasedTraining,
        PopulationBasedTrainingReplay,
        ResourceChangingScheduler,
        SuccessiveHalvingScheduler,
    )
    from tunesmith.session import (
        TuneContext,
        checkpoint_dir,
        get_checkpoint,
        get_context,
        get_trial_dir,
        get_trial_id,
        get_trial_name,
        get_trial_resources,
        is_session_enabled,
        report,
    )
    from tunesmith.simulation import CurveTable, Simulation, simulate
    from tunesmith.space import (
        choice,
        grid_search,
        lograndint,
        loguniform,
        qlograndint,
        qloguniform,
        qrandint,
        qrandn,
        quniform,
        randint,
        randn,
        require,
        sample_from,
        uniform,
    )
    from tunesmith.stopper import (
        CombinedStopper,
        EarlyStopping,
        ExperimentPlateauStopper,
        FunctionStopper,
        MaximumIterationStopper,
        NoopStopper,
        Stopper,
        TimeoutStopper,
        TrialPlateauStopper,
    )
    from tunesmith.study import NoSuggestion, Study
    from tunesmith.trainable import Trainable, with_parameters, with_resources
    from tunesmith.trainable.command import command
    from tunesmith.tuner import Tuner

__all__ = [
    "PB2",
    "ASHAScheduler",
    "Analysis",
    "AsyncHyperBandScheduler",
    "BugError",
    "CLIReporter",
    "Callback",
    "Checkpoint",
    "CheckpointConfig",
    "CombinedStopper",
    "CurveTable",
    "DistributeResources",
    "DistributeResourcesToTopJob",
    "EarlyStopping",
    "ExecutorError",
    "Experiment",
    "ExperimentAnalysis",
    "ExperimentPlateauStopper",
    "FIFOScheduler",
    "FailureConfig",
    "FixedCutScheduler",
    "FunctionStopper",
    "HyperBandForBOHB",
    "HyperBandScheduler",
    "IdenticalCurves",
    "Infeasible",
    "JournalCorrupt",
    "JournalError",
    "JournalLocked",
    "JupyterNotebookReporter",
    "MaximumIterationStopper",
    "MedianStoppingRule",
    "MetricError",
    "NoSuggestion",
    "NoopStopper",
    "PASHAScheduler",
    "PatienceScheduler",
    "PercentileStoppingRule",
    "PlacementGroupFactory",
    "PopulationBasedTraining",
    "PopulationBasedTrainingReplay",
    "Preflight",
    "ProgressReporter",
    "RayExecutor",
    "RemoteStorageError",
    "ResourceChangingScheduler",
    "Result",
    "ResultGrid",
    "RunConfig",
    "SerializationError",
    "Simulation",
    "SpaceError",
    "SpecError",
    "Stopper",
    "StorageFull",
    "Study",
    "SuccessiveHalvingScheduler",
    "SyncConfig",
    "TimeoutStopper",
    "Trainable",
    "TrialPlateauStopper",
    "TrialStopped",
    "TrialsFailed",
    "TuneConfig",
    "TuneContext",
    "TuneError",
    "Tuner",
    "UserCodeError",
    "__version__",
    "checkpoint_dir",
    "choice",
    "command",
    "create_scheduler",
    "create_searcher",
    "define_by_run",
    "get_checkpoint",
    "get_context",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "grid_search",
    "is_session_enabled",
    "lograndint",
    "loguniform",
    "open_experiment",
    "preflight",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "register_env",
    "register_trainable",
    "report",
    "require",
    "run",
    "run_experiments",
    "sample_from",
    "simulate",
    "uniform",
    "with_parameters",
    "with_resources",
]

__version__ = "0.1.0"

_EXPORTS = {
    "analysis": "Analysis ExperimentAnalysis IdenticalCurves Result ResultGrid open_experiment",
    "callback": "Callback",
    "checkpoints": "Checkpoint",
    "config": "CheckpointConfig FailureConfig RunConfig SyncConfig TuneConfig",
    "create": "create_scheduler create_searcher",
    "errors": "BugError ExecutorError Infeasible JournalCorrupt JournalError JournalLocked MetricError RemoteStorageError "
    "SerializationError SpaceError "
    "SpecError StorageFull TrialStopped TrialsFailed TuneError UserCodeError",
    "defining": "define_by_run",
    "executors.ray_cluster": "RayExecutor",
    "experiment": "Experiment",
    "preflights": "Preflight preflight",
    "progress.reporters": "CLIReporter JupyterNotebookReporter ProgressReporter",
    "registry": "register_env register_trainable",
    "resources": "PlacementGroupFactory",
    "runner": "run run_experiments",
    "schedulers": "ASHAScheduler AsyncHyperBandScheduler DistributeResources DistributeResourcesToTopJob FIFOScheduler FixedCutScheduler "
    "HyperBandForBOHB HyperBandScheduler MedianStoppingRule PASHAScheduler PB2 PatienceScheduler PercentileStoppingRule "
    "PopulationBasedTraining PopulationBasedTrainingReplay ResourceChangingScheduler SuccessiveHalvingScheduler",
    "session": "TuneContext checkpoint_dir get_checkpoint get_context get_trial_dir get_trial_id get_trial_name get_trial_resources "
    "is_session_enabled report",
    "simulation": "CurveTable Simulation simulate",
    "space": "choice grid_search lograndint loguniform qlograndint qloguniform qrandint qrandn quniform randint randn require "
    "sample_from uniform",
    "stopper": "CombinedStopper EarlyStopping ExperimentPlateauStopper FunctionStopper MaximumIterationStopper NoopStopper Stopper "
    "TimeoutStopper TrialPlateauStopper",
    "study": "NoSuggestion Study",
    "trainable": "Trainable with_parameters with_resources",
    "trainable.command": "command",
    "tuner": "Tuner",
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names.split()}
_SUBMODULES = {
    *("analysis", "callback", "checkpoints", "config", "errors", "executors", "experiment", "integration", "journal", "logger"),
    *("progress", "registry", "resources", "result", "schedulers", "search", "session", "simulation", "sklearn"),
    *("space", "stopper", "suggest"),
    *("testing", "track", "trainable", "trial"),
}


if not TYPE_CHECKING:  # or else no misspelling would ever be found

    def __getattr__(name: str) -> object:
        import importlib

        if name in _HOME:
            value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        elif name in _SUBMODULES:
            value = importlib.import_module(f"{__name__}.{name}")
        else:
            from tunesmith.hints import did_you_mean

            raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{did_you_mean(name, [*_HOME, *_SUBMODULES])}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_SUBMODULES})
