"""What is set for Weights & Biases: the block of a config, the key, and what ``wandb.init`` is given.

The key is looked up when a run begins, and given to the client in memory only. It is in no ``repr`` and in no pickle.
"""

from __future__ import annotations

import inspect
import netrc
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from tunesmith import checks
from tunesmith.errors import SpecError
from tunesmith.hints import refuse_unknown
from tunesmith.optional import load

__all__ = ["BLOCK", "WandbSettings", "block_of", "client", "settings_in"]

BLOCK = "wandb"
"""Key of the block in a config."""

_OWN = ("api_key", "api_key_file", "excludes", "log_config")
_MODES = ("online", "offline", "shared", "disabled", "dryrun", "run")
_LOCAL = ("offline", "dryrun", "disabled")
_PROJECT, _GROUP = ("WANDB_PROJECT_NAME", "WANDB_PROJECT"), ("WANDB_GROUP_NAME", "WANDB_RUN_GROUP")
_CREDENTIALS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
_HOST = "https://api.wandb.ai"


def client(where: str) -> Any:
    """The ``wandb`` package.

    Raises:
        SpecError: it is not installed; says how.
    """
    return load(where, "wandb", "wandb")


def block_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """``config["wandb"]``, or ``config["logger_config"]["wandb"]``; None: there is neither."""
    block = config.get(BLOCK)
    if not isinstance(block, Mapping):
        others = config.get("logger_config")
        block = others.get(BLOCK) if isinstance(others, Mapping) else None
    return block if isinstance(block, Mapping) else None


