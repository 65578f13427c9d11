"""The hand-over of cards: what a tenant leaves behind is waited for, killed, or named; what is other people's is left alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.executors.gpus import Card, Cards
from tunesmith.executors.hand_over import HandOver
from tunesmith.executors.nvml import NvmlError
from tunesmith.testing import FakeMachine, FakeNvml

GB = 2**30
RUN, WORKER = "TUNESMITH_RUN=ab12", "TUNESMITH_WORKER=3"
Open = Callable[..., tuple[FakeMachine, HandOver]]


def opened(cards: int = 2, **options: Any) -> tuple[FakeMachine, HandOver]:
    machine = FakeMachine(cards)
    found = Cards.discover(environ={}, nvml=machine.nvml)
    machine.start(9)  # the process that workers are forked from
    options = {"run": "ab12", "processes": machine, "clock": machine.clock, "wait": machine.wait, "spare": [9], **options}
    return machine, HandOver(found, **options)


def leased(machine: FakeMachine, hand_over: HandOver, pid: int = 70, card: int = 0, part: float = 1.0, size: int | None = 2 * GB) -> None:
    """A trial whose worker ``pid``, a group of its own, takes memory of a card."""
    hand_over.lease(pid, [(card, part)], label=f"trial {pid}", mark=WORKER)
    machine.start(pid, parent=9, group=pid, session=9, environment=[RUN], uses={card: size})
    hand_over.join(pid, pid)


# -- clean ends --------------------------------------------------------------------------------------------------------------


def test_a_clean_end_takes_no_time() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.end(70)
    assert hand_over.clear(70) == []
    assert (machine.now, machine.killed, hand_over.out) == (0.0, [], ())


def test_the_drivers_own_clearing_up_is_waited_for() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.end(70)
    machine.nvml.leaked["GPU-fake-0"] = GB
    machine.at(0.3, machine.nvml.leaked.clear)
    assert hand_over.clear(70) == []
    assert 0.3 <= machine.now < 0.7
    assert machine.killed == []


def test_what_ends_by_itself_within_a_second_is_not_killed() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.start(71, parent=70, uses={0: GB})
    machine.end(70)
    machine.at(0.9, lambda: machine.end(71))
    assert hand_over.clear(70) == []
    assert machine.killed == []


def test_a_little_more_than_before_is_no_concern() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.end(70)
    machine.nvml.leaked["GPU-fake-0"] = 100 * 2**20
    assert hand_over.clear(70) == []


@pytest.mark.parametrize("tenant", ["nobody", "without cards"])
def test_tenants_without_cards(tenant: str) -> None:
    _, hand_over = opened()
    hand_over.lease("without cards", [])
    hand_over.join(tenant, 1)
    assert hand_over.clear(tenant, [70]) == []


def test_cards_that_the_driver_does_not_know_are_taken_on_trust() -> None:
    hand_over = HandOver(Cards([Card("0")]))
    hand_over.lease("a", [(0, 1.0)])
    assert hand_over.clear("a") == []
    cards = Cards.discover(environ={"TUNESMITH_NUM_GPUS": "3"}, nvml=FakeNvml(2))
    hand_over = HandOver(cards)
    hand_over.lease("a", [(2, 1.0)])
    assert hand_over.clear("a") == []


# -- leftovers that can be killed ---------------------------------------------------------------------------------------------

FAMILIES: dict[str, dict[str, Any]] = {
    "child": {"parent": 70},
    "child of its group": {"parent": 70, "session": 9, "group": 70},
    "child that left the group": {"parent": 70, "group": 71, "session": 71},
    "marked": {"parent": 1, "group": 71, "session": 71, "environment": [RUN, WORKER]},
    "orphan of the run": {"parent": 1, "group": 71, "session": 71, "environment": [RUN]},
    "adopted orphan": {"parent": 9, "group": 71, "session": 71, "environment": [RUN]},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_tenant_has_started_is_killed(family: str) -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.start(71, uses={0: GB}, **FAMILIES[family])
    if "child that" not in family and family != "child":
        machine.end(70)
    assert hand_over.clear(70) == []
    assert 71 in machine.killed
    assert 1.0 <= machine.now < 1.6
    assert machine.get(9) is not None


def test_a_chain_of_descendants_of_a_worker_that_lives_on() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.start(71, parent=70, group=71, session=71)
    machine.start(72, parent=71, group=72, session=72, uses={0: GB})
    assert hand_over.clear(70) == []
    assert set(machine.killed) == {70, 71, 72}


def test_processes_that_the_driver_does_not_list_are_found_by_their_family() -> None:
    """As in a container: the driver counts the memory and hides who has it."""
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.start(71, parent=70, uses={0: GB})
    machine.nvml.nameless.add(71)
    machine.end(70)
    assert hand_over.clear(70) == []
    assert machine.killed == [71]


def test_a_helper_that_was_told_of() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.start(80, uses={0: GB})
    hand_over.join(70, 80)
    machine.end(70)
    assert hand_over.clear(70) == []
    assert machine.killed == [80]


# -- leftovers that stay ------------------------------------------------------------------------------------------------------


def test_a_process_that_cannot_be_killed_puts_the_card_out() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.start(71, parent=70, uses={0: 3 * GB})
    machine.immortal.add(71)
    machine.end(70)
    (dirty,) = hand_over.clear(70)
    assert dirty.card == 0
    assert dirty.reason == (
        "GPU card 0 (Fake GPU, GPU-fake-0) gets no further trials: 10 s after the end of trial 70 its process 71 (python) still has "
        "3,072 MB of it and cannot be killed. End it (kill -9 71, as its owner or root), or reset the card. It is used again when it is "
        "clean."
    )
    assert hand_over.out == (0,)
    assert machine.now == pytest.approx(10.0)
    assert not hand_over.review()
    machine.end(71)
    assert hand_over.review()
    assert hand_over.out == ()


def test_memory_that_nobody_has_puts_the_card_out_until_a_later_look() -> None:
    machine, hand_over = opened(deadline_s=5.0)
    leased(machine, hand_over)
    leased(machine, hand_over, 80, card=1)
    machine.end(70)
    machine.nvml.leaked["GPU-fake-0"] = GB
    (dirty,) = hand_over.clear(70)
    assert (
        "5 s after the end of trial 70 1,024 MB more are in use on it than before, and no process of the trial can be found" in dirty.reason
    )
    machine.nvml.leaked.clear()
    machine.end(80)
    assert hand_over.clear(80) == []  # every clearing looks at those that are out, too
    assert hand_over.out == ()


def test_several_processes_are_all_named() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    for pid in (71, 72):
        machine.start(pid, parent=70, uses={0: GB})
        machine.immortal.add(pid)
    (dirty,) = hand_over.clear(70)
    assert "its processes 71 (python), 72 (python) still have 2,048 MB of it" in dirty.reason
    assert "End them (kill -9 71 72, as their owner or root)" in dirty.reason


def test_a_card_that_does_not_answer() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.end(70)
    machine.nvml.broken["GPU-fake-0"] = "GPU is lost"
    (dirty,) = hand_over.clear(70)
    assert "the driver gives no answer for it (GPU is lost)" in dirty.reason
    with pytest.raises(NvmlError):
        machine.nvml.used("GPU-fake-0")


def test_a_card_that_did_not_answer_at_the_start_is_judged_by_its_processes() -> None:
    machine, hand_over = opened()
    machine.nvml.broken["GPU-fake-0"] = "busy"
    hand_over.lease(70, [(0, 1.0)])
    machine.nvml.broken.clear()
    machine.nvml.leaked["GPU-fake-0"] = GB
    assert hand_over.clear(70) == []


def test_the_end_of_the_run_waits_for_nobody() -> None:
    machine, hand_over = opened(wait=lambda seconds: True)
    leased(machine, hand_over)
    machine.end(70)
    machine.nvml.leaked["GPU-fake-0"] = GB
    assert hand_over.clear(70) == []
    assert hand_over.out == ()
    hand_over.close()


# -- other people -------------------------------------------------------------------------------------------------------------


def test_strangers_may_come_go_and_grow() -> None:
    machine, hand_over = opened()
    machine.start(500, uses={0: GB})
    machine.start(501, uses={0: 2 * GB})
    leased(machine, hand_over)
    machine.start(502, uses={0: 5 * GB})
    machine.nvml.put(0, 500, 3 * GB)
    machine.end(501)
    machine.end(70)
    assert hand_over.clear(70) == []
    assert machine.killed == []


def test_a_stranger_who_left_hides_nothing() -> None:
    machine, hand_over = opened()
    machine.start(500, uses={0: 4 * GB})
    leased(machine, hand_over)
    machine.end(500)
    machine.end(70)
    machine.nvml.leaked["GPU-fake-0"] = GB
    assert [dirty.card for dirty in hand_over.clear(70)] == [0]


def test_a_stranger_whose_share_is_not_told() -> None:
    """What is left cannot be told from what he has: processes decide."""
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.start(500, uses={0: None})
    machine.nvml.leaked["GPU-fake-0"] = GB
    machine.end(70)
    assert hand_over.clear(70) == []


def test_in_a_container_new_numbers_of_the_host_may_be_the_tenants() -> None:
    machine, hand_over = opened()
    machine.start_elsewhere(9000, {0: GB})  # there before: a stranger
    hand_over.lease(70, [(0, 1.0)], label="trial 70")
    machine.start(70, parent=9, group=70)
    hand_over.join(70, 70)
    machine.start_elsewhere(9001, {0: 2 * GB})  # worker 70, as the host calls it
    machine.end(70)
    machine.nvml.put(0, 9000, 4 * GB)
    machine.at(2.0, lambda: machine.end(9001))
    assert hand_over.clear(70) == []
    assert machine.now >= 2.0
    assert machine.killed == []


def test_the_driver_process_and_the_forking_one_are_spared() -> None:
    machine, hand_over = opened()
    hand_over.spare(10)
    leased(machine, hand_over)
    for pid in (os.getpid(), 10):
        machine.start(pid, group=70, environment=[RUN, WORKER], uses={0: GB})
    machine.end(70)
    assert hand_over.clear(70) == []
    assert machine.killed == []


def test_a_number_that_went_to_a_stranger_does_not_cost_his_life() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.end(70)
    machine.start(70, uses={0: GB})  # another one, with a group called so
    machine.start(73, parent=70, uses={0: GB})
    assert hand_over.clear(70) == []
    assert machine.killed == []


def test_a_worker_that_had_ended_before_it_was_told_of() -> None:
    machine, hand_over = opened()
    hand_over.lease(70, [(0, 1.0)])
    hand_over.join(70, 70)
    machine.start(71, group=70, session=9, uses={0: GB})  # of its group
    assert hand_over.clear(70, [70]) == []
    assert machine.killed == [71]


def test_trials_on_other_cards_are_left_alone() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over, 70, card=0)
    leased(machine, hand_over, 80, card=1)
    machine.nvml.put(0, 80, GB)  # it uses a card that it was not given
    machine.end(70)
    assert hand_over.clear(70) == []
    assert machine.killed == []


def test_a_marked_process_of_another_run_is_a_stranger() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over)
    machine.start(71, environment=["TUNESMITH_RUN=other", WORKER], uses={0: GB})
    machine.end(70)
    assert hand_over.clear(70) == []
    assert machine.killed == []


def test_without_marks_only_the_family_counts() -> None:
    machine, hand_over = opened(run="")
    hand_over.lease(70, [(0, 1.0)])
    machine.start(71, environment=[RUN], uses={0: GB})
    assert hand_over.clear(70) == []
    assert machine.killed == []


# -- shared cards -------------------------------------------------------------------------------------------------------------


def test_on_a_shared_card_only_processes_count() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over, 70, part=0.5)
    leased(machine, hand_over, 80, part=0.5)
    machine.start(81, parent=1, environment=[RUN], uses={0: GB})  # whose orphan it is cannot be told: the other one lives
    machine.nvml.leaked["GPU-fake-0"] = GB
    machine.end(70)
    assert hand_over.clear(70) == []
    machine.end(80)
    machine.immortal.add(81)
    assert [dirty.card for dirty in hand_over.clear(80)] == [0]  # with the last one all must be gone
    assert set(machine.killed) == {81}


def test_on_a_shared_card_the_other_tenants_processes_are_safe() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over, 70, part=0.5)
    leased(machine, hand_over, 80, part=0.5)
    machine.start(71, parent=70, uses={0: GB})
    machine.end(70)
    assert hand_over.clear(70) == []
    assert machine.killed == [71]
    assert machine.get(80) is not None


def test_two_that_leave_a_card_together_must_both_be_gone() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over, 70, part=0.5)
    leased(machine, hand_over, 80, part=0.5)
    machine.start(71, parent=70, uses={0: GB})
    machine.end(70)
    machine.end(80)
    machine.nvml.leaked["GPU-fake-0"] = GB
    inner: list[Any] = []
    machine.at(0.5, lambda: inner.extend(hand_over.clear(80)))  # in another thread, really
    outer = hand_over.clear(70)
    assert [dirty.card for dirty in inner + outer] == [0, 0]
    assert hand_over.out == (0,)


def test_a_tenant_who_comes_while_another_leaves_does_not_move_the_mark() -> None:
    machine, hand_over = opened()
    leased(machine, hand_over, 70, part=0.5)
    machine.end(70)
    machine.nvml.leaked["GPU-fake-0"] = GB
    machine.at(0.5, lambda: leased(machine, hand_over, 80, part=0.5))
    assert hand_over.clear(70) == []  # the card is shared now
    machine.end(80)
    assert [dirty.card for dirty in hand_over.clear(80)] == [0]


def test_several_cards_each_for_itself() -> None:
    machine, hand_over = opened(3)
    hand_over.lease(70, [(0, 1.0), (2, 1.0)], label="trial 70")
    machine.nvml.leaked["GPU-fake-2"] = GB
    assert [dirty.card for dirty in hand_over.clear(70)] == [2]
    assert hand_over.out == (2,)


# -- real processes -----------------------------------------------------------------------------------------------------------


def test_a_real_process_that_a_tenant_left_is_killed() -> None:
    driver = FakeNvml(1)
    hand_over = HandOver(Cards.discover(environ={}, nvml=driver), run="ab12", clock=(clock := FakeMachine()).clock, wait=clock.wait)
    environment = {**os.environ, "TUNESMITH_RUN": "ab12"}
    hand_over.lease("a", [(0, 1.0)])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["cat"], **pipes, bufsize=0, start_new_session=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"there?")
        assert process.stdout.read(6) == b"there?"
        driver.put(0, process.pid, GB)
        assert hand_over.clear("a") == []
        assert process.wait() == -9


# -- whatever happens ---------------------------------------------------------------------------------------------------------

moves = st.lists(
    st.tuples(
        st.sampled_from(["lease", "child", "daemon", "stranger", "end", "leak", "mend", "clear", "review"]),
        st.integers(0, 7),
        st.integers(0, 2),
    ),
    max_size=30,
)


@given(moves)
def test_strangers_live_tenants_live_and_a_clean_card_is_clean(plan: list[tuple[str, int, int]]) -> None:
    machine, hand_over = opened(3)
    tenants: dict[int, int] = {}
    strangers: set[int] = set()
    pids = iter(range(100, 1000))
    for do, which, card in plan:
        if do == "lease" and card not in hand_over.out and list(tenants.values()).count(card) < 2:
            pid = next(pids)
            leased(machine, hand_over, pid, card, 0.5, GB)
            tenants[pid] = card
        elif do in ("child", "daemon") and tenants:
            parent = list(tenants)[which % len(tenants)]
            pid = next(pids)
            machine.start(pid, parent=parent, group=None if do == "child" else pid, environment=[RUN], uses={tenants[parent]: GB})
        elif do == "stranger":
            pid = next(pids)
            strangers.add(pid)
            machine.start(pid, uses={card: GB})
        elif do == "end" and tenants:
            machine.end(list(tenants)[which % len(tenants)])
        elif do == "leak":
            machine.nvml.leaked[f"GPU-fake-{card}"] = GB
        elif do == "mend":
            machine.nvml.leaked.clear()
            hand_over.review()
            assert hand_over.out == ()
        elif do == "clear" and tenants:
            living = {pid for pid in tenants if machine.get(pid)}
            pid = list(tenants)[which % len(tenants)]
            card = tenants.pop(pid)
            dirty = hand_over.clear(pid)
            assert machine.get(pid) is None
            assert {one.card for one in dirty} <= {card}
            assert living - {pid} == {one for one in tenants if machine.get(one)}
            if card not in tenants.values() and not dirty and card not in hand_over.out:
                left = set(machine.nvml.processes(f"GPU-fake-{card}"))
                assert left <= strangers
        assert all(machine.get(pid) is not None for pid in strangers)
