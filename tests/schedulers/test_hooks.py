"""Hooks that nothing would call, as those of a scheduler written for Ray, are refused before the run, with what to write instead."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.schedulers import FIFOScheduler, Scheduler, TrialScheduler
from tunesmith.schedulers.hooks import check_hooks


class Old(TrialScheduler):
    def on_trial_add(self, controller: Any, trial: Any) -> None: ...
    def on_trial_result(self, controller: Any, trial: Any, result: Any) -> str:
        return self.STOP

    def on_trial_complete(self, controller: Any, trial: Any, result: Any) -> None: ...
    def on_trial_error(self, controller: Any, trial: Any) -> None: ...
    def on_trial_remove(self, controller: Any, trial: Any) -> None: ...
    def choose_trial_to_run(self, controller: Any) -> None: ...


class OldFifo(FIFOScheduler):
    def on_trial_result(self, controller: Any, trial: Any, result: Any) -> str:
        return self.STOP


class OldAsha(tune.ASHAScheduler):
    def on_trial_result(self, controller: Any, trial: Any, result: Any) -> str:
        return self.STOP


class Renamed(Scheduler):
    """The old arguments under the new name."""

    def on_result(self, controller: Any, trial: Any, result: Any) -> str:  # type: ignore[override]
        return self.STOP


class OnItsOwn:
    """It derives from nothing here."""

    def on_trial_result(self, controller: Any, trial: Any, result: Any) -> str: ...
    def choose_trial_to_run(self, controller: Any) -> None: ...


RESULT = "on_result(self, trial, result) instead of on_trial_result"


def test_all_are_named_with_what_to_write_instead() -> None:
    with pytest.raises(SpecError) as caught:
        check_hooks(Old())
    text = str(caught.value)
    assert text.startswith("the scheduler Old has hooks that nothing here can call: ")
    assert f"write {RESULT}; " in text
    assert "write on_trial_end(self, trial, outcome) instead of on_trial_complete and on_trial_error and on_trial_remove; " in text
    assert "write choose(self, runnable) instead of choose_trial_to_run; " in text
    assert "write on_trial_add(self, trial) instead of on_trial_add(self, controller, trial), and without the controller" in text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (OldFifo, RESULT),
        (OldAsha, RESULT),
        (Renamed, "on_result(self, trial, result) instead of on_result(self, controller, trial, result)"),
        (OnItsOwn, "choose(self, runnable) instead of choose_trial_to_run"),
    ],
)
def test_so_are_those_of_a_subclass_or_with_the_old_arguments(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_hooks(make())
    assert text in str(caught.value)


def test_one_of_rays_own_is_pointed_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnItsOwn, "__module__", "ray.tune.schedulers.async_hyperband")
    with pytest.raises(SpecError, match=r"are in tune\.schedulers, too; this one is of ray\.tune\.schedulers\.async_hyperband"):
        check_hooks(OnItsOwn())


def train(config: dict[str, Any]) -> dict[str, Any]:
    return {"loss": 1.0}


@pytest.mark.parametrize(
    "given",
    [
        lambda folder: tune.run(train, scheduler=Old(), storage_path=folder),
        lambda folder: tune.Tuner(
            train, tune_config=tune.TuneConfig(scheduler=OldFifo()), run_config=tune.RunConfig(storage_path=str(folder))
        ).fit(),
        lambda folder: tune.simulate(lambda config, iteration: 1.0, scheduler=OldAsha(max_t=3), metric="_metric", mode="min"),
        lambda folder: tune.ResourceChangingScheduler(OldAsha(max_t=3)),
    ],
    ids=["run", "Tuner", "simulate", "as a base"],
)
def test_it_is_refused_wherever_it_is_given_and_before_anything_is_written(given: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has hooks that nothing here can call"):
        given(tmp_path)
    assert list(tmp_path.iterdir()) == []


class Both(Scheduler):
    """Serves Ray as well."""

    def on_trial_result(self, controller: Any, trial: Any, result: Any) -> str:
        return self.on_result(trial, result)

    def on_result(self, trial: Any, result: Any, *more: Any) -> str:
        return self.CONTINUE


class Derived(Both):
    def on_result(self, *arguments: Any, **named: Any) -> str:
        return self.STOP


class Wrapped(Scheduler):
    """Hands all that it does not have to another one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(Both, name)


@pytest.mark.parametrize("make", [Both, Derived, Wrapped])
def test_a_class_that_has_both_is_fine(make: Callable[[], Any]) -> None:
    check_hooks(make())


def test_a_class_instead_of_an_object_is_told_apart(tmp_path: Path) -> None:
    for given in (Both, ABCMeta("Abstract", (Old,), {})):
        with pytest.raises(SpecError, match=r"scheduler: got the class \w+; pass an instance of it, as in scheduler="):
            tune.run(train, scheduler=given, storage_path=tmp_path)


def test_none_of_ours_is_refused() -> None:
    made = [tune.create_scheduler(name) for name in ("fifo", "asha", "pasha", "hyperband", "hb_bohb", "median_stopping_rule", "patience")]
    for scheduler in [*made, tune.ResourceChangingScheduler(made[1])]:
        check_hooks(scheduler)
