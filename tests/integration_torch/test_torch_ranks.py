"""What ``distributed`` promises of one trial: its ranks are in step, stop together, and what becomes of them when one is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.integration.torch import distributed, prepare_data_loader, prepare_model
from tunesmith.trainable import TrainableSpec
from tunesmith.trainable.session import GO_ON, Answer

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

OWN = ("training_iteration", "time_this_iter_s", "time_total_s")


def reported(channel):
    return [{key: value for key, value in metrics.items() if key not in OWN} for metrics in channel.metrics]


def rank():
    return tune.get_context().get_world_rank()


def note(config, text):
    with open(os.path.join(config["notes"], f"rank{rank()}"), "a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def notes(tmp_path):
    return [(tmp_path / f"rank{one}").read_text().split("\n")[:-1] for one in (0, 1)]


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def total(value):
    tensor = torch.tensor([float(value)])
    dist.all_reduce(tensor)
    return tensor.item()


def in_step(config):
    context = tune.get_context()
    note(config, (random.random(), torch.rand(1).item(), context.seed, torch.get_num_threads()))
    start = tune.get_checkpoint()
    first = start.to_dict()["step"] + 1 if start else 0
    for step in range(first, 4):
        tune.report({"sum": total(context.get_world_rank() + 1), "step": step, "rank": rank()}, checkpoint={"step": step})
    note(config, f"end {tune.get_checkpoint().to_dict()['step']} {context.get_local_rank()} {os.environ['RANK']}")
    return {"sum": -1.0, "rank": rank()}


@pytest.fixture
def two_threads():
    """That this process uses, and each rank should not."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("fork", [True, False])
def test_rank_0_reports_for_all_and_all_know_the_same(attempt, tmp_path, fork, two_threads):
    ended, channel = attempt(distributed(in_step, num_workers=2), {"notes": str(tmp_path)}, fork=fork)
    assert ended.outcome == "finished", ended.error
    assert reported(channel) == [{"sum": 3.0, "step": step, "rank": 0} for step in range(4)] + [{"sum": -1.0, "rank": 0}]
    first, second = notes(tmp_path)
    assert first[0] == second[0]
    assert first[0].endswith(", 5, 1)")
    assert [first[1], second[1]] == ["end 3 0 0", "end 3 1 1"]
    path = str(tmp_path / "trial" / "checkpoint_000001")
    ended, channel = attempt(
        distributed(in_step), {"notes": str(tmp_path)}, fork=fork, checkpoint=path, checkpoint_id="3/checkpoint_000001", iteration=2
    )
    assert (ended.outcome, [metrics.get("step") for metrics in reported(channel)]) == ("finished", [2, 3, None])


def stops(config):
    note(config, os.getpid())
    try:
        for step in range(100):
            total(1)
            if config["all"] or rank() == 0:
                tune.report(step=step)
    finally:
        threading.Event().wait(0.2)  # it has time
        note(config, f"unwound {step}")


@pytest.mark.parametrize("everybody", [True, False])
def test_a_stop_ends_all_ranks_also_those_that_wait_for_others(attempt, tmp_path, everybody):
    made = distributed(stops, num_workers=2, grace_s=1)
    config = {"notes": str(tmp_path), "all": everybody}
    ended, channel = attempt(made, config, lambda event: Answer("stop") if event.iteration == 3 else GO_ON)
    assert (ended.outcome, ended.error, len(channel.events)) == ("stopped", None, 3)
    first, second = notes(tmp_path)
    assert first[1] == "unwound 2"
    if everybody:
        assert second[1] == "unwound 2"
    assert not any(alive(one[0]) for one in (first, second))


def waits_for_ever(config):
    note(config, os.getpid())
    tune.report(a=1)
    if rank() == 0:
        tune.report(a=2)
    else:
        threading.Event().wait()


def test_ranks_that_do_not_hear_are_ended(attempt, tmp_path):
    made = distributed(waits_for_ever, num_workers=2, grace_s=0.2)
    ended, _ = attempt(made, {"notes": str(tmp_path)}, lambda event: Answer("stop") if event.iteration == 2 else GO_ON)
    assert ended.outcome == "stopped"
    assert not any(alive(one[0]) for one in notes(tmp_path))


def fails(config):
    note(config, os.getpid())
    tune.report(a=1, checkpoint={"x": 1})
    if rank() == 1:
        what = config["what"]
        if what == "raise":
            raise ValueError("too large")
        if what == "infeasible":
            raise tune.Infeasible("does not fit")
        if what == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if what == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)
    total(1)
    tune.report(a=2)


@pytest.mark.parametrize(
    ("what", "outcome", "message"),
    [
        ("raise", "user_error", "rank 1 of 2 failed: ValueError: too large (test_torch_ranks.py:"),
        ("infeasible", "infeasible", "rank 1 of 2 failed: Infeasible: does not fit"),
        ("memory", "oom_gpu", "rank 1 of 2 failed: OutOfMemoryError: CUDA out of memory"),
        ("exit", "user_error", "rank 1 of 2 failed: its process ended with exit code 3"),
        ("kill", "worker_lost", "rank 1 of 2 failed: its process was killed by SIGKILL"),
    ],
)
def test_a_rank_that_fails_fails_the_trial_and_is_named(attempt, tmp_path, what, outcome, message):
    ended, channel = attempt(distributed(fails), {"notes": str(tmp_path), "what": what})
    assert (ended.outcome, len(channel.events)) == (outcome, 1), ended.error
    assert message in ended.error["message"]
    if what == "raise":
        assert 'raise ValueError("too large")' in ended.error["traceback"]
        assert os.path.basename(ended.error["where"]).startswith("test_torch_ranks.py:")
    assert not any(alive(one[0]) for one in notes(tmp_path))


