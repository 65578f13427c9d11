from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import warnings

import numpy as np
import pytest

from tunesmith.checkpoints import Checkpoint, LocalStore
from tunesmith.errors import TrialStopped, UserCodeError
from tunesmith.trainable import session, track, worker
from tunesmith.trainable.session import Answer, checkpoint_dir, get_checkpoint, get_context, report

STOP = Answer("stop")


def test_forms_of_report(attempt):
    def train(config):
        report(loss=1)
        report({"loss": 2})
        report({"loss": 3}, acc=4)
        report(5)
        report(0)
        report(np.float32(0.5), acc=1)
        report(metrics={"loss": 6})
        session.report({"loss": 7})
        track.init()
        track.log(loss=8)
        track.shutdown()
        report()

    ended, channel = attempt(train)
    own = ("training_iteration", "time_this_iter_s", "time_total_s")
    assert ended.outcome == "finished"
    assert [{key: value for key, value in m.items() if key not in own} for m in channel.metrics] == [
        {"loss": 1}, {"loss": 2}, {"loss": 3, "acc": 4}, {"_metric": 5}, {"_metric": 0}, {"_metric": 0.5, "acc": 1},
        {"loss": 6}, {"loss": 7}, {"loss": 8}, {},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: report([1, 2]), r"trial abcde_00003 got a list: \[1, 2\]\. Expected a dict of metrics, a number, or keywords"),
        (lambda: report("loss"), "got a str"),
        (lambda: report({"a": 1}, checkpoint=5), r"report\(checkpoint=\.\.\.\) of trial abcde_00003 got a int"),
        (lambda: report({"a": 1}, checkpoint="nowhere"), "not there"),
        (lambda: checkpoint_dir().__enter__(), "needs a step"),
    ],
)
def test_misuse_names_what_is_wrong(attempt, bad, message):
    def train(config):
        with pytest.raises(Exception, match=message):
            bad()
        report(fine=1)

    ended, channel = attempt(train)
    assert ended.outcome == "finished", ended.error
    assert [event.iteration for event in channel.events] == [1]


def test_arrays_go_along_by_name_and_in_this_process_by_value(attempt):
    image = np.zeros((2, 2))
    _, channel = attempt(lambda config: report({"val": {"image": image, "loss": 1}}))
    (event,) = channel.events
    assert event.named == ("val/image",)
    assert event.extras["val/image"] is image
    assert "val/image" not in event.metrics


def test_the_users_dict_is_left_alone(attempt):
    given = {"loss": 1}
    attempt(lambda config: report(given))
    assert given == {"loss": 1}


def test_outside_a_run_everything_warns_once_and_does_nothing(monkeypatch, tmp_path):
    for call in (
        lambda: report(loss=1), get_checkpoint, session.get_trial_id, session.get_trial_name, session.get_trial_dir, track.trial_dir,
        session.get_trial_resources, session.get_experiment_name, lambda: get_context().get_trial_id(), lambda: get_context().seed,
    ):  # fmt: skip
        monkeypatch.setattr(session, "_warned", [])
        with pytest.warns(UserWarning, match="outside a tunesmith run: it does nothing here") as caught:
            assert call() is None
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert call() is None
    with checkpoint_dir(step=1) as folder:
        assert folder == "./"
    assert session.is_session_enabled() is False


def test_the_trial_knows_itself(attempt, tmp_path):
    seen = {}

    def train(config):
        context = get_context()
        seen.update(
            name=context.get_trial_name(), id=session.get_trial_id(), experiment=session.get_experiment_name(), dir=track.trial_dir(),
            resources=session.get_trial_resources(), seed=context.seed, enabled=session.is_session_enabled(),
        )  # fmt: skip

    attempt(train)
    assert seen == {
        "name": "train_abcde_00003", "id": "abcde_00003", "experiment": "exp", "dir": str(tmp_path / "trial"),
        "resources": {"cpu": 1.0}, "seed": 5, "enabled": True,
    }  # fmt: skip
    assert os.path.isdir(tmp_path / "trial")


