"""Who waits for what on a Ray cluster. Ray, its actors and the clock are played here: whatever happens, nobody is stuck."""

from __future__ import annotations

import selectors
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.executors import ray_crew, ray_places
from tunesmith.executors.alarms import Alarms
from tunesmith.executors.base import Assignment, Need
from tunesmith.executors.ray_crew import Crew
from tunesmith.executors.ray_hand import Hand
from tunesmith.executors.ray_places import key_of

CPUS = 3
SMALL, LARGE = {"cpu": 1.0}, {"cpu": 2.0}


class Group:
    def __init__(self, bundles):
        self.cpus = sum(bundle["CPU"] for bundle in bundles)
        self.there = self.removed = False


class Ray:
    """A cluster of one node. A group gets its room when there is as much, small ones first; actors die with it."""

    def __init__(self):
        self.groups = []
        self.now = 0.0
        self.node = "first"

    def cluster_resources(self):
        return {"CPU": float(CPUS)}

    def available_resources(self):
        return {"CPU": float(self.free)}

    def nodes(self):
        return [{"NodeID": self.node, "Alive": True, "Resources": {"CPU": float(CPUS)}}]

    @property
    def free(self):
        return CPUS - sum(group.cpus for group in self.groups if group.there)

    def make(self, bundles, strategy):
        self.groups.append(Group(bundles))
        return self.groups[-1]

    def remove(self, group):
        group.removed = True
        self.groups.remove(group)

    def table(self, group):
        return {"state": "CREATED" if group.there else "PENDING"}

    def replace_node(self):
        """What was there is gone. Ray finds new room for groups that are not given back."""
        self.node += "'"
        for group in self.groups:
            group.there = False

    def place(self):
        for group in sorted(self.groups, key=lambda one: one.cpus):
            if not group.there and group.cpus <= self.free:
                group.there = True


class Maker:
    """Actors that come and go when the test has them do so."""

    def __init__(self, arrived, silent, gone):
        self.arrived, self.gone = arrived, gone
        self.mail = types.SimpleNamespace(deliver=lambda: None)
        self.selector = selectors.DefaultSelector()
        self.hands, self.killed = [], set()  # killed: they will not be any more, but nobody has heard of that

    def make(self, place):
        hand = Hand(len(self.hands) + 1, place, self.selector, lambda _: None)
        self.hands.append(hand)
        return hand

    def kill(self, hand):
        self.killed.add(hand)

    def bury(self, hand):
        hand.bury()

    def mark(self, trial_dir):
        """There are no disks here."""

    def coming(self):
        """Those that have room, and are to come."""
        return [hand for hand in self.hands if not (hand.pid or self._ends(hand)) and hand.home.group.there]

    def going(self):
        """Those of whose end Ray is about to tell."""
        return [hand for hand in self.hands if not hand.gone and self._ends(hand)]

    def _ends(self, hand):
        return hand.gone or hand in self.killed or hand.dismissed or hand.home.group.removed


