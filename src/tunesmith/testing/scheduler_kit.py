"""What every scheduler must stand, as tests. Subclass, give ``make``, and let pytest collect it::

    class TestMine(SchedulerKit):
        def make(self, metric, mode):
            return MyScheduler(metric=metric, mode=mode)

Each test runs whole experiments in a :class:`~tunesmith.testing.world.World`, checks the controller's invariants after each event, and
shows the scheduler read-only views that have what :class:`~tunesmith.core.ports.TrialView` promises and nothing else. Those of
:class:`~tunesmith.testing.scheduler_runs.SchedulerRuns` go through the shell: in virtual time, and in real runs.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.controller import Runnable
from tunesmith.core.invariants import check
from tunesmith.core.ports import Record, TrialView
from tunesmith.core.settings import Settings
from tunesmith.schedulers.base import Scheduler, SchedulerCapabilities
from tunesmith.testing.loop import Loop
from tunesmith.testing.scheduler_runs import METRIC, SchedulerRuns, loss
from tunesmith.testing.world import Fates, World

__all__ = ["SchedulerKit"]

_VIEW = ("number", "status", "values", "iteration", "metrics", "attempt", "checkpoint", "resources")
_FAILURES = {"user_error": 0.04, "worker_lost": 0.04, "oom_ram": 0.02, "infeasible": 0.02}


class _View:
    """A trial as schedulers may see it: nothing can be set, and nothing else can be read."""

    __slots__ = ("_trial",)

    def __init__(self, trial: TrialView) -> None:
        object.__setattr__(self, "_trial", trial)

    def __getattr__(self, name: str) -> Any:
        if name not in _VIEW:
            raise AttributeError(f"schedulers see of a trial only {', '.join(_VIEW)}; not '{name}'")
        value = getattr(object.__getattribute__(self, "_trial"), name)
        return MappingProxyType(value) if isinstance(value, dict) else value

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a scheduler set '{name}' of trial {self.number}; views are read-only, decisions are returned")

    def __repr__(self) -> str:
        return f"trial {self.number}"


class _Runnable:
    """:class:`~tunesmith.core.filling.Runnable` with read-only views."""

    def __init__(self, runnable: Runnable) -> None:
        self._runnable = runnable
        self.pending = tuple(_View(trial) for trial in runnable.pending)
        self.paused = tuple(runnable.paused)

    def get(self, number: int) -> _View | None:
        trial = self._runnable.get(number)
        return None if trial is None else _View(trial)

    def first_paused(self) -> _View | None:
        trial = self._runnable.first_paused()
        return None if trial is None else _View(trial)


class _Guarded:
    """A scheduler behind read-only views; remembers what it asked for of its own will."""

    def __init__(self, inner: Scheduler) -> None:
        self.inner = inner
        if hasattr(inner, "explore"):
            self.explore = inner.explore

    def change(self, options: Mapping[str, Any]) -> None:
        self.inner.change(options)

    def start(self, settings: Settings) -> None:
        self.inner.start(settings)

    def on_trial_add(self, trial: TrialView) -> Any:
        return self.inner.on_trial_add(_View(trial))

    def on_result(self, trial: TrialView, result: dict[str, Any]) -> Any:
        return self.inner.on_result(_View(trial), MappingProxyType(result))

    def on_trial_end(self, trial: TrialView, outcome: str) -> Any:
        return self.inner.on_trial_end(_View(trial), outcome)

    def on_trial_reopen(self, trial: TrialView) -> None:
        self.inner.on_trial_reopen(_View(trial))

    def on_exploit_end(self, trial: TrialView, source: int, done: bool) -> None:
        self.inner.on_exploit_end(_View(trial), source, done)

    def on_search_end(self) -> Any:
        return self.inner.on_search_end()

    def on_capacity(self, totals: Mapping[str, float], nodes: Sequence[Mapping[str, float]] = ()) -> None:
        self.inner.on_capacity(totals, nodes)

    def choose(self, runnable: Runnable) -> Any:
        return self.inner.choose(_Runnable(runnable))  # type: ignore[arg-type]

    def state(self) -> Any:
        return self.inner.state()


class SchedulerKit(SchedulerRuns):
    """Tests that every scheduler passes.

    Attributes:
        reports: fewest and most reports of a trial that nobody stops: wide enough for the scheduler to decide something.
        num_samples: trials of an experiment; enough for its brackets or population.
        spec: further settings, as in ``ExperimentStarted.spec``.
        takes_pending: its ``choose`` never leaves a waiting trial that fits.
    """

    reports: ClassVar[tuple[int, int]] = (1, 20)
    num_samples: ClassVar[int] = 12
    spec: ClassVar[Mapping[str, Any]] = {}
    takes_pending: ClassVar[bool] = True

    def make(self, metric: str, mode: str) -> Scheduler:
        """A fresh scheduler, the same each time.

        Args:
            metric: name of what is reported.
            mode: "min" or "max".
        """
        raise NotImplementedError

    # -- runs ------------------------------------------------------------------------------------------------------------

    def loop(
        self, seed: int = 0, *, mode: str = "min", cpus: float = 4.0, can_save: bool = True, metrics: Any = loss, **options: Any
    ) -> Loop:
        """An experiment that is ready to run. ``options``: fields of :class:`Fates`, else settings."""
        fates = {name: options.pop(name) for name in list(options) if name in Fates.__dataclass_fields__}
        fates = {"reports": self.reports, "checkpoint": 0.3, **fates, "metrics": metrics}
        settings = {"num_samples": self.num_samples, "metrics": [METRIC], "modes": [mode], "identical": None, **self.spec, **options}
        world = World(seed, Fates(**fates), totals={"cpu": cpus}, can_save=can_save)
        return Loop(lambda: _Guarded(self.make(METRIC, mode)), settings, world, watch=self._watch)

    def _watch(self, loop: Loop, record: Record, commands: list[cmd.Command]) -> None:
        check(loop.controller, shrunk=loop.world.shrunk, takes_pending=self.takes_pending)

    def _decisions(self, loop: Loop, *kinds: str) -> list[tuple[float, str, int | None]]:
        decisions = [(record.event.at, decision) for record in loop.records for decision in record.decisions]
        return [(at, decision.do, decision.trial) for at, decision in decisions if not kinds or decision.do in kinds]

    def _ended(self, loop: Loop) -> None:
        assert not loop.controller.state.trials, f"trials are left: {loop.story()}"

    # -- tests -----------------------------------------------------------------------------------------------------------

    def test_every_experiment_ends(self) -> None:
        for seed in range(5):
            loop = self.loop(seed)
            loop.run()
            self._ended(loop)
            assert len(loop.controller.state.ended) == self.num_samples

    def test_one_slot(self) -> None:
        loop = self.loop(cpus=1.0)
        loop.run()
        self._ended(loop)

    def test_more_slots_than_trials(self) -> None:
        loop = self.loop(cpus=100.0)
        loop.run()
        self._ended(loop)

    def test_one_trial(self) -> None:
        loop = self.loop(num_samples=1)
        loop.run()
        self._ended(loop)

    def test_without_checkpoints(self) -> None:
        """Functions that never save anything; whoever is paused runs again from the start."""
        for warm in (True, False):
            loop = self.loop(checkpoint=0.0, can_save=False, warm_pause=warm, exploit_wait_s=3.0)
            loop.run()
            self._ended(loop)

    def test_held_warm(self) -> None:
        loop = self.loop(warm_pause=True, warm_slots=3)
        loop.run()
        self._ended(loop)

    def test_members_die(self) -> None:
        for seed in range(4):
            loop = self.loop(seed, failures=_FAILURES, unstarted=0.1, retries={"user_error": seed % 3})
            loop.run()
            self._ended(loop)

    def test_nan(self) -> None:
        """A diverged trial ends, or (where that is allowed) is shown to the scheduler, which must not fall over it."""

        def diverging(values: Mapping[str, Any], iteration: int) -> dict[str, Any]:
            return {METRIC: math.nan} if values.get("x", 0.5) > 0.6 and iteration > 2 else loss(values, iteration)

        for policy in ("fail", "continue"):
            loop = self.loop(metrics=diverging, nan_policy=policy)
            loop.run()
            self._ended(loop)

    def test_infinite(self) -> None:
        for value in (math.inf, -math.inf):
            loop = self.loop(metrics=lambda values, iteration, value=value: {METRIC: value if iteration % 3 == 0 else values.get("x", 0.5)})
            loop.run()
            self._ended(loop)

    def test_a_metric_that_is_missing_now_and_then(self) -> None:
        for every in (2, 3):
            loop = self.loop(metrics=lambda values, iteration, every=every: {} if iteration % every else loss(values, iteration))
            loop.run()
            self._ended(loop)

    def test_all_alike(self) -> None:
        """Ties everywhere."""
        loop = self.loop(metrics=lambda *_: {METRIC: 1.0})
        loop.run()
        self._ended(loop)

    def test_finishing_early(self) -> None:
        for longest in (1, 2, 3):
            loop = self.loop(reports=(1, longest))
            loop.run()
            self._ended(loop)

    def test_hostile_executors_and_impatient_people(self) -> None:
        for seed in range(3):
            loop = self.loop(seed, hostile=0.2, users=0.05, failures=_FAILURES)
            loop.run()
            self._ended(loop)

    def test_a_searcher_that_runs_dry(self) -> None:
        loop = self.loop(num_samples=None, exhausted_after=self.num_samples // 2)
        loop.run()
        self._ended(loop)

    def test_stopped_in_the_middle(self) -> None:
        for at in (0.0, 1.0, 4.0):
            loop = self.loop()
            loop.world.send(ev.StopRequested("enough"), at)
            loop.run()
            self._ended(loop)

    def test_resumed_in_the_middle(self) -> None:
        """The driver dies here and there: the fold gives the same state, and the run goes on to its end."""
        for seed, gap in ((0, 7), (1, 19), (2, 53)):
            loop = self.loop(seed, failures=_FAILURES)
            loop.start()
            for _ in range(4):
                for _ in range(gap):
                    if not loop.controller.state.finished:
                        loop.step()
                if not loop.controller.state.finished:
                    loop.crash()
            loop.run()
            self._ended(loop)

    def test_drained_and_resumed(self) -> None:
        loop = self.loop()
        loop.world.send(ev.StopRequested("Ctrl-C", drain=True), 2.0)
        loop.run()
        loop.world.crash()
        loop.resume()
        loop.run()
        self._ended(loop)

    def test_trials_that_were_over_go_on(self) -> None:
        """All ended ones, from their checkpoints or from scratch; in a session of their own, or in one with the others."""
        for seed, restart in ((0, False), (1, True), (2, False)):
            loop = self.loop(seed, failures={name: chance for name, chance in _FAILURES.items() if name != "infeasible"})
            loop.start()
            for _ in range(40 + 40 * seed):
                if not loop.controller.state.finished:
                    loop.step()
            over = [number for number, code in enumerate(loop.controller.state.ended) if code]
            loop.crash(over, () if seed else None, restart=restart)
            loop.run()
            loop.world.crash()
            loop.resume(over)
            loop.run()
            self._ended(loop)

    def test_options_are_scalars_and_changes_keep_to_them(self) -> None:
        scheduler = self.make(METRIC, "min")
        options, state = scheduler.options(), repr(scheduler.state())
        assert all(value is None or isinstance(value, (bool, int, float, str)) for value in options.values())
        assert set(scheduler.changeable) <= set(options), "what may be changed must be recorded"
        scheduler.change(options)
        assert (scheduler.options(), repr(scheduler.state())) == (options, state), "told what it has already, it is another"

    def test_equal_events_give_equal_decisions(self) -> None:
        first, second = self.loop(3, failures=_FAILURES), self.loop(3, failures=_FAILURES)
        first.run()
        second.run()
        for one, other in zip(first.records, second.records):
            assert one.decisions == other.decisions, f"the same events, and it decides once {one.decisions}, once {other.decisions}"
        assert first.controller.digest() == second.controller.digest(), "the same events, and its state differs"

    def test_the_best_is_the_smallest_or_the_largest(self) -> None:
        """Turned upside down, metric and mode alike, the same is decided."""
        down = self.loop(4)
        up = self.loop(4, mode="max", metrics=lambda values, iteration: {METRIC: -loss(values, iteration)[METRIC]})
        down.run()
        up.run()
        assert self._decisions(down) == self._decisions(up), "min of a metric and max of its negative are decided differently"

    def test_state_is_plain_data(self) -> None:
        """It is hashed by its ``repr`` and compared between processes: no addresses, no sets of strings (their order differs)."""
        loop = self.loop(5)
        loop.start()
        for _ in range(60):
            if not loop.controller.state.finished:
                loop.step()
        state = loop.controller.scheduler.state()
        assert " at 0x" not in repr(state), f"something in it has no repr of its own: {state!r}"
        sets = [one for one in _parts(state) if isinstance(one, (set, frozenset))]
        unordered = [one for one in sets if not all(isinstance(item, (int, float)) for item in one)]
        assert not unordered, f"sets of anything but numbers have another order in each process: {unordered}"
        assert repr(pickle.loads(pickle.dumps(state))) == repr(state), f"pickled and loaded it is another: {state!r}"

    def test_capabilities_are_declared_and_decisions_have_reasons(self) -> None:
        scheduler = self.make(METRIC, "min")
        capabilities = scheduler.capabilities
        assert isinstance(capabilities, SchedulerCapabilities)
        loop = self.loop(6, save_at_end=False)
        loop.run()
        for record in loop.records:
            if isinstance(record.event, ev.Reported) and record.event.verdict is None:
                for decision in record.decisions:
                    assert decision.do not in ("pause", "stop", "exploit", "resize") or decision.reason, f"{decision} does not say why"
                    assert decision.do != "pause" or capabilities.pauses, "it pauses trials; its capabilities must say so"
                    assert decision.do != "exploit" or capabilities.exploits, "it copies trials; its capabilities must say so"
                    assert decision.do != "resize" or capabilities.resizes, "it resizes trials; its capabilities must say so"

    def test_the_views_of_this_kit_are_read_only(self) -> None:
        shown: list[Any] = []
        loop = self.loop()
        loop.start()
        while not loop.controller.state.trials:
            loop.step()
        shown.append(_View(next(iter(loop.controller.state.trials.values()))))
        attempts: list[Callable[[], Any]] = [
            lambda: setattr(shown[0], "status", "TERMINATED"),
            lambda: shown[0].values.update(x=1),
            lambda: shown[0].waiters,
        ]
        for attempt in attempts:
            try:
                attempt()
            except AttributeError:
                continue
            raise AssertionError("a view could be changed, or shows more than it should")


def _parts(state: Any) -> Iterable[Any]:
    """Everything inside nested containers."""
    yield state
    if isinstance(state, Mapping):
        for key, value in state.items():
            yield from _parts(key)
            yield from _parts(value)
    elif isinstance(state, Iterable) and not isinstance(state, (str, bytes, bytearray)):
        for item in state:
            yield from _parts(item)
    elif hasattr(state, "__dict__"):
        yield from _parts(vars(state))
