"""``progress_reporter=``: options, printed tables, and reporters of users' own."""

from __future__ import annotations

import itertools
import logging
import pickle
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tunesmith as tune
from tunesmith.core.events import TimerFired
from tunesmith.core.ports import Header
from tunesmith.errors import SpecError
from tunesmith.journal.trials import TrialBook
from tunesmith.progress import PlainReporter
from tunesmith.progress.board import Board
from tunesmith.progress.own import OwnReporter
from tunesmith.progress.reporters import TuneReporterBase


def train(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report(acc=config["x"] * step, loss=1.0)


def run(tmp_path: Path, **options: Any) -> Any:
    given = {"config": {"x": tune.grid_search([1, 2, 3])}, "metric": "acc", "mode": "max", "executor": "inline", "seed": 1, **options}
    return tune.run(train, "demo", storage_path=tmp_path, **given)


# -- options -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric_columns": "acc"}, "metric_columns must be a list of names, or a dict of name -> header, got 'acc'"),
        ({"metric_columns": [1]}, r"metric_columns must be a list of names, or a dict of name -> header, got \[1\]"),
        ({"parameter_columns": {"lr": 1}}, "parameter_columns must be a list of names"),
        ({"total_samples": 0}, "total_samples must be a whole number >= 1, got 0"),
        ({"max_progress_rows": -1}, "max_progress_rows must be a whole number >= 0, got -1"),
        ({"max_error_rows": True}, "max_error_rows must be a whole number >= 0, got True"),
        ({"max_column_length": 3}, "max_column_length must be a whole number >= 4, got 3"),
        ({"infer_limit": 1.5}, "infer_limit must be a whole number >= 0, got 1.5"),
        ({"max_report_frequency": -1}, "max_report_frequency must be a number of seconds >= 0, got -1"),
        ({"max_report_frequency": "5"}, "max_report_frequency must be a number of seconds >= 0, got '5'"),
        ({"print_intermediate_tables": "yes"}, "print_intermediate_tables must be True or False, got 'yes'"),
        ({"sort_by_metric": 2}, "sort_by_metric must be True or False, got 2"),
        ({"metric": "acc"}, "metric='acc' is given alone; give metric and mode, or neither"),
        ({"mode": "max"}, "mode='max' is given alone"),
        ({"metric": ["acc"], "mode": "max"}, "metric must be a reported key"),
        ({"metric": "acc", "mode": "best"}, "mode must be 'min' or 'max', got 'best'"),
    ],
)
@pytest.mark.parametrize("cls", [tune.CLIReporter, tune.JupyterNotebookReporter])
def test_wrong_options_are_named(cls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=f"{cls.__name__}: {message}"):
        cls(**options)


def test_options_are_those_of_the_table() -> None:
    options = {
        "metric_columns": ["acc"], "parameter_columns": {"lr": "rate"}, "total_samples": 9, "max_progress_rows": 1, "max_error_rows": 2,
        "max_column_length": 10, "max_report_frequency": 3, "infer_limit": 0, "print_intermediate_tables": False, "metric": "acc",
        "mode": "min", "sort_by_metric": True,
    }  # fmt: skip
    made = tune.CLIReporter(**options).options
    expected = {**options, "metric_columns": {"acc": "acc"}, "tables": False}
    del expected["print_intermediate_tables"]
    assert {name: getattr(made, name) for name in made.__slots__} == expected
    assert tune.CLIReporter(["a"], ["b"]).options.parameter_columns == {"b": "b"}
    assert tune.JupyterNotebookReporter(False, ["a"]).options.metric_columns == {"a": "a"}
    with pytest.raises(SpecError, match="overwrite must be True or False"):
        tune.JupyterNotebookReporter("no")  # type: ignore[arg-type]


def test_columns_can_be_added() -> None:
    reporter = tune.CLIReporter(metric_columns={"acc": "ACC"})
    reporter.add_metric_column("loss", "LOSS")
    reporter.add_metric_column("time_total_s")
    reporter.add_parameter_column("lr")
    assert reporter.options.metric_columns == {"acc": "ACC", "loss": "LOSS", "time_total_s": "time_total_s"}
    assert reporter.options.parameter_columns == {"lr": "lr"}
    with pytest.raises(SpecError, match="CLIReporter: there is a column for the metric 'acc' already"):
        reporter.add_metric_column("acc")
    with pytest.raises(ValueError, match="for the parameter 'lr' already"):
        reporter.add_parameter_column("lr", "rate")


