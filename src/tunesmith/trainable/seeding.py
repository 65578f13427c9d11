"""The global random generators of a trial: ``random``, and numpy's, torch's and TensorFlow's where they have been imported.

TensorFlow's can't be given back, so it keeps its own where a trial shares the driver's process.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["borrow", "seed_all", "seed_on_import"]


@dataclass(eq=False, slots=True)
class _Loan:
    """numpy's global bit generator is ``spare`` instead of ``before``, until it is ``over``."""

    before: Any
    spare: Any
    over: bool = False


_spares: list[Any] = []  # numpy bit generators of our own, to be swapped in
_loans: list[_Loan] = []  # what is swapped in now; below each is what it replaced


def seed_all(seed: int) -> None:
    """Seed the process's global generators, for good; for a process of the trial's own."""
    random.seed(seed)
    numpy = getattr(sys.modules.get("numpy"), "random", None)
    if numpy is not None:
        numpy.seed(seed & 0xFFFFFFFF)
    torch = sys.modules.get("torch")
    if hasattr(torch, "default_generator"):
        _seed_torch(torch, seed)
    tensorflow: Any = vars(sys.modules.get("tensorflow", random)).get("random")  # not asked for its attributes: it loads lazily
    if hasattr(tensorflow, "set_seed"):
        tensorflow.set_seed(seed)


def seed_on_import(seed: int) -> None:
    """Seed numpy, torch and TensorFlow when this process imports them later: what a trial draws must not depend on when that is."""
    _watch.seed = seed
    if _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)


class _SeedOnImport:
    """A finder that finds nothing itself, but sees what is imported."""

    seed = 0

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in ("numpy", "torch", "tensorflow"):
            return None
        sys.meta_path.remove(self)
        try:
            spec = find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None and hasattr(loader, "exec_module"):
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                seed_all(self.seed)

            loader.exec_module = exec_module
        return spec


_watch = _SeedOnImport()


def borrow(seed: int) -> Callable[[], None]:
    """Seed the global generators for a trial that shares the driver's process; the result gives them back to the driver.

    What the driver draws afterwards depends on its own seed only, not on the trial. numpy's and torch's states are exactly as
    before (but for a second half of a pair that ``numpy.random.randn`` holds ready). ``random`` can't be swapped, and saving and
    loading its state would be half the cost of a small trial, so it goes on from a value drawn from it before.
    """
    onward = random.getrandbits(64)
    random.seed(seed)
    undo: list[Callable[[], None]] = []
    numpy = getattr(sys.modules.get("numpy"), "random", None)
    if numpy is not None:
        undo.append(_swap_numpy(numpy, seed & 0xFFFFFFFF))
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "default_generator"):
        undo.append(_borrow_torch(torch, seed))

    def give_back() -> None:
        random.seed(onward)
        for step in undo:
            step()

    return give_back


def _swap_numpy(numpy: Any, seed: int) -> Callable[[], None]:
    if not hasattr(numpy, "set_bit_generator"):  # numpy < 1.24
        state = numpy.get_state()
        numpy.seed(seed)
        return lambda: numpy.set_state(state)
    loan = _Loan(numpy.get_bit_generator(), _spares.pop() if _spares else numpy.MT19937(seed))
    _loans.append(loan)
    numpy.set_bit_generator(loan.spare)
    numpy.seed(seed)

    def swap_back() -> None:
        loan.over = True
        while _loans and _loans[-1].over:  # trials in two threads need not end in the order in which they began
            last = _loans.pop()
            numpy.set_bit_generator(last.before)
            _spares.append(last.spare)

    return swap_back


def _seed_torch(torch: Any, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # otherwise every call would be queued until it is
        torch.cuda.manual_seed_all(seed)


def _borrow_torch(torch: Any, seed: int) -> Callable[[], None]:
    state = torch.default_generator.get_state()
    cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    _seed_torch(torch, seed)

    def load_back() -> None:
        torch.default_generator.set_state(state)
        if cards is not None:
            torch.cuda.set_rng_state_all(cards)

    return load_back
