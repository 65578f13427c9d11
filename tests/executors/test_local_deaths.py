"""Workers die in every way there is: the attempt ends rightly, the slot serves the next trial, nothing is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.events import AttemptEnded, AttemptStarted
from tunesmith.executors import LocalExecutor, guardian
from tunesmith.executors.base import CONTINUE, STOP
from tunesmith.executors.unwinding import DUMP, UNWIND
from tunesmith.testing.executor_rig import Rig, ended_of, note, notes_of
from tunesmith.trainable.session import report

GRACE_S = 0.15
ACTS: dict[str, Callable[[dict[str, Any]], Any]] = {}


def act(function: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    ACTS[function.__name__] = function
    return function


def acts(config: dict[str, Any]) -> None:
    ACTS[config["how"]](config)


def family(pid: int) -> None:
    """Name a process that the trial has made, for the test to look for."""
    note(f"pid {pid}")


def sleeper(**how: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["sleep", "1000"], **how)
    family(process.pid)
    return process


def forked(then: Callable[[], Any]) -> int:
    """A child process that does ``then``, and nothing of the trial's."""
    pid = os.fork()
    if pid == 0:
        try:
            then()
        finally:
            os._exit(0)
    family(pid)
    return pid


def daemonised() -> None:
    """A grandchild in a session of its own, whose parent is gone."""
    os.setsid()
    pid = os.fork()
    if pid == 0:
        family(os.getpid())
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        report_to_parent()
        threading.Event().wait(1000)
    os._exit(0)


PIPE: list[int] = []


def report_to_parent() -> None:
    os.write(PIPE[1], b"x")


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Wait at the end until a descendant has said that it's there."""
    PIPE[:] = os.pipe()
    yield
    os.read(PIPE[0], 1)


# -- what trials do -------------------------------------------------------------------------------------------------------


@act
def well(_config: dict[str, Any]) -> None:
    report(pid=os.getpid(), run=os.environ["TUNESMITH_RUN"], template=os.getppid())


@act
def killed(_config: dict[str, Any]) -> None:
    report(value=1)
    os.kill(os.getpid(), signal.SIGKILL)


@act
def segfaults(_config: dict[str, Any]) -> None:
    report(value=1)
    ctypes.string_at(0)  # the line that must be named


@act
def aborts(_config: dict[str, Any]) -> None:
    os.abort()


@act
def exits(config: dict[str, Any]) -> None:
    report(value=1)
    os._exit(config["code"])


@act
def exits_in_a_thread(_config: dict[str, Any]) -> None:
    thread = threading.Thread(target=sys.exit, args=(3,))
    thread.start()
    thread.join()
    report(value=1)


@act
def eats_memory(config: dict[str, Any]) -> None:
    most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + config["bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    blocks = []
    while True:
        blocks.append(bytearray(16 << 20))


@act
def dies_with_a_child(_config: dict[str, Any]) -> None:
    forked(lambda: threading.Event().wait(1000))
    report(value=1)
    os.kill(os.getpid(), signal.SIGKILL)


@act
def dies_with_a_daemon(_config: dict[str, Any]) -> None:
    with told():
        forked(daemonised)
    report(value=1)
    os.kill(os.getpid(), signal.SIGKILL)


@act
def leaves_things_behind(_config: dict[str, Any]) -> None:
    sleeper()
    sleeper(start_new_session=True)
    sleeper(start_new_session=True, env={})
    with told():
        forked(daemonised)
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,), daemon=True)
    process.start()
    family(process.pid or 0)
    report(value=1)


def there(config: dict[str, Any]) -> None:
    """Tell the test that it has come so far."""
    os.close(os.open(config["there"], os.O_WRONLY))


def sent_on(config: dict[str, Any]) -> None:
    """Tell the test that it has come so far, and wait until it says to go on."""
    there(config)
    os.close(os.open(config["there"], os.O_RDONLY))


def there_when(config: dict[str, Any], state: str) -> None:
    """Have a child tell it, as soon as the trial is in a state in which it can't."""
    trial = os.getpid()

    def watch() -> None:
        while Path(f"/proc/{trial}/stat").read_text().rpartition(")")[2].split()[0] != state:
            os.sched_yield()
        there(config)

    forked(watch)


@act
def blocks_in_c(config: dict[str, Any]) -> None:
    report(value=1)
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.PyDLL(None).pthread_mutex_lock
    lock(mutex)
    there_when(config, "S")
    lock(mutex)  # it blocks here, for ever, and with the GIL: no handler can run


