"""Population-based training in real runs: what each trial was trained with, step by step, is what the journal says."""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.analysis import ExperimentAnalysis, open_experiment
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.journal.exploits import Exploits
from tunesmith.logger import rebuild_files
from tunesmith.schedulers import PopulationBasedTraining, PopulationBasedTrainingReplay, Scheduler, SchedulerCapabilities
from tunesmith.search import BasicVariantGenerator, Searcher

STEPS = 12


class Up:
    pace = 1.0


class Down:
    pace = 0.5


def function(config: dict[str, Any]) -> None:
    """Remembers what it was trained with."""
    saved = tune.get_checkpoint()
    state = saved.to_dict() if saved else {"lrs": [], "x": 0.0}
    while len(state["lrs"]) < STEPS:
        state["x"] += config["lr"] * config["kind"].pace
        state["lrs"].append(config["lr"])
        tune.report({"score": state["x"], "lr": config["lr"]}, checkpoint=state)


class Class(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.state: dict[str, Any] = {"lrs": [], "x": 0.0}

    def step(self) -> dict[str, Any]:
        self.state["x"] += self.config["lr"] * self.config["kind"].pace
        self.state["lrs"].append(self.config["lr"])
        return {"score": self.state["x"], "lr": self.config["lr"], "done": len(self.state["lrs"]) >= STEPS}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return self.state

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.state = checkpoint


def pbt(**options: Any) -> PopulationBasedTraining:
    given = {
        "perturbation_interval": 2,
        "quantile_fraction": 0.5,
        "hyperparam_mutations": {"lr": tune.uniform(0.01, 1.0), "kind": [Up, Down], "net": {"width": [8, 16]}},
        **options,
    }
    return PopulationBasedTraining("training_iteration", **given)


SPACE = {"lr": tune.uniform(0.01, 1.0), "kind": Down, "seed": 3}


def run(trainable: Any, folder: Path, scheduler: Any = None, **options: Any) -> ExperimentAnalysis:
    given = {
        "config": SPACE, "metric": "score", "mode": "max", "num_samples": 6, "seed": 2, "verbose": 0, "executor": "inline",
        "checkpoint_at_end": trainable is Class, **options,
    }  # fmt: skip
    return tune.run(trainable, storage_path=folder, scheduler=scheduler or pbt(), **given)


def check_lineage(analysis: ExperimentAnalysis) -> None:
    """What every trial's last checkpoint remembers is the schedule that the journal knows."""
    for trial in analysis.trials:
        assert trial.status == "TERMINATED", trial.reason
        checkpoint = analysis.get_last_checkpoint(trial)
        assert checkpoint is not None
        trained = checkpoint.to_dict()["lrs"]
        steps = len(trained)
        assert trial.iteration == steps
        copies = [exploit for exploit in analysis.exploits() if exploit["trial"] == trial.number]
        assert steps == STEPS or copies[-1]["source_iteration"] == STEPS, "it ended too early, and copied nothing that was complete"
        with analysis._source.reader() as reader:
            past = Exploits(until=(trial.number, steps)).update(reader).past
        lrs = [stretch.values["lr"] for stretch in past]
        starts = [stretch.iteration for stretch in past]
        expected = [next(lr for lr, since in zip(reversed(lrs), reversed(starts)) if since < at) for at in range(1, steps + 1)]
        assert trained == expected, f"trial {trial.number} was trained with other rates than the journal says"


def files(analysis: ExperimentAnalysis) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(Path(analysis.experiment_path).glob("pbt_*"))}


def check_files(analysis: ExperimentAnalysis) -> None:
    """The files are what the journal alone would make of them."""
    found = files(analysis)
    exploits = analysis.exploits()
    assert found["pbt_global.txt"].count("\n") == len(exploits)
    for name in found:
        Path(analysis.experiment_path, name).unlink()
    Path(analysis.experiment_path, "pbt_policy_zzz.txt").write_text("of nobody\n")
    rebuild_files(analysis.experiment_path)
    assert files(analysis) == found
    for row, exploit in zip(map(json.loads, found["pbt_global.txt"].splitlines()), exploits):
        assert row[2:4] == [exploit["iteration"], exploit["source_iteration"]]
        assert (row[4]["lr"], row[5]["lr"]) == (exploit["old_config"]["lr"], exploit["config"]["lr"])
        assert row[0].startswith(f"{exploit['trial']}_lr=")
        assert row[1].startswith(f"{exploit['source']}_lr=")