class Story:
    """A crew, and all that happens around it. It is told what a controller would: never to run more than there is room for."""

    def __init__(self, patch, fresh=False):
        self.ray = Ray()
        self.fresh = fresh
        groups = types.SimpleNamespace(
            placement_group=self.ray.make, remove_placement_group=self.ray.remove, placement_group_table=self.ray.table
        )
        for name, module in (("ray", self.ray), ("ray.util", types.SimpleNamespace()), ("ray.util.placement_group", groups)):
            patch.setitem(sys.modules, name, module)
        clock = types.SimpleNamespace(monotonic=lambda: self.ray.now)
        for module in (ray_crew, ray_places):
            patch.setattr(module, "time", clock)
        self.wanted = 0
        self.running = {}
        self.open = {}  # attempts that were launched and are neither over nor held
        self.trials = 0
        setup = types.SimpleNamespace(demand=self.demand, warm=True)
        self.crew = Crew(self.ray, Alarms(), setup, Maker, begun=self.begun, lost=self.lost, news=lambda _: None)
        self.maker = self.crew.maker

    def demand(self):
        return [Need(SMALL, (), "PACK", self.wanted)] if self.wanted else []

    def begun(self, hand, assignment, config):
        assert hand.assignment is None
        assert hand.pid
        hand.assignment = assignment
        self.running[assignment.trial] = hand
        if self.fresh:
            self.crew.ahead(hand)

    def lost(self, hand, error, node):
        self.running.pop(hand.assignment.trial, None)
        self.open.pop(hand.assignment.trial, None)

    @property
    def held(self):
        return [trial for trial, hand in self.running.items() if hand.held]

    @property
    def active(self):
        return [trial for trial, hand in self.running.items() if not hand.held]

    @property
    def stuck(self):
        return set(self.open) - set(self.running)

    def room(self, resources):
        return CPUS - sum(asked["cpu"] for asked in self.open.values()) >= resources["cpu"]

    # -- what happens ----------------------------------------------------------------------------------------------------

    def launch(self, resources=SMALL):
        if self.room(resources):
            self.open[self.trials] = resources
            self.crew.launch(key_of(resources), Assignment(self.trials, 0, "t", "t", "e", {}, "/"), b"")
            self.trials += 1

    def withdraw(self, trial):
        assert self.crew.withdraw(trial, 0)
        del self.open[trial]

    def end(self, trial):
        hand = self.running.pop(trial)
        self.open.pop(trial, None)
        if self.fresh:
            self.crew.leave(hand)
        else:
            self.crew.rest(hand, forget=False)

    def hold(self, trial):
        del self.open[trial]
        self.crew.hold(self.running[trial])

    def go_on(self, trial):
        if self.room(SMALL):
            self.open[trial] = SMALL
            self.crew.go_on(self.running[trial])

    def arrive(self, hand):
        hand.pid, hand.info = 1000 + hand.number, {"node_id": self.ray.node, "node_ip": "here"}
        self.crew._arrived(hand)

    def go(self, hand):
        self.crew._gone(hand, RuntimeError("gone"))

    def lose_node(self):
        self.maker.killed.update(hand for hand in self.maker.hands if hand.home.group.there)
        self.ray.replace_node()

    def turn(self, seconds=0.0):
        """One of the loop."""
        self.crew.share()
        self.ray.place()
        self.ray.now += seconds
        self.crew.turn()

    def settle(self, turns=12):
        """All that is under way comes about; nothing else happens."""
        for _ in range(turns):
            self.turn(2.0)
            for hand in self.maker.going():
                self.go(hand)
            for hand in self.maker.coming():
                self.arrive(hand)

    def over(self):
        """The experiment ends."""
        self.wanted = 0
        for trial in list(self.running):
            self.end(trial)
        self.turn(31.0)
        self.settle(6)


@pytest.fixture
def patch():
    with pytest.MonkeyPatch.context() as found:
        yield found


def acts(story, kinds):
    """All that could happen now."""
    found = [(story.turn, (seconds,)) for seconds in (0.0, 0.6, 1.5)] + [(story.launch, (kind,)) for kind in kinds]
    found += [(setattr, (story, "wanted", wanted)) for wanted in (0, 2)]
    found += [(story.arrive, (hand,)) for hand in story.maker.coming()]
    found += [(story.go, (hand,)) for hand in story.maker.going()]
    found += [(story.end, (trial,)) for trial in story.active]
    found += [(story.withdraw, (trial,)) for trial in sorted(story.stuck)[:1]]
    if len(kinds) == 1:
        found += [(story.hold, (trial,)) for trial in story.active] + [(story.go_on, (trial,)) for trial in story.held]
    living = [hand for hand in story.maker.hands if not hand.gone]
    return [*found, (story.lose_node, ()), *((story.maker.kill, (hand,)) for hand in (*living[:1], *living[1:][-1:]))]


