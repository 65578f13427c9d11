"""The words of a command with placeholders in them, and what a trial's configuration makes of them."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.hints import did_you_mean
from tunesmith.secrets import is_secret

__all__ = ["OWN", "Word", "name_of", "words_of"]

OWN = ("checkpoint", "trial_id", "trial_dir", "seed")
"""Placeholders that are filled in for every trial, where its configuration has no entry of the name."""

_FIELD = re.compile(r"(?P<first>[^\[\]\"']+)(?P<rest>(?:\[[^\[\]]+\])*)")
_SCRIPT = re.compile(r"\.(?:py|sh|bash|zsh|R|r|jl|pl|rb|js|lua|m)$")
_UNPLAIN = re.compile(r"[^\w.-]+")
_CONVERSIONS: dict[str, Callable[[Any], str]] = {"r": repr, "s": str, "a": ascii}
_PLAIN = (str, int, float, bool)
_HIDDEN = "***"
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class _Field:
    """A placeholder: as it was written, the keys that lead to its value, its conversion (``!r``) and format (``:.3g``)."""

    raw: str
    keys: tuple[str, ...]
    conversion: str | None
    form: str

    @property
    def path(self) -> str:
        return "/".join(self.keys)


@dataclass(frozen=True, slots=True)
class Word:
    """One argument of a command, or the value of a variable.

    Args:
        text: as it was given.
        where: what messages call it.
        fixed: it is taken as it is, braces and all.

    Raises:
        SpecError: a brace has no partner, or a placeholder has no name.

    Example:
        >>> word = Word("--lr={optimizer[lr]:.3g}", "the command")
        >>> word.filled({"optimizer": {"lr": 0.12345}}, {})
        '--lr=0.123'
        >>> Word("{model/layers}", "the command").filled({"model": {"layers": [64, 64]}}, {})
        '[64, 64]'
    """

    text: str
    where: str
    fixed: bool = False

    def __post_init__(self) -> None:
        for _ in self._parts():
            pass

    def filled(self, config: Mapping[str, Any], own: Mapping[str, Any], *, hide: bool = False) -> str:
        """The word of a trial.

        Args:
            config: of the trial.
            own: values of :data:`OWN`.
            hide: for people's eyes: what is secret is not in it.

        Raises:
            SpecError: the configuration has no such entry, or its value cannot be written as text in that form.
        """
        text = ""
        for literal, field in self._parts():
            text += literal
            if field is not None:
                value = self._value(field, config, own)
                text += _HIDDEN if hide and is_secret(field.path, value) else self._formatted(field, value)
        return text

    def check(self, config: Mapping[str, Any], complete: bool) -> None:
        """Look whether configurations of a space can fill it.

        Args:
            config: the space: what is no plain value in it stands for one that is not known yet.
            complete: it has all entries that trials will have.

        Raises:
            SpecError: as :meth:`filled`, if it is certain to.
        """
        for _, field in self._parts():
            if field is None:
                continue
            value = _found(field.keys, config)
            if value is _ABSENT and complete and field.raw not in OWN:
                raise self._unknown(field, config)
            if value is None or isinstance(value, _PLAIN):
                self._formatted(field, value)

    def asks_for(self, name: str) -> bool:
        """Whether there is a placeholder of this name in it."""
        return any(field is not None and field.raw == name for _, field in self._parts())

    def _parts(self) -> Iterator[tuple[str, _Field | None]]:
        if self.fixed:
            yield self.text, None
            return
        try:
            parsed = list(Formatter().parse(self.text))
        except ValueError as error:
            raise SpecError(f"{self.where}: {self.text!r}: {error}. A brace that is meant as such is written twice.") from None
        for literal, raw, form, conversion in parsed:
            yield literal, None if raw is None else self._field(raw, form or "", conversion)

    def _field(self, raw: str, form: str, conversion: str | None) -> _Field:
        match = _FIELD.fullmatch(raw)
        if match is None or "{" in form or conversion not in (None, *_CONVERSIONS):
            raise SpecError(
                f"{self.where}: {self.text!r}: the placeholder {{{raw}}} is not understood. Expected the name of an entry of the config: "
                "{lr}, {model[lr]}, {model/lr} or {lr:.3g}; a brace that is meant as such is written twice."
            )
        keys = [*match["first"].split("/"), *re.findall(r"\[([^\[\]]+)\]", match["rest"])]
        return _Field(raw, tuple(keys), conversion, form)

    def _value(self, field: _Field, config: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        value = _found(field.keys, config)
        if value is _ABSENT:
            value = own.get(field.raw, _ABSENT)
        if value is _ABSENT:
            raise self._unknown(field, config)
        return value

    def _unknown(self, field: _Field, config: Mapping[str, Any]) -> SpecError:
        known = [*_names(config), *OWN]
        return SpecError(
            f"{self.where}: {self.text!r}: the config has no entry {field.path!r}.{did_you_mean(field.path, known)} "
            f"There are: {', '.join(known)}. (A brace that is meant as such is written twice.)"
        )

    def _formatted(self, field: _Field, value: Any) -> str:
        item = getattr(value, "item", None)
        if item is not None and getattr(value, "shape", None) == ():
            value = item()  # a scalar of numpy's
        try:
            if field.conversion is not None:
                value = _CONVERSIONS[field.conversion](value)
            elif not isinstance(value, _PLAIN):
                value = json.dumps(value)
            text = format(value, field.form)
            os.fsencode(text)
        except (TypeError, ValueError) as error:
            raise SpecError(
                f"{self.where}: {self.text!r}: the value of {{{field.raw}}} is a {type(value).__name__}, {_short(value)}, and cannot be "
                f"written there: {error}. Numbers, strings, and what JSON can hold can be."
            ) from None
        if "\0" in text:
            raise SpecError(f"{self.where}: {self.text!r}: the value of {{{field.raw}}} has a NUL character in it.")
        return text


def words_of(program: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[Word, ...]:
    """The words of a command: a string is taken apart as a shell would, a list is taken as given.

    Raises:
        SpecError: there are none, or a quotation mark has no partner.

    Example:
        >>> [word.text for word in words_of("python train.py --tag 'a b' --lr {lr}")]
        ['python', 'train.py', '--tag', 'a b', '--lr', '{lr}']
    """
    where = "tune.command()"
    if isinstance(program, str):
        try:
            texts = shlex.split(program)
        except ValueError as error:
            raise SpecError(f"{where}: {program!r} cannot be taken apart: {error}. Or give a list of words.") from None
    elif isinstance(program, os.PathLike):
        texts = [_text(program)]
    elif isinstance(program, Sequence) and all(isinstance(word, str | os.PathLike) for word in program):
        texts = [_text(word) for word in program]
    else:
        raise SpecError(f"{where} takes a string such as 'python train.py --lr {{lr}}', or a list of words; got {program!r}.")
    if not texts or not texts[0]:
        raise SpecError(f"{where}: there is no program in {program!r}.")
    if any("\0" in text for text in texts):
        raise SpecError(f"{where}: a word of {program!r} has a NUL character in it.")
    return tuple(Word(text, where) for text in texts)


def name_of(words: Sequence[Word]) -> str:
    """What a command is called: its script, its module (``-m``), or its program.

    Example:
        >>> [name_of(words_of(text)) for text in ("python -u a/train.py --x {x}", "torchrun --nproc-per-node 2 ddp.py", "python -m a.b")]
        ['train', 'ddp', 'b']
    """
    texts = [word.text for word in words]
    found = next((os.path.basename(text) for text in texts if _SCRIPT.search(text) and not text.startswith("-")), "")
    if found:
        found = _SCRIPT.sub("", found)
    elif "-m" in texts[1:-1]:
        found = texts[texts.index("-m", 1) + 1].rpartition(".")[2]
    return _UNPLAIN.sub("_", found or os.path.basename(texts[0])).strip("_.-") or "command"


def _text(word: str | os.PathLike[str]) -> str:
    return str(os.fspath(word))


def _found(keys: Sequence[str], config: Mapping[str, Any]) -> Any:
    """The value that the keys lead to. What is no plain dict or list on the way may have anything in it: it stands for the value itself."""
    whole = "/".join(keys)
    if len(keys) > 1 and _has(config, whole):
        return config[whole]
    value: Any = config
    for key in keys:
        if isinstance(value, Mapping):
            if not _has(value, key):
                return _ABSENT
            value = value[key]
        elif isinstance(value, list | tuple):
            if not key.isdecimal() or int(key) >= len(value):
                return _ABSENT
            value = value[int(key)]
        elif value is None or isinstance(value, _PLAIN):
            return _ABSENT
        else:
            return value
    return value


def _has(config: Mapping[str, Any], key: str) -> bool:
    """Whether there is such an entry; to look is not to read it (see :mod:`tunesmith.trainable.watched`)."""
    return dict.__contains__(config, key) if isinstance(config, dict) else key in config


def _names(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in dict.items(config) if isinstance(config, dict) else config.items():
        if isinstance(value, Mapping) and value:
            yield from _names(value, f"{above}{key}/")
        else:
            yield f"{above}{key}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
