"""Distributed trials in experiments: real training on handwritten digits, two trials of two workers at a time, and what breaks them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import distributed as dist
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import tunesmith as tune
from tunesmith.integration.torch import distributed, prepare_data_loader, prepare_model
from tunesmith.trainable.command import command

pytestmark = [pytest.mark.slow, pytest.mark.heavy]


@pytest.fixture(autouse=True)
def four_cpus(monkeypatch):
    """Two trials of two workers fit, however small the machine is."""
    monkeypatch.setenv("TUNESMITH_NUM_CPUS", "4")


def gone(pid, seconds=5.0):
    """Waits for the end of a process that is nobody's child here."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        ready, _, _ = select.select([handle], [], [], seconds)
        os.close(handle)
        return bool(ready)
    return True


def gathered(value):
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def train_digits(config):
    pid = Path(config["folder"], f"pid_{tune.get_trial_id()}_{tune.get_context().get_world_rank()}_{os.getpid()}")
    pid.touch()
    images, digits = load_digits(return_X_y=True)
    images, digits = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits)
    torch.manual_seed(0)
    order = torch.randperm(len(digits))
    train, test = order[:1400], order[1400:]
    torch.manual_seed(tune.get_context().get_world_rank())  # weights must come from rank 0
    model = prepare_model(torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)))
    optimiser = torch.optim.Adam(model.parameters(), lr=config["lr"])
    first = 0
    if (saved := tune.get_checkpoint()) is not None:
        state = saved.to_dict()
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["epoch"] + 1
        pid.write_text(str(first))
    loader = prepare_data_loader(DataLoader(TensorDataset(images[train], digits[train], train), batch_size=32, shuffle=True))
    for epoch in range(first, config["epochs"]):
        seen = []
        for inputs, targets, indices in loader:
            optimiser.zero_grad()
            cross_entropy(model(inputs), targets).backward()
            optimiser.step()
            seen += indices.tolist()
        weights = hashlib.sha256(b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())).hexdigest()
        hashes, shards = gathered(weights), gathered(set(seen))
        with torch.no_grad():
            accuracy = (model(images[test]).argmax(1) == digits[test]).float().mean().item()
        config.get("trouble", lambda epoch: None)(epoch)
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch}
        equal, apart, together = len(set(hashes)) == 1, not shards[0] & shards[1], len(shards[0] | shards[1])
        tune.report(accuracy=accuracy, equal=equal, apart=apart, all=together, checkpoint=state)


def pids(folder):
    return [int(path.name.rpartition("_")[2]) for path in folder.glob("pid_*")]


def test_two_trials_of_two_workers_train_at_once_and_each_is_in_step(tmp_path):
    def both(epoch):
        if epoch == 0 and tune.get_context().get_world_rank() == 0:
            (tmp_path / tune.get_trial_id()).touch()
            until = time.monotonic() + 60
            while len([path for path in tmp_path.iterdir() if path.name[0] in "0123456789abcdef" and path.is_file()]) < 2:
                assert time.monotonic() < until, "the other trial does not run"

    analysis = tune.run(
        distributed(train_digits, num_workers=2),
        config={"lr": tune.grid_search([1e-2, 3e-3]), "epochs": 4, "folder": str(tmp_path), "trouble": both},
        metric="accuracy", mode="max", storage_path=tmp_path / "results", name="ddp", verbose=0, executor="local",
    )  # fmt: skip
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert analysis.best_result["accuracy"] > 0.85
    for trial in analysis.trials:
        result = trial.last_result
        assert (result["equal"], result["apart"], result["all"], result["training_iteration"]) == (True, True, 1400, 4)
    assert all(gone(pid) for pid in pids(tmp_path))


def test_asha_stops_trials_in_the_middle_and_leaves_no_process(tmp_path):
    analysis = tune.run(
        distributed(train_digits, num_workers=2, grace_s=2),
        config={"lr": tune.grid_search([1e-2, 3e-3, 1e-5, 1e-6]), "epochs": 9, "folder": str(tmp_path)},
        metric="accuracy", mode="max", scheduler=tune.ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        storage_path=tmp_path / "results", name="asha", verbose=0, executor="local",
    )  # fmt: skip
    lasts = [trial.last_result["training_iteration"] for trial in analysis.trials]
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4
    assert min(lasts) < 9
    assert max(lasts) == 9
    assert len(pids(tmp_path)) == 8
    assert all(gone(pid) for pid in pids(tmp_path))


