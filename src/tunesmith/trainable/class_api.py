"""``tune.Trainable``: trainables as classes, and how one attempt of such a class is run."""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from tunesmith.checkpoints.checkpoint import SIDECAR_FILE, read_dict, read_json, write_dict, write_json
from tunesmith.checkpoints.room import DiskLow
from tunesmith.errors import SpecError, TrialStopped, UserCodeError
from tunesmith.resources import PlacementGroupFactory
from tunesmith.trainable import session as session_module
from tunesmith.trainable.metrics import Counters, filled
from tunesmith.trainable.worker import Session

__all__ = ["Trainable", "can_save", "run_class"]


class Trainable:
    """Base of trainables that are classes. Write ``setup`` and ``step``; the others as needed.

    It also runs alone, as in the example. The old names ``_setup``, ``_train``, ``_save``, ``_restore``, ``_stop`` and
    ``_log_result`` are honoured.

    Args:
        config: the configuration; alone, a copy is made.

    Example:
        >>> class Parabola(Trainable):
        ...     def setup(self, config):
        ...         self.x = config["start"]
        ...     def step(self):
        ...         self.x *= 0.5
        ...         return {"loss": self.x ** 2}
        ...     def save_checkpoint(self, checkpoint_dir):
        ...         return {"x": self.x}
        ...     def load_checkpoint(self, checkpoint):
        ...         self.x = checkpoint["x"]
        >>> trainable = Parabola(config={"start": 4.0})
        >>> trainable.train()["loss"], trainable.training_iteration
        (4.0, 1)
        >>> path = trainable.save()
        >>> _ = trainable.train(), trainable.restore(path)
        >>> trainable.x, trainable.training_iteration
        (2.0, 1)
        >>> trainable.stop()
    """

    _tune_parameters: Mapping[str, Any] = {}
    _tune_resources: Any = None

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        session = session_module.current()
        if session is not None and config is not session.assignment.config:
            session = None  # made by a trial's own code, for itself
        self._tune_session = session
        self._tune_counters = session.counters if session is not None else Counters()
        self._tune_logdir: str | None = None
        self.config: dict[str, Any] = copy.deepcopy(config or {}) if session is None or config is None else config
        old = getattr(self, "_setup", None) if type(self).setup is Trainable.setup else None
        (old or self.setup)(self.config, **self._tune_parameters)

    # -- for users to override

    def setup(self, config: dict[str, Any]) -> None:
        """Build what the trial needs. Called once, before the first step; gets the objects of ``with_parameters`` by keyword."""

    def step(self) -> dict[str, Any]:
        """Train for one iteration; returns its metrics. ``done``: True ends the trial, ``should_checkpoint``: True saves it."""
        old = getattr(self, "_train", None)
        if old is None:
            raise NotImplementedError(f"{type(self).__name__} defines no step()")
        result: dict[str, Any] = old()
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> str | dict[str, Any] | None:
        """Write the state into ``checkpoint_dir``; return that path, a file's path in it, a dict to be kept instead, or None."""
        old = getattr(self, "_save", None)
        if old is None:
            raise NotImplementedError(f"{type(self).__name__} defines no save_checkpoint()")
        saved: str | dict[str, Any] | None = old(checkpoint_dir)
        return saved

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Take the state back; gets what ``save_checkpoint`` returned (for None the directory), wherever the files are now."""
        old = getattr(self, "_restore", None)
        if old is None:
            raise NotImplementedError(f"{type(self).__name__} defines no load_checkpoint()")
        old(checkpoint)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become a fresh trial with ``new_config``, without a new set-up; True if that was done. For ``reuse_actors``."""
        return False

    def update_resources(self, new_resources: PlacementGroupFactory) -> None:
        """Called at the beginning of each attempt with what it takes, before a checkpoint is loaded: schedulers may change that meanwhile.

        Args:
            new_resources: ``head_cpus`` are its CPUs, ``required_resources`` all of it; the same as in :attr:`trial_resources`.
        """

    def cleanup(self) -> None:
        """Release what ``setup`` took. Called once, at the end."""
        old = getattr(self, "_stop", None)
        if old is not None:
            old()

    def log_result(self, result: dict[str, Any]) -> None:
        """Sees each result, with all keys that were filled in, before it is reported."""
        old = getattr(self, "_log_result", None)
        if old is not None:
            old(result)

    # -- what users may call and read

    def train(self) -> dict[str, Any]:
        """One step; returns its result with the counters filled in. (In a run the executor does this.)"""
        started = perf_counter()
        result = filled(_checked(self, self.step()), self._tune_counters, perf_counter() - started)
        self.log_result(result)
        return result

    def save(self, checkpoint_dir: str | None = None) -> str:
        """Write a checkpoint into ``checkpoint_dir`` (None: a new directory under :attr:`logdir`); returns its path."""
        folder = checkpoint_dir or os.path.join(self.logdir, f"checkpoint_{self.iteration:06d}")
        os.makedirs(folder, exist_ok=True)
        notes = {**self._tune_counters.notes(), **_write_state(self, folder), "iteration": self.iteration}
        write_json(os.path.join(folder, SIDECAR_FILE), notes)
        return folder

    def restore(self, checkpoint: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint: its directory, a file in it, or a :class:`~tunesmith.checkpoints.Checkpoint`."""
        path = os.fspath(checkpoint)
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        notes = read_json(os.path.join(folder, SIDECAR_FILE))
        _read_state(self, folder, notes)
        self._tune_counters = Counters.resumed(notes.get("iteration", 0), notes.get("time_total", 0.0), notes)

    def stop(self) -> None:
        """The end: calls :meth:`cleanup`."""
        self.cleanup()

    def get_config(self) -> dict[str, Any]:
        """The trial's configuration."""
        return self.config

    @property
    def logdir(self) -> str:
        """The trial's directory; alone, a temporary one."""
        if self._tune_logdir is None:
            if self._tune_session is None:
                self._tune_logdir = tempfile.mkdtemp(prefix=f"{type(self).__name__}_")
            else:
                self._tune_logdir = self._tune_session.assignment.trial_dir
                os.makedirs(self._tune_logdir, exist_ok=True)
        return self._tune_logdir

    @property
    def iteration(self) -> int:
        """Iterations done, those before a restored checkpoint included."""
        return self._tune_counters.iteration

    @property
    def training_iteration(self) -> int:
        """The same as :attr:`iteration`."""
        return self._tune_counters.iteration

    @property
    def trial_id(self) -> str:
        """Id of the trial; alone, "default"."""
        return self._tune_session.assignment.trial_id if self._tune_session is not None else "default"

    @property
    def trial_name(self) -> str:
        """Name of the trial; alone, "default"."""
        return self._tune_session.assignment.trial_name if self._tune_session is not None else "default"

    @property
    def trial_resources(self) -> dict[str, float]:
        """What the trial holds; alone, nothing."""
        return dict(self._tune_session.assignment.resources) if self._tune_session is not None else {}

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> Any:  # noqa: ARG003 - for users to override
        """What a trial with this configuration takes, e.g. ``{"cpu": 2, "gpu": 1}``; None: the experiment's default."""
        return None


def run_class(make: Callable[..., Trainable], session: Session, idle: Trainable | None, frequency: int, at_end: bool) -> Trainable:
    """One attempt: set up (or reset the ``idle`` instance), tell it what it takes, restore, then step and report until it is over.

    Returns:
        the instance, for the next attempt; ``session.ended`` says how it went. It has not been stopped.

    Raises:
        BaseException: whatever the user's code raises; the instance has been stopped then.
    """
    trainable = _ready(make, session, idle)
    try:
        trainable.update_resources(PlacementGroupFactory([session.assignment.resources]))
        if session.checkpoint is not None:
            session.checkpoint_read = True
            _read_state(trainable, session.checkpoint.path, session.notes())
        try:
            _loop(trainable, session, frequency, at_end)
        except TrialStopped:
            if _owes_checkpoint(session, at_end) and can_save(trainable):
                _save_now(trainable, session)
    except BaseException:
        stop_quietly(trainable)
        raise
    return trainable


def _ready(make: Callable[..., Trainable], session: Session, idle: Trainable | None) -> Trainable:
    config = session.assignment.config
    if idle is not None:
        idle._tune_session, idle._tune_counters, idle._tune_logdir = session, session.counters, None
        idle.config = config
        if idle.reset_config(config):
            return idle
        stop_quietly(idle)
    return make(config=config)


def _loop(trainable: Trainable, session: Session, frequency: int, at_end: bool) -> None:
    logs = type(trainable).log_result is not Trainable.log_result or hasattr(trainable, "_log_result")
    while True:
        before = session.counters.iteration
        result = trainable.step()
        if result is None and session.counters.iteration > before:
            continue  # the step reported by itself
        result = _checked(trainable, result)
        due = _due(trainable, result, session.counters.iteration + 1, frequency, at_end)
        if logs:
            trainable.log_result(session.preview(result))
        staged = _staged(trainable, session, ahead=1) if due else None
        if staged is not None:
            session.report(result, *staged)
        else:
            session.report(result)
        if session.save_asked and can_save(trainable):
            _save_now(trainable, session)


def _due(trainable: Trainable, result: Mapping[str, Any], iteration: int, frequency: int, at_end: bool) -> bool:
    """Whether a checkpoint goes with this result."""
    wanted = bool(result.get("should_checkpoint")) or (frequency > 0 and iteration % frequency == 0)
    if wanted and not can_save(trainable):
        raise UserCodeError(
            f"A checkpoint of {type(trainable).__name__} is due (checkpoint_freq, or should_checkpoint in its result), and the class "
            f"defines no save_checkpoint()."
        )
    return wanted or (at_end and bool(result.get("done")) and can_save(trainable))


def _owes_checkpoint(session: Session, at_end: bool) -> bool:
    """Whether the state has to be saved now that the attempt was told to end; not if it came with the last report."""
    answer = session.ended
    if answer is None or answer.outcome not in ("stopped", "finished") or session.saved_at == session.counters.iteration:
        return False
    return answer.save or answer.mode == "cold" or (at_end and answer.action == "stop")


def _save_now(trainable: Trainable, session: Session) -> None:
    staged = _staged(trainable, session)
    if staged is not None:
        session.save(*staged)


def _staged(trainable: Trainable, session: Session, ahead: int = 0) -> tuple[str, dict[str, Any]] | None:
    """The state, written into a directory, and what to note; None: there is no room for it, and that was said."""
    try:
        session.store.room.check(session.size)
        with session.writing() as folder:
            return folder, _write_state(trainable, folder)
    except DiskLow as low:
        session.skip(low, ahead)
        return None


def can_save(trainable: Trainable | type[Trainable]) -> bool:
    """Whether it defines how it is saved."""
    cls = trainable if isinstance(trainable, type) else type(trainable)
    return cls.save_checkpoint is not Trainable.save_checkpoint or hasattr(trainable, "_save")


def _checked(trainable: Trainable, result: Any) -> dict[str, Any]:
    if not isinstance(result, Mapping):
        name = type(trainable).__name__
        raise UserCodeError(f"{name}.step() returned a {type(result).__name__}; expected a dict of metrics, as in {{'loss': 0.3}}.")
    return dict(result)


def _write_state(trainable: Trainable, folder: str) -> dict[str, str]:
    """Have the state written into ``folder``; what to note so that :func:`_read_state` hands back what was returned."""
    saved = trainable.save_checkpoint(folder)
    if saved is None:
        return {"returned": "directory"}
    if isinstance(saved, Mapping):
        write_dict(folder, dict(saved))
        return {"returned": "dict"}
    if isinstance(saved, str | os.PathLike):
        inside = os.path.relpath(os.path.abspath(os.fspath(saved)), folder)
        if inside == ".":
            return {"returned": "directory"}
        if not inside.startswith(os.pardir):
            return {"returned": "file", "file": inside}
    raise UserCodeError(
        f"{type(trainable).__name__}.save_checkpoint({folder!r}) returned {saved!r}; expected that directory, the path of a file in it, "
        f"a dict, or None."
    )


def _read_state(trainable: Trainable, folder: str, notes: Mapping[str, Any]) -> None:
    kind = notes.get("returned", "directory")
    if kind == "dict":
        trainable.load_checkpoint(read_dict(folder))
    elif kind == "file":
        trainable.load_checkpoint(os.path.join(folder, notes["file"]))
    elif os.path.isdir(folder):
        trainable.load_checkpoint(os.path.join(folder, ""))  # with the slash: scripts append file names to it
    else:
        raise SpecError(f"{type(trainable).__name__}.restore({folder!r}): there is no such checkpoint.")


def stop_quietly(trainable: Trainable) -> None:
    """Call ``stop``; the trial's work is done, so an error there is shown and changes nothing."""
    try:
        trainable.stop()
    except Exception:
        print(f"{type(trainable).__name__}.cleanup() failed; the trial's results stand:", file=sys.stderr)
        traceback.print_exc()
