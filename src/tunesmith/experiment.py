"""``Experiment``: a trainable with its settings as one value, for ``run`` and ``run_experiments``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.legacy import settle

__all__ = ["Experiment", "experiments_from"]

_ARGUMENTS = (
    "checkpoint_at_end",
    "checkpoint_config",
    "checkpoint_freq",
    "checkpoint_score_attr",
    "config",
    "drain_s",
    "failure_config",
    "keep_best",
    "keep_checkpoints_num",
    "local_dir",
    "log_to_file",
    "loggers",
    "max_checkpoint_bytes",
    "max_failures",
    "num_samples",
    "resources_per_trial",
    "stop",
    "storage_filesystem",
    "storage_path",
    "sync_config",
    "time_budget_s",
    "trial_dirname_creator",
    "trial_name_creator",
)


class Experiment:
    """A trainable and what belongs to it.

    Args:
        name: of the experiment and its directory.
        run: a training function, a ``Trainable`` class or a registered name.
        arguments: any of ``stop``, ``time_budget_s``, ``config``, ``resources_per_trial``, ``num_samples``, ``storage_path``
            (``local_dir``), ``storage_filesystem``, ``trial_name_creator``, ``trial_dirname_creator``, ``loggers``, ``log_to_file``,
            ``sync_config``, ``checkpoint_config``, ``checkpoint_freq``, ``checkpoint_at_end``, ``keep_checkpoints_num``,
            ``checkpoint_score_attr``, ``keep_best``, ``max_checkpoint_bytes``, ``failure_config``, ``max_failures`` and ``drain_s``, as
            for :func:`tunesmith.run`.

    Raises:
        SpecError: an argument is unknown or not supported.

    Example:
        >>> experiment = Experiment("digits", lambda config: None, config={"lr": 0.1}, num_samples=3)
        >>> experiment.name, sorted(experiment.arguments)
        ('digits', ['config', 'name', 'num_samples'])
    """

    def __init__(self, name: str, run: Any, **arguments: Any) -> None:
        settle("Experiment()", {key: value for key, value in arguments.items() if key not in _ARGUMENTS}, _ARGUMENTS)
        self.name = name
        self.run = run
        self.arguments = {"name": name, **{key: value for key, value in arguments.items() if key in _ARGUMENTS}}

    @classmethod
    def from_json(cls, name: str, spec: Mapping[str, Any]) -> Experiment:
        """The experiment that a dict describes: ``{"run": ..., "config": ..., "stop": ...}``; ``env`` moves into the config.

        Raises:
            SpecError: there is no ``run``, or an entry is unknown.

        Example:
            >>> Experiment.from_json("digits", {"run": "train", "env": "corridor"}).arguments["config"]
            {'env': 'corridor'}
        """
        if not isinstance(spec, Mapping) or "run" not in spec:
            raise SpecError(f"experiment {name!r}: expected a dict with an entry 'run' (the trainable), got {spec!r}.")
        arguments = dict(spec)
        run = arguments.pop("run")
        if "env" in arguments:
            arguments["config"] = {**(arguments.get("config") or {}), "env": arguments.pop("env")}
        return cls(name, run, **arguments)

    def __repr__(self) -> str:
        return f"Experiment({self.name!r}, run={self.run!r})"


def experiments_from(given: Any) -> list[Experiment]:
    """A list of experiments from the forms that users write.

    Args:
        given: None (no experiment), an :class:`Experiment`, a sequence of them, or a dict ``name -> spec``.

    Raises:
        SpecError: anything else.
    """
    if given is None:
        return []
    if isinstance(given, Experiment):
        return [given]
    if isinstance(given, Mapping):
        return [spec if isinstance(spec, Experiment) else Experiment.from_json(name, spec) for name, spec in given.items()]
    if isinstance(given, Sequence) and not isinstance(given, str) and all(isinstance(item, Experiment) for item in given):
        return list(given)
    raise SpecError(f"expected an Experiment, a list of them, or a dict of name -> {{'run': ...}}, got {given!r}.")
