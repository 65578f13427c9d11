"""Whole runs whose results are stored behind a URL: what is there at the end, on other machines, and when storage fails."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs as arrow

import tunesmith as tune
from tunesmith.errors import JournalError, JournalLocked, RemoteStorageError, SpecError
from tunesmith.journal import open_reader
from tunesmith.storage import mirror as mirrors
from tunesmith.storage import pace, trees
from tunesmith.storage.fetch import Listing, bring
from tunesmith.storage.files import changed, trial_files
from tunesmith.storage.objects import Objects, Retry
from tunesmith.storage.remote import remote_from
from tunesmith.storage.segments import Segment, parse

if TYPE_CHECKING:
    from tests.storage.conftest import FaultyFileSystem

Machines = Callable[[str], Path]


def train(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    begun = checkpoint.to_dict()["step"] if checkpoint is not None else 0
    for step in range(begun + 1, config.get("steps", 3) + 1):
        Path(tune.get_context().get_trial_dir(), "mine.txt").write_text(str(step))
        tune.report({"loss": config["x"] / step, "begun": begun}, checkpoint={"step": step})


def go(filesystem: Any = None, path: Any = "bucket/results", **arguments: Any) -> tune.ExperimentAnalysis:
    settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "name": "x", "storage_filesystem": filesystem}
    return tune.run(train, storage_path=path, **{"config": {"x": tune.grid_search([1.0, 2.0])}, **settings, **arguments})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for when storage fails."""
    monkeypatch.setattr(mirrors, "Retry", lambda wait: Retry(attempts=2, wait=lambda seconds: False))
    monkeypatch.setattr(mirrors, "FINAL_S", 0.0)
    monkeypatch.setattr(pace, "SPACING_S", 0.01)


def refuse(faulty: FaultyFileSystem, *what: str, part: str = "", error: type[Exception] = OSError) -> None:
    def before(done: str, path: str) -> None:
        if done in what and part in path:
            raise error("refused")

    faulty.before = before


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


# -- what is there ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["local", "arrow", "file url"])
def test_other_kinds_of_storage(tmp_path: Path, machine: Machines, kind: str) -> None:
    store = tmp_path / "store"
    filesystem: Any = {"local": LocalFileSystem(), "arrow": arrow.LocalFileSystem(), "file url": None}[kind]
    path = f"file://{store}" if kind == "file url" else str(store)
    ours = go(filesystem, path)
    assert not [name for name in store.rglob("*") if name.name.endswith(".part")]
    machine("elsewhere")
    theirs = tune.open_experiment(f"{path}/x", storage_filesystem=filesystem)
    assert theirs.best_checkpoint is not None
    assert theirs.best_checkpoint.to_dict() == {"step": 3}
    assert theirs.results == ours.results
    assert len(go(filesystem, path, resume=True, num_samples=2).trials) == 4


def test_the_usual_files_are_stored(faulty: FaultyFileSystem) -> None:
    analysis = go(faulty)
    names = faulty.names("/bucket/results/x")
    for trial in analysis.trials:
        own = {name.partition("/")[2] for name in names if name.startswith(trial.trial_id) and "checkpoint_" not in name}
        assert own - {name for name in own if "tfevents" in name} == {"params.json", "progress.csv", "result.json"}
        assert sum("tfevents" in name for name in own) == 1
    assert {name for name in names if "/" not in name} == {"spec.pkl", ".files.json"}


def test_artifacts_are_stored_if_asked_for(faulty: FaultyFileSystem) -> None:
    analysis = go(faulty, sync_config=tune.SyncConfig(sync_artifacts=True))
    for trial in analysis.trials:
        assert faulty.cat_file(f"/bucket/results/x/{trial.trial_id}/mine.txt") == b"3"


def test_artifacts_are_files_below_the_trials_own_directory(tmp_path: Path) -> None:
    trial, big = tmp_path / "x" / "t", tmp_path / "big"
    for folder in (trial / "sub", big):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    for folder in (trial, trial / "sub"):
        os.mkfifo(folder / "pipe")
        os.mknod(folder / "socket", stat.S_IFSOCK | 0o600)
        (folder / "link").symlink_to(big / "file")
        (folder / "data").symlink_to(big)
    names = trial_files(str(tmp_path / "x"), "t", (), artifacts=True)
    assert sorted(changed(str(tmp_path / "x"), names, {}, {})) == ["t/link", "t/sub/file", "t/sub/link"]


