"""A Ray cluster that ours and Ray Tune use in turn."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

__all__ = ["joined", "same_cluster"]


@contextlib.contextmanager
def same_cluster() -> Iterator[None]:
    """While it lasts ``RAY_ADDRESS`` leads to a cluster: the one that it led to before, else a new one of this machine."""
    if "RAY_ADDRESS" in os.environ:
        yield
        return
    import ray

    with tempfile.TemporaryDirectory(prefix="ray-bench-", ignore_cleanup_errors=True) as folder:
        ray.init(address="local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        try:
            yield
        finally:
            del os.environ["RAY_ADDRESS"]
            ray.shutdown()


def joined() -> None:
    """Connect this process to that cluster, if it is not."""
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False)