@pytest.mark.parametrize("given", ["cli", tune.CLIReporter, print, 3])
def test_what_is_no_reporter_is_refused(tmp_path: Path, given: Any) -> None:
    with pytest.raises(SpecError, match="progress_reporter"):
        run(tmp_path, progress_reporter=given)
    with pytest.raises(SpecError, match="progress_reporter"):
        tune.Tuner(train, run_config=tune.RunConfig(progress_reporter=given, storage_path=str(tmp_path))).fit()
    assert list(tmp_path.iterdir()) == []


# -- printed tables ------------------------------------------------------------------------------------------------------------


def test_tables_are_printed_where_nothing_can_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, progress_reporter=tune.CLIReporter(metric_columns=["acc"], max_report_frequency=1e6, sort_by_metric=True))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("demo begins: 3 trials")
    assert not any(" started" in line for line in lines)
    last = lines.index(next(line for line in lines if line.endswith("3 TERMINATED  3/3 ended")))
    assert last > 2, "there is one at the beginning"
    assert lines[last + 1].startswith("resources in use: cpu 0/")
    assert lines[last + 2] == "scheduler: FIFOScheduler"
    assert lines[last + 3].endswith("acc=6  at iteration 3  x=3")
    assert [line.split() for line in lines[last + 4 : last + 8]] == [
        ["trial", "status", "acc", "x"],
        *[[lines[last + 5 + place].split()[0], "TERMINATED", str(2 * x), str(x)] for place, x in enumerate((3, 2, 1))],
    ]
    assert lines[-1].startswith("files: ")
    assert sum(" ended" in line for line in lines) == 2, "at the beginning and at the end"


@pytest.mark.parametrize(("wanted", "tables"), [(False, 1), (True, 2), (None, 2)])
def test_intermediate_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str], wanted: bool | None, tables: int) -> None:
    run(tmp_path, progress_reporter=tune.CLIReporter(print_intermediate_tables=wanted, max_report_frequency=1e6))
    assert sum(line.startswith("trial  ") for line in capsys.readouterr().out.splitlines()) == tables


