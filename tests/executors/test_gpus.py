"""Which cards there are, by CUDA's rules for the variable; how a trial is told which are its own; and what NVML is asked."""

from __future__ import annotations

import inspect
import sys
import types
from typing import Any

import pytest

from tunesmith.executors import gpus, nvml
from tunesmith.executors.gpus import Cards
from tunesmith.executors.nvml import Device, NvmlError, open_nvml
from tunesmith.testing import FakeNvml

GB = 2**30
A, B, C = "GPU-aaaa1111-0000", "GPU-aaaa2222-0000", "GPU-cccc3333-0000"
SLICES = tuple(Device(f"MIG-{letter * 4}-0000", "A100 MIG 3g.20gb", 20 * GB, f"MIG-{C}/{number}/0") for number, letter in enumerate("xy"))
EQUAL = [Device(uuid, "A100", 40 * GB) for uuid in (A, B, C)]
MIXED = [Device(A, "A100", 40 * GB), Device(B, "K80", 12 * GB), Device(C, "A100", 40 * GB)]
CUT = [Device(A, "A100", 40 * GB), Device(C, "A100", 40 * GB, slices=SLICES)]


def found(devices: list[Device], variable: str | None = None, **environ: str) -> list[str]:
    """The tokens of the cards."""
    if variable is not None:
        environ["CUDA_VISIBLE_DEVICES"] = variable
    return [card.token for card in Cards.discover(environ=environ, nvml=FakeNvml(devices)).cards]


@pytest.mark.parametrize(
    ("variable", "tokens"),
    [
        (None, ["0", "1", "2"]),
        ("0,1,2", ["0", "1", "2"]),
        ("2, 0", ["2", "0"]),
        ("", []),
        ("-1", []),
        ("none", []),
        ("1,7,0", ["1"]),  # what is wrong ends the list
        ("0,-1,1", ["0"]),
        ("0,,1", ["0"]),
        ("1,1", []),  # twice the same: CUDA shows none
        (C, [C]),
        (f"{C},{A}", [C, A]),
        ("GPU-cccc", [C]),  # a beginning will do
        ("GPU-aaaa", []),  # unless it is that of two
        ("GPU-aaaa2", [B]),
        (f"{A},GPU-nobody,{B}", [A]),
        (f"{B},2", [B, "2"]),
    ],
)
def test_the_variable_by_cudas_rules(variable: str | None, tokens: list[str]) -> None:
    assert found(EQUAL, variable) == tokens


def test_where_cards_differ_only_uuids_say_which_is_meant() -> None:
    assert found(MIXED) == [A, B, C]
    assert found(MIXED, "1,0") == [B, A]
    assert found(MIXED, "1,0", CUDA_DEVICE_ORDER="PCI_BUS_ID") == ["1", "0"]
    assert found(MIXED, CUDA_DEVICE_ORDER="PCI_BUS_ID") == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("variable", "tokens"),
    [
        (None, ["0", SLICES[0].uuid, SLICES[1].uuid]),
        ("1", [SLICES[0].uuid, SLICES[1].uuid]),
        (SLICES[1].uuid, [SLICES[1].uuid]),
        (f"MIG-{C}/1/0", [SLICES[1].uuid]),  # the older name
        ("MIG-xx", [SLICES[0].uuid]),
        ("MIG-zz", []),
    ],
)
def test_slices_count_as_cards(variable: str | None, tokens: list[str]) -> None:
    assert found(CUT, variable) == tokens


@pytest.mark.parametrize(
    ("variable", "number", "tokens"),
    [
        (None, "2", ["0", "1"]),  # the first ones
        ("2,1,0", "2", ["2", "1"]),
        (None, "4", ["0", "1", "2", "3"]),  # the user knows better
        ("1", "2", ["1", "-1"]),  # but what he hides stays hidden
        (None, "0", []),
    ],
)
def test_the_users_number_of_cards(variable: str | None, number: str, tokens: list[str]) -> None:
    assert found(EQUAL, variable, TUNESMITH_NUM_GPUS=number) == tokens