def cannot_meet(config):
    raise AssertionError


def test_a_rank_that_cannot_begin_is_named(attempt):
    ended, _ = attempt(distributed(cannot_meet, num_workers=2, backend="no such"))
    assert ended.outcome == "user_error"
    assert "failed: " in ended.error["message"]


def trains(config, data):
    torch.manual_seed(rank())  # other weights and other shuffling by chance, if nothing brings them together
    model = prepare_model(torch.nn.Linear(2, 1))
    loader = prepare_data_loader(DataLoader(data, batch_size=4, shuffle=True))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for _ in range(2):
        epoch = []
        for inputs, targets in loader:
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(model(inputs), targets).backward()
            optimiser.step()
            epoch += inputs[:, 0].int().tolist()
        seen.append(epoch)
    note(config, repr(([parameter.tolist() for parameter in model.parameters()], seen)))


def test_gradients_are_in_step_and_data_is_parted(attempt, tmp_path):
    inputs = torch.stack([torch.arange(16.0), torch.ones(16)], 1)
    bound = tune.with_parameters(trains, data=TensorDataset(inputs, inputs[:, :1] / 16))
    ended, _ = attempt(distributed(bound, num_workers=2), {"notes": str(tmp_path)})
    assert ended.outcome == "finished", ended.error
    (weights, seen), (other_weights, other_seen) = (eval(one[0]) for one in notes(tmp_path))
    assert weights == other_weights
    for epoch, other in zip(seen, other_seen, strict=True):
        assert sorted(epoch + other) == list(range(16))
    assert seen[0] != seen[1]


def test_helpers_do_nothing_where_there_is_nothing_to_do(attempt):
    model, loader = torch.nn.Linear(1, 1), DataLoader(TensorDataset(torch.ones(3)))
    assert prepare_model(model) is model
    assert prepare_data_loader(loader) is loader

    def alone(config):
        assert prepare_model(model) is model
        tune.report(size=tune.get_context().get_world_size(), initialised=dist.is_initialized())

    ended, channel = attempt(distributed(alone, num_workers=1))
    assert ended.outcome == "finished", ended.error
    assert reported(channel) == [{"size": 1, "initialised": True}]


class Endless(IterableDataset):
    def __iter__(self):
        return iter([torch.ones(1)])


def test_what_cannot_be_parted_is_refused(attempt):
    def endless(config):
        prepare_data_loader(DataLoader(Endless()))

    ended, _ = attempt(distributed(endless))
    assert "has a sampler of its own" in ended.error["message"]


@pytest.fixture
def second_of_two(monkeypatch):
    """As in a rank; the process group itself has no say in what a loader does."""
    for name, answer in {"is_initialized": True, "get_world_size": 2, "get_rank": 1, "is_available": True}.items():
        monkeypatch.setattr(dist, name, lambda answer=answer: answer)


NUMBERS = TensorDataset(torch.arange(20))


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": RandomSampler(NUMBERS, replacement=True)},
        {"sampler": RandomSampler(NUMBERS, replacement=True, num_samples=10)},
        {"sampler": RandomSampler(NUMBERS, num_samples=10)},
        {"sampler": SequentialSampler(range(5))},
        {"sampler": range(5)},
        {"batch_sampler": BatchSampler(SequentialSampler(NUMBERS), 4, True)},
        {"batch_size": None},
    ],
)
def test_samplers_of_ones_own_are_refused(second_of_two, options):
    with pytest.raises(SpecError, match="the loader has a sampler of its own"):
        prepare_data_loader(DataLoader(NUMBERS, **options))


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"sampler": RandomSampler(NUMBERS)}])
def test_those_that_torch_makes_are_parted_and_settings_stay(second_of_two, options):
    prepared = prepare_data_loader(DataLoader(NUMBERS, batch_size=4, drop_last=True, in_order=False, **options))
    assert (prepared.batch_size, prepared.drop_last, prepared.in_order) == (4, True, False)
    assert len(prepared) == 2
    found = [int(number) for (batch,) in prepared for number in batch]
    assert len(set(found)) == 8
    assert (found == list(range(1, 17, 2))) == (not options)


class Trainer(tune.Trainable):
    def step(self):
        return {}


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (Trainer, {}, "is a class"),
        (tune.with_resources(in_step, {"cpu": 2}), {}, "resources_per_worker"),
        (in_step, {"num_workers": 0}, "num_workers must be a whole number"),
        (in_step, {"num_workers": True}, "num_workers"),
        (in_step, {"backend": "nccl"}, "needs a GPU for each worker"),
        (in_step, {"backend": 3}, "backend=3"),
        (in_step, {"resources_per_worker": {"cpu": -1}}, "resources_per_worker"),
        (in_step, {"placement_strategy": "NEAR"}, "strategy"),
        (in_step, {"timeout_s": 0}, "timeout_s"),
        (in_step, {"grace_s": float("nan")}, "grace_s"),
        (lambda: 1, {}, "takes no argument"),
    ],
)
def test_wrong_arguments_are_refused(function, arguments, message):
    with pytest.raises(SpecError, match=message):
        distributed(function, **arguments)


def test_resources_are_bundles_of_which_the_sum_counts():
    spec = TrainableSpec.of(distributed(in_step, 3, resources_per_worker={"cpu": 2, "gpu": 1}, placement_strategy="SPREAD"))
    assert spec.name == "in_step"
    assert spec.resources.bundles == [{"cpu": 2.0, "gpu": 1.0}] * 3
    assert spec.resources.strategy == "SPREAD"
    assert spec.resources_for({}) == {"cpu": 6.0, "gpu": 3.0}
    assert spec.target.setup.backend == "nccl"
    assert TrainableSpec.of(distributed(in_step)).target.setup.backend == "gloo"
