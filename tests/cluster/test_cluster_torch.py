"""Trials of several ranks on a Ray cluster: each rank in a bundle of its own, on several nodes, in step; and what becomes of them."""

from __future__ import annotations

import os
import signal

import pytest
import ray
import torch
from torch import distributed as dist

import tunesmith as tune
from tunesmith.executors import RayExecutor
from tunesmith.integration.torch import distributed, prepare_model

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]


def gathered(value):
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def train(config):
    context = tune.get_context()
    torch.manual_seed(context.get_world_rank())
    model = prepare_model(torch.nn.Linear(4, 1))
    optimiser = torch.optim.SGD(model.parameters(), lr=config["lr"])
    saved = tune.get_checkpoint()
    first = saved.to_dict()["step"] + 1 if saved else 0
    for step in range(first, 4):
        optimiser.zero_grad()
        model(torch.ones(2, 4) * context.get_world_rank()).sum().backward()
        optimiser.step()
        config["trouble"](step)
        weights = gathered([parameter.tolist() for parameter in model.parameters()])
        nodes = gathered((ray.get_runtime_context().get_node_id() if ray.is_initialized() else "", os.getpid()))
        tune.report(
            loss=step, first=first, equal=all(one == weights[0] for one in weights), pids=len({pid for _, pid in nodes}),
            remote=nodes[1][0], lr=config["lr"], flags="".join(gathered(os.environ.get("OF_THE_DRIVER", "-"))), checkpoint={"step": step},
        )  # fmt: skip


def nothing(step):
    pass


def run(tmp_path, trouble=nothing, **options):
    options = {"config": {"lr": tune.grid_search([0.1, 0.01]), "trouble": trouble}, **options}
    return tune.run(
        distributed(train, num_workers=2, placement_strategy="STRICT_SPREAD", grace_s=1), metric="loss", mode="max", name="x",
        storage_path=tmp_path / "results", executor=RayExecutor(), verbose=0, **options,
    )  # fmt: skip


def test_ranks_run_on_several_nodes_and_are_in_step(tmp_path, monkeypatch):
    monkeypatch.setenv("OF_THE_DRIVER", "1")
    analysis = run(tmp_path)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    for trial in analysis.trials:
        last = trial.last_result
        assert (last["training_iteration"], last["equal"], last["pids"], last["flags"]) == (4, True, 2, "11")
        assert last["remote"] in {node["NodeID"] for node in ray.nodes()}


def test_a_stop_ends_the_ranks_everywhere(tmp_path, ray_cluster):
    analysis = run(tmp_path, stop={"training_iteration": 2})
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [2, 2]
    ray_cluster.all_free()


def test_a_rank_that_is_killed_elsewhere_is_missed_and_the_trial_goes_on_from_its_checkpoint(tmp_path):
    mark = str(tmp_path / "killed")

    def killed_once(step):
        if step == 2 and tune.get_context().get_world_rank() == 1 and not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

    analysis = run(tmp_path, killed_once, config={"lr": 0.1, "trouble": killed_once})
    (trial,) = analysis.trials
    assert (trial.status, trial.last_result["loss"], trial.last_result["first"]) == ("TERMINATED", 3, 2)


def test_a_rank_that_raises_elsewhere_is_named(tmp_path):
    def raises(step):
        if tune.get_context().get_world_rank() == 1:
            raise ValueError("too large")

    analysis = run(tmp_path, raises, config={"lr": 0.1, "trouble": raises}, raise_on_failed_trial=False)
    (trial,) = analysis.trials
    assert trial.status == "ERROR"
    text = next((tmp_path / "results").glob("*/*/error.txt")).read_text()
    assert "rank 1 of 2 failed: ValueError: too large" in text
    assert 'raise ValueError("too large")' in text
