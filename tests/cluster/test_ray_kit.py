"""The Ray executor passes the public kit, whichever way the trials' reports go, and whether or not its nodes see the driver's disk."""

from __future__ import annotations

import os

import pytest

from tunesmith.executors import RayExecutor
from tunesmith.testing import ExecutorKit
from tunesmith.testing.executor_rig import knows_itself

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]


class TestDirect(ExecutorKit):
    def make(self):
        return RayExecutor()


class TestByCalls(ExecutorKit):
    def make(self):
        return RayExecutor(direct=False)


class TestShipped(ExecutorKit):
    def make(self):
        return RayExecutor(ship=True)

    def test_a_trial_knows_itself(self, tmp_path):
        """Its directory is one of its node's own."""
        with self.rig(tmp_path, knows_itself) as rig:
            rig.run(4)
            metrics = rig.reports(4)[0].metrics
            assert os.path.basename(metrics["dir"]) == "trial_4"
            assert metrics["dir"] != str(tmp_path / "trial_4")
            assert not os.path.exists(metrics["dir"])

    def test_chdir_if_asked(self, tmp_path):
        with self.rig(tmp_path, knows_itself, chdir=True) as rig:
            rig.run()
            metrics = rig.reports()[0].metrics
            assert metrics["cwd"] == metrics["dir"]


class TestShippedByCalls(TestShipped):
    def make(self):
        return RayExecutor(ship=True, direct=False)