@pytest.mark.parametrize("synch", [False, True])
@pytest.mark.parametrize("trainable", [function, Class])
def test_what_was_trained_is_what_the_journal_says(trainable: Any, synch: bool, tmp_path: Path) -> None:
    analysis = run(trainable, tmp_path, pbt(synch=synch))
    assert len(analysis.exploits()) > 3
    check_lineage(analysis)
    check_files(analysis)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainable", "synch", "slots"), [(function, False, None), (Class, True, None), (Class, False, 1), (function, True, 1)]
)
def test_in_processes_of_their_own(trainable: Any, synch: bool, slots: int | None, tmp_path: Path) -> None:
    analysis = run(trainable, tmp_path, pbt(synch=synch), executor="local", max_concurrent_trials=slots)
    assert len(analysis.exploits()) > 2
    check_lineage(analysis)
    check_files(analysis)


class CopiesTheComplete(Scheduler):
    """Trial 0 is held at its last step until trial 1, a little behind, goes on from there."""

    capabilities = SchedulerCapabilities(pauses=True, exploits=True)

    def on_result(self, trial: Any, result: Any) -> Any:
        if trial.number == 0:
            return self.PAUSE if result["training_iteration"] == STEPS else self.CONTINUE
        return self.exploit(0, "better", values={"lr": 0.9}) if result["training_iteration"] == STEPS - 2 else self.CONTINUE

    def on_exploit_end(self, trial: Any, source: int, done: bool) -> None:
        self.copied = done

    def choose(self, runnable: Any) -> Any:
        paused = [runnable.get(number) for number in runnable.paused] if hasattr(self, "copied") else []
        return next(iter([*runnable.pending, *paused]), None)


def test_what_copies_a_complete_one_ends_with_its_own_last_step(tmp_path: Path) -> None:
    """It has nothing more to train, so nothing was reported with the new values: result, config and checkpoint stay of one step."""
    space = {"lr": tune.grid_search([0.5, 0.25]), "kind": Down}
    analysis = run(function, tmp_path, CopiesTheComplete(), config=space, num_samples=1)
    (exploit,) = analysis.exploits()
    assert (exploit["iteration"], exploit["source_iteration"]) == (STEPS - 2, STEPS)
    check_lineage(analysis)
    late = tune.Tuner.restore(analysis.experiment_path, function).get_results()[1]
    assert late.metrics is not None
    assert late.checkpoint is not None
    assert (late.metrics["training_iteration"], late.metrics["lr"], late.config["lr"]) == (STEPS - 2, 0.25, 0.25)
    assert late.checkpoint.to_dict()["lrs"] == [0.25] * (STEPS - 2)


def test_equal_seeds_give_equal_populations(tmp_path: Path) -> None:
    told = [[{**one, "at": 0} for one in run(function, tmp_path, pbt(synch=True)).exploits()] for _ in range(2)]
    assert told[0] == told[1]
    assert told[0] != [{**one, "at": 0} for one in run(function, tmp_path, pbt(synch=True, seed=5)).exploits()]


# -- what is told ------------------------------------------------------------------------------------------------------------


def test_every_exploit_tells_why_and_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    analysis = run(function, tmp_path, verbose=1)
    decisions = [one for one in analysis.decisions() if one["do"] == "exploited"]
    for decision, exploit in zip(decisions, analysis.exploits(), strict=True):
        reason = decision["reason"]
        lr, now, how = exploit["changes"]["lr"]
        assert f": exploits trial {exploit['source']} (" in reason
        kind = exploit["changes"]["kind"][0]
        assert f"; from iteration {exploit['source_iteration']}: lr {lr:.6g} {how} -> {now:.6g}, kind {kind}" in reason
        assert exploit["changes"].keys() == {"lr", "kind", "net/width"}
    output = capsys.readouterr().out
    assert f"goes on from {analysis[analysis.exploits()[0]['source']].trial_id}: {decisions[0]['reason']}" in output
    assert "will be tried again" not in output


def test_readers_need_nothing_but_the_journal(tmp_path: Path) -> None:
    analysis = run(function, tmp_path)
    other = open_experiment(analysis.experiment_path)
    assert [one["config"]["kind"] for one in other.exploits()] == [one["config"]["kind"].__name__ for one in analysis.exploits()]
    assert other.best_schedule() == analysis.best_schedule()


