"""The workers of a Ray executor: made where attempts wait for them, given away, and missed when they are gone."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from tunesmith.core.events import CapacityChanged, Event
from tunesmith.core.placement import worded
from tunesmith.executors.alarms import Alarms
from tunesmith.executors.base import Assignment, ExecutorSetup, Need
from tunesmith.executors.process import Process
from tunesmith.executors.ray_hand import Hand
from tunesmith.executors.ray_maker import Maker
from tunesmith.executors.ray_places import Key, Place, Places, key_of, lacking, largest, lends, sums, totals

__all__ = ["Crew"]

_log = logging.getLogger("tunesmith")
_MISSING_S = 5.0
"""After so long it is said what is waited for."""
_DEMAND_S = 1.0
"""So long after something has begun or ended Ray is told what more could be used."""
_SPARE_S = 1.0
"""A place that is free is kept so long for the next attempt of its kind."""
_IDLE_S = 30.0
"""A worker that has nothing to do keeps its place for so long: others may want it."""
_VERDICT_S = 30.0
"""A worker whose line is broken is given up if Ray has not said by then what became of it."""
_THEN = "As soon as there is room they begin; Ctrl-C ends the run."
_AHEAD = 16
"""Ray is told of so many more attempts, or of as many again as run, if that is more."""

class Crew:
    """All workers of one executor.

    Args:
        ray: the module, connected.
        alarms: of the loop.
        setup: what is run.
        make: makes a :class:`~tunesmith.executors.ray_maker.Maker`, given whom to tell: ``arrived``, ``silent``, ``gone``.
        begun: called with a worker and the attempt that it is to run.
        lost: called with a worker that died in the middle of an attempt, Ray's error, and the address of its node if that is gone.
        news: takes events.

    Attributes:
        processes: the workers by number, also those that are still to come.
        totals: what the cluster has.
        maker: of the actors.
    """

    def __init__(
        self, ray: Any, alarms: Alarms, setup: ExecutorSetup, make: Callable[..., Maker], *,
        begun: Callable[[Hand, Assignment, bytes], None], lost: Callable[[Hand, Exception, str], None], news: Callable[[Event], None],
    ) -> None:  # fmt: skip
        self._ray, self._alarms, self._setup = ray, alarms, setup
        self._begun, self._lost, self._news = begun, lost, news
        self.processes: dict[int, Hand] = {}
        self.totals = totals(ray.cluster_resources())
        self._tell_capacity()
        self.maker = make(arrived=self._arrived, silent=self._silent, gone=self._gone)
        self.places = Places(ray)
        self._waiting: dict[Key, deque[tuple[Assignment, bytes]]] = defaultdict(deque)
        self._idle: list[Hand] = []
        self._demand: dict[Key, int] = {}
        self._demand_at: float | None = None
        self._outdate()  # maybe nothing of what is wanted fits, and so nothing is ever launched
        self._since: dict[Key, float] = {}  # when the first of those that are still to come was asked for
        self._told: set[Key] = set()
        self._kinds: set[Key] = set()

    # -- attempts --------------------------------------------------------------------------------------------------------

    def launch(self, key: Key, assignment: Assignment, config: bytes) -> None:
        """Have it wait for a worker of that kind; see :meth:`share`."""
        self._outdate()
        if key not in self._kinds:
            self._new_kind(key)
        if not self._waiting[key]:
            self._count_anew(key)
        self._waiting[key].append((assignment, config))

    def _new_kind(self, key: Key) -> None:
        """A held one keeps its place from all attempts of another kind: then none may be held."""
        self._kinds.add(key)
        if self._setup.warm and (len(self._kinds) > 1 or not lends(key)):
            self._tell_capacity(warm=0)

    def _tell_capacity(self, warm: int | None = None) -> None:
        self._news(CapacityChanged(dict(self.totals), warm=warm, nodes=largest(self._ray.nodes(), self.totals)))

    def withdraw(self, trial: int, attempt: int) -> bool:
        """Whether the attempt waited; it does not any more."""
        for queue in self._waiting.values():
            for one in queue:
                if (one[0].trial, one[0].attempt) == (trial, attempt):
                    queue.remove(one)
                    self._outdate()
                    return True
        return False

    def rest(self, hand: Hand, *, forget: bool) -> None:
        """Its attempt is over, and it may get another."""
        self._outdate()
        hand.rest(forget=forget)
        self._offer(hand)

    def leave(self, hand: Hand) -> None:
        """Its attempt is over, and there is no other for it. Its place is free, Ray sees to the rest."""
        self._outdate()
        hand.rest(forget=True)
        self._vacate(hand)
        hand.dismiss()

    def hold(self, hand: Hand) -> None:
        """Its attempt waits for an answer that may take long: another one may have its place. One that holds more than a CPU keeps it."""
        if lends(hand.key):
            hand.held = True
            self._vacate(hand)

    def go_on(self, hand: Hand) -> None:
        """It gets its answer now. If its place was taken there is another one free, or one will be."""
        if hand.held:
            hand.held = False
            hand.place = self.places.free_one(hand.key)

    # -- the loop --------------------------------------------------------------------------------------------------------

    def share(self) -> None:
        """Give to those that wait what there is for them. To be called before the loop waits, whatever has happened since the last time."""
        for key, queue in list(self._waiting.items()):
            if not queue:
                continue
            for hand in [one for one in reversed(self._idle) if one.key == key][: len(queue)]:
                self._idle.remove(hand)
                self._offer(hand)
            for _ in range(len(queue) - sum(hand.sure for hand in self._coming(key))):
                if (place := self.places.free_one(key)) is None:
                    break
                self._settle(place)
            self._supply(key)
            while queue and self._idle and self.places.over(self.totals):
                self._dismiss(self._idle[0])

    def patience(self, timeout: float | None) -> float | None:
        """How long the loop may wait, if otherwise it would wait for ``timeout``."""
        due = [since + _MISSING_S for key, since in self._since.items() if key not in self._told]
        due += [hand.idle_since + _IDLE_S for hand in self._idle[:1]]
        due += [oldest + _SPARE_S] if (oldest := self.places.oldest()) is not None else []
        due += [self._demand_at] if self._demand_at is not None else []
        if not due:
            return timeout
        left = max(0.0, min(due) - time.monotonic())
        return left if timeout is None else min(left, timeout)

    def turn(self) -> None:
        """What has come from other threads, and what is due."""
        self.maker.mail.deliver()
        now = time.monotonic()
        if self._demand_at is not None and self._demand_at <= now:
            self._demand_at = None
            self._ask_demand()
        for key, since in list(self._since.items()):
            if since + _MISSING_S <= now and key not in self._told:
                self._tell_missing(key)
        while self._idle and self._idle[0].idle_since + _IDLE_S <= now:
            self._dismiss(self._idle[0])
        self._tidy(now - _SPARE_S)

    def _tidy(self, since: float = math.inf) -> None:
        for heir in self.places.heirs(since):
            self._dismiss(heir)
        self.places.tidy(since)

    def hurry(self, process: Process) -> None:
        """Ray has said nothing of an end by force: it is as good as done."""
        assert isinstance(process, Hand)
        self._gone(process, TimeoutError("Ray has not said that it has ended"))

    def close(self) -> None:
        """End all workers."""
        self.processes.clear()
        self.maker.close()
        self.places.close()

    # -- workers ---------------------------------------------------------------------------------------------------------

    def _supply(self, key: Key) -> None:
        """As many workers of that kind are to come as are waited for; none that nobody waits for."""
        wanted = len(self._waiting[key]) + self._demand.get(key, 0)
        coming = self._coming(key)
        for _ in range(wanted - len(coming)):
            self._make(key)
        for hand in coming[wanted:]:
            self._dismiss(hand)
        if wanted:
            self._since.setdefault(key, time.monotonic())
        else:
            self._since.pop(key, None)
            self._told.discard(key)

    def _coming(self, key: Key) -> list[Hand]:
        """Workers that are to come and will be given attempts at once; those that have room for sure come first."""
        found = (hand for hand in self.processes.values() if hand.key == key and hand.place is not None)
        return sorted((hand for hand in found if not (hand.pid or hand.dismissed)), key=lambda hand: not hand.sure)

    def _make(self, key: Key) -> None:
        self._tidy()
        hand = self.maker.make(self.places.add(key))
        self.processes[hand.number] = hand

    def _settle(self, place: Place) -> None:
        """Put a worker into a place that another one has left; maybe there is one in it already."""
        hand, place.heir = place.heir, None
        if hand is None:
            hand = self.maker.make(place)
            self.processes[hand.number] = hand
        hand.place = place
        hand.sure = True
        if hand.pid:
            self._offer(hand)

    def ahead(self, hand: Hand) -> None:
        """Have the process for the next attempt in the same place begin already: this one's will not do for it."""
        place = hand.place
        if place is None or place.heir is not None or not lends(hand.key) or self._setup.demand is None:
            return
        more = self._waiting[hand.key] or any(_key(need) == hand.key for need in self._setup.demand())
        if more:
            heir = place.heir = self.maker.make(place)
            heir.place = None
            self.processes[heir.number] = heir

    def _dismiss(self, hand: Hand) -> None:
        """It is not needed: it leaves if it is there, and does not come if not."""
        if hand in self._idle:
            self._idle.remove(hand)
        if hand.home.heir is hand:
            hand.home.heir = None
        self._vacate(hand)
        hand.dismiss()
        if not hand.pid:
            self.maker.kill(hand)

    def _vacate(self, hand: Hand) -> None:
        """Its place is for others; first for one that runs on without. If it is not known that there is room for it, it is given up."""
        place, hand.place = hand.place, None
        if place is not None and not (hand.pid or hand.sure):
            self.places.remove(place)
        elif place is not None:
            heir = next((one for one in self.processes.values() if one.place is None and one.runs_on and one.key == place.key), None)
            if heir is not None:
                heir.place = place
            else:
                self.places.free(place)

    def _offer(self, hand: Hand) -> None:
        """It is there and has nothing to do."""
        queue = self._waiting[hand.key]
        if queue:
            assignment, config = queue.popleft()
            self._begin(hand, assignment, config)
        elif hand.place is None:
            hand.dismiss()
        else:
            hand.idle_since = time.monotonic()
            self._idle.append(hand)
        self._count_anew(hand.key)  # Ray has room for that kind
        if not queue:
            self._since.pop(hand.key, None)

    def _count_anew(self, key: Key) -> None:
        """From here on it is counted how long the longest waits that waits for that kind."""
        self._since[key] = time.monotonic()
        self._told.discard(key)

    def _arrived(self, hand: Hand) -> None:
        demanded = self._demand.get(hand.key, 0)
        if not self._waiting[hand.key] and demanded:
            self._demand[hand.key] = demanded - 1
        self.look_again()
        if hand.home.heir is not hand:
            self._offer(hand)

    def look_again(self) -> None:
        """What the cluster has may be other than it was."""
        now = totals(self._ray.cluster_resources())
        if now != self.totals:
            self.totals = now
            self._outdate()
            self._tell_capacity()

    def _begin(self, hand: Hand, assignment: Assignment, config: bytes) -> None:
        self._outdate()
        self.maker.mark(assignment.trial_dir)
        self._begun(hand, assignment, config)

    def _silent(self, hand: Hand) -> None:
        """Its line is broken. Ray knows why, or will."""
        if hand in self._idle:
            self._dismiss(hand)
        elif hand.assignment is not None and not hand.mute:
            hand.mute = True
            self._alarms.set(hand, _VERDICT_S, self._give_up)

    def _give_up(self, process: Process) -> None:
        assert isinstance(process, Hand)
        self.maker.kill(process)
        self._gone(process, ConnectionError("the connection to it broke, and Ray has not said why"))

    # -- ends ------------------------------------------------------------------------------------------------------------

    def _gone(self, hand: Hand, error: Exception) -> None:
        """It is no more."""
        self.maker.bury(hand)
        self.processes.pop(hand.number, None)
        if hand in self._idle:
            self._idle.remove(hand)
        if hand.home.heir is hand:
            hand.home.heir = None
        node = self._lost_node(hand)
        never = not (hand.pid or hand.home.residents) and (hand.place is not None or not hand.home.taken)
        if node or never:  # then the place may be gone as well
            self.places.remove(hand.home)
            hand.place = None if hand.place is hand.home else hand.place
        self._vacate(hand)
        if node:
            self.look_again()
            self._tidy()  # places that nobody was in may have been there as well
        self._outdate()
        if hand.assignment is not None:
            self._lost(hand, error, node)
        elif not hand.pid and not hand.dismissed:
            self._stillborn(hand, error)

    def _stillborn(self, hand: Hand, error: Exception) -> None:
        """It has never come. The attempt that has waited longest takes the blame, or the same would be tried for ever."""
        queue = self._waiting[hand.key]
        if queue:
            hand.assignment = queue.popleft()[0]
            self._lost(hand, error, "")
        else:
            self._demand.pop(hand.key, None)

    def _lost_node(self, hand: Hand) -> str:
        """The address of its node, if that is gone."""
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        return str(hand.info["node_ip"]) if hand.pid and hand.info["node_id"] not in alive else ""

    # -- what more could be used -----------------------------------------------------------------------------------------

    def _outdate(self) -> None:
        if self._demand_at is None and self._setup.demand is not None:
            self._demand_at = time.monotonic() + _DEMAND_S

    def _ask_demand(self) -> None:
        """Have places made for what would be launched if there were room. Whoever drew no configuration yet need not do so for that."""
        assert self._setup.demand is not None
        most = max(_AHEAD, sum(hand.assignment is not None for hand in self.processes.values()))
        before, self._demand = self._demand, {}
        waiting = {key for key, queue in self._waiting.items() if queue}
        for need in self._setup.demand():
            key = _key(need)
            if waiting - {key}:
                continue  # it could get the room that they wait for; they are told of first
            self._demand[key] = min(most, self._demand.get(key, 0) + need.count)
        for hand in self._idle + self.places.heirs():  # they are there for the next
            if self._demand.get(hand.key):
                self._demand[hand.key] -= 1
        for key in {*before, *self._demand, *self._waiting}:
            self._supply(key)

    def _tell_missing(self, key: Key) -> None:
        """Say what is waited for; and let go of what nobody uses: it may lie just where it is needed."""
        self._told.add(key)
        for hand in [one for one in self._idle if one.key != key]:
            self._dismiss(hand)
        coming = self._coming(key)
        roomless = sum(not self.places.is_there(hand.place) for hand in coming if hand.place)
        waiting = len(self._waiting[key]) - (len(coming) - roomless)  # the others have room, and begin when their process has begun
        if waiting <= 0 and (self._waiting[key] or any(hand.assignment is not None for hand in self.processes.values())):
            return  # more would run if there were more: that is how it is
        self.look_again()
        reason = lacking(key, self._ray.nodes(), self._ray.available_resources())
        who = "A trial waits" if waiting == 1 else "Trials wait"
        _log.warning("%s for room in the Ray cluster. Each asks for %s, and %s. %s", who, worded(sums(key)), reason, _THEN)


def _key(need: Need) -> Key:
    return key_of(need.resources, need.bundles, need.strategy)
