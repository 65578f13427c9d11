"""User code that is asked about a configuration before its trial starts: what it needs, and how it is to be called."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tunesmith.blame import describe_exception
from tunesmith.core import events as ev
from tunesmith.core.ports import Header, Record
from tunesmith.errors import UserCodeError
from tunesmith.spec import ExperimentSpec

__all__ = ["Namer"]

_LONGEST = 200
"""Bytes of a directory's name that leave room for a trial's id behind it."""


class Namer:
    """Calls ``resources_per_trial(config)``, ``trial_name_creator(trial)`` and ``trial_dirname_creator(trial)``.

    Args:
        spec: where they are.
        header: of the journal, for trial ids.
    """

    def __init__(self, spec: ExperimentSpec, header: Header) -> None:
        self._spec = spec
        self._header = header
        self._taken: set[str] = set()

    def prepare(self, number: int, values: dict[str, Any]) -> dict[str, Any]:
        """Extra fields of the trial's ``Suggested`` event.

        Raises:
            UserCodeError: one of them raised, or answered something that is no request, no name.
        """
        spec = self._spec
        extra: dict[str, Any] = {}
        if callable(spec.resources):
            from tunesmith.resources import resource_request

            resources = self._ask("resources_per_trial", number, spec.resources, spec.space.resolve(values))
            request = resource_request(resources)
            extra["resources"] = dict(request) if request is not None and not callable(request) else {"cpu": 1.0}
        if spec.trial_name_creator is not None or spec.trial_dirname_creator is not None:
            trial = self._view(number, values)
            if spec.trial_name_creator is not None:
                extra["name"] = self._word("trial_name_creator", number, spec.trial_name_creator, trial)
            if spec.trial_dirname_creator is not None:
                extra["dirname"] = self._dirname(number, trial)
        return extra

    def _dirname(self, number: int, trial: Any) -> str:
        """The user's name for the trial's directory; with the trial's id behind it where another trial has that name already."""
        assert self._spec.trial_dirname_creator is not None
        name = self._word("trial_dirname_creator", number, self._spec.trial_dirname_creator, trial)
        if "/" in name or "\0" in name or name in ("", ".", "..") or len(os.fsencode(name)) > _LONGEST:
            raise UserCodeError(
                f"trial_dirname_creator answered {name!r} for trial {number}; expected a directory name without '/', "
                f"of at most {_LONGEST} bytes"
            )
        if name in self._taken or os.path.lexists(os.path.join(self._spec.path, name)):
            name = f"{name}_{trial.trial_id}"
        self._taken.add(name)
        return name

    def _view(self, number: int, values: dict[str, Any]) -> Any:
        from tunesmith.journal.trials import TrialBook

        book = TrialBook(self._header, self._spec.path, self._spec.trainable.name, lambda values, _: self._spec.space.resolve(values))
        book.apply(Record(ev.Suggested(number, values)))
        return book.get(number)

    def _word(self, what: str, number: int, function: Callable[[Any], Any], trial: Any) -> str:
        word = self._ask(what, number, function, trial)
        if not isinstance(word, str):
            raise UserCodeError(f"{what} answered {word!r} for trial {number}; expected a string")
        return word

    @staticmethod
    def _ask(what: str, number: int, function: Callable[[Any], Any], argument: Any) -> Any:
        try:
            return function(argument)
        except Exception as error:
            raise UserCodeError(f"{what} raised {describe_exception(error)}, asked about trial {number}") from error
