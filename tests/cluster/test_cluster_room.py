"""Room on a cluster: parts of things, things that are not there yet, and what a trial starts itself."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

import tunesmith as tune
from tunesmith.executors import RayExecutor
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.testing import Gate

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def run(trainable, folder, trials, **options):
    options = {"executor": RayExecutor(), "config": {"x": tune.uniform(0, 1)}, **options}
    return tune.run(
        trainable, name="exp", storage_path=folder, num_samples=trials, seed=1, metric="loss", mode="min", verbose=0, **options
    )  # fmt: skip


def meets(config):
    """Ends when so many of its kind are there at the same time."""
    config["gate"].wait()
    tune.report(loss=config["x"])


def space(together):
    return {"x": tune.uniform(0, 1), "gate": Gate(opens_after=together)}


def test_fractions_share(tmp_path, ray_cluster):
    """Four trials of a quarter of the one thing there is."""
    ray_cluster.add("scarce", cpus=1, thing=1)
    try:
        analysis = run(meets, tmp_path, 4, config=space(4), resources_per_trial={"cpu": 0.25, "thing": 0.25})
    finally:
        ray_cluster.remove("scarce", graceful=True)
    assert Counter(trial.status for trial in analysis.trials) == {"TERMINATED": 4}


def test_a_fraction_of_a_card(tmp_path, ray_cluster):
    """Ray gives out cards: two halves of one are on the same, and each trial is told which."""

    def halves(config):
        import os

        meets(config)
        tune.report(loss=config["x"], card=os.environ["CUDA_VISIBLE_DEVICES"])

    ray_cluster.add("cards", cpus=2, gpu=1)
    try:
        analysis = run(halves, tmp_path, 2, config=space(2), resources_per_trial={"cpu": 1, "gpu": 0.5})
    finally:
        ray_cluster.remove("cards", graceful=True)
    assert [trial.last_result["card"] for trial in analysis.trials] == ["0", "0"]


class Told(logging.Handler):
    """Acts, once, on the first message with these words; in the loop's thread, which is where Ray wants nodes to be made."""

    def __init__(self, words, act):
        super().__init__()
        self.words, self.act, self.texts = words, act, []

    def emit(self, record):
        text = record.getMessage()
        if self.words in text:
            self.texts.append(text)
            if len(self.texts) == 1:
                self.act()


def test_what_nobody_has_is_waited_for_and_named(tmp_path, ray_cluster):
    """No deadlock, no error: it says what is missing, and goes on when that comes. Nothing was drawn meanwhile."""
    drawn = []

    def train(config):
        tune.report(loss=config["x"])

    def comes():
        with open_reader(tmp_path / "exp" / JOURNAL_FILE) as reader:
            drawn.extend(record.event for record in reader.read() if type(record.event).__name__ == "Suggested")
        ray_cluster.add("late", cpus=2, unobtainium=2)

    told = Told("unobtainium", comes)
    logger = logging.getLogger("tunesmith")
    logger.addHandler(told)
    try:
        analysis = run(train, tmp_path, 3, resources_per_trial={"cpu": 1, "unobtainium": 1})
    finally:
        logger.removeHandler(told)
        ray_cluster.remove("late", graceful=True)
    assert Counter(trial.status for trial in analysis.trials) == {"TERMINATED": 3}
    assert "no node has unobtainium" in told.texts[0]
    assert len(drawn) == 0


def test_ctrl_c_ends_a_run_that_waits_for_what_never_comes(tmp_path, ray_cluster):
    import os
    import signal

    told = Told("no node has unobtainium", lambda: os.kill(os.getpid(), signal.SIGINT))
    logger = logging.getLogger("tunesmith")
    logger.addHandler(told)
    try:
        analysis = run(meets, tmp_path, 1, config=space(1), resources_per_trial={"cpu": 1, "unobtainium": 1})
    finally:
        logger.removeHandler(told)
    assert len(told.texts) == 1
    assert not [trial for trial in analysis.trials if trial.status == "TERMINATED"]


def test_tasks_of_a_trial_run_in_its_own_placement_group(tmp_path, ray_cluster):
    """Each trial holds all of a node; its tasks would never run anywhere else."""

    def nested(config):
        import ray

        mine = ray.util.get_current_placement_group()

        @ray.remote(num_cpus=1)
        def square(x):
            return x * x, ray.util.get_current_placement_group().id == mine.id, ray.get_runtime_context().get_node_id()

        found = ray.get([square.remote(x) for x in range(6)])
        assert all(same for _, same, _ in found)
        tune.report(loss=config["x"], total=sum(value for value, _, _ in found), node=found[0][2])

    ray_cluster.add("whole", cpus=2)
    try:
        bundles = tune.PlacementGroupFactory([{"CPU": 1, "whole": 1}, {"CPU": 1, "whole": 1}], strategy="STRICT_PACK")
        analysis = run(nested, tmp_path, 2, resources_per_trial=bundles)
        import ray

        [there] = [node["NodeID"] for node in ray.nodes() if node["Alive"] and "whole" in node["Resources"]]
    finally:
        ray_cluster.remove("whole", graceful=True)
    assert [trial.last_result["total"] for trial in analysis.trials] == [55, 55]
    assert {trial.last_result["node"] for trial in analysis.trials} == {there}


def test_bundles_are_spread_if_that_is_asked_for(tmp_path, ray_cluster):
    def spread(config):
        import ray

        @ray.remote(num_cpus=1)
        def where():
            return ray.get_runtime_context().get_node_id()

        tune.report(loss=config["x"], apart=ray.get(where.remote()) != where_am_i())

    def where_am_i():
        import ray

        return ray.get_runtime_context().get_node_id()

    bundles = tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    analysis = run(spread, tmp_path, 1, resources_per_trial=bundles)
    assert analysis.trials[0].last_result["apart"] is True


def test_nothing_of_ours_is_left_in_ray(tmp_path, ray_cluster):
    """Actors and placement groups go with the run."""
    from ray.util import placement_group_table

    run(meets, tmp_path, 3, config=space(1))
    ray_cluster.all_free()
    ours = [group for group in placement_group_table().values() if group["name"] != ray_cluster.ALL]
    assert [group for group in ours if group["state"] != "REMOVED"] == []