@dataclass(slots=True)
class WandbSettings:
    """Checked settings of W&B.

    Args:
        where: who was given them, for messages: ``config['wandb']``.
        init: for ``wandb.init``; its ``settings`` is a dict.
        key: the key itself.
        key_file: the file that holds it, in its place.
        excludes: metrics that are not logged: their names, or what stands before a "/"; and entries of the config.
        log_config: log the configuration with each result.
    """

    where: str
    init: dict[str, Any] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)
    key_file: str | None = None
    excludes: tuple[str, ...] = ()
    log_config: bool = False

    @classmethod
    def of(cls, where: str, given: Mapping[str, Any], also: Collection[str] = ()) -> WandbSettings:
        """Check the names and kinds of what was given; ``also``: names that the caller takes itself, for messages.

        Raises:
            SpecError: wandb is not installed, a name is unknown, a value is of the wrong kind, or there are two keys.
        """
        init = dict(given)
        own = {name: init.pop(name, None) for name in _OWN}
        refuse_unknown(where, init, {*inspect.signature(client(where).init).parameters, *_OWN, *also})
        init["settings"] = settings = _as_dict(where, init.get("settings"))
        for mode in (init.get("mode"), settings.get("mode")):
            if mode is not None and mode not in _MODES:
                raise SpecError(f"{where}: mode must be {', '.join(map(repr, _MODES[:-1]))} or {_MODES[-1]!r}, got {mode!r}.")
        among = settings.pop("api_key", None)  # always taken out: settings are stored
        key, file = own["api_key"] or among, own["api_key_file"]
        if key and file:
            raise SpecError(f"{where}: both api_key and api_key_file are given. Give one of them.")
        if key is not None and not isinstance(key, str):
            raise SpecError(f"{where}: api_key must be a string, got a {type(key).__name__}.")
        if file is not None and not isinstance(file, str | os.PathLike):
            raise SpecError(f"{where}: api_key_file must be a path, got {file!r}.")
        excludes = () if own["excludes"] is None else own["excludes"]
        if isinstance(excludes, str) or not isinstance(excludes, Iterable) or not all(isinstance(name, str) for name in excludes):
            raise SpecError(f"{where}: excludes must be a list of metric names, got {excludes!r}.")
        logs = own["log_config"] is not None and checks.flag(f"{where}: log_config", own["log_config"])
        return cls(where, init, key or None, None if file is None else os.fspath(file), tuple(excludes), logs)

    @property
    def mode(self) -> str:
        """``online``, ``offline``, ``disabled`` or ``shared``: as given, from ``WANDB_MODE``, or as ``wandb offline`` has set it."""
        mode = self.init.get("mode") or self.init["settings"].get("mode") or os.environ.get("WANDB_MODE") or _system().mode
        return {"dryrun": "offline", "run": "online"}.get(mode, mode)

    @property
    def project(self) -> str:
        """The project.

        Raises:
            SpecError: it is given nowhere.
        """
        project = self.init.get("project") or self.init["settings"].get("project") or _first(_PROJECT)
        if not project:
            raise SpecError(
                f"{self.where}: project is missing: the W&B project that the runs go to. Give project=..., or set WANDB_PROJECT."
            )
        return str(project)

    def check(self) -> WandbSettings:
        """Refuse what would fail when the first run begins. Nothing is sent anywhere; offline, the key is not looked at.

        Raises:
            SpecError: the project is missing; or the key, where one is needed.
        """
        _ = self.project
        if self.mode not in _LOCAL and self.read_key() is None and not self._known_already():
            raise SpecError(
                f"{self.where}: there is no W&B API key. Set WANDB_API_KEY, run `wandb login`, or give api_key_file=... (a file that holds "
                f"it). To log without a server, give mode='offline' or set WANDB_MODE=offline."
            )
        return self

    def read_key(self) -> str | None:
        """The key that was given, itself or in a file; None: neither.

        Raises:
            SpecError: the file is not there, or empty.
        """
        if self.key_file is None:
            return self.key
        path = os.path.expanduser(self.key_file)
        try:
            with open(path, encoding="utf-8") as file:
                key = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise SpecError(f"{self.where}: api_key_file {path} cannot be read: {why}. It must hold your W&B API key.") from None
        if not key:
            raise SpecError(f"{self.where}: api_key_file {path} is empty. It must hold your W&B API key.")
        return key

    def arguments(self, config: dict[str, Any], defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        """What to call ``wandb.init`` with.

        Args:
            config: the trial's configuration as it is to be shown; what the user gives as ``config`` is added.
            defaults: arguments of ours, where the user gives none. ``group`` gives way to ``WANDB_RUN_GROUP``, too.
            settings: of ours, where the user gives none.

        Raises:
            SpecError: as in :meth:`check`.
        """
        mode, own = self.mode, {**settings, **self.init["settings"]}
        if mode not in _LOCAL:
            key = self.read_key()
            own.update({} if key is None else {"api_key": key})
        named = {**defaults, "group": _first(_GROUP) or defaults.get("group")}
        if "WANDB_DIR" in os.environ:
            named.pop("dir", None)
        if mode == "offline":
            named.pop("resume", None)  # there is no server to ask: the client would only warn
        given = {name: value for name, value in self.init.items() if name not in ("config", "settings") and value is not None}
        config = {**{name: value for name, value in config.items() if name not in self.excludes}, **(self.init.get("config") or {})}
        return {**named, **given, "project": self.project, "mode": mode, "config": config, "settings": own}

    def in_trial(self) -> WandbSettings:
        """The same, for a trial's own code.

        Raises:
            SpecError: something is set that only loggers do.
        """
        for name in ("excludes", "log_config"):
            if getattr(self, name):
                raise SpecError(f"{self.where}: {name} is for WandbLogger and WandbLoggerCallback. In the trial you log yourself.")
        return self

    def without_key(self) -> WandbSettings:
        """The same without the key itself; a file is still named."""
        return replace(self, key=None)

    def _known_already(self) -> bool:
        """Whether the client finds a key by itself: in the environment, its settings, or what `wandb login` has left."""
        if _first(_CREDENTIALS) or _system().api_key:
            return True
        try:
            known = netrc.netrc(_netrc_path())
        except (OSError, netrc.NetrcParseError):
            return False
        base = self.init["settings"].get("base_url") or os.environ.get("WANDB_BASE_URL") or _system().base_url
        return any(known.authenticators(urlsplit(url).netloc) for url in (base, _HOST))


def settings_in(config: Mapping[str, Any], who: str) -> WandbSettings:
    """The checked settings in a config; ``who`` needs them.

    Raises:
        SpecError: there is no block of them, or it is wrong.
    """
    block = block_of(config)
    if block is None:
        raise SpecError(f"{who} needs settings in the config: config={{..., {BLOCK!r}: {{'project': 'my-project'}}}}.")
    return WandbSettings.of(f"config[{BLOCK!r}]", block).check()


def _as_dict(where: str, settings: Any) -> dict[str, Any]:
    """``wandb.Settings``, or a dict of them, as a dict of what was set."""
    if settings is None or isinstance(settings, Mapping):
        return dict(settings or {})
    if not hasattr(settings, "model_fields_set"):
        raise SpecError(f"{where}: settings must be a wandb.Settings or a dict, got {settings!r}.")
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def _system() -> Any:
    """The client's settings in this process, from its files and the environment. (``wandb.setup()`` would start its service.)"""
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings


def _first(variables: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)


def _netrc_path() -> str:
    given = os.environ.get("NETRC")
    if given:
        return os.path.expanduser(given)
    usual = os.path.expanduser("~/.netrc")
    return usual if os.path.exists(usual) else os.path.expanduser("~/_netrc")
