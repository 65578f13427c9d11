"""Who may write to a place, and when a round is due: by clocks that tests set."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tunesmith.errors import JournalLocked
from tunesmith.journal.lease import Owner
from tunesmith.storage.lease import NAME, RENEW_S, STALE_S, RemoteLease
from tunesmith.storage.objects import Objects
from tunesmith.storage.pace import LONGEST_S, Pace
from tunesmith.storage.remote import Remote


class Wall:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def wall() -> Wall:
    return Wall()


HERE = Owner("here", 1, "10", "boot-a", "space", 1.0)
ELSEWHERE = Owner("there", 1, "10", "boot-b", "space", 2.0)


def lease(place: Remote, wall: Wall, owner: Owner = HERE) -> RemoteLease:
    return RemoteLease(Objects(place), wall, owner)


def test_one_at_a_time(place: Remote, wall: Wall) -> None:
    first = lease(place, wall, ELSEWHERE)
    first.acquire()
    with pytest.raises(JournalLocked, match=r"belongs to process 1 on host 'there' .*, another machine, .* 0 s ago.*take_over=True"):
        lease(place, wall).acquire()
    first.release()
    first.release()
    lease(place, wall).acquire()
    assert Objects(place).sizes().keys() == {NAME}


def test_of_one_that_is_silent_it_is_taken(place: Remote, wall: Wall) -> None:
    first = lease(place, wall, ELSEWHERE)
    first.acquire()
    wall.time += STALE_S
    with pytest.raises(JournalLocked):
        lease(place, wall).acquire()
    wall.time += 1
    second = lease(place, wall)
    second.acquire()
    with pytest.raises(JournalLocked, match="was taken over by process 1 on host 'here'"):
        first.check()
    first.release()
    second.check()


def test_what_was_taken_over_stays_lost_when_its_new_owner_gives_it_back(place: Remote, wall: Wall) -> None:
    first, second = lease(place, wall, ELSEWHERE), lease(place, wall)
    first.acquire()
    second.acquire(take_over=True)
    with pytest.raises(JournalLocked, match="was taken over by process 1 on host 'here'"):
        first.check()
    second.release()
    with pytest.raises(JournalLocked, match="was taken over by process 1 on host 'here'"):
        first.check()
    assert not Objects(place).sizes()


def test_a_claim_that_is_missing_is_written_anew_only_if_nobody_had_the_place_meanwhile(place: Remote, wall: Wall) -> None:
    def somebody_had_it() -> None:
        raise RuntimeError("records of others")

    held = lease(place, wall, ELSEWHERE)
    held.acquire()
    held.check(somebody_had_it)  # it is there, and nobody is asked
    Objects(place).delete(NAME)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="records of others"):
            held.check(somebody_had_it)
    assert not Objects(place).sizes()
    held.check()
    assert Objects(place).sizes().keys() == {NAME}


def test_taking_over(place: Remote, wall: Wall) -> None:
    lease(place, wall, ELSEWHERE).acquire()
    lease(place, wall).acquire(take_over=True)


def test_a_living_process_of_this_machine_is_not_robbed(place: Remote, wall: Wall) -> None:
    living = replace(Owner.here(), pid=1, started=_started_of_one())
    lease(place, wall, living).acquire()
    with pytest.raises(JournalLocked, match="Only one run can write there"):
        lease(place, wall, Owner.here()).acquire(take_over=True)


def _started_of_one() -> str:
    from tunesmith.journal.lease import _started

    return _started(1) or ""


def test_what_a_dead_or_failed_run_left_is_taken(place: Remote, wall: Wall) -> None:
    lease(place, wall, replace(Owner.here(), started="0")).acquire()
    mine = lease(place, wall, Owner.here())
    mine.acquire()
    with pytest.raises(JournalLocked):
        lease(place, wall, Owner.here()).acquire()
    mine.abandon()
    lease(place, wall, Owner.here()).acquire()


def test_it_is_renewed_in_time(place: Remote, wall: Wall) -> None:
    held = lease(place, wall, ELSEWHERE)
    held.acquire()
    assert held.due() == RENEW_S
    wall.time += RENEW_S
    assert held.due() == 0
    held.check()
    wall.time += STALE_S
    with pytest.raises(JournalLocked):
        lease(place, wall).acquire()


def test_half_an_object_is_none(place: Remote, wall: Wall) -> None:
    Objects(place).write(NAME, b'{"owner"')
    lease(place, wall).acquire()


def test_news_wait_for_the_period_and_urgent_news_do_not() -> None:
    pace = Pace(300.0, 5.0)
    assert pace.due() == math.inf
    pace.news(10.0, urgent=False)
    pace.news(20.0, urgent=False)
    assert pace.due() == 310.0
    pace.news(30.0, urgent=True)
    assert pace.due() == 10.0
    pace.begins()
    assert pace.due() == math.inf
    pace.ended(30.0, 31.0)
    pace.news(32.0, urgent=True)
    assert pace.due() == 36.0


def test_rounds_leave_as_much_time_as_they_take() -> None:
    pace = Pace(300.0, 5.0)
    pace.begins()
    pace.ended(0.0, 60.0)
    pace.news(61.0, urgent=True)
    assert pace.due() == 120.0


def test_failures_are_tried_again_less_and_less_often() -> None:
    pace, now, waits = Pace(300.0, 5.0), 0.0, []
    pace.news(now, urgent=False)
    for _ in range(1100):
        pace.begins()
        pace.failed(now)
        assert pace.troubled
        waits.append(pace.due() - now)
        now = pace.due()
    assert waits[:5] == [5.0, 10.0, 20.0, 40.0, LONGEST_S]
    assert set(waits[5:]) == {LONGEST_S}
    pace.ended(now, now)
    assert not pace.troubled


def test_a_short_period_holds() -> None:
    pace = Pace(0.5)
    pace.begins()
    pace.ended(0.0, 0.1)
    pace.news(0.2, urgent=False)
    assert pace.due() == pytest.approx(0.7)