@act
def waits_for_a_lock(config: dict[str, Any]) -> None:
    report(value=1)
    lock = threading.Lock()
    lock.acquire()
    try:
        there(config)
        lock.acquire()
    finally:
        note("finally")


@act
def spins(config: dict[str, Any]) -> None:
    report(value=1)
    try:
        there(config)
        while True:
            pass  # it was here
    finally:
        note("finally")


@act
def swallows_exceptions(config: dict[str, Any]) -> None:
    report(value=1)
    there(config)
    while True:
        try:
            report(value=1)
        except Exception:
            pass


@act
def swallows_everything(config: dict[str, Any]) -> None:
    report(value=1)
    told = False
    while True:
        with contextlib.suppress(BaseException):
            if not told:
                told = True
                there(config)
            threading.Event().wait()  # it blocks here


@act
def stops_itself(config: dict[str, Any]) -> None:
    report(value=1)
    there_when(config, "T")
    os.kill(os.getpid(), signal.SIGSTOP)


@act
def ignores_sigterm(config: dict[str, Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report(value=1)
    there(config)
    while True:
        signal.pause()  # it blocks here


@act
def goes_on(config: dict[str, Any]) -> None:
    report(pid=os.getpid(), template=os.getppid())
    sent_on(config)


@act
def handles_sigterm(config: dict[str, Any]) -> None:
    heard, write = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(write, b"x"))
    report(value=1)
    there(config)
    os.read(heard, 1)
    note("heard, and saved what there was")


@act
def chains_handlers(config: dict[str, Any]) -> None:
    before: Any = signal.getsignal(signal.SIGTERM)

    def mine(number: int, frame: Any) -> None:
        note("heard")
        before(number, frame)

    signal.signal(signal.SIGTERM, mine)
    waits_for_a_lock(config)


@act
def is_told_while_it_forks(_config: dict[str, Any]) -> None:
    """Just when the mask of signals is set back, which is the end of a fork."""
    sets_mask = signal.pthread_sigmask

    def told_meanwhile(how: int, mask: Any) -> Any:
        if how == signal.SIG_SETMASK:
            os.kill(os.getpid(), UNWIND)
        return sets_mask(how, mask)

    report(value=1)
    signal.pthread_sigmask = told_meanwhile
    try:
        forked(signal.pause)
        threading.Event().wait()
    finally:
        note("finally")


@act
def hangs_in_finally(config: dict[str, Any]) -> None:
    if config.get("ignore"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        for _ in range(100):
            report(value=1)
    finally:
        note("finally")
        threading.Event().wait(1000)


@act
def blocks_beside_threads(config: dict[str, Any]) -> None:
    """Its other threads are no answer to where it is."""
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    print("Current thread 0x1 (most recent call first):\n  File '/not/this.py', line 7 in told", file=sys.stderr)
    blocks_in_c(config)


@act
def takes_all_signals(_config: dict[str, Any]) -> None:
    for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
        signal.signal(number, lambda *_: None)
    report(pid=os.getpid())


@act
def does_not_end_by_signals(config: dict[str, Any]) -> None:
    takes_all_signals(config)
    there(config)
    while True:
        signal.pause()


@act
def forks_what_can_be_ended(_config: dict[str, Any]) -> None:
    """What the executor has in place for the trial is not there for processes that the trial forks."""

    def waits() -> None:
        report_to_parent()
        signal.pause()

    with told():
        pid = forked(waits)
    os.kill(pid, DUMP)
    report(code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


@act
def never_ending_thread(_config: dict[str, Any]) -> None:
    threading.Thread(target=time.sleep, args=(1000,)).start()
    report(value=1)


# -- the tests -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One executor for all: that each death leaves it usable is what is tested."""
    executor = LocalExecutor()
    rig = Rig(executor, acts, tmp_path_factory.mktemp("deaths"), log_to_file=("stdout.log", "stderr.log"), grace_s=GRACE_S)
    try:
        rig.run(0, config={"how": "well"})
        yield rig
    finally:
        executor.close()
    assert marked(rig.reports(0)[0].metrics["run"]) == set()


class Story:
    """One trial of the shared executor, and what came of it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.trial = next(TRIALS)
        self.trial_dir = str(rig.folder / f"trial_{self.trial}")

    def tell(self, how: str, **config: Any) -> AttemptEnded:
        """Run it to its end."""
        return ended_of(self.rig.run(self.trial, config={"how": how, **config}))

    def begin(self, how: str, **config: Any) -> None:
        """Run it until it says that it is there."""
        place = self.rig.folder / f"there_{self.trial}"
        os.mkfifo(place)
        self.rig.launch(self.trial, config={"how": how, "there": str(place), **config})
        self.rig.until(lambda: bool(self.rig.reports(self.trial)))
        os.close(os.open(place, os.O_RDONLY))  # returns when the trial has opened it, too

    def killed(self, how: str, outcome: str = "timeout") -> AttemptEnded:
        """Run it until it is there, and kill it."""
        self.begin(how)
        self.rig.executor.kill(self.trial, 0, outcome)
        self.rig.finish()
        return ended_of(self.rig.of(self.trial))

    @property
    def family(self) -> list[int]:
        return [int(line.split()[1]) for line in notes_of(self.trial_dir) if line.startswith("pid ")]


TRIALS = iter(range(1, 1000))


@pytest.fixture
def story(shared: Rig) -> Iterator[Story]:
    """Afterwards: everything that the trial made is gone, and the next trial runs well."""
    shared.decide = lambda _: (CONTINUE, "", False)
    story = Story(shared)
    yield story
    shared.decide = lambda _: (CONTINUE, "", False)
    events = shared.of(story.trial)
    assert [type(event) for event in events[:1]] == [AttemptStarted]
    gone(*story.family)
    again = next(TRIALS)
    assert ended_of(shared.run(again, config={"how": "well"})).outcome == "finished"
    (last,) = shared.reports(again)
    ahead = shared.executor._ahead  # type: ignore[attr-defined]
    if ahead is not None and not ahead.pid:  # forked for the next trial, and has run nothing
        shared.until(lambda: bool(ahead.pid) or ahead.gone)
    expected = {last.metrics["pid"], last.metrics["template"], *([ahead.pid] if ahead is not None else [])}
    settled = time.monotonic() + 5.0  # one that was forked ahead and dismissed is on its way out
    while (there := strangers(last.metrics["run"])) != expected and time.monotonic() < settled:
        shared.executor.poll(0.01)
    assert there == expected


def alive(pid: int) -> bool:
    """Not a zombie, either."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def gone(*pids: int) -> None:
    assert [pid for pid in pids if alive(pid)] == []


def marked(run: str) -> set[int]:
    """Living processes of this template, by its marker in their environment."""
    found = set()
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                if f"TUNESMITH_RUN={run}".encode() in (place / "environ").read_bytes().split(b"\0") and alive(int(place.name)):
                    found.add(int(place.name))
    return found


def strangers(run: str) -> set[int]:
    """Those of them that are no guardians."""
    found = set()
    for pid in marked(run):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() != f"{guardian.NAME}\n":
                found.add(pid)
    return found


def line_of(function: Callable[..., Any], text: str) -> str:
    lines = Path(function.__code__.co_filename).read_text().splitlines()
    start = function.__code__.co_firstlineno
    at = next(number for number, line in enumerate(lines[start:], start + 1) if text in line)
    return f"{function.__code__.co_filename}:{at}"


def error_of(ended: AttemptEnded) -> dict[str, str]:
    assert ended.error is not None
    assert set(ended.error) == {"type", "message", "where", "traceback"}
    return ended.error


def test_sigkill(story: Story) -> None:
    ended = story.tell("killed")
    assert (ended.outcome, error_of(ended)["type"]) == ("worker_lost", "SIGKILL")
    assert "was killed by SIGKILL" in error_of(ended)["message"]
    assert len(story.rig.reports(story.trial)) == 1


def test_segfault_names_the_users_own_line(story: Story) -> None:
    ended = story.tell("segfaults")
    error = error_of(ended)
    assert (ended.outcome, error["type"]) == ("worker_lost", "SIGSEGV")
    assert error["where"] == line_of(segfaults, "string_at(0)")
    assert error["traceback"].startswith("Fatal Python error: Segmentation fault")


def test_segfault_with_many_extension_modules_and_an_earlier_one(story: Story) -> None:
    """The dump's list of extension modules can be long, and stderr.log holds what earlier attempts have left."""
    log = Path(story.trial_dir, "stderr.log")
    log.parent.mkdir()
    log.write_text('Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  File "/old.py", line 7 in old\n')
    story.rig.seen = lambda event: None
    assert error_of(story.tell("segfaults"))["where"] == line_of(segfaults, "string_at(0)")


def test_sigkill_is_not_blamed_on_an_earlier_segfault(story: Story) -> None:
    log = Path(story.trial_dir, "stderr.log")
    log.parent.mkdir()
    log.write_text('Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  File "/old.py", line 7 in old\n')
    assert error_of(story.tell("killed"))["where"] == ""


def test_abort(story: Story) -> None:
    ended = story.tell("aborts")
    assert (ended.outcome, error_of(ended)["type"]) == ("worker_lost", "SIGABRT")
    assert error_of(ended)["where"] == line_of(aborts, "os.abort()")


@pytest.mark.parametrize("code", [0, 3])
def test_exit_in_the_middle(story: Story, code: int) -> None:
    ended = story.tell("exits", code=code)
    assert (ended.outcome, error_of(ended)["type"]) == ("user_error", "ProcessExit")
    assert f"exit code {code}" in error_of(ended)["message"]


def test_sys_exit_in_a_thread_is_the_end_of_that_thread(story: Story) -> None:
    assert story.tell("exits_in_a_thread").outcome == "finished"
    assert len(story.rig.reports(story.trial)) == 1


def test_memory_error(story: Story) -> None:
    ended = story.tell("eats_memory", bytes=100 << 20)
    assert (ended.outcome, error_of(ended)["type"]) == ("oom_ram", "MemoryError")
    assert error_of(ended)["where"] == line_of(eats_memory, "bytearray(16")


@pytest.mark.parametrize("how", ["dies_with_a_child", "dies_with_a_daemon"])
def test_a_child_that_lives_on_does_not_hide_the_death(story: Story, how: str) -> None:
    assert story.tell(how).outcome == "worker_lost"
    assert len(story.family) == (1 if how == "dies_with_a_child" else 2)


def test_what_a_trial_leaves_behind_is_gone(story: Story) -> None:
    assert story.tell("leaves_things_behind").outcome == "finished"
    assert len(story.family) == 6


@pytest.mark.parametrize(
    ("how", "unwinds"),
    [
        ("blocks_in_c", False),
        ("waits_for_a_lock", True),
        ("spins", True),
        ("swallows_exceptions", None),
        ("swallows_everything", False),
        ("stops_itself", False),
        ("ignores_sigterm", False),
    ],
)
def test_kill(story: Story, how: str, unwinds: bool | None) -> None:
    """At the latest when the grace is over; ``finally`` blocks run where Python can."""
    began = time.monotonic()
    ended = story.killed(how)
    assert ended.outcome == "timeout"
    if unwinds is not None:
        assert ("finally" in notes_of(story.trial_dir)) is unwinds
    assert time.monotonic() - began < GRACE_S + 2
    if unwinds is False:
        assert "did not end" in error_of(ended)["message"]


@pytest.mark.parametrize("how", ["blocks_in_c", "swallows_everything", "ignores_sigterm"])
def test_where_a_trial_was_that_did_not_unwind(story: Story, how: str) -> None:
    error = error_of(story.killed(how))
    assert error["where"] == line_of(ACTS[how], "it blocks here")
    assert error["traceback"].startswith("Current thread 0x")
    assert f" in {how}\n" in error["traceback"]
    assert error["traceback"].endswith(f"\nSIGKILL: {error['message']}\n")
    assert "child.py" not in error["traceback"]


def test_a_trial_that_says_where_it_was_dies_of_that(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.executors.endings._DUMPED_S", 60.0)
    assert error_of(story.killed("blocks_in_c"))["type"] == "SIGKILL"


def test_where_a_trial_with_threads_was_that_did_not_unwind(story: Story) -> None:
    error = error_of(story.killed("blocks_beside_threads"))
    assert error["where"] == line_of(blocks_in_c, "it blocks here")
    trials, *others = error["traceback"].split("\nThread 0x")
    assert trials.startswith("Current thread 0x")
    assert "in blocks_beside_threads" in trials
    assert len(others) == 3


def test_a_trial_that_cannot_say_where_it_was_is_killed_all_the_same(story: Story) -> None:
    """It is not said to be where an earlier attempt was."""
    log = Path(story.trial_dir, "stderr.log")
    log.parent.mkdir()
    log.write_text('Current thread 0x1 (most recent call first):\n  File "/old.py", line 7 in old\n')
    error = error_of(story.killed("stops_itself"))
    assert (error["type"], error["where"]) == ("SIGKILL", "")


def test_handlers_of_its_own_do_not_save_a_trial(story: Story) -> None:
    assert error_of(story.killed("does_not_end_by_signals"))["where"] == ""


def test_handlers_of_the_trial_before_are_not_there_any_more(story: Story) -> None:
    rig, before = story.rig, next(TRIALS)
    rig.run(before, config={"how": "takes_all_signals"})
    assert error_of(story.killed("blocks_in_c"))["where"] == line_of(blocks_in_c, "it blocks here")
    started = [event for event in [*rig.of(before), *rig.of(story.trial)] if isinstance(event, AttemptStarted)]
    assert started[0].info["pid"] == started[1].info["pid"]


def test_processes_of_a_trial_end_by_any_signal(story: Story) -> None:
    assert story.tell("forks_what_can_be_ended").outcome == "finished"
    assert story.rig.reports(story.trial)[0].metrics["code"] == -DUMP
    assert Path(story.trial_dir, "stderr.log").read_text() == ""


def test_where_a_killed_trial_was(story: Story) -> None:
    error = error_of(story.killed("spins"))
    assert error["where"] in (line_of(spins, "while True"), line_of(spins, "it was here"), line_of(there, "os.close"))
    assert "in spins" in error["traceback"]
    assert error["traceback"].endswith("\nTerminated: the trial's process was sent SIGTERM\n")
    assert "child.py" not in error["traceback"]


def test_a_trial_that_handles_sigterm_is_told_of_its_end_and_left_to_it(story: Story) -> None:
    assert story.killed("handles_sigterm").outcome == "timeout"
    assert notes_of(story.trial_dir) == ["heard, and saved what there was"]


def test_a_handler_that_calls_the_one_before_unwinds(story: Story) -> None:
    assert story.killed("chains_handlers").outcome == "timeout"
    assert notes_of(story.trial_dir) == ["heard", "finally"]


def test_told_to_end_while_it_forks(story: Story) -> None:
    ended = story.tell("is_told_while_it_forks")
    assert (ended.outcome, error_of(ended)["type"]) == ("worker_lost", "Terminated")
    assert notes_of(story.trial_dir)[-1] == "finally"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_all_processes_of_a_job_get(story: Story, number: signal.Signals) -> None:
    """They are for the driver, which decides what becomes of its trials: the template, idle workers and busy ones are deaf to them."""
    rig, before = story.rig, next(TRIALS)
    rig.run(before, config={"how": "goes_on", "there": os.devnull})
    told = rig.reports(before)[0].metrics
    for pid in (told["template"], told["pid"]):
        os.kill(pid, number)
    story.begin("goes_on")
    for pid in (told["template"], told["pid"]):
        os.kill(pid, number)
    os.close(os.open(rig.folder / f"there_{story.trial}", os.O_WRONLY))
    rig.finish()
    assert ended_of(rig.of(story.trial)).outcome == "finished"
    assert [(event.metrics["template"], event.metrics["pid"]) for event in rig.reports(story.trial)] == [(told["template"], told["pid"])]


@pytest.mark.parametrize("ignore", [False, True])
def test_a_stop_whose_finally_hangs_is_a_stop(story: Story, ignore: bool) -> None:
    story.rig.decide = lambda _: (STOP, "", False)
    ended = story.tell("hangs_in_finally", ignore=ignore)
    assert ended.outcome == "stopped"
    assert notes_of(story.trial_dir) == ["finally"]


def test_a_stop_that_came_before_its_report_is_bounded_too(story: Story) -> None:
    story.rig.decide = lambda _: None
    story.rig.launch(story.trial, config={"how": "hangs_in_finally"})
    story.rig.executor.answer(story.trial, 0, STOP)
    story.rig.finish()
    assert ended_of(story.rig.of(story.trial)).outcome == "stopped"


def test_a_paused_function_whose_finally_hangs_is_bounded_too(story: Story) -> None:
    story.rig.decide = lambda _: ("pause", "cold", False)
    assert story.tell("hangs_in_finally").outcome == "stopped"


def test_a_thread_that_never_ends_does_not_keep_the_slot(story: Story, caplog: pytest.LogCaptureFixture) -> None:
    assert story.tell("never_ending_thread").outcome == "finished"
    assert f"abcde_{story.trial:05d} is over, but its process did not end" in caplog.text


def test_killed_before_it_was_forked(story: Story) -> None:
    story.rig.launch(story.trial, config={"how": "ignores_sigterm"})
    story.rig.executor.kill(story.trial, 0, "silent")
    story.rig.finish()
    assert ended_of(story.rig.of(story.trial)).outcome == "silent"
