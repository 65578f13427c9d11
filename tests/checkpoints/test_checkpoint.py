from __future__ import annotations

import gc
import os
import pickle

import pytest

from tunesmith.checkpoints import Checkpoint
from tunesmith.errors import SpecError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "weights.txt").write_text("1 2 3")
    (tmp_path / "sub" / "more.txt").write_text("4")
    return tmp_path


def test_as_directory_gives_the_path_itself(folder):
    with Checkpoint.from_directory(folder).as_directory() as path:
        assert path == str(folder)


def test_to_directory_copies_everything_writable(folder, tmp_path_factory):
    os.chmod(folder / "weights.txt", 0o444)
    target = tmp_path_factory.mktemp("copy") / "deep"
    assert Checkpoint(folder).to_directory(target) == str(target)
    (target / "weights.txt").write_text("changed")
    assert (target / "sub" / "more.txt").read_text() == "4"
    assert (folder / "weights.txt").read_text() == "1 2 3"


def test_to_directory_makes_one(folder):
    copy = Checkpoint(folder).to_directory()
    assert sorted(os.listdir(copy)) == ["sub", "weights.txt"]


def test_a_dict_round_trips_even_with_a_lambda():
    checkpoint = Checkpoint.from_dict({"epoch": 3, "rule": lambda x: x + 1})
    back = checkpoint.to_dict()
    assert back["epoch"] == 3
    assert back["rule"](1) == 2


def test_a_dicts_directory_goes_with_it():
    checkpoint = Checkpoint.from_dict({})
    path = checkpoint.path
    assert os.path.isdir(path)
    del checkpoint
    gc.collect()
    assert not os.path.exists(path)


def test_to_dict_of_files_says_what_is_there(folder):
    with pytest.raises(SpecError, match=r"it holds sub, weights\.txt\. Use as_directory"):
        Checkpoint(folder).to_dict()


def test_of_a_full_folder_a_few_names_are_enough(tmp_path):
    for number in range(8):
        (tmp_path / f"{number}.npy").touch()
    with pytest.raises(SpecError, match=r"it holds 0\.npy, 1\.npy, 2\.npy, 3\.npy, 4\.npy and 3 more\. Use as_directory"):
        Checkpoint(tmp_path).to_dict()


def test_metadata(folder):
    checkpoint = Checkpoint(folder)
    assert checkpoint.get_metadata() == {}
    checkpoint.set_metadata({"a": 1, "b": 2})
    checkpoint.update_metadata({"b": 3})
    assert Checkpoint(folder).get_metadata() == {"a": 1, "b": 3}


def test_pickles_by_path_even_when_gone(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    blob = pickle.dumps(Checkpoint(folder))
    folder.rmdir()
    assert pickle.loads(blob).path == str(folder)


def test_behaves_as_a_path(folder):
    checkpoint = Checkpoint(folder)
    assert os.path.join(checkpoint, "x") == str(folder / "x")
    assert checkpoint.value == str(folder)
    assert checkpoint == Checkpoint(str(folder))
    assert len({checkpoint, Checkpoint(folder)}) == 1
    assert repr(checkpoint) == f"Checkpoint(path={str(folder)!r})"


def test_needs_a_directory(folder):
    with pytest.raises(SpecError, match="not there"):
        Checkpoint(folder / "nowhere")
    with pytest.raises(SpecError, match="a file, and a checkpoint is a directory"):
        Checkpoint.from_directory(folder / "weights.txt")
