"""``TrainableSpec``: what users hand over to be tuned, checked and described once; ``with_parameters`` and ``with_resources``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.resources import Bundled, amounts, whole_cards
from tunesmith.trainable.class_api import Trainable
from tunesmith.trainable.function import call_form

__all__ = ["TrainableSpec", "normalise_resources", "with_parameters", "with_resources"]


@dataclass(slots=True)
class TrainableSpec:
    """A checked trainable.

    Args:
        kind: "function" or "class".
        name: as shown to people and in trial names.
        target: the function (any callable) or the :class:`Trainable` subclass.
        resources: per trial: a dict, a callable of the configuration, an object with ``required_resources``, or None.
        parameters: objects of ``with_parameters``, passed by keyword to the function or to ``setup``.
        form: legacy arguments that a function takes: "reporter", "checkpoint_dir".
        checkpoint_frequency: classes: save every so many iterations; 0: never.
        checkpoint_at_end: classes: save when the trial ends.

    Example:
        >>> def train(config, data):
        ...     return {"loss": config["lr"] * len(data)}
        >>> spec = TrainableSpec.of(with_resources(with_parameters(train, data=[1, 2]), {"cpu": 2}))
        >>> spec.kind, spec.name, spec.parameters, spec.resources_for({})
        ('function', 'train', {'data': [1, 2]}, {'cpu': 2.0})
    """

    kind: str
    name: str
    target: Any
    resources: Any = None
    parameters: dict[str, Any] = field(default_factory=dict)
    form: tuple[str, ...] = ()
    checkpoint_frequency: int = 0
    checkpoint_at_end: bool = False

    @classmethod
    def of(cls, trainable: Any) -> TrainableSpec:
        """Describe ``trainable``: a function in any of its forms, partial, bound method, callable object, or Trainable subclass.

        Raises:
            SpecError: it is none of these, or can't be called with one configuration; says what to write instead.
        """
        if isinstance(trainable, TrainableSpec):
            return trainable
        target, parameters, resources = _peeled(trainable)
        if isinstance(target, type):
            return _of_class(target)
        if not callable(target):
            hint = " A name must be registered first: tune.register_trainable(name, trainable)." if isinstance(target, str) else ""
            raise SpecError(f"The trainable is a {type(target).__name__}: {target!r}; expected a function or a tune.Trainable class.{hint}")
        name = _name(target)
        return cls("function", name, target, resources, parameters, call_form(target, parameters, name))

    def resources_for(self, config: dict[str, Any]) -> dict[str, float] | None:
        """What a trial with this configuration takes, e.g. ``{"cpu": 1.0}``; None: the experiment's default.

        Raises:
            SpecError: the request makes no sense.
        """
        request = self.resources
        if callable(request) and not hasattr(request, "required_resources"):
            request = request(config)
        return normalise_resources(request)


def with_parameters(trainable: Any, **objects: Any) -> Any:
    """Bind (large) objects to a trainable: passed by keyword to the function, or to ``setup`` of the class.

    They are sent to each worker process once, not with every trial, and don't appear in the configuration.

    Returns:
        a callable that can still be called as ``f(config)``, or a subclass.

    Raises:
        SpecError: the function has no such parameter (found when the experiment is built).

    Example:
        >>> def train(config, data):
        ...     return sum(data) * config["scale"]
        >>> with_parameters(train, data=[1, 2, 3])({"scale": 2})
        12
    """
    if isinstance(trainable, type):
        return _subclass(trainable, _tune_parameters={**getattr(trainable, "_tune_parameters", {}), **objects})
    return Bound(_callable(trainable, "with_parameters"), objects, None)


def with_resources(trainable: Any, resources: Any) -> Any:
    """Say what each trial of ``trainable`` takes.

    Args:
        trainable: a function, partial, bound method or class; also one that :func:`with_parameters` made.
        resources: ``{"cpu": 2, "gpu": 0.5}`` (what is left out is 0), a callable of the configuration that returns one, or an
            object with ``required_resources``.

    Raises:
        SpecError: the request makes no sense.

    Example:
        >>> def train(config):
        ...     return {"loss": config["x"]}
        >>> small = with_resources(train, {"cpu": 0.5})
        >>> by_config = with_resources(train, lambda config: {"cpu": config["threads"]})
    """
    if not callable(resources):
        normalise_resources(resources)
    if isinstance(trainable, type):
        return _subclass(trainable, _tune_resources=staticmethod(resources) if callable(resources) else resources)
    return Bound(_callable(trainable, "with_resources"), {}, resources)


class Bound:
    """A function with what ``with_parameters`` and ``with_resources`` said of it."""

    def __init__(self, target: Callable[..., Any], parameters: dict[str, Any], resources: Any) -> None:
        self.target = target
        self.parameters = parameters
        self.resources = resources
        self.__name__ = _name(target)
        self.__doc__ = getattr(target, "__doc__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.target(*args, **{**self.parameters, **kwargs})


def _peeled(trainable: Any) -> tuple[Any, dict[str, Any], Any]:
    """The user's own callable, and the parameters and resources that were wrapped around it, also within a partial."""
    if isinstance(trainable, Bound):
        target, parameters, resources = _peeled(trainable.target)
        own = trainable.resources
        return target, {**parameters, **trainable.parameters}, resources if own is None else own
    if isinstance(trainable, functools.partial):
        target, parameters, resources = _peeled(trainable.func)
        if target is not trainable.func:
            return functools.partial(target, *trainable.args, **trainable.keywords), parameters, resources
    return trainable, {}, None