def test_artifacts_that_are_called_like_checkpoints_are_artifacts(faulty: FaultyFileSystem, machine: Machines) -> None:
    def write(config: dict[str, Any]) -> None:
        folder = Path(tune.get_context().get_trial_dir(), "out", "checkpoint_000005")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "w.txt").write_text("mine")
        tune.report({"loss": config["x"]}, checkpoint={"step": 1})

    settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "sync_config": tune.SyncConfig(sync_artifacts=True)}
    for resume in (False, True):
        config = {"x": tune.grid_search([1.0])}
        tune.run(
            write, config=config, name="x", storage_path="bucket/results", storage_filesystem=faulty, resume=resume,
            num_samples=1 + resume, **settings,
        )  # fmt: skip
    assert sum(name.endswith("/out/checkpoint_000005/w.txt") for name in faulty.names()) == 2
    machine("elsewhere")
    for result in tune.ResultGrid(tune.open_experiment("bucket/results/x", storage_filesystem=faulty)):
        assert Path(result.path, "out", "checkpoint_000005", "w.txt").read_text() == "mine"


def test_settings_without_remote_storage_are_told_to_be_needless(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    go(None, tmp_path / "plain", sync_config=tune.SyncConfig())
    assert not messages(caplog)
    go(None, tmp_path / "plain", name="y", sync_config=tune.SyncConfig(sync_period=1))
    assert "sync_config is accepted, and needless" in caplog.text


def test_secrets_are_not_stored(faulty: FaultyFileSystem) -> None:
    go(faulty, config={"x": 1.0, "api_key": "hush-hush", "wandb": {"project": "hush-hush"}})
    assert not [name for name, file in faulty.store.items() if b"hush-hush" in file.getvalue()]


def test_the_working_folder_is_told(faulty: FaultyFileSystem, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    go(faulty, verbose=1)
    where = tmp_path / "here" / "memory" / "bucket" / "results" / "x"
    assert messages(caplog) == [f"stored in memory://bucket/results/x; working folder: {where}"]


def test_nothing_of_fsspec_is_loaded_without_a_url(tmp_path: Path) -> None:
    program = f"""
import sys
import tunesmith as tune
tune.run(lambda config: {{"loss": 1}}, storage_path={str(tmp_path)!r}, verbose=0, executor="inline", name="x")
assert tune.open_experiment({str(tmp_path / "x")!r}).trials[0].checkpoint is None
assert not [name for name in sys.modules if name.partition(".")[0] in ("fsspec", "s3fs", "pyarrow")]
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


# -- names --------------------------------------------------------------------------------------------------------------------


def test_a_name_that_is_taken_is_not_written_over(faulty: FaultyFileSystem, machine: Machines, caplog: pytest.LogCaptureFixture) -> None:
    go(faulty)
    before = {name: file.getvalue() for name, file in faulty.store.items()}
    machine("elsewhere")
    assert Path(go(faulty).experiment_path).name == "x_2"
    assert "this run is x_2. To go on with the old one: resume=True, name='x'" in caplog.text
    assert {name: faulty.store[name].getvalue() for name in before} == before
    machine("here")
    assert Path(go(faulty).experiment_path).name == "x_3"


def test_what_is_not_there_cannot_be_resumed(faulty: FaultyFileSystem) -> None:
    go(faulty, name="digits")
    with pytest.raises(SpecError, match=r"no experiment 'digit' in memory://bucket/results\. Did you mean 'digits'"):
        go(faulty, name="digit", resume=True)
    with pytest.raises(SpecError, match="no experiment 'other'"):
        go(faulty, name="other", resume="REMOTE")
    assert len(go(faulty, name="other", resume="AUTO").trials) == 2


def test_what_is_not_of_the_experiments_trials_is_neither_deleted_nor_sent(faulty: FaultyFileSystem) -> None:
    """An experiment whose name goes on behind this one's, and what somebody has put there."""
    settings = {"name": "a", "sync_config": tune.SyncConfig(sync_artifacts=True)}
    go(faulty, **settings)
    go(faulty, name="a/b")
    faulty.pipe_file("/bucket/results/a/mine/checkpoint_000003/weights", b"x")
    before = {name for name in faulty.names("/bucket/results/a") if name.startswith(("b/", "mine/"))}
    assert sum(name.endswith(trees.MANIFEST) for name in before) == 6
    go(faulty, resume=True, num_samples=2, **settings)
    assert {name for name in faulty.names("/bucket/results/a") if name.startswith(("b/", "mine/"))} == before
    assert len(tune.open_experiment("bucket/results/a/b", faulty).trials) == 2


def test_reading_names_what_is_near(faulty: FaultyFileSystem) -> None:
    go(faulty)
    with pytest.raises(JournalError, match=r"no experiment at memory://bucket/results: .*Experiments below it: x\."):
        tune.open_experiment("bucket/results", storage_filesystem=faulty)
    assert tune.Tuner.can_restore("bucket/results/x", faulty)
    assert not tune.Tuner.can_restore("bucket/results", faulty)
    with pytest.raises(SpecError, match="there is no experiment in 'bucket/none'"):
        tune.Tuner.restore("bucket/none", train, storage_filesystem=faulty)


# -- reading elsewhere --------------------------------------------------------------------------------------------------------


def test_checkpoints_and_files_come_when_they_are_asked_for(faulty: FaultyFileSystem, machine: Machines) -> None:
    go(faulty)
    machine("elsewhere")
    faulty.calls.clear()
    results = tune.ResultGrid(tune.open_experiment("bucket/results/x", storage_filesystem=faulty))
    assert [len(results), results[0].metrics["loss"]] == [2, 1.0 / 3]
    assert not [path for what, path in faulty.calls if what == "read" and "checkpoint_" in path]
    checkpoint = results[0].checkpoint
    assert checkpoint is not None
    assert checkpoint.to_dict() == {"step": 3}
    assert {path.split("/")[5] for what, path in faulty.calls if what == "read" and "checkpoint_" in path} == {"checkpoint_000002"}
    assert (Path(results[1].path) / "progress.csv").read_text().count("\n") == 4
    best = tune.Result.from_path(f"bucket/results/x/{results[1].trial.trial_id}", faulty)
    assert best.metrics == results[1].metrics


def test_a_run_can_be_followed_while_it_goes_on(faulty: FaultyFileSystem, machine: Machines) -> None:
    go(faulty)
    machine("elsewhere")
    analysis = tune.open_experiment("bucket/results/x", storage_filesystem=faulty)
    assert len(analysis.trials) == 2
    machine("here")
    go(faulty, resume=True, num_samples=2)
    machine("elsewhere")
    assert len(analysis.refresh().trials) == 4


def test_a_newer_checkpoint_is_found_as_soon_as_its_records_are_there(faulty: FaultyFileSystem, machine: Machines) -> None:
    settings: dict[str, Any] = {"config": {"x": 1.0, "steps": 9}}
    go(faulty, stop={"training_iteration": 2}, **settings)
    machine("elsewhere")
    analysis = tune.open_experiment("bucket/results/x", storage_filesystem=faulty)
    assert analysis.best_checkpoint is not None
    assert analysis.best_checkpoint.to_dict() == {"step": 2}
    machine("here")
    go(faulty, stop={"training_iteration": 3}, resume=True, **settings)
    machine("elsewhere")
    newer = analysis.refresh().best_checkpoint
    assert newer is not None
    assert newer.to_dict() == {"step": 3}


def test_several_threads_may_open_it_at_once(faulty: FaultyFileSystem, machine: Machines) -> None:
    go(faulty)
    machine("elsewhere")
    faulty.calls.clear()
    together = threading.Barrier(8)
    found: list[object] = []

    def read() -> None:
        together.wait(20)
        try:
            results = tune.ResultGrid(tune.open_experiment("bucket/results/x", storage_filesystem=faulty))
            checkpoint = results[0].checkpoint
            assert checkpoint is not None
            rows = Path(results[0].path, "progress.csv").read_text().count("\n")
            found.append((checkpoint.to_dict(), rows))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [({"step": 3}, 4)] * 8
    fetched = [path for what, path in faulty.calls if what == "read" and path.endswith(("/progress.csv", trees.MANIFEST))]
    assert len(fetched) == 2, "each once"


# -- taken up elsewhere -------------------------------------------------------------------------------------------------------


def interrupted(faulty: FaultyFileSystem, **arguments: Any) -> None:
    """A run that stores its first records, and then nothing any more."""
    count = 0

    def before(what: str, path: str) -> None:
        nonlocal count
        if what == "write" and "/journal/" in path:
            count += 1
        if count > 1:
            raise PermissionError("gone")

    faulty.before = before
    with pytest.raises(RemoteStorageError, match=r"not stored: records \d+ to \d+.*resume=True, name='x' stores the rest"):
        go(faulty, **arguments)
    faulty.before = lambda what, path: None


def test_what_was_not_stored_is_stored_by_a_resume_on_the_same_machine(faulty: FaultyFileSystem) -> None:
    interrupted(faulty)
    few = parse(faulty.names("/bucket/results/x"))[-1].last
    analysis = go(faulty, resume=True)
    assert parse(faulty.names("/bucket/results/x"))[-1].last > few + 8
    assert {trial.last_result["begun"] for trial in analysis.trials} == {0}, "nothing was run again"


def test_a_driver_that_is_killed_as_soon_as_the_journal_is_there_does_not_hide_what_it_left_remote(
    faulty: FaultyFileSystem, machine: Machines
) -> None:
    go(faulty)
    machine("elsewhere")
    remote = remote_from("bucket/results", faulty)
    assert remote is not None
    objects = Objects(remote.below("x"))
    bring(objects, Listing(objects), objects.remote.folder)  # and here it is killed
    analysis = go(faulty, resume=True)
    assert analysis.best_checkpoint is not None
    assert analysis.best_checkpoint.to_dict() == {"step": 3}


def test_two_machines_that_have_parted_are_told(faulty: FaultyFileSystem, machine: Machines, tmp_path: Path) -> None:
    interrupted(faulty)
    machine("elsewhere")
    go(faulty, resume=True)
    machine("here")
    folder = tmp_path / "here" / "memory" / "bucket" / "results" / "x"
    with pytest.raises(RemoteStorageError, match=r"the working folder .* has \d+ records, memory://bucket/results/x has .*resume='REMOTE'"):
        go(faulty, resume=True)
    before = (folder / "experiment.db").read_bytes()
    with pytest.raises(RemoteStorageError, match="they part between"):
        tune.Tuner.restore("bucket/results/x", train, storage_filesystem=faulty)
    assert (folder / "experiment.db").read_bytes() == before
    analysis = go(faulty, resume="REMOTE")
    assert (folder.parent / "x.aside_1" / "experiment.db").read_bytes() == before
    assert len(analysis.trials) == 2


def test_a_folder_of_another_experiment_is_told(faulty: FaultyFileSystem, machine: Machines, tmp_path: Path) -> None:
    go(faulty)
    machine("elsewhere")
    go(type(faulty)())
    with pytest.raises(RemoteStorageError, match="hold different experiments"):
        go(faulty, resume=True)


def test_tuner_restores_from_elsewhere(faulty: FaultyFileSystem, machine: Machines) -> None:
    go(faulty, config={"x": tune.grid_search([1.0, 2.0]), "steps": 9}, stop={"training_iteration": 3})
    machine("elsewhere")
    tuner = tune.Tuner.restore("bucket/results/x", train, storage_filesystem=faulty, stop={"training_iteration": 5})
    results = tuner.fit()
    assert [result.metrics["training_iteration"] for result in results] == [5, 5]
    assert [result.metrics["begun"] for result in results] == [3, 3]
    machine("third")
    assert [one.metrics["begun"] for one in tune.ResultGrid(tune.open_experiment("bucket/results/x", faulty))] == [3, 3]


def test_tuner_and_experiment_take_urls(faulty: FaultyFileSystem) -> None:
    config = tune.RunConfig(
        name="t", storage_path="bucket/results", storage_filesystem=faulty, verbose=0, executor="inline", sync_config=tune.SyncConfig(60)
    )
    assert len(tune.Tuner(train, param_space={"x": 1.0}, run_config=config).fit()) == 1
    experiment = tune.Experiment("e", train, config={"x": 1.0}, storage_path="bucket/results", storage_filesystem=faulty)
    tune.run_experiments(experiment, verbose=0, executor="inline")
    assert {"t/spec.pkl", "e/spec.pkl"} <= faulty.names()


def test_an_older_folder_is_brought_up(faulty: FaultyFileSystem, machine: Machines, tmp_path: Path) -> None:
    """The first machine's checkpoints of the same name are others: they were never recorded."""
    go(faulty, config={"x": tune.grid_search([1.0, 2.0]), "steps": 9}, stop={"training_iteration": 3}, keep_checkpoints_num=1)
    machine("elsewhere")
    go(faulty, config={"x": tune.grid_search([1.0, 2.0]), "steps": 9}, stop={"training_iteration": 6}, resume=True, keep_checkpoints_num=1)
    machine("here")
    (trial,) = (tmp_path / "here" / "memory" / "bucket" / "results" / "x").glob("*_00000")
    shutil.copytree(trial / "checkpoint_000002", trial / "checkpoint_000005")
    settings = {"config": {"x": tune.grid_search([1.0, 2.0]), "steps": 9}, "stop": {"training_iteration": 7}, "keep_checkpoints_num": 1}
    analysis = go(faulty, resume=True, **settings)
    assert [trial.last_result["begun"] for trial in analysis.trials] == [6, 6]
    assert [len(frame) for frame in analysis.trial_dataframes.values()] == [7, 7]


# -- storage that fails -------------------------------------------------------------------------------------------------------


def test_an_outage_holds_up_nothing_and_is_told_once(
    faulty: FaultyFileSystem, impatient: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "FINAL_S", 30.0)
    told = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "is tried again" in record.getMessage():
                told.set()

    def outlast(config: dict[str, Any]) -> None:
        refuse(faulty, "write", part="checkpoint_")
        tune.report({"loss": 1.0}, checkpoint={"step": 1})
        for step in range(200):
            tune.report({"loss": 1.0 / (step + 2)}, checkpoint={"step": step})
            if told.wait(0.02):
                break
        faulty.before = lambda what, path: None
        for _ in range(400):
            tune.report({"loss": 0.0})
            if "takes in what has waited again" in caplog.text or threading.Event().wait(0.01):
                break

    handler = Watch()
    logging.getLogger("tunesmith").addHandler(handler)
    try:
        settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "keep_checkpoints_num": 2}
        tune.run(outlast, name="x", storage_path="bucket/results", storage_filesystem=faulty, **settings)
    finally:
        logging.getLogger("tunesmith").removeHandler(handler)
    told_of = [line for line in messages(caplog) if line.startswith("remote storage:")]
    assert "could not be written (OSError: refused, 2 tries" in told_of[0]
    assert "The run goes on, everything is in" in told_of[0]
    assert told_of[1:] == ["remote storage: memory://bucket/results/x takes in what has waited again."]
    assert tune.open_experiment("bucket/results/x", faulty).best_checkpoint is not None


@pytest.mark.usefixtures("impatient")
def test_what_is_not_stored_at_the_end_is_named(faulty: FaultyFileSystem, tmp_path: Path) -> None:
    refuse(faulty, "write", part="_00001/checkpoint_")
    with pytest.raises(RemoteStorageError, match=r"not stored: records \d+ to \d+ and 3 checkpoints\. .*refused.*Everything is in"):
        go(faulty)
    records = parse(faulty.names("/bucket/results/x"))
    with open_reader(next((tmp_path / "here").rglob("experiment.db"))) as journal:
        needy = next(one.seq for one in journal.read() if getattr(one.event, "trial", None) == 1 and getattr(one.event, "checkpoint", None))
    assert records[-1].last < needy, "records that need checkpoints which are not there are not there either"


@pytest.mark.usefixtures("impatient")
def test_the_runs_own_error_goes_first(faulty: FaultyFileSystem, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(tune.schedulers.FIFOScheduler):
        def on_result(self, view: Any, result: Any) -> Any:
            refuse(faulty, "write", error=PermissionError)
            raise RuntimeError("mine")

    with pytest.raises(tune.TuneError, match="mine"):
        go(faulty, scheduler=Broken())
    assert "memory://bucket/results/x: not " in caplog.text


def test_what_vanished_behind_our_back_is_found_and_sent_again(faulty: FaultyFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SPACING_S", 0.01)
    vanished: list[str] = []

    def before(what: str, path: str) -> None:
        if what == "list" and not vanished and faulty.names("/bucket/results/x") >= {".files.json"}:
            for part in ("progress.csv", "/journal/", "checkpoint_000002/_dict"):
                (name, *_) = sorted(name for name in faulty.store if part in name)
                vanished.append(name)
                del faulty.store[name]

    faulty.before = before
    analysis = go(faulty)
    assert len(vanished) == 3
    assert set(vanished[::2]) <= set(faulty.store)
    theirs = tune.open_experiment("bucket/results/x", faulty)
    assert [trial.checkpoint.to_dict() for trial in theirs.trials if trial.checkpoint] == [{"step": 3}] * 2
    assert theirs.results == analysis.results


def test_a_run_that_cannot_begin_leaves_nothing(faulty: FaultyFileSystem, tmp_path: Path) -> None:
    refuse(faulty, "write", error=PermissionError)
    with pytest.raises(RemoteStorageError, match=r"x/\.lease\.json could not be written .*credentials"):
        go(faulty)
    assert not [one for one in (tmp_path / "here").rglob("*") if one.is_file()]
    faulty.before = lambda what, path: None
    assert Path(go(faulty).experiment_path).name == "x"


def test_a_place_that_is_written_is_not_shared(faulty: FaultyFileSystem, machine: Machines) -> None:
    seen = []

    def nosy(config: dict[str, Any]) -> None:
        for _ in range(500):
            if parse(faulty.names("/bucket/results/x")) or threading.Event().wait(0.01):
                break
        machine("elsewhere")
        with pytest.raises(JournalLocked, match="is being written by process") as caught:
            go(faulty, resume=True)
        machine("here")
        seen.append(caught.value)
        tune.report({"loss": 1.0})

    settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline"}
    tune.run(nosy, name="x", storage_path="bucket/results", storage_filesystem=faulty, **settings)
    assert len(seen) == 1


def test_who_lost_the_place_to_one_that_has_ended_since_stores_nothing_more(
    faulty: FaultyFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "FINAL_S", 1.0)
    home, claim = "/bucket/results/x", "/bucket/results/x/.lease.json"
    there: set[str] = set()

    def overtaken(config: dict[str, Any]) -> None:
        for _ in range(500):
            if parse(faulty.names(home)) or threading.Event().wait(0.01):
                break
        last = parse(faulty.names(home))[-1]
        faulty.rm_file(claim)
        faulty.pipe_file(f"{home}/{Segment(last.last + 1, last.last + 900, last.uuid, '0' * 16).name}", b"")
        there.update(journal())
        faulty.calls.clear()
        tune.report({"loss": 1.0}, checkpoint={"step": 1})

    def journal() -> set[str]:
        return {one.name for one in parse(faulty.names(home))}

    settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline"}
    with pytest.raises(RemoteStorageError, match="holds two histories"):
        tune.run(overtaken, name="x", storage_path="bucket/results", storage_filesystem=faulty, **settings)
    assert journal() == there
    assert claim not in faulty.store
    assert not [name for name in faulty.names(home) if "checkpoint_" in name]
    assert sum(call == ("read", claim) for call in faulty.calls) == 1, "to try again would not help"


# -- checkpoints that come and go ---------------------------------------------------------------------------------------------


def test_deleted_there_after_the_records_that_allow_it(faulty: FaultyFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SPACING_S", 0.0)
    pause = threading.Event()

    def slowly(config: dict[str, Any]) -> None:
        for step in range(12):
            tune.report({"loss": 1.0 / (step + 1)}, checkpoint={"step": step})
            pause.wait(0.02)

    settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "keep_checkpoints_num": 1}
    tune.run(slowly, name="x", storage_path="bucket/results", storage_filesystem=faulty, **settings)
    changes = [(what, path.rpartition("x/")[2]) for what, path in faulty.calls if what in ("write", "delete")]
    sent = [path.split("/")[1] for what, path in changes if what == "write" and path.endswith("manifest.json")]
    gone = [path.split("/")[1] for what, path in changes if what == "delete" and path.endswith("manifest.json")]
    assert len(sent) == len(set(sent)) >= 2
    assert set(sent) - set(gone) == {"checkpoint_000011"}
    for name in gone:
        at = next(i for i, (what, path) in enumerate(changes) if what == "delete" and f"/{name}/" in path)
        manifests = [(i, path) for i, (what, path) in enumerate(changes) if what == "write" and path.endswith("manifest.json")]
        newer = next(i for i, path in manifests if path.split("/")[1] > name)
        journal = max(i for i, (what, path) in enumerate(changes) if what == "write" and path.startswith("journal/") and i < at)
        assert newer < journal < at


def test_a_checkpoint_that_is_being_stored_is_not_deleted_meanwhile(faulty: FaultyFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SPACING_S", 0.0)
    began, go_on = threading.Event(), threading.Event()

    def before(what: str, path: str) -> None:
        if what == "write" and "checkpoint_" in path and not began.is_set():
            began.set()
            assert go_on.wait(20)

    def hurried(config: dict[str, Any]) -> None:
        faulty.before = before
        for step in range(8):
            tune.report({"loss": 1.0 / (step + 1)}, checkpoint={"step": step})
            if step == 0:
                assert began.wait(20)
        home = tune.get_context().get_trial_dir()
        kept = sorted(name for name in os.listdir(home) if name.startswith("checkpoint_"))
        tune.report({"loss": 0.0, "kept": ",".join(kept)})
        go_on.set()

    settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "keep_checkpoints_num": 1}
    analysis = tune.run(hurried, name="x", storage_path="bucket/results", storage_filesystem=faulty, **settings)
    assert "checkpoint_000000" in analysis.trials[0].last_result["kept"]
    local = [path.name for path in Path(analysis.trials[0].path).glob("checkpoint_*")]
    assert local == ["checkpoint_000007"]
    stored = {name.split("/")[2] for name in faulty.names() if name.endswith("manifest.json")}
    assert stored == {"checkpoint_000007"}


def test_small_segments_are_put_together(faulty: FaultyFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.storage import ship

    monkeypatch.setattr(pace, "SPACING_S", 0.0)
    monkeypatch.setattr(ship, "_MANY", 3)
    pause = threading.Event()

    def slowly(config: dict[str, Any]) -> None:
        for step in range(25):
            tune.report({"loss": 1.0 / (step + 1)})
            pause.wait(0.01)

    settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "sync_config": tune.SyncConfig(sync_period=0.01)}
    analysis = tune.run(slowly, name="x", storage_path="bucket/results", storage_filesystem=faulty, **settings)
    written = [path for what, path in faulty.calls if what == "write" and "/journal/" in path]
    found = parse(faulty.names("/bucket/results/x"))
    assert len(written) > len(found)
    assert len(found) <= 8
    assert tune.open_experiment("bucket/results/x", faulty).results == analysis.results


def test_what_nobody_recorded_is_not_taken_for_what_is_new(faulty: FaultyFileSystem, machine: Machines, tmp_path: Path) -> None:
    """A driver that died between a checkpoint and its record leaves one whose name is given out again."""
    settings: dict[str, Any] = {"config": {"x": 1.0, "steps": 9}, "keep_checkpoints_num": 1}
    analysis = go(faulty, stop={"training_iteration": 3}, **settings)
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "other").write_text("not ours")
    remote = remote_from("bucket/results", faulty)
    assert remote is not None
    trees.send(Objects(remote.below("x")), f"{analysis.trials[0].trial_id}/checkpoint_000003", str(tmp_path / "stray"))
    machine("elsewhere")
    go(faulty, stop={"training_iteration": 4}, resume=True, **settings)
    machine("third")
    found = tune.open_experiment("bucket/results/x", faulty).trials[0].checkpoint
    assert found is not None
    assert found.to_dict() == {"step": 4}
    assert not [name for name in faulty.names() if name.endswith("/other")]
