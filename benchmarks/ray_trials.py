"""Trials a second on a Ray cluster of this machine, one report each, default files on: ours and Ray Tune's on the same cluster, in turn.

With actors that serve one trial after the other, and with a fresh one for each. What is measured is from the call of ``run()`` to its
return, after a run that loads what is needed: so the start of the first actors counts, for both.
"""

from __future__ import annotations

from _cluster import joined, same_cluster
from _common import Medians, Row, main, peer, trials_a_second
from _peers import ray_trials

TRIALS, FRESH, WARM_UP = 500, 12, 4


def ours(trials: int, reuse: bool) -> dict[str, float]:
    import tunesmith as tune

    def objective(config: dict[str, float]) -> None:
        tune.report(loss=(config["x"] - 1) ** 2 + config["y"])

    joined()
    return trials_a_second(objective, trials, "ray", warm_up=WARM_UP, reuse_actors=reuse)


def ray(trials: int, reuse: bool) -> dict[str, float]:
    joined()
    return ray_trials(trials, warm_up=WARM_UP, reuse=reuse)


def table(found: Medians) -> list[Row]:
    rows = []
    for what, how in {"reused": "reused actors", "fresh": "fresh actors"}.items():
        theirs = found[f"ray_{what}"]["trials/s"]
        value = found[f"ours_{what}"]["trials/s"]
        rows.append(Row(f"trials/s on Ray, one report each, {how}", value, 3 * theirs, peer=peer("ray", f"Tune, {how}"), peer_value=theirs))
    return rows


CASES = {
    "ours_reused": lambda: ours(TRIALS, True),
    "ray_reused": lambda: ray(TRIALS, True),
    "ours_fresh": lambda: ours(FRESH, False),
    "ray_fresh": lambda: ray(FRESH, False),
}

if __name__ == "__main__":
    with same_cluster():
        main(__file__, CASES, table, repeat=3, seldom={"ray_reused": 1})
