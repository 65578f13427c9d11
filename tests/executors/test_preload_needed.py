from __future__ import annotations

import importlib.machinery
import sys
import types

from tunesmith.executors.preload import loaded, needed
from tunesmith.trainable.base import TrainableSpec
from tunesmith.trainable.homes import by_value
from tunesmith.trainable.parcel import pack_trainable


def module(name: str, origin: str) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=origin)
    return made


MODULES = {name: module(name, f"/x/site-packages/{name}.py") for name in ("heavy", "light", "unrelated")} | {
    "jobs": module("jobs", "/home/me/jobs.py"), "__main__": types.ModuleType("__main__"),
}  # fmt: skip


def test_what_the_trainable_refers_to_is_imported_before_the_first_fork() -> None:
    assert needed(MODULES, {"light", "heavy", "builtins", "__main__"}) == ["heavy", "light"], "in the order of the driver's imports"
    assert needed(MODULES, set()) == []
    assert needed(MODULES, {"light", "heavy"}, excluded={"heavy"}) == ["light"]


def test_what_a_module_of_the_users_own_imports_is_not_known() -> None:
    assert needed(MODULES, {"jobs"}) == ["heavy", "light", "unrelated"]


def test_a_parcel_names_the_modules_that_it_needs() -> None:
    import numpy as np

    def train(config):
        return np.linalg.norm(config["x"])

    assert {"numpy", "numpy.linalg"} <= pack_trainable(TrainableSpec.of(train)).modules


def test_test_modules_travel_by_value() -> None:
    with by_value() as homes:
        assert homes[__name__] is sys.modules[__name__]
        assert "numpy" not in homes
        assert "tunesmith.spec" not in homes


def test_what_only_says_that_it_is_a_module_is_left_alone() -> None:
    """As libraries that cffi has loaded: they stand among the modules, and have no namespace."""

    class Library:
        __slots__ = ()
        __class__ = types.ModuleType

    library = Library()
    assert isinstance(library, types.ModuleType)
    assert loaded({"_library.lib": library}) == []