def test_more_words_beside_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, progress_reporter=tune.CLIReporter(), verbose=2)
    assert sum(" iteration " in line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")) == 9


def test_the_tuner_and_run_experiments_take_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = tune.CLIReporter(max_report_frequency=0)
    config = tune.RunConfig(progress_reporter=reporter, storage_path=str(tmp_path), executor="inline")
    tune.Tuner(train, param_space={"x": 1}, run_config=config).fit()
    assert "1 TERMINATED  1/1 ended" in capsys.readouterr().out
    experiments = [tune.Experiment(name, train, config={"x": 1}, storage_path=str(tmp_path)) for name in ("one", "two")]
    tune.run_experiments(experiments, progress_reporter=reporter, executor="inline")
    out = capsys.readouterr().out
    assert re.findall(r"^(\w+)  \S+  1 TERMINATED  1/1 ended$", out, re.MULTILINE)[-1] == "two"
    assert re.search(r"^one  \S+  1 TERMINATED  1/1 ended$", out, re.MULTILINE)


# -- reporters of one's own ------------------------------------------------------------------------------------------------------


class Recording(tune.ProgressReporter):
    def __init__(self) -> None:
        self.told: list[Any] = []
        self.info: dict[str, Any] = {}

    def setup(self, **info: Any) -> None:  # type: ignore[override]
        self.info = info

    def should_report(self, trials: Any, done: bool = False) -> bool:
        return True

    def report(self, trials: Any, done: bool, *sys_info: str) -> None:
        self.told.append((done, [(trial.trial_id[-1], trial.status, trial.last_result.get("acc")) for trial in trials], sys_info))


def test_a_reporter_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Recording()
    analysis = run(tmp_path, progress_reporter=reporter)
    assert {**reporter.info, "start_time": 0} == {"start_time": 0, "total_samples": 3, "metric": "acc", "mode": "max"}
    assert reporter.info["start_time"] == pytest.approx(analysis.trials[0].start_time, abs=60)
    assert [done for done, _, _ in reporter.told[:-1]] == [False] * (len(reporter.told) - 1)
    done, trials, sys_info = reporter.told[-1]
    assert done
    assert trials == [("0", "TERMINATED", 2), ("1", "TERMINATED", 4), ("2", "TERMINATED", 6)]
    assert sys_info[1] == "scheduler: FIFOScheduler"
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["demo", "files:", "demo:", "best", "best", "files:"]


def test_only_at_the_end_and_whenever_one_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class AtTheEnd(tune.CLIReporter):
        def should_report(self, trials: Any, done: bool = False) -> bool:
            return done

    class AtEnds(tune.CLIReporter):
        ended = 0
        asked: ClassVar[list[int]] = []

        def should_report(self, trials: Any, done: bool = False) -> bool:
            before, self.ended = self.ended, len([trial for trial in trials if trial.status == "TERMINATED"])
            self.asked.append(self.ended)
            return self.ended > before

    run(tmp_path, progress_reporter=AtTheEnd())
    assert capsys.readouterr().out.count(" ended\n") == 1
    run(tmp_path, progress_reporter=AtEnds())
    assert AtEnds.asked[-1] == 3


def test_a_subclass_may_choose_the_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Good(tune.CLIReporter):
        def should_report(self, trials: Any, done: bool = False) -> bool:
            return done

        def report(self, trials: Any, done: bool, *sys_info: str) -> None:
            super().report([trial for trial in trials if trial.last_result["acc"] < 5], done, "mine")

    run(tmp_path, progress_reporter=Good(max_progress_rows=1))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == ["demo  2 TERMINATED  2/3 ended", "mine"]
    assert lines[4].endswith("acc=4  at iteration 3  x=2")
    assert [line.split()[1] for line in lines[5:8]] == ["status", "TERMINATED", "and"]


def test_a_reporter_is_told_of_a_metric_only_where_there_is_one(tmp_path: Path) -> None:
    told = []

    class Asks(tune.CLIReporter):
        def setup(self, *args: Any, **info: Any) -> None:
            told.append((info["metric"], info["mode"]))
            super().setup(*args, **info)

        def should_report(self, trials: Any, done: bool = False) -> bool:
            return False

    run(tmp_path / "one", progress_reporter=Asks())
    run(tmp_path / "two", progress_reporter=Asks(), metric=["acc", "loss"], mode=["max", "min"])
    assert told == [("acc", "max"), (None, None)]


def test_one_that_raises_is_told_once_and_lines_take_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Recording):
        def report(self, trials: Any, done: bool, *sys_info: str) -> None:
            raise ZeroDivisionError("oh")

    with caplog.at_level(logging.WARNING, "tunesmith"):
        analysis = run(tmp_path, progress_reporter=Broken())
    (text,) = [record.getMessage() for record in caplog.records if "progress_reporter" in record.getMessage()]
    assert text.startswith("progress_reporter: Broken.report raised: ZeroDivisionError: oh")
    assert text.endswith("Plain lines take over.")
    assert len(analysis.trials) == 3
    assert "finished after 3 iterations" in capsys.readouterr().out


def test_methods_that_are_not_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for reporter in (tune.ProgressReporter(), TuneReporterBase(max_report_frequency=0)):
        caplog.clear()
        run(tmp_path, progress_reporter=reporter)
        assert f"{type(reporter).__name__}." in caplog.text
        assert "NotImplementedError" in caplog.text


def test_any_object_with_the_two_methods_will_do(tmp_path: Path) -> None:
    told: list[bool] = []
    reporter = types.SimpleNamespace(
        should_report=lambda trials, done: done, report=lambda trials, done, *sys_info: told.append(done), options={"of": "its own"}
    )
    run(tmp_path, progress_reporter=reporter)
    assert told == [True]


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1e9 + self.time


def test_a_slow_reporter_is_asked_less_often(header: Header, story: Any) -> None:
    clock, moments = Clock(), []

    class Slow(tune.ProgressReporter):
        def should_report(self, trials: Any, done: bool = False) -> bool:
            moments.append(clock.time)
            clock.time += 0.5
            return False

    lines = PlainReporter(header, "/x", verbose=0)
    own = OwnReporter(Slow(), TrialBook(header), lines, Board(header, clock.now), clock, "FIFO")  # type: ignore[arg-type]
    tale = story(own)
    for _ in range(100):
        clock.time += 0.2
        tale.tell(TimerFired("x"))
    own.close()
    assert moments[0] == 0.0
    assert all(later - earlier >= 5.5 for earlier, later in itertools.pairwise(moments[:-1]))
    assert moments[-1] == clock.time - 0.5, "and at the end"


