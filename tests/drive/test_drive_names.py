"""Names that users choose: directories never collide, and wall time follows the sessions."""

from __future__ import annotations

import pytest

import tunesmith as tune
from tunesmith.errors import UserCodeError


def one(config):
    tune.report(loss=config["x"])


@pytest.fixture
def go(tmp_path):
    def run(**arguments):
        given = {"storage_path": tmp_path, "name": "run", "verbose": 0, "executor": "inline", "seed": 1}
        return tune.run(one, **{**given, "config": {"x": tune.uniform(0, 1)}, **arguments})

    return run


def test_trials_with_one_name_do_not_share_a_directory(go, tmp_path):
    analysis = go(num_samples=3, trial_dirname_creator=lambda trial: "same")
    ids = [trial.trial_id for trial in analysis.trials]
    assert [trial.relative_logdir for trial in analysis.trials] == ["same", f"same_{ids[1]}", f"same_{ids[2]}"]
    assert all((tmp_path / "run" / trial.relative_logdir / "result.json").is_file() for trial in analysis.trials)


def test_a_directory_is_not_named_like_a_file_of_ours(go):
    analysis = go(trial_dirname_creator=lambda trial: "experiment.db")
    assert analysis.trials[0].relative_logdir == f"experiment.db_{analysis.trials[0].trial_id}"


@pytest.mark.parametrize("name", ["a/b", "", "..", "x" * 300, "nul\0"])
def test_impossible_names_are_refused(go, name):
    with pytest.raises(UserCodeError, match=r"trial_dirname_creator answered .* for trial 0"):
        go(trial_dirname_creator=lambda trial: name)


def test_wall_time_jumps_over_the_pause_between_two_sessions(go, monkeypatch):
    from tunesmith import execute

    class Later(execute.SystemClock):
        def wall(self):
            return super().wall() + 86400

    first = go(num_samples=1).trials[0].last_result["timestamp"]
    monkeypatch.setattr(execute, "SystemClock", Later)
    stamps = [trial.last_result["timestamp"] for trial in go(num_samples=2, resume=True).trials]
    assert stamps[0] == first
    assert stamps[1] - stamps[0] >= 86400
