"""The handlers of a run: what a first and a second signal do, whose handlers are called, and that all is put back."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import pytest

from tunesmith import interrupts as module
from tunesmith.core.events import Event, StopRequested
from tunesmith.interrupts import Interrupts


class Run:
    """One run's handlers, what they asked for, and what they said, by which thread."""

    def __init__(self, drain_s: float | None = 30.0) -> None:
        self.said: Queue[tuple[str, threading.Thread]] = Queue()
        self.asked: list[Event] = []
        self.interrupts = Interrupts(drain_s, lambda line: self.said.put((line, threading.current_thread())))

    def begin(self) -> Run:
        self.interrupts.install()
        assert self.interrupts.attach(self.asked.append) == []
        return self

    def line(self) -> str:
        line, thread = self.said.get(timeout=10)
        assert thread is not threading.current_thread(), "a handler may have come in the middle of a print"
        return line


@pytest.fixture
def make() -> Iterator[Callable[..., Run]]:
    """Runs that are over with the test; then the handlers are those that were there before it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    runs: list[Run] = []

    def new(drain_s: float | None = 30.0) -> Run:
        runs.append(Run(drain_s))
        return runs[-1]

    yield new
    for run in reversed(runs):
        run.interrupts.restore()
    after = {number: signal.getsignal(number) for number in before}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before
    assert not module._installed


@pytest.fixture
def own(make: Any) -> Iterator[Callable[[int, Any], None]]:
    """Sets a handler of the user's; taken away again before the fixture above looks."""
    before: dict[int, Any] = {}

    def put(number: int, handler: Any) -> None:
        before.setdefault(number, signal.getsignal(number))
        signal.signal(number, handler)

    yield put
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_asks_to_drain_and_the_second_breaks_off(make: Any) -> None:
    run = make().begin()
    signal.raise_signal(signal.SIGINT)
    assert run.asked == [StopRequested("interrupted by Ctrl-C", drain=True)]
    first, _, rest = run.line().partition(" until ")
    assert first == "Ctrl-C: trials have"
    assert rest[8:] == " (30 s) to report and save, then they are killed; press it again to break off at once."
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert (len(run.asked), run.interrupts.exit_code) == (1, 0)


def test_without_a_bound(make: Any) -> None:
    run = make(None).begin()
    signal.raise_signal(signal.SIGINT)
    assert run.line() == "Ctrl-C: ending at the next report; press it again to break off at once."


def test_what_comes_before_there_is_a_loop_waits_for_it(make: Any) -> None:
    run = make()
    run.interrupts.install()
    signal.raise_signal(signal.SIGTERM)
    assert run.interrupts.attach(run.asked.append) == [StopRequested("interrupted by SIGTERM", drain=True)]
    assert run.asked == []


def test_what_comes_after_the_loop_has_nothing_to_stop(make: Any) -> None:
    run = make().begin()
    run.interrupts.closing()
    signal.raise_signal(signal.SIGINT)
    assert run.line() == "Ctrl-C: the run is over, and its files are being closed; press it again to break off at once."


def test_sigterm_drains_and_the_process_is_to_end_by_it(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    run = make().begin()
    signal.raise_signal(signal.SIGTERM)
    assert run.line().endswith("killed; send it again to break off at once.")
    signal.raise_signal(signal.SIGTERM)  # the same, from a wrapper that sends it to the process and to its group
    assert (run.asked, run.interrupts.exit_code) == ([StopRequested("interrupted by SIGTERM", drain=True)], 143)
    now += 2
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143


def test_sigterm_while_ctrl_c_drains_changes_only_the_exit(make: Any) -> None:
    run = make().begin()
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    assert (len(run.asked), run.interrupts.exit_code) == (1, 143)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_handler_of_the_users_is_called_first_and_the_run_drains_all_the_same(make: Any, own: Any) -> None:
    run, order = make(), []
    for number in (signal.SIGINT, signal.SIGTERM):
        own(number, lambda number, frame: order.append((number, frame is not None, len(run.asked))))
    run.begin()
    signal.raise_signal(signal.SIGTERM)
    assert order == [(signal.SIGTERM, True, 0)]
    assert (len(run.asked), run.interrupts.exit_code) == (1, 0), "they handle SIGTERM, so the process lives on"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert order[1:] == [(signal.SIGINT, True, 1)]


def test_what_the_users_handler_raises_goes_on(make: Any, own: Any) -> None:
    def theirs(number: int, frame: Any) -> None:
        raise KeyError("theirs")

    own(signal.SIGINT, theirs)
    run = make().begin()
    with pytest.raises(KeyError, match="theirs"):
        signal.raise_signal(signal.SIGINT)
    assert run.asked == []


def test_ignored_signals_stay_ignored(make: Any, own: Any) -> None:
    own(signal.SIGINT, signal.SIG_IGN)
    run = make().begin()
    signal.raise_signal(signal.SIGINT)
    assert (run.asked, signal.getsignal(signal.SIGINT)) == ([], signal.SIG_IGN)


def test_handlers_that_are_not_pythons_stay(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They could not be given back."""
    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", lambda number: None)
        make().begin()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_only_the_main_thread_handles_signals(make: Any) -> None:
    run, before = make(), signal.getsignal(signal.SIGINT)
    threads = threading.active_count()
    thread = threading.Thread(target=run.begin)
    thread.start()
    thread.join()
    assert (signal.getsignal(signal.SIGINT), threading.active_count()) == (before, threads)


def test_what_was_put_in_the_place_of_ours_stays(make: Any, own: Any) -> None:
    run = make().begin()

    def theirs(number: int, frame: Any) -> None: ...

    signal.signal(signal.SIGTERM, theirs)
    run.interrupts.restore()
    assert signal.getsignal(signal.SIGTERM) is theirs
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_ours_put_back_after_the_run_does_what_the_one_before_it_did(make: Any, own: Any) -> None:
    seen: list[int] = []
    own(signal.SIGTERM, lambda number, frame: seen.append(number))
    run = make().begin()
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    run.interrupts.restore()
    for number, handler in ours.items():
        own(number, handler)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert (seen, run.asked) == ([signal.SIGTERM], [])


def test_a_run_inside_a_run(make: Any) -> None:
    outer, inner = make().begin(), make().begin()
    signal.raise_signal(signal.SIGINT)
    assert (len(outer.asked), len(inner.asked)) == (1, 1)
    inner.interrupts.restore()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_forked_child_has_the_handlers_of_before(make: Any) -> None:
    """A data loader's process that is told to end must end, and Ctrl-C is not its to drain."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    make().begin()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, since 3.12
        pid = os.fork()
    if pid == 0:
        os._exit(0 if (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_no_thread_is_left(make: Any) -> None:
    before = threading.active_count()
    run = make().begin()
    run.interrupts.restore()
    run.interrupts.restore()
    assert threading.active_count() == before