def test_a_resumed_run_goes_on_with_its_reporter(tmp_path: Path) -> None:
    class Stop(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, callbacks=[Stop()], progress_reporter=tune.CLIReporter())
    reporter = Recording()
    run(tmp_path, resume=True, progress_reporter=reporter)
    assert reporter.told[0][1][0][2] == 2, "what was there before"
    assert [acc for _, _, acc in reporter.told[-1][1]] == [2, 4, 6]


def test_a_restored_tuner_keeps_its_reporter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tune.RunConfig("demo", str(tmp_path), progress_reporter=tune.CLIReporter(["acc"]), executor="inline")
    tune.Tuner(train, param_space={"x": 1}, run_config=config).fit()
    capsys.readouterr()
    tune.Tuner.restore(tmp_path / "demo", train).fit()
    assert any(line.split() == ["trial", "status", "acc"] for line in capsys.readouterr().out.splitlines())


def test_reporters_can_be_pickled() -> None:
    for reporter in (tune.CLIReporter(["a"]), tune.JupyterNotebookReporter()):
        assert pickle.loads(pickle.dumps(reporter)).options == reporter.options


# -- notebooks -------------------------------------------------------------------------------------------------------------------


class Cell:
    """The output of a notebook's cell: what ``IPython.display`` was told to show."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.updates = 0

    def display(self, picture: Any, display_id: bool = False) -> Any:
        self.shown.append(picture.data)
        place = len(self.shown) - 1

        def update(newer: Any) -> None:
            self.updates += 1
            self.shown[place] = newer.data

        return types.SimpleNamespace(update=update)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cell]:
    made = Cell()
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display = types.ModuleType("IPython.display")
    display.HTML = lambda data: types.SimpleNamespace(data=data)  # type: ignore[attr-defined]
    display.display = made.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return made


@pytest.mark.parametrize("reporter", [None, tune.CLIReporter(["acc"]), tune.JupyterNotebookReporter(True, ["acc"])])
def test_one_table_in_place_in_a_notebook(tmp_path: Path, cell: Cell, reporter: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, progress_reporter=reporter)
    (picture,) = cell.shown
    assert "<table>" in picture
    assert picture.count("TERMINATED") == 4, "the last one stays"
    assert ("loss" in picture) == (reporter is None)
    assert [line.partition(" ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "demo",
        "files:",
        "demo:",
        "best",
        "best",
        "files:",
    ]


def test_one_table_below_the_other(tmp_path: Path, cell: Cell) -> None:
    run(tmp_path, progress_reporter=tune.JupyterNotebookReporter(overwrite=False, max_report_frequency=1e6))
    assert len(cell.shown) == 2
    assert cell.updates == 0


def test_a_notebook_reporter_with_moments_of_its_own(tmp_path: Path, cell: Cell) -> None:
    class Often(tune.JupyterNotebookReporter):
        asked = 0

        def should_report(self, trials: Any, done: bool = False) -> bool:
            self.asked += 1
            return True

    reporter = Often()
    run(tmp_path, progress_reporter=reporter)
    assert len(cell.shown) == 1
    assert cell.updates == reporter.asked - 1
    run(tmp_path, progress_reporter=reporter)
    assert len(cell.shown) == 2, "a new run gets a table of its own"


def test_a_notebook_reporter_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, progress_reporter=tune.JupyterNotebookReporter(max_report_frequency=1e6))
    assert "3 TERMINATED  3/3 ended" in capsys.readouterr().out


def test_what_is_reported_is_text_in_the_page(tmp_path: Path, cell: Cell) -> None:
    def hostile(config: dict[str, Any]) -> None:
        tune.report(acc=1, note="<script>alert(1)</script>")

    tune.run(hostile, storage_path=tmp_path, executor="inline", progress_reporter=tune.CLIReporter(["note"], max_column_length=40))
    assert "&lt;script&gt;" in cell.shown[0]
    assert "<script>" not in cell.shown[0]
