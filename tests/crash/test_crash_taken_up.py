"""The driver dies at every point of a session that takes up failed trials, or is about them only; nothing is lost or doubled."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tunesmith.build import build
from tunesmith.core import events as ev
from tunesmith.execute import execute
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.space import grid_search
from tunesmith.testing.faults import POINTS, Crash, crash_at
from tunesmith.trainable.session import get_checkpoint, report

BAD = (0, 2)


def spec(path: Path, broken: bool, resume: Any = False) -> Any:
    def train(config: dict[str, Any]) -> None:
        loaded = get_checkpoint()
        for step in range(loaded.to_dict()["step"] if loaded else 0, 2):
            if broken and config["x"] in BAD and step == 1:
                raise RuntimeError("broken")
            report({"loss": config["x"] * (step + 1)}, checkpoint={"step": step + 1})

    space = {"x": grid_search([0, 1, 2])}
    return build(
        train, executor="inline", config=space, seed=3, name="run", storage_path=str(path), verbose=0, loggers=(), resume=resume
    )


def story(path: Path) -> tuple[dict[int, dict[int, float]], Counter[int], Counter[int]]:
    """trial -> iteration -> loss of the newest report; how often each trial ended well; how often it was taken up."""
    rows: dict[int, dict[int, float]] = {}
    ended: Counter[int] = Counter()
    taken: Counter[int] = Counter()
    with open_reader(path / "run" / JOURNAL_FILE) as reader:
        for record in reader.read():
            if isinstance(record.event, ev.Reported):
                rows.setdefault(record.event.trial, {})[record.event.iteration] = record.event.metrics["loss"]
            elif isinstance(record.event, ev.Reopened):
                taken[record.event.trial] += 1
            for decision in record.decisions:
                if decision.do == "end" and decision.data["status"] == "TERMINATED" and decision.trial is not None:
                    ended[decision.trial] += 1
    return rows, ended, taken


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with two trials that failed."""
    path = tmp_path_factory.mktemp("failed")
    assert execute(spec(path, broken=True)).counts["ERROR"] == 2
    return path


@pytest.mark.parametrize("form", ["LOCAL+ERRORED", "LOCAL+RESTART_ERRORED", "LOCAL+ERRORED_ONLY"])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_turn(failed: Path, tmp_path: Path, point: str, form: str) -> None:
    turn, crashed = 0, True
    while crashed:
        path = Path(shutil.copytree(failed, tmp_path / str(turn)))
        crashed = False
        try:
            with crash_at(point, turn):
                execute(spec(path, broken=False, resume=form))
        except Crash:
            crashed = True
        # what the first commit has taken up is unfinished, and goes on whatever is said now
        finished = execute(spec(path, broken=False, resume=form if (point, turn) == ("before_commit", 0) else True))
        assert finished.counts["TERMINATED"] == 3
        rows, ended, taken = story(path)
        assert rows == {x: {step: x * step for step in (1, 2)} for x in range(3)}
        assert ended == dict.fromkeys(range(3), 1)
        assert taken == dict.fromkeys(BAD, 1)
        turn += 1
    assert turn > 5
