"""Run the program of a :class:`~tunesmith.trainable.command.Command` for one attempt, and be its trial meanwhile.

The program leads a process group of its own. Everything that comes from it is known by a mark in its environment, and gone when the
attempt is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shlex
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tunesmith.errors import TrialStopped, UserCodeError
from tunesmith.executors.oom import OomWatch
from tunesmith.trainable import session as session_module
from tunesmith.trainable.attendance import Attendance
from tunesmith.trainable.place import VARIABLES
from tunesmith.trainable.program import Program, Tee, ended_badly, inherited
from tunesmith.trainable.relay import RELAY, Peer, Relay
from tunesmith.trainable.worker import Answer, Session

if TYPE_CHECKING:
    from tunesmith.trainable.command import Command

__all__ = ["ANSWERS", "CHECKPOINT", "REPORTS", "run_command"]

REPORTS, ANSWERS, CHECKPOINT = "TUNESMITH_REPORTS", "TUNESMITH_ANSWERS", "TUNESMITH_CHECKPOINT"
"""Variables of the program's environment: where it reports, where it finds decisions, the directory to start from."""

_HOLD_S = 1.0
"""A decision that takes longer is a pause: until it comes, a program that does not wait for it is stopped."""
_SHOWN = 200
"""Characters of the command line in messages."""
_BARE = re.compile(r'"(?:[^"\\]|\\.)*"|[-+]?\b(?:nan|inf|infinity)\b', re.IGNORECASE)


def run_command(command: Command, config: dict[str, Any]) -> None:
    """Run its program to its end, or to that of the trial.

    Raises:
        SpecError: the configuration can't be put into its command line, or there is no such program. Nothing has been started.
        UserCodeError: the program ended badly, or reported what is no report.
        TrialStopped: the trial was told to stop. The program has ended.
    """
    session = session_module.current()
    with tempfile.TemporaryDirectory(prefix="tunesmith_", ignore_cleanup_errors=True) as scratch, selectors.DefaultSelector() as selector:
        run = _Run(command, config, session, selector, scratch)
        try:
            run.start()
            run.serve()
        except TrialStopped:  # also at a signal of the executor's, wherever that finds it
            run.wind_down()
            raise
        finally:
            run.close()