@pytest.mark.parametrize(("variable", "tokens"), [(None, ["0", "1"]), ("5,GPU-x", ["5", "GPU-x"]), ("3", ["3", "-1"]), ("", ["", "-1"])])
def test_the_users_number_without_a_driver(monkeypatch: pytest.MonkeyPatch, variable: str | None, tokens: list[str]) -> None:
    monkeypatch.setattr(gpus, "open_nvml", lambda: None)
    environ = {"TUNESMITH_NUM_GPUS": "2"} | ({} if variable is None else {"CUDA_VISIBLE_DEVICES": variable})
    cards = Cards.discover(environ=environ)
    assert [card.token for card in cards.cards] == tokens
    assert cards.nvml is None
    assert cards.label(0) == "GPU card 0"
    assert cards.describe() == "2 x GPU"
    cards.close()


def test_no_driver_no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "open_nvml", lambda: None)
    cards = Cards.discover(environ={"CUDA_VISIBLE_DEVICES": "0"})
    assert cards.count == 0
    assert cards.visible([]) is None
    assert cards.describe() == "no GPU"


def test_what_a_trial_sees() -> None:
    cards = Cards.discover(environ={"CUDA_VISIBLE_DEVICES": "2,0,1"}, nvml=FakeNvml(EQUAL))
    assert cards.visible([]) == ""
    assert cards.visible([(0, 0.25)]) == "2"
    assert cards.visible([(1, 1.0), (2, 1.0)]) == "0,1"
    assert cards.label(0) == f"GPU card 0 (A100, {C})"
    assert cards.describe() == "3 x A100 (40 GiB)"
    assert Cards.discover(environ={}, nvml=FakeNvml(MIXED)).describe() == "2 x A100 (40 GiB), 1 x K80 (12 GiB)"


def test_closing_lets_go_of_the_driver() -> None:
    driver = FakeNvml(1)
    Cards.discover(environ={}, nvml=driver).close()
    assert driver.closed


# -- the real library --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("nvmlInit", 0),
        ("nvmlShutdown", 0),
        ("nvmlDeviceGetCount", 0),
        ("nvmlDeviceGetHandleByIndex", 1),
        ("nvmlDeviceGetUUID", 1),
        ("nvmlDeviceGetName", 1),
        ("nvmlDeviceGetMemoryInfo", 1),
        ("nvmlDeviceGetMigMode", 1),
        ("nvmlDeviceGetMaxMigDeviceCount", 1),
        ("nvmlDeviceGetMigDeviceHandleByIndex", 2),
        ("nvmlDeviceGetGpuInstanceId", 1),
        ("nvmlDeviceGetComputeInstanceId", 1),
        ("nvmlDeviceGetComputeRunningProcesses", 1),
        ("nvmlDeviceGetMPSComputeRunningProcesses", 1),
        ("nvmlDeviceGetGraphicsRunningProcesses", 1),
    ],
)
def test_the_library_has_what_is_asked_of_it(name: str, arguments: int) -> None:
    import pynvml

    inspect.signature(getattr(pynvml, name)).bind(*range(arguments))


def test_the_library_has_the_names_of_what_goes_wrong() -> None:
    import pynvml

    assert pynvml.NVML_DEVICE_MIG_ENABLE == 1
    for name in ("NotSupported", "FunctionNotFound", "NoPermission"):
        assert issubclass(getattr(pynvml, f"NVMLError_{name}"), pynvml.NVMLError)


def test_a_library_without_a_driver_is_no_error() -> None:
    driver = open_nvml(signs=("/",))  # as if there were one
    if driver is not None:  # there is
        driver.close()


def test_without_signs_of_a_driver_the_library_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it would raise
    assert open_nvml(signs=()) is None
    assert open_nvml(signs=("/",)) is None  # no package is no error either


