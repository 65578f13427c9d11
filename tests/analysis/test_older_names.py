"""What scripts written for Ray Tune ask of an analysis beyond the best: names and arguments of several releases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.analysis import Analysis, ExperimentAnalysis, Result, ResultGrid
from tunesmith.core import events as ev
from tunesmith.core.ports import Record
from tunesmith.errors import SpecError


def test_the_class_of_old(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    analysis = Analysis(str(directory), "loss", "max")
    assert analysis.get_best_config()["lr"] == 0.1
    assert not caplog.messages
    Analysis(directory, file_type="csv")
    assert caplog.messages == ["set_filetype('csv') changes nothing: results are read from the journal, whatever files there are."]


def test_the_type_of_files_is_said_once(analysis: ExperimentAnalysis, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("json", None, "json"):
        analysis.set_filetype(kind)
    assert len(caplog.messages) == 1
    with pytest.raises(SpecError, match=r"'csv', 'json' or None, got 'xml'"):
        analysis.set_filetype("xml")


@pytest.mark.parametrize("names", [(), ("path_or_reader", "experiment_checkpoint_path")])
def test_one_path_is_needed(names: tuple[str, ...], directory: Path) -> None:
    with pytest.raises(SpecError, match="needs one path"):
        ExperimentAnalysis(**dict.fromkeys(names, directory))


def test_file_systems_are_refused_by_name(directory: Path) -> None:
    for make in (lambda: ExperimentAnalysis(directory, storage_filesystem=object()), lambda: Result.from_path(directory, object())):
        with pytest.raises(SpecError, match="storage_filesystem must be a file system"):
            make()


def test_what_is_known_of_the_run(analysis: ExperimentAnalysis) -> None:
    known = analysis.runner_data()
    assert (known["_start_time"], known["_total_time"], known["_metric"], known["_mode"]) == (1_900_000_000.0, 9.0, "loss", "min")
    assert known["_session_str"].startswith("2030-03-1")


def test_ids_find_what_directories_do(analysis: ExperimentAnalysis) -> None:
    """Ray's older releases go by directories, the newer ones by ids."""
    path = analysis.trials[1].path
    assert analysis.get_all_configs()["3f2a9_00001"] == analysis.get_all_configs()[path]
    frames = analysis.trial_dataframes
    assert frames["3f2a9_00001"] is frames[path]
    assert "3f2a9_00001" in frames
    assert "3f2a9_00003" not in frames
    assert list(frames) == [trial.path for trial in analysis.trials[:3]]
    assert len(frames) == 3
    assert frames.get("nobody") is None
    assert analysis.fetch_trial_dataframes()[path].equals(frames[path])


def test_slices_of_a_grid(analysis: ExperimentAnalysis) -> None:
    grid = ResultGrid(analysis)
    assert [result.path for result in grid[1:3]] == [trial.path for trial in analysis.trials[1:3]]
    assert grid[-1].trial.number == 3
    with pytest.raises(IndexError):
        grid[4]


def test_the_last_checkpoint_of_whoever_got_furthest(in_memory: Callable[..., ExperimentAnalysis]) -> None:
    analysis = in_memory(Record(ev.Suggested(0, {})), Record(ev.Reported(0, 0, 1, {"x": 1.0, "training_iteration": 1})))
    assert analysis.get_last_checkpoint() is None
