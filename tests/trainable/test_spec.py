from __future__ import annotations

import functools

import pytest

from tunesmith.errors import SpecError
from tunesmith.trainable import Trainable, TrainableSpec, with_parameters, with_resources
from tunesmith.trainable.base import normalise_resources


def train(config):
    return config.get("x", 1)


def with_data(config, data):
    return {"loss": config["x"] * data}


class Model:
    def fit(self, config):
        return 1

    def __call__(self, hyperparameters):
        return 2


class Stepper(Trainable):
    def setup(self, config, data=None):
        self.data = data

    def step(self):
        return {"data": self.data}


class Old(Trainable):
    def _setup(self, config):
        self.x = config["x"]

    def _train(self):
        return {"x": self.x}


@pytest.mark.parametrize(
    ("trainable", "kind", "name", "form"),
    [
        (train, "function", "train", ()),
        (lambda c: 1, "function", "lambda", ()),
        (lambda anything, /: 1, "function", "lambda", ()),
        (lambda *args: 1, "function", "lambda", ()),
        (lambda config, batch=3, **kw: 1, "function", "lambda", ()),
        (lambda config, reporter: 1, "function", "lambda", ("reporter",)),
        (lambda config, checkpoint_dir=None: 1, "function", "lambda", ("checkpoint_dir",)),
        (lambda config, *, checkpoint_dir: 1, "function", "lambda", ("checkpoint_dir",)),
        (functools.partial(with_data, data=3), "function", "with_data", ()),
        (functools.partial(lambda data, config: 1, [1]), "function", "lambda", ()),
        (Model().fit, "function", "fit", ()),
        (Model(), "function", "Model", ()),
        (dict, None, None, None),
        (len, "function", "len", ()),
        (Stepper, "class", "Stepper", ()),
        (Old, "class", "Old", ()),
    ],
)
def test_what_people_hand_over(trainable, kind, name, form):
    if kind is None:
        with pytest.raises(SpecError, match=r"class dict is no tune\.Trainable"):
            TrainableSpec.of(trainable)
        return
    spec = TrainableSpec.of(trainable)
    assert (spec.kind, spec.name, spec.form) == (kind, name, form)
    assert TrainableSpec.of(spec) is spec


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        (with_data, r"with_data\(\) needs a parameter 'data'.*tune\.with_parameters\(with_data, data=data\)"),
        (lambda config, *, data: 1, "needs a parameter 'data'"),
        (lambda: 1, r"takes no argument, and a trainable is called with one positional argument"),
        (lambda *, config: 1, r"takes \(\*, config\)"),
        (lambda config, reporter, /: 1, "needs a parameter 'reporter'"),
        ("train", r"register_trainable"),
        (5, "is a int: 5; expected a function"),
        (type("Bare", (Trainable,), {}), "Bare defines no step"),
        (with_parameters(train, data=1), r"with_parameters\(train, data=\.\.\.\): train\(\) has no parameter 'data'; it takes \(config\)"),
    ],
)
def test_what_is_refused_before_any_trial(trainable, message):
    with pytest.raises(SpecError, match=message):
        TrainableSpec.of(trainable)


def test_async_functions_are_refused():
    async def train(config):
        pass

    with pytest.raises(SpecError, match=r"train\(\) is async"):
        TrainableSpec.of(train)


@pytest.mark.parametrize(
    "wrapped",
    [
        with_resources(with_parameters(with_data, data=3), {"cpu": 2}),
        with_parameters(with_resources(with_data, {"cpu": 2}), data=3),
        functools.partial(with_resources(with_data, {"cpu": 2}), data=3),
        with_resources(functools.partial(with_data, data=3), {"CPU": 2}),
        with_resources(with_resources(with_parameters(with_data, data=3), {"cpu": 9}), {"cpu": 2}),
        with_parameters(with_parameters(with_resources(with_data, lambda c: {"cpu": c["x"] + 1}), data=1), data=3),
    ],
)
def test_wrappers_in_any_order(wrapped):
    spec = TrainableSpec.of(wrapped)
    assert spec.name == "with_data"
    assert spec.resources_for({"x": 1}) == {"cpu": 2.0}
    assert wrapped({"x": 2}) == {"loss": 6}
    assert spec.target({"x": 2}, **spec.parameters) == {"loss": 6}


def test_wrappers_around_bound_methods():
    spec = TrainableSpec.of(with_resources(Model().fit, {"gpu": 0.5}))
    assert (spec.name, spec.resources_for({}), spec.target({})) == ("fit", {"gpu": 0.5}, 1)


def test_wrappers_around_classes_in_any_order():
    for wrapped in (
        with_resources(with_parameters(Stepper, data=3), {"cpu": 2}),
        with_parameters(with_resources(Stepper, lambda config: {"cpu": 2}), data=3),
    ):
        spec = TrainableSpec.of(wrapped)
        assert (spec.kind, spec.name, spec.parameters) == ("class", "Stepper", {"data": 3})
        assert spec.resources_for({}) == {"cpu": 2.0}
        assert spec.target(config={}).train()["data"] == 3
    assert TrainableSpec.of(Stepper).resources is None
    assert Stepper(config={}).data is None


def test_a_class_may_say_what_it_needs_by_itself():
    class Hungry(Stepper):
        @classmethod
        def default_resource_request(cls, config):
            return {"cpu": config["workers"]}

    assert TrainableSpec.of(Hungry).resources_for({"workers": 3}) == {"cpu": 3.0}
    assert TrainableSpec.of(with_resources(Hungry, {"cpu": 1})).resources_for({"workers": 3}) == {"cpu": 1.0}


def test_only_trainables_can_be_wrapped():
    with pytest.raises(SpecError, match=r"no tune\.Trainable"):
        with_parameters(dict, a=1)
    with pytest.raises(SpecError, match=r"with_resources\(\) got a int"):
        with_resources(3, {"cpu": 1})


class Group:
    @property
    def required_resources(self):
        return {"CPU": 3.0, "GPU": 1}


def test_resources():
    assert normalise_resources(None) is None
    assert normalise_resources(Group()) == {"cpu": 3.0, "gpu": 1.0}
    assert normalise_resources({"gpu": 1, "memory": 10, "custom_resources": {"a": 2}}) == {"gpu": 1.0, "memory": 10.0, "a": 2.0}
    for bad in ({"cpu": -1}, {"cpu": "2"}, {"cpu": float("nan")}, {"cpu": True}):
        with pytest.raises(SpecError, match=r"resources\['cpu'\] must be a finite number >= 0, got "):
            with_resources(train, bad)
    with pytest.raises(SpecError, match=r"resources must be a dict such as .* got int 4"):
        normalise_resources(4)