@pytest.mark.parametrize("options", [{"scheduler": pbt(log_config=False)}, {"loggers": ()}])
def test_no_files_where_none_are_wanted(options: dict[str, Any], tmp_path: Path) -> None:
    analysis = run(function, tmp_path, **options)
    assert analysis.exploits()
    assert files(analysis) == {}


def test_secrets_are_in_none_of_it(tmp_path: Path) -> None:
    analysis = run(function, tmp_path, config={**SPACE, "hub": {"token": "s3cret"}})
    assert analysis.exploits()[0]["config"]["hub"] == {"token": "s3cret"}, "the caller's own is there"
    assert "s3cret" not in json.dumps(analysis.best_schedule())
    assert not [name for name, text in files(analysis).items() if "s3cret" in text]


# -- replays -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainable", [function, Class])
def test_a_replay_trains_the_winner_again(trainable: Any, tmp_path: Path) -> None:
    found = run(trainable, tmp_path, pbt(synch=True))
    schedule = found.best_schedule()
    assert len(schedule) > 1
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps(schedule))
    policy = Path(found.experiment_path, f"pbt_policy_{found.best_trial.trial_id}.txt")
    lrs = found.best_checkpoint.to_dict()["lrs"]
    for given in (schedule, file, policy):
        space = {**SPACE, "kind": tune.choice([Up, Down])}
        again = run(trainable, tmp_path, PopulationBasedTrainingReplay(given), config=space, num_samples=1)
        assert again.best_result["score"] == found.best_result["score"]
        assert again.best_checkpoint.to_dict()["lrs"] == lrs
        assert again.best_schedule() == schedule


@pytest.mark.slow
def test_ray_reads_our_files(tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.tune.schedulers import PopulationBasedTrainingReplay as Rays

    analysis = run(function, tmp_path, pbt(synch=True))
    seen = 0
    for name in files(analysis):
        if name != "pbt_global.txt":
            path = str(Path(analysis.experiment_path, name))
            theirs, ours = Rays(path), PopulationBasedTrainingReplay(path)
            first = theirs._load_policy(path)[0]
            assert [(0, first), *theirs._policy] == ours.schedule
            seen += len(ours.schedule) > 2
    assert seen, "no chain was long enough to tell"


# -- crashes and resumes -----------------------------------------------------------------------------------------------------

SCRIPT = """
    import os, sys
    sys.path[:0] = {paths!r}
    import {module} as story
    import tunesmith as tune

    class Dies(tune.Callback):
        count = 0
        def on_trial_result(self, **info):
            self.count += 1
            if self.count == {at}:
                os._exit(9)

    story.run(story.{trainable}, {folder!r}, story.pbt(synch={synch}), name="run", callbacks=[Dies()])
"""


@pytest.mark.parametrize(
    ("trainable", "synch", "at", "restored"),
    [(function, False, 17, False), (Class, True, 30, False), (function, True, 44, True), (Class, False, 51, True)],
)
def test_a_driver_that_dies(trainable: Any, synch: bool, at: int, restored: bool, tmp_path: Path, faults: Any) -> None:
    """And another one that goes on: from the script, or from what is stored."""
    here = Path(__file__)
    text = SCRIPT.format(
        paths=[str(here.parent)], module=here.stem, at=at, trainable=trainable.__name__, folder=str(tmp_path), synch=synch
    )  # fmt: skip
    with faults.tried("the driver of population-based training dies") as results:
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(text)], check=False, capture_output=True, text=True)
        assert done.returncode == 9, done.stderr
        sys.modules.setdefault(here.stem, sys.modules[__name__])  # the stored classes are that module's
        try:
            if restored:
                tune.Tuner.restore(tmp_path / "run", trainable).fit()
                analysis = open_experiment(tmp_path / "run")
            else:
                analysis = run(trainable, tmp_path, pbt(synch=synch), name="run", resume=True)
        finally:
            del sys.modules[here.stem]
        assert len(analysis.exploits()) > 2
        check_lineage(analysis)
        check_files(analysis)
        results(6)


