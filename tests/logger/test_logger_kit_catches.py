"""The kit on loggers with one fault each: it names every one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from tunesmith.logger import LoggerCallback
from tunesmith.testing import LoggerKit


class Good(LoggerCallback):
    """One file for all trials; the faulty ones are made from it."""

    reads_only = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []

    def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
        plain = {key: value for key, value in result.items() if isinstance(value, (int, float, str, type(None)))}
        self.lines.append(json.dumps({**plain, "trial_id": trial.trial_id}))

    def flush(self) -> None:
        with open(self.path, "a") as file:
            file.writelines(f"{line}\n" for line in self.lines)
        self.lines = []


class Loses(Good):
    """Begins anew where it should go on."""

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **info: Any) -> None:
        self.path.write_text("")


class Doubles(Good):
    """Writes all it ever had with each flush."""

    def flush(self) -> None:
        with open(self.path, "a") as file:
            file.writelines(f"{line}\n" for line in self.lines)


class Waits(Good):
    """Writes at the very end only."""

    def flush(self) -> None:
        """Not now."""

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        super().flush()


class MixesUp(Good):
    """Thinks that there is one trial at a time."""

    current: Any

    def log_trial_start(self, trial: Any) -> None:
        self.current = trial

    def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
        super().log_trial_result(iteration, self.current, result)


class OnlyNumbers(Good):
    """Takes every metric for a number."""

    def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
        result["loss"] = round(result["loss"], 3)
        super().log_trial_result(iteration, trial, result)


class Scribbles(Good):
    """Changes what it promised only to read."""

    reads_only = True

    def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
        super().log_trial_result(iteration, trial, result)
        result.pop("config")


class TellsAll(Good):
    """Writes secrets down."""

    def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
        super().log_trial_result(iteration, trial, result)
        Path(f"{self.path}.configs").write_text(repr(trial.config))


class ExpectsResults(Good):
    """Thinks that every trial reports."""

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        assert "loss" in trial.last_result


OPENED: list[IO[str]] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def opened(path: str) -> IO[str]:
    OPENED.append(open(path, "a"))  # noqa: SIM115
    return OPENED[-1]


class LeavesOpen(Good):
    """One file per trial, open for good."""

    def log_trial_start(self, trial: Any) -> None:
        opened(f"{self.path}.{trial.trial_id}")


class ClosesOnce(Good):
    """Breaks if it is closed again."""

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        del self.lines


class HoldsAFile(Good):
    """Opens its file before the run begins."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.file = opened(str(path))


def kit_of(cls: type[Good]) -> LoggerKit:
    class Kit(LoggerKit):
        rewrites = False

        def make(self, tmp_path: Path) -> LoggerCallback:
            return cls(tmp_path / "all.jsonl")

        def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
            path = tmp_path / "all.jsonl"
            rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
            return [row for row in rows if row["trial_id"] == trial_id]

    return Kit()


CHECKS: dict[str, tuple[Any, ...]] = {
    "test_a_resumed_run_loses_and_doubles_nothing": (3,),
    "test_any_story": (),
    "test_a_trial_from_start_to_end": (),
    "test_flush_brings_out_what_was_told": (),
    "test_trials_that_run_at_the_same_time": (),
    "test_odd_metrics": (),
    "test_what_it_is_given_it_leaves_alone": (),
    "test_secrets_reach_no_file": (),
    "test_a_trial_that_never_reports": (),
    "test_files_are_closed": (),
    "test_closing_twice": (),
    "test_a_new_one_can_be_pickled": (),
}
FAULTS = [
    (Loses, "test_a_resumed_run_loses_and_doubles_nothing"),
    (Loses, "test_any_story"),
    (Doubles, "test_a_resumed_run_loses_and_doubles_nothing"),
    (Doubles, "test_flush_brings_out_what_was_told"),
    (Waits, "test_flush_brings_out_what_was_told"),
    (MixesUp, "test_trials_that_run_at_the_same_time"),
    (MixesUp, "test_any_story"),
    (OnlyNumbers, "test_odd_metrics"),
    (Scribbles, "test_what_it_is_given_it_leaves_alone"),
    (TellsAll, "test_secrets_reach_no_file"),
    (ExpectsResults, "test_a_trial_that_never_reports"),
    (LeavesOpen, "test_files_are_closed"),
    (ClosesOnce, "test_closing_twice"),
    (HoldsAFile, "test_a_new_one_can_be_pickled"),
]


@pytest.mark.parametrize(("faulty", "test"), FAULTS, ids=lambda one: getattr(one, "__name__", one))
def test_a_fault_is_found(tmp_path: Path, faulty: type[Good], test: str) -> None:
    with pytest.raises(Exception):  # noqa: B017
        getattr(kit_of(faulty), test)(tmp_path, *CHECKS[test])


@pytest.mark.parametrize("test", CHECKS)
def test_the_one_without_a_fault_passes(tmp_path: Path, test: str) -> None:
    getattr(kit_of(Good), test)(tmp_path, *CHECKS[test])
