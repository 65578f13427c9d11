"""What an analysis says of a population: exploits, and the schedule that led to a result, through borrowed checkpoints and rewinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith.analysis import ExperimentAnalysis, ResultGrid
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Record
from tunesmith.errors import MetricError
from tunesmith.space import Space, choice, uniform

Make = Callable[..., ExperimentAnalysis]


def suggested(number: int, **values: Any) -> Record:
    return Record(ev.Suggested(number, values))


def reported(number: int, iteration: int, score: float = 0.0, saved: str | None = None, attempt: int = 0) -> Record:
    return Record(ev.Reported(number, attempt, iteration, {"score": score, "training_iteration": iteration}, saved))


def saved(number: int, iteration: int, identity: str) -> Record:
    return Record(ev.CheckpointSaved(number, 0, iteration, identity))


def exploit(number: int, source: int, *, at: float = 0.0, **values: Any) -> Record:
    data = {"source": source, **({"values": values} if values else {})}
    return Record(ev.TimerFired("x", at), [Decision("exploit", number, "why", data)])


def explored(number: int, changes: dict[str, Any] | None = None, **values: Any) -> Record:
    return Record(ev.Explored(number, values, exploit=1, changes=changes or {}))


def exploited(number: int, source: int, checkpoint: str, iteration: int, at: float = 0.0, **data: Any) -> Record:
    decision = Decision("exploited", number, "why; what", {"source": source, "checkpoint": checkpoint, "iteration": iteration, **data})
    return Record(ev.AttemptEnded(number, 0, "stopped", at=at), [decision])


def copied(number: int, source: int, checkpoint: str, iteration: int, **values: Any) -> list[Record]:
    return [exploit(number, source, **values), exploited(number, source, checkpoint, iteration)]


@pytest.fixture
def make(in_memory: Make) -> Make:
    def made(*records: Record | list[Record], **options: Any) -> ExperimentAnalysis:
        return in_memory(*[one for record in records for one in (record if isinstance(record, list) else [record])], **options)

    return made


def test_an_exploit_in_full(make: Make) -> None:
    analysis = make(
        suggested(0, lr=0.1), suggested(1, lr=0.2), reported(1, 4, saved="1/a"), reported(0, 5), exploit(0, 1),
        suggested(2, lr=3.0), exploit(1, 2, lr=9.0), exploited(1, 2, "2/x", 1),  # the source changes before it is done
        explored(0, {"lr": [0.2, 0.24, "x1.2"]}, lr=0.24), exploited(0, 1, "1/a", 4, at=7.5),
    )  # fmt: skip
    other, found = analysis.exploits()
    assert (other["trial"], other["old_config"], other["config"]) == (1, {"lr": 3.0}, {"lr": 9.0})
    assert found == {
        "at": 7.5, "trial": 0, "iteration": 5, "source": 1, "source_iteration": 4, "checkpoint": "1/a", "old_config": {"lr": 0.2},
        "config": {"lr": 0.24}, "changes": {"lr": [0.2, 0.24, "x1.2"]}, "reason": "why; what",
    }  # fmt: skip


def test_what_was_given_up_is_none(make: Make) -> None:
    given_up = Record(ev.TimerFired("exploit:0"), [Decision("skip", 0, "exploit given up: ...")])
    analysis = make(suggested(0, lr=0.1), suggested(1, lr=0.2), reported(0, 1, 1.0), exploit(0, 1), explored(0, lr=0.3), given_up)
    assert analysis.exploits() == []
    assert analysis.best_schedule("score", "max") == [(0, {"lr": 0.1})]


def test_the_chain_of_the_winner(make: Make) -> None:
    analysis = make(
        [suggested(n, lr=float(n)) for n in range(4)],
        reported(0, 2, saved="0/a"), copied(1, 0, "0/a", 2, lr=10.0), reported(1, 3, -1.0, "1/a"),
        copied(2, 1, "1/a", 3, lr=11.0), reported(2, 4, 0.9),
        copied(3, 0, "0/a", 2, lr=12.0), reported(3, 3, 0.5),
    )  # fmt: skip
    assert analysis.best_schedule("score", "max") == [(0, {"lr": 0.0}), (2, {"lr": 10.0}), (3, {"lr": 11.0})]
    assert ResultGrid(analysis).best_schedule("score", "max") == analysis.best_schedule("score", "max")
    assert analysis.best_schedule("score", "min") == [(0, {"lr": 0.0}), (2, {"lr": 10.0})]  # trial 1
    json.dumps(analysis.best_schedule("score", "max"))


def test_a_source_that_has_not_saved_since_it_copied_itself(make: Make) -> None:
    """What is copied are the weights of before, so nothing was trained with what the source had since."""
    analysis = make(
        [suggested(n, lr=float(n)) for n in range(3)], reported(0, 2, saved="0/a"), copied(1, 0, "0/a", 2, lr=10.0), reported(1, 5),
        copied(2, 1, "0/a", 2, lr=11.0), reported(2, 3, 0.9),
    )  # fmt: skip
    assert analysis.best_schedule("score", "max") == [(0, {"lr": 0.0}), (2, {"lr": 11.0})]


def test_what_the_saver_did_after_the_checkpoint_does_not_count(make: Make) -> None:
    analysis = make(
        [suggested(n, lr=float(n)) for n in range(3)], reported(0, 2), saved(0, 2, "0/a"), reported(1, 1, saved="1/a"),
        exploit(2, 0, lr=11.0), copied(0, 1, "1/a", 1, lr=10.0), exploited(2, 0, "0/a", 2), reported(2, 3, 0.9),
    )  # fmt: skip
    assert analysis.best_schedule("score", "max") == [(0, {"lr": 0.0}), (2, {"lr": 11.0})]


def test_what_was_saved_before_anything_was_trained(make: Make) -> None:
    analysis = make(
        [suggested(n, lr=float(n)) for n in range(3)], reported(0, 2, saved="0/a"), copied(1, 0, "0/a", 2, lr=10.0), saved(1, 2, "1/a"),
        copied(2, 1, "1/a", 2, lr=11.0), reported(2, 3, 0.9),
    )  # fmt: skip
    assert analysis.best_schedule("score", "max") == [(0, {"lr": 0.0}), (2, {"lr": 11.0})]


def test_itself_with_other_values(make: Make) -> None:
    analysis = make(suggested(0, lr=0.1), reported(0, 3, 0.1, "0/a"), copied(0, 0, "0/a", 3, lr=0.2), reported(0, 4, 0.2, "0/b"))
    assert analysis.best_schedule("score", "max") == [(0, {"lr": 0.1}), (3, {"lr": 0.2})]


def test_of_an_earlier_step_only_what_was_before(make: Make) -> None:
    """``scope="all"``: the winning report may be older than the last exploit."""
    analysis = make(
        suggested(0, lr=0.1), suggested(1, lr=0.2), reported(0, 1, 0.9), reported(1, 3, 0.1, "1/a"), copied(0, 1, "1/a", 3, lr=0.3),
        reported(0, 4, 0.2),
    )  # fmt: skip
    assert analysis.best_schedule("score", "max", "all") == [(0, {"lr": 0.1})]
    assert analysis.best_schedule("score", "max") == [(0, {"lr": 0.2}), (3, {"lr": 0.3})]


def test_of_a_trial_that_began_anew(make: Make) -> None:
    over = Record(ev.AttemptEnded(0, 0, "user_error"), [Decision("end", 0, "", {"status": "ERROR", "outcome": "user_error"})])
    again = Record(ev.Reopened(0, 2, "errored", {"lr": 0.3}, None, 4, 0.0, {}, 4))
    analysis = make(
        suggested(0, lr=0.1), suggested(1, lr=0.2), reported(1, 3, 0.0, "1/a"), copied(0, 1, "1/a", 3, lr=0.3), reported(0, 4, 0.5),
        over, again, reported(0, 1, 0.7, attempt=2),
    )  # fmt: skip
    assert analysis.best_schedule("score", "max") == [(0, {"lr": 0.3})]


def test_values_belong_to_their_version_of_the_space(make: Make) -> None:
    spaces = [Space.parse({"lr": uniform(0, 1), "act": choice(acts), "epochs": epochs}) for acts, epochs in (([len, abs], 1), ([abs], 2))]
    analysis = make(
        suggested(0, lr=0.1, act=1), reported(0, 1, saved="0/a"), Record(ev.SpecChanged({"space": spaces[1].describe()})),
        suggested(1, lr=0.2, act=0), reported(1, 1), exploit(1, 0, lr=0.3, act=0), exploited(1, 0, "0/a", 1, space=0), reported(1, 2, 0.9),
        spec={"space": spaces[0].describe()},
    )  # fmt: skip
    (found,) = analysis.exploits()
    assert (found["old_config"], found["config"]) == ({"lr": 0.1, "act": "abs", "epochs": 1}, {"lr": 0.3, "act": "len", "epochs": 1})
    assert analysis.best_schedule("score", "max") == [(0, found["old_config"]), (1, found["config"])]


def test_without_a_metric(make: Make) -> None:
    with pytest.raises(MetricError):
        make(suggested(0, lr=0.1)).best_schedule("score", "max")
