"""What the parts of the MLflow integration share: the library itself, names and values as MLflow takes them, experiments, parameters."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import posixpath
import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from tunesmith.core.flat import flatten
from tunesmith.errors import SpecError, TuneError
from tunesmith.logger.encode import one_line
from tunesmith.secrets import redact

__all__ = [
    "Login",
    "Names",
    "changed",
    "experiment_id",
    "load",
    "log_params",
    "params_of",
    "require",
    "runs_with",
    "schedule_of",
    "settings_block",
    "tag_value",
    "without_password",
]

_log = logging.getLogger("tunesmith")
_MISSING = 'needs MLflow, which is not installed: pip install "tunesmith[mlflow]"'
_REFUSED = re.compile(r"[^/\w.\- ]" if os.name == "nt" else r"[^/\w.\- :]")
_KEY, _TAG = 250, 5000
_VALUE, _OLD_VALUE = 6000, 500
_PER_BATCH = 100

_SETTINGS = (
    "tracking_uri", "registry_uri", "experiment_id", "experiment_name", "tracking_token", "artifact_location", "run_name",
    "create_experiment_if_not_exists", "tags",
)  # fmt: skip


def settings_block(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings in the configuration."""
    found = (config or {}).get("mlflow") or {}
    if not isinstance(found, Mapping):
        raise SpecError(f"config['mlflow'] must be a dict of settings ({', '.join(_SETTINGS)}), got a {type(found).__name__}.")
    block = {"tracking_token" if key == "token" else str(key): value for key, value in found.items()}
    unknown = [key for key in block if key not in _SETTINGS]
    if unknown:
        known = ", ".join(_SETTINGS)
        raise SpecError(f"config['mlflow'] has an unknown key {unknown[0]!r}; it takes {known}, and token for tracking_token.")
    return block


def require(owner: str) -> None:
    """Raise :class:`SpecError` if MLflow is not installed; does not import it, which takes seconds."""
    if importlib.util.find_spec("mlflow") is None:
        raise SpecError(f"{owner} {_MISSING}")


def load(owner: str) -> Any:
    """The ``mlflow`` module.

    Raises:
        SpecError: it is not installed.
    """
    try:
        import mlflow
    except ImportError as error:
        raise SpecError(f"{owner} {_MISSING} ({error})") from error
    return mlflow


