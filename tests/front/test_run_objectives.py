"""Where metric and mode come from: the front, the scheduler or the searcher, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpecError
from tunesmith.objectives import agree


class Part:
    """A scheduler that takes what it is told, or a searcher."""

    def __init__(self, metric: Any = None, mode: Any = None) -> None:
        self.metric, self.mode = metric, mode

    def set_search_properties(self, metric: Any, mode: Any) -> bool:
        if (metric is not None and self.metric is not None) or (mode is not None and self.mode is not None):
            return False
        self.metric = metric if metric is not None else self.metric
        self.mode = mode if mode is not None else self.mode
        return True


class Foreign:
    """Keeps its own under underscores, as plug-ins written for Ray do, and will not be told."""

    def __init__(self, metric: str | None = None, mode: str | None = None) -> None:
        self._metric, self._mode = metric, mode

    def set_search_properties(self, metric: str | None, mode: str | None) -> bool:
        return False


def test_nobody_gives_any() -> None:
    assert agree(None, None, Part(), Part()) == ((), ())


def test_the_front_tells_the_scheduler_and_leaves_the_searcher_to_its_host() -> None:
    scheduler, searcher = Part(), Part()
    assert agree("loss", "min", scheduler, searcher) == (("loss",), ("min",))
    assert (scheduler.metric, scheduler.mode) == ("loss", "min")
    assert (searcher.metric, searcher.mode) == (None, None)


def test_what_is_missing_is_filled_one_by_one() -> None:
    scheduler = Part(mode="max")
    assert agree("accuracy", None, scheduler, Part()) == (("accuracy",), ("max",))
    assert (scheduler.metric, scheduler.mode) == ("accuracy", "max")


def test_only_the_searcher_knows() -> None:
    scheduler = Part()
    assert agree(None, None, scheduler, Foreign("loss", "min")) == (("loss",), ("min",))
    assert (scheduler.metric, scheduler.mode) == ("loss", "min")


def test_given_twice_and_the_same_is_fine() -> None:
    assert agree("loss", "min", Part("loss", "min"), Part("loss", "min")) == (("loss",), ("min",))


@pytest.mark.parametrize(
    ("metric", "mode", "scheduler", "searcher", "message"),
    [
        ("loss", "min", Part("accuracy", "max"), None, "metric='loss' in this run contradicts metric='accuracy' in the scheduler Part"),
        ("loss", "min", Part("loss", "max"), None, "mode='min' in this run contradicts mode='max' in the scheduler Part"),
        (None, None, Part("a", "max"), Part("b", "max"), "metric='a' in the scheduler Part contradicts metric='b' in the searcher Part"),
        ("loss", "min", Foreign(), None, "the scheduler Foreign does not take metric='loss' and mode='min'"),
        ("loss", None, Part(), Part(), "metric='loss' is given without a mode; say mode='min' or mode='max'"),
        (None, "minimum", None, None, "mode must be 'min' or 'max' .* got 'minimum' in this run"),
        (None, None, Part(mode="best"), None, "got 'best' in the scheduler Part"),
        (["a", "b"], ["min"], None, None, "must be lists of equal length"),
        (["a", "a"], ["min", "max"], None, None, "names the same metric twice"),
        (3, "min", None, None, "metric must be a name or a list of names, got 3"),
        ([], "min", None, None, "metric must be a name or a list of names"),
    ],
)
def test_what_cannot_be_agreed_on(metric: Any, mode: Any, scheduler: Any, searcher: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        agree(metric, mode, scheduler, searcher)


def test_a_mode_alone_is_for_bare_numbers() -> None:
    scheduler = Part()
    assert agree(None, "max", scheduler, None) == (("_metric",), ("max",))
    assert scheduler.metric == "_metric"


def test_several_objectives_come_as_lists() -> None:
    scheduler = Part()
    assert agree(["loss", "time"], ("min", "min"), scheduler, None) == (("loss", "time"), ("min", "min"))
    assert (scheduler.metric, scheduler.mode) == (["loss", "time"], ["min", "min"])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=3, max_size=3).filter(lambda sources: any(m for m, _ in sources)))
def test_whoever_gives_it_everyone_ends_up_with_it(sources: list[tuple[bool, bool]]) -> None:
    (front_metric, front_mode), *others = sources
    parts = [Part("loss" if metric else None, "min" if mode else None) for metric, mode in others]
    front = ("loss" if front_metric else None, "min" if front_mode else None)
    if not any(mode for _, mode in sources):
        front = (front[0], "min")
    assert agree(*front, *parts) == (("loss",), ("min",))
    assert (parts[0].metric, parts[0].mode) == ("loss", "min")
