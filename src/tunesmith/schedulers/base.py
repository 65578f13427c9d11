"""The scheduler protocol: one class to derive from, four hooks, capabilities as data.

A scheduler runs inside the fold: its hooks are called again with the same events when a journal is replayed, so they must be
deterministic Python. Its attributes are its state; randomness comes from ``self.rng`` (keyed by the experiment's seed). It sees
read-only views of trials and never calls back; what it wants done it returns.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.core.commands import Decision
from tunesmith.core.controller import Runnable
from tunesmith.core.ports import TrialView
from tunesmith.core.rng import stream
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.resources import resources_from

if TYPE_CHECKING:
    from tunesmith.space import Space

__all__ = ["Exploration", "Mutated", "Scheduler", "SchedulerCapabilities", "TrialScheduler"]

Answer = str | Decision | Iterable[Decision] | None
Names = str | Sequence[str] | None
_NONE = object()


@dataclass(frozen=True, slots=True)
class SchedulerCapabilities:
    """What a scheduler does, as data.

    Args:
        pauses: it pauses trials, so it needs them to be resumable (warm, from a checkpoint, or run again).
        exploits: it copies checkpoints between trials (the population family).
        multi_objective: it can rank by several metrics.
        needs_metric: it is of no use without a metric.
        resizes: it changes what trials take while they run, which ends one attempt and begins another.
    """

    pauses: bool = False
    exploits: bool = False
    multi_objective: bool = False
    needs_metric: bool = False
    resizes: bool = False


@dataclass(slots=True)
class Exploration:
    """What an exploit that has no values yet asks of ``Scheduler.explore``, outside the fold.

    Args:
        trial: who goes on.
        source: whom it copies.
        number: which exploit of that trial it is, from 1.
        values: the source's flat values, of ``space``; a copy.
        data: what the decision recorded: ``self.exploit(..., **data)``.
        space: the version of the search space that the values belong to.
        seed: the run's.
        others: flat values that other exploits which are under way have been given.
    """

    trial: int
    source: int
    number: int
    values: dict[str, Any]
    data: dict[str, Any]
    space: Space
    seed: int = 0
    others: tuple[dict[str, Any], ...] = ()

    def stream(self, seed: int | None = None) -> random.Random:
        """A random stream of this exploit alone; ``seed`` None: the run's."""
        return stream(self.seed if seed is None else seed, f"explore {self.number}", self.trial)


@dataclass(slots=True)
class Mutated:
    """The answer of ``Scheduler.explore``, where there is more to tell than the values.

    Args:
        values: flat, as those of :class:`Exploration`.
        changes: for people and the lineage: path in the configuration -> [before, now, what was done, as in "x1.2"], all JSON.
    """

    values: dict[str, Any]
    changes: dict[str, list[Any]] = field(default_factory=dict)