class Login:
    """How to reach a server. Its token and password are in the environment, where MLflow reads them, from :meth:`enter` to :meth:`leave`.

    Args:
        uri: of the server or store; a login in it (``https://user:password@host``) is taken out: MLflow shows URIs in its messages.
        token: for the server; None: as the environment has it.
    """

    def __init__(self, uri: str | os.PathLike[str] | None, token: str | None) -> None:
        self.uri = os.path.abspath(uri) if isinstance(uri, os.PathLike) else uri
        self._set = {"MLFLOW_TRACKING_TOKEN": token} if token else {}
        parts = urlsplit(self.uri or "")
        if parts.scheme in ("http", "https") and parts.password is not None:
            self.uri = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
            self._set["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
            self._set["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
        self._before: dict[str, str | None] = {}

    def enter(self) -> None:
        """Put them into the environment."""
        self._before = {name: os.environ.get(name) for name in self._set}
        os.environ.update(self._set)

    def leave(self) -> None:
        """Put back what was there before."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before = {}

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Errors that come out do not show the password or token."""
        try:
            yield
        except Exception as error:
            text = str(error)
            if not any(secret in text for secret in self._secrets()):
                raise
            for secret in self._secrets():
                text = text.replace(secret, "***")
            raise TuneError(f"{type(error).__name__}: {text}") from None

    def _secrets(self) -> list[str]:
        inside = urlsplit(self.uri or "").password
        return [secret for secret in (*self._set.values(), inside) if secret]


def without_password(uri: Any) -> Any:
    """``uri``, or None if it holds a password: for what is stored on disk."""
    return None if isinstance(uri, str) and urlsplit(uri).password is not None else uri


class Names:
    """Names of metrics and parameters as MLflow takes them: letters, digits, ``_ - . / :`` and blanks, 250 characters, a clean path.

    What is refused becomes ``_``, and the first such name is said. Two names that come out alike are told apart by a few more characters.

    Example:
        >>> names = Names("the run")
        >>> names("val/acc"), names("f(x)"), names("../up"), names("f[x]")
        ('val/acc', 'f_x_', '_/up', 'f_x__936d44')
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._known: dict[str, str] = {}
        self._taken: set[str] = set()
        self._said = False

    def __call__(self, name: str) -> str:
        known = self._known.get(name)
        if known is None:
            known = _cleaned(name)
            if known in self._taken or len(known) > _KEY:
                digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:6]
                known = f"{known[: _KEY - 7]}_{digest}"
            self._taken.add(known)
            self._known[name] = known
            if known != name and not self._said:
                self._said = True
                _log.warning("%s: MLflow refuses the name %r; it is logged as %r. (Said once.)", self._owner, name, known)
        return known


def _cleaned(name: str) -> str:
    plain = _REFUSED.sub("_", name)
    parts = ["_" if part in ("", ".", "..") else part for part in plain.split("/")]
    return plain if plain and posixpath.normpath(plain) == plain and plain[0] not in "./" else "/".join(parts)


def _text(value: Any) -> str:
    """A value of a configuration as text that any store can hold."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, (bool, int, float, type(None))) else one_line(value)
    if text.startswith('"') and not isinstance(value, str):
        text = json.loads(text)  # what JSON lacks comes as a string
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def tag_value(value: Any) -> str:
    """A tag's value, as text of a length that every server takes."""
    return _short(_text(value), _TAG)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def params_of(config: Mapping[str, Any], names: Names, drawn: Container[str] = ()) -> dict[str, str]:
    """A configuration as MLflow's parameters: flat, values as text, without secrets and without the ``mlflow`` and ``wandb`` blocks.

    Example:
        >>> params_of({"lr": 0.1, "net": {"layers": [64, 64]}, "api_key": "x", "mlflow": {"token": "y"}}, Names("the run"))
        {'lr': '0.1', 'net/layers': '[64, 64]'}
    """
    return {names(key): _short(_text(value), _VALUE) for key, value in flatten(redact(config, drawn)).items()}


def changed(known: Mapping[str, str], params: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Of ``params``, (those that a run does not have yet, those that it has with another value): MLflow never changes a parameter."""
    fresh = {key: value for key, value in params.items() if key not in known}
    return fresh, {key: value for key, value in params.items() if key in known and not _same(known[key], value)}


def _same(known: str, value: str) -> bool:
    return known == value or (known.endswith("...") and value.startswith(known[:-3]))


def log_params(client: Any, run_id: str, params: Mapping[str, str]) -> None:
    """Log parameters that the run does not have yet. Servers before MLflow 2.9 take 500 characters of a value, today's 6000."""
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    items = list(params.items())
    for start in range(0, len(items), _PER_BATCH):
        some = items[start : start + _PER_BATCH]
        try:
            client.log_batch(run_id, params=[Param(key, value) for key, value in some])
        except MlflowException:
            if all(len(value) <= _OLD_VALUE for _, value in some):
                raise
            client.log_batch(run_id, params=[Param(key, _short(value, _OLD_VALUE)) for key, value in some])


def schedule_of(changes: Mapping[str, str], at: int, timestamp: int) -> tuple[list[Any], list[Any]]:
    """Hyperparameters that changed on the way, as (metrics ``config/<name>`` where they are numbers, tags ``config/<name>``)."""
    from mlflow.entities import Metric, RunTag

    metrics = []
    for key, value in changes.items():
        try:
            metrics.append(Metric(f"config/{key}", float(value), timestamp, at))
        except ValueError:
            continue  # no number: the tag alone tells
    return metrics, [RunTag(f"config/{key}", tag_value(value)) for key, value in changes.items()]


def experiment_id(client: Any, name: str | None, number: str | None = None, *, create: bool = True, place: str | None = None) -> str:
    """The id of an MLflow experiment, made if need be.

    Args:
        name: of the experiment; None: see ``number``.
        number: its id, which wins over the name.
        create: make one of that name if there is none.
        place: where a new one keeps its artifacts; None: as the server likes.

    Raises:
        SpecError: there is no such experiment, or it was deleted.
    """
    from mlflow.exceptions import MlflowException

    if number is not None:
        found = client.get_experiment(str(number))
    else:
        found = client.get_experiment_by_name(name)
        if found is None and not create:
            raise SpecError(
                f"experiment_name: MLflow has no experiment {name!r}. Create it, or say create_experiment_if_not_exists=True."
            )
        if found is None:
            try:
                return str(client.create_experiment(name, artifact_location=place))
            except MlflowException:  # another trial was quicker
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
    if found.lifecycle_stage != "active":
        raise SpecError(f"MLflow's experiment {found.name!r} was deleted. Restore it (mlflow experiments restore), or use another name.")
    return str(found.experiment_id)



def runs_with(client: Any, experiment: str, **tags: str) -> Iterator[Any]:
    """The runs of an MLflow experiment that are not deleted and have all these tags, newest first. Values must hold no quotes."""
    wanted = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
    token = None
    while True:
        page = client.search_runs([experiment], wanted, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
