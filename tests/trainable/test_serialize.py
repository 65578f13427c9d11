from __future__ import annotations

import functools
import threading

import numpy as np
import pytest

from tunesmith.errors import SerializationError
from tunesmith.trainable import Trainable, TrainableSpec, with_parameters, with_resources
from tunesmith.trainable.parcel import check_picklable, pack_trainable, unpack
from tunesmith.trainable.serialize import captured_sizes


class Holder:
    def __init__(self):
        self.fine = 1
        self.connections = {"db": [threading.Lock()]}

    def fit(self, config):
        return 1

    def __call__(self, config):
        return 1


def by_value(source, **globals_):
    """A function as of the user's script: not to be found by name."""
    space = {"__name__": "__main__", **globals_}
    exec(source, space)
    return space["train"]


def closure_over(model):
    return lambda config: model


def uses(config, data=None):
    return data


WHERE = r"item 0 of entry 'db' of attribute 'connections' of "


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: by_value("def train(config): return model", model=Holder()), WHERE + "the global variable 'model'"),
        (
            lambda: by_value("def train(config): return [(lambda: model) for _ in 'a']", model=Holder()),
            WHERE + "the global variable 'model'",
        ),
        (lambda: closure_over(Holder()), WHERE + "the captured variable 'model'"),
        (lambda: functools.partial(uses, data=Holder()), WHERE + "argument 'data' of the partial"),
        (lambda: functools.partial(lambda data, config: 1, Holder()), WHERE + "argument 0 of the partial"),
        (lambda: with_parameters(uses, data=Holder()), WHERE + "the parameter 'data'"),
        (lambda: Holder().fit, "item 0 of entry 'db' of attribute 'connections' of the bound"),
        (Holder, "item 0 of entry 'db' of attribute 'connections' of the .*Holder"),
        (lambda: by_value("def train(config, lock=lock): pass", lock=threading.Lock()), r"a default argument of train\(\)"),
        (lambda: type("T", (Trainable,), {"lock": threading.Lock(), "step": lambda self: {}}), "the class attribute 'lock'"),
    ],
)
def test_the_culprit_is_named(make, path):
    with pytest.raises(
        SerializationError, match=f"can't be sent to a worker: {path}.* is a _thread.lock \\(.* bytes\\), which can't be pickled"
    ):
        check_picklable(TrainableSpec.of(make()))


def test_a_culprit_deep_in_a_helper_function():
    helper = by_value("def train(x): return model", model=Holder())
    with pytest.raises(SerializationError, match="of the global variable 'model' of the global variable 'helper'"):
        check_picklable(TrainableSpec.of(by_value("def train(config): return helper(1)", helper=helper)))


def test_what_cannot_be_found_is_said_as_it_is():
    class Refuses:
        def __reduce__(self):
            raise RuntimeError("no way")

    spec = TrainableSpec.of(uses)
    spec.resources = Refuses()
    with pytest.raises(SerializationError, match="The trainable uses can't be sent to a worker: RuntimeError: no way"):
        check_picklable(spec)


def test_an_unbound_closure_cell_is_no_trouble():
    def train(config):
        return later, lock

    lock = threading.Lock()
    spec = TrainableSpec.of(train)
    with pytest.raises(SerializationError, match="the captured variable 'lock'"):
        check_picklable(spec)
    later = None


def sent(spec):
    parcel = pack_trainable(spec)
    return unpack(parcel.data, parcel.buffers)


def test_round_trip():
    class Steps(Trainable):
        def setup(self, config, data):
            self.data = data

        def step(self):
            return {"total": float(np.sum(self.data))}

    spec = sent(TrainableSpec.of(with_resources(with_parameters(Steps, data=np.ones(3)), {"cpu": 2})))
    assert (spec.kind, spec.name, spec.resources_for({})) == ("class", "Steps", {"cpu": 2.0})
    assert spec.target(config={}).train()["total"] == 3.0

    spec = sent(TrainableSpec.of(lambda config, reporter: 5))
    assert spec.form == ("reporter",)
    assert spec.target({}, None) == 5


def test_big_captured_objects_are_found():
    big, small = np.zeros(100_000), [1.0] * 10
    spec = TrainableSpec.of(with_parameters(lambda config, table: (big, small), table={"a": np.zeros(1000)}))
    found = captured_sizes(spec)
    assert [one.name for one in found] == [
        "the captured variable 'big'", "the parameter 'table' (tune.with_parameters)", "the captured variable 'small'",
    ]  # fmt: skip
    assert found[0].type == "numpy.ndarray"
    assert 800_000 <= found[0].size < 801_000
    assert [one.name for one in captured_sizes(spec, at_least=100_000)] == ["the captured variable 'big'"]
    assert captured_sizes(TrainableSpec.of(uses)) == []
