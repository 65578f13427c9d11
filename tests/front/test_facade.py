"""``import tunesmith as tune``: what is public, where it comes from, and that nothing is loaded before it is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tunesmith as tune

PUBLIC = set("""
ASHAScheduler Analysis AsyncHyperBandScheduler BugError CLIReporter Callback Checkpoint CheckpointConfig CombinedStopper CurveTable
DistributeResources DistributeResourcesToTopJob EarlyStopping ExecutorError Experiment ExperimentAnalysis ExperimentPlateauStopper
FIFOScheduler FailureConfig FixedCutScheduler FunctionStopper HyperBandForBOHB HyperBandScheduler IdenticalCurves Infeasible
JournalCorrupt JournalError JournalLocked JupyterNotebookReporter MaximumIterationStopper MedianStoppingRule MetricError NoSuggestion
NoopStopper PASHAScheduler PB2 PatienceScheduler PercentileStoppingRule PlacementGroupFactory PopulationBasedTraining
PopulationBasedTrainingReplay Preflight ProgressReporter RayExecutor RemoteStorageError ResourceChangingScheduler Result ResultGrid
RunConfig SerializationError Simulation SpaceError SpecError Stopper StorageFull Study SuccessiveHalvingScheduler SyncConfig
TimeoutStopper Trainable TrialPlateauStopper TrialStopped TrialsFailed TuneConfig TuneContext TuneError Tuner UserCodeError __version__
checkpoint_dir choice command create_scheduler create_searcher define_by_run get_checkpoint get_context get_trial_dir get_trial_id
get_trial_name get_trial_resources grid_search is_session_enabled lograndint loguniform open_experiment preflight qlograndint qloguniform
qrandint qrandn quniform randint randn register_env register_trainable report require run run_experiments sample_from simulate uniform
with_parameters with_resources
""".split())  # noqa: SIM905 - readable as a text


def test_the_public_names_are_these() -> None:
    assert set(tune.__all__) == PUBLIC
    assert len(tune.__all__) == len(PUBLIC)


def test_every_public_name_is_there() -> None:
    for name in tune.__all__:
        assert getattr(tune, name) is not None
    assert set(tune.__all__) <= set(dir(tune))


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(tune.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    static = {alias.name: node.module for node in imports for alias in node.names}
    assert {name for name, module in static.items() if module == "tunesmith"} == tune._SUBMODULES
    static = {name: module for name, module in static.items() if module != "tunesmith"}
    assert static == {name: f"tunesmith.{module}" for name, module in tune._HOME.items()}
    assert sorted(static) == sorted(set(tune.__all__) - {"__version__"})


def test_sub_modules_are_reached_without_an_import() -> None:
    code = "import tunesmith as tune; print(*(getattr(tune, name).__name__ for name in sorted(tune._SUBMODULES)))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"tunesmith.{name}" for name in sorted(tune._SUBMODULES)]


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"module 'tunesmith' has no attribute 'grid_serch'\. Did you mean 'grid_search'\?"):
        _ = tune.grid_serch


def test_run_stays_the_function_whatever_is_imported() -> None:
    """A sub-module of the same name would take the function's place as soon as somebody imports it."""
    importlib.import_module("tunesmith.runner")
    assert callable(tune.run)
    assert tune.run.__module__ == "tunesmith.runner"
    modules = {path.stem for path in Path(tune.__file__).parent.iterdir()}
    assert not modules & set(tune.__all__)


def test_importing_loads_nothing_but_itself() -> None:
    code = "import sys; before = set(sys.modules); import tunesmith; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"__future__", "tunesmith"}


def test_the_front_loads_no_third_party_module() -> None:
    """Settings, spaces, stoppers and both fronts can be named before anything heavy is loaded."""
    code = (
        "import sys; before = set(sys.modules); import tunesmith as tune; "
        "tune.run, tune.Tuner, tune.TuneConfig, tune.choice, tune.Stopper, tune.Callback, tune.report, tune.Trainable; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if name not in sys.stdlib_module_names} == {"tunesmith"}


def test_old_names_are_the_same_things() -> None:
    from tunesmith.schedulers import FIFOScheduler

    assert tune.schedulers.FIFOScheduler is FIFOScheduler
    assert tune.suggest.BasicVariantGenerator is tune.search.BasicVariantGenerator
    from tunesmith.suggest.auto import AutoSearch

    assert AutoSearch is tune.suggest.AutoSearch is tune.search.AutoSearch
    assert tune.session.report is tune.report
    assert tune.result.TRAINING_ITERATION == "training_iteration"
    assert tune.trial.TERMINATED == "TERMINATED"


