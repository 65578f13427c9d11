"""Trials a second with a process of its own for each, where each builds a small torch model and takes 50 steps of an optimiser.

Counted from the third trial on: the first two import what the optimiser needs at its first use, and the template learns it from them.
Beside it: bare forks of a process that has imported torch, two at a time, as it is, and with those modules imported before.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence

from _common import Medians, Row, beside, main, timed_run
from _peers import bare_forks

TRIALS, LAZY_TRIALS, STEPS = 100, 6, 50


def train(config: dict[str, float]) -> float:
    import torch

    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimiser = torch.optim.Adam(model.parameters(), lr=config["lr"])
    data = torch.randn(64, 8)
    target = data.sum(dim=1, keepdim=True)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(model(data), target)
        loss.backward()
        optimiser.step()
    return loss.item()


def ours() -> dict[str, float]:
    import torch  # noqa: F401

    import tunesmith as tune

    class Ends(tune.Callback):
        def on_trial_complete(self, **_: object) -> None:
            ends.append(time.perf_counter())

    def objective(config: dict[str, float]) -> None:
        tune.report(loss=train(config))

    ends: list[float] = []
    timed_run(objective, TRIALS, "local", {"lr": tune.loguniform(1e-3, 1e-1)}, reuse_actors=False, callbacks=[Ends()])
    return {"trials/s": from_third_on(ends)}


def forks(ahead: bool) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    if ahead:
        for name in imported_by_training():
            importlib.import_module(name)
    return {"trials/s": from_third_on(bare_forks(lambda: print(train({"lr": 0.01})), TRIALS if ahead else LAZY_TRIALS))}


def imported_by_training() -> list[str]:
    """What a child process had to import for it."""
    before = set(sys.modules)
    ours, theirs = os.pipe()
    if os.fork() == 0:
        train({"lr": 0.01})
        os.write(theirs, " ".join(name for name in list(sys.modules) if name not in before and importable(name)).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, encoding="utf-8") as pipe:
        names = pipe.read().split()
    os.wait()
    return names


def importable(name: str) -> bool:
    spec = getattr(sys.modules[name], "__spec__", None)
    return spec is not None and spec.name == name and spec.origin is not None


def from_third_on(ends: Sequence[float]) -> float:
    return (len(ends) - 2) / (ends[-1] - ends[1])


def table(found: Medians) -> list[Row]:
    what = f"local trials/s, {STEPS} steps of torch each, a fresh process each, from the third on"
    bare = {"bare forks after `import torch`": found["lazy"]["trials/s"], "bare forks after all imports": found["ahead"]["trials/s"]}
    return beside(what, found["ours"]["trials/s"], 10, bare)


CASES = {"ours": ours, "lazy": lambda: forks(ahead=False), "ahead": lambda: forks(ahead=True)}

if __name__ == "__main__":
    main(__file__, CASES, table, repeat=3, seldom={"lazy": 2})
