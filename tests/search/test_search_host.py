"""The searcher's host: in the loop or in a thread, results in order, nothing of a searcher's gets out."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tunesmith as tune
from tunesmith.core.commands import Decision, Suggest
from tunesmith.core.events import AttemptEnded, ExperimentStarted, Reported, SearchExhausted, StopRequested, Suggested
from tunesmith.core.ports import Record
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.search import FINISHED, BasicVariantGenerator, Exhausted, Proposal, Searcher, SearcherCapabilities
from tunesmith.search.earlier import Earlier
from tunesmith.search.host import SearchHost
from tunesmith.space import Space

SPACE = {"x": tune.uniform(0, 1)}
WAIT_S = 10


class Scripted(Searcher):
    """Answers from a list; writes down what it is told."""

    def __init__(self, answers: list[Any]) -> None:
        super().__init__("loss", "min")
        self.answers = answers
        self.told: list[Any] = []
        self.threads: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        self.threads.add(threading.current_thread().name)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append(("result", trial_id, result["loss"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.told.append(("end", trial_id, None if result is None else result["loss"], error))

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        self.told.append(("failed", trial_id, outcome))

    def on_replayed(self, trial, trial_id, values) -> None:
        self.told.append(("replayed", trial, trial_id, dict(values)))


class InLoop(Scripted):
    """The same, but cheap."""

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(cheap=True)


class Bell:
    """Rung by the host from the searcher's thread."""

    def __init__(self) -> None:
        self.rung = threading.Event()

    def __call__(self) -> None:
        self.rung.set()


def host_of(searcher: Searcher, config=SPACE, **more: Any) -> SearchHost:
    return SearchHost(searcher, Space.parse(config), **{"seed": 1, "trial_id": lambda n: f"t{n}", **more})


def reported(trial: int, loss: float) -> Record:
    return Record(Reported(trial, 0, 1, {"loss": loss}))


def ended(trial: int, outcome: str = "finished") -> Record:
    return Record(AttemptEnded(trial, 0, outcome), [Decision("end", trial, "", {"status": "TERMINATED", "outcome": outcome})])


def answers(host: SearchHost) -> list[Any]:
    return [event.reason if isinstance(event, SearchExhausted) else (event.trial, event.values) for event in host.poll()]


def wait_for(host: SearchHost, bell: Bell, count: int) -> list[Any]:
    """Poll as the loop does, until so many answers have come."""
    found: list[Any] = []
    while len(found) < count:
        assert bell.rung.wait(WAIT_S), f"only {found} came"
        bell.rung.clear()
        found += answers(host)
    return found


# ---- in the loop


def test_cheap_searchers_answer_at_once() -> None:
    host = host_of(BasicVariantGenerator())
    host.request(3, first=4)
    events = host.poll()
    assert [event.trial for event in events] == [4, 5, 6]
    assert all(isinstance(event, Suggested) and event.source == "random" and event.resources is None for event in events)
    assert host.poll() == []
    host.close()


def test_prepare_adds_what_the_event_needs() -> None:
    host = host_of(BasicVariantGenerator(), prepare=lambda trial, values: {"resources": {"cpu": 2.0}, "name": f"n{trial}", "dirname": "d"})
    host.request(1, first=3)
    (event,) = host.poll()
    assert (event.resources, event.name, event.dirname) == ({"cpu": 2.0}, "n3", "d")


def test_an_error_in_prepare_is_the_users() -> None:
    host = host_of(BasicVariantGenerator(), prepare=lambda trial, values: values["y"])
    host.request(1, first=0)
    with pytest.raises(UserCodeError, match=r"Trial t0 could not be set up: .*KeyError: 'y' at test_search_host\.py:\d+"):
        host.poll()


