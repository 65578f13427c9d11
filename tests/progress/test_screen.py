"""Drawing in place on a terminal: what is seen on it in the end, with an emulator that looks."""

from __future__ import annotations

import builtins
import io
import logging
import os
import threading
from typing import Any

import pytest

from tunesmith.progress import detect
from tunesmith.progress.detect import terminal as drawable
from tunesmith.progress.screen import TerminalScreen

PICTURE = [[("head", "bold")], [("row 1", ""), ("  x", "green")], [("row 2", "")]]
SHOWN = ["head", "row 1  x", "row 2"]


@pytest.fixture
def screen(terminal: Any) -> Any:
    made = TerminalScreen(terminal.out, [terminal.err])
    made.start()
    yield made
    made.close()


def test_a_picture_is_replaced_in_place(terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    assert terminal.lines() == SHOWN
    assert terminal.cursor() == (3, 0), "at the beginning of the line below"
    screen.draw([*PICTURE, [("row 3", "")]])
    assert terminal.lines() == [*SHOWN, "row 3"]
    screen.draw(PICTURE[:1])
    assert terminal.lines() == ["head"]
    assert terminal.cursor() == (1, 0)
    screen.close()
    assert terminal.lines() == []
    assert terminal.cursor() == (0, 0)
    assert b"?25" not in terminal.raw, "the cursor is never hidden, so nothing has to bring it back"


def test_an_unchanged_picture_costs_nothing(terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    terminal.lines()
    before = len(terminal.raw)
    screen.draw(PICTURE)
    terminal.lines()
    assert len(terminal.raw) == before


def test_what_is_printed_stands_above(terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    print("a", "line", "of", "pieces", file=terminal.out)
    assert terminal.lines() == ["a line of pieces", *SHOWN]
    print("one\ntwo", file=terminal.err)
    print("x" * 100, file=terminal.out)
    assert terminal.lines() == ["a line of pieces", "one", "two", "x" * 80, "x" * 20, *SHOWN]
    screen.close()
    print("after", file=terminal.out)
    assert terminal.lines() == ["a line of pieces", "one", "two", "x" * 80, "x" * 20, "after"]
    assert "write" not in vars(terminal.out)
    assert "write" not in vars(terminal.err)


def test_a_full_screen_scrolls_and_leaves_nothing_behind(terminal: Any, screen: TerminalScreen) -> None:
    for number in range(60):
        screen.draw([*PICTURE, [(str(number), "")]])
        print(f"line {number}", file=terminal.out)
    assert terminal.lines() == [*(f"line {number}" for number in range(60)), *SHOWN, "59"]


def test_a_flood_of_output_redraws_a_few_times_only(terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    for number in range(500):
        print(f"line {number}", file=terminal.out)
    lines = terminal.lines()
    assert lines == [f"line {number}" for number in range(500)], "until the next tick"
    assert terminal.raw.count(b"head") < 20
    screen.draw(PICTURE)
    assert terminal.lines() == [*lines, *SHOWN]


def test_logging_set_up_before(terminal: Any, screen: TerminalScreen) -> None:
    handler = logging.StreamHandler(terminal.err)
    logger = logging.getLogger("someone")
    logger.addHandler(handler)
    try:
        screen.draw(PICTURE)
        logger.warning("careful")
    finally:
        logger.removeHandler(handler)
    assert terminal.lines() == ["careful", *SHOWN]


def test_an_unfinished_line_is_seen_and_finished(terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    terminal.err.write("\r 10%")
    terminal.err.write("\r\x1b[32m 20%\x1b[0m")
    assert terminal.lines() == SHOWN, "until the next tick"
    screen.draw(PICTURE)
    assert terminal.lines() == [" 20%", *SHOWN]
    print("hello", file=terminal.out)
    screen.draw(PICTURE)
    assert terminal.lines() == ["hello", " 20%", *SHOWN]
    terminal.err.write(" done\n")
    assert terminal.lines() == ["hello", " 20% done", *SHOWN]
    terminal.out.write("no end")
    screen.close()
    assert terminal.lines() == ["hello", " 20% done", "no end"]
    assert terminal.cursor() == (3, 0)


def test_a_line_without_an_end_is_not_kept_for_ever(terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    for _ in range(100):
        terminal.out.write("x" * 100)
    assert sum(map(len, screen._tails)) < 5000


@pytest.mark.parametrize(("columns", "rows"), [(40, 24), (79, 24), (120, 24), (80, 40)])
def test_resizing(terminal: Any, screen: TerminalScreen, columns: int, rows: int) -> None:
    print("before", file=terminal.out)
    screen.draw([[("x" * 78, "")], *PICTURE])
    terminal.resize(columns, rows)
    assert screen.space() == (columns - 1, rows - 1)
    screen.draw(PICTURE)
    print("after", file=terminal.out)
    assert terminal.lines() == ["before", "after", *SHOWN]


@pytest.mark.parametrize("columns", [50, 30, 20])
def test_a_terminal_that_wraps_anew(monkeypatch: pytest.MonkeyPatch, open_terminal: Any, columns: int) -> None:
    monkeypatch.delenv("XTERM_VERSION")
    terminal = open_terminal()
    screen = TerminalScreen(terminal.out)
    screen.start()
    print("before", file=terminal.out)
    screen.draw([[("x" * 78, "")], [("y" * 45, "")], *PICTURE])
    terminal.resize(columns, 24, reflow=True)
    assert len(terminal.lines()) > 6
    screen.draw(PICTURE)
    assert terminal.lines() == ["before", *SHOWN]
    screen.close()


def test_a_picture_never_fills_the_screen(open_terminal: Any) -> None:
    terminal = open_terminal(20, 3)
    screen = TerminalScreen(terminal.out)
    screen.start()
    for _ in range(3):
        screen.draw(PICTURE)
        print("line", file=terminal.out)
    assert terminal.lines() == ["line", "line", "line", *SHOWN[:2]]
    screen.close()
    assert terminal.lines() == ["line", "line", "line"]


def test_a_key_pressed_is_wiped_away(terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    os.write(terminal.out.fileno(), b"^C")
    screen.draw([*PICTURE, [("more", "")]])
    assert terminal.lines() == [*SHOWN, "more"]
    os.write(terminal.out.fileno(), b"^C")
    screen.draw(PICTURE)
    assert terminal.lines() == SHOWN


def test_a_question_has_the_terminal_for_itself(monkeypatch: pytest.MonkeyPatch, terminal: Any) -> None:
    def answer(prompt: str = "") -> str:
        terminal.out.write(f"{prompt}yes\n")
        return "yes"

    monkeypatch.setattr(builtins, "input", answer)
    screen = TerminalScreen(terminal.out)
    screen.start()
    screen.draw(PICTURE)
    terminal.out.write("really")
    assert input("? ") == "yes"
    screen.draw([*PICTURE, [("new", "")]])
    terminal.out.write("so")
    assert terminal.lines() == ["really? yes", "so"], "until the run goes on"
    terminal.out.write(" be it\n")
    screen.resume()
    screen.draw(PICTURE)
    assert terminal.lines() == ["really? yes", "so be it", *SHOWN]
    screen.close()
    assert builtins.input is answer


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, open_terminal: Any) -> None:
    raw = []
    for wanted in ("", "1"):
        monkeypatch.setenv("NO_COLOR", wanted)
        terminal = open_terminal()
        screen = TerminalScreen(terminal.out)
        screen.start()
        screen.draw(PICTURE)
        terminal.lines()
        raw.append(terminal.raw)
        screen.close()
    assert b"\x1b[32m" in raw[0]
    assert b"\x1b[32m" not in raw[1]


def test_an_encoding_that_knows_less(open_terminal: Any) -> None:
    terminal = open_terminal(encoding="ascii")
    screen = TerminalScreen(terminal.out)
    screen.start()
    assert screen.ascii_only
    screen.draw([[("größe=1", "")]])
    terminal.out.write("übung\n")
    assert terminal.lines() == ["?bung", "gr??e=1"]
    screen.close()


def test_the_terminal_goes_away(terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    terminal.out.close()
    screen.draw(PICTURE[:1])
    assert not screen.open
    screen.draw(PICTURE)
    screen.close()
    assert "write" not in vars(terminal.err)


def test_whoever_kept_the_write_method_can_go_on(terminal: Any, screen: TerminalScreen) -> None:
    write = terminal.out.write
    screen.draw(PICTURE)
    write("one\n")
    screen.close()
    write("two\n")
    assert terminal.lines() == ["one", "two"]


def test_somebody_elses_interception_is_left_alone(terminal: Any, screen: TerminalScreen) -> None:
    ours = terminal.out.write
    terminal.out.write = theirs = lambda text: ours(text.upper())
    screen.draw(PICTURE)
    terminal.out.write("one\n")
    screen.close()
    terminal.out.write("two\n")
    assert vars(terminal.out)["write"] is theirs
    assert terminal.lines() == ["ONE", "TWO"]


def test_a_forked_child_needs_no_lock(terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    screen._pid += 1  # as if this process were the child
    with screen._lock:
        thread = threading.Thread(target=terminal.out.write, args=("from the child\n",))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    screen._pid -= 1
    assert "from the child" in terminal.lines()


def test_a_signal_handler_that_prints_while_printing(monkeypatch: pytest.MonkeyPatch, terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    emit, inner = screen._emit, iter(["from the handler\n"])

    def interrupted(text: str) -> None:
        for line in inner:
            terminal.err.write(line)
        emit(text)

    monkeypatch.setattr(screen, "_emit", interrupted)
    terminal.out.write("one\n")
    assert terminal.lines() == ["one", "from the handler", *SHOWN]


def test_printing_what_is_no_text_fails_as_ever(terminal: Any, screen: TerminalScreen) -> None:
    with pytest.raises(TypeError):
        terminal.out.write(b"bytes")


def test_many_threads_print(terminal: Any, screen: TerminalScreen) -> None:
    def talk(name: int) -> None:
        for number in range(50):
            terminal.out.write(f"{name} {number}\n")

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        screen.draw([*PICTURE, [(str(_), "")]])
    for thread in threads:
        thread.join()
    screen.draw(PICTURE)
    lines = terminal.lines()
    assert lines[-3:] == SHOWN
    assert sorted(lines[:-3]) == sorted(f"{name} {number}" for name in range(4) for number in range(50))


# -- where it can be drawn -------------------------------------------------------------------------------------------------


def test_what_is_a_terminal(monkeypatch: pytest.MonkeyPatch, terminal: Any) -> None:
    assert drawable(terminal.out)
    with open(os.devnull) as null:
        assert not any(map(drawable, (None, io.StringIO(), null)))
    for name, value in (("TERM", "dumb"), ("TERM", "unknown"), ("CI", "true")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert not drawable(terminal.out)
    monkeypatch.delenv("TERM")
    assert not drawable(terminal.out)


def test_two_runs_share_no_terminal(terminal: Any, screen: TerminalScreen) -> None:
    assert not drawable(terminal.out)
    screen.close()
    assert drawable(terminal.out)


def test_a_job_in_the_background_does_not_draw(monkeypatch: pytest.MonkeyPatch, terminal: Any, screen: TerminalScreen) -> None:
    screen.draw(PICTURE)
    monkeypatch.setattr(detect.os, "tcgetpgrp", lambda descriptor: -1)
    screen.draw(PICTURE[:1])
    terminal.out.write("said\n")
    assert terminal.lines() == [*SHOWN, "said"]
    screen.close()
    assert not drawable(terminal.out)
    monkeypatch.setattr(detect.os, "tcgetpgrp", lambda descriptor: os.getpgrp())
    assert drawable(terminal.out)


def test_streams_to_other_places_are_left_alone(terminal: Any, open_terminal: Any) -> None:
    other = open_terminal()
    screen = TerminalScreen(terminal.out, [other.out, io.StringIO(), terminal.out])
    screen.start()
    assert "write" in vars(terminal.out)
    assert "write" not in vars(other.out)
    screen.close()
