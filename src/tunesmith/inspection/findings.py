"""What a preflight has found, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.progress.text import duration, pairs, plural

__all__ = ["Preflight", "byte_text"]


@dataclass(frozen=True, slots=True)
class Preflight:
    """What :func:`tunesmith.preflight` has found. Printed, it is a summary of a few lines.

    Attributes:
        problems: why an experiment would fail, one text each, beginning with the line of the user's code ("train.py:12: ...") where
            there is one. ``ok`` is true if there is none.
        warnings: what an experiment would survive, and what may not be meant so.
        name: of the trainable; ``drawn``: the parameters that were drawn for its one trial, by path ("optimizer/lr").
        config: that trial's configuration.
        metrics: its first report; empty if there was none.
        unread: paths of drawn parameters that the trial never looked at; empty also if that could not be observed.
        setup_s: seconds before its first step; ``step_s``: of a step, with what it saves. None: there was no report.
        checkpoint_bytes: size of its checkpoint; None: there was none.
        restored: whether it went on from its checkpoint. None: that was not tried, or it is not known.
        trials: of the experiment in all; None: until a limit. ``parallel``: at once; ``steps``: of a trial that runs to its end. None:
            unknown.
        estimated_s: seconds of the whole experiment, ``estimated_bytes``: of its checkpoints; None: cannot be said.
        shortened: trials may end earlier, so ``estimated_s`` is a limit.
        free_bytes: on the disk of the results.

    Example:
        >>> found = Preflight(problems=("train.py:7: KeyError: 'lr'",), name="train", drawn={"rate": 0.1})
        >>> print(found)
        preflight of train with rate=0.1: 1 problem
          problem: train.py:7: KeyError: 'lr'
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    name: str = ""
    drawn: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)  # it may hold passwords
    metrics: Mapping[str, Any] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    setup_s: float | None = None
    step_s: float | None = None
    checkpoint_bytes: int | None = None
    restored: bool | None = None
    trials: int | None = None
    parallel: int | None = None
    steps: int | None = None
    estimated_s: float | None = None
    estimated_bytes: int | None = None
    shortened: bool = False
    free_bytes: int | None = None

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def raise_if_bad(self) -> None:
        """Raise what would spoil an experiment; warnings do not.

        Raises:
            SpecError: there are problems; the message has all of them.
        """
        if self.problems:
            listed = "".join(f"\n  {problem}" for problem in self.problems)
            raise SpecError(f"preflight of {self.name}: {plural(len(self.problems), 'problem')}, and nothing was started.{listed}")

    def __str__(self) -> str:
        shown = f" with {pairs(self.drawn)}" if self.drawn else ""
        counts = [plural(len(found), noun) for found, noun in ((self.problems, "problem"), (self.warnings, "warning")) if found]
        lines = [f"preflight of {self.name}{shown}: {', '.join(counts) or 'ok'}"]
        lines += [f"problem: {problem}" for problem in self.problems]
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [line for line in (self._measured(), self.forecast()) if line]
        return "\n  ".join(lines)

    def _measured(self) -> str:
        if self.setup_s is None or self.step_s is None:
            return ""
        saved = ""
        if self.checkpoint_bytes is not None:
            saved = f"; a checkpoint has {byte_text(self.checkpoint_bytes)}{', and the trial went on from it' if self.restored else ''}"
        return f"a trial takes {duration(self.setup_s)} to set up and {duration(self.step_s)} per step{saved}"

    def forecast(self) -> str:
        """One line on the whole experiment; "" if nothing was measured."""
        if self.step_s is None:
            return ""
        steps = f" of {plural(self.steps, 'step')}" if self.steps is not None else ""
        parallel = f", {self.parallel} at a time" if self.parallel is not None else ""
        line = f"{plural(self.trials, 'trial') if self.trials is not None else 'trials'}{steps}{parallel}"
        if self.estimated_s is not None:
            line += f": {'at most' if self.shortened else 'about'} {duration(self.estimated_s)}"
        if self.estimated_bytes is not None and self.free_bytes is not None:
            line += f"; up to {byte_text(self.estimated_bytes)} of checkpoints, {byte_text(self.free_bytes)} are free"
        return line


def byte_text(count: float) -> str:
    """``512 B``, ``12.4 MB``, ``3.1 GB``.

    Example:
        >>> byte_text(512), byte_text(999_900), byte_text(12_400_000)
        ('512 B', '1 MB', '12.4 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:  # or it would be shown as 1e+03
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