def test_results_and_ends_are_told_in_order() -> None:
    searcher = InLoop([{"x": 0.1}, {"x": 0.2}, {"x": 0.3}, {"x": 0.4}])
    host = host_of(searcher)
    host.request(4, first=0)
    host.poll()
    retry = Record(AttemptEnded(1, 0, "user_error"), [Decision("retry", 1, "", {})])
    stopped = Record(StopRequested("enough"), [Decision("end", 3, "", {"status": "TERMINATED", "outcome": "stopped"})])
    poisoned = Record(Reported(0, 0, 1, {"loss": 9.0}), handled=False)
    for record in (reported(0, 5.0), poisoned, retry, reported(0, 4.0), ended(0), ended(1, "oom_gpu"), ended(2, "infeasible"), stopped):
        host.observe(record)
    assert searcher.told == [
        ("result", "t0", 5.0), ("result", "t0", 4.0), ("end", "t0", 4.0, False),
        ("failed", "t1", "oom_gpu"), ("end", "t1", None, True),
        ("failed", "t2", "infeasible"), ("end", "t2", None, True),
        ("end", "t3", None, False),
    ]  # fmt: skip


def test_a_trial_is_over_once() -> None:
    searcher = InLoop([{"x": 0.1}])
    host = host_of(searcher)
    host.request(1, first=0)
    host.observe(ended(0))
    host.observe(ended(0))
    host.observe(reported(0, 1.0))
    assert searcher.told == [("end", "t0", None, False)]


def test_what_an_earlier_session_proposed_is_told_first() -> None:
    searcher = InLoop([{"x": 0.5}])
    host = host_of(searcher)
    host.observe(Record(Suggested(0, {"x": 0.1})))
    host.observe(reported(0, 3.0))
    host.observe(ended(0))
    host.request(1, first=1)
    (event,) = host.poll()
    host.observe(Record(event))
    assert searcher.told == [("replayed", 0, "t0", {"x": 0.1}), ("result", "t0", 3.0), ("end", "t0", 3.0, False)]


class Repeats(Searcher):
    """Ray-style: one answer after the other; writes down in which order it is called. Loses its way if it is told what it did not ask."""

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(cheap=True)

    def __init__(self, answers: list[Any]) -> None:
        super().__init__("loss", "min")
        self.answers = answers
        self.live: dict[str, Any] = {}
        self.told: list[Any] = []

    def suggest(self, trial_id: str) -> Any:
        self.told.append(f"suggest {trial_id}")
        answer = self.answers.pop(0)
        if isinstance(answer, dict):
            self.live[trial_id] = answer
        return answer

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.told.append((self.live.pop(trial_id)["x"], None if result is None else result["loss"], error))


def past(*records: Record | int, **values: Any) -> tuple[list[tuple[Record, list[Suggest]]], Earlier]:
    """Records, each with what was asked for because of it: a number that follows it."""
    found: list[tuple[Record, list[Suggest]]] = []
    earlier, session = Earlier(**values), -1
    for record in records:
        if isinstance(record, int):
            found[-1][1].append(Suggest(1, record))
            continue
        found.append((record, []))
        if isinstance(record.event, ExperimentStarted):
            session = record.event.session
        elif isinstance(record.event, Suggested):
            earlier.values.setdefault(record.event.trial, record.event.values)
            earlier.sessions[record.event.trial] = session
    return found, earlier


def started(session: int) -> Record:
    return Record(ExperimentStarted({}, session))


def suggested(trial: int, x: float) -> Record:
    return Record(Suggested(trial, {"x": x}))


def replayed(searcher: Searcher, *records: Record | int, config: Any = SPACE, **values: Any) -> SearchHost:
    found, earlier = past(*records, **values)
    host = host_of(searcher, config, earlier=earlier)
    for record, asked in found:
        host.replay(record, asked)
    return host


def test_one_that_only_suggests_is_asked_again_where_it_was_asked(caplog: pytest.LogCaptureFixture) -> None:
    """Suggestions of a thread are on record later than they were made: what it knew then is what it is told before it is asked."""
    searcher = Repeats([{"x": 0.1}, {"x": 0.2}, {"x": 0.3}, {"x": 0.4}])
    first = (started(0), 0, 1, suggested(0, 0.1), suggested(1, 0.2), reported(0, 5.0))
    host = replayed(searcher, *first, ended(0), 2, ended(1, "oom_gpu"), suggested(2, 0.3))
    assert searcher.told == ["suggest t0", "suggest t1", (0.1, 5.0, False), "suggest t2", (0.2, None, True)]
    host.request(1, first=3)
    assert answers(host) == [(3, {"x": 0.4})]
    assert not caplog.messages