def _of_class(target: type) -> TrainableSpec:
    name = target.__name__
    if not issubclass(target, Trainable):
        raise SpecError(
            f"The class {name} is no tune.Trainable. Derive it: class {name}(tune.Trainable), with setup(self, config) and "
            f"step(self); or pass a function, or an instance that can be called with the configuration."
        )
    if target.step is Trainable.step and not hasattr(target, "_train"):
        raise SpecError(f"{name} defines no step(self): the method that trains for one iteration and returns a dict of metrics.")
    resources = target._tune_resources
    overridden = getattr(target.default_resource_request, "__func__", None) is not Trainable.default_resource_request.__func__  # type: ignore[attr-defined]
    if resources is None and overridden:
        resources = functools.partial(_default_request, target)
    return TrainableSpec("class", name, target, resources, dict(target._tune_parameters))


def _default_request(target: type[Trainable], config: dict[str, Any]) -> Any:
    return target.default_resource_request(config)


def _subclass(trainable: type, **attributes: Any) -> type:
    if not issubclass(trainable, Trainable):
        _of_class(trainable)
    described = {"__module__": trainable.__module__, "__qualname__": trainable.__qualname__, "__doc__": trainable.__doc__}
    return type(trainable.__name__, (trainable,), {**described, **attributes})


def _callable(trainable: Any, caller: str) -> Callable[..., Any]:
    if not callable(trainable):
        raise SpecError(f"{caller}() got a {type(trainable).__name__}: {trainable!r}; expected a function or a tune.Trainable class.")
    function: Callable[..., Any] = trainable
    return function


def _name(target: Any) -> str:
    if isinstance(target, functools.partial):
        return _name(target.func)
    name = getattr(target, "__name__", None) or type(target).__name__
    return "lambda" if name == "<lambda>" else str(name)


def normalise_resources(request: Any) -> dict[str, float] | None:
    """What a trainable itself asks for, as ``{"cpu": 1.0, "gpu": 0.5, "memory": bytes, <custom>: n}``: what is left out is 0.

    Args:
        request: a dict ("CPU" and "GPU" are understood, ``custom_resources`` may hold a dict), an object with
            ``required_resources``, or None.

    Raises:
        SpecError: not a dict; an amount that is no finite number >= 0; more than one GPU, but no whole number.

    Example:
        >>> normalise_resources({"CPU": 2, "custom_resources": {"tpu": 1}})
        {'cpu': 2.0, 'tpu': 1.0}
    """
    if request is None:
        return None
    if hasattr(request, "bundles") and hasattr(request, "strategy"):
        return whole_cards(Bundled(request, "resources"), "resources")
    return whole_cards(amounts(getattr(request, "required_resources", request), "resources"), "resources")
