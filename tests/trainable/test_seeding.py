# ruff: noqa: NPY002 - the global generators are what this is about
from __future__ import annotations

import random
import sys
from types import ModuleType, SimpleNamespace

import numpy as np

from tunesmith.trainable.seeding import borrow, seed_all


class Generator:
    """torch's, as far as it is used here."""

    def __init__(self):
        self.state = 0

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state

    def manual_seed(self, seed):
        self.state = seed


class Cuda:
    def __init__(self, initialised):
        self.initialised, self.states = initialised, [1, 2]

    def is_initialized(self):
        return self.initialised

    def get_rng_state_all(self):
        return list(self.states)

    def set_rng_state_all(self, states):
        self.states = states

    def manual_seed_all(self, seed):
        assert self.initialised
        self.states = [seed] * 2


class Torch:
    def __init__(self, initialised):
        self.default_generator, self.cuda = Generator(), Cuda(initialised)


def draws():
    return random.random(), float(np.random.random()), float(np.random.randn())


def test_a_seed_governs_all_generators():
    give_back = borrow(2**32 - 1)
    first = draws()
    give_back()
    give_back = borrow(2**32 - 1)
    assert draws() == first
    give_back()
    give_back = borrow(1)
    assert draws() != first
    give_back()


def test_the_drivers_numpy_goes_on_as_if_nothing_had_been():
    np.random.seed(3)
    expected = np.random.random(4)
    np.random.seed(3)
    got = [np.random.random()]
    for seed in range(3):
        outer = borrow(seed)
        np.random.seed(99)
        inner = borrow(7)
        np.random.random()
        inner()
        outer()
        got.append(np.random.random())
    assert list(expected) == got


def test_trials_in_two_threads_end_in_any_order():
    np.random.seed(3)
    expected = np.random.random(4)
    np.random.seed(3)
    got = [np.random.random()]
    for seed in range(3):
        first = borrow(seed)
        second = borrow(seed + 1)
        first()
        np.random.random()
        second()
        second()  # again is nothing
        got.append(np.random.random())
    assert list(expected) == got


def test_the_drivers_random_depends_on_its_own_seed_only():
    def run(trial_draws):
        random.seed(3)
        got = []
        for seed in range(3):
            give_back = borrow(seed)
            for _ in range(trial_draws):
                random.random()
            give_back()
            got.append(random.random())
        return got

    assert run(0) == run(5)


def test_numpy_without_swapping(monkeypatch):
    monkeypatch.delattr(np.random, "set_bit_generator")
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    give_back = borrow(1)
    np.random.random()
    give_back()
    assert np.random.random() == expected


def test_torch(monkeypatch):
    for initialised in (False, True):
        torch = Torch(initialised)
        monkeypatch.setitem(sys.modules, "torch", torch)
        give_back = borrow(11)
        assert torch.default_generator.state == 11
        assert torch.cuda.states == ([11, 11] if initialised else [1, 2])
        give_back()
        assert torch.default_generator.state == 0
        assert torch.cuda.states == [1, 2]


def test_a_process_of_the_trials_own(monkeypatch):
    torch = Torch(False)
    monkeypatch.setitem(sys.modules, "torch", torch)
    seed_all(5)
    first = draws()
    seed_all(5)
    assert draws() == first
    assert torch.default_generator.state == 5
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delitem(sys.modules, "numpy")
    borrow(1)()


def test_tensorflow_is_not_asked_for_what_it_has_not_loaded(monkeypatch):
    """Its top module loads parts when they are asked for."""

    class Lazy(ModuleType):
        def __getattr__(self, name):
            raise AssertionError(name)

    monkeypatch.setitem(sys.modules, "tensorflow", Lazy("tensorflow"))
    seed_all(5)
    seeds = []
    loaded = Lazy("tensorflow")
    loaded.random = SimpleNamespace(set_seed=seeds.append)
    monkeypatch.setitem(sys.modules, "tensorflow", loaded)
    seed_all(5)
    assert seeds == [5]