def test_what_was_lost_with_a_session_is_asked_for_in_the_next(caplog: pytest.LogCaptureFixture) -> None:
    searcher = Repeats([{"x": 0.1}, {"x": 0.2}])
    host = replayed(searcher, started(0), 0, 1, suggested(0, 0.1), started(1), ended(0), 1, suggested(1, 0.2))
    assert searcher.told == ["suggest t0", (0.1, None, False), "suggest t1"]
    assert answers(host) == []
    assert not caplog.messages


def test_nothing_now_was_an_answer_then_too(caplog: pytest.LogCaptureFixture) -> None:
    searcher = Repeats([{"x": 0.1}, None, None, {"x": 0.2}])
    replayed(searcher, started(0), 0, 1, suggested(0, 0.1), ended(0), suggested(1, 0.2), ended(1))
    assert searcher.told == ["suggest t0", "suggest t1", "suggest t1", (0.1, None, False), "suggest t1", (0.2, None, False)]
    assert not caplog.messages


@pytest.mark.parametrize("second", [{"x": 0.9}, None, FINISHED])
def test_one_that_answers_otherwise_is_not_told_what_became_of_it(second: Any, caplog: pytest.LogCaptureFixture) -> None:
    searcher = Repeats([{"x": 0.1}, second, *([None, None] if second is None else []), {"x": 0.3}])
    host = replayed(
        searcher, started(0), 0, 1, suggested(0, 0.1), suggested(1, 0.2), reported(1, 7.0), ended(1), reported(0, 5.0), ended(0)
    )
    told = [one for one in searcher.told if not isinstance(one, str)]
    assert told == ([(0.9, None, True)] if isinstance(second, dict) else []) + [(0.1, 5.0, False)]
    (line,) = caplog.messages
    assert line.startswith("Repeats does not repeat itself: trial t1 has {'x': 0.2}, and now it proposes ")
    searcher.answers = [{"x": 0.4}]
    host.request(1, first=2)
    assert answers(host) == [(2, {"x": 0.4})], "the search goes on"


def test_what_it_left_open_may_be_drawn_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    config = {**SPACE, "y": tune.uniform(0, 1)}
    searcher = Repeats([{"x": 0.1}])
    replayed(searcher, started(0), 0, Record(Suggested(0, {"x": 0.1, "y": 0.7})), ended(0), config=config)
    assert searcher.told == ["suggest t0", (0.1, None, False)]
    assert not caplog.messages


def test_one_that_raises_in_a_replay_ends_the_search() -> None:
    host = replayed(Repeats([{"x": 0.1}]), started(0), 0, 1, suggested(0, 0.1), suggested(1, 0.2), ended(0), ended(1))
    (reason,) = answers(host)
    assert reason.startswith("Repeats raised IndexError: pop from empty list")


def test_values_of_another_space_are_told_in_terms_of_this_one() -> None:
    class Counts(InLoop):
        def begin_version(self, first: int, inside: Any) -> None:
            self.told.append(("begins", first, list(inside)))

    searcher = Counts([{"x": 0.5}])
    records = (started(0), suggested(0, 5.0), suggested(1, 6.0), ended(0), reported(1, 1.0), ended(1))
    host = replayed(searcher, *records, values={0: None, 1: {"x": 0.6}}, first=2)
    assert searcher.told == [
        ("begins", 2, [{"x": 0.6}]), ("replayed", 1, "t1", {"x": 0.6}), ("result", "t1", 1.0), ("end", "t1", 1.0, False),
    ]  # fmt: skip
    host.request(1, first=2)
    assert answers(host) == [(2, {"x": 0.5})]


def test_one_that_only_suggests_is_asked_for_what_lies_outside_too() -> None:
    searcher = Repeats([{"x": 0.1}, {"x": 0.6}, {"x": 0.7}])
    records = (started(0), 0, 1, suggested(0, 5.0), suggested(1, 6.0), ended(0), ended(1))
    host = replayed(searcher, *records, values={0: None, 1: {"x": 0.6}}, first=2)
    assert searcher.told == ["suggest t0", (0.1, None, True), "suggest t1", (0.6, None, False)], "it counts on"
    host.request(1, first=2)
    assert answers(host) == [(2, {"x": 0.7})]


