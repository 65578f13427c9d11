"""Which executor runs the trials of those who name none."""

from __future__ import annotations

import os
import sys

__all__ = ["ray_is_connected", "usual_executor"]


def ray_is_connected() -> bool:
    """Whether this process has imported Ray and connected to a cluster. Imports nothing."""
    ray = sys.modules.get("ray")
    return ray is not None and hasattr(ray, "is_initialized") and bool(ray.is_initialized())


def usual_executor() -> tuple[str, str]:
    """Its name, and why it is that one, for people; "" where there is nothing to explain.

    The environment's ``TUNESMITH_EXECUTOR``; else "ray" if this process is connected to a cluster; else "local" on Linux; else "inline".
    """
    if name := os.environ.get("TUNESMITH_EXECUTOR"):
        return name, f"TUNESMITH_EXECUTOR={name}"
    if ray_is_connected():
        return "ray", "this process is connected to a Ray cluster"
    return ("local", "") if sys.platform.startswith("linux") else ("inline", f"{sys.platform} has no local one")
