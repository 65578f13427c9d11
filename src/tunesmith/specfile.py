"""``spec.pkl``: what JSON cannot hold of an experiment, for those who go on with it or run one of its trials again.

Each part is pickled for itself, so that a callback which cannot be pickled costs only itself. Of the space every version is kept
that there has been, secrets left out. Nothing but a resume and ``rerun`` ever reads this file; looking at results never unpickles.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any

from tunesmith.core.codec import dumps
from tunesmith.errors import JournalCorrupt, JournalError, SpecError, StorageFull
from tunesmith.secrets import is_secret, redact
from tunesmith.spec import ExperimentSpec
from tunesmith.trainable.homes import by_value
from tunesmith.trainable.serialize import blamed_config

__all__ = ["FILE", "Stored", "StoredSpace", "fingerprint", "load", "pack", "save", "with_secrets"]

FILE = "spec.pkl"
_FORMAT = 2
_NOT_STORED = frozenset({"path", "name", "resume", "plan", "take_over", "executor", "space", "remote"})
"""Fields of one process, or of where the experiment lies now; and the space, which is stored as its config."""


@dataclass(slots=True)
class StoredSpace:
    """One version of the search space.

    Args:
        config: pickled, without secrets.
        secrets: paths of those that were strings ("a/b").
        blocks: paths of those that were whole blocks of settings ("wandb").
    """

    config: bytes
    secrets: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()

    def load(self, given: Mapping[str, Any] | None = None, *, without_blocks: bool = False) -> dict[str, Any]:
        """The config, its secrets put back.

        Args:
            given: a config of the caller's, in which secrets are looked for first; then strings in the environment.
            without_blocks: blocks stay left out.

        Raises:
            SpecError: a secret is nowhere; names its key and the variable.
            JournalError: the config cannot be loaded here.
        """
        found = dict(_removed(given, redact(given))) if given is not None else {}
        missing = [path for path in self.blocks if path not in found]
        if missing and not without_blocks:
            raise SpecError(f"config[{missing[0]!r}] is secret and was not stored. Give the space again (param_space=...).")
        config: dict[str, Any] = _loads("the search space", self.config)
        for path in (*self.blocks, *self.secrets):
            if path in found:
                _put(config, path.split("/"), found[path])
            elif path in self.secrets:
                _put(config, path.split("/"), _from_environment(path))
        return config


@dataclass(slots=True)
class Stored:
    """What a ``spec.pkl`` holds.

    Args:
        spaces: fingerprint of its description -> a version of the search space, the newest last.
        parts: the pickled fields of the spec, by name.
        failed: why a field could not be pickled, by name.
    """

    spaces: dict[str, StoredSpace]
    parts: dict[str, bytes] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """One field of the spec.

        Raises:
            JournalError: it could not be stored, or cannot be loaded here; says why.
        """
        if name in self.failed:
            raise JournalError(f"{name} could not be stored in {FILE} when the experiment began ({self.failed[name]}).")
        return _loads(name, self.parts[name])

    @property
    def newest(self) -> StoredSpace:
        """The version of the search space that was given last."""
        return next(reversed(self.spaces.values()))

    def space_config(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """``given``, the caller's config; None: the newest that is stored, its secrets from the environment.

        Raises:
            SpecError, JournalError: see :meth:`StoredSpace.load`.
        """
        return dict(given) if given is not None else self.newest.load()

    def after(self, earlier: Stored) -> Stored:
        """The same with all versions of the space that were stored before."""
        return replace(self, spaces={**{key: space for key, space in earlier.spaces.items() if key not in self.spaces}, **self.spaces})


def fingerprint(description: Mapping[str, Any]) -> str:
    """What tells versions of a space apart: their descriptions, and so neither secrets nor what functions do.

    Args:
        description: from ``Space.describe``, before or after a trip through the journal.
    """
    return hashlib.blake2b(dumps(description).encode(), digest_size=16).hexdigest()


def with_secrets(config: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``config``, which has none, with the secrets of ``given`` put into it.

    Example:
        >>> with_secrets({"hub": {"user": "ada"}}, {"lr": 0.1, "hub": {"password": "x"}})
        {'hub': {'user': 'ada', 'password': 'x'}}
    """
    for path, value in _removed(given, redact(given)):
        _put(config, path.split("/"), value)
    return config


