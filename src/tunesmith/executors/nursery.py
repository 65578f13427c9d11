"""Where workers come from: the present template, those before it that still have workers, and what templates should import."""

from __future__ import annotations

import logging
import selectors
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

from tunesmith.errors import ExecutorError
from tunesmith.executors.child import Orders
from tunesmith.executors.forker import Forker
from tunesmith.executors.interpreter import Interpreter
from tunesmith.executors.process import Process
from tunesmith.executors.wire import Kind
from tunesmith.trainable.parcel import Parcel

__all__ = ["Nursery"]

_log = logging.getLogger("tunesmith")


class Nursery:
    """Makes processes, and tells what the templates say of them.

    Args:
        selector: sockets are registered there.
        parcel, orders: for the templates.
        heard: called when a process has something to say.
        born: called when a process has got its pid.
        gone: called with a process that is no more, how it ended ("exited", "unborn", "orphaned"), and the wait status, or why it could
            not be made.
        begun: called with the pid of each new template.
        first: what becomes the first of them.

    Attributes:
        run: marks all processes of this run in their environment.
        processes: number -> process, until it is gone.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        parcel: Parcel,
        orders: Orders,
        *,
        heard: Callable[[Process], None],
        born: Callable[[Process], None],
        gone: Callable[[Process, str, Any], None],
        begun: Callable[[int], None],
        first: Interpreter,
    ) -> None:
        self.run = first.run
        self.processes: dict[int, Process] = {}
        self._selector, self._parcel, self._orders = selector, parcel, orders
        self._heard, self._born, self._gone, self._begun = heard, born, gone, begun
        self._forkers: list[Forker] = []  # the last one forks; those before it have workers still
        self._barren = 0  # templates in a row that have died before they were of use
        self._excluded: set[str] = set()
        self._learned: set[str] = set()
        self._made = 0
        self._begin(first)

    def make(self) -> Process:
        """A new process, to be forked soon."""
        process = Process(self._made, self._forkers[-1], self._selector, self._heard)
        self._made += 1
        self.processes[process.number] = process
        return process

    def is_current(self, process: Process) -> bool:
        """Whether it comes from the present template."""
        return process.forker is self._forkers[-1]

    def learn(self, names: Iterable[str]) -> bool:
        """What a trial had to import is there from the start for those to come. Returns whether any of it is new."""
        fresh = [name for name in names if name not in self._learned and name.partition(".")[0] not in self._excluded]
        if fresh:
            self._learned.update(fresh)
            self._forkers[-1].preload(fresh)
        return bool(fresh)

    def hurry(self, process: Process) -> None:
        """The process should have been forked long ago: if its template has got stuck in an import, another one does without that."""
        if process.forker.importing:
            process.forker.kill()

    def close(self) -> None:
        """End all templates and all processes, at once."""
        for forker in self._forkers:
            forker.close()
        for process in self.processes.values():
            process.close(self._selector)
        self._forkers, self.processes = [], {}

    # -- templates -------------------------------------------------------------------------------------------------------

    def _begin(self, interpreter: Interpreter | None = None) -> None:
        forker = Forker(interpreter or Interpreter(self.run), self._parcel, self._orders, self._excluded)
        self._begun(forker.pid)
        forker.preload(self._learned)
        self._forkers.append(forker)
        forker.watch(self._selector, self._told, self._bereaved)

    def _told(self, forker: Forker) -> None:
        for kind, fields in forker.receive():
            if kind is Kind.SPOILED:
                self._replace(forker, *fields)
                continue
            process = self.processes.get(fields[0])
            if process is None:
                continue
            if kind is Kind.FORKED:
                process.pid = fields[1]
                self._born(process)
            elif kind is Kind.EXITED:
                self._bury(process, "exited", fields[1])
            elif kind is Kind.UNFORKED:
                self._unforked(process, fields[1])
        if forker.forked_any:
            self._barren = 0
        if forker.replaced and not any(process.forker is forker for process in self.processes.values()):
            self._forkers.remove(forker)
            forker.close()

    def _unforked(self, process: Process, why: str) -> None:
        if why:
            self._bury(process, "unborn", why)
        else:  # this template is not to be forked any more
            assert not self.is_current(process)
            process.move(self._forkers[-1])

    def _replace(self, forker: Forker, module: str, why: str) -> None:
        """Importing a module made the template unfit: another one does without."""
        _log.info("%s is not imported ahead for trials: %s.", module, why)
        self._excluded.add(module)
        forker.replaced = True
        self._begin()
        for process in self.processes.values():
            if process.idle:
                process.dismiss()

    def _bereaved(self, forker: Forker) -> None:
        """The template has died. Its workers did, too."""
        if forker in self._forkers:
            self._told(forker)  # what it had told before
        if forker not in self._forkers:
            return
        status = forker.bury()
        self._forkers.remove(forker)
        if not self._forkers:
            self._blame(forker, status)
            self._begin()
        for process in [process for process in self.processes.values() if process.forker is forker]:
            if process.pid:
                self._bury(process, "orphaned", None)
            else:
                process.move(self._forkers[-1])

    def _blame(self, forker: Forker, status: int) -> None:
        """A package whose import ends the template is left out; one that ends before it has done anything may do so once."""
        if forker.importing:
            _log.info("%s is not imported ahead for trials: the import ended the process (status %d).", forker.importing, status)
            self._excluded.add(forker.importing)
        elif not forker.forked_any:
            self._barren += 1
            if self._barren > 1:
                how = f"exit code {status}" if status >= 0 else signal.Signals(-status).name
                raise ExecutorError(
                    f"the process that trials are forked from ends as soon as it is started ({sys.executable}: {how}); see what it printed "
                    f"above. Until it can start, use executor='inline'."
                )

    def _bury(self, process: Process, how: str, detail: Any) -> None:
        """The process is no more, nor is anything that it started."""
        self._heard(process)  # what it had sent before
        process.close(self._selector)
        process.gone = True
        del self.processes[process.number]
        self._gone(process, how, detail)
