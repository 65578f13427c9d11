"""``Study``: ask for configurations, tell what came of them."""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from tunesmith import checks
from tunesmith.core.rng import fresh_seed
from tunesmith.create import create_searcher, usual_searcher
from tunesmith.errors import SpecError, StorageFull
from tunesmith.hints import did_you_mean
from tunesmith.objectives import agree
from tunesmith.search.base import Exhausted, Proposal
from tunesmith.search.host import IDLE_ASKS
from tunesmith.secrets import is_secret
from tunesmith.space import Space
from tunesmith.study.book import Book
from tunesmith.study.log import StudyLog, written
from tunesmith.study.trial import COUNTED, OUTCOMES, NoSuggestion, StudyTrial, front, losses
from tunesmith.trainable.metrics import flatten_metrics

if TYPE_CHECKING:
    from tunesmith.search.base import Searcher

__all__ = ["Study"]

_log = logging.getLogger("tunesmith")

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _one_at_a_time(method: Callable[Concatenate[Study, _P], _T]) -> Callable[Concatenate[Study, _P], _T]:
    """The method, for several threads."""

    @functools.wraps(method)
    def alone(study: Study, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with study._lock:
            return method(study, *args, **kwargs)

    return alone


class Study:
    """A search whose trials you run yourself: ask for a configuration, tell what came of it, in any order, as many at once as you like.

    Nothing is started. With equal seeds it asks what ``run`` would try, if results come in the same order. Several threads may share it:
    one waits while another's call is being answered.

    Args:
        config: the search space, as for :func:`tunesmith.run`.
        metric: name of what is optimised, or a list of names; None: the searcher's, else "_metric".
        mode: "min" or "max", one for each metric; None: the searcher's.
        search_alg: a searcher, the name of one, or None: as for :func:`tunesmith.run`.
        seed: of all random streams; None: one is drawn (see :attr:`seed`).
        num_samples: how many trials there will be (a grid: passes over it), >= 1; None: no end.
        path: a file for all that is asked and told, written as it goes: when this process dies, the same call goes on exactly from there.
            It belongs to one process at a time. None: nothing is kept.

    Raises:
        SpecError: an argument is wrong; or the file at ``path`` is of a study with another space, metric, mode or searcher.
        JournalLocked: another study has that file open.

    Example:
        >>> from tunesmith.space import uniform
        >>> study = Study({"x": uniform(-1, 1)}, metric="loss", mode="min", seed=1)
        >>> for _ in range(20):
        ...     trial = study.ask()
        ...     study.tell(trial, trial.config["x"] ** 2)
        >>> len(study.trials), study.best_value == study.best_config["x"] ** 2 < 0.01
        (20, True)
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        metric: str | Sequence[str] | None = None,
        mode: str | Sequence[str] | None = None,
        search_alg: Searcher | str | None = None,
        seed: int | None = None,
        num_samples: int | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        given = create_searcher(search_alg) if isinstance(search_alg, str) else search_alg
        self.space = Space.parse(config)
        self.metrics, self.modes = agree(metric, mode, None, given)
        if not self.metrics:
            raise SpecError("Study: needs a metric and a mode; give metric=... and mode='min' or 'max'.")
        if given is None:
            given = usual_searcher(self.space, self.metrics)
        self.searcher: Searcher = checks.instance("search_alg", given, ("suggest", "bind"))
        budget = checks.whole("num_samples", num_samples, least=1)
        self._seed = checks.whole("seed", seed)
        self._lock = threading.RLock()
        self._events: list[dict[str, Any]] = []
        self._file = StudyLog(path) if path is not None else None
        try:
            self._begin(self._file.events if self._file is not None else [], budget)
        except BaseException:
            self.close()
            raise

    # ---- asking and telling

    @_one_at_a_time
    def ask(self) -> StudyTrial:
        """A trial to run.

        Raises:
            NoSuggestion: the searcher has nothing: not now (``final`` is false: tell of a pending trial first), or no more.
        """
        book, pending = self._book, self.pending
        number = len(book.trials)
        if self._total is not None and number - sum(trial.state == "infeasible" for trial in book.trials.values()) >= self._total:
            raise NoSuggestion(f"all {self._total} trials of num_samples have been asked for.", final=True)
        if self.searcher.max_concurrent and len(pending) >= self.searcher.max_concurrent:
            raise NoSuggestion(
                f"{len(pending)} trials are pending, and {self._name} has at most {self.searcher.max_concurrent} at once. Tell what "
                f"came of one of them: {_numbers(pending)}.",
                final=False,
            )
        for asked in range(1, (1 if pending else IDLE_ASKS) + 1):
            answer = self.searcher.propose(number, f"{number:05d}")
            if isinstance(answer, Proposal):
                if book.asks_again and asked > 1:
                    self._write({"event": "nothing", "asks": asked - 1})
                self._write({"event": "ask", "trial": number, "values": answer.values, "source": answer.source})
                return book.started(number, answer.values, answer.source)
            if isinstance(answer, Exhausted):
                raise NoSuggestion(f"{answer.reason}.", final=True)
        if book.asks_again:
            self._write({"event": "nothing", "asks": asked})
        if pending:
            raise NoSuggestion(
                f"{self._name} has nothing to propose before it is told what came of a pending trial: {_numbers(pending)}.", final=False
            )
        raise NoSuggestion(f"{self._name} had nothing to propose {IDLE_ASKS} times in a row, and no trial is pending.", final=True)

    @_one_at_a_time
    def report(self, trial: StudyTrial | int, metrics: Any) -> None:
        """Tell an intermediate result of a pending trial, to searchers that learn from them.

        Args:
            trial: it, or its number.
            metrics: a number (of several metrics: as many, in a list), or a dict of metrics.

        Raises:
            SpecError: there is no such pending trial.
        """
        found = self._pending(trial)
        event = {"event": "report", "trial": found.number, "metrics": self._result(found, metrics)}
        self._write(event)
        self._book.apply(event)

    @_one_at_a_time
    def tell(self, trial: StudyTrial | int, value: Any = None, *, state: str = "finished") -> None:
        """Tell what came of a trial.

        Args:
            trial: it, or its number.
            value: a number (of several metrics: as many, in a list), or a dict of metrics; None: the last that was reported. A metric
                that is nan counts as failed.
            state: "finished"; "stopped": early, and the value is its last; "failed": because of its configuration, as far as is known;
                "infeasible": its configuration is not possible; "lost": it says nothing of its configuration.

        Raises:
            SpecError: there is no such pending trial, the state is not known, or a trial that counts has no value.
        """
        found = self._pending(trial)
        if state not in OUTCOMES:
            raise SpecError(f"tell: state={state!r} is not known.{did_you_mean(str(state), OUTCOMES)} Known: {', '.join(OUTCOMES)}.")
        result = None if value is None else self._result(found, value)
        last = result if result is not None else found.result
        if state in COUNTED:
            missing = [metric for metric in self.metrics if last is None or last.get(metric) is None]
            if missing:
                have = did_you_mean(missing[0], last or ()) or (f" It has {', '.join(last)}." if last else "")
                raise SpecError(f"tell: trial {found.number} has no value of {missing[0]!r}.{have} If it has none, say state='failed'.")
            if last is not None and any(math.isnan(last[metric]) for metric in self.metrics):
                state = "nan"
        event = {"event": "tell", "trial": found.number, "state": state, "metrics": result}
        self._write(event)
        self._book.apply(event)

    @_one_at_a_time
    def add(self, config: Mapping[str, Any], value: Any, *, state: str = "finished") -> StudyTrial:
        """Add a trial that is known from elsewhere.

        Args:
            config: the whole configuration, nested or with "a/b" keys.
            value: what it had, as for :meth:`tell`.
            state: "finished", "stopped", "failed" or "infeasible".

        Raises:
            SpaceError: it does not lie in the space.
            SpecError: the searcher cannot be told, or the value is missing.
        """
        values = self.space.values_from(config)
        if state not in OUTCOMES or state == "lost":
            raise SpecError(f"add: state={state!r} is not known; it is finished, stopped, failed or infeasible.")
        result = None if value is None else self._result(None, value)
        if state in COUNTED and losses(result, self.metrics, self._book.signs) is None:
            raise SpecError(f"add: expected a finite number for each of {', '.join(self.metrics)}, got {value!r}.")
        event = {"event": "add", "values": values, "state": state, "metrics": result}
        self._book.apply(event)  # first: the searcher may refuse
        self._write(event)
        return self._book.added[-1]

    # ---- what is known

    @property
    def seed(self) -> int:
        """Of all random streams."""
        assert self._seed is not None
        return self._seed

    @property
    @_one_at_a_time
    def trials(self) -> list[StudyTrial]:
        """All: those that were added, then those that were asked for, in order."""
        return [*self._book.added, *self._book.trials.values()]

    @property
    @_one_at_a_time
    def pending(self) -> list[StudyTrial]:
        """Those that were asked for and not told."""
        return [trial for trial in self._book.trials.values() if trial.state == "pending"]

    @property
    def best_trials(self) -> list[StudyTrial]:
        """Those that no other is better than; with one metric all that have the best value. Empty before the first is told."""
        scored = [(trial, losses(trial.result, self.metrics, self._book.signs)) for trial in self.trials if trial.state in COUNTED]
        return front((trial, each) for trial, each in scored if each is not None)

    @property
    def best_trial(self) -> StudyTrial:
        """The one with the best value, of equals the first.

        Raises:
            SpecError: there are several metrics, or no trial has a value yet.
        """
        if len(self.metrics) > 1:
            raise SpecError(f"of several metrics ({', '.join(self.metrics)}) there is no single best; see best_trials.")
        if not (best := self.best_trials):
            raise SpecError(f"no trial has a finite value of {self.metrics[0]!r} yet.")
        return best[0]

    @property
    def best_config(self) -> dict[Any, Any]:
        """That of :attr:`best_trial`."""
        return self.best_trial.config

    @property
    def best_value(self) -> float:
        """The metric of :attr:`best_trial`."""
        result = self.best_trial.result
        assert result is not None, "it has a value"
        return float(result[self.metrics[0]])

    # ---- its file

    @_one_at_a_time
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that was asked and told to another file, from which ``Study(..., path=path)`` goes on.

        Raises:
            StorageFull: it cannot be written, or is there already.
        """
        try:
            with Path(path).expanduser().open("xb") as file:
                file.writelines(map(written, self._events))
        except OSError as error:
            raise StorageFull(f"the study cannot be saved to {os.fspath(path)}: {error}.") from error

    def close(self) -> None:
        """Let go of the file. Idempotent; also done when the study is no longer used, and at the end of a ``with`` block."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Study of {', '.join(self.metrics)} with {self._name}: {len(self._book.trials)} trials, {len(self.pending)} pending>"

    # ---- inside

    @property
    def _name(self) -> str:
        return type(self.searcher).__name__

    def _begin(self, events: list[dict[str, Any]], budget: int | None) -> None:
        header = events[0] if events else {}
        if events and self._seed not in (None, header.get("seed")):
            _log.warning("the study began with seed=%s and goes on with it; seed=%s is not used.", header.get("seed"), self._seed)
        self._seed = header.get("seed", fresh_seed() if self._seed is None else self._seed)
        now = {
            "event": "study", "format": 1, "metrics": list(self.metrics), "modes": list(self.modes), "seed": self._seed,
            "searcher": self._name, "space": self.space.describe(redact=is_secret),
        }  # fmt: skip
        for key, value in json.loads(written(now)).items():
            if events and header.get(key) != value:
                raise SpecError(
                    f"the study in {self._file.path if self._file else 'memory'} has another {key}: {header.get(key)!r}, and now it is "
                    f"{value!r}. Give the old one; or begin a new study and add() what is known."
                )
        several = len(self.metrics) > 1
        self.searcher.bind(
            self.space, list(self.metrics) if several else self.metrics[0], list(self.modes) if several else self.modes[0], self.seed,
            budget=budget,
        )  # fmt: skip
        self._total = self.searcher.total_samples(budget)
        if events:
            self._events = list(events)
        else:
            self._write(now)
        self._book = Book(self.searcher, self.space, self.metrics, self.modes, self.seed)
        for event in events[1:]:
            self._book.apply(event)

    def _write(self, event: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.append(event)
        self._events.append(event)

    def _pending(self, given: StudyTrial | int) -> StudyTrial:
        number = given.number if isinstance(given, StudyTrial) else given
        found = self._book.trials.get(number) if isinstance(number, int) and not isinstance(number, bool) else None
        if found is None or (isinstance(given, StudyTrial) and found is not given):
            raise SpecError(f"this study has asked for no trial {given!r}; its pending ones are {_numbers(self.pending) or 'none'}.")
        if found.state != "pending":
            raise SpecError(f"trial {number} is over already: it was told as {found.state}.")
        return found

    def _result(self, trial: StudyTrial | None, given: Any) -> dict[str, Any]:
        """A result as a run's trial would report it: flat, scalars and texts only."""
        who = "add" if trial is None else f"trial {trial.number}"
        if not isinstance(given, Mapping):
            values = list(given) if isinstance(given, list | tuple) else [given]
            if len(values) != len(self.metrics):
                raise SpecError(f"{who}: expected a value for each of {', '.join(self.metrics)}, or a dict; got {given!r}.")
            given = dict(zip(self.metrics, values))
        flat, others = flatten_metrics(given)
        wrong = [metric for metric in self.metrics if metric in others or not isinstance(flat.get(metric), int | float | None)]
        if wrong:
            raise SpecError(f"{who}: {wrong[0]!r} must be a number, got {others.get(wrong[0], flat.get(wrong[0]))!r}.")
        return {"training_iteration": 1 + (0 if trial is None else len(trial.reports)), **flat}


def _numbers(trials: Sequence[StudyTrial]) -> str:
    shown = ", ".join(str(trial.number) for trial in trials[:10])
    return f"{shown} ..." if len(trials) > 10 else shown