class _Run(Attendance):
    """One program, from its start to its end.

    Args:
        session: the trial's; None: outside a run.
        scratch: a directory for its pipes.
    """

    def __init__(
        self, command: Command, config: dict[str, Any], session: Session | None, selector: selectors.BaseSelector, scratch: str
    ) -> None:
        self._command, self._session = command, session
        own = _own(session)
        words = [word.filled(config, own) for word in command.words]
        self._shown = _one_line(shlex.join(word.filled(config, own, hide=True) for word in command.words))
        given = {key: word.filled(config, own) for key, word in command.env.items()}
        cwd = command.cwd.filled(config, own) if command.cwd is not None else None
        self._program = Program(words, given.get("PATH", os.environ.get("PATH", os.defpath)), cwd, self._shown)
        self._reports, self._answers = (os.path.join(scratch, name) for name in ("reports", "answers"))
        self._variables = {
            REPORTS: self._reports, ANSWERS: self._answers, CHECKPOINT: own["checkpoint"], "TUNESMITH_TRIAL_ID": own["trial_id"],
            "TUNESMITH_TRIAL_DIR": own["trial_dir"], "TUNESMITH_SEED": str(own["seed"]),
        }  # fmt: skip
        if command.metrics is not None:
            self._variables["PYTHONUNBUFFERED"] = "1"  # or its lines would come when it ends
        self._variables |= given
        if session is not None:
            session.checkpoint_read = True  # it is told; whether it looks, nobody knows
        super().__init__(selector, Relay(session, selector, self._changed), command.grace_s)
        self._pipes: list[int] = []
        self._rest = b""
        self._stderr = Tee(selector, sys.stderr)
        reads = command.metrics is not None
        self._stdout = Tee(selector, sys.stdout, self._printed if reads else None) if reads or inherited(sys.stdout) is None else None
        self._directory = cwd or os.getcwd()
        self._oom = OomWatch()

    def start(self) -> None:
        """Start the program."""
        for path in (self._reports, self._answers):
            os.mkfifo(path, 0o600)
            self._pipes.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # both ends are held open: none of the program's opens waits
        self.selector.register(self._pipes[0], selectors.EVENT_READ, self._readable)
        stdout = self._stdout.pipe() if self._stdout is not None else inherited(sys.stdout)
        try:
            ours = {name: value for name, value in os.environ.items() if name not in VARIABLES}  # our place is not the program's
            self._program.start({**ours, **self._variables, RELAY: self.relay.address}, stdout, self._stderr.pipe())
        finally:
            for tee in self._tees():
                tee.started()
        self.attend(self._program)

    def serve(self) -> None:
        """Until the program's end, or that of the trial."""
        while not self._program.is_over and self.relay.stopped is None:
            self.step(None)
        if self.relay.stopped is None:
            self._program.kill()  # what it has left behind would go on to report
            self._drain()
        if self.relay.stopped is not None:
            raise self.relay.stopped
        self._judge()

    def close(self) -> None:
        """Nothing of it is left."""
        try:
            self._program.kill()
            for tee in self._tees():
                tee.close()
        finally:
            self.relay.close()
            for pipe in self._pipes:
                os.close(pipe)

    # -- events ----------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """What the program has left in its pipes."""
        while self.relay.stopped is None and self.step(0):
            pass
        if self.relay.stopped is None and self._rest.strip():
            self._line(self._rest)
            self._rest = b""
        for tee in self._tees():
            tee.flush()

    def _readable(self) -> None:
        data = os.read(self._pipes[0], 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._line(line)

    def _line(self, line: bytes) -> None:
        """One report, by the file."""
        if self.relay.stopped is None:
            self._report(_object(line, self._shown), REPORTS)
        with contextlib.suppress(BlockingIOError):  # nobody reads them
            os.write(self._pipes[1], b"stop\n" if self.relay.stopped is not None else b"continue\n")

    def _printed(self, line: str) -> None:
        """A line of its output."""
        pattern = self._command.metrics
        metrics: dict[str, Any] | None = None
        if isinstance(pattern, re.Pattern):
            if (match := pattern.search(line)) is not None:
                metrics = {name: _number(text) for name, text in match.groupdict().items() if text is not None}
        elif line.lstrip().startswith("{"):
            with contextlib.suppress(ValueError):
                metrics = _parsed(line)
        if metrics and self.relay.stopped is None:
            self._report(metrics, "its output")

    def _report(self, metrics: dict[str, Any], where: str) -> None:
        checkpoint = metrics.pop("checkpoint", None)
        if not isinstance(checkpoint, str | None):
            raise UserCodeError(f'{self._shown} reported in {where} "checkpoint": {checkpoint!r}; expected the path of a directory.')
        folder = os.path.join(self._directory, checkpoint) if checkpoint else None
        with self._held():
            self.relay.report(lambda session: session.report(metrics, folder))

    def _changed(self, peer: Peer) -> None:
        if peer.rank == 0:
            self.relay.release()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """The program, which does not wait for the decision, stands still if that takes its time: the trial is paused."""
        timer = threading.Timer(_HOLD_S, self._program.hold)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            self._program.go_on()

    # -- ends ------------------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        code = self._program.kill()
        if code == 0:
            return
        outcome, what = ended_badly(code, self._oom)
        if self._session is not None and outcome != "user_error":
            self._session.ended = Answer("stop", outcome=outcome)
        tail = self._stderr.tail()
        last = next((line for line in reversed(tail.splitlines()) if line.strip()), "it printed nothing to its standard error")
        raise UserCodeError(f"{self._shown} {what}: {last.strip()}" + (f"\nThe end of its standard error:\n{tail}" if tail.strip() else ""))

    def _tees(self) -> list[Tee]:
        return [tee for tee in (self._stdout, self._stderr) if tee is not None]


def _own(session: Session | None) -> dict[str, Any]:
    if session is None:
        return {"checkpoint": os.environ.get(CHECKPOINT, ""), "trial_id": "", "trial_dir": os.getcwd(), "seed": 0}
    given = session.assignment
    os.makedirs(given.trial_dir, exist_ok=True)
    checkpoint = session.checkpoint.path if session.checkpoint is not None else ""
    return {"checkpoint": checkpoint, "trial_id": given.trial_id, "trial_dir": given.trial_dir, "seed": given.seed}


def _object(line: bytes, shown: str) -> dict[str, Any]:
    try:
        return _parsed(line.decode())
    except ValueError as error:  # UnicodeDecodeError is one, too
        text = line[:200].decode("utf-8", "replace")
        raise UserCodeError(
            f'{shown} wrote to {REPORTS} what is no report: {text!r} ({error}). Each line is one JSON object, such as {{"loss": 0.3}}.'
        ) from None


def _parsed(text: str) -> dict[str, Any]:
    """A JSON object. Numbers that are none may be written as C does: nan, -inf."""
    try:
        value = json.loads(text)
    except ValueError:
        value = json.loads(_BARE.sub(_proper, text))
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__}")
    return value


def _proper(found: re.Match[str]) -> str:
    word = found[0]
    if word.startswith('"'):
        return word
    if word.lower().endswith("nan"):
        return "NaN"
    return "-Infinity" if word.startswith("-") else "Infinity"


def _one_line(text: str) -> str:
    """Of messages the console shows the first line: what went wrong must be in it."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."


def _number(text: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