def test_time_inside_report_is_not_the_trials(attempt, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(worker, "perf_counter", lambda: now[0])

    def decide(event):
        now[0] += 100.0
        return session.GO_ON

    def train(config):
        for _ in range(3):
            now[0] += 2.0
            report(loss=1)

    _, channel = attempt(train, decide=decide, time_total=10.0)
    assert [m["time_this_iter_s"] for m in channel.metrics] == [2.0, 2.0, 2.0]
    assert [m["time_total_s"] for m in channel.metrics] == [12.0, 14.0, 16.0]


def test_done_ends_the_trial_at_that_report(attempt):
    def train(config):
        report(loss=1, done=False)
        report(loss=2, done=np.bool_(True))
        report(loss=3)

    for decide in (lambda event: session.GO_ON, lambda event: Answer("pause", "rerun") if event.iteration == 2 else session.GO_ON):
        ended, channel = attempt(train, decide=decide)
        assert ended.outcome == "finished"
        assert len(channel.events) == 2


def test_a_kill_keeps_its_outcome_even_if_done(attempt):
    ended, _ = attempt(lambda config: report(done=True), decide=lambda event: Answer("stop", outcome="timeout"))
    assert ended.outcome == "timeout"


def test_what_a_trial_does_after_its_stop_changes_nothing(attempt):
    def train(config):
        try:
            report(loss=1)
        finally:
            raise ValueError("while unwinding")

    ended, _ = attempt(train, decide=lambda event: STOP)
    assert ended.outcome == "stopped"
    assert ended.error["message"] == "while unwinding"


def test_every_later_report_raises_again(attempt):
    raised = []

    def train(config):
        for _ in range(3):
            try:
                report(loss=1)
            except TrialStopped as stop:
                raised.append(str(stop))
        return {"loss": 2}

    ended, channel = attempt(train, decide=lambda event: STOP)
    assert (ended.outcome, ended.error, len(channel.events)) == ("stopped", None, 1)
    assert raised == ["trial abcde_00003 was told to stop"] * 3


def test_threads_of_the_trial_report_too(attempt):
    def train(config):
        threads = [threading.Thread(target=lambda: [report(loss=1) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    ended, channel = attempt(train)
    assert ended.outcome == "finished"
    assert [event.iteration for event in channel.events] == list(range(1, 81))
    assert all(m["time_this_iter_s"] >= 0 for m in channel.metrics)


def test_a_stray_thread_is_unwound_once_the_trial_is_over(attempt):
    go, outcome = threading.Event(), []

    def stray():
        go.wait(10)
        try:
            context.run(report, loss=2)
        except BaseException as error:
            outcome.append(type(error))

    def train(config):
        nonlocal context
        context = contextvars.copy_context()
        threads.append(threading.Thread(target=stray))
        threads[0].start()
        report(loss=1)

    context, threads = contextvars.Context(), []
    ended, channel = attempt(train)
    go.set()
    threads[0].join(10)
    assert ended.outcome == "finished"
    assert outcome == [TrialStopped]
    assert len(channel.events) == 1


def test_two_trials_in_two_threads_do_not_meet(attempt):
    both = threading.Barrier(2)
    ambiguous = []

    def train(config):
        both.wait(10)
        report(x=config["x"])

        def helper():
            try:
                report(x=-1)
            except UserCodeError as error:
                ambiguous.append(str(error))

        inner = threading.Thread(target=helper)
        inner.start()
        inner.join(10)
        own = threading.Thread(target=contextvars.copy_context().run, args=(report, {"x": config["x"] + 1}))
        own.start()
        own.join(10)
        both.wait(10)

    results = {}
    threads = [threading.Thread(target=lambda x=x: results.update({x: attempt(train, {"x": x})})) for x in (10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    for x in (10, 20):
        ended, channel = results[x]
        assert ended.outcome == "finished", ended.error
        assert [m["x"] for m in channel.metrics] == [x, x + 1]
    assert len(ambiguous) == 2
    assert "it is not known whose it is" in ambiguous[0]


def test_a_trial_may_run_another_experiment(attempt):
    def inner(config):
        report(level=session.get_trial_resources()["cpu"])

    def outer(config):
        results.append(attempt(inner, resources={"cpu": 2.0})[1].metrics[0]["level"])
        report(level=session.get_trial_resources()["cpu"])

    results = []
    _, channel = attempt(outer)
    assert results == [2.0]
    assert channel.metrics[0]["level"] == 1.0


def test_a_child_process_cannot_report(attempt, monkeypatch):
    def train(config):
        pid = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        try:
            report(loss=1)
        finally:
            monkeypatch.undo()

    ended, channel = attempt(train)
    assert ended.outcome == "user_error"
    assert "a child of trial abcde_00003" in ended.error["message"]
    assert not channel.events


def test_a_report_from_within_a_report_is_refused(attempt):
    def decide(event):
        with pytest.raises(UserCodeError, match="while a report of trial abcde_00003 is being decided on"):
            report(loss=2)
        return session.GO_ON

    ended, channel = attempt(lambda config: report(loss=1), decide=decide)
    assert ended.outcome == "finished"
    assert len(channel.events) == 1


# -- checkpoints


def _write(folder, text):
    with open(os.path.join(folder, "state.txt"), "w") as file:
        file.write(text)


def _read(checkpoint):
    with open(os.path.join(checkpoint, "state.txt")) as file:
        return file.read()


def test_a_checkpoint_comes_with_its_report_and_is_the_newest(attempt, tmp_path):
    (tmp_path / "mine").mkdir()
    seen = []

    def train(config):
        assert get_checkpoint() is None
        for step in range(2):
            _write(tmp_path / "mine", str(step))
            report({"step": step}, checkpoint=Checkpoint.from_directory(tmp_path / "mine"))
            seen.append(_read(get_checkpoint()))
        report({"step": 2}, checkpoint={"a": 1})
        assert get_checkpoint().to_dict() == {"a": 1}
        report({"step": 3})

    ended, channel = attempt(train)
    assert ended.outcome == "finished", ended.error
    assert [event.checkpoint for event in channel.events] == [*(f"3/checkpoint_{i:06d}" for i in range(3)), None]
    assert seen == ["0", "1"]
    assert channel.saved == []


def test_a_failed_save_is_no_report(attempt, tmp_path):
    def train(config):
        with contextlib.suppress(ValueError):
            report({"loss": 1}, checkpoint=str(tmp_path / "nowhere"))
        report({"loss": 2})

    _, channel = attempt(train)
    assert [(event.iteration, event.metrics["loss"]) for event in channel.events] == [(1, 2)]


def test_counters_go_on_from_the_checkpoint(attempt, tmp_path):
    def train(config):
        report({"timesteps_this_iter": 10}, checkpoint={"a": 1})

    attempt(train)
    path = str(tmp_path / "trial" / "checkpoint_000000")
    _, channel = attempt(train, checkpoint=path, checkpoint_id="3/checkpoint_000000", iteration=1, time_total=7.0)
    (event,) = channel.events
    assert event.iteration == 2
    assert event.checkpoint == "3/checkpoint_000001"
    assert (event.metrics["timesteps_total"], event.metrics["timesteps_since_restore"]) == (20, 10)
    assert LocalStore.notes_in(str(tmp_path / "trial" / "checkpoint_000001"))["iteration"] == 2


def test_checkpoint_dir_before_the_report(attempt, tmp_path):
    def train(config):
        for step in range(2):
            with checkpoint_dir(step=step) as folder:
                _write(folder, str(step))
            report(step=step)
        report(step=2)

    _, channel = attempt(train)
    assert [event.checkpoint for event in channel.events] == ["3/checkpoint_000000", "3/checkpoint_000001", None]
    assert _read(tmp_path / "trial" / "checkpoint_000001") == "1"


def test_checkpoint_dir_after_the_report_is_never_lost(attempt, tmp_path):
    def train(config):
        for step in range(2):
            report(step=step)
            with checkpoint_dir(step=step) as folder:
                _write(folder, str(step))

    _, channel = attempt(train)
    assert [event.checkpoint for event in channel.events] == [None, None]
    assert [(event.checkpoint, event.iteration) for event in channel.saved] == [("3/checkpoint_000000", 1), ("3/checkpoint_000001", 2)]
    assert _read(tmp_path / "trial" / "checkpoint_000001") == "1"


def test_checkpoint_dir_in_a_finally_block_after_a_stop(attempt, tmp_path):
    def train(config):
        try:
            report(step=0)
        finally:
            with checkpoint_dir(step=0) as folder:
                _write(folder, "end")

    ended, channel = attempt(train, decide=lambda event: STOP)
    assert ended.outcome == "stopped"
    assert [event.checkpoint for event in channel.saved] == ["3/checkpoint_000000"]


def test_two_checkpoint_dirs_and_a_checkpoint_before_one_report(attempt):
    def train(config):
        for step in range(2):
            with checkpoint_dir(step=step):
                pass
        report({"a": 1}, checkpoint={"b": 2})

    _, channel = attempt(train)
    assert [event.checkpoint for event in channel.saved] == ["3/checkpoint_000000", "3/checkpoint_000001"]
    assert channel.events[0].checkpoint == "3/checkpoint_000002"


def test_a_checkpoint_dir_that_was_not_finished_is_none(attempt, tmp_path):
    def train(config):
        with contextlib.suppress(ValueError), checkpoint_dir(step=1):
            raise ValueError
        report(a=1)

    _, channel = attempt(train)
    assert channel.events[0].checkpoint is None
    assert os.listdir(tmp_path / "trial") == []


def test_a_checkpoint_that_is_gone_is_an_error_of_the_attempt(attempt, tmp_path):
    ended, _ = attempt(lambda config: 1, checkpoint=str(tmp_path / "gone"), checkpoint_id="3/checkpoint_000000")
    assert (ended.outcome, ended.error["type"]) == ("user_error", "UserCodeError")
    assert ended.error["message"] == (
        f"Trial abcde_00003 was to go on from its checkpoint 3/checkpoint_000000, and the directory {tmp_path}/gone is not there: was it "
        f"deleted by hand? Put it back and continue with resume='AUTO+ERRORED', or let the trial begin anew with "
        f"resume='AUTO+RESTART_ERRORED'."
    )