class Scheduler:
    """Base of all schedulers.

    One that copies trials with new values may leave those to a method ``explore(exploration)``, which the shell calls outside the fold: it
    gets an :class:`Exploration`, may be slow, random and call the user's functions, and returns the values, or a :class:`Mutated`. What it
    returns is recorded. It may read the scheduler's state, and must not change it.

    Args:
        metric: what to rank by, a name or a list of names (see ``capabilities.multi_objective``); None: the run's.
        mode: "min" or "max", or a list of these; None: the run's.

    Attributes:
        changeable: names of constructor arguments that a resume may give another value, such as ``("max_t",)``. Any other that
            differs is refused: what was decided before would mean something else.

    Raises:
        SpecError: a mode that is neither "min" nor "max".

    Example:
        >>> class StopAtTen(Scheduler):
        ...     def on_result(self, trial, result):
        ...         return self.stop("ten is enough") if trial.iteration >= 10 else self.CONTINUE
    """

    CONTINUE: ClassVar[str] = "CONTINUE"
    PAUSE: ClassVar[str] = "PAUSE"
    STOP: ClassVar[str] = "STOP"
    NOOP: ClassVar[str] = "NOOP"
    capabilities: ClassVar[SchedulerCapabilities] = SchedulerCapabilities()
    changeable: ClassVar[tuple[str, ...]] = ()

    def __init__(self, metric: Names = None, mode: Names = None) -> None:
        for one in [mode] if mode is None or isinstance(mode, str) else mode:
            if one not in (None, "min", "max"):
                raise SpecError(f"mode of {type(self).__name__} must be 'min' or 'max', got {mode!r}")
        self.metric = metric
        self.mode = mode

    def set_search_properties(self, metric: Names, mode: Names, **spec: Any) -> bool:
        """Take what is missing from the run.

        Returns:
            False if one of them is already set here and is given as well.
        """
        if (self.metric and metric) or (self.mode and mode):
            return False
        self.metric = self.metric or metric
        self.mode = self.mode or mode
        return True

    def options(self) -> dict[str, Any]:
        """Its constructor's arguments as far as they are JSON scalars: name -> value, metric and mode left out. Recorded, and compared when
        the experiment is resumed.

        Read from the attributes of the same names (or with "_" before them) before the run; override it if yours are called otherwise.

        Example:
            >>> class Patient(Scheduler):
            ...     def __init__(self, metric=None, mode=None, patience=3):
            ...         super().__init__(metric, mode)
            ...         self.patience = patience
            >>> Patient(patience=5).options()
            {'patience': 5}
        """
        found = {}
        for name in inspect.signature(type(self).__init__).parameters:
            value = getattr(self, name, getattr(self, f"_{name}", _NONE))
            if name not in ("self", "metric", "mode") and isinstance(value, bool | int | float | str | None):
                found[name] = value
        return found

    def change(self, options: Mapping[str, Any]) -> None:
        """Take over recorded options: those that the experiment began with, before :meth:`start`, and later what a resume changes.

        So a replay decides as it was decided then, whatever the script says now. Sets the attributes that ``changeable`` names; override
        it if more follows from them (a rung system's rungs).
        """
        for name in self.changeable:
            if name in options:
                setattr(self, name, options[name])

    def prepare_space(self, config: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """The search space, as this scheduler needs it. Called before the space is read, in every session.

        Args:
            config: as the user gave it, or (an experiment that is restored) as it came from here.

        Returns:
            another dict, or the same; what was given is not to be changed. The same for the same config.

        Raises:
            SpecError: the scheduler cannot work with it.
        """
        return config

    def start(self, settings: Settings) -> None:
        """Called once, before any trial; ``self.rng`` is ready from here on."""
        self.rng = self.stream(settings.seed)

    @staticmethod
    def stream(seed: int) -> random.Random:
        """The scheduler's random stream."""
        return stream(seed, "scheduler")

    def on_trial_add(self, trial: TrialView) -> Answer:
        """A trial was suggested."""
        return None

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Answer:
        """A trial reported ``result`` (flat metrics) and waits. Repeats after a rewind are not shown.

        Returns:
            ``CONTINUE``, ``PAUSE``, ``STOP``, or decisions (``self.stop(reason)``, ``self.pause(reason)``, ``self.exploit(...)``,
            ``self.resize(...)``, also for other trials by ``trial=``). Without one for this trial it continues.
        """
        return self.CONTINUE

    def on_trial_end(self, trial: TrialView, outcome: str) -> Answer:
        """A trial is over (not called between attempts). Decisions about other trials may be returned."""
        return None

    def on_trial_reopen(self, trial: TrialView) -> None:
        """A trial that was over (``on_trial_end`` has been called) goes on in a new session: its bound was raised, or it had failed.

        What it reports next is beyond what was shown of it before, as after any rewind.
        """

    def on_exploit_end(self, trial: TrialView, source: int, done: bool) -> None:
        """An exploit of the trial that was under way is over.

        Args:
            source: number of the trial that was to be copied; it may have ended meanwhile.
            done: ``trial.values`` are the new ones, and ``trial.iteration`` is that of the checkpoint with which it goes on. False: it
                was given up, and the trial goes on as it was.
        """

    def on_search_end(self) -> Answer:
        """As far as is known now no more trials will be drawn: a bracket that waits for more need not.

        Trials may be added later all the same (one was infeasible and is replaced, a resume raises ``num_samples``), and when those are all
        drawn this is called again. Decisions returned must name their trials.
        """
        return None

    def on_capacity(self, totals: Mapping[str, float], nodes: Sequence[Mapping[str, float]] = ()) -> None:
        """What there is to run on, e.g. ``{"cpu": 8.0, "gpu": 2.0}``; before the first trial starts, and again when it changes.

        ``nodes``: on a cluster, what a trial can get at most: one dict for each kind of machine that no other exceeds.
        """

    def choose(self, runnable: Runnable) -> TrialView | Decision | None:
        """The trial to start or resume next (or ``self.launch(trial, reason)``), or None: rather draw a new one."""
        return runnable.pending[0] if runnable.pending else runnable.first_paused()

    def state(self) -> Any:
        """Plain data that all later decisions depend on, for comparing replays."""
        own = {key: value for key, value in vars(self).items() if key != "rng"}
        rng = getattr(self, "rng", None)
        return (sorted(own.items(), key=lambda item: item[0]), rng.getstate() if rng is not None else None)

    # -- decisions -------------------------------------------------------------------------------------------------------

    @staticmethod
    def stop(reason: str, trial: int | None = None, *, bound: tuple[str, float] | None = None) -> Decision:
        """End a trial (the one in hand, or number ``trial``).

        Args:
            bound: the option that it has reached, and its value, as in ``("max_t", 100)``: not a loser, so it goes on if a resume
                raises that option.
        """
        return Decision("stop", trial, reason, {"by": "bound", "bound": list(bound)} if bound is not None else {})

    @staticmethod
    def pause(reason: str, trial: int | None = None) -> Decision:
        """Pause a trial; it runs again when ``choose`` returns it."""
        return Decision("pause", trial, reason)

    @staticmethod
    def notice(text: str, trial: int | None = None) -> Decision:
        """Let the trial in hand go on, and tell the user something: a line in the log, and a recorded decision."""
        return Decision("continue", trial, text, {"notice": True})

    @staticmethod
    def launch(trial: TrialView, reason: str) -> Decision:
        """Start or resume a trial and say why; for ``choose``."""
        return Decision("launch", trial.number, reason)

    @staticmethod
    def save(trial: int, reason: str = "") -> Decision:
        """Ask a running trial for a checkpoint."""
        return Decision("save", trial, reason)

    @staticmethod
    def resize(resources: Any, reason: str, trial: int | None = None) -> Decision:
        """Let a trial go on with other resources, from where it is: one attempt ends with a save, and the next one begins.

        It is done only where no work is lost by it: the trial does not run; or it is a class that can save itself; or it is at a report
        that came with a checkpoint. Else, or if there is not that much on this machine, or it is about to end, pause or exploit, nothing
        happens; say it again at a later report. Where that much is not free, the trial waits for it.

        Args:
            resources: what the trial takes from then on, in all, in any form of ``resources_per_trial``.

        Raises:
            SpecError: that is no request.
        """
        return Decision("resize", trial, reason, {"resources": resources_from(resources, "resize()")})

    @staticmethod
    def exploit(source: int, reason: str, *, trial: int | None = None, values: Mapping[str, Any] | None = None, **data: Any) -> Decision:
        """Let a trial go on from the newest checkpoint of ``source``, or if that is being saved now, from that one.

        Args:
            source: number of the live trial to copy. The trial itself: it saves (a class can; a function must have done so with this very
                report, else nothing happens) and goes on from there with other values.
            values: its new drawn values; None: ask ``explore``, with ``data``.
        """
        extra = {"values": dict(values)} if values is not None else {}
        return Decision("exploit", trial, reason, {"source": source, **extra, **data})


TrialScheduler = Scheduler
"""Ray's name for it."""
