"""The peers, each with its own interface and its own kind of space, at its defaults.

    python benchmarks/_search_peers.py NAME

serves one of them to another interpreter: a JSON object a line comes in, a configuration a line goes out.

Nothing of ours is used here. Where a peer has no kind of parameter for something, it gets what its users would write: logarithms for
BayesOpt, and all parameters at once where it knows no conditions; those that do not exist are ignored then.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib import metadata
from typing import Any, Protocol

from _search_spaces import Config, Fork, Labels, Number, Parameter, Space, every, load

__all__ = ["PEERS", "SLOW", "Player", "peer_versions"]


class Player(Protocol):
    """Asked and told in turn."""

    def ask(self) -> Config: ...
    def tell(self, loss: float) -> None: ...


class _Optuna:
    """Define-by-run: what exists is what is asked for."""

    def __init__(self, space: Space, sampler: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._study = optuna.create_study(sampler=sampler)

    def _suggest(self, trial: Any, parameter: Parameter) -> Any:
        if isinstance(parameter, Number):
            suggest = trial.suggest_int if parameter.whole else trial.suggest_float
            low, high = (int(parameter.low), int(parameter.high)) if parameter.whole else (parameter.low, parameter.high)
            return suggest(parameter.name, low, high, log=parameter.log)
        labels = parameter.labels if isinstance(parameter, Labels) else [label for label, _ in parameter.options]
        return trial.suggest_categorical(parameter.name, labels)

    def ask(self) -> Config:
        self._trial = self._study.ask()
        config: Config = {}
        for parameter in self._space:
            config[parameter.name] = self._suggest(self._trial, parameter)
            if isinstance(parameter, Fork):
                for below in parameter.below(config[parameter.name]):
                    config[below.name] = self._suggest(self._trial, below)
        return config

    def tell(self, loss: float) -> None:
        self._study.tell(self._trial, loss)


class OptunaTPE(_Optuna):
    def __init__(self, space: Space, seed: int, budget: int) -> None:
        import optuna

        del budget
        super().__init__(space, optuna.samplers.TPESampler(seed=seed))


class OptunaGP(_Optuna):
    def __init__(self, space: Space, seed: int, budget: int) -> None:
        import optuna

        del budget
        super().__init__(space, optuna.samplers.GPSampler(seed=seed))


class HyperOpt:
    """Its own loop, without the part that calls a function."""

    def __init__(self, space: Space, seed: int, budget: int) -> None:
        import numpy as np
        from hyperopt import Trials, tpe
        from hyperopt.base import Domain

        del budget
        logging.getLogger("hyperopt").setLevel(logging.ERROR)
        self._space, self._suggest = {each.name: self._node(each) for each in space}, tpe.suggest
        self._domain, self._trials = Domain(_not_called, self._space), Trials()
        self._rng = np.random.default_rng(seed)

    def _node(self, parameter: Parameter) -> Any:
        from hyperopt import hp
        from hyperopt.pyll import scope

        name = parameter.name
        if isinstance(parameter, Labels):
            return hp.choice(name, list(parameter.labels))
        if isinstance(parameter, Fork):
            options = [{"taken": label} | {each.name: self._node(each) for each in below} for label, below in parameter.options]
            return hp.choice(name, options)
        if parameter.log:
            low, high = math.log(parameter.low), math.log(parameter.high)
            return scope.int(hp.qloguniform(name, low, high, 1)) if parameter.whole else hp.loguniform(name, low, high)
        if parameter.whole:
            return hp.uniformint(name, int(parameter.low), int(parameter.high))
        return hp.uniform(name, parameter.low, parameter.high)

    def ask(self) -> Config:
        from hyperopt import space_eval

        numbers = self._trials.new_trial_ids(1)
        self._trials.refresh()
        found = self._suggest(numbers, self._domain, self._trials, self._rng.integers(2**31 - 1), verbose=False)
        self._trials.insert_trial_docs(found)
        self._trials.refresh()
        drawn = {name: values[0] for name, values in found[0]["misc"]["vals"].items() if values}
        config: Config = {}
        for name, value in space_eval(self._space, drawn).items():
            config |= {name: value["taken"], **value} if isinstance(value, dict) else {name: value}
        config.pop("taken", None)
        return config

    def tell(self, loss: float) -> None:
        from hyperopt.base import JOB_STATE_DONE

        trial = self._trials._dynamic_trials[-1]
        trial["result"], trial["state"] = {"loss": loss, "status": "ok"}, JOB_STATE_DONE
        self._trials.refresh()


class Nevergrad:
    """NGOpt, its choice among all that it has."""

    def __init__(self, space: Space, seed: int, budget: int) -> None:
        import nevergrad as ng
        import numpy as np

        warnings.simplefilter("ignore")
        parametrization = ng.p.Dict(**{each.name: self._node(each) for each in space})
        parametrization.random_state = np.random.RandomState(seed)
        self._optimizer = ng.optimizers.NGOpt(parametrization, budget, num_workers=1)

    def _node(self, parameter: Parameter) -> Any:
        import nevergrad as ng

        if isinstance(parameter, Labels):
            return ng.p.Choice(list(parameter.labels))
        if isinstance(parameter, Fork):
            options = [{"taken": label} | {each.name: self._node(each) for each in below} for label, below in parameter.options]
            return ng.p.Choice([ng.p.Dict(**option) for option in options])
        kind = ng.p.Log if parameter.log else ng.p.Scalar
        found = kind(lower=parameter.low, upper=parameter.high)
        return found.set_integer_casting() if parameter.whole else found

    def ask(self) -> Config:
        self._candidate = self._optimizer.ask()
        config: Config = {}
        for name, value in self._candidate.value.items():
            config |= {name: value["taken"], **value} if isinstance(value, dict) else {name: value}
        config.pop("taken", None)
        return config

    def tell(self, loss: float) -> None:
        self._optimizer.tell(self._candidate, loss)


class SMAC:
    """The facade for hyperparameters. Each configuration is evaluated once, as by everyone here: "deterministic"."""

    def __init__(self, space: Space, seed: int, budget: int) -> None:
        from ConfigSpace import ConfigurationSpace, EqualsCondition
        from smac import HyperparameterOptimizationFacade, Scenario

        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
        made = ConfigurationSpace(seed=seed)
        for parameter in space:
            node = self._node(parameter)
            made.add(node)
            for label, below in parameter.options if isinstance(parameter, Fork) else ():
                for each in below:
                    child = self._node(each)
                    made.add(child, EqualsCondition(child, node, label))
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(made, deterministic=True, n_trials=budget, seed=seed, output_directory=self._folder.name)
        self._facade = HyperparameterOptimizationFacade(scenario, _not_called, overwrite=True, logging_level=False)

    def _node(self, parameter: Parameter) -> Any:
        from ConfigSpace import CategoricalHyperparameter, UniformFloatHyperparameter, UniformIntegerHyperparameter

        if isinstance(parameter, Number):
            kind = UniformIntegerHyperparameter if parameter.whole else UniformFloatHyperparameter
            return kind(parameter.name, parameter.low, parameter.high, log=parameter.log)
        labels = parameter.labels if isinstance(parameter, Labels) else [label for label, _ in parameter.options]
        return CategoricalHyperparameter(parameter.name, labels)

    def ask(self) -> Config:
        self._asked = self._facade.ask()
        return {name: value.item() if hasattr(value, "item") else value for name, value in dict(self._asked.config).items()}

    def tell(self, loss: float) -> None:
        from smac.runhistory.dataclasses import TrialValue

        self._facade.tell(self._asked, TrialValue(loss), save=False)


def _not_called(config: Any, seed: int = 0) -> float:
    raise AssertionError(f"the peer called the function itself, with {config} and seed {seed}")


class Ax:
    """The client, with the generation strategy that it chooses by itself."""

    def __init__(self, space: Space, seed: int, budget: int) -> None:
        from ax.api.client import Client

        del budget
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
        self._space = space
        self._client = Client(random_seed=seed)
        self._client.configure_experiment([self._node(each) for each in (*space, *(each for each in every(space) if each not in space))])
        self._client.configure_optimization("-loss")

    def _node(self, parameter: Parameter) -> Any:
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

        if isinstance(parameter, Number):
            kind = "int" if parameter.whole else "float"
            scaling = "log" if parameter.log else "linear"
            return RangeParameterConfig(parameter.name, (parameter.low, parameter.high), kind, scaling=scaling)
        if isinstance(parameter, Labels):
            return ChoiceParameterConfig(parameter.name, list(parameter.labels), "str", is_ordered=False)
        labels = [label for label, _ in parameter.options]
        below = {label: [each.name for each in options] for label, options in parameter.options}
        return ChoiceParameterConfig(parameter.name, labels, "str", is_ordered=False, dependent_parameters=below)

    def ask(self) -> Config:
        ((self._index, found),) = self._client.get_next_trials(1).items()
        return _existing(self._space, found)

    def tell(self, loss: float) -> None:
        self._client.complete_trial(self._index, {"loss": loss})


class BayesOpt:
    """Five random points first, as its own loop does. Versions before 2 know real numbers only.

    Where there is more than these it would take up to an hour for 100 trials: a short cut with the same suggestions takes a sixth.
    """

    def __init__(self, space: Space, seed: int, budget: int) -> None:
        from bayes_opt import BayesianOptimization

        del budget
        warnings.simplefilter("ignore")
        if int(metadata.version("bayesian-optimization").split(".")[0]) < 3:
            raise ImportError("bayesian-optimization 3 or later is needed: earlier ones have no integers and labels")
        self._space = space
        bounds = {each.name: self._bounds(each) for each in (*space, *(each for each in every(space) if each not in space))}
        self._optimizer = BayesianOptimization(None, bounds, random_state=seed, verbose=0, allow_duplicate_points=True)
        self._first = self._optimizer.random_sample(5)
        if any(not isinstance(each, Number) or each.whole for each in every(space)):
            from _search_bayesopt import hasten

            hasten(self._optimizer)

    def _bounds(self, parameter: Parameter) -> Any:
        if isinstance(parameter, Number):
            if parameter.log:
                return (math.log(parameter.low), math.log(parameter.high))
            return (int(parameter.low), int(parameter.high), int) if parameter.whole else (parameter.low, parameter.high)
        return parameter.labels if isinstance(parameter, Labels) else tuple(label for label, _ in parameter.options)

    def ask(self) -> Config:
        self._point = self._first.pop(0) if self._first else self._optimizer.suggest()
        found = dict(self._point)
        for each in every(self._space):
            if isinstance(each, Number):
                value = float(found[each.name])
                value = min(max(math.exp(value), each.low), each.high) if each.log else value
                found[each.name] = round(value) if each.whole else value
        return _existing(self._space, found)

    def tell(self, loss: float) -> None:
        self._optimizer.register(self._point, -loss)


def _existing(space: Space, found: Mapping[str, Any]) -> Config:
    """Without the parameters of options that were not taken."""
    config: Config = {}
    for parameter in space:
        config[parameter.name] = found[parameter.name]
        if isinstance(parameter, Fork):
            config |= {each.name: found[each.name] for each in parameter.below(found[parameter.name])}
    return config


PEERS: dict[str, tuple[Callable[[Space, int, int], Player], tuple[str, ...]]] = {
    "Optuna TPE": (OptunaTPE, ("optuna",)),
    "HyperOpt": (HyperOpt, ("hyperopt",)),
    "Nevergrad": (Nevergrad, ("nevergrad", "cma", "bayesian-optimization")),
    "Optuna GP": (OptunaGP, ("optuna", "torch")),
    "SMAC": (SMAC, ("smac", "ConfigSpace", "scikit-learn")),
    "Ax": (Ax, ("ax-platform", "botorch", "gpytorch", "torch")),
    "BayesOpt": (BayesOpt, ("bayesian-optimization", "scikit-learn")),
}
"""Each with the packages that decide what it proposes."""
SLOW = ("Optuna GP", "SMAC", "Ax", "BayesOpt")


def peer_versions(name: str) -> dict[str, str]:
    """Of the packages that decide what it proposes; those that are not there, and are not needed, are left out."""
    found = {}
    for package in PEERS[name][1]:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            if package == PEERS[name][1][0]:
                raise
    return found


def serve(name: str) -> None:
    """Line by line: the space, seed and budget first, answered by versions. Then null asks, for a configuration and the processor seconds
    spent so far, and a number tells, until the input ends."""
    lines, answers = map(json.loads, sys.stdin), sys.stdout
    task = next(lines)
    with redirect_stdout(sys.stderr):  # BayesOpt prints when it has tried a point before
        player = PEERS[name][0](load(task["space"]), task["seed"], task["budget"])
        print(json.dumps(peer_versions(name)), file=answers, flush=True)
        for loss in lines:
            if loss is None:
                print(json.dumps([player.ask(), time.process_time()]), file=answers, flush=True)
            else:
                player.tell(loss)


if __name__ == "__main__":
    serve(sys.argv[1])
