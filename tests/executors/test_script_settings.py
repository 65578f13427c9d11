"""Filters of warnings and handlers of loggers on their way into a trial: neither imports the library that they are from."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from types import ModuleType

import pytest

from tunesmith.executors.script_settings import apply_settings, present_settings


class LibraryWarning(UserWarning):
    """Of a library that the driver has imported, and the trial has not."""


LibraryWarning.__module__ = "some_library.errors"


@pytest.fixture
def library(monkeypatch):
    home = ModuleType("some_library.errors")
    home.LibraryWarning = LibraryWarning
    monkeypatch.setitem(sys.modules, "some_library.errors", home)
    return monkeypatch


def settings(action, category):
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter(action, category)
        return [], present_settings()[1]


@pytest.mark.parametrize("there", [False, True])
def test_a_filter_holds_whether_the_library_is_there_or_not(library, there):
    found = settings("ignore", LibraryWarning)
    if not there:
        library.delitem(sys.modules, "some_library.errors")
    with warnings.catch_warnings(record=True) as heard:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        apply_settings(found)
        warnings.warn("mine", LibraryWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
        warnings.warn("of a derived one", type("Derived", (LibraryWarning,), {}), stacklevel=1)
    assert [str(one.message) for one in heard] == ["another"]
    assert ("some_library.errors" in sys.modules) is there


def test_builtin_categories_are_themselves():
    with warnings.catch_warnings():
        warnings.resetwarnings()
        apply_settings(settings("ignore", DeprecationWarning))
        assert warnings.filters[0][2] is DeprecationWarning


def test_a_filter_that_makes_errors_stays_behind():
    assert settings("error", UserWarning) == ([], [])


class Loud(logging.Formatter):
    built = 0

    def __setstate__(self, state):
        Loud.built += 1
        self.__dict__.update(state)

    def format(self, record):
        return super().format(record).upper()


@pytest.fixture
def logger():
    logger = logging.getLogger("test_script_settings")
    yield logger
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


FORMATTERS = [(Loud("=%(message)s"), "=NOW\n"), (logging.Formatter("%(message)s!"), "now!\n"), (None, "now\n")]


@pytest.mark.parametrize(("formatter", "said"), FORMATTERS)
def test_a_formatter_is_built_when_something_is_written(logger, monkeypatch, formatter, said):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    loggers = [one for one in present_settings()[0] if one[0] == logger.name]
    logger.handlers.clear()
    Loud.built = 0
    apply_settings((loggers, []))
    assert Loud.built == 0
    logger.info("now")
    assert sys.stdout.getvalue() == said


def test_a_formatter_that_cannot_be_built_is_the_usual_one_and_says_so(logger, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Loud("=%(message)s"))
    logger.addHandler(handler)
    loggers = [one for one in present_settings()[0] if one[0] == logger.name]
    logger.handlers.clear()
    apply_settings((loggers, []))
    monkeypatch.delattr(sys.modules[__name__], "Loud")
    logger.warning("now")
    logger.warning("later")
    said, *lines = sys.stdout.getvalue().splitlines()
    assert "own format" in said
    assert "'Loud'" in said
    assert lines == ["now", "later"]
