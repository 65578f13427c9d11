from __future__ import annotations

import logging
import os
import random
import sys
import threading

import pytest

from tunesmith.core.events import AttemptEnded, AttemptStarted, CheckpointSaved, Reported
from tunesmith.executors import Assignment, ExecutorSetup, InlineExecutor
from tunesmith.trainable import TrainableSpec, report


def started(trainable, deliver=None, prompt=False, **setup):
    executor = InlineExecutor()
    executor._prompt = prompt  # True in the product until a trial has shown how quick they are

    def go_on(events):
        turns.append([type(event).__name__ for event in events])
        executor.answer(events[-1].trial, events[-1].attempt, "continue")

    turns: list[list[str]] = []
    executor.turns = turns  # type: ignore[attr-defined]
    executor.start(ExecutorSetup(TrainableSpec.of(trainable), deliver or go_on, **setup))
    return executor


def launch(executor, folder, trial=0, config=None):
    executor.launch(Assignment(trial, 0, f"id_{trial}", f"name_{trial}", "exp", config or {}, str(folder / f"trial_{trial}")))


def test_a_trial_of_one_report_takes_two_turns(tmp_path):
    executor = started(lambda config: report(a=1))
    launch(executor, tmp_path)
    events = executor.poll(0.0)
    assert executor.turns == [["AttemptStarted", "Reported"]]
    assert events == [AttemptEnded(0, 0, "finished")]
    assert not os.listdir(tmp_path)


def test_the_first_start_is_told_at_once_and_later_ones_if_trials_are_slow_to_report(tmp_path, monkeypatch):
    from tunesmith.executors import inline

    executor = started(lambda config: report(a=1), prompt=True)
    for trial in range(2):
        launch(executor, tmp_path, trial)
        executor.poll(0.0)
    assert executor.turns == [["AttemptStarted"], ["Reported"], ["AttemptStarted", "Reported"]]
    executor.turns.clear()
    monkeypatch.setattr(inline, "_PROMPT_S", -1.0)
    for trial in (2, 3):
        launch(executor, tmp_path, trial)
        executor.poll(0.0)
    assert executor.turns == [["AttemptStarted", "Reported"], ["AttemptStarted"], ["Reported"]]


def test_a_trial_that_is_stopped_as_it_starts_does_not_run(tmp_path):
    executor = started(lambda config: pytest.fail("must not run"), lambda events: executor.answer(0, 0, "stop"), prompt=True)
    launch(executor, tmp_path)
    assert executor.poll(0.0) == [AttemptEnded(0, 0, "stopped")]


def test_no_answer_means_stop(tmp_path):
    executor = started(lambda config: report(a=1), deliver=lambda events: None)
    launch(executor, tmp_path)
    assert executor.poll(0.0)[-1].outcome == "stopped"


def test_attempts_run_one_at_a_time_in_order_within_poll(tmp_path):
    order = []
    executor = started(lambda config: order.append(config["n"]))
    for trial in range(3):
        launch(executor, tmp_path, trial, {"n": trial})
    assert order == []
    for trial in range(3):
        assert executor.poll(None) == [AttemptStarted(trial, 0, executor._info), AttemptEnded(trial, 0, "finished")]
        assert order == list(range(trial + 1))
    assert executor.poll(0.0) == []


def test_queued_attempts_are_withdrawn_by_stop_or_kill(tmp_path):
    executor = started(lambda config: pytest.fail("must not run"))
    launch(executor, tmp_path, 0)
    launch(executor, tmp_path, 1)
    executor.answer(0, 0, "stop")
    executor.kill(1, 0, "timeout")
    executor.kill(5, 0, "timeout")
    assert executor.poll(None) == [AttemptEnded(0, 0, "stopped"), AttemptEnded(1, 0, "timeout")]


def test_a_kill_takes_effect_at_the_report(tmp_path):
    def deliver(events):
        executor.answer(0, 0, "continue")
        executor.kill(0, 0, "timeout")

    executor = started(lambda config: [report(a=1) for _ in range(5)], deliver)
    launch(executor, tmp_path)
    assert executor.poll(0.0)[-1].outcome == "timeout"


def test_a_wake_from_another_thread_ends_the_wait():
    executor = started(lambda config: None)
    thread = threading.Timer(0.01, executor.wake)
    thread.start()
    assert executor.poll(None) == []
    thread.join()


