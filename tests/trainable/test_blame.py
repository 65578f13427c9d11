from __future__ import annotations

import errno
import gc
import json
import weakref

import pytest

from tunesmith import blame
from tunesmith.errors import Infeasible, StorageFull
from tunesmith.executors.base import Assignment
from tunesmith.trainable import AttemptRunner, TrainableSpec, report
from tunesmith.trainable.session import GO_ON


class Recorder:
    def ask(self, event):
        return GO_ON


class OutOfMemoryError(RuntimeError):
    pass


OutOfMemoryError.__module__ = "torch.cuda"


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("x"), "user_error"), (Infeasible("x"), "infeasible"), (MemoryError(), "oom_ram"), (SystemExit(2), "user_error"),
        (OutOfMemoryError("x"), "oom_gpu"), (RuntimeError("CUDA out of memory. Tried"), "oom_gpu"), (RuntimeError("x"), "user_error"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "oom_ram"), (GeneratorExit(), "user_error"),
    ],
)  # fmt: skip
def test_classes_of_failures(attempt, error, outcome):
    def train(config):
        raise error

    ended, _ = attempt(train)
    assert ended.outcome == outcome
    assert ended.error["type"] == type(error).__name__
    assert all(type(value) is str for value in ended.error.values())


def foreign(package, name, *bases):
    """An exception class of somebody else's package."""
    return type(name, bases or (Exception,), {"__module__": package})


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported at some other call"), "oom_gpu"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "oom_gpu"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "oom_gpu"),
        (RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"), "oom_gpu"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5.05 GB, max allowed: 6.77 GB)"), "oom_gpu"),
        (RuntimeError("XPU out of memory. Tried to allocate 2.00 GiB"), "oom_gpu"),
        (RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nTraceback ...\nRuntimeError: CUDA out of memory."), "oom_gpu"),
        (foreign("torch", "AcceleratorError", RuntimeError)("CUDA error: out of memory"), "oom_gpu"),
        (foreign("jaxlib.xla_extension", "XlaRuntimeError", RuntimeError)("RESOURCE_EXHAUSTED: Out of memory"), "oom_gpu"),
        (foreign("xgboost.core", "XGBoostError", ValueError)("device: cudaErrorMemoryAllocation: out of memory"), "oom_gpu"),
        (foreign("numba.cuda", "CudaAPIError")("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"), "oom_gpu"),
        (foreign("cupy.cuda.memory", "OutOfMemoryError", MemoryError)("Out of memory allocating 8 bytes"), "oom_gpu"),
        (foreign("pycuda._driver", "MemoryError")("cuMemAlloc failed"), "oom_gpu"),
        (foreign("tensorflow.python.framework.errors_impl", "ResourceExhaustedError")("OOM when allocating tensor"), "oom_gpu"),
        (foreign("numpy", "_ArrayMemoryError", MemoryError)("Unable to allocate 8 TiB"), "oom_ram"),
        (foreign("lightgbm.basic", "LightGBMError")("std::bad_alloc"), "oom_ram"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom_ram"),
        (OSError(errno.ENOENT, "No such file"), "user_error"),
        (OSError(errno.ENOSPC, "No space left on device"), "user_error"),
        (ValueError("the log says: CUDA out of memory"), "user_error"),
        (KeyError("out of memory"), "user_error"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "user_error"),
        (foreign("mine", "OutOfMemoryError")("x"), "user_error"),
        (Unprintable(), "user_error"),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_known_by_class_number_or_text(error, outcome):
    assert blame.outcome_of(error) == outcome


def raised(error, cause=None, context=None):
    """The error as after ``raise error from cause``, with ``context`` being handled."""
    error.__cause__, error.__context__ = cause, context
    return error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (raised(ValueError("no batch"), MemoryError()), "oom_ram"),
        (raised(ValueError("no batch"), raised(KeyError("x"), OSError(errno.ENOMEM, "?"))), "oom_ram"),
        (raised(ValueError("no batch"), context=MemoryError()), "user_error"),
        (raised(ValueError("no batch"), raised(KeyError("x"), context=MemoryError())), "user_error"),
        (ExceptionGroup("both", [ValueError("x"), MemoryError()]), "oom_ram"),
        (BaseExceptionGroup("both", [ExceptionGroup("inner", [raised(ValueError("x"), RuntimeError("CUDA out of memory"))])]), "oom_gpu"),
        (raised(RuntimeError("CUDA out of memory"), MemoryError()), "oom_gpu"),
        (raised(Infeasible("does not fit"), MemoryError()), "infeasible"),
        (ExceptionGroup("both", [ValueError("x"), KeyError("y")]), "user_error"),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_found_behind_other_errors(error, outcome):
    assert blame.outcome_of(error) == outcome


def test_a_cycle_of_causes_ends():
    first, second = ValueError("first"), ValueError("second")
    group = ExceptionGroup("both", [first, second])
    first.__cause__, second.__cause__ = second, group
    assert blame.outcome_of(group) == "user_error"
    second.__cause__, first.__cause__ = raised(MemoryError(), group), second
    assert blame.outcome_of(first) == "oom_ram"
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert blame.outcome_of(raised(ValueError("from them"), first)) == "user_error"


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "that disk is full"), (errno.EDQUOT, "your quota on that disk is used up")])
def test_a_full_disk_is_said_where_it_is_read_first(attempt, number, said):
    def train(config):
        raise OSError(number, "so it goes", "/data/model.pt")

    ended, _ = attempt(train)
    assert ended.outcome == "user_error"
    assert ended.error["message"] == f"[Errno {number}] so it goes: '/data/model.pt' ({said}: free some space on it)"
    assert blame.describe_exception(OSError(number, "x")).endswith(f"({said}: free some space on it)")
    wrapped = raised(RuntimeError("could not save\nfor these reasons"), OSError(number, "x"))
    assert blame.describe(wrapped)["message"] == f"could not save ({said}: free some space on it)\nfor these reasons"