def test_native_searchers_that_keep_nothing_are_not_asked_again() -> None:
    searcher = BasicVariantGenerator(max_concurrent=2)
    host = replayed(searcher, started(0), 0, 1, suggested(0, 0.1), suggested(1, 0.2), ended(0))
    host.request(3, first=2)
    assert [event.trial for event in host.poll()] == [2], "one is live, and it has a bound of two"


def test_nothing_now_is_asked_again_after_an_observation() -> None:
    searcher = InLoop([{"x": 0.1}, None, None, {"x": 0.2}])
    host = host_of(searcher)
    host.request(2, first=0)
    assert answers(host) == [(0, {"x": 0.1})]
    host.observe(reported(0, 1.0))
    assert answers(host) == []
    host.observe(ended(0))
    assert answers(host) == [(1, {"x": 0.2})]


def test_nothing_for_ever_ends_the_search_with_a_reason() -> None:
    host = host_of(InLoop([None] * 200))
    host.request(2, first=0)
    assert answers(host) == ["InLoop had nothing to propose 100 times in a row while no trial was under way"]
    host.request(1, first=2)
    assert len(answers(host)) == 1


def test_max_concurrent_bounds_what_is_live() -> None:
    host = host_of(BasicVariantGenerator(max_concurrent=2))
    host.request(4, first=0)
    assert [event.trial for event in host.poll()] == [0, 1]
    host.observe(ended(1))
    assert [event.trial for event in host.poll()] == [2]
    host.observe(ended(0, "user_error"))
    host.observe(ended(2))
    assert [event.trial for event in host.poll()] == [3]


def moved(trial: int, do: str, **data: Any) -> Record:
    return Record(Reported(trial, 0, 1, {"loss": 1.0}), [Decision(do, trial, "", data)])


def test_max_concurrent_does_not_count_who_is_paused() -> None:
    """They wait for others to be drawn: were they counted, nobody would ever go on."""
    host = host_of(BasicVariantGenerator(max_concurrent=2))
    host.request(5, first=0)
    assert [event.trial for event in host.poll()] == [0, 1]
    host.observe(moved(0, "pause", mode="warm"))
    assert [event.trial for event in host.poll()] == [2]
    host.observe(moved(1, "pause", mode="cold"))
    assert host.poll() == [], "it is still saving"
    host.observe(moved(1, "paused"))
    assert [event.trial for event in host.poll()] == [3]
    host.observe(moved(0, "launch"))
    host.observe(ended(2))
    assert host.poll() == [], "one has gone on"
    host.observe(ended(3))
    assert [event.trial for event in host.poll()] == [4]


def test_nothing_for_ever_while_all_are_paused_ends_the_search() -> None:
    host = host_of(InLoop([{"x": 0.1}] + [None] * 200))
    host.request(2, first=0)
    assert answers(host) == [(0, {"x": 0.1})]
    host.observe(moved(0, "pause", mode="warm"))
    assert answers(host) == ["InLoop had nothing to propose 100 times in a row while all trials under way were paused"]


@pytest.mark.parametrize("slots", [1, 2])
def test_a_bounded_searcher_and_a_scheduler_that_pauses(tmp_path: Any, slots: int) -> None:
    def train(config: dict[str, Any]) -> None:
        for _ in range(9):
            tune.report(loss=config["x"])

    searcher = BasicVariantGenerator(max_concurrent=slots)
    analysis = tune.run(
        train, config=SPACE, num_samples=9, search_alg=searcher, scheduler=tune.HyperBandScheduler(max_t=9), metric="loss", mode="min",
        executor="inline", storage_path=tmp_path, verbose=0,
    )  # fmt: skip
    assert len(analysis.trials) == 9
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert max(trial.iteration for trial in analysis) == 9


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (FINISHED, "nothing more to propose"),
        (ValueError("bad luck"), "InLoop raised ValueError: bad luck at test_search_host.py:"),
        ({"x": 3}, "InLoop: config['x']: 3 is not in uniform(0.0, 1.0)"),
        ({"x": [1]}, "config['x']: [1] is not in"),
        ("what", "expected a dict, None or FINISHED, got 'what'"),
    ],
)
def test_every_way_to_end_is_shown(answer: Any, words: str) -> None:
    host = host_of(InLoop([answer]))
    host.request(1, first=0)
    (reason,) = answers(host)
    assert words in reason


