"""A trial that is several processes: each runs the same function with the same configuration, and one of them reports for all.

The trial's own process starts them, hears them (:mod:`tunesmith.trainable.relay`), and does nothing else: it can end all of them at any
moment, whatever they wait for.
"""

from __future__ import annotations

import os
import pickle
import selectors
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.errors import Infeasible, TrialStopped, UserCodeError
from tunesmith.executors.guardian import TEMPLATE
from tunesmith.executors.oom import OomWatch
from tunesmith.executors.preload import import_quietly
from tunesmith.trainable import session as session_module
from tunesmith.trainable.attendance import Attendance, Attended
from tunesmith.trainable.base import TrainableSpec
from tunesmith.trainable.homes import describe, main_module
from tunesmith.trainable.parcel import pack_config, pack_trainable
from tunesmith.trainable.place import Place
from tunesmith.trainable.program import ended_badly
from tunesmith.trainable.rank import Job, Setup
from tunesmith.trainable.ranks_here import start_here
from tunesmith.trainable.relay import Peer, Relay
from tunesmith.trainable.worker import Answer, Session

__all__ = ["Group", "Plan", "Start"]

_SETTLE_S = 1.0
"""When one has failed, the others soon do, too, for want of it: so long it is waited for who was first."""

Start = Callable[["Plan", int], Attended]
"""Starts one rank somewhere."""


class Group:
    """A trainable that runs a function in several processes; called with a configuration in a trial.

    Args:
        spec: the function.
        size: how many processes.
        setup: what lets them work together.
        threads: that libraries are told to use, in each.
        grace_s: seconds from a stop to SIGTERM, and SIGKILL.
        elsewhere: says for a trial where its ranks are to run; None: all of them here.
    """

    def __init__(
        self, spec: TrainableSpec, size: int, setup: Setup, threads: int, grace_s: float, elsewhere: Callable[[int], Any] | None = None
    ) -> None:
        self.spec, self.size, self.setup, self.threads, self.grace_s, self.elsewhere = spec, size, setup, threads, grace_s, elsewhere
        self.func = spec.target  # where it is written, for messages
        self.__name__ = spec.name
        judge = getattr(spec.target, "__check_config__", None)
        if judge is not None:
            self.__check_config__ = judge

    def __call__(self, config: dict[str, Any]) -> None:
        places = self.elsewhere(self.size) if self.elsewhere is not None else None
        folder = tempfile.TemporaryDirectory(prefix="tunesmith_", ignore_cleanup_errors=True)
        with folder as scratch, selectors.DefaultSelector() as selector:
            run = _Run(self, session_module.current(), selector, places)
            try:
                run.start(Plan(run, self.spec, config, scratch))
                run.serve()
                run.learn()
            except TrialStopped as stop:  # also at a signal of the executor's, wherever that finds it
                run.relay.stopped = stop
                run.wind_down()
                run.learn()
                raise
            finally:
                run.close()


class Plan:
    """What the ranks of a trial are to run, in the forms in which it travels.

    Args:
        run: hears them.
        spec, config: what they run.
        scratch: a directory.
    """

    def __init__(self, run: _Run, spec: TrainableSpec, config: dict[str, Any], scratch: str) -> None:
        self._run, self._spec, self._config, self._scratch = run, spec, config, scratch
        self._given: dict[str, Any] | None = None
        self.group = run.group

    def job(self, rank: int) -> Job:
        """That of a rank in this very process or a fork of it."""
        run, group = self._run, self.group
        return Job(run.relay.address, run.places[rank], self._spec, self._config, group.setup, self._variables(), group.threads, run.seed)

    def packed(self) -> dict[str, Any]:
        """For ranks in other processes; see :func:`tunesmith.trainable.rank.job_of`.

        Raises:
            SerializationError: the function can't be pickled.
        """
        if self._given is None:
            run, group = self._run, self.group
            parcel = pack_trainable(self._spec)
            self._given = {
                "trainable": parcel.data, "buffers": [bytes(buffer) for buffer in parcel.buffers], "config": pack_config(self._config),
                "address": run.relay.address, "places": run.places, "setup": group.setup, "variables": self._variables(),
                "threads": group.threads, "seed": run.seed, "main": describe(main_module()), "argv": sys.argv,
            }  # fmt: skip
        return self._given

    @property
    def checkpoint(self) -> str | None:
        """The directory that the trial begins from."""
        return self._run.checkpoint

    def file(self) -> str:
        """:meth:`packed`, in a file."""
        path = os.path.join(self._scratch, "job")
        if not os.path.exists(path):
            with open(path, "wb") as file:
                pickle.dump(self.packed(), file, 5)
        return path

    def let_go(self) -> None:
        """In a rank that was forked: what hears the ranks is not its business."""
        self._run.let_go()

    def _variables(self) -> dict[str, str]:
        """The number of threads is ours to change, unless the user has set another than the trial's."""
        ours = {None, str(self._run.cpus)}
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        return {name: str(self.group.threads) for name in names if os.environ.get(name) in ours}