def test_what_says_that_the_disk_is_full_is_left_as_it_is():
    error = raised(StorageFull("A checkpoint could not be written: no space"), OSError(errno.ENOSPC, "x"))
    assert blame.describe(error)["message"] == "A checkpoint could not be written: no space"
    assert blame.describe(OSError("no number"))["message"] == "no number"
    assert blame.describe(raised(ValueError("x"), context=OSError(errno.ENOSPC, "x")))["message"] == "x"


def test_messages():
    assert blame.describe(SystemExit(3))["message"].startswith("the trial's code called sys.exit(3)")
    assert blame.describe(KeyError("lr"))["message"] == "'lr'"
    assert "could not be made: RuntimeError" in blame.describe(Unprintable())["message"]
    assert blame.describe(ValueError(), "here:1")["where"] == "here:1"


def test_an_interrupt_is_the_drivers(attempt):
    def train(config):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(train)


def test_the_users_own_frame_comes_first(attempt):
    def train(config):
        json.loads("{")  # the frame to blame: json's own lie deeper

    line = train.__code__.co_firstlineno + 1
    ended, _ = attempt(train)
    assert ended.error["where"] == f"{__file__}:{line}"
    assert "json.loads" in ended.error["traceback"]
    assert "decoder.py" in ended.error["traceback"]


def test_our_own_frames_are_left_out_of_chains_too(attempt):
    def train(config):
        try:
            report([1])
        except Exception as error:
            raise RuntimeError("second") from error

    ended, _ = attempt(train)
    text = ended.error["traceback"]
    assert "second" in text
    assert "got a list" in text
    assert "report([1])" in text
    assert "tunesmith/trainable" not in text
    assert ended.error["where"].startswith(__file__)


def test_groups_and_cycles(attempt):
    def train(config):
        first, second = ValueError("first"), ValueError("second")
        first.__context__, second.__context__ = second, first
        raise ExceptionGroup("both", [first, second])

    ended, _ = attempt(train)
    assert ended.error["type"] == "ExceptionGroup"
    assert "first" in ended.error["traceback"]


def test_code_from_a_string_is_the_users(attempt):
    space: dict = {}
    exec(compile("def train(config):\n    1 / 0\n", "<cell 3>", "exec"), space)
    ended, _ = attempt(space["train"])
    assert ended.error["where"] == "<cell 3>:2"


def test_an_error_in_the_drivers_turn_is_no_stop(attempt):
    def decide(event):
        raise ConnectionError("driver gone")

    ended, _ = attempt(lambda config: report(a=1), decide=decide)
    assert ended.outcome == "user_error"
    assert ended.error["type"] == "ConnectionError"


def test_a_failed_trials_memory_is_freed_when_the_next_one_starts(tmp_path):
    class Big:
        pass

    def train(config):
        big = Big()
        weak.append(weakref.ref(big))
        if config["fails"]:
            raise ValueError("no")

    weak: list = []
    runner = AttemptRunner(TrainableSpec.of(train))
    gc.disable()
    try:
        for trial, fails in enumerate((True, False)):
            runner.run(Assignment(trial, 0, "id", "name", "exp", {"fails": fails}, str(tmp_path)), Recorder())
        assert [one() for one in weak] == [None, None]
        assert runner.error is None
    finally:
        gc.enable()
