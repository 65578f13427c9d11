"""Ax's own ways of writing a space, as domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.space import choice, lograndint, loguniform, qrandint, quniform, randint, uniform

__all__ = ["ordered_of", "parameter_of", "space_of"]


def parameter_of(given: Any) -> tuple[str, Any]:
    """Name and domain of one of Ax's parameter configs, or of a dict that the old AxClient took.

    Raises:
        SpecError: it is neither, or other parameters depend on it.
        SpaceError: there is no such domain.

    Example:
        >>> parameter_of({"name": "lr", "type": "range", "bounds": [1e-4, 1.0], "log_scale": True})
        ('lr', loguniform(0.0001, 1.0))
    """
    about = given if isinstance(given, Mapping) else vars(given) if hasattr(given, "name") else {}
    name, kind = about.get("name"), about.get("type", "range" if "bounds" in about else "choice" if "values" in about else None)
    if about.get("dependent_parameters") or about.get("dependents"):
        raise SpecError(f"AxSearch: {name} has dependent parameters. Leave space out and write choice([{{...}}, {{...}}]) into the config.")
    if not isinstance(name, str) or kind not in ("range", "choice", "fixed"):
        raise SpecError(f"AxSearch: space must be a list of RangeParameterConfig and ChoiceParameterConfig, got {given!r}.")
    if kind == "fixed":
        return name, about["value"]
    if kind == "choice":
        return name, choice(list(about["values"]))
    lower, upper = about["bounds"]
    log, step = about.get("scaling") == "log" or bool(about.get("log_scale")), about.get("step_size")
    whole = about.get("parameter_type", about.get("value_type", "int" if isinstance(lower, int) and isinstance(upper, int) else "float"))
    if step is not None:
        return name, qrandint(lower, upper, step) if whole == "int" else quniform(lower, upper, step)
    if whole == "int":
        return name, (lograndint if log else randint)(lower, upper + 1)
    return name, (loguniform if log else uniform)(lower, upper)


def ordered_of(given: Any) -> tuple[str, bool | None]:
    """Name of such a parameter, and whether its options have an order; None: it does not say."""
    about = given if isinstance(given, Mapping) else vars(given) if hasattr(given, "name") else {}
    return str(about.get("name")), about.get("is_ordered")


def space_of(client: Any) -> dict[str, Any]:
    """The space of an ``ax.Client`` of the user's, as domains by name; what is fixed by itself.

    Raises:
        SpecError: it is none, is not configured yet, or has parameters that depend on others.
    """
    if hasattr(client, "create_experiment"):
        raise SpecError(
            "AxSearch: ax_client is an AxClient, Ax's old interface. Pass today's: client = ax.Client(); "
            'client.configure_experiment(parameters=[...]); client.configure_optimization(objective="-loss"); AxSearch(ax_client=client).'
        )
    experiment = getattr(client, "_maybe_experiment", None)
    if experiment is None or experiment.optimization_config is None:
        raise SpecError(
            f"AxSearch: ax_client must be an ax.Client after configure_experiment() and configure_optimization(), got {client!r}."
        )
    return dict(_core_parameter(name, parameter) for name, parameter in experiment.search_space.parameters.items())


def _core_parameter(name: str, parameter: Any) -> tuple[str, Any]:
    if getattr(parameter, "is_hierarchical", False):
        raise SpecError(f"AxSearch: {name} of ax_client has dependent parameters; leave ax_client out and write them into the config.")
    if hasattr(parameter, "lower"):
        whole = parameter.parameter_type.name.lower()
        return parameter_of(
            {"name": name, "bounds": (parameter.lower, parameter.upper), "parameter_type": whole, "log_scale": parameter.log_scale}
        )
    return name, choice(list(parameter.values)) if hasattr(parameter, "values") else parameter.value
