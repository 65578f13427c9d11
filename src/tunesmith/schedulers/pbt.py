"""Population-based training: the worst of a population go on from checkpoints of the best, with hyperparameters that differ a little."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tunesmith.core.commands import Decision
from tunesmith.core.controller import Runnable
from tunesmith.core.ports import TrialView
from tunesmith.core.rng import stream
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers.arguments import flag, number, whole
from tunesmith.schedulers.base import Exploration, Mutated, Scheduler, SchedulerCapabilities
from tunesmith.schedulers.exploring import mutated
from tunesmith.schedulers.member import Member
from tunesmith.schedulers.mutations import Mutations
from tunesmith.schedulers.ranking import Objective, ScalarRanking
from tunesmith.schedulers.rungs import ordinal, time_of

__all__ = ["PopulationBasedTraining"]

_OUTSIDE = frozenset({"rng", "domains", "hyperparam_mutations", "custom_explore_fn", "_mutations", "_settings"})
"""What is no state of the fold, or not of the scheduler's: functions of the user's, the settings."""


class PopulationBasedTraining(Scheduler):
    """Population-based training: while they train, the worst trials copy checkpoint and hyperparameters of the best, and change the latter.

    Max Jaderberg et al., "Population Based Training of Neural Networks", 2017 (exploit: truncation selection; explore: perturb or
    resample). Every ``perturbation_interval`` a trial is looked at. Is it in the upper quantile of the population, it is asked to save. Is
    it in the lower one, it goes on from the checkpoint of one of the upper ones, with that one's configuration, mutated. The trials have to
    save and load: a class defines ``save_checkpoint`` and ``load_checkpoint``, a function reports checkpoints and begins with
    ``get_checkpoint()``. If there are fewer slots than trials, they take turns: whoever has come least far runs next.

    What the mutations name is recorded for each trial, also where the config has a constant; what it lacks is drawn. The values stay
    inside their domains, and keep their types and steps. Who copied whom, from which step, and what was changed is in the journal:
    ``analysis.exploits()``, ``analysis.best_schedule()`` and, as Ray writes them, ``pbt_global.txt`` and ``pbt_policy_<trial>.txt``.

    Args:
        time_attr: what counts as time, a reported key that grows; seconds by default.
        metric: what to rank by; None: the run's.
        mode: "min" or "max"; None: the run's.
        perturbation_interval: units of ``time_attr`` between two looks at a trial, > 0. Copying ends one attempt and begins another.
        burn_in_period: units of ``time_attr`` before the first look.
        hyperparam_mutations: what may change: name -> a list of options (a value moves to a neighbour in it), a domain such as
            ``uniform(0, 1)`` (it is multiplied by a factor; ``choice`` is a list of options), or a function without arguments that draws a
            value; nested dicts for nested entries, also of those in the options of a ``choice``.
        quantile_fraction: share of the population that copies, and that is copied, 0 to 0.5.
        resample_probability: of drawing a value anew instead, 0 to 1. A value that is not (or no more) in its list is always drawn anew.
        perturbation_factors: what numbers are multiplied by; one of them, at random.
        custom_explore_fn: called last with the whole new config, constants included; returns it, changed. Entries may be changed and
            added, with values that JSON can hold; what it sets counts, inside of domains or not.
        log_config: write Ray's ``pbt_*.txt`` files.
        require_attrs: a result without ``time_attr`` or the metric fails the trial. False: it does not count.
        synch: trials wait for one another at each interval, and are compared at equal times; reproducible with ``deterministic=True``.
        seed: of the scheduler's random streams, whole; None: the run's.

    Raises:
        SpecError: an argument is wrong, or there is nothing that could change.

    Differs from Ray Tune: values never leave their domain and a ``choice`` moves like a list (there it is multiplied). Whole numbers, and
    numbers with a step, move by one step at least (2 x 1.2 is 3 and not 2). A trial whose metric is nan counts as the worst, and copies
    (there it is left alone for good). Of equally good ones the first counts as better. ``quantile_fraction=0`` copies nothing. A missing
    metric fails the trial, not the run. A trial that would be the next to run is not paused. With ``synch``, rounds close when a member
    ends, and the last to arrive need not pause. Searchers that learn are refused, as there. ``num_to_keep`` may be small: what is copied is
    pinned.

    Example:
        >>> from tunesmith.space import uniform
        >>> scheduler = PopulationBasedTraining(
        ...     time_attr="training_iteration", perturbation_interval=5,
        ...     hyperparam_mutations={"lr": uniform(1e-4, 1e-1), "optimizer": {"name": ["sgd", "adam"]}},
        ... )
        >>> scheduler.paths
        ('lr', 'optimizer/name')
    """

    capabilities: ClassVar[SchedulerCapabilities] = SchedulerCapabilities(pauses=True, exploits=True, needs_metric=True)
    changeable: ClassVar[tuple[str, ...]] = (
        "perturbation_interval", "burn_in_period", "quantile_fraction", "resample_probability", "log_config", "require_attrs",
    )  # fmt: skip

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        burn_in_period: float = 0.0,
        hyperparam_mutations: Mapping[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        resample_probability: float = 0.25,
        perturbation_factors: tuple[float, ...] = (1.2, 0.8),
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(metric, mode)
        owner = type(self).__name__
        if not isinstance(time_attr, str) or not time_attr:
            raise SpecError(f"{owner}: time_attr must be the name of a reported key, got {time_attr!r}.")
        if not hyperparam_mutations and custom_explore_fn is None:
            hint = "as in {'lr': tune.loguniform(1e-4, 1e-1)}"
            raise SpecError(f"{owner}: nothing could change. Give hyperparam_mutations, {hint}, or custom_explore_fn.")
        if custom_explore_fn is not None and not callable(custom_explore_fn):
            raise SpecError(f"{owner}: custom_explore_fn must be a function of the config that returns it, got {custom_explore_fn!r}.")
        if not isinstance(perturbation_factors, list | tuple) or not perturbation_factors:
            raise SpecError(f"{owner}: perturbation_factors must be a tuple of numbers such as (1.2, 0.8), got {perturbation_factors!r}.")
        self.time_attr = time_attr
        self.perturbation_interval = number(owner, "perturbation_interval", perturbation_interval, above=0)
        self.burn_in_period = number(owner, "burn_in_period", burn_in_period, least=0)
        self.hyperparam_mutations = hyperparam_mutations
        self.quantile_fraction = number(owner, "quantile_fraction", quantile_fraction, least=0, most=0.5)
        self.resample_probability = number(owner, "resample_probability", resample_probability, least=0, most=1)
        self.perturbation_factors = tuple(number(owner, "perturbation_factors", factor) for factor in perturbation_factors)
        self.custom_explore_fn = custom_explore_fn
        self.log_config = flag(owner, "log_config", log_config)
        self.require_attrs = flag(owner, "require_attrs", require_attrs)
        self.synch = flag(owner, "synch", synch)
        self.seed = None if seed is None else whole(owner, "seed", seed, least=0)
        self._mutations = Mutations(owner, hyperparam_mutations)
        self.paths = self._mutations.paths
        self.domains = self._mutations.domains
        self._members: dict[int, Member] = {}
        self._ranking = ScalarRanking()
        self._told: list[str] = []  # what was said once
        self._seen = 0  # trials so far
        self._drawn: int | None = None  # the number of trials that there were to be when the last one had been drawn
        self._lured = -1  # when so many were seen a new one was preferred to those that wait
        self._turns = 0

    # -- before the run --------------------------------------------------------------------------------------------------

    def prepare_space(self, config: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Make the entries that may change parts of the space that are recorded; see :class:`~tunesmith.schedulers.mutations.Mutations`."""
        return self._mutations.prepare(config)

    def start(self, settings: Settings) -> None:
        """Take what the run ranks by."""
        super().start(settings)
        if self.seed is not None:
            self.rng = stream(self.seed, "scheduler")
        self.objective = Objective.of(settings.metrics, settings.modes)
        self._can_save = settings.can_save
        self._warm = settings.warm_pause
        self._settings = settings
        self._next_sync = max(self.perturbation_interval, self.burn_in_period)

    def state(self) -> Any:
        """As :meth:`Scheduler.state`; without the user's functions, which only the edge calls."""
        own = {key: value for key, value in vars(self).items() if key not in _OUTSIDE}
        return (sorted(own.items()), self.rng.getstate() if hasattr(self, "rng") else None)

    # -- members come and go ---------------------------------------------------------------------------------------------

    def on_trial_add(self, trial: TrialView) -> None:
        """Another member."""
        self._members[trial.number] = Member()
        self._seen += 1
        self._drawn = None

    def on_trial_reopen(self, trial: TrialView) -> None:
        """It is a member again, and is looked at after an interval."""
        at = time_of(trial.metrics, self.time_attr) or 0.0
        self._members[trial.number] = Member(at, at, saved=trial.checkpoint is not None)

    def on_trial_end(self, trial: TrialView, outcome: str) -> list[Decision]:
        """The others may have waited for it."""
        self._members.pop(trial.number, None)
        if outcome == "infeasible":  # another one comes in its place
            self._drawn = None
        if trial.number in self._ranking:
            self._ranking.remove(trial.number)
        return self._round_if_complete()

    def on_search_end(self) -> list[Decision]:
        """The population is complete."""
        self._drawn, self._lured = self._settings.num_samples, -1
        return self._round_if_complete()

    def on_exploit_end(self, trial: TrialView, source: int, done: bool) -> None:
        """It stands where the source stood, or where it stood before."""
        member = self._members.get(trial.number)
        if member is None:
            return
        if not done and member.own is not None:
            member.time, member.since = member.own
        member.own = None
        member.waits = True
        member.saved = member.saved or done
        if source in self._members:
            self._members[source].wanted = False

    def choose(self, runnable: Runnable) -> TrialView | None:
        """Whoever has come least far: those that are not there yet, then a donor that is waited for, then by time.

        Of those who came equally far: who has waited longest. Who copies stands where its donor stands, and could else go before it again
        and again, always to find itself worse than the donor was back then.
        """
        if self._grows() and self._lured != self._seen:
            self._lured = self._seen
            return None
        # of those that are pending the smallest numbers are offered only, whoever has not even begun may be behind them
        waiting = (*runnable.paused, *(number for number, member in self._members.items() if member.waits))
        others = [view for number in waiting if self._may_go_on(number) and (view := runnable.get(number)) is not None]
        candidates = [*runnable.pending, *others]
        if not candidates:
            return None
        chosen = min(candidates, key=lambda view: self._turn(view.number))
        if chosen.number in self._members:
            self._turns += 1
            self._members[chosen.number].waits, self._members[chosen.number].turn = False, self._turns
        return chosen

    def _turn(self, number: int) -> tuple[bool, float, int, int]:
        member = self._members.get(number) or Member()
        return not member.wanted, member.time, member.turn, number

    def _may_go_on(self, number: int) -> bool:
        member = self._members.get(number)
        return member is None or not self.synch or member.time < self._next_sync or member.wanted

    def _grows(self) -> bool:
        """Whether members are still to be drawn, which have not come far at all."""
        return self._drawn != self._settings.num_samples  # a resume may want more of them

    # -- results ---------------------------------------------------------------------------------------------------------

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Any:
        """Once an interval: rank it; among the best it saves, among the worst it exploits."""
        member = self._members.setdefault(trial.number, Member())
        member.waits = member.wanted = False
        if member.own is not None:  # that exploit could not be
            (member.time, member.since), member.own = member.own, None
        time, score = time_of(result, self.time_attr), self.objective.score(result)
        if time is None or score is None:
            return self._missing(self.time_attr if time is None else self.objective.metrics[0])
        if time < self.burn_in_period or time - member.since < self.perturbation_interval:
            return self.CONTINUE
        assert isinstance(score, float)
        member.time, member.saved = time, trial.checkpoint is not None
        if trial.number in self._ranking:
            self._ranking.remove(trial.number)
        self._ranking.add(trial.number, score)
        self.on_scored(trial, time, score)
        if self.synch:
            return self._round(trial.number) if self._is_complete() else self._make_room(trial, "waits for the others")
        member.since = time
        decisions, leaves = self._perturb(trial.number, trial.number)
        if not leaves and self._others_wait(trial.number):
            decisions += self._make_room(trial, "others wait for their turn")
        return decisions

    def on_scored(self, trial: TrialView, time: float, score: float) -> None:
        """A result that counts, before it is decided on: for subclasses that learn. In the fold.

        Args:
            time: in units of ``time_attr``; score: greater is better.
        """

    def exploit_data(self, trial: int, source: int) -> dict[str, Any]:
        """More JSON for the decision that trial copies source: for subclasses. In the fold."""
        return {}

    def _missing(self, name: str) -> Any:
        if not self.require_attrs:
            return self.CONTINUE
        reason = (
            f"{type(self).__name__} needs a number for '{name}' in every result, and this one has none. Report it, or let such results not "
            f"count (require_attrs=False)."
        )
        return Decision("stop", None, reason, {"outcome": "user_error"})

    def _perturb(self, number: int, hand: int | None) -> tuple[list[Decision], bool]:
        """What a trial has to do with its place; and whether that ends its attempt. ``hand``: the one that waits for an answer."""
        member, count, place = self._members[number], len(self._ranking), self._ranking.place(number)
        k = min(math.ceil(count * self.quantile_fraction), count // 2)  # so many are in the upper quantile, and in the lower one
        member.fresh = place < k
        if member.fresh:
            reason = f"{self._standing(number)}: among the best, it may be copied"
            return ([self.save(number, reason)] if self._can_save else []), False
        if place < count - k:
            return [], False
        return self._exploit(number, k, hand)

    def _exploit(self, number: int, k: int, hand: int | None) -> tuple[list[Decision], bool]:
        members, ranking = self._members, self._ranking
        best = [other for other in ranking.best(k) if members[other].fresh and ranking.score(other) > -math.inf]
        donors = [other for other in best if self._can_save or members[other].saved]
        if not donors:
            return (self._advise(hand) if best and hand is not None else []), False
        source = self.rng.choice(donors)
        member, donor = members[number], members[source]
        reason = f"{self._standing(number)}: exploits trial {source} ({self._standing(source)})"
        member.own = (member.time, member.since)
        member.time, member.since = donor.time, donor.since
        donor.wanted = donor.waits and self._can_save
        return [self.exploit(source, reason, trial=number, **self.exploit_data(number, source))], True

    def _standing(self, number: int) -> str:
        ranking = self._ranking
        return f"{self.objective.show(ranking.score(number))}, {ordinal(ranking.place(number) + 1)} of {len(ranking)}"

    def _advise(self, number: int) -> list[Decision]:
        return self._once(
            number, "exploit",
            "nothing can be copied: the best trials have no checkpoints. Report them, as in tune.report(metrics, checkpoint=...), and "
            "begin with tune.get_checkpoint(); or train with a class that defines save_checkpoint and load_checkpoint",
        )  # fmt: skip

    def _once(self, number: int, what: str, text: str) -> list[Decision]:
        """Say something with the answer to a trial, the first time."""
        if what in self._told:
            return []
        self._told.append(what)
        return [self.notice(text, number)]

    # -- taking turns ----------------------------------------------------------------------------------------------------

    def _others_wait(self, number: int) -> bool:
        """Whether somebody who has not come further could run in its place."""
        if self._grows():
            return True
        at = self._members[number].time
        return any(other.waits and other.time <= at for key, other in self._members.items() if key != number)

    def _make_room(self, trial: TrialView, why: str) -> list[Decision]:
        """Pause the trial, unless all that it has done would have to be done again."""
        if self._can_save or trial.checkpoint is not None or (self._warm and not trial.resources.get("gpu")):
            self._members[trial.number].waits = True
            return [self.pause(f"{why} at {self._members[trial.number].time:g} {self.time_attr}", trial.number)]
        return self._once(
            trial.number, "pause",
            "trials are not paused for others to have their turn: they have no checkpoints, so they would have to begin anew. Report "
            "checkpoints, or run as many trials as there is room for",
        )  # fmt: skip

    # -- all at once -----------------------------------------------------------------------------------------------------

    def _is_complete(self) -> bool:
        """Whether the whole population is there."""
        return not self._grows() and all(member.time >= self._next_sync for member in self._members.values())

    def _round_if_complete(self) -> list[Decision]:
        """After a member has gone: whether it was the last that the others have waited for."""
        return self._round(None) if self.synch and len(self._ranking) and self._is_complete() else []

    def _round(self, hand: int | None) -> list[Decision]:
        """Everybody is looked at, the best first: they save before others copy them."""
        members = self._members
        latest = max(member.time for member in members.values())
        for member in members.values():
            member.since = member.time
        self._next_sync += self.perturbation_interval
        if self._next_sync <= latest:
            self._next_sync = latest + self.perturbation_interval
        return [one for number in self._ranking.best(len(self._ranking)) for one in self._perturb(number, hand)[0]]

    # -- new values, outside the fold ------------------------------------------------------------------------------------

    def propose(self, current: Mapping[str, Any], exploration: Exploration, rng: random.Random) -> dict[str, tuple[Any, str]]:
        """New values of the entries that may change: path -> (value, what was done). Not in the fold; must not change the scheduler.

        Args:
            current: path -> the source's value, for those of ``self.paths`` that its config has.
            exploration: what is asked for.
            rng: this exploit's own.
        """
        return self._mutations.propose(current, rng, resample=self.resample_probability, factors=self.perturbation_factors)

    def explore(self, exploration: Exploration) -> Mutated:
        """The source's values, mutated: a function of the seed, the trial and the number of the exploit.

        Raises:
            UserCodeError: a function of the user's raised, or made something that cannot be recorded; names it.
        """
        rng = exploration.stream(self.seed)
        propose = functools.partial(self.propose, exploration=exploration, rng=rng)
        return mutated(exploration, self._mutations, propose, self.custom_explore_fn, rng)
