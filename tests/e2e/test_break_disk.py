"""Disks that are full, directories that cannot be written, journals that are damaged: one paragraph each, and nothing is lost."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import JournalCorrupt, JournalError, SpecError

pytestmark = pytest.mark.e2e


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def one_paragraph(text: str) -> bool:
    return "\n" not in text and text.endswith((".", "!"))


FULL = """
import resource, sys
import tunesmith as tune

def train(config):
    for step in range(300):
        tune.report(loss=1 / (step + 1), note="x" * 500)

if int(sys.argv[2]):  # a file that grows beyond that cannot be written, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
tune.run(train, name="x", storage_path=sys.argv[1], resume="AUTO", config={"x": tune.grid_search([1, 2])}, verbose=0)
"""


def test_a_full_disk_ends_the_run_and_keeps_all_that_was_recorded(tmp_path: Path) -> None:
    full = run(FULL, tmp_path, 200_000)
    assert full.returncode == 1
    message = full.stderr.splitlines()[-1]
    assert message.startswith(f"tunesmith.errors.StorageFull: the journal '{tmp_path}/x/experiment.db' cannot be written (")
    assert message.endswith("To go on: resume=True, name='x'.")
    experiment = tune.open_experiment(tmp_path / "x")
    reported = [trial.last_result.get("training_iteration", 0) for trial in experiment.trials]  # one of them may have been too late
    assert 50 < sum(reported) < 300
    assert [len(experiment.trial_dataframes.get(trial.path, ())) for trial in experiment.trials] == reported
    again = run(FULL, tmp_path, 0)  # there is space again
    assert (again.returncode, again.stderr) == (0, "")
    for trial in tune.open_experiment(tmp_path / "x").trials:
        assert (trial.status, trial.last_result["training_iteration"]) == ("TERMINATED", 300)
        assert len(Path(trial.path, "progress.csv").read_text().splitlines()) == 301, "logs that fell behind are whole again"


STAGES = """
import csv, json, subprocess, sys
from pathlib import Path

disk, script = Path(sys.argv[1]), sys.argv[2]

def mount(options):
    try:
        return not subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], stderr=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        return False

def stage(limit):
    # what a session says, and what is there after it for whoever reads it
    done = subprocess.run([sys.executable, "-W", "error", script, disk, str(limit)], capture_output=True, text=True)
    from tunesmith.journal import open_reader
    import tunesmith as tune
    with open_reader(disk / "x" / "experiment.db") as reader:
        records = [repr((record.seq, record.event, record.handled)) for record in reader.read()]
    seen = tune.open_experiment(disk / "x")
    trials = [[trial.status, trial.last_result["step"], len(seen.trial_dataframes[trial.path])] for trial in seen.trials]
    return {"code": done.returncode, "error": done.stderr, "records": records, "trials": trials}

def files(trial):
    with open(trial / "progress.csv", newline="") as table, open(trial / "result.json") as lines:
        return [[int(row["step"]) for row in csv.DictReader(table)], [json.loads(line)["step"] for line in lines]]

real = mount("size=2m")  # seen in here only, and gone with this process
full = stage(0 if real else 400_000)
room = not real or mount("remount,size=50m")
again = stage(0)
json.dump({"room": room, "full": full, "again": again, "files": [files(path) for path in (disk / "x").glob("*_0*")]}, sys.stdout)
"""

FILLS = """
import resource, sys
import tunesmith as tune

def train(config):
    saved = tune.get_checkpoint()
    for step in range(saved.to_dict()["step"] + 1 if saved else 0, 200):
        tune.report({"step": step, "note": "x" * 3000}, checkpoint={"step": step} if step == 9 else None)