def test_an_error_in_a_hook_ends_the_search() -> None:
    class Forgetful(InLoop):
        def on_trial_complete(self, trial_id, result=None, error=False):
            raise KeyError(trial_id)

    host = host_of(Forgetful([{"x": 0.1}]))
    host.request(1, first=0)
    host.poll()
    host.observe(ended(0))
    (reason,) = answers(host)
    assert reason.startswith("Forgetful raised KeyError: 't0' at test_search_host.py:")


def test_an_impossible_constraint_is_shown() -> None:
    host = host_of(BasicVariantGenerator(), SPACE | {"no": tune.require(lambda c: False, "never")})
    host.request(1, first=0)
    (reason,) = answers(host)
    assert "satisfies the constraint (never)" in reason


def test_suggestions_that_break_a_constraint_are_asked_for_again() -> None:
    config = {"x": tune.uniform(0, 1), "low": tune.require(lambda c: c["x"] < 0.5)}
    searcher = InLoop([{"x": 0.9}, {"x": 0.1}])
    host = host_of(searcher, config)
    host.request(1, first=0)
    assert answers(host) == [(0, {"x": 0.1})]
    assert searcher.told == [("end", "t0", None, True)]
    host = host_of(InLoop([{"x": 0.9}] * 100), config)
    host.request(1, first=0)
    assert answers(host) == ["InLoop: 100 suggestions in a row broke a constraint of the space"]


def test_what_a_suggestion_leaves_out_is_drawn() -> None:
    config = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1), "s": tune.sample_from(lambda c: c["x"] * 2), "epochs": 3}
    host = host_of(InLoop([{"x": 0.5, "epochs": 7}]), config)
    host.request(1, first=0)
    (event,) = host.poll()
    assert event.values | {"y": 0} == {"x": 0.5, "y": 0, "s": 1.0, "epochs": 7}
    assert 0 <= event.values["y"] <= 1


def test_metric_and_mode_are_filled_in_one_by_one() -> None:
    class Asks(InLoop):
        def __init__(self) -> None:
            super().__init__([])
            self._mode = None

    searcher = Asks()
    host_of(searcher, metrics=("acc",), modes=("max",))
    assert (searcher.metric, searcher.mode) == ("loss", "max")
    with pytest.raises(SpecError, match=r"optimises one metric, but 2 were given: a, b"):
        host_of(Plain(), metrics=("a", "b"), modes=("min", "min"))


class Plain(Searcher):
    """As users write them: no call to the base's __init__, and a name of ours for something of its own."""

    def __init__(self) -> None:
        self._space = "mine"

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"x": 0.5}


def test_a_searcher_without_a_call_to_the_bases_constructor_works() -> None:
    bell = Bell()
    host = host_of(Plain(), wake=bell)
    host.request(1, first=0)
    assert wait_for(host, bell, 1) == [(0, {"x": 0.5})]
    host.close()


def test_grids_are_refused_where_they_cannot_be_walked() -> None:
    with pytest.raises(SpecError, match="Plain: cannot walk through the grid_search"):
        host_of(Plain(), {"x": tune.grid_search([1])})


def test_a_mode_is_checked() -> None:
    with pytest.raises(SpecError, match="mode must be"):
        Searcher("loss", "minimum")


# ---- in a thread


def test_slow_searchers_have_one_thread_and_keep_the_order() -> None:
    searcher, bell = Scripted([{"x": n / 10} for n in range(6)]), Bell()
    host = host_of(searcher, wake=bell)
    host.request(2, first=0)
    host.request(1, first=2)
    assert wait_for(host, bell, 3) == [(0, {"x": 0.0}), (1, {"x": 0.1}), (2, {"x": 0.2})]
    for record in (reported(0, 1.0), ended(0), ended(1, "nan")):
        host.observe(record)
    host.request(1, first=3)
    assert wait_for(host, bell, 1) == [(3, {"x": 0.3})]
    assert searcher.told == [("result", "t0", 1.0), ("end", "t0", 1.0, False), ("failed", "t1", "nan"), ("end", "t1", None, True)]
    assert searcher.threads == {"tunesmith-Scripted"}
    host.close()
    host.close()


