"""What holds for every test: a home of its own, no settings from the outside, the same hypothesis profiles everywhere."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from tunesmith.executors import preload

__all__: list[str] = []

# Several test processes share the cores: with threads of its own in each, linear algebra takes twice its time. What tests start has them.
with pytest.MonkeyPatch.context() as _alone:
    _alone.setenv("OPENBLAS_NUM_THREADS", "1")
    import scipy.linalg  # noqa: F401  (with numpy: each reads that once)

# No deadline: two cores shared by several test processes say nothing about a single example's time.
# In CI the same examples each time: a change is judged by what it changed; new examples are found on developers' machines.
settings.register_profile(
    "quick",
    max_examples=50,
    deadline=None,
    database=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=200)
settings.load_profile("quick")

# A shell without job control has what it starts with `&` ignore them, and so would every program that a test starts and interrupts.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home for the whole session, child processes included: no test leaves anything in the user's own, or is led by it."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(path))
        for name in [name for name in os.environ if name.startswith(("TUNESMITH_", "TUNE_"))]:
            patch.delenv(name)
        yield path


@pytest.fixture(autouse=True, scope="module")
def only_its_own_imports(request: pytest.FixtureRequest) -> Iterator[None]:
    """A driver has imported what its script needs, a process of tests what all of them do, frameworks and clients of every kind.

    Templates would import all that for trials: seconds for each, and some of it starts threads. So they take over what the test's own file
    has imported (and what all have: numpy and the standard library), whichever tests ran before.
    """
    own = {"numpy"}
    for value in vars(request.module).values():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        own.add(str(name).partition(".")[0])
    strangers = {name.partition(".")[0] for name in list(sys.modules)} - own - sys.stdlib_module_names
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preload, "_NEVER", preload._NEVER | strangers)
        yield


MARKED = {"cluster": "cluster", "frameworks": "heavy", "integration_torch": "heavy"}
"""Folders whose files import what `make test` does not install, and what all tests in them are marked as, beside ``slow``."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where their tests are not to run they are not even imported."""
    mark = MARKED.get(collection_path.name)
    unwanted = mark is not None and any(f"not {word}" in config.option.markexpr for word in (mark, "slow"))
    return True if unwanted else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if mark := MARKED.get(item.path.parent.name):
            item.add_marker("slow")
            item.add_marker(mark)


class Faults:
    """Counts what was broken on purpose, and what was found afterwards; ``make reliability`` adds it up."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}

    @contextmanager
    def tried(self, what: str) -> Iterator[Callable[[int], None]]:
        """One fault. Leaving this without an exception is having survived it; the yielded function takes how many results were there."""
        count = self.counts.setdefault(what, Counter())
        count["tried"] += 1

        def results(number: int) -> None:
            count["results"] += number

        yield results
        count["survived"] += 1


@pytest.fixture
def faults(record_property: Callable[[str, object], None]) -> Iterator[Faults]:
    """For tests that break things on purpose."""
    found = Faults()
    yield found
    record_property("faults", json.dumps(found.counts))