def test_a_rank_that_is_killed_begins_again_from_the_checkpoint(tmp_path):
    def killed_once(epoch):
        mark = tmp_path / "killed"
        if epoch == 2 and tune.get_context().get_world_rank() == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    analysis = tune.run(
        distributed(train_digits, num_workers=2), config={"lr": 1e-2, "epochs": 4, "folder": str(tmp_path), "trouble": killed_once},
        metric="accuracy", mode="max", storage_path=tmp_path / "results", name="killed", verbose=0, executor="local",
    )  # fmt: skip
    (trial,) = analysis.trials
    assert (trial.status, trial.last_result["training_iteration"], trial.last_result["equal"]) == ("TERMINATED", 4, True)
    began = [text for path in tmp_path.glob("pid_*") if (text := path.read_text())]
    assert began in (["2", "2"], ["3", "3"])  # both ranks of the second attempt; rank 0 may have reported before the other was missed


SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[2])
import tunesmith as tune
from tunesmith.integration.torch import distributed
from test_torch_trials import train_digits

root = sys.argv[1]

def wait(epoch):
    if epoch == 2 and not os.path.exists(os.path.join(root, "again")):
        if tune.get_context().get_world_rank() == 0:
            open(os.path.join(root, "reached"), "w").close()
        import threading
        threading.Event().wait()

if __name__ == "__main__":
    analysis = tune.run(
        distributed(train_digits, num_workers=2), config={"lr": 1e-2, "epochs": 4, "folder": root, "trouble": wait}, name="x",
        metric="accuracy", mode="max", storage_path=os.path.join(root, "results"), verbose=0, executor="local", resume="AUTO",
    )
    (trial,) = analysis.trials
    print(trial.status, trial.last_result["training_iteration"], trial.last_result["equal"])
"""


def test_a_killed_experiment_goes_on_from_its_checkpoints(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path), str(Path(__file__).parent)]
    driver = subprocess.Popen(command)
    until = time.monotonic() + 60
    waiting = select.poll()
    while not (tmp_path / "reached").exists():
        assert time.monotonic() < until
        assert driver.poll() is None
        waiting.poll(10)
    driver.kill()
    driver.wait()
    assert all(gone(pid) for pid in pids(tmp_path))
    (tmp_path / "again").touch()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.stdout.split() == ["TERMINATED", "4", "True"], done.stderr
    assert [path.read_text() for path in tmp_path.glob("pid_*")].count("2") == 2


TORCHRUN = """
import os, sys
import torch
from torch import distributed as dist
import tunesmith as tune

dist.init_process_group("gloo")
rank = tune.get_context().get_world_rank()
open(os.path.join(os.path.dirname(__file__), f"pid_{tune.get_trial_id()}_{rank}_{os.getpid()}"), "w").close()
for step in range(100):
    total = torch.tensor([float(sys.argv[2]) + rank])
    dist.all_reduce(total)
    tune.report(total=total.item(), rank=rank, size=tune.get_context().get_world_size())
"""


def test_torchrun_with_two_trials_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    (tmp_path / "train.py").write_text(TORCHRUN, encoding="utf-8")
    program = command("torchrun --standalone --nproc-per-node 2 train.py --lr {lr}", cwd=tmp_path)
    analysis = tune.run(
        tune.with_resources(program, {"cpu": 2}), config={"lr": tune.grid_search([1.0, 2.0])}, stop={"training_iteration": 4},
        metric="total", mode="max", storage_path=tmp_path / "results", name="x", verbose=0, executor="local",
    )  # fmt: skip
    lasts = [trial.last_result for trial in analysis.trials]
    assert [trial.trainable_name for trial in analysis.trials] == ["train"] * 2
    assert [(last["total"], last["rank"], last["size"], last["training_iteration"]) for last in lasts] == [(3.0, 0, 2, 4), (5.0, 0, 2, 4)]
    assert len(pids(tmp_path)) == 4
    assert all(gone(pid) for pid in pids(tmp_path))