def test_an_interrupt_passes_and_the_attempt_is_over(tmp_path):
    def train(config):
        print("in the trial")
        raise KeyboardInterrupt

    drivers = sys.stdout
    executor = started(train, log_to_file=("out", "out"))
    launch(executor, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        executor.poll(0.0)
    assert sys.stdout is drivers
    assert [type(event) for event in executor.poll(0.0)] == [AttemptStarted, AttemptEnded]
    launch(executor, tmp_path, 1)
    with pytest.raises(KeyboardInterrupt):
        executor.poll(0.0)


def test_checkpoints_out_of_turn_go_with_the_next_report_or_the_end(tmp_path):
    from tunesmith.trainable.session import checkpoint_dir

    def train(config):
        for step in range(2):
            for _ in range(2):
                with checkpoint_dir(step=step):
                    pass
            report(a=1)
        with checkpoint_dir(step=2):
            pass

    executor = started(train)
    launch(executor, tmp_path)
    events = executor.poll(0.0)
    assert executor.turns == [["AttemptStarted", "CheckpointSaved", "Reported"], ["CheckpointSaved", "Reported"]]
    assert [type(event) for event in events] == [CheckpointSaved, AttemptEnded]


def test_the_driver_has_its_own_output_and_directory_during_a_report(tmp_path):
    def train(config):
        os.mkdir("sub")
        os.chdir("sub")
        print("one")
        report(a=1)
        print("two")
        assert os.path.basename(os.getcwd()) == "sub"

    def deliver(events):
        seen.append((sys.stdout, os.getcwd()))
        executor.answer(0, 0, "continue")

    seen, before = [], (sys.stdout, os.getcwd())
    executor = started(train, deliver, log_to_file=("one.log", "one.log"), chdir=True)
    launch(executor, tmp_path)
    (ended,) = executor.poll(0.0)
    assert ended.outcome == "finished", ended.error
    assert seen == [before]
    assert (sys.stdout, os.getcwd()) == before
    assert (tmp_path / "trial_0" / "one.log").read_text() == "one\ntwo\n"


def test_log_files_are_made_only_when_written_and_outlive_the_trial(tmp_path):
    handlers = []

    def train(config):
        handlers.append(logging.StreamHandler())
        sys.stdout.buffer.write(b"binary\n")
        assert sys.stdout.writable()
        assert sys.stdout.encoding == "utf-8"
        assert isinstance(sys.stdout.fileno(), int)

    executor = started(train, log_to_file=("out.log", "err.log"))
    launch(executor, tmp_path)
    executor.poll(0.0)
    folder = tmp_path / "trial_0"
    assert os.listdir(folder) == ["out.log"]
    handlers[0].emit(logging.makeLogRecord({"msg": "late"}))
    handlers[0].stream.close()
    assert (folder / "err.log").read_text() == "late\n"
    assert (folder / "out.log").read_text() == "binary\n"


def test_what_the_trial_puts_in_place_of_stdout_stays_its_own(tmp_path):
    def train(config):
        sys.stdout = mine = type(sys.stdout)(str(tmp_path / "mine.log"))
        report(a=1)
        assert sys.stdout is mine

    before = sys.stdout
    executor = started(train, log_to_file=("out.log", "err.log"))
    launch(executor, tmp_path)
    (ended,) = executor.poll(0.0)
    assert (ended.outcome, sys.stdout) == ("finished", before)


def test_the_error_of_a_trial_is_at_hand_as_it_was_raised(tmp_path):
    error = ValueError("mine")

    def train(config):
        if config["fails"]:
            raise error

    executor = started(train, keep_errors=True)
    assert executor.error_of(0) is None
    for trial, fails in enumerate((True, False)):
        launch(executor, tmp_path, trial, {"fails": fails})
        executor.poll(0.0)
        assert executor.error_of(trial) is (error if fails else None)
    assert executor.error_of(0) is error


def test_reports_of_threads_are_delivered_one_by_one(tmp_path):
    busy = threading.Lock()

    def deliver(events):
        assert busy.acquire(blocking=False)
        executor.answer(0, 0, "continue")
        seen.extend(event.iteration for event in events if isinstance(event, Reported))
        busy.release()

    def train(config):
        threads = [threading.Thread(target=lambda: [report(a=1) for _ in range(30)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seen: list[int] = []
    executor = started(train, deliver)
    launch(executor, tmp_path)
    assert executor.poll(0.0)[-1].outcome == "finished"
    assert seen == list(range(1, 91))


def test_the_drivers_randomness_is_not_the_trials(tmp_path):
    executor = started(lambda config: [random.random() for _ in range(config["n"])])
    drawn = []
    for n in (0, 100):
        random.seed(5)
        launch(executor, tmp_path, n, {"n": n})
        executor.poll(0.0)
        drawn.append(random.random())
    assert drawn[0] == drawn[1]


def test_close_forgets_the_queue(tmp_path):
    executor = started(lambda config: pytest.fail("must not run"))
    launch(executor, tmp_path)
    executor.close()
    executor.close()
    assert executor.poll(0.0) == []
    InlineExecutor().close()


def test_totals(monkeypatch):
    for name in ("NUM_CPUS", "NUM_GPUS", "RESOURCES"):
        monkeypatch.delenv(f"TUNESMITH_{name}", raising=False)
    executor = InlineExecutor()
    setup = ExecutorSetup(TrainableSpec.of(lambda config: None), lambda events: None)
    totals = executor.start(setup)
    assert 1 <= totals["cpu"] <= len(os.sched_getaffinity(0))
    monkeypatch.setenv("TUNESMITH_NUM_CPUS", "64")
    monkeypatch.setenv("TUNESMITH_RESOURCES", '{"license": 3, "cpu": 1}')
    assert {"cpu": 64.0, "license": 3.0}.items() <= executor.start(setup).items()
