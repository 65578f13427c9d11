"""The state of a plain PyTorch loop: saved and restored in one call, bit by bit."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.parallel import DistributedDataParallel
from torch.optim import lr_scheduler

import tunesmith as tune
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.integration.torch import TrainState
from tunesmith.integration.torch_state import rng_state, set_rng_state
from tunesmith.testing import FrameworkKit

pytestmark = [pytest.mark.slow, pytest.mark.heavy]


def digits():
    images, numbers = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(numbers)


def network(hidden=16):
    layers = torch.nn.Linear(64, hidden), torch.nn.BatchNorm1d(hidden), torch.nn.Dropout(0.2), torch.nn.Linear(hidden, 10)
    return torch.nn.Sequential(*layers)


def one_epoch(model, optimizer, images, numbers):
    model.train()
    for part in torch.randperm(len(images)).split(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[part]), numbers[part]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return torch.nn.functional.cross_entropy(model(images), numbers).item()


def weights(model):
    return torch.cat([values.detach().flatten().double() for values in model.state_dict().values()]).numpy().tobytes()


def train(config):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=0.9)
    state = TrainState(model=model, optimizer=optimizer, scheduler=lr_scheduler.StepLR(optimizer, step_size=2))
    start = state.restore().get("epoch", 0)
    config["diary"].begins(start, weights(model))
    for epoch in range(start, config["epochs"]):
        loss = one_epoch(model, optimizer, *digits())
        tune.report(loss=loss, checkpoint=state.checkpoint(epoch=epoch + 1))
        config["diary"].trained(epoch + 1, weights(model))


class TestTrainState(FrameworkKit):
    train = staticmethod(train)


SCHEDULERS = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
    "restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3),
    "milestones": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 4]),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=optimizer.param_groups[0]["lr"], total_steps=8),
    "sequence": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer, total_iters=2), lr_scheduler.ExponentialLR(optimizer, 0.8)], milestones=[2]
    ),
}


def make(scheduler, lr=0.1, decay=0.0):
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=decay)
    parts = {"model": model, "optimizer": optimizer, "scheduler": SCHEDULERS[scheduler](optimizer)}
    return model, optimizer, parts["scheduler"], TrainState(**parts, scaler=torch.amp.GradScaler("cpu"))


def go_on(made, epochs):
    """Trains, and returns the learning rates."""
    model, optimizer, scheduler, _ = made
    images, numbers = digits()
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        one_epoch(model, optimizer, images, numbers)
        scheduler.step()
    return rates


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_training_after_a_restore_equals_training_without_an_interruption(tmp_path, scheduler):
    whole = make(scheduler)
    rates = go_on(whole, 3)
    whole[-1].save(tmp_path)
    rates += go_on(whole, 3)
    torch.manual_seed(7)
    rest = make(scheduler)
    assert rest[-1].restore(tmp_path) == {}
    assert go_on(rest, 3) == rates[3:]
    assert weights(rest[0]) == weights(whole[0])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_another_learning_rate_of_the_config_is_not_undone(tmp_path, scheduler):
    donor = make(scheduler, 0.1)
    go_on(donor, 3)
    donor[-1].save(tmp_path)
    other = make(scheduler, 0.04, decay=0.01)
    other[-1].restore(tmp_path)
    assert weights(other[0]) == weights(donor[0])
    expected = go_on(make(scheduler, 0.04), 6)
    assert go_on(other, 3) == pytest.approx(expected[3:], rel=1e-9)
    assert other[1].param_groups[0]["weight_decay"] == 0.01


def test_other_settings_of_a_scheduler_are_not_undone(tmp_path):
    rates = []
    for gamma in (0.5, 0.1):
        optimizer = torch.optim.SGD(network().parameters(), lr=1.0)
        state = TrainState(optimizer=optimizer, scheduler=lr_scheduler.ExponentialLR(optimizer, gamma))
        if rates:
            state.restore(tmp_path)
        optimizer.step()
        state._parts["scheduler"].step()
        rates.append(optimizer.param_groups[0]["lr"])
        state.save(tmp_path)
    assert rates == [0.5, pytest.approx(0.05)]


def test_a_plateau_that_was_reached_stays_reached(tmp_path):
    for lr, expected in [(1.0, 0.1), (1.0, 0.1), (0.5, 0.05)]:
        optimizer = torch.optim.SGD(network().parameters(), lr=lr)
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        state = TrainState(optimizer=optimizer, scheduler=scheduler)
        if any(tmp_path.iterdir()):
            state.restore(tmp_path)
        else:
            for loss in (1.0, 2.0):
                scheduler.step(loss)
            state.save(tmp_path)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        assert scheduler.best == 1.0


def test_each_group_keeps_its_own(tmp_path):
    def build(body, head):
        model = network()
        groups = [{"params": model[0].parameters(), "lr": body}, {"params": model[3].parameters(), "betas": (0.8, 0.9)}]
        return torch.optim.AdamW(groups, lr=head)

    TrainState(optimizer=build(0.1, 0.2)).save(tmp_path)
    optimizer = build(0.1, 0.4)
    TrainState(optimizer=optimizer).restore(tmp_path)
    assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == [(0.1, (0.9, 0.999)), (0.4, (0.8, 0.9))]


@pytest.mark.parametrize(("before", "now"), [(0.0, 0.3), (0.3, 0.0), (torch.tensor(0.1), torch.tensor(0.3))])
def test_learning_rates_of_a_kind(tmp_path, before, now):
    TrainState(optimizer=torch.optim.Adam(network().parameters(), lr=before)).save(tmp_path)
    optimizer = torch.optim.Adam(network().parameters(), lr=now)
    TrainState(optimizer=optimizer).restore(tmp_path)
    assert type(optimizer.param_groups[0]["lr"]) is type(now)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(float(now))


def draw():
    numpys = [np.random.rand(), np.random.standard_normal()]  # noqa: NPY002 - these are what is restored
    return [random.random(), random.gauss(0, 1), *numpys, torch.rand(2).tolist(), torch.randn(3).tolist()]


def test_random_numbers_go_on_where_they_were():
    draw()
    state = rng_state()
    first = draw()
    assert draw() != first
    set_rng_state(state)
    assert draw() == first


def test_values_come_back_as_they_were(tmp_path):
    model = network()
    values = {"epoch": 3, "best": 0.5, "name": "a", "seen": [1, (2, None)], "mean": torch.arange(3.0), "nested": {"on": True}}
    TrainState(model=model).save(tmp_path, **values, count=np.int64(4), share=np.float32(0.5))
    back = TrainState(model=model).restore(tmp_path)
    assert back.pop("mean").tolist() == [0, 1, 2]
    assert back == {**{name: value for name, value in values.items() if name != "mean"}, "count": 4, "share": 0.5}
    assert type(back["count"]) is int


def test_the_files_of_a_checkpoint_last_as_long_as_it():
    model = network()
    checkpoint = TrainState(model=model).checkpoint(epoch=1)
    folder = Path(checkpoint.path)
    assert sorted(path.name for path in folder.iterdir()) == ["_rest.pt", "model.pt"]
    fresh = network()
    fresh.load_state_dict(torch.load(folder / "model.pt"))
    assert weights(fresh) == weights(model)
    del checkpoint
    assert not folder.exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # used by torch.compile itself
def test_wrapped_and_bare_models_have_the_same_checkpoints(tmp_path):
    model = network()
    wrapped = [torch.nn.DataParallel(model), torch.compile(model), torch.compile(torch.nn.DataParallel(model))]
    bare = DistributedDataParallel.__new__(DistributedDataParallel)  # its __init__ needs other processes
    torch.nn.Module.__init__(bare)
    bare.module = model
    for number, each in enumerate([*wrapped, bare]):
        folder = tmp_path / str(number)
        folder.mkdir()
        TrainState(model=each).save(folder)
        fresh = network()
        TrainState(model=fresh).restore(folder)
        assert weights(fresh) == weights(model)
        TrainState(model=each).restore(folder)


class Counter:
    """Any object with the two methods."""

    def __init__(self, holds):
        self.holds = holds

    def state_dict(self):
        return {"holds": self.holds}

    def load_state_dict(self, state):
        self.holds = state["holds"]


def test_what_could_not_be_read_safely_is_refused_when_it_is_saved(tmp_path):
    state = TrainState(model=network(), counter=Counter(Path("/")))
    with pytest.raises(UserCodeError, match=r"the state of counter holds pathlib\S*, which .* refuses\. .*, weights_only=False"):
        state.checkpoint()
    with pytest.raises(UserCodeError, match=r"a value holds numpy"):
        TrainState(model=network()).checkpoint(best=np.zeros(3))
    trusting = TrainState(weights_only=False, counter=Counter(Path("/")))
    trusting.save(tmp_path, best=np.ones(2))
    other = Counter(None)
    assert TrainState(weights_only=False, counter=other).restore(tmp_path)["best"].tolist() == [1, 1]
    assert other.holds == Path("/")


def test_a_failed_save_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UserCodeError):
        TrainState(counter=Counter(Path("/"))).checkpoint()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_with_other_parts_is_named(tmp_path):
    TrainState(model=network()).save(tmp_path)
    with pytest.raises(UserCodeError, match=r"has no net\.pt, optimizer\.pt; it holds _rest\.pt, model\.pt\. Restore it with the parts"):
        TrainState(net=network(), optimizer=torch.optim.SGD(network().parameters())).restore(tmp_path)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "has no parts"),
        ({"epoch": 3}, r"epoch is a int, which has no state_dict\(\).*state\.checkpoint\(epoch=\.\.\.\)"),
        ({"a/b": torch.nn.Linear(1, 1)}, "'a/b' can't be the name of a part"),
        ({"_rest": torch.nn.Linear(1, 1)}, "'_rest' can't be the name of a part"),
    ],
)
def test_wrong_parts(parts, message):
    with pytest.raises(SpecError, match=message):
        TrainState(**parts)


def test_a_new_trial_begins_anew(tmp_path):
    seen = []

    def train(config):
        model = network()
        before = weights(model)
        state = TrainState(model=model)
        seen.append(state.restore())
        assert weights(model) == before
        tune.report(loss=1.0, checkpoint=state.checkpoint(epoch=1))
        seen.append(state.restore())

    tune.run(train, metric="loss", mode="min", executor="inline", verbose=0, storage_path=str(tmp_path))
    assert seen == [{}, {"epoch": 1}]


def test_a_stop_in_the_midst_of_training_leaves_no_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    trained = []

    def train(config):
        state = TrainState(model=network())
        for epoch in range(9):
            trained.append(epoch)
            tune.report(loss=1.0, checkpoint=state.checkpoint(epoch=epoch))

    folder = str(tmp_path / "results")
    tune.run(train, stop={"training_iteration": 2}, metric="loss", mode="min", executor="inline", verbose=0, storage_path=folder)
    assert trained == [0, 1]
    assert not list((tmp_path / "temporary").glob("tunesmith_checkpoint_*"))