class _Run(Attendance):
    """One trial's ranks, from their start to their end."""

    def __init__(self, group: Group, session: Session | None, selector: selectors.BaseSelector, elsewhere: Any) -> None:
        host = elsewhere.host if elsewhere is not None else "127.0.0.1"
        super().__init__(selector, Relay(session, selector, self._heard_end, host), group.grace_s)
        self.relay.heard = self._meet
        self.group, self._session, self._elsewhere = group, session, elsewhere
        size = group.size
        self.places: list[Place] = elsewhere.places if elsewhere is not None else [Place(rank, size, rank, size) for rank in range(size)]
        saved = session.checkpoint if session is not None else None
        self.checkpoint = saved.path if saved is not None else None
        self.seed = session.assignment.seed if session is not None else 0
        self.cpus = max(1, int(session.assignment.resources.get("cpu", 1.0))) if session is not None else 1
        self._ranks: dict[int, Attended] = {}
        self._ended: dict[int, dict[str, Any]] = {}  # what ranks have said of their ends
        self._failed: dict[int, tuple[str, str, BaseException | None]] = {}  # rank -> outcome, what is said of it, cause; as heard
        self._until: float | None = None
        self._modules: dict[str, None] = {}
        self._meeting: Any = None
        self._early: list[Peer] = []
        self._oom = OomWatch()

    def start(self, plan: Plan) -> None:
        """Start all ranks."""
        for rank in range(self.group.size):
            starter: Start = self._elsewhere.starter(rank) if self._elsewhere is not None else start_here
            process = self._ranks[rank] = starter(plan, rank)
            self.attend(process)

    def serve(self) -> None:
        """Until all have ended, one has failed, or the trial has."""
        while not self.all_over and self.relay.stopped is None:
            left = None if self._until is None else self._until - time.monotonic()
            if left is not None and left <= 0:
                break
            self.step(left)
        while self.relay.stopped is None and self.step(0):
            pass
        if self._failed:
            self._raise()
        if self.relay.stopped is not None:
            raise self.relay.stopped

    def learn(self) -> None:
        """What forked ranks had to import, this process does, too: by that the template learns what later trials need."""
        if TEMPLATE in os.environ:
            for name in self._modules:
                import_quietly(name)

    def close(self) -> None:
        """Nothing of them is left."""
        for process in self.processes:
            process.kill()
        self.relay.close()

    def let_go(self) -> None:
        """In a fork: descriptors that are the trial's."""
        self.selector.close()
        self.relay.let_go()

    # -- events ----------------------------------------------------------------------------------------------------------

    def _meet(self, peer: Peer, message: Mapping[str, Any]) -> None:
        """Rank 0 has a value for all."""
        if "meeting" not in message:
            return
        if peer.rank == 0:
            self._meeting = message["meeting"]
        self._early.append(peer)
        if self._meeting is not None:
            early, self._early = self._early, []
            for one in early:
                one.send({"meeting": self._meeting})

    def _heard_end(self, peer: Peer) -> None:
        """A rank has said how it ended; or has hung up, which its process will tell."""
        if peer.ended is None or peer.rank in self._ended:
            return
        ended = self._ended[peer.rank] = peer.ended
        self._modules |= dict.fromkeys(peer.modules)
        if not ended:
            if peer.rank == 0:
                self.relay.release()
            if len(self._ended) == self.group.size and self._until is None and not self._failed:
                self._until = time.monotonic() + self._grace_s  # to leave their processes
            return
        where = f" ({os.path.basename(ended['where'])})" if ended["where"] else ""
        first = (ended["message"].strip().splitlines() or [""])[0]
        self._fail(peer.rank, ended["outcome"], f"{ended['type']}: {first}{where}", _RankTraceback(ended["traceback"]))

    def ended(self, process: Attended) -> None:
        """A rank's process is gone. What it has said before that comes first."""
        super().ended(process)
        code = process.kill()
        rank = next(rank for rank, one in self._ranks.items() if one is process)
        while rank not in self._ended and self.step(0):
            pass
        if rank not in self._ended and self.relay.stopped is None:
            outcome, what = ended_badly(code, self._oom)
            self._fail(rank, outcome, f"its process {what}", None)

    def _fail(self, rank: int, outcome: str, what: str, cause: BaseException | None) -> None:
        self._failed[rank] = outcome, what, cause
        self._until = min(self._until or float("inf"), time.monotonic() + _SETTLE_S)

    def _raise(self) -> None:
        """The one that is to blame: whose process was lost, else who was heard first. Clocks of their own differ between machines."""
        rank = next((rank for rank in self._failed if rank not in self._ended), next(iter(self._failed)))
        outcome, what, cause = self._failed[rank]
        message = f"rank {rank} of {self.group.size} failed: {what}"
        if outcome == "infeasible":
            raise Infeasible(message) from cause
        if self._session is not None:
            self._session.ended = Answer("stop", outcome=outcome)
        raise UserCodeError(message) from cause


class _RankTraceback(Exception):
    """The traceback of an exception in another process, to be shown above that of its trial."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def __str__(self) -> str:
        return "\n" + str(self.args[0])
