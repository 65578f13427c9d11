"""The loop: what user code, observers, handlers and signals may do to it."""

from __future__ import annotations

import logging
import os
import signal

import pytest

import tunesmith as tune
from tunesmith.core import events as ev
from tunesmith.errors import PoisonEvent, UserCodeError
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.schedulers import FIFOScheduler, Scheduler, SchedulerCapabilities


@pytest.fixture
def go(tmp_path):
    def run(trainable, **arguments):
        given = {"storage_path": tmp_path, "name": "run", "verbose": 0, "executor": "inline", "loggers": (), "seed": 1, **arguments}
        return tune.run(trainable, **given)

    return run


def records(tmp_path):
    reader = open_reader(tmp_path / "run" / JOURNAL_FILE)
    found = list(reader.read())
    reader.close()
    return found


def three(config):
    for step in range(3):
        tune.report(loss=config["x"] / (step + 1))


SPACE = {"x": tune.uniform(1, 2)}


class Brittle(FIFOScheduler):
    """Raises at the second report of trial 1; mended by setting ``mended``."""

    mended = False

    def on_result(self, trial, result):
        if trial.number == 1 and trial.iteration == 2 and not Brittle.mended:
            raise ZeroDivisionError("a scheduler's bug")
        return self.CONTINUE


def test_a_poison_event_names_itself_and_leaves_a_journal_that_opens_and_resumes(go, tmp_path, monkeypatch):
    with pytest.raises(PoisonEvent, match=r"(?s)Reported of trial \w+_00001 raised ZeroDivisionError.*test_drive_loop.py:\d+.*resume=True"):
        go(three, config=SPACE, num_samples=3, scheduler=Brittle())
    unhandled = [record for record in records(tmp_path) if not record.handled]
    assert [type(record.event) for record in unhandled] == [ev.Reported]
    seen = tune.open_experiment(tmp_path / "run")
    assert [trial.status for trial in seen.trials] == ["TERMINATED", "RUNNING"]
    monkeypatch.setattr(Brittle, "mended", True)
    analysis = go(three, config=SPACE, num_samples=3, scheduler=Brittle(), resume=True)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    assert [len(frame) for frame in analysis.trial_dataframes.values()] == [3, 3, 3]


def test_a_stop_function_that_raises_drains_the_run_and_a_resume_goes_on(go, tmp_path):
    def broken(trial_id, result):
        return result["los"] < 0.1

    with pytest.raises(UserCodeError, match=r"(?s)stop criterion raised KeyError: .*'los'.* at test_drive_loop.py:\d+.*resume=True"):
        go(three, config=SPACE, num_samples=2, stop=broken)
    analysis = go(three, config=SPACE, num_samples=2, stop=lambda trial_id, result: result["loss"] < 0.7, resume=True)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2


def test_a_reason_that_is_a_sentence_has_one_full_stop(go):
    class Explores(Scheduler):
        capabilities = SchedulerCapabilities(exploits=True)

        def on_result(self, trial, result):
            return self.exploit(trial.number, "other values") if trial.iteration == 1 else self.CONTINUE

        def explore(self, exploration):
            raise UserCodeError("an entry was taken away. Set it to None instead.")

    with pytest.raises(UserCodeError, match=r"taken away\. Set it to None instead\. The run was stopped; mend it"):
        go(lambda config: tune.report({"loss": 1.0}, checkpoint={"step": 1}), config=SPACE, scheduler=Explores())


def test_an_observer_that_raises_is_dropped_and_named_once(go, caplog):
    class Broken(tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            raise RuntimeError("no such host")

    with caplog.at_level(logging.WARNING, "tunesmith"):
        analysis = go(three, config=SPACE, num_samples=2, callbacks=[Broken()])
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert sum("no such host" in message for message in caplog.messages) == 1


def test_stop_all_ends_the_experiment_with_its_reason(go, tmp_path):
    class Enough(tune.Stopper):
        calls = 0

        def __call__(self, trial_id, result):
            self.calls += 1
            return False

        def stop_all(self):
            return self.calls >= 4

    analysis = go(three, config=SPACE, num_samples=5, stop=Enough())
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    finish = records(tmp_path)[-1].decisions[-1]
    assert (finish.do, finish.reason) == ("finish", "stopped by Enough")


def test_a_time_budget_ends_everything(go, monkeypatch):
    from tunesmith import execute

    class Clock:
        def __init__(self, start=0.0):
            self.time = start

        def now(self):
            self.time += 1.0  # each look at the clock takes a second
            return self.time

        def wall(self):
            return 0.0

    monkeypatch.setattr(execute, "SystemClock", Clock)
    analysis = go(three, config=SPACE, num_samples=1000, time_budget_s=60)
    assert 1 < len(analysis.trials) < 100
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}


