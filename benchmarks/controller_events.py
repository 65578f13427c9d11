"""What the controller alone costs per event, and whether it stays flat up to a million events.

A bare loop answers its commands at once: 8 slots, trials of 10 reports, so 13 events each and about 77,000 trials. The cost of making the
events is in the figure.
"""

from __future__ import annotations

import itertools
import time
from collections import deque

from _common import Medians, Row, main

EVENTS, SPAN, REPORTS, SLOTS = 1_000_000, 100_000, 10, 8


def ours() -> dict[str, float]:
    from tunesmith.core import commands as cmd
    from tunesmith.core import events as ev
    from tunesmith.core.controller import Controller
    from tunesmith.schedulers import FIFOScheduler

    controller = Controller(FIFOScheduler())
    spec = {"num_samples": None, "metrics": ["loss"], "modes": ["min"], "seed": 1}
    queue: deque[ev.Event] = deque([ev.ExperimentStarted(spec), ev.CapacityChanged({"cpu": float(SLOTS)})])
    iterations: dict[int, int] = {}
    marks = [time.perf_counter()]
    for count in range(1, EVENTS + 1):
        event = queue.popleft()
        event.at = float(count)
        for command in controller.handle(event)[1]:
            if isinstance(command, cmd.Continue):
                number = command.trial
                iterations[number] += 1
                if iterations[number] > REPORTS:
                    queue.append(ev.AttemptEnded(number, command.attempt, "finished"))
                    del iterations[number]
                    continue
            elif isinstance(command, cmd.Launch):
                number = command.trial
                iterations[number] = 1
                queue.append(ev.AttemptStarted(number, command.attempt))
            elif isinstance(command, cmd.Suggest):
                queue.extend(ev.Suggested(number, {"lr": 0.1}, "random") for number in range(command.first, command.first + command.n))
                continue
            else:
                raise SystemExit(f"unexpected {command!r}")
            metrics = {"loss": 1.0 / count, "training_iteration": iterations[number], "time_total_s": float(count)}
            queue.append(ev.Reported(number, command.attempt, iterations[number], metrics))
        if count % SPAN == 0:
            marks.append(time.perf_counter())
    spans = [(after - before) / SPAN * 1e6 for before, after in itertools.pairwise(marks)]
    return {"us": sum(spans) / len(spans), "last": spans[-1], "last/first": spans[-1] / spans[0]}


def table(found: Medians) -> list[Row]:
    us = found["ours"]
    return [
        Row(f"controller, us/event over {EVENTS:,} events", us["us"], 40, "lower"),
        Row(f"controller, us/event, last {SPAN:,}", us["last"], 40, "lower"),
        Row(f"controller, last {SPAN:,} events / first {SPAN:,}", us["last/first"], 1.3, "lower"),
    ]


CASES = {"ours": ours}

if __name__ == "__main__":
    main(__file__, CASES, table, repeat=3)