def test_a_function_that_fails_drains_the_run_and_a_resume_asks_it_again(tmp_path: Path) -> None:
    calls = []

    def explore(config: dict[str, Any]) -> dict[str, Any]:
        calls.append(config)
        if len(calls) == 3:
            raise ZeroDivisionError("no luck")
        return {**config, "seed": config["seed"] + 1}

    whose = r"new values for trial \w+_0000\d, which is to go on from trial \w+_0000\d"
    with pytest.raises(UserCodeError, match=f"{whose}: custom_explore_fn raised ZeroDivisionError: no luck at test_pbt_runs"):
        run(function, tmp_path, pbt(custom_explore_fn=explore), name="run")
    broken = open_experiment(tmp_path / "run")
    before = broken.exploits()
    assert not any(trial.status == "ERROR" for trial in broken.trials), "it is nobody's failure"
    analysis = run(function, tmp_path, pbt(custom_explore_fn=explore), name="run", resume=True)
    exploits = analysis.exploits()
    assert [one["config"] | {"kind": 0} for one in exploits[: len(before)]] == [one["config"] | {"kind": 0} for one in before]
    assert len(exploits) > len(before)
    assert all(one["config"]["seed"] == one["old_config"]["seed"] + 1 for one in exploits), "what it changed was not recorded"
    check_lineage(analysis)


def test_what_a_function_makes_that_cannot_be_recorded(tmp_path: Path) -> None:
    with pytest.raises(UserCodeError, match=r"custom_explore_fn made a config that cannot be recorded: config\['kind'\]"):
        run(function, tmp_path, pbt(custom_explore_fn=lambda config: {**config, "kind": object()}))


def test_with_another_space_each_keeps_its_own(tmp_path: Path) -> None:
    """Exploration gets the config of the version that the source was drawn from."""
    seen: list[dict[str, Any]] = []

    def explore(config: dict[str, Any]) -> dict[str, Any]:
        seen.append(config)
        if len(seen) == 2:
            raise ValueError("broken off")
        return config

    with pytest.raises(UserCodeError, match="broken off"):
        run(function, tmp_path, pbt(custom_explore_fn=explore), name="run", num_samples=4)
    changed = {**SPACE, "seed": 4, "new": tune.choice([1, 2]), "lr": tune.uniform(2.0, 3.0)}
    analysis = run(function, tmp_path, pbt(custom_explore_fn=explore), name="run", num_samples=7, config=changed, resume=True)
    check_lineage(analysis)
    assert {(config["seed"], "new" in config) for config in seen} == {(3, False), (4, True)}
    for exploit in analysis.exploits():
        assert exploit["config"].keys() == exploit["old_config"].keys()


# -- what cannot work is said ------------------------------------------------------------------------------------------------


def test_functions_without_checkpoints(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(1, 9):
            tune.report({"score": step * config["lr"]})

    with caplog.at_level(logging.WARNING, "tunesmith"):
        analysis = run(train, tmp_path)
    assert analysis.exploits() == []
    assert [trial.iteration for trial in analysis.trials] == [8] * 6
    assert not [one for one in analysis.decisions() if one["do"] == "pause"], "each would have had to begin anew"
    (message,) = [message for message in caplog.messages if "checkpoint" in message]
    assert "trials are not paused for others to have their turn" in message


class Learns(Searcher):
    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"lr": random.random()}


def test_searchers_that_learn_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="search_alg=Learns may learn from results, and with PopulationBasedTraining trials change"):
        run(function, tmp_path, search_alg=Learns())
    with pytest.raises(SpecError, match=r"BasicVariantGenerator\(max_concurrent=2\) gives a new trial only when one is over"):
        run(function, tmp_path, search_alg=BasicVariantGenerator(max_concurrent=2))
    run(function, tmp_path, search_alg=BasicVariantGenerator(points_to_evaluate=[{"lr": 0.5}]), num_samples=1)


def test_with_a_tuner(tmp_path: Path) -> None:
    tuner = tune.Tuner(
        Class,
        param_space=SPACE,
        tune_config=tune.TuneConfig(metric="score", mode="max", num_samples=4, scheduler=pbt(synch=True)),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="tuned", verbose=0),
    )
    results = tuner.fit()
    found = open_experiment(results.experiment_path)
    assert found.exploits()
    best = results.get_best_result()
    assert best.config["lr"] == found.best_schedule()[-1][1]["lr"]


def test_with_few_checkpoints_kept(tmp_path: Path) -> None:
    """What is copied is pinned: no warning is needed, and nothing is missing."""
    analysis = run(function, tmp_path, pbt(synch=True), keep_checkpoints_num=1)
    check_lineage(analysis)
