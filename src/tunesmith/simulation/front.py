"""``tune.simulate``: the front of simulations."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tunesmith.config import FailureConfig
from tunesmith.core.ends import AUTOFILLED
from tunesmith.core.events import DEFAULT_METRIC
from tunesmith.errors import MetricError, UserCodeError
from tunesmith.executors.fault_plan import Delays, Faults

if TYPE_CHECKING:
    from tunesmith.simulation.result import Simulation
    from tunesmith.simulation.table import CurveTable

__all__ = ["simulate"]


def simulate(
    source: str | os.PathLike[str] | CurveTable | Callable[..., Any],
    *,
    config: Mapping[str, Any] | None = None,
    scheduler: Any = None,
    search_alg: Any = None,
    num_samples: int | None = None,
    workers: int = 8,
    max_t: int | None = None,
    stop: Any = None,
    metric: str | Sequence[str] | None = None,
    mode: str | Sequence[str] | None = None,
    seed: int | None = None,
    delays: Delays | None = None,
    faults: Faults | None = None,
    pauses: str = "warm",
    checkpoint_freq: int = 0,
    keep_checkpoints_num: int | None = None,
    charge_search_time: bool | float = False,
    worker_speeds: Sequence[float] | None = None,
    resources_per_trial: Any = None,
    resources: Mapping[str, float] | None = None,
    max_concurrent_trials: int | None = None,
    time_budget_s: float | timedelta | None = None,
    max_trial_s: float | None = None,
    max_silence_s: float | None = None,
    max_failures: int | Mapping[str, int] = 0,
    failure_config: FailureConfig | None = None,
    lookup: str = "nearest",
    keep_records: bool = False,
) -> Simulation:
    """Run an experiment in virtual time. Scheduler, searcher and core are the real ones; trials are played. Nothing is written.

    Args:
        source: where the curves come from: a function ``(config, iteration) -> metrics`` or ``-> (metrics, seconds)``, which may take a
            dict as third argument, the trial's memory; a :class:`CurveTable`; or the path of an earlier experiment, or of a table's
            ``.npz`` file.
        config: the search space, as of :func:`tunesmith.run`. None: of a table or an experiment its own rows: each once and in order, or
            ``num_samples`` drawn ones; with ``search_alg`` the space that they were drawn from, where that is known.
        scheduler, search_alg: as of :func:`tunesmith.run`; they are copied, so that one object serves several simulations.
        num_samples: trials; -1: until a limit; None: one (times the grid), or each row once.
        workers: trials of one CPU at once, >= 1.
        max_t: iterations of a trial that nothing stops, >= 1. None: of tables the length of the row; of functions the scheduler's
            ``max_t`` if it counts iterations, else ``stop`` or ``time_budget_s`` must end trials.
        stop: as of :func:`tunesmith.run`.
        metric, mode: what is optimised. None: those of the scheduler, of the searcher, or of the experiment that is the source.
        seed: of all that is drawn; None: a fresh one.
        delays, faults: see :class:`~tunesmith.simulation.Delays` and :class:`~tunesmith.simulation.Faults`; None: there are none.
        pauses: how trials are paused: "warm": they stay in memory; "cold": they are saved and loaded; "rerun": they begin anew, and
            cannot save when asked.
        checkpoint_freq: every so many iterations a report comes with a checkpoint, from which a lost trial goes on; 0: none does.
        keep_checkpoints_num: per trial, >= 1; None: all.
        charge_search_time: True: what the searcher's calls take is virtual time, too; a number: so many seconds for each suggestion. Trials
            go on meanwhile.
        worker_speeds: of each worker, > 0: 0.5 takes twice as long. None: all have 1.
        resources_per_trial: what a trial holds, as of :func:`tunesmith.run`; ``resources``: what there is beside the workers' CPUs, such
            as ``{"gpu": 4}``.
        max_concurrent_trials, max_failures, failure_config: as of :func:`tunesmith.run`.
        time_budget_s, max_trial_s, max_silence_s: as of :func:`tunesmith.run`, in virtual time.
        lookup: "nearest": a configuration that is not in the table plays the nearest row (see :meth:`CurveTable.lookup`); "exact": it
            fails.
        keep_records: keep every record, for :meth:`Simulation.analysis`; some 500 bytes per report.

    Returns:
        What came of it. Failed trials raise nothing: ``counts`` and ``trials`` tell.

    Raises:
        SpecError: an argument is wrong, or the function returned what it should not.
        JournalError: the experiment cannot be read.
        MetricError: the metric was never reported.
        UserCodeError: a stop criterion or a mutation function raised.
        ExecutorError: workers were lost for good that trials wait for.

    Example:
        >>> from tunesmith.space import uniform
        >>> def curve(config, iteration):
        ...     return {"loss": config["x"] + 1 / iteration}, 30.0
        >>> sim = simulate(curve, config={"x": uniform(0, 1)}, num_samples=100, workers=10, max_t=20, metric="loss", mode="min", seed=1)
        >>> sim.seconds  # 100 trials of 20 iterations of 30 s on 10 workers
        6000.0
    """
    from tunesmith.simulation.planning import planned
    from tunesmith.simulation.result import Simulation
    from tunesmith.simulation.session import Session

    given = {name: value for name, value in locals().items() if name in _ARGUMENTS}
    session = Session(planned(**given))
    session.run()
    state = session.drive.controller.state
    if state.kind == "metric":
        raise MetricError(_unnamed(session.ledger.curves[DEFAULT_METRIC].names) if DEFAULT_METRIC in state.unseen else state.stopping)
    if session.drive.blamed:
        raise UserCodeError(session.drive.blamed.partition(" The run was stopped")[0])
    if state.exhausted:
        logging.getLogger("tunesmith").warning("no more configurations were proposed: %s", state.exhausted)
    return Simulation(session)


def _unnamed(reported: Iterable[str]) -> str:
    """Nobody gave a metric, only a mode: which is right for a source that returns numbers without names, and for no other."""
    names = sorted(set(reported) - AUTOFILLED)
    example = f", as in metric={names[0]!r}" if names else ""
    return (
        f"simulate: metric= is missing. A mode without it is for a source that returns a number; this one reports "
        f"{', '.join(names) or 'nothing'}. Name what is to be optimised{example}."
    )


_ARGUMENTS = frozenset(inspect.signature(simulate).parameters)
