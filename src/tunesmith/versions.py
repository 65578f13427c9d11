"""The versions of an experiment's search space: a resume may bring another one, and trials keep the one that they were drawn from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.ports import Record
from tunesmith.errors import JournalError, SpecError
from tunesmith.search.earlier import Earlier
from tunesmith.secrets import is_secret
from tunesmith.space import Space, config_from_description
from tunesmith.space.rebuild import lost_in, space_from_description
from tunesmith.space.translate import Translator
from tunesmith.specfile import FILE, Stored, fingerprint, with_secrets

__all__ = ["Versions"]

_log = logging.getLogger("tunesmith")


class Versions:
    """All versions of one experiment's space, each as it was stored; the description alone tells what was lost.

    Args:
        recorded: descriptions of the versions in the journal, oldest first.
        stored: what ``spec.pkl`` holds; None: it is lost.
        given: the space of this session, and the newest version whether or not it is in the journal yet. None: those on record only.
        without_blocks: secret blocks that were not stored stay left out; else that is an error.

    Attributes:
        descriptions: of every version, by number.
        newest: number of the newest.
        changed: the description of the newest, if the journal does not have it yet and has others; else None.

    Example:
        >>> from tunesmith.space import choice
        >>> old, new = Space.parse({"x": choice([[1], [2]])}), Space.parse({"x": choice([[2], [3]])})
        >>> versions = Versions([old.describe()], None, new)
        >>> [versions.resolve({"x": 1}, version) for version in range(versions.newest + 1)]
        [{'x': [2]}, {'x': [3]}]
    """

    def __init__(
        self, recorded: Sequence[dict[str, Any]], stored: Stored | None, given: Space | None = None, *, without_blocks: bool = False
    ) -> None:
        self.descriptions = list(recorded)
        self.changed: dict[str, Any] | None = None
        self._stored = stored
        self._given = given
        self._without_blocks = without_blocks
        self._spaces: dict[str, Space] = {}
        self._rebuilt: set[str] = set()
        self._keys: dict[int, tuple[Mapping[str, Any], str]] = {}  # by identity; held, so that it stays theirs
        if given is not None:
            description = given.describe(redact=is_secret)
            self._spaces[fingerprint(description)] = given  # equal ones too are taken from the script rather than from the file
            if not self.descriptions or self._key(description) != self._key(self.descriptions[-1]):
                self.changed = description if self.descriptions else None
                self.descriptions.append(description)
        self.newest = len(self.descriptions) - 1

    @classmethod
    def of(cls, records: Iterable[Record], stored: Stored | None, given: Space) -> Versions:
        """Those of a session that goes on after ``records``."""
        recorded = []
        for event in (record.event for record in records if record.handled):
            if isinstance(event, ev.ExperimentStarted) and not event.session:
                recorded.append(event.spec["space"])
            elif isinstance(event, ev.SpecChanged) and "space" in event.changes:
                recorded.append(event.changes["space"])
        return cls(recorded, stored, given)

    # ---- values to configs

    def resolve(self, values: Mapping[str, Any], version: int) -> dict[Any, Any]:
        """The config to run with: a fresh one.

        Raises:
            SpecError: part of that version is lost; names it.
        """
        description = self.descriptions[version]
        config = self._space(description).resolve(values)
        if self._key(description) in self._rebuilt and (lost := lost_in(config)) is not None:
            raise SpecError(
                f"its configuration belongs to an earlier version of the search space, which {FILE} does not hold (any more) or which "
                f"cannot be loaded here, and {lost!r} in it is nothing that the journal could record."
            )
        return config

    def space(self, version: int) -> Space:
        """The space of that version, for making other values of it.

        Raises:
            SpecError: part of it is lost; names it.
        """
        description = self.descriptions[version]
        space = self._space(description)
        if self._key(description) in self._rebuilt and (lost := lost_in(space.config)) is not None:
            raise SpecError(f"version {version} of the search space is not in {FILE} (any more), and {lost!r} in it is not on record.")
        return space

    def shown(self, values: Mapping[str, Any], description: Mapping[str, Any] | None) -> dict[Any, Any]:
        """The config for readers, given the version's description (None: the newest's): what cannot be loaded appears as its label."""
        description = self.descriptions[-1] if description is None else description
        try:
            space = self._space(description)
        except SpecError:  # a secret is missing: not for readers
            return config_from_description(description, values)
        return config_from_description(description, values) if self._key(description) in self._rebuilt else space.resolve(values)

    def config(self, values: Mapping[str, Any], version: int) -> dict[Any, Any]:
        """As :meth:`shown`, given the number of the version."""
        return self.shown(values, self.descriptions[version])

    def labels(self, values: Mapping[str, Any], version: int) -> dict[str, Any]:
        """What was drawn, for people; see :meth:`Space.labels`."""
        return self._known(self.descriptions[version]).labels(values)

    def check(self, trials: Iterable[tuple[int, Mapping[str, Any], int]], trial_id: Callable[[int], str]) -> None:
        """See that trials which are to go on can.

        Args:
            trials: number, values and version of each.

        Raises:
            SpecError: part of one's config is lost; names both.
        """
        for number, values, version in trials:
            try:
                if version != self.newest:
                    self.resolve(values, version)
            except SpecError as error:
                raise SpecError(
                    f"trial {trial_id(number)} cannot go on: {error} Resume with the space that it was drawn from, or begin a new "
                    "experiment."
                ) from error

    # ---- for the searcher

    def earlier(self, records: Iterable[Record]) -> Earlier:
        """What earlier sessions proposed, as the newest version has it; says how much of it that version does not have."""
        found = Earlier()
        version = session = 0
        proposed: list[tuple[int, int, dict[str, Any]]] = []
        for record in records:
            event = record.event
            if not record.handled:
                continue
            if isinstance(event, ev.Suggested):
                found.sessions[event.trial] = session
                proposed.append((event.trial, version, event.values))
            elif isinstance(event, ev.ExperimentStarted):
                session = event.session
            elif isinstance(event, ev.SpecChanged):
                version += "space" in event.changes
        translators = {number: self._translator(number) for number in {version for _, version, _ in proposed} - {self.newest}}
        for trial, number, values in proposed:
            found.values[trial] = values if number == self.newest else translators[number](values)
        found.first = sum(number != self.newest for _, number, _ in proposed)
        outside = sum(values is None for values in found.values.values())
        if outside and self.changed is not None:
            _log.warning("%d of %d earlier trials lie outside the new space and are not used by the search", outside, len(proposed))
        return found

    def _translator(self, version: int) -> Translator:
        assert self._given is not None, "a session has a space"
        return Translator(self._known(self.descriptions[version]), self._given)

    # ---- spaces by what describes them

    def _known(self, description: Mapping[str, Any]) -> Space:
        """The space, or what the description tells of it where secrets are missing that do not matter."""
        try:
            return self._space(description)
        except SpecError:
            return space_from_description(description)

    def _space(self, description: Mapping[str, Any]) -> Space:
        key = self._key(description)
        space = self._spaces.get(key)
        if space is None:
            space = self._spaces[key] = self._loaded(key, description)
        return space

    def _loaded(self, key: str, description: Mapping[str, Any]) -> Space:
        given = None if self._given is None else self._given.config
        stored = self._stored.spaces.get(key) if self._stored is not None else None
        if stored is not None:
            try:
                return Space.parse(stored.load(given, without_blocks=self._without_blocks))
            except JournalError as error:
                _log.warning("%s Of an earlier search space only what the journal describes is at hand.", error)
        self._rebuilt.add(key)
        space = space_from_description(description)
        return space if given is None else Space.parse(with_secrets(dict(space.config), given))

    def _key(self, description: Mapping[str, Any]) -> str:
        known = self._keys.get(id(description))
        if known is None:
            known = self._keys[id(description)] = (description, fingerprint(description))
        return known[1]
