"""Trials a second in worker processes that are used again and again: 2,000 trials of one report each, default files on.

Beside it stands a bare loop on this machine: two forked processes that get each trial's configuration over a socket, report once, wait for
the answer and tell that they have ended. It keeps no journal, writes no files and decides nothing: the ceiling of any such executor.
"""

from __future__ import annotations

import random

from _common import Medians, Row, main, peer, stopwatch, trials_a_second
from _peers import Channel, ray_trials, serve

TRIALS, WARM_UP = 2_000, 20


def ours() -> dict[str, float]:
    import tunesmith as tune

    def objective(config: dict[str, float]) -> None:
        tune.report(loss=(config["x"] - 1) ** 2 + config["y"])

    return trials_a_second(objective, TRIALS, "local", warm_up=WARM_UP)


def ray() -> dict[str, float]:
    return ray_trials(TRIALS, warm_up=4, reuse=True)


def sockets() -> dict[str, float]:
    def work(channel: Channel) -> None:
        channel.send("ready", -1)
        for number, config in iter(lambda: channel.receive()[0], ()):
            channel.send("report", number, {"loss": (config["x"] - 1) ** 2 + config["y"]})
            channel.receive()
            channel.send("ended", number)

    begun = ended = 0
    with stopwatch() as elapsed:
        for turn in serve(work):
            for channel, (kind, *_) in turn:
                if kind == "report":
                    channel.send("continue")
                    continue
                ended += kind == "ended"
                if begun < TRIALS:
                    channel.send(begun, {"x": random.uniform(-5, 5), "y": 10 ** random.uniform(-3, 0)})
                else:
                    channel.send()  # nothing left
                begun += 1
    if ended != TRIALS:
        raise SystemExit(f"{ended} trials ended")
    return {"trials/s": TRIALS / elapsed()}


def table(found: Medians) -> list[Row]:
    value, bare = found["ours"]["trials/s"], found["sockets"]["trials/s"]
    what = "local trials/s, one report each, reused workers, default files"
    return [
        Row(what, value, target=1_500, peer=peer("ray", "reused actors"), peer_value=found["ray"]["trials/s"]),
        Row(what, value, target=bare / 8, peer="a bare two-worker socket loop", peer_value=bare),
    ]


CASES = {"ours": ours, "sockets": sockets, "ray": ray}

if __name__ == "__main__":
    main(__file__, CASES, table, seldom={"ray": 1})
