"""Callbacks: a test per hook, what hooks are given, and what happens to one that raises."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from tunesmith.callback import HOOKS, Callback, CallbackObserver
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import MemoryJournal
from tunesmith.journal.trials import TrialBook

ENDED = {"status": "TERMINATED", "outcome": "finished"}
FAILED = {"status": "ERROR", "outcome": "user_error"}
KEY_ERROR = {"type": "KeyError", "message": "'lr'", "where": "train.py:42", "traceback": "KeyError: 'lr'"}


class Run:
    """A journal in memory and an observer of it."""

    def __init__(self, *callbacks: Any) -> None:
        self.header = Header(uuid="3f2ab" + "0" * 27, name="demo", created=0.0)
        self.journal = MemoryJournal(self.header)
        self.observer = CallbackObserver(callbacks, self.book())

    def book(self) -> TrialBook:
        return TrialBook(self.header, "/runs/demo", "train", keep_finished=False, reader=self.journal.read)

    def turn(self, *lines: Any) -> None:
        records = [Record(event, decisions) for event, decisions in ((line[0], list(line[1:])) for line in lines)]
        self.journal.append(records)
        self.observer.committed(records)

    def begin(self, trial: int = 0) -> None:
        self.turn((ev.Suggested(trial, {"lr": 0.1}), Decision("launch", trial)))
        self.turn((ev.AttemptStarted(trial, 0),))

    def report(self, iteration: int, checkpoint: str | None = None, attempt: int = 0, **metrics: Any) -> None:
        self.turn((ev.Reported(0, attempt, iteration, {"training_iteration": iteration, **metrics}, checkpoint),))


def recording(hook: str) -> Any:
    """A callback with one hook, which notes what it is given."""

    def method(self: Any, *args: Any, **kwargs: Any) -> None:
        self.calls.append({"args": args, **kwargs, "status": getattr(kwargs.get("trial"), "status", None)})

    callback = type("Recording", (Callback,), {hook: method})()
    callback.calls = []
    return callback


def story(run: Run) -> None:
    run.observer.setup(stop=None, num_samples=1, total_num_samples=2)
    run.begin()
    run.report(1, checkpoint="0/checkpoint_000000", loss=1.0)
    lost = Decision("retry", 0, "KeyError", {"outcome": "user_error", "charge": True})
    run.turn((ev.AttemptEnded(0, 0, "user_error", KEY_ERROR), lost))
    run.turn((ev.AttemptStarted(0, 1),))
    run.report(2, attempt=1, loss=0.5)
    run.turn((ev.CheckpointSaved(0, 1, 2, "0/checkpoint_000001"),))
    run.turn((ev.AttemptEnded(0, 1, "finished"), Decision("end", 0, "", ENDED)))
    run.begin(1)
    run.turn((ev.AttemptEnded(1, 0, "user_error", KEY_ERROR), Decision("end", 1, "KeyError", FAILED)))
    run.observer.close()


EXPECTED = {
    "setup": [("", None, None)],
    "on_step_begin": [("", None, turn) for turn in range(1, 12)],
    "on_step_end": [("", None, turn) for turn in range(1, 12)],
    "on_trial_start": [("3f2ab_00000", "RUNNING", 2), ("3f2ab_00000", "RUNNING", 5), ("3f2ab_00001", "RUNNING", 10)],
    "on_trial_restore": [("3f2ab_00000", "RUNNING", 5)],
    "on_trial_save": [("3f2ab_00000", "RUNNING", 3), ("3f2ab_00000", "RUNNING", 7)],
    "on_trial_result": [("3f2ab_00000", "RUNNING", 3), ("3f2ab_00000", "RUNNING", 6)],
    "on_trial_complete": [("3f2ab_00000", "TERMINATED", 8)],
    "on_trial_recover": [("3f2ab_00000", "PENDING", 4)],
    "on_trial_error": [("3f2ab_00001", "ERROR", 11)],
    "on_checkpoint": [("3f2ab_00000", "RUNNING", 3), ("3f2ab_00000", "RUNNING", 7)],
    "on_experiment_end": [("", None, None)],
}


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_at_its_moment(hook: str) -> None:
    callback = recording(hook)
    story(Run(callback))
    seen = [(getattr(call.get("trial"), "trial_id", ""), call["status"], call.get("iteration")) for call in callback.calls]
    assert seen == EXPECTED[hook]
    assert not [call for call in callback.calls if call["args"]], "hooks are called with keywords"


def test_every_hook_is_tested() -> None:
    hooks = {name for name in vars(Callback) if name.startswith("on_") or name == "setup"}
    assert hooks == set(HOOKS) == set(EXPECTED)


def test_setup_is_told_about_the_experiment() -> None:
    callback = recording("setup")
    story(Run(callback))
    assert callback.calls == [{"args": (), "stop": None, "num_samples": 1, "total_num_samples": 2, "status": None}]


def test_restore_comes_before_start_and_save_after_the_result() -> None:
    order: list[str] = []

    def note(hook: str) -> Any:
        return lambda self, **info: order.append(hook)

    hooks = [hook for hook in HOOKS if hook.startswith("on_trial") or hook == "on_checkpoint"]
    story(Run(type("Order", (Callback,), {hook: note(hook) for hook in hooks})()))
    assert order == [
        "on_trial_start", "on_trial_result", "on_trial_save", "on_checkpoint", "on_trial_recover",
        "on_trial_restore", "on_trial_start", "on_trial_result", "on_trial_save", "on_checkpoint", "on_trial_complete",
        "on_trial_start", "on_trial_error",
    ]  # fmt: skip


def test_results_are_nested_or_flat_and_belong_to_one_callback() -> None:
    class Spoiler(Callback):
        def on_trial_result(self, iteration: int, trials: Sequence[Any], trial: Any, result: Any, **info: Any) -> None:
            assert result["val"]["acc"] == result["val/acc"] == 0.5
            result["val/acc"] = -1
            result["config"]["lr"] = -1
            result.clear()

    later = recording("on_trial_result")
    run = Run(Spoiler(), later)
    run.begin()
    run.report(1, **{"val/acc": 0.5})
    (call,) = later.calls
    assert call["result"]["val/acc"] == 0.5
    assert call["result"]["config"] == {"lr": 0.1}
    assert call["trial"].config == {"lr": 0.1}
    assert call["trial"].last_result["val/acc"] == 0.5


def test_trials_is_a_lazy_sequence_that_knows_finished_ones() -> None:
    callback = recording("on_experiment_end")
    story(Run(callback))
    trials = callback.calls[0]["trials"]
    assert [trial.status for trial in trials] == ["TERMINATED", "ERROR"]
    assert trials[0].last_result["loss"] == 0.5


class Broken(Callback):
    def on_trial_result(self, **info: Any) -> None:
        raise ValueError("my mistake")

    def on_experiment_end(self, **info: Any) -> None:
        raise AssertionError("is not called any more")


def test_one_that_raises_is_reported_once_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    other = recording("on_trial_result")
    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        story(Run(Broken(), other))
    (record,) = caplog.records
    line = Broken.on_trial_result.__code__.co_firstlineno + 1
    assert record.getMessage() == (
        f"callback Broken.on_trial_result raised for trial 3f2ab_00000: ValueError: my mistake at test_callback_hooks.py:{line}. "
        "It is not called any more; the run goes on."
    )
    assert len(other.calls) == 2


def test_failed_says_which_one() -> None:
    failures: list[Any] = []
    run = Run()
    run.observer = CallbackObserver([Broken()], run.book(), failed=lambda callback, error: failures.append((type(callback), str(error))))
    story(run)
    assert failures == [(Broken, "my mistake")]


def test_keyboard_interrupts_pass() -> None:
    class Stop(Callback):
        def on_trial_start(self, **info: Any) -> None:
            raise KeyboardInterrupt

    run = Run(Stop())
    with pytest.raises(KeyboardInterrupt):
        run.begin()


def test_an_object_with_some_hooks_is_a_callback() -> None:
    class Foreign:
        calls = 0

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.calls += 1

    foreign = Foreign()
    story(Run(foreign))
    assert foreign.calls == 1


def test_ends_that_another_event_brings() -> None:
    """A waiting trial is ended by the stop of the experiment, not by an event of its own."""
    callback = recording("on_trial_complete")
    run = Run(callback)
    run.turn((ev.Suggested(0, {}),), (ev.Suggested(1, {}), Decision("end", 1, "fits nowhere", ENDED)))
    run.turn((ev.StopRequested("enough"), Decision("end", 0, "enough", ENDED)))
    assert [(call["trial"].number, call["trial"].reason) for call in callback.calls] == [(1, "fits nowhere"), (0, "enough")]


def test_unhandled_records_are_not_told() -> None:
    callback = recording("on_trial_result")
    run = Run(callback)
    run.begin()
    record = Record(ev.Reported(0, 0, 1, {}), handled=False)
    run.journal.append([record])
    run.observer.committed([record])
    assert not callback.calls


def test_a_resumed_run_knows_earlier_trials_but_tells_nothing_of_them() -> None:
    run = Run()
    run.begin()
    run.report(1, loss=1.0)
    callback = recording("on_trial_result")
    again = CallbackObserver([callback], run.book())
    again.replay(run.journal.read())
    assert not callback.calls
    run.observer = again
    run.report(2, loss=2.0)
    assert [call["result"]["training_iteration"] for call in callback.calls] == [2]


class Counter(Callback):
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def get_state(self) -> dict[str, Any]:
        return {"count": self.count}

    def set_state(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class Forgetful(Callback):
    def get_state(self) -> dict[str, Any]:
        raise RuntimeError("cannot")


def test_states_survive_a_resume_in_another_order(caplog: pytest.LogCaptureFixture) -> None:
    states = Run(Callback(), Counter(3), Forgetful(), Counter(5)).observer.states()
    assert states == {"Counter": {"count": 3}, "Counter#2": {"count": 5}}
    assert "Forgetful.get_state raised: RuntimeError: cannot" in caplog.text
    first, second = Counter(), Counter()
    Run(first, Callback(), second).observer.setup(states, num_samples=1)
    assert (first.count, second.count) == (3, 5)
