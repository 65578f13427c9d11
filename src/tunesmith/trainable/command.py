"""``command``: a trainable that is a program, in whatever language."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.secrets import is_secret
from tunesmith.space import Space
from tunesmith.trainable.command_words import Word, name_of, words_of

__all__ = ["Command", "command"]

GRACE_S = 3.0


class Command:
    """A program to run with each trial's configuration; made by :func:`command`. Called with a configuration it runs the program once.

    Attributes:
        words: of its command line. ``env``: variables of its environment, beside those of the driver.
        cwd: working directory; None: that of the trial.
        metrics: None; "stdout"; or the pattern that its output is searched for.
        grace_s: seconds from SIGTERM to SIGKILL.
    """

    def __init__(
        self,
        words: Sequence[Word],
        env: Mapping[str, Word],
        cwd: Word | None,
        metrics: str | re.Pattern[str] | None,
        grace_s: float,
        name: str,
    ) -> None:
        self.words, self.env, self.cwd, self.metrics, self.grace_s = tuple(words), dict(env), cwd, metrics, grace_s
        self.__name__ = name

    def __call__(self, config: dict[str, Any]) -> None:
        from tunesmith.trainable.command_run import run_command  # needs much of the standard library that no other trainable does

        run_command(self, config)

    def __check_config__(self, config: Mapping[str, Any]) -> None:
        """Called before anything starts. A config without domains may be completed by a searcher that has its own space."""
        space = Space.parse(config)
        known = _opened(config)
        for word in self.texts():
            word.check(known, complete=bool(space.parameters))

    def texts(self) -> list[Word]:
        """All that has placeholders."""
        return [*self.words, *self.env.values(), *([self.cwd] if self.cwd is not None else [])]

    def __repr__(self) -> str:
        return f"tune.command({[word.text for word in self.words]!r})"


def command(
    program: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    metrics: str | re.Pattern[str] | None = None,
    grace_s: float = GRACE_S,
    name: str | None = None,
) -> Any:
    """A trainable that runs a program, written in whatever language, for each trial. No shell is involved.

    Words of the command line, values of ``env`` and ``cwd`` may hold placeholders: ``{lr}``, nested ``{model[lr]}`` or ``{model/lr}``, with
    a format as in ``{lr:.3g}``. Strings, numbers and booleans are written as Python does, everything else (lists, dicts, None) as JSON.
    Also there: ``{checkpoint}`` (the directory to start from; empty if there is none), ``{trial_id}``, ``{trial_dir}``, ``{seed}``. A brace
    that is meant as such is written twice.

    The program is looked for in PATH, but first among the programs of the virtual environment that the trial runs in. It inherits the
    trial's environment, but for ``RANK`` and its like. What it prints goes to the trial's logs. It reports in one of three ways:

    * A Python program calls ``tune.report``, ``tune.get_checkpoint`` and ``tune.get_context``, as if it were the trial. Of processes that
      work together (``torchrun``), that with ``RANK=0`` reports, and the others may.
    * Any other appends lines of JSON to the file that the variable ``TUNESMITH_REPORTS`` names:
      ``{"loss": 0.3, "checkpoint": "directory"}``. It goes on at once. Who wants to wait for the decision reads a line from
      ``TUNESMITH_ANSWERS``: ``continue`` or ``stop``. ``TUNESMITH_CHECKPOINT`` is the directory to start from. See
      docs/parallel_trials.md.
    * One that knows nothing of us prints: see ``metrics``.

    At a stop a process that waits in ``tune.report`` unwinds, any other is sent SIGTERM with its whole process group; what is left after
    ``grace_s`` is killed. An exit code other than 0 is a failure of the trial, with the last lines of the program's standard error.

    Args:
        program: the command line, taken apart as a shell would; or a list of words, taken as given.
        env: variables, beside those that are there.
        cwd: working directory; None: that of the trial.
        metrics: how to read what the program prints. "stdout": each line that is a JSON object is a report. Or a regular expression with
            named groups: each line in which it is found is a report of what the groups hold. None: its output is no report.
        grace_s: seconds from SIGTERM to SIGKILL, finite, >= 0.
        name: of the trainable; None: that of the script or program.

    Raises:
        SpecError: an argument is wrong. When the experiment is built also: a placeholder is unknown to the config, or a constant can't be
            written in its form.

    Example:
        >>> import sys, tempfile
        >>> import tunesmith as tune
        >>> program = command([sys.executable, "-c", "print('loss:', ({lr} - 0.1) ** 2)"], metrics=r"loss: (?P<loss>\\S+)", name="parabola")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(
        ...         program, config={"lr": tune.grid_search([0.1, 0.3])}, metric="loss", mode="min", storage_path=folder, verbose=0,
        ...         executor="inline", log_to_file=True,
        ...     )
        ...     print(analysis.best_config)
        {'lr': 0.1}
    """
    words = words_of(program)
    if isinstance(metrics, str) and metrics != "stdout":
        try:
            metrics = re.compile(metrics)
        except re.error as error:
            raise SpecError(f"tune.command(): metrics={metrics!r} is no regular expression: {error}. Or is it 'stdout'?") from None
    if isinstance(metrics, re.Pattern):
        if not metrics.groupindex or not isinstance(metrics.pattern, str):
            raise SpecError(
                f"tune.command(): metrics={metrics.pattern!r} has no named group. Write r'loss=(?P<loss>\\S+)', or metrics='stdout' for "
                "lines of JSON."
            )
    elif metrics not in (None, "stdout"):
        raise SpecError(f"tune.command(): metrics must be 'stdout' or a regular expression with named groups, got {metrics!r}.")
    if isinstance(grace_s, bool) or not isinstance(grace_s, int | float) or not (math.isfinite(grace_s) and grace_s >= 0):
        raise SpecError(f"tune.command(): grace_s must be a finite number of seconds >= 0, got {grace_s!r}.")
    if name is not None and (not isinstance(name, str) or not name or "/" in name):
        raise SpecError(f"tune.command(): name must be a word without '/', got {name!r}.")
    return Command(words, _variables(env), _directory(cwd), metrics, float(grace_s), name or name_of(words))


def _opened(config: Any) -> Any:
    """A space in which grids, which are dicts, look like other domains: objects that are no plain values."""
    if not isinstance(config, Mapping):
        return config
    return ... if config.keys() == {"grid_search"} else {key: _opened(value) for key, value in config.items()}


def _variables(env: Any) -> dict[str, Word]:
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise SpecError(f"tune.command(): env must be a dict of strings, got {type(env).__name__} {env!r}.")
    for key, value in env.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key or not isinstance(value, str) or "\0" in value:
            raise SpecError(f"tune.command(): env[{key!r}]: names and values of variables are strings, got {value!r}.")
        if is_secret(key, value) and "{" not in value:
            raise SpecError(
                f"tune.command(): env[{key!r}] would be stored with the experiment. Set os.environ[{key!r}] in your script or in the "
                "shell: programs inherit it, and it is not stored."
            )
    return {key: Word(value, f"tune.command(env={{{key!r}: ...}})") for key, value in env.items()}


def _directory(cwd: Any) -> Word | None:
    if cwd is None:
        return None
    if not isinstance(cwd, str | os.PathLike):
        raise SpecError(f"tune.command(): cwd must be a directory, got {cwd!r}.")
    text = os.path.expanduser(str(os.fspath(cwd)))
    return Word(text if text.startswith("{") else os.path.abspath(text), "tune.command(cwd=...)")
