"""Running one experiment: opens its journal, folds what is there, puts the pieces around the loop, and closes all of it again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.blame import describe_exception
from tunesmith.clock import SystemClock
from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.controller import Controller
from tunesmith.core.demand import demand
from tunesmith.core.filling import tries
from tunesmith.core.ports import Header, Observer, Record
from tunesmith.core.rng import fresh_seed, trial_seed
from tunesmith.core.rounds import Rounds
from tunesmith.description import changes, describe, described
from tunesmith.drive import Drive
from tunesmith.errors import JournalCorrupt, JournalError
from tunesmith.executors.base import Assignment, Executor, ExecutorSetup, Need
from tunesmith.failures import FailureLog
from tunesmith.interrupts import Interrupts
from tunesmith.journal.tags import located
from tunesmith.resources import bundles_of, refuse_impossible, unasked_gpus
from tunesmith.resume import Candidates
from tunesmith.secrets import is_secret
from tunesmith.spec import ExperimentSpec
from tunesmith.specfile import Stored, load, pack, save
from tunesmith.versions import Versions

if TYPE_CHECKING:
    from tunesmith.storage.mirror import Mirror

__all__ = ["Finished", "execute"]

_log = logging.getLogger("tunesmith")


@dataclass(slots=True)
class Finished:
    """How a session of an experiment ended.

    Args:
        path, name, header: where and what it is.
        counts: status -> number of trials.
        kind: why it ended: "" (nothing was left), stop, budget, drain (Ctrl-C, SIGTERM, or ``broken``), breaker, fail_fast, unplaceable,
            metric; ``reason``: in words.
        broken: what code of the user's that belongs to no single trial raised, so that the run was drained; "" if none did.
        exit_code: what the process is to end with now: 143 if SIGTERM came and the user's code does not handle it; else 0.
        exhausted: why the searcher had nothing more to propose, "" if it was not asked further.
        failures: groups of trials that ended in ERROR.
        resolve: drawn values and the description of their space -> a fresh config with the real objects.
        elapsed: seconds of this session.
    """

    path: str
    name: str
    header: Header
    counts: dict[str, int]
    kind: str
    reason: str
    exhausted: str
    failures: FailureLog
    resolve: Callable[[dict[str, Any], Mapping[str, Any] | None], dict[str, Any]]
    elapsed: float
    broken: str = ""
    exit_code: int = 0


def execute(spec: ExperimentSpec) -> Finished:
    """Run the experiment until nothing is left to do, or it is stopped.

    Raises:
        TuneError: what ended it; all that was committed is kept.
    """
    began = time.monotonic()
    stored = pack(spec)
    with ExitStack() as stack:
        interrupts = Interrupts(_drain_s(spec), _log.warning)
        stack.callback(_surely, interrupts.restore)
        interrupts.install()
        mirror = _open_mirror(spec)
        if mirror is not None:  # the last to close: it stores what all others have left
            stack.push(lambda _, error, __: mirror.finish(error))
        journal = _open_journal(spec)
        stack.callback(_surely, journal.close)
        before = _stored_before(spec)
        stored = stored.after(before) if before is not None else stored
        session = _Session(spec, journal, before, mirror)
        drive = session.drive
        stack.callback(_surely, drive.store.close)
        stack.callback(session.close_observers)
        stack.callback(_surely, drive.executor.close)
        stack.callback(drive.host.close)
        stack.callback(interrupts.closing)
        first = session.first_events()
        save(stored, spec.path)  # under the lease, and once nothing refuses it any more
        drive.run([*first, *interrupts.attach(drive.ask)], session.unwinding)
    state = drive.controller.state
    return Finished(
        spec.path, spec.name, journal.header, dict(state.counts), state.kind, state.stopping or state.finished, state.exhausted,
        session.failures, session.versions.shown, time.monotonic() - began, drive.blamed, interrupts.exit_code,
    )  # fmt: skip


def _drain_s(spec: ExperimentSpec) -> float | None:
    """How long trials have when the experiment ends before they do. Without force, and where no clock has a say: as long as it takes."""
    forceful = spec.executor is not None and spec.executor.capabilities.kill
    return spec.drain_s if forceful and not spec.deterministic else None


def _surely(close: Callable[[], None]) -> None:
    """Close something that can be closed twice: Ctrl-C in the middle of it leaves nothing open."""
    try:
        close()
    except KeyboardInterrupt:
        close()
        raise


def _open_journal(spec: ExperimentSpec) -> Any:
    from tunesmith import __version__
    from tunesmith.journal import JOURNAL_FILE, SqliteJournal

    path = os.path.join(spec.path, JOURNAL_FILE)
    header = Header(uuid=os.urandom(16).hex(), name=spec.name, created=time.time(), library=__version__)
    if spec.resume:
        return SqliteJournal.open(path, fresh=header, take_over=spec.take_over)
    return SqliteJournal.create(path, header, mode=spec.journal_mode)


def _open_mirror(spec: ExperimentSpec) -> Mirror | None:
    """The link to remote storage, if the experiment is stored there; what is newer there than here is here then."""
    if spec.remote is None:
        return None
    from tunesmith.storage.mirror import mirror_of

    return mirror_of(spec)


def _stored_before(spec: ExperimentSpec) -> Stored | None:
    """What is stored of the experiment already; None: nothing, or it is damaged, and what follows has to do without."""
    try:
        return load(spec.path) if spec.resume else None
    except JournalError:
        return None


class _Session:
    """The pieces of one session, wired together."""

    def __init__(self, spec: ExperimentSpec, journal: Any, stored: Stored | None, mirror: Mirror | None = None) -> None:
        from tunesmith.checkpoints.store import LocalStore
        from tunesmith.schedulers.exploring import Explorer
        from tunesmith.search.host import SearchHost

        self.spec = spec
        self.journal = journal
        self.mirror = mirror
        self.header: Header = journal.header
        self.names: dict[int, tuple[str | None, str | None]] = {}
        self.unwinding: list[ev.AttemptEnded] = []
        self._prefix = f"{self.header.uuid[:5]}_"
        self._home = os.path.join(spec.path, "")
        self.failures = FailureLog()
        executor = spec.executor
        assert executor is not None, "the front chooses the executor"
        self.executor: Executor = executor
        past = self._past()
        self.versions = Versions.of(past, stored, spec.space)
        self.seed = self._seed(past)
        self.last_at = past[-1].event.at if past else 0.0
        self.host = SearchHost(
            spec.searcher, spec.space, seed=self.seed, metrics=spec.metrics, modes=spec.modes, trial_id=self.trial_id,
            prepare=self._prepare(), wake=executor.wake, earlier=self.versions.earlier(past), budget=spec.num_samples,
            concurrency=spec.max_concurrent, early=spec.scheduler.capabilities.needs_metric,
            threaded=not spec.deterministic,
        )  # fmt: skip
        self.description = describe(spec, self.seed, self.host.total_samples(spec.num_samples), _drain_s(spec))
        before = described(past)
        self.changes = changes(spec.path, before, self.description, spec.scheduler.changeable) if before else {}
        if self.versions.changed is not None:
            self.changes["space"] = self.versions.changed
        self.candidates = Candidates(spec.plan, self.description, past)
        self.controller = Controller(spec.scheduler, self.candidates.parted)
        store = LocalStore(spec.path, self.trial_dir) if mirror is None else mirror.store(self.trial_dir)
        self.drive = Drive(
            self.controller, journal, executor, self.host, SystemClock(self.last_at), store, self.assign, self.trial_id, _log.warning,
            stopper=spec.stop, resolve=self.versions.config, explore=Explorer(spec.scheduler, self.versions.space, self.seed),
            rounds=Rounds() if spec.deterministic else None,
        )  # fmt: skip
        asked = self._fold(past)
        for record in past:
            self.host.replay(self.candidates.onward(record), asked.get(record.seq, ()))
        if past:
            known = {checkpoint for record in past if (checkpoint := _checkpoint_of(record)) is not None}
            store.sweep(known - self.candidates.deleted)
        self.drive.observers = [self.failures, *self._observers(past)]
        if mirror is not None:
            mirror.begin(past[-1].seq if past else 0, known - self.candidates.deleted if past else set())
            self.drive.observers.append(mirror)

    # -- what came before ------------------------------------------------------------------------------------------------

    def _past(self) -> list[Record]:
        """The journal's records, if this is a resume; none if the process was killed before the first."""
        if not self.spec.resume:
            return []
        records = list(self.journal.read())
        if records and not any(record.handled for record in records):
            raise JournalCorrupt(f"the experiment in {self.spec.path} failed at its very beginning. Start it under another name.")
        return records

    def _seed(self, past: list[Record]) -> int:
        given = self.spec.seed
        for record in past:
            if isinstance(record.event, ev.ExperimentStarted):
                seed = int(record.event.spec["seed"])
                if given not in (None, seed):
                    _log.warning("%s began with seed=%d and goes on with it; seed=%d is not used.", self.spec.path, seed, given)
                return seed
        return given if given is not None else fresh_seed()

    def _fold(self, past: list[Record]) -> dict[int, list[cmd.Suggest]]:
        """State, stop criteria and names as they were; decisions are computed again and compared. Finds out who goes on.

        Returns:
            ``seq`` of a record -> the suggestions that were asked for because of it.
        """
        candidates = self.candidates
        asked: dict[int, list[cmd.Suggest]] = {}
        for record in past:
            if not record.handled:
                continue
            event = record.event
            candidates.next(record)
            _, commands = self.controller.handle(event, record.decisions)
            # those that were to be deleted: the driver may have died before it did
            candidates.deleted.update(command.checkpoint for command in commands if isinstance(command, cmd.DeleteCheckpoint))
            if suggests := [command for command in commands if isinstance(command, cmd.Suggest)]:
                asked[record.seq] = suggests
            self.failures.committed([record])
            if isinstance(event, ev.Suggested) and (event.name or event.dirname):
                self.names[event.trial] = (event.name, event.dirname)
            verdict = self.drive.remember(candidates.onward(record))
            if isinstance(event, ev.Reported):
                candidates.judged(event.trial, verdict)
        self.controller.parted = None
        if self.controller.difference:
            _log.warning("resuming %s: code has changed since: %s", self.spec.path, self.controller.difference)
        return asked

    # -- the first events ------------------------------------------------------------------------------------------------

    def first_events(self) -> list[ev.Event]:
        """What a session begins with: itself, what changed, what there is to run on, and what the last one lost."""
        spec = self.spec
        log_files = spec.log_to_file
        if log_files is None and self.executor.capabilities.isolated:
            log_files = ("stdout.log", "stderr.log")
        cpus = self.description["resources"].get("cpu", 1.0)
        setup = ExecutorSetup(
            spec.trainable, self.drive.deliver, log_files or None, spec.chdir_to_trial_dir, spec.reuse_actors, spec.grace_s, cpus=cpus,
            min_free=spec.checkpoint.min_free, keep_errors=spec.failure.fail_fast == "raise",
            warm=spec.scheduler.capabilities.pauses and not spec.deterministic, demand=self.demand,
        )  # fmt: skip
        totals = self.executor.start(setup)
        state = self.controller.state
        session = state.session + 1
        lost = [ev.AttemptEnded(trial, attempt, "driver_lost") for trial, attempt in self.controller.alive()]
        if spec.deterministic:  # those that had been told to end would have done so in the next round
            self.unwinding = [event for event in lost if state.trials[event.trial].then]
            lost = [event for event in lost if not state.trials[event.trial].then]
        self.candidates.losing(state.trials[event.trial] for event in lost)
        reopened = self.candidates.reopened(state)
        self.drive.again = frozenset(event.trial for event in reopened)
        self.versions.check([(one.number, one.values, one.space) for one in state.trials.values()], self.trial_id)
        self.versions.check([(event.trial, event.values, event.space) for event in reopened], self.trial_id)
        if not session or state.trials or reopened or state.exhausted or tries(state) != 0 or "num_samples" in self.changes:
            self._check_resources(totals)
        only = None if spec.plan.unfinished or not session else tuple(event.trial for event in reopened)
        wall = self.drive.clock.wall()
        events: list[ev.Event] = [ev.ExperimentStarted({} if session else self.description, session, wall=wall, only=only)]
        if self.changes:
            events.append(ev.SpecChanged(self.changes))
        events += [*lost, *reopened]
        events.append(ev.CapacityChanged(totals, self.executor.capabilities.slots))
        return events

    def _check_resources(self, totals: dict[str, float]) -> None:
        """Refuse what can never be placed; a word on GPUs that nobody asks for."""
        if callable(self.spec.resources):
            return
        capabilities, request = self.executor.capabilities, self.description["resources"]
        if not capabilities.growing:
            refuse_impossible(request, totals)
        if capabilities.isolated and self.spec.verbose and (hint := unasked_gpus(request, totals)):
            _log.warning("%s", hint)

    # -- trials ----------------------------------------------------------------------------------------------------------

    def trial_id(self, number: int) -> str:
        """As in file names: five digits of the experiment, five of the trial."""
        return f"{self._prefix}{number:05d}"

    def trial_dir(self, number: int) -> str:
        """Absolute."""
        name = self.names[number][1] if self.names and number in self.names else None
        return self._home + (name or self.trial_id(number))

    def assign(self, launch: cmd.Launch) -> Assignment:
        """All that a worker needs for this attempt."""
        number = launch.trial
        trial_id = self.trial_id(number)
        name = self.names[number][0] if self.names and number in self.names else None
        checkpoint = launch.checkpoint
        if checkpoint and self.mirror is not None:
            self.mirror.ensure(checkpoint)
        config = self.versions.resolve(launch.values, launch.space)
        return Assignment(
            number,
            launch.attempt,
            trial_id,
            name or f"{self.spec.trainable.name}_{trial_id}",
            self.spec.name,
            config,
            self.trial_dir(number),
            self.drive.store.path(checkpoint) if checkpoint else None,
            checkpoint,
            launch.iteration,
            launch.time_total,
            launch.resources,
            launch.gpus,
            trial_seed(self.seed, number),
            self.spec.max_ram,
            False,
            *self._bundles(launch.values, launch.space, launch.resources),
            tuple(located(config, name, value)[0] for name, value in launch.values.items() if is_secret(name, value)),
        )

    def demand(self) -> list[Need]:
        """What would be launched now if there were room."""
        waiting, more = demand(self.controller.state)
        usual = dict(self.controller.state.settings.resources)
        needs = [Need(trial.resources, *self._bundles(trial.values, trial.space, trial.resources)) for trial in waiting]
        return [*needs, Need(usual, *bundles_of(self.spec.resources, usual), more)] if more else needs

    def _bundles(self, values: dict[str, Any], space: int, resources: dict[str, float]) -> tuple[tuple[dict[str, float], ...], str]:
        """How what an attempt takes may be spread over machines, where there are several."""
        if not getattr(self.executor.capabilities, "places", False):
            return (), "PACK"
        request = self.spec.resources
        return bundles_of(request(self.versions.resolve(values, space)) if callable(request) else request, resources)

    def _prepare(self) -> Callable[[int, dict[str, Any]], dict[str, Any]] | None:
        """What user code says of a drawn configuration before its trial exists: resources, names. None: nothing asks."""
        from tunesmith.naming import Namer

        spec = self.spec
        if not callable(spec.resources) and spec.trial_name_creator is None and spec.trial_dirname_creator is None:
            return None
        namer = Namer(spec, self.header)

        def prepare(number: int, values: dict[str, Any]) -> dict[str, Any]:
            extra = namer.prepare(number, values)
            if extra.get("name") or extra.get("dirname"):
                self.names[number] = (extra.get("name"), extra.get("dirname"))
            return extra

        return prepare

    # -- observers -------------------------------------------------------------------------------------------------------

    def _observers(self, past: list[Record]) -> list[Observer]:
        from tunesmith.observing import observers

        return observers(self.spec, self.header, self.description, past, self.drive.clock, self.versions)

    def close_observers(self) -> None:
        """Let every observer finish what it has queued; one that fails is named, the others still get their turn."""
        for observer in self.drive.observers:
            try:
                observer.close()
            except Exception as error:
                _log.warning("%s failed while closing: %s", type(observer).__name__, describe_exception(error))


def _checkpoint_of(record: Record) -> str | None:
    event = record.event
    return event.checkpoint if record.handled and isinstance(event, (ev.Reported, ev.CheckpointSaved)) else None
