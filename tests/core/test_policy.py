"""Outcome classes, budgets, the circuit breaker, the words for people."""

from __future__ import annotations

import pytest

from tunesmith.core import policy
from tunesmith.core.events import AttemptEnded
from tunesmith.core.policy import Breaker, budget, describe_error
from tunesmith.core.settings import Settings


def failure(outcome: str = "user_error", kind: str = "KeyError", where: str = "train.py:42") -> AttemptEnded:
    return AttemptEnded(0, 0, outcome, {"type": kind, "message": "'lr'", "where": where})


def test_every_outcome_is_in_one_class() -> None:
    classes = [policy.TERMINAL, policy.FAILURES, policy.FREE]
    assert sum(map(len, classes)) == len(policy.OUTCOMES)
    assert frozenset(policy.DEFAULT_RETRIES) <= policy.FAILURES


def test_budgets() -> None:
    settings = Settings(retries={"user_error": 2, "oom_ram": -1})
    found = {outcome: budget(settings, outcome) for outcome in ("user_error", "oom_ram", "worker_lost", "node_lost", "timeout", "nan")}
    assert found == {"user_error": 2, "oom_ram": -1, "worker_lost": 5, "node_lost": 20, "timeout": 0, "nan": 0}
    assert budget(Settings(retries={"worker_lost": 0}), "worker_lost") == 0


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (failure(), "KeyError: 'lr' at train.py:42"),
        (AttemptEnded(0, 0, "oom_ram"), "oom_ram"),
        (AttemptEnded(0, 0, "user_error", {"type": "ValueError"}), "ValueError"),
        (AttemptEnded(0, 0, "user_error", {"message": "so"}), "error: so"),
    ],
)
def test_words_for_an_error(event: AttemptEnded, text: str) -> None:
    assert describe_error(event) == text


def test_the_breaker_trips_on_the_kth_that_fails_alike() -> None:
    breaker = Breaker()
    assert [breaker.failure(failure(), 3) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("other", [failure(kind="ValueError"), failure(where="train.py:7"), failure(outcome="oom_ram")])
def test_another_failure_disarms_it(other: AttemptEnded) -> None:
    breaker = Breaker()
    breaker.failure(failure(), 3)
    assert not breaker.failure(other, 3)
    assert not any(breaker.failure(failure(), 3) for _ in range(9))


def test_a_success_disarms_it() -> None:
    breaker = Breaker()
    breaker.success()
    assert not any(breaker.failure(failure(), 1) for _ in range(3))


def test_off() -> None:
    assert not any(Breaker().failure(failure(), None) for _ in range(99))
