"""The driver's surroundings on a node of the cluster: what is the user's comes along, what is the node's or Ray's stays."""

from __future__ import annotations

from collections.abc import Callable

from tunesmith.executors.surroundings import Surroundings

__all__ = ["HOST", "together"]

HOST = "TUNESMITH_HOST"
"""A variable that travels with an attempt and says on which machine its driver runs."""

_RAYS = (
    "ASCEND_RT_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "HABANA_VISIBLE_MODULES", "HIP_VISIBLE_DEVICES", "NEURON_RT_VISIBLE_CORES",
    "ONEAPI_DEVICE_SELECTOR", "RAY_*", "ROCR_VISIBLE_DEVICES", "TPU_*",
)  # fmt: skip
"""Variables by which Ray tells a worker what is its own."""

_NODES = (
    "CONDA_*", "DBUS_*", "DISPLAY", "HOME", "HOST", "HOSTNAME", "KUBERNETES_*", "LD_*", "LOGNAME", "OLDPWD", "PATH", "POD_*", "PWD",
    "PYTHONHOME", "SHELL", "SLURM*", "SSH_*", "TEMP", "TMP", "TMPDIR", "USER", "VIRTUAL_ENV", "XDG_*",
)  # fmt: skip
"""Variables that say where things are on a machine: they mean nothing on another."""


def together(drivers: Surroundings, own: Surroundings, same_machine: bool, *, brought: bool = False) -> Surroundings:
    """The surroundings of a trial.

    Args:
        drivers: those of the driver.
        own: those that the worker began with.
        same_machine: whether both are on one.
        brought: Ray has brought the code here (``working_dir`` or ``py_modules`` of a runtime environment): it comes first.

    Example:
        >>> drivers = Surroundings("/home/me", ("/home/me",), {"KEY": "1", "PATH": "/a", "CUDA_VISIBLE_DEVICES": "0"})
        >>> own = Surroundings("/", ("/ray",), {"PATH": "/b", "CUDA_VISIBLE_DEVICES": "3"})
        >>> found = together(drivers, own, same_machine=False)
        >>> found.path, found.environment
        (('/home/me', '/ray'), {'KEY': '1', 'PATH': '/b', 'CUDA_VISIBLE_DEVICES': '3'})
    """
    first, second = (own, drivers) if brought else (drivers, own)
    path = (*first.path, *(one for one in second.path if one not in first.path))
    stays = _matching(_RAYS if same_machine else (*_RAYS, *_NODES))
    environment = {name: value for name, value in drivers.environment.items() if not stays(name)}
    environment.update({name: value for name, value in own.environment.items() if stays(name)})
    cwd = own.cwd if brought else drivers.cwd
    return Surroundings(cwd, path, environment)


def _matching(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    whole = frozenset(patterns)
    beginnings = tuple(one[:-1] for one in patterns if one.endswith("*"))
    return lambda name: name in whole or name.startswith(beginnings)