@given(st.data(), st.booleans(), st.sampled_from([(SMALL,), (SMALL, LARGE)]))
def test_whatever_happens_all_that_there_is_room_for_begins(data, fresh, kinds):
    with pytest.MonkeyPatch.context() as patch:
        story = Story(patch, fresh)
        for _ in range(data.draw(st.integers(5, 60))):
            act, given = data.draw(st.sampled_from(acts(story, kinds)))
            act(*given)
        story.settle()
        assert not story.stuck
        story.over()
        assert not story.ray.groups
        assert all(hand.gone for hand in story.maker.hands)


def full(patch, fresh=False, wanted=0):
    """As many attempts run as there is room for."""
    story = Story(patch, fresh)
    story.wanted = wanted
    for _ in range(CPUS):
        story.launch()
        story.settle(1)
    story.turn(1.5)
    assert list(story.running) == [0, 1, 2]
    return story


@pytest.mark.parametrize("fresh", [False, True])
def test_a_place_is_lent_while_its_attempt_is_held(patch, fresh):
    story = full(patch, fresh)
    story.hold(0)
    story.launch()
    story.settle(1)
    assert list(story.running) == [0, 1, 2, 3]
    assert len(story.ray.groups) == CPUS


def test_a_place_that_is_lent_after_somebody_began_to_wait_for_one_is_offered(patch):
    story = full(patch)
    del story.open[0]
    story.launch()
    story.settle()
    assert story.stuck == {3}
    story.open[0] = SMALL
    story.hold(0)
    story.settle(1)
    assert not story.stuck


def test_a_place_that_never_had_room_is_not_offered(patch):
    """It was asked for in advance; then there was no demand any more. The one that is lent is not overlooked for it."""
    story = full(patch, wanted=1)
    assert len(story.ray.groups) == CPUS + 1
    story.wanted = 0
    story.end(0)
    story.launch()
    story.turn(1.5)
    story.turn()
    assert len(story.ray.groups) == CPUS
    story.hold(1)
    story.launch()
    story.settle(1)
    assert not story.stuck


def test_one_that_went_on_without_a_place_gets_none_while_it_is_held_again(patch):
    story = full(patch, fresh=True)
    story.hold(0)
    story.launch()
    story.settle(1)
    del story.open[3]
    story.go_on(0)
    story.hold(0)
    story.open[3] = SMALL
    story.end(3)
    assert story.running[0].place is None
    story.launch()
    story.settle(1)
    assert not story.stuck


def test_who_waits_is_told_of_even_if_there_was_demand_for_long(patch, caplog):
    story = full(patch, wanted=2)
    for _ in range(4):
        story.turn(3.0)
    assert not caplog.records, "more would run if there were more: that is how it is"
    del story.open[0]
    story.launch()
    for _ in range(3):
        story.turn(3.0)
    assert "A trial waits for room in the Ray cluster. Each asks for cpu 1" in caplog.text


@pytest.mark.parametrize("wanted", [0, 2])
def test_what_nobody_uses_makes_room_for_another_kind(patch, wanted):
    """Neither idle workers nor more of them that are asked for in advance keep it."""
    story = full(patch, wanted=wanted)
    story.end(1)
    story.end(2)
    story.launch(LARGE)
    story.settle(3)
    assert not story.stuck
    if wanted:  # and then they are asked for again
        story.settle(2)
        assert len(story.ray.groups) == 4


def test_places_of_a_node_that_is_gone_are_not_offered(patch):
    story = full(patch, fresh=True)
    free = story.running[0].home
    story.end(0)
    for hand in story.maker.going():
        story.go(hand)
    story.lose_node()
    story.go(story.maker.going()[0])
    assert free.group.removed


def test_the_place_of_a_worker_that_never_came_is_not_offered(patch):
    """Its node may be gone."""
    story = full(patch, fresh=True)
    free = story.running[0].home
    story.end(0)
    story.go(story.maker.going()[0])
    story.launch()
    story.turn()
    [hand] = story.maker.coming()
    assert hand.home is free
    story.maker.kill(hand)
    story.go(hand)
    assert free.group.removed
    assert not story.stuck
