"""Time to tune: a network in PyTorch on handwritten digits, 64 samples of two parameters, at most 20 epochs, two at a time, ASHA.

Seconds per epoch trained, as each stops other trials at other times; and the best accuracy on held-out digits. Ours and Ray Tune train each
trial in a process of its own. Optuna's two processes share a study in SQLite, and are forked from one that has imported everything; each
trains many trials. What this script imports and loads, and the start of Ray's cluster, come before the clock.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

from _common import Medians, Row, main, peer, scratch, stopwatch

SAMPLES, EPOCHS, FIRST, ETA = 64, 20, 1, 3


DIGITS: list[Any] = []
"""Images and numbers to train with, and to test with: a variable of the script, as users have it. It travels with the trials."""


def load() -> None:
    import torch
    from sklearn.datasets import load_digits

    images, numbers = load_digits(return_X_y=True)
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))
    images, numbers = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(numbers)[order]
    DIGITS[:] = images[:1400], numbers[:1400], images[1400:], numbers[1400:]


def accuracies(lr: float, momentum: float) -> Iterator[float]:
    """After each epoch."""
    import torch

    torch.manual_seed(1)
    images, numbers, test_images, test_numbers = DIGITS
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimiser = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(32):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(images[batch]), numbers[batch]).backward()
            optimiser.step()
        with torch.no_grad():
            yield (model(test_images).argmax(1) == test_numbers).float().mean().item()


def imported() -> None:
    """What such a script has imported at its top."""
    import torch

    torch.set_num_threads(1)


def found(seconds: float, epochs: int, best: float) -> dict[str, float]:
    return {"s": seconds, "epochs": epochs, "ms/epoch": 1000 * seconds / epochs, "accuracy": 100 * best}


def ours() -> dict[str, float]:
    imported()
    load()
    import tunesmith as tune

    def train(config: dict[str, float]) -> None:
        for accuracy in accuracies(config["lr"], config["momentum"]):
            tune.report(accuracy=accuracy)

    with stopwatch() as elapsed:
        analysis = tune.run(
            train, config={"lr": tune.loguniform(1e-4, 1), "momentum": tune.uniform(0, 0.99)}, num_samples=SAMPLES, metric="accuracy",
            mode="max", scheduler=tune.ASHAScheduler(max_t=EPOCHS, grace_period=FIRST, reduction_factor=ETA), search_alg="random",
            seed=1, max_concurrent_trials=2, reuse_actors=False, executor="local", verbose=0, storage_path=str(scratch()),
        )  # fmt: skip
    epochs = sum(trial.last_result["training_iteration"] for trial in analysis.trials)
    return found(elapsed(), epochs, analysis.best_result["accuracy"])


def ray_tune() -> dict[str, float]:
    imported()
    load()
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    def train(config: dict[str, float]) -> None:
        imported()
        for accuracy in accuracies(config["lr"], config["momentum"]):
            tune.report({"accuracy": accuracy})

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        train,
        param_space={"lr": tune.loguniform(1e-4, 1), "momentum": tune.uniform(0, 0.99)},
        tune_config=tune.TuneConfig(
            metric="accuracy", mode="max", num_samples=SAMPLES,
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=FIRST, reduction_factor=ETA),
        ),
        run_config=tune.RunConfig(storage_path=str(scratch()), verbose=0),
    )  # fmt: skip
    with stopwatch() as elapsed:
        grid = tuner.fit()
    epochs = sum(result.metrics["training_iteration"] for result in grid)
    return found(elapsed(), epochs, grid.get_best_result(scope="all").metrics_dataframe["accuracy"].max())


def optuna() -> dict[str, float]:
    imported()
    load()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{scratch()}/study.db"
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=FIRST, reduction_factor=ETA)
    study = optuna.create_study(study_name="digits", storage=storage, direction="maximize")

    def objective(trial: optuna.Trial) -> float:
        best = 0.0
        lr, momentum = trial.suggest_float("lr", 1e-4, 1, log=True), trial.suggest_float("momentum", 0, 0.99)
        for epoch, accuracy in enumerate(accuracies(lr, momentum), start=1):
            trial.report(accuracy, epoch)
            best = max(best, accuracy)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    def worker(number: int) -> None:
        sampler = optuna.samplers.RandomSampler(seed=number)
        mine = optuna.load_study(study_name="digits", storage=storage, sampler=sampler, pruner=pruner)
        mine.optimize(objective, n_trials=SAMPLES // 2)

    with stopwatch() as elapsed:
        in_processes(worker)
    values = [trial.intermediate_values for trial in study.trials]
    return found(elapsed(), sum(map(len, values)), max(max(value.values()) for value in values))


def in_processes(worker: Callable[[int], None]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=worker, args=(number,)) for number in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a process of Optuna's failed")


def table(found: Medians) -> list[Row]:
    mine, ray, other = found["ours"], found["ray"], found["optuna"]
    best, time = "best accuracy in %, 64 samples of a torch model with ASHA", "ms per epoch trained, 64 samples of a torch model with ASHA"
    print(*(f"{name}: {case['s']:.1f} s, {case['epochs']:.0f} epochs" for name, case in found.items()), sep="; ")
    return [
        Row(time, mine["ms/epoch"], 0.1 * ray["ms/epoch"], "lower", peer("ray", "Tune"), ray["ms/epoch"]),
        Row(time, mine["ms/epoch"], 0.8 * other["ms/epoch"], "lower", peer("optuna", "halving, 2 processes, SQLite"), other["ms/epoch"]),
        Row(best, mine["accuracy"], None, "higher", peer("ray", "Tune"), ray["accuracy"]),
        Row(best, mine["accuracy"], None, "higher", peer("optuna"), other["accuracy"]),
    ]


CASES = {"ours": ours, "ray": ray_tune, "optuna": optuna}

if __name__ == "__main__":
    main(__file__, CASES, table, seldom={"ray": 1})
