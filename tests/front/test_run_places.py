"""Names and directories: nothing is ever written over, and what cannot be written is said before anything starts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tunesmith.errors import SpecError, StorageFull
from tunesmith.places import JOURNAL, check_name, choose_directory, default_name, experiments_in, storage_root


def test_a_new_experiment_gets_the_directory_of_its_name(tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet" / "there"
    assert choose_directory(str(root), "digits", chosen=True, resume=False) == ("digits", str(root / "digits"), False)
    assert [path.name for path in (root / "digits").iterdir()] == ["experiment.lock"], "from now on it is taken"
    assert choose_directory(str(root), "digits", chosen=True, resume=False)[0] == "digits_2"


def test_what_a_run_killed_at_once_has_left_is_taken_by_auto(tmp_path: Path) -> None:
    first = choose_directory(str(tmp_path), "digits", chosen=True, resume="AUTO")
    (tmp_path / "digits" / ".tunesmith_write_test_1").touch()
    assert choose_directory(str(tmp_path), "digits", chosen=True, resume="AUTO") == first
    (tmp_path / "digits" / "mine").touch()
    assert choose_directory(str(tmp_path), "digits", chosen=True, resume="AUTO")[0] == "digits_2"


def test_a_taken_name_gets_a_number_and_a_line_that_says_how_to_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("digits", "digits_2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / JOURNAL).write_text("old")
    with caplog.at_level(logging.WARNING, "tunesmith"):
        assert choose_directory(str(tmp_path), "digits", chosen=True, resume=False) == ("digits_3", str(tmp_path / "digits_3"), False)
    assert "this run is digits_3" in caplog.text
    assert "resume=True, name='digits'" in caplog.text
    assert (tmp_path / "digits" / JOURNAL).read_text() == "old"


def test_a_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("mine")
    assert choose_directory(str(tmp_path), "digits", chosen=True, resume=False)[0] == "digits_2"
    assert (tmp_path / "digits").read_text() == "mine"


def test_an_empty_directory_is_taken_if_the_user_named_it(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert choose_directory(str(tmp_path), "digits", chosen=True, resume=False)[0] == "digits"
    assert choose_directory(str(tmp_path), "digits", chosen=False, resume=False)[0] == "digits_2", "another run may just have made it"


def test_resume_finds_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / JOURNAL).touch()
    expected = ("digits", str(tmp_path / "digits"), True)
    assert choose_directory(str(tmp_path), "digits", chosen=True, resume=True) == expected
    assert choose_directory(str(tmp_path), "digits", chosen=True, resume="AUTO") == expected
    assert [path.name for path in (tmp_path / "digits").iterdir()] == [JOURNAL], "the write test leaves nothing"


def test_resume_of_what_is_not_there_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / JOURNAL).touch()
    with pytest.raises(SpecError, match=r"there is no experiment 'digit' in .* Did you mean 'digits'\?"):
        choose_directory(str(tmp_path), "digit", chosen=True, resume=True)
    with pytest.raises(SpecError, match="No experiment is there"):
        choose_directory(str(tmp_path / "nowhere"), "digit", chosen=True, resume=True)
    assert not (tmp_path / "digit").exists()
    assert choose_directory(str(tmp_path), "digit", chosen=True, resume="AUTO")[2] is False


def test_experiments_are_directories_with_a_journal(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / JOURNAL).touch()
    (tmp_path / "b" / JOURNAL).touch()
    assert experiments_in(str(tmp_path)) == ["a", "b"]
    assert experiments_in(str(tmp_path / "nowhere")) == []


def test_a_directory_that_cannot_be_made_is_one_paragraph(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFull, match=r"directory .*file/digits cannot be written: .*\. Nothing was started\. Give a directory"):
        choose_directory(str(tmp_path / "file"), "digits", chosen=True, resume=False)


def test_where_experiments_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNESMITH_RESULTS_DIR", raising=False)
    assert storage_root(None) == str(Path.home() / "tunesmith_results")
    assert storage_root("~/mine") == str(Path.home() / "mine")
    assert storage_root("results") == str(tmp_path / "results")
    assert storage_root(tmp_path, tmp_path) == str(tmp_path)
    assert storage_root(None, "./old_name") == str(tmp_path / "old_name")
    monkeypatch.setenv("TUNESMITH_RESULTS_DIR", str(tmp_path / "elsewhere"))
    assert storage_root(None) == str(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("a", "b"), "storage_path='a' and local_dir='b' are two names of one argument"),
        ((3, None), "must be a directory"),
        ((None, ""), "must be a directory"),
        (("s3://bucket/x", None), "is a URL, and a local directory is needed here"),
    ],
)
def test_bad_storage_paths(given: tuple[object, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        storage_root(*given)


@pytest.mark.parametrize("name", ["", "  ", None, 3, "/tmp/x", "../x", "a/../../b", "a\0b"])
def test_bad_names(name: object) -> None:
    with pytest.raises(SpecError, match="name"):
        check_name(name)


def test_default_names_begin_with_the_trainable() -> None:
    name = default_name("train")
    assert name.startswith("train_2")
    assert check_name(name) == name
    assert check_name("group/digits") == "group/digits"