def test_ctrl_c_ends_at_the_next_report_and_a_resume_completes(go, tmp_path, caplog):
    def interrupting(config):
        for step in range(3):
            if step == 1 and not os.path.exists(config["marker"]):
                open(config["marker"], "w").close()
                os.kill(os.getpid(), signal.SIGINT)
            tune.report(loss=step)

    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with caplog.at_level(logging.WARNING, "tunesmith"):
            analysis = go(interrupting, config={"marker": str(tmp_path / "marker")}, num_samples=2)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert any("press it again" in message for message in caplog.messages)
    assert any("resume=True" in message for message in caplog.messages)
    assert [trial.status for trial in analysis.trials] == ["PENDING"]
    resumed = go(interrupting, config={"marker": str(tmp_path / "marker")}, num_samples=2, resume=True)
    assert [trial.status for trial in resumed.trials] == ["TERMINATED"] * 2
    assert [len(frame) for frame in resumed.trial_dataframes.values()] == [3, 3]


def test_two_runs_may_be_nested(go, tmp_path):
    def outer(config):
        inner = go(three, config=SPACE, num_samples=1, name="inner")
        tune.report(loss=inner.trials[0].last_result["loss"] + config["x"])

    analysis = go(outer, config=SPACE, num_samples=1)
    assert analysis.trials[0].last_result["loss"] > 1


def test_resuming_a_finished_run_changes_nothing_and_more_samples_extend_it(go, tmp_path):
    go(three, config=SPACE, num_samples=2)
    first = [record for record in records(tmp_path) if not isinstance(record.event, (ev.ExperimentStarted, ev.CapacityChanged))]
    again = go(three, config=SPACE, num_samples=2, resume=True)
    assert [trial.status for trial in again.trials] == ["TERMINATED"] * 2
    later = [record for record in records(tmp_path) if not isinstance(record.event, (ev.ExperimentStarted, ev.CapacityChanged))]
    assert later == first
    more = go(three, config=SPACE, num_samples=4, resume=True)
    assert len(more.trials) == 4
    assert [trial.config for trial in more.trials[:2]] == [trial.config for trial in again.trials]


def test_equal_seeds_give_equal_configurations_and_other_seeds_do_not(go):
    def configs(name, seed):
        return [trial.config for trial in go(three, config=SPACE, num_samples=3, name=name, seed=seed).trials]

    assert configs("a", 7) == configs("b", 7) != configs("c", 8)


def test_a_name_creator_that_raises_ends_the_run_with_everything_before_on_record(go, tmp_path):
    def name(trial):
        if trial.number == 1:
            raise LookupError("no more names")
        return "first"

    with pytest.raises(UserCodeError, match=r"LookupError: no more names at test_drive_loop.py:\d+.*trial 1"):
        go(three, config=SPACE, num_samples=3, trial_name_creator=name)
    assert [trial.status for trial in tune.open_experiment(tmp_path / "run").trials] == ["TERMINATED"]
    analysis = go(three, config=SPACE, num_samples=3, trial_name_creator=lambda trial: f"n{trial.number}", resume=True)
    assert [str(trial) for trial in analysis.trials] == ["first", "n1", "n2"]


def test_a_searcher_that_raises_ends_the_search_and_says_why(go, caplog):
    class Broken(tune.suggest.Searcher):
        def __init__(self, good):
            super().__init__()
            self.good = good

        def suggest(self, trial_id):
            if not self.good:
                raise OSError("no connection")
            self.good -= 1
            return {"x": 1.5}

    with pytest.raises(UserCodeError, match=r"no trial could be started: Broken raised OSError: no connection at test_drive_loop.py:\d+"):
        go(three, config=SPACE, num_samples=3, search_alg=Broken(0))
    with caplog.at_level(logging.WARNING, "tunesmith"):
        analysis = go(three, config=SPACE, num_samples=3, search_alg=Broken(2), name="two")
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert any("Broken raised OSError" in message for message in caplog.messages)