class Library(types.SimpleNamespace):
    """``pynvml`` with two cards: the first is cut in one slice, the second does not answer most questions."""

    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):  # noqa: N801 - the library's own name
        pass

    class NVMLError_FunctionNotFound(NVMLError):  # noqa: N801
        pass

    class NVMLError_NoPermission(NVMLError):  # noqa: N801
        pass

    def __init__(self) -> None:
        super().__init__()
        self.inits = self.shutdowns = 0
        self.listed: dict[str, list[Any]] = {}

    def nvmlInit(self) -> None:  # noqa: N802
        self.inits += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.shutdowns += 1
        raise self.NVMLError("gone before")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if index == 2:
            raise self.NVMLError_NoPermission("not yours")
        return "ab"[index]

    def nvmlDeviceGetUUID(self, handle: str) -> bytes | str:  # noqa: N802
        return {"a": b"GPU-a", "b": "GPU-b", "s": "MIG-s"}[handle]

    def nvmlDeviceGetName(self, handle: str) -> bytes | str:  # noqa: N802
        return b"A100" if handle == "a" else "A100"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        if handle in self.listed.get("broken", ()):
            raise self.NVMLError("GPU is lost")
        return types.SimpleNamespace(total=40 * GB, used=3 * GB)

    def nvmlDeviceGetMigMode(self, handle: str) -> tuple[int, int]:  # noqa: N802
        if handle == "b":
            raise self.NVMLError_NotSupported
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, number: int) -> str:  # noqa: N802
        if number:
            raise self.NVMLError("no slice there")
        return "s"

    def nvmlDeviceGetGpuInstanceId(self, handle: str) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetComputeInstanceId(self, handle: str) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        if handle in self.listed.get("broken", ()):
            raise self.NVMLError("GPU is lost")
        return self.listed.get("compute", [])

    def nvmlDeviceGetMPSComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        raise self.NVMLError_FunctionNotFound

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return self.listed.get("graphics", [])


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    one = Library()
    monkeypatch.setitem(sys.modules, "pynvml", one)  # type: ignore[arg-type]
    return one


def listed(pid: int, size: int | None) -> Any:
    return types.SimpleNamespace(pid=pid, usedGpuMemory=size)


def test_the_drivers_own_answers(library: Library) -> None:
    driver = open_nvml(signs=("/",))
    assert driver is not None
    part = Device("MIG-s", "A100", 40 * GB, "MIG-GPU-a/7/0")
    assert driver.devices() == [Device("GPU-a", "A100", 40 * GB, slices=(part,)), Device("GPU-b", "A100", 40 * GB)]
    assert driver.used("MIG-s") == 3 * GB
    library.listed = {"compute": [listed(5, GB), listed(6, None)], "graphics": [listed(5, 2 * GB), listed(7, 1)]}
    assert driver.processes("GPU-b") == {5: 2 * GB, 6: None, 7: 1}
    driver.close()
    driver.close()
    assert (library.inits, library.shutdowns) == (1, 1)


def test_a_card_that_is_lost(library: Library) -> None:
    driver = open_nvml(signs=("/",))
    assert driver is not None
    driver.devices()
    library.listed["broken"] = ["b"]
    for question in (driver.used, driver.processes):
        with pytest.raises(NvmlError, match="GPU is lost"):
            question("GPU-b")
        with pytest.raises(NvmlError, match="no card GPU-z"):
            question("GPU-z")


def test_a_driver_that_cannot_even_count(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        raise library.NVMLError("unknown")

    driver = open_nvml(signs=("/",))
    monkeypatch.setattr(library, "nvmlDeviceGetCount", fails)
    assert driver is not None
    assert driver.devices() == []


def test_signs_of_a_driver_are_files() -> None:
    assert all(sign.startswith("/") for sign in nvml.DRIVER)