def test_the_loop_goes_on_while_a_searcher_thinks() -> None:
    begun, release, bell = threading.Event(), threading.Event(), Bell()

    class Thinker(Scripted):
        def suggest(self, trial_id: str) -> Any:
            begun.set()
            release.wait(WAIT_S)
            return super().suggest(trial_id)

    host = host_of(Thinker([{"x": 0.5}]), wake=bell)
    host.request(1, first=0)
    assert begun.wait(WAIT_S)
    assert host.poll() == []
    host.observe(reported(9, 1.0))
    release.set()
    assert wait_for(host, bell, 1) == [(0, {"x": 0.5})]
    host.close()


def test_errors_in_the_thread_are_shown_too() -> None:
    bell = Bell()
    host = host_of(Scripted([RuntimeError("no")]), wake=bell)
    host.request(1, first=0)
    (reason,) = wait_for(host, bell, 1)
    assert reason.startswith("Scripted raised RuntimeError: no at test_search_host.py:")
    host.close()


# ---- native searchers


def test_native_searchers_propose_by_number() -> None:
    class Native(Searcher):
        capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(cheap=True)

        def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
            return Proposal({"x": trial / 10}, "native") if trial < 2 else Exhausted("two are enough")

    host = host_of(Native())
    host.request(5, first=0)
    assert answers(host) == [(0, {"x": 0.0}), (1, {"x": 0.1}), "two are enough"]
    assert host.total_samples(5) == 5
    assert host.total_samples(None) is None


def test_the_state_is_saved_whole(tmp_path) -> None:
    searcher = InLoop([{"x": 0.1}, {"x": 0.2}])
    host_of(searcher)
    searcher.suggest("a")
    path = str(tmp_path / "state.pkl")
    searcher.save(path)
    again = InLoop([])
    again.restore(path)
    assert again.answers == [{"x": 0.2}]
    assert [file.name for file in tmp_path.iterdir()] == ["state.pkl"]


def test_a_searcher_must_suggest_or_propose() -> None:
    host = host_of(type("Idle", (Searcher,), {"capabilities": SearcherCapabilities(cheap=True)})())
    host.request(1, first=0)
    (reason,) = answers(host)
    assert "Idle overrides neither suggest nor propose" in reason


@pytest.mark.parametrize("wanted", [(), ("seed",)])
def test_searchers_written_for_ray_1_are_told_what_they_take(wanted: tuple[str, ...]) -> None:
    class Old(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return {"x": 0.5}

        def set_search_properties(self, metric: Any, mode: Any, config: dict[str, Any]) -> bool:  # type: ignore[override]
            self.told = (metric, mode, sorted(config))
            return True

    class WithSeed(Old):
        def set_search_properties(self, metric: Any, mode: Any, config: dict[str, Any], seed: int = 0) -> bool:  # type: ignore[override]
            super().set_search_properties(metric, mode, config)
            self.told = (*self.told, seed)
            return True

    searcher = WithSeed() if wanted else Old()
    searcher.bind(Space.parse({"x": tune.uniform(0, 1)}), "loss", "min", 7, budget=10)
    assert searcher.told == ("loss", "min", ["x"], *(7 for _ in wanted))
    assert searcher.suggest("a") == {"x": 0.5}


def test_restoring_what_was_not_saved_by_one_of_its_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    tune.search.TPESearch("loss", "min").save(str(path))
    with pytest.raises(SpecError, match=r"GPSearch\.restore: .*state is of TPESearch; restore it into one of that kind"):
        tune.search.GPSearch().restore(str(path))
    for content in (b"", b"text", pickle.dumps([1]), pickle.dumps({"other": 1})):
        path.write_bytes(content)
        with pytest.raises(SpecError, match=r"TPESearch\.restore: .*state is no file that save\(\) of a searcher has written"):
            tune.search.TPESearch().restore(str(path))