if __name__ == "__main__":
    if int(sys.argv[2]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    tune.run(
        train, name="x", storage_path=sys.argv[1], resume="AUTO", config={"x": tune.grid_search([1, 2, 3])}, verbose=0,
        max_concurrent_trials=2, resources_per_trial={"cpu": 0.5},
    )
"""


def test_a_disk_of_two_megabytes_and_what_is_there_once_it_is_larger(tmp_path: Path, faults: Any) -> None:
    script, disk = tmp_path / "script.py", tmp_path / "disk"
    script.write_text(FILLS, encoding="utf-8")
    disk.mkdir()
    # A disk of its own is there in a space of mounts of its own. Where the system has none, files that may not grow must do.
    own = ["unshare", "-Urm"]
    own = own if shutil.which("unshare") and not subprocess.run([*own, "true"], capture_output=True, check=False).returncode else []
    with faults.tried("a full disk: what was recorded is read, and after making room nothing is lost or doubled") as results:
        command = [*own, sys.executable, "-c", STAGES, str(disk), str(script)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["room"]
        full, again = found["full"], found["again"]
        assert full["code"] == 1
        message = full["error"].splitlines()[-1]
        assert message.startswith(f"tunesmith.errors.StorageFull: the journal '{disk}/x/experiment.db' cannot be written (")
        assert message.endswith("then resume the experiment. To go on: resume=True, name='x'.")
        assert all(rows == last + 1 for _, last, rows in full["trials"])
        assert sum(rows for _, _, rows in full["trials"]) > 20
        assert (again["code"], again["error"]) == (0, "")
        assert again["records"][: len(full["records"])] == full["records"], "all that was recorded is there still"
        assert again["trials"] == [["TERMINATED", 199, 200]] * 3
        assert found["files"] == [[list(range(200))] * 2] * 3
        results(len(full["records"]))


ORDINARY = """
import ctypes, sys
import tunesmith as tune

# Without capabilities root is a user like any other: modes hold for it. For others this changes nothing.
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
root = sys.argv[1]

def attempt(what):
    try:
        print(what())
    except tune.TuneError as error:
        print(type(error).__name__, error)

experiment = tune.open_experiment(f"{root}/x")
print([trial.last_result["loss"] for trial in experiment.trials], len(experiment.dataframe()))
attempt(lambda: tune.run(lambda config: 1, name="x", storage_path=root, resume=True, verbose=0))
attempt(lambda: tune.run(lambda config: 1, name="y", storage_path=root, verbose=0))
"""


def test_a_directory_that_may_only_be_read(tmp_path: Path) -> None:
    tune.run(lambda config: {"loss": config["x"]}, name="x", storage_path=tmp_path, config={"x": tune.grid_search([1, 2])}, verbose=0)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    places = [tmp_path, *tmp_path.rglob("*")]
    try:
        for place in places:
            place.chmod(0o555 if place.is_dir() else 0o444)
        done = run(ORDINARY, tmp_path)
    finally:
        for place in places:
            place.chmod(0o755 if place.is_dir() else 0o644)
    assert (done.returncode, done.stderr) == (0, "")
    results, resume, new = done.stdout.splitlines()
    assert results == "[1, 2] 2"
    for line, name in ((resume, "x"), (new, "y")):
        assert line.startswith(f"StorageFull the experiment's directory {tmp_path}/{name} cannot be written: Permission denied. ")
        assert line.endswith("Nothing was started. Give a directory that you can write as storage_path, or free some space.")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before, "nothing was left by trying"


def test_of_two_runs_of_one_name_that_start_together_each_has_its_own_place(tmp_path: Path) -> None:
    code = "import sys, tunesmith as tune; print(tune.run(lambda c: 1, name='x', storage_path=sys.argv[1], verbose=0).experiment_path)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    places = [process.communicate(timeout=60)[0].strip() for process in both]
    assert sorted(places) == [f"{tmp_path}/x", f"{tmp_path}/x_2"]
    assert [len(tune.open_experiment(place).trials) for place in places] == [1, 1]


# -- damaged, changed, missing -----------------------------------------------------------------------------------------------------


def train(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report(loss=config.get("x", 0) * step, other=1)


def go(root: Path, **arguments: Any) -> tune.ExperimentAnalysis:
    common = {"name": "x", "storage_path": root, "config": {"x": tune.grid_search([1, 2])}, "metric": "loss", "mode": "min", "verbose": 0}
    return tune.run(train, **{**common, **arguments})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    go(tmp_path)
    return tmp_path


@pytest.mark.parametrize("damage", ["text", "half", "first page", "last byte", "a hole"])
def test_a_damaged_journal(root: Path, damage: str) -> None:
    journal = root / "x" / "experiment.db"
    whole = journal.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "text": b"hello",
        "half": whole[:middle],
        "first page": whole[:100],
        "last byte": whole[:-1],
        "a hole": whole[:middle] + b"\xff" * 600 + whole[middle + 600 :],
    }[damage]
    journal.write_bytes(damaged)
    cut = damage in ("half", "first page", "last byte")
    what = (
        f"the journal '{journal}' is cut short: {len(damaged)} of {len(whole)} bytes."
        if cut
        else f"'{journal}' is no journal, or is damaged ("
    )
    for attempt in (lambda: tune.open_experiment(root / "x").trials, lambda: go(root, resume=True)):
        with pytest.raises(JournalCorrupt, match=re.escape(what)) as caught:
            attempt()
        assert re.search("[Rr]estore the file from a (whole )?copy", str(caught.value))
        assert one_paragraph(str(caught.value))
    assert journal.read_bytes() == damaged, "looking at it makes it no worse"


def test_an_empty_or_missing_journal(root: Path) -> None:
    journal = root / "x" / "experiment.db"
    journal.write_bytes(b"")
    for attempt in (lambda: tune.open_experiment(root / "x").trials, lambda: go(root, resume=True)):
        with pytest.raises(JournalCorrupt, match=r"is empty, though .* Restore both from a copy; or, to begin anew, delete"):
            attempt()
    shutil.rmtree(root / "x")
    journal.parent.mkdir()
    journal.write_bytes(b"")
    with pytest.raises(JournalCorrupt, match="is empty: the creation of the journal was interrupted"):
        len(tune.open_experiment(root / "x").trials)
    assert len(go(root, resume=True).trials) == 2, "nothing was recorded, so it begins"
    journal.unlink()
    with pytest.raises(JournalError, match=r"holds no experiment: there is no experiment\.db\."):
        tune.open_experiment(root / "x")
    with pytest.raises(SpecError, match=r"resume: there is no experiment 'x' in .* Leave resume out to begin a new one\."):
        go(root, resume=True)


def test_a_missing_or_damaged_spec_file(root: Path) -> None:
    stored = root / "x" / "spec.pkl"
    stored.write_bytes(b"junk")
    with pytest.raises(JournalCorrupt, match=r"spec.pkl is damaged .* results can still be read\."):
        tune.Tuner.restore(str(root / "x"), train)
    stored.unlink()
    with pytest.raises(JournalError, match=r"spec.pkl is not there, .* results can still be read\."):
        tune.Tuner.restore(str(root / "x"), train)
    assert len(go(root, resume=True).trials) == 2, "the script has all that is needed"
    assert stored.exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": "other"}, r"metrics were \['loss'\] and are now \['other'\]"),
        ({"mode": "max"}, r"modes were \['min'\] and are now \['max'\]"),
    ],
)
def test_a_resume_with_something_else(root: Path, changed: dict[str, Any], message: str) -> None:
    stored = (root / "x" / "spec.pkl").read_bytes()
    with pytest.raises(SpecError, match=message) as caught:
        go(root, resume=True, num_samples=2, **changed)
    assert one_paragraph(str(caught.value))
    assert (root / "x" / "spec.pkl").read_bytes() == stored, "what was refused is not stored"
    assert len(go(root, resume=True, num_samples=2).trials) == 4


def test_a_resume_with_fewer_samples_another_seed_or_another_grid_does_what_is_left(root: Path) -> None:
    assert len(go(root, resume=True, num_samples=1, seed=5).trials) == 2
    wider = go(root, resume=True, num_samples=2, config={"x": tune.grid_search([1, 3])})
    assert [trial.config["x"] for trial in wider.trials] == [1, 2, 3, 1, 3]
