"""How long a suggestion takes when there is something to learn from: ours and Optuna's, on equal results, in one run.

Results of random configurations are handed over, without the clock. Then suggestions are asked for one by one, each is told a result, and
the clock runs for all of that.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator

from _common import Medians, Row, main, peer

Point = dict[str, float]


def loss(point: Point) -> float:
    """A bent valley; the scale of the parameters differs."""
    values = [*point.values()]
    return sum((value - 0.3) ** 2 * (1 + at % 3) for at, value in enumerate(values)) + math.sin(5 * values[0])


def known(dimensions: int, count: int) -> Iterator[tuple[Point, float]]:
    rng = random.Random(0)
    for _ in range(count):
        point = {f"x{at}": rng.random() for at in range(dimensions)}
        yield point, loss(point)


def median_ms(step: Callable[[], None], times: int) -> dict[str, float]:
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        step()
        took.append(time.perf_counter() - begin)
    return {"ms": statistics.median(took) * 1e3}


def ours(name: str, dimensions: int, count: int, times: int) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        import tunesmith as tune
        from tunesmith.create import create_searcher
        from tunesmith.search import Proposal
        from tunesmith.space import Space

        def tell(value: float) -> None:
            nonlocal asked
            searcher.on_trial_complete(str(asked), {"loss": value, "training_iteration": 1, "trial_id": str(asked)})
            asked += 1

        def step() -> None:
            answer = searcher.propose(asked, str(asked))
            assert isinstance(answer, Proposal)
            tell(loss(answer.values))

        searcher, asked = create_searcher(name), 0
        space = Space.parse({f"x{at}": tune.uniform(0, 1) for at in range(dimensions)})
        searcher.bind(space, "loss", "min", 0, budget=count + times, concurrency=1)
        for point, value in known(dimensions, count):
            searcher.on_replayed(asked, str(asked), point)
            tell(value)
        step()  # what is imported and compiled at the first question
        return median_ms(step, times)

    return measure


def optunas(sampler: str, dimensions: int, count: int, times: int) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=0))
        axes = {f"x{at}": optuna.distributions.FloatDistribution(0, 1) for at in range(dimensions)}
        study.add_trials([optuna.create_trial(params=point, distributions=axes, value=value) for point, value in known(dimensions, count)])

        def step() -> None:
            trial = study.ask()
            study.tell(trial, loss({name: trial.suggest_float(name, 0, 1) for name in axes}))

        step()
        return median_ms(step, times)

    return measure


SIZES = {"tpe": ((10, 1000, 30, 1.5), (1, 4000, 30, None)), "gp": ((5, 60, 5, 100.0), (10, 60, 5, 100.0))}
"""Dimensions, results, suggestions, and the milliseconds to stay below."""
SAMPLERS = {"tpe": "TPESampler", "gp": "GPSampler"}
CASES: dict[str, Callable[[], dict[str, float]]] = {}
for _name, _sizes in SIZES.items():
    for _dimensions, _count, _times, _ in _sizes:
        CASES[f"{_name} {_dimensions}"] = ours(_name, _dimensions, _count, _times)
        CASES[f"optuna {_name} {_dimensions}"] = optunas(SAMPLERS[_name], _dimensions, _count, _times)


def table(found: Medians) -> list[Row]:
    rows = []
    for name, sizes in SIZES.items():
        for dimensions, count, _, target in sizes:
            what = f"{name.upper()}, ms/suggestion after {count:,} results in {dimensions} dimension{'s' * (dimensions > 1)}"
            theirs = found[f"optuna {name} {dimensions}"]["ms"]
            rows.append(Row(what, found[f"{name} {dimensions}"]["ms"], target, "lower", peer("optuna", SAMPLERS[name]), theirs))
    return rows


if __name__ == "__main__":
    for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_threads, "1")  # before numpy is loaded, here and in the processes that measure
    main(__file__, CASES, table, repeat=3)
