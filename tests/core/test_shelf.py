"""Checkpoints of the whole experiment: the best is held, losers' go at once, the budget is kept to."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev


def deleted(commands: list[cmd.Command]) -> list[str]:
    return [command.checkpoint for command in commands if isinstance(command, cmd.DeleteCheckpoint)]


class Story:
    """Trials that report a loss and save with every report; checkpoints are called ``<trial>/<loss>``."""

    def __init__(self, script: Any, **settings: Any) -> None:
        self.one = script(**{"num_samples": 20, "totals": {"cpu": 9}, "metrics": ["loss"], "modes": ["min"], **settings})
        self.gone: list[str] = []

    def begin(self, count: int) -> None:
        self.one.begin(count)

    def save(self, number: int, loss: float, size: int = 10, **metrics: Any) -> list[str]:
        one = self.one
        iteration = one.trial(number).iteration + 1
        values = {"loss": loss, "training_iteration": iteration, "time_total_s": 1.0, **metrics}
        commands = one.feed(ev.Reported(number, one.trial(number).attempt, iteration, values, f"{number}/{loss:g}", bytes=size))
        return self._note(commands)

    def end(self, number: int, outcome: str = "finished") -> list[str]:
        return self._note(self.one.end(number, outcome))

    def _note(self, commands: list[cmd.Command]) -> list[str]:
        found = deleted(commands)
        self.gone += found
        return found

    @property
    def champion(self) -> str:
        champion = self.one.state.shelf.champion
        return champion[1].id if champion is not None else ""


@pytest.fixture
def story(script: Any) -> Any:
    return lambda **settings: Story(script, **settings)


def test_the_best_of_all_stays_whatever_retention_says(story: Any) -> None:
    tale = story(num_to_keep=1)
    tale.begin(2)
    assert tale.save(0, 0.1) == []
    assert tale.save(0, 0.5) == []  # the newest of the trial, and the best of all
    assert tale.save(1, 0.3) == []
    assert tale.save(0, 0.4) == ["0/0.5"]
    assert tale.champion == "0/0.1"
    assert tale.save(1, 0.05) == ["0/0.1", "1/0.3"]  # overtaken: now it may go, too
    assert tale.champion == "1/0.05"


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), "none"])
def test_what_cannot_be_compared_is_not_the_best(story: Any, loss: Any) -> None:
    tale = story(nan_policy="continue")
    tale.begin(1)
    one = tale.one
    one.feed(ev.Reported(0, 0, 1, {"loss": loss, "training_iteration": 1, "time_total_s": 1.0}, "0/a"))
    assert tale.champion == ""


def test_on_a_tie_it_is_the_earlier_trial_and_step(story: Any) -> None:
    tale = story()
    tale.begin(3)
    tale.save(1, 0.5)
    tale.save(2, 0.5)
    assert tale.champion == "1/0.5"
    tale.save(0, 0.5)
    assert tale.champion == "0/0.5"


def test_an_infeasible_trial_is_no_result(story: Any) -> None:
    tale = story()
    tale.begin(2)
    tale.save(0, 0.1)
    tale.end(0, "infeasible")
    assert tale.champion == ""
    tale.save(1, 0.9)
    assert tale.champion == "1/0.9"


def test_losers_go_at_once(story: Any) -> None:
    tale = story(keep_best=2)
    tale.begin(4)
    for number, loss in enumerate((0.4, 0.2, 0.3, 0.1)):
        tale.save(number, loss + 1)
        tale.save(number, loss)
    assert tale.gone == []  # living trials keep what num_to_keep says
    assert tale.end(0) == ["0/1.4"]
    assert tale.end(1) == ["1/1.2"]  # trial 0 is still among the two best
    assert tale.end(2) == ["2/1.3", "0/0.4"]
    assert tale.end(3) == ["3/1.1", "2/0.3"]
    left = {one.id for held in tale.one.state.shelf.ended.values() for one in held}
    assert left == {"1/0.2", "3/0.1"}


def test_why_is_on_record(story: Any) -> None:
    tale = story(keep_best=1)
    tale.begin(2)
    tale.save(0, 0.1)
    tale.end(0)
    tale.save(1, 0.2)
    tale.end(1)
    assert ("drop", None) in tale.one.did()
    assert tale.one.reason("drop") == "keep_best=1: not among the 1 best of the trials that have ended"


def test_the_last_checkpoint_of_the_leader_stays_beside_its_best(story: Any) -> None:
    """The best result by its last value asks for the checkpoint of that step."""
    tale = story(keep_best=1)
    tale.begin(1)
    for loss in (0.3, 0.1, 0.2):
        tale.save(0, loss)
    assert tale.end(0) == ["0/0.3"]
    tale.begin(1)
    tale.save(1, 0.15)
    assert tale.end(1) == ["0/0.2"]  # now it is trial 1 by the last value; the best of all is still one of trial 0


def test_a_score_of_its_own_ranks(story: Any) -> None:
    tale = story(keep_best=1, score_attribute="acc", score_order="max")
    tale.begin(3)
    for number, acc in enumerate((0.5, 0.9, 0.7)):
        tale.save(number, loss=float(number), acc=acc)
    for number in range(3):
        tale.end(number)
    left = {one.id for held in tale.one.state.shelf.ended.values() for one in held}
    assert left == {"1/1", "0/0"}  # the best by its score; and the best by the metric, which a result asks for


def test_the_budget_is_kept_to_and_the_worst_go_first(story: Any) -> None:
    tale = story(max_checkpoint_bytes=35)
    tale.begin(2)
    tale.save(0, 0.9)
    tale.save(0, 0.5)
    tale.save(1, 0.7)
    assert tale.gone == []
    assert tale.save(1, 0.4) == ["0/0.9"]
    assert tale.save(1, 0.6) == ["1/0.7"]
    assert tale.one.state.shelf.total == 30
    assert "there are 40 bytes, and it is the worst that nobody needs" in tale.one.reason("drop")


def test_what_trials_go_on_from_is_never_among_them(story: Any) -> None:
    tale = story(max_checkpoint_bytes=15)
    tale.begin(3)
    assert tale.save(0, 0.5) == []
    assert tale.save(1, 1.5) == []
    assert tale.one.state.shelf.full
    assert tale.one.reason("drop").endswith("there are 20 bytes, and each checkpoint is the best one or is gone on from")
    assert tale.save(2, 2.5) == []
    assert tale.one.decisions == []  # said once
    assert tale.end(1) == []  # the best by its last value of those that have ended
    assert tale.end(0) == ["1/1.5"]
    assert tale.end(2) == ["2/2.5"]
    assert not tale.one.state.shelf.full


def test_a_checkpoint_larger_than_the_budget_is_kept_as_long_as_it_is_needed(story: Any) -> None:
    tale = story(max_checkpoint_bytes=5)
    tale.begin(1)
    assert tale.save(0, 0.5) == []
    assert tale.save(0, 0.4) == ["0/0.5"]
    assert tale.champion == "0/0.4"


def test_a_repeated_word_of_one_that_went_is_no_news(story: Any) -> None:
    tale = story(max_checkpoint_bytes=15)
    tale.begin(1)
    tale.save(0, 0.5)
    tale.save(0, 0.4)
    assert tale.gone == ["0/0.5"]
    assert not tale.one.controller.accepts(ev.CheckpointSaved(0, 0, 1, "0/0.5"))


def test_limits_that_come_with_a_resume_count_for_what_ends_from_then_on(story: Any) -> None:
    tale = story()
    tale.begin(2)
    tale.save(0, 0.1)
    tale.save(1, 0.2)
    tale.end(0)
    tale.one.resume(keep_best=1)
    tale.one.started(1)
    assert tale.end(1) == []
    assert list(tale.one.state.shelf.ended) == [1]