def pack(spec: ExperimentSpec) -> Stored:
    """What to store of an experiment, taken before it runs: a searcher at work holds the whole space, secrets and all.

    Raises:
        SerializationError: the config can't be pickled; names the value.
    """
    config = dict(spec.space.config)
    kept = redact(config)
    removed = dict(_removed(config, kept))
    blocks = tuple(path for path, value in removed.items() if not isinstance(value, str | bytes))
    try:
        space = StoredSpace(_dumps(kept), tuple(path for path in removed if path not in blocks), blocks)
    except Exception as error:
        raise blamed_config(kept, error) from error
    stored = Stored({fingerprint(spec.space.describe(redact=is_secret)): space})
    for item in fields(spec):
        if item.name in _NOT_STORED:
            continue
        try:
            stored.parts[item.name] = _dumps(getattr(spec, item.name))
        except Exception as error:
            stored.failed[item.name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return stored


def save(stored: Stored, directory: str) -> None:
    """Write ``spec.pkl`` into the experiment's directory, in one step.

    Raises:
        StorageFull: the file cannot be written.
    """
    spaces = {key: astuple(space) for key, space in stored.spaces.items()}
    content = {"format": _FORMAT, "spaces": spaces, "parts": stored.parts, "failed": stored.failed}
    path = os.path.join(directory, FILE)
    try:
        with open(f"{path}.new", "wb") as file:
            pickle.dump(content, file)
        os.replace(f"{path}.new", path)
    except OSError as error:
        raise StorageFull(f"{path} cannot be written: {error.strerror or error}. Nothing was started; free some space.") from error


def load(path: str) -> Stored:
    """Read the ``spec.pkl`` of the experiment in the directory ``path``. Only the table of contents is unpickled here.

    Raises:
        JournalError: it is not there.
        JournalCorrupt: it is none, or of a newer version.
    """
    file = os.path.join(path, FILE)
    try:
        with open(file, "rb") as handle:
            content = pickle.load(handle)
        if content["format"] > _FORMAT:
            raise JournalCorrupt(f"{file} was written by a newer version of tunesmith (format {content['format']}); please upgrade.")
        spaces = {key: StoredSpace(*space) for key, space in content["spaces"].items()}
        return Stored(spaces, content["parts"], content["failed"])
    except FileNotFoundError:
        raise JournalError(f"{file} is not there, so the experiment cannot be restored; its results can still be read.") from None
    except JournalCorrupt:
        raise
    except Exception as error:
        raise JournalCorrupt(f"{file} is damaged ({type(error).__name__}: {error}); the experiment's results can still be read.") from error


def _dumps(value: Any) -> bytes:
    import cloudpickle

    with by_value():
        return cloudpickle.dumps(value)  # type: ignore[no-any-return]


def _loads(name: str, data: bytes) -> Any:
    try:
        return pickle.loads(data)
    except Exception as error:
        raise JournalError(
            f"{name} cannot be loaded from {FILE} here: {type(error).__name__}: {error}. Run this where the modules of the original "
            "script can be imported."
        ) from error


def _from_environment(path: str) -> str:
    variable = path.replace("/", "_").replace("-", "_").upper()
    if variable not in os.environ:
        raise SpecError(
            f"config[{path!r}] is a secret and was not stored. Give the space again (param_space=...), or set the environment "
            f"variable {variable}."
        )
    return os.environ[variable]


def _removed(config: Any, kept: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Flat paths of ``config`` that are not in ``kept``, and what is there."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            place = f"{path}/{key}" if path else str(key)
            if key not in kept:
                yield place, value
            else:
                yield from _removed(value, kept[key], place)
    elif isinstance(config, list | tuple) and len(config) != len(kept):
        yield path, config


def _put(config: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        config = config.setdefault(key, {})
    config[keys[-1]] = value
