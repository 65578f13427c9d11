"""A session's link to remote storage: a thread behind the loop that stores what the loop has committed, and the end that waits for it.

In a round the thread takes a record that was committed last as its aim, sends the checkpoints that exist as of that record, then the
journal up to it, then deletes what is superfluous as of it, then sends files that have changed. Checkpoints of the aim are not deleted
locally before they are stored, so that each round comes to its end however fast new ones follow; those that came and went in between are
never sent. A round that fails is tried again, and holds up neither the loop nor a trial.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from tunesmith.blame import describe_exception
from tunesmith.core import events as ev
from tunesmith.core.ports import Record
from tunesmith.errors import JournalLocked, RemoteStorageError, TuneError
from tunesmith.spec import ExperimentSpec
from tunesmith.storage import copies
from tunesmith.storage.crew import each
from tunesmith.storage.fetch import Listing, bring, trial_folders
from tunesmith.storage.files import trial_files
from tunesmith.storage.lease import RemoteLease
from tunesmith.storage.note import is_whole, remember
from tunesmith.storage.objects import Objects, Retry, hopeless
from tunesmith.storage.pace import Pace
from tunesmith.storage.pending import MirroredStore
from tunesmith.storage.segments import TwoHistories
from tunesmith.storage.ship import Shipper, check_parted

__all__ = ["Mirror", "mirror_of"]

FINAL_S = 120.0
"""At the end of a run storage is waited for as long as it takes anything in, and then for so long."""
_SLOW_S = 10.0

_log = logging.getLogger("tunesmith")


class Mirror:
    """Remote storage of one session; an observer of its records.

    Args:
        spec: of the experiment; it has a ``remote`` place.
        retry: how failures of single requests are met.
        final_s: None: :data:`FINAL_S`.
    """

    def __init__(self, spec: ExperimentSpec, retry: Retry | None = None, final_s: float | None = None) -> None:
        assert spec.remote is not None, "it has a place"
        self._spec = spec
        self._path = spec.path
        self._silent = spec.loggers == () and not spec.callbacks  # no loggers: nothing to wait for
        self._news = threading.Condition()
        self._over = threading.Event()
        self._breaking_off = threading.Event()
        self.objects = Objects(spec.remote, retry or Retry(wait=self._breaking_off.wait))
        self._lease = RemoteLease(self.objects)
        self._pace = Pace(spec.sync.period_s)
        self._final_s = FINAL_S if final_s is None else final_s
        self._shipper: Shipper | None = None
        self._store: MirroredStore | None = None
        self._trial_dir: Callable[[int], str] = str
        self._thread: threading.Thread | None = None
        self._closing = False
        self._error: Exception | None = None
        self._told = False
        # under the lock of _news:
        self._seq = 0
        self._live: set[str] = set()  # folders of checkpoints that exist as of record _seq
        self._held: frozenset[str] = frozenset()
        self._touched: dict[int, int] = {}  # trials that files may lack something of -> the newest record of theirs
        self._running: set[int] = set()
        self._trials: set[str] = set()  # the directories of all trials: nothing but theirs is sent from folders here, or deleted there

    # -- the beginning ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Claim the place; fetch what is newer there than here.

        Raises:
            JournalLocked: another run writes there.
            RemoteStorageError: it cannot be reached, or local and remote records contradict each other.
        """
        self._lease.acquire(take_over=self._spec.take_over)
        try:
            listing = Listing(self.objects)
            whole = is_whole(self._path)
            fetched = bring(self.objects, listing, self._path, aside=self._spec.plan.remote) if self._spec.resume else None
            remember(self._path, self.objects, whole=whole and fetched is None)
            self._trials = trial_folders(self._path)
            self._shipper = Shipper(self.objects, self._path, listing, fetched or {})
        except BaseException:
            with suppress(RemoteStorageError):
                self._lease.release()
            raise

    def store(self, trial_dir: Callable[[int], str]) -> MirroredStore:
        """The store for checkpoints of this session.

        Args:
            trial_dir: number -> directory, absolute.
        """
        self._trial_dir = trial_dir
        self._store = MirroredStore(self._path, trial_dir, self._folder)
        return self._store

    def begin(self, seq: int, live: Collection[str]) -> None:
        """The past is known: it ends with record ``seq``, and these checkpoints exist (ids)."""
        assert self._shipper is not None, "it is open"
        self._seq = seq
        self._live = {self._folder(one) for one in live}
        self._shipper.orphans |= self._shipper.complete - self._live
        self._shipper.complete &= self._live
        if self._spec.verbose:
            _log.warning("stored in %s; working folder: %s", self.objects.remote, self._path)

    def ensure(self, checkpoint: str) -> None:
        """Fetch the checkpoint with this id, if it is stored and not here.

        Raises:
            RemoteStorageError: it is stored, and cannot be read.
        """
        folder = self._folder(checkpoint)
        if not os.path.isdir(os.path.join(self._path, folder)):
            copies.bring_checkpoint(self._path, folder)

    # -- an observer -----------------------------------------------------------------------------------------------------

    def committed(self, records: Sequence[Record]) -> None:
        """Take note; returns at once."""
        store = self._store
        assert store is not None, "there is a store"
        urgent = False
        with self._news:
            for record in records:
                urgent = self._note(record) or urgent
            self._seq = records[-1].seq
            doomed = store.take_doomed()
            self._live -= doomed
            gone = doomed - self._held
            self._pace.news(time.monotonic(), urgent or (self._shipper is not None and not self._shipper.segments))
            store.keep(doomed - gone)
            self._news.notify()
        store.remove(gone)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tunesmith-storage", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """There is more to come: see :meth:`finish`."""

    def _note(self, record: Record) -> bool:
        """Whether the record should be stored at the next opportunity: it tells of a checkpoint, or the end of a trial."""
        event, urgent = record.event, False
        for number in (getattr(event, "trial", None), *(decision.trial for decision in record.decisions)):
            if number is not None:
                self._touched[number] = record.seq
        if isinstance(event, (ev.Reported, ev.CheckpointSaved)) and record.handled and event.checkpoint is not None:
            self._live.add(self._folder(event.checkpoint))
            urgent = True
        if isinstance(event, ev.Suggested) and record.handled:
            self._trials.add(self._home(event.trial))
        elif isinstance(event, ev.AttemptStarted):
            self._running.add(event.trial)
        elif isinstance(event, ev.AttemptEnded):
            self._running.discard(event.trial)
            urgent = True
        return urgent or isinstance(event, (ev.ExperimentStarted, ev.SpecChanged))

    def _folder(self, checkpoint: str) -> str:
        number, _, name = checkpoint.partition("/")
        return f"{self._home(int(number))}/{name}"

    def _home(self, number: int) -> str:
        return os.path.basename(self._trial_dir(number))

    # -- in the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._rounds()
        except BaseException as error:
            self._error = error if isinstance(error, Exception) else RuntimeError(describe_exception(error))
            raise
        finally:
            self._over.set()

    def _rounds(self) -> None:
        while True:
            with self._news:
                while not self._closing and (left := min(self._pace.due() - time.monotonic(), max(1.0, self._lease.due()))) > 0:
                    self._news.wait(left)
                    if self._lease.due() <= 0:
                        break
                closing, due = self._closing, self._pace.due() <= time.monotonic()
                if closing or due:
                    self._pace.begins()
            if self._breaking_off.is_set():
                break
            began = time.monotonic()
            if not closing and not due:
                self._attempt(self._check, quiet=True)
                continue
            done = self._attempt(lambda closing=closing: self._round(final=closing))  # type: ignore[misc]
            with self._news:
                if done:
                    self._pace.ended(began, time.monotonic())
                else:
                    self._pace.failed(time.monotonic())
            if closing and (done or not self._again()):
                break

    def _attempt(self, work: Callable[[], object], quiet: bool = False) -> bool:
        """Whether it succeeded. The first failure in a row is told, and the first success after it."""
        try:
            work()
        except Exception as error:
            self._error = error
            if not self._told and not self._closing and not quiet:
                self._told = True
                _log.warning("remote storage: %s The run goes on, everything is in %s; it is tried again.", _sentence(error), self._path)
            return False
        self._error = None
        if self._told:
            self._told = False
            _log.warning("remote storage: %s takes in what has waited again.", self.objects.remote)
        return True

    def _again(self) -> bool:
        """Whether it makes sense to try again at the end; waits before that."""
        if isinstance(self._error, JournalLocked | TwoHistories) or (self._error is not None and hopeless(self._error.__cause__)):
            return False
        if time.monotonic() - self._progressed() > self._final_s:
            return False
        return not self._breaking_off.wait(max(0.0, min(5.0, self._pace.due() - time.monotonic())))

    _count = 0
    _moved = 0.0

    def _progressed(self) -> float:
        """When something was stored last, as far as is known; the first call counts as something."""
        if self._moved == 0.0 or self.objects.sent != self._count:
            self._count, self._moved = self.objects.sent, time.monotonic()
        return self._moved

    def _round(self, final: bool = False) -> None:
        shipper = self._shipper
        assert shipper is not None, "it is open"
        with self._news:
            aim, live = self._seq, set(self._live)
            self._held = frozenset(live - shipper.complete - shipper.lost)
            superfluous = {one for one in (shipper.complete | shipper.orphans) - live if one.partition("/")[0] in self._trials}
            touched = dict(self._touched)
            trials = set(self._trials) if final else {self._home(number) for number in (*touched, *self._running)}
        try:
            self._check()
            here = [folder for folder in sorted(self._held) if os.path.isdir(os.path.join(self._path, folder))]
            shipper.lost |= self._held - set(here)
            each(shipper.checkpoint, here, 2 if self.objects.hands > 1 else 1)
            if not shipper.journal(aim):
                if final:
                    raise RemoteStorageError(f"the records up to {aim} cannot be read from the journal in {self._path} yet.")
                with self._news:
                    self._pace.news(time.monotonic(), urgent=False)
            else:
                for folder in sorted(superfluous):
                    shipper.forget(folder)
            note, written = shipper.note()
            shipper.files(self._files(trials), note)
            if final:
                shipper.superseded(trials)
                self._verify(shipper, live, aim)
        finally:
            self._release()
        with self._news:
            for number, seq in touched.items():
                if (seq <= written or self._silent) and self._touched[number] == seq:
                    del self._touched[number]

    def _release(self) -> None:
        """Nothing is held any more: what was to be deleted meanwhile is."""
        with self._news:
            self._held = frozenset()
        if self._store is not None:
            self._store.remove_kept()

    def _check(self) -> None:
        """The place is still ours."""
        shipper = self._shipper
        assert shipper is not None, "it is open"
        self._lease.check(lambda: check_parted(shipper))

    def _files(self, trials: set[str]) -> list[str]:
        """Files in these trials' directories."""
        logs = self._spec.log_to_file or ("stdout.log", "stderr.log")
        return [name for trial in sorted(trials) for name in trial_files(self._path, trial, logs, self._spec.sync.artifacts)]

    def _verify(self, shipper: Shipper, live: set[str], aim: int) -> None:
        """Everything is there, or an error says what is not. What is missing is sent again in the next round."""
        check_parted(shipper)
        if missing := shipper.missing(live & shipper.complete, aim):
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise RemoteStorageError(f"{self.objects.remote} lacks what was stored there: {', '.join(missing[:5])}{more}.")

    # -- the end ---------------------------------------------------------------------------------------------------------

    def finish(self, broken: BaseException | None) -> None:
        """Wait until everything is stored, and has been found there; give the place back.

        Args:
            broken: what the session ends with. Then what goes wrong here is told, and not raised; after an interrupt nothing is waited for.

        Raises:
            RemoteStorageError: something is not stored; says what, and how to complete it.
        """
        hasty = isinstance(broken, KeyboardInterrupt | SystemExit)
        try:
            if self._thread is not None:
                self._wait(hasty)
            if self._store is not None:
                self._store.close()
            if self._error is not None or (hasty and self._thread is not None and not self._over.is_set()):
                raise self._incomplete(self._error)
            if not hasty:
                self._give_back()
        except TuneError as error:
            self._lease.abandon()
            self._breaking_off.set()
            if broken is None:
                raise
            _log.warning("%s", error)
        except BaseException:
            self._lease.abandon()
            self._breaking_off.set()
            raise

    def _give_back(self) -> None:
        try:
            self._lease.release()
        except RemoteStorageError as error:
            _log.warning("all of it is stored, but the place is still claimed, for five minutes as other machines see it: %s", error)

    def _wait(self, hasty: bool) -> None:
        with self._news:
            self._closing = True
            if hasty:
                self._breaking_off.set()
            self._news.notify()
        if hasty:
            return
        began, told = time.monotonic(), False
        while not self._over.wait(1.0):
            now = time.monotonic()
            if not told and now - began > _SLOW_S and self._spec.verbose:
                told = True
                _log.warning("the trials are done; waiting for %s to take in what is left.", self.objects.remote)
            if now - self._progressed() > self._final_s + 60.0:  # not even a failure
                self._error = self._error or TimeoutError(f"no answer for {now - self._progressed():.0f} s")
                return

    def _incomplete(self, error: Exception | None) -> RemoteStorageError:
        shipper = self._shipper
        assert shipper is not None, "it is open"
        left = [f"records {shipper.last + 1} to {self._seq}"] if shipper.last < self._seq else []
        left += [f"{count} checkpoint{'s' if count > 1 else ''}"] if (count := len(self._live - shipper.complete - shipper.lost)) else []
        what = f"not stored: {' and '.join(left)}" if left else "not certain that every file is stored"
        why = f" {_sentence(error)}" if error is not None else ""
        return RemoteStorageError(f"{self.objects.remote}: {what}.{why} {self._advice()}")

    def _advice(self) -> str:
        return f"Everything is in {self._path}; the same run with resume=True, name={self._spec.name!r} stores the rest from this machine."


def _sentence(error: Exception) -> str:
    text = str(error) if isinstance(error, TuneError) else describe_exception(error)
    return text if text.endswith(".") else f"{text}."


def mirror_of(spec: ExperimentSpec) -> Mirror:
    """The open mirror of an experiment that has a remote place. If it cannot be opened, a new experiment leaves nothing behind.

    Raises:
        JournalLocked, RemoteStorageError: see :meth:`Mirror.open`.
    """
    mirror = Mirror(spec)
    try:
        mirror.open()
    except TuneError:
        if not spec.resume:
            shutil.rmtree(spec.path, ignore_errors=True)  # it was made for this run, and nothing is in it
        raise
    return mirror
