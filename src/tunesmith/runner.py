"""``run`` and ``run_experiments``: the keyword front, with the names that Ray Tune users know, old ones included."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tunesmith.checks import flag
from tunesmith.config import CheckpointConfig, FailureConfig, SyncConfig
from tunesmith.errors import SpecError, TrialsFailed
from tunesmith.executors.interpreter import ahead
from tunesmith.experiment import Experiment, experiments_from
from tunesmith.legacy import settle
from tunesmith.spec import DRAIN_S, GRACE_S

if TYPE_CHECKING:
    from tunesmith.analysis import ExperimentAnalysis
    from tunesmith.build import Checked
    from tunesmith.callback import Callback
    from tunesmith.execute import Finished

__all__ = ["check_arguments", "run", "run_experiments"]


def run(
    run_or_experiment: Any,
    name: str | None = None,
    *,
    metric: str | Sequence[str] | None = None,
    mode: str | Sequence[str] | None = None,
    stop: Any = None,
    time_budget_s: float | timedelta | None = None,
    config: Mapping[str, Any] | None = None,
    resources_per_trial: Any = None,
    num_samples: int = 1,
    storage_path: Any = None,
    local_dir: Any = None,
    storage_filesystem: Any = None,
    search_alg: Any = None,
    scheduler: Any = None,
    max_concurrent_trials: int | None = None,
    checkpoint_config: CheckpointConfig | None = None,
    keep_checkpoints_num: int | None = None,
    checkpoint_score_attr: str | None = None,
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool | None = None,
    keep_best: int | None = None,
    max_checkpoint_bytes: int | str | None = None,
    sync_config: SyncConfig | None = None,
    failure_config: FailureConfig | None = None,
    max_failures: int | Mapping[str, int] = 0,
    fail_fast: bool | str = False,
    raise_on_failed_trial: bool = True,
    resume: bool | str | None = False,
    take_over: bool = False,
    preflight: bool = False,
    callbacks: Sequence[Callback] | None = None,
    loggers: Sequence[Any] | None = None,
    log_to_file: bool | str | Sequence[str] | None = None,
    trial_name_creator: Callable[[Any], str] | None = None,
    trial_dirname_creator: Callable[[Any], str] | None = None,
    chdir_to_trial_dir: bool = False,
    reuse_actors: bool | None = None,
    verbose: int | None = 1,
    progress_reporter: Any = None,
    seed: int | None = None,
    deterministic: bool = False,
    executor: Any = None,
    max_trial_s: float | None = None,
    max_silence_s: float | None = None,
    grace_s: float | timedelta = GRACE_S,
    max_ram: int | str | None = None,
    drain_s: float | timedelta | None = DRAIN_S,
    **legacy: Any,
) -> ExperimentAnalysis:
    """Run an experiment: many trials of one trainable, each with its own configuration from the space ``config``.

    Args:
        run_or_experiment: a training function, a ``Trainable`` class, a registered name, or an ``Experiment``.
        name: of the experiment and its directory. None: the trainable's name and the date. A name that is taken gets
            ``_2``, ``_3`` ...: nothing is ever written over.
        metric: the reported key to optimise ("a/b" for nested ones), or a list of them.
        mode: "min" or "max", or a list of equal length. What is missing of the two is taken from scheduler or searcher.
        stop: when a trial ends. A dict ends it when any result is >= its bound; a function ``(trial_id, result) -> bool``,
            a ``Stopper``, or a list of these.
        time_budget_s: seconds, or a ``timedelta``, after which everything is stopped. None: no limit.
        config: the search space: a dict of constants, domains, ``grid_search`` lists and nested spaces. None: no parameters.
        resources_per_trial: what a trial holds while it runs: ``{"cpu": 2, "gpu": 0.5}``, a ``PlacementGroupFactory``, or a
            function of the config. A dict without "cpu" takes one CPU. None: one CPU.
        num_samples: how often the space is drawn, each time with the whole grid; >= 1, or -1: until a limit.
        storage_path: directory of all experiments, relative to the working directory; None: ``TUNESMITH_RESULTS_DIR`` or
            ``~/tunesmith_results``. ``local_dir`` is its old name. Or a URL (``s3://bucket/results``, ``gs://``: whatever fsspec knows):
            then the run works in a local folder below the usual directory, and stores all of it there while it goes on.
        storage_filesystem: a file system of fsspec's or pyarrow's, in which ``storage_path`` is a path.
        search_alg: a searcher, or its name; None: "auto", which picks one that learns, and grid x random where there is a
            ``grid_search``, no metric, or a scheduler that changes configurations. "random" is plain random search.
        scheduler: a scheduler (the run takes a copy: give the same to several runs if you like), "fifo", or None: first in, first out.
        max_concurrent_trials: at most so many trials at once, >= 1. None: as many as fit.
        checkpoint_config: a ``CheckpointConfig``; or, each for itself, ``keep_checkpoints_num`` (per trial, >= 1),
            ``checkpoint_score_attr`` (the key that ranks them, "min-loss" for the lowest loss), ``checkpoint_freq`` (every so
            many iterations) and ``checkpoint_at_end`` (None or False: no), these two for ``Trainable`` classes only, ``keep_best`` (so many
            of the ended trials keep one) and ``max_checkpoint_bytes`` (all of the experiment's together, such as "20GB").
        sync_config: a ``SyncConfig``; how often, and what, is stored behind a URL.
        failure_config: a ``FailureConfig``; or, each for itself, ``max_failures`` and ``fail_fast``.
        max_failures: retries per trial after errors of its own code; -1: without end; or a dict such as ``{"timeout": 1, "oom_gpu": 2}``.
        fail_fast: True: the first failed trial ends the experiment; "raise": and its own exception is raised here.
        raise_on_failed_trial: raise at the end if trials ended in ERROR; False: the summary and the analysis tell.
        resume: go on with the experiment ``name``: True (or "LOCAL"): it must be there; "AUTO": begin it if it is not. What ends trials or
            the search may differ from before (``num_samples``, ``stop``, limits ...) and is recorded; so may ``config``: earlier trials
            keep what they were drawn from, and the search uses those that lie inside the new space. Trials that failed stay so, unless
            "+ERRORED" is behind it, as in "AUTO+ERRORED" (they go on from their newest checkpoint), or "+RESTART_ERRORED" (they begin
            anew); "+ERRORED_ONLY" and "+RESTART_ERRORED_ONLY": and nothing else is run now. "ERRORED_ONLY" alone is the last.
            From a URL more records there than here are fetched, and the other way round; "REMOTE": what is there counts in any case.
        take_over: go on with an experiment that a driver on another machine has not given up, because that machine is known to be dead.
        preflight: first try one trial for a step or two (:func:`tunesmith.preflight`): problems are raised, warnings logged.
        callbacks: instances of ``Callback``.
        loggers: old-style ``Logger`` classes (or ``LoggerCallback`` instances) instead of the usual files; ``()``: no files.
        log_to_file: where goes what trials print, also from C code and subprocesses: True (stdout.log and stderr.log in the trial's
            directory), a file name for both, a pair of names, or False (the console). None: True where trials have processes of
            their own, False with executor="inline".
        trial_name_creator: ``trial -> str``, its name for people.
        trial_dirname_creator: ``trial -> str``, the name of its directory.
        chdir_to_trial_dir: run each trial in its own directory.
        reuse_actors: whether a worker may serve several trials. None: where that is safe.
        verbose: 0 is silent; 1: on a terminal and in a notebook a table that is drawn in place, elsewhere one line per change;
            2: a line for every report, too; 3: for every decision and checkpoint, too. The summary comes with all but 0.
        progress_reporter: what the table shows (a ``CLIReporter`` or ``JupyterNotebookReporter`` with options), or a
            ``ProgressReporter`` of your own. None: the usual table, or lines.
        seed: of all random streams. None: one is drawn, shown and recorded.
        deterministic: the order of events does not depend on timing; limits in seconds are refused.
        executor: what runs the trials: "local" (each in a process of its own, on this machine), "inline" (in this thread, one at a
            time), "ray" (actors of a Ray cluster), an executor such as ``RayExecutor(address=...)``, or None: the environment's
            ``TUNESMITH_EXECUTOR``, else "ray" if this process is connected to a Ray cluster, else "local" (on Linux; elsewhere "inline").
        max_trial_s: seconds that an attempt may run; ``max_silence_s``: that it may go without a report. They need an
            executor that can end a trial by force.
        grace_s: seconds, or a ``timedelta``, from the signal that ends an attempt (Python code unwinds, ``finally`` blocks run) to the one
            that no process can refuse.
        max_ram: what all processes of a trial may hold together: bytes, or a text such as "4GB". Memory that they share with others
            counts by their share. A trial that holds more ends with outcome oom_ram. None: no limit. It needs processes of their own.
        drain_s: seconds, or a ``timedelta``, that running trials have to report and save when the experiment ends before they do:
            after a first Ctrl-C or SIGTERM, a stop of everything, the end of ``time_budget_s``. Those that are still there then
            are killed; after Ctrl-C and SIGTERM a resume goes on with them from their newest checkpoint. None: as long as it
            takes. There is no such bound with ``deterministic=True``, nor with an executor that cannot end a trial by force
            ("inline"): there they end at their next report.
        legacy: the other arguments of older releases. Those that ask for what always holds here (``queue_trials``,
            ``ray_auto_init``, ``global_checkpoint_period`` ...) are accepted with one logged line; those that are not built
            (``restore``, ``export_formats``, ``trial_executor``, ``with_server`` ...) are refused.

    Returns:
        An ``ExperimentAnalysis`` of all trials.

    Raises:
        SpecError: an argument is wrong or unknown, or the preflight has found problems; nothing was started.
        StorageFull: the directory cannot be written.
        TrialsFailed: trials ended in ERROR and ``raise_on_failed_trial`` is true.
        TuneError: see :mod:`tunesmith.errors`.

    Example:
        >>> import tempfile
        >>> from tunesmith import choice, report, run
        >>> def train(config):
        ...     for step in range(3):
        ...         report(score=config["x"] * step)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = run(train, config={"x": choice([2])}, metric="score", mode="max", storage_path=folder, verbose=0)
        ...     print(analysis.best_result["score"])
        4
    """
    given = {key: value for key, value in locals().items() if key not in ("legacy", "run_or_experiment")}
    settle("run()", legacy, given)
    return _run(run_or_experiment, given)


def run_experiments(
    experiments: Any,
    scheduler: Any = None,
    *,
    search_alg: Any = None,
    verbose: int | None = 1,
    progress_reporter: Any = None,
    resume: bool | str | None = False,
    reuse_actors: bool | None = None,
    raise_on_failed_trial: bool = True,
    callbacks: Sequence[Callback] | None = None,
    executor: Any = None,
    **legacy: Any,
) -> list[Any]:
    """Run several experiments, one after another; each has its own directory and its own copy of scheduler and searcher.

    Args:
        experiments: an ``Experiment``, a list of them, or a dict ``name -> {"run": trainable, "stop": ..., "config": ...}``.
        scheduler, search_alg, verbose, progress_reporter, resume, reuse_actors, raise_on_failed_trial, callbacks, executor: as for
            :func:`run`.
        legacy: as for :func:`run`; ``concurrent`` is accepted with one logged line.

    Returns:
        The trials of all experiments; after Ctrl-C, of those that had begun.

    Raises:
        SpecError: an argument is wrong; experiments before the wrong one may have been run.
        TrialsFailed: trials ended in ERROR; raised after the last experiment, with the failed trials of all of them.

    Example:
        >>> import tempfile
        >>> def train(config):
        ...     return {"score": config["x"]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     one = Experiment("one", train, config={"x": 1}, storage_path=folder)
        ...     two = Experiment("two", train, config={"x": 2}, storage_path=folder)
        ...     print([trial.last_result["score"] for trial in run_experiments([one, two], verbose=0)])
        [1, 2]
    """
    common = {key: value for key, value in locals().items() if key not in ("legacy", "experiments", "scheduler", "search_alg")}
    settle("run_experiments()", legacy, {**common, "scheduler": scheduler, "search_alg": search_alg})
    trials: list[Any] = []
    failures: list[TrialsFailed] = []
    ended: list[Finished] = []
    waiting = experiments_from(experiments)
    while waiting and not (ended and ended[-1].kind == "drain"):
        own = {"scheduler": copy.deepcopy(scheduler), "search_alg": copy.deepcopy(search_alg)}
        try:
            trials += _run(waiting.pop(0), {**_DEFAULTS, **common, **own}, ended).trials
        except TrialsFailed as error:
            failures.append(error)
    if waiting:  # Ctrl-C is meant for all of them
        names = ", ".join(experiment.name for experiment in waiting)
        logging.getLogger("tunesmith").warning("not begun: %s; to go on with all: the same again with resume='AUTO'.", names)
    if failures:
        raise TrialsFailed("\n".join(map(str, failures)), [trial for error in failures for trial in error.trials])
    return trials


def _run(run_or_experiment: Any, given: dict[str, Any], ended: list[Finished] | None = None) -> ExperimentAnalysis:
    trainable, given = _unwrap(run_or_experiment, given)
    with ahead(given["executor"]):  # while that process begins, this one imports
        from tunesmith.build import check
        from tunesmith.ending import perform

        checked = check(trainable, **_present(given))
        if flag("preflight", given["preflight"]):
            from tunesmith.inspection.gate import admit, refuse_instance

            refuse_instance(given["executor"])
            admit(checked)
        return perform(checked.placed(), ended)


def check_arguments(owner: str, run_or_experiment: Any, arguments: Mapping[str, Any]) -> Checked:
    """An experiment from the arguments of :func:`run`, those of older releases included. Nothing is made.

    Args:
        owner: whose arguments they are, for messages.

    Raises:
        SpecError: one is wrong or unknown.
    """
    from tunesmith.build import check

    defaults = {name: value for name, value in _DEFAULTS.items() if name != "preflight"}
    settle(owner, {name: value for name, value in arguments.items() if name not in defaults}, defaults)
    known = {name: value for name, value in arguments.items() if name in defaults}
    trainable, given = _unwrap(run_or_experiment, {**defaults, **known})
    return check(trainable, **_present(given))


def _unwrap(given: Any, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The trainable, and the arguments with those of an ``Experiment`` put in; the same one given twice must agree."""
    if isinstance(given, list | tuple):
        if len(given) != 1:
            raise SpecError(f"run() takes one experiment, got a list of {len(given)}; use run_experiments([...]) for several.")
        given = given[0]
    if not isinstance(given, Experiment):
        return given, arguments
    merged = dict(arguments)
    for name, value in given.arguments.items():
        if arguments[name] != _DEFAULTS[name] and arguments[name] is not value and arguments[name] != value:
            raise SpecError(f"{name} is given twice: {arguments[name]!r} to run(), and {value!r} in the Experiment {given.name!r}.")
        merged[name] = value
    from tunesmith.defining.front import DefinedExperiment

    return given.joined(merged) if isinstance(given, DefinedExperiment) else (given.run, merged)


def _present(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`run` under the names of :func:`check`."""
    present = {name: value for name, value in given.items() if name != "preflight"}
    present["resources"] = present.pop("resources_per_trial")
    present["failure"] = _failure(
        present.pop("failure_config"), max_failures=present.pop("max_failures"), fail_fast=present.pop("fail_fast")
    )
    present["checkpoint"] = _checkpoint(
        present.pop("checkpoint_config"),
        keep_checkpoints_num=present.pop("keep_checkpoints_num"),
        checkpoint_score_attr=present.pop("checkpoint_score_attr"),
        checkpoint_freq=present.pop("checkpoint_freq"),
        checkpoint_at_end=present.pop("checkpoint_at_end"),
        keep_best=present.pop("keep_best"),
        max_checkpoint_bytes=present.pop("max_checkpoint_bytes"),
    )
    return present


def _failure(config: Any, **separate: Any) -> FailureConfig:
    if config is None:
        return FailureConfig(**separate)
    if not isinstance(config, FailureConfig):
        raise SpecError(f"failure_config must be a FailureConfig, got {type(config).__name__} {config!r}.")
    for name, value in separate.items():
        if value:
            raise SpecError(f"{name} and failure_config are both given: put it into the FailureConfig.")
    return config


def _checkpoint(config: Any, **separate: Any) -> CheckpointConfig:
    given = [name for name, value in separate.items() if value not in (None, 0, False)]
    if config is not None:
        if not isinstance(config, CheckpointConfig):
            raise SpecError(f"checkpoint_config must be a CheckpointConfig, got {type(config).__name__} {config!r}.")
        if given:
            raise SpecError(f"{given[0]} and checkpoint_config are both given: put it into the CheckpointConfig.")
        return config
    score = separate["checkpoint_score_attr"]
    order = "min" if isinstance(score, str) and score.startswith("min-") else "max"
    return CheckpointConfig(
        num_to_keep=separate["keep_checkpoints_num"],
        checkpoint_score_attribute=score.removeprefix("min-") if isinstance(score, str) else score,
        checkpoint_score_order=order,
        checkpoint_frequency=separate["checkpoint_freq"],
        checkpoint_at_end=bool(separate["checkpoint_at_end"]),
        keep_best=separate["keep_best"],
        max_checkpoint_bytes=separate["max_checkpoint_bytes"],
    )


_DEFAULTS = {name: parameter.default for name, parameter in list(inspect.signature(run).parameters.items())[1:-1]}
"""Of the arguments of :func:`run`, but for the first (what to run) and the last (those of older releases)."""
