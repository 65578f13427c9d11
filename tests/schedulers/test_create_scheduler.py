"""Schedulers by name: the names of Ray Tune and our own, options that are refused, and what an import costs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import tunesmith as tune
from tunesmith import schedulers
from tunesmith.create import SCHEDULERS
from tunesmith.errors import SpecError

RAY = {
    "fifo": "FIFOScheduler", "async_hyperband": "AsyncHyperBandScheduler", "asynchyperband": "AsyncHyperBandScheduler",
    "median_stopping_rule": "MedianStoppingRule", "medianstopping": "MedianStoppingRule", "hyperband": "HyperBandScheduler",
    "hb_bohb": "HyperBandForBOHB", "pbt": "PopulationBasedTraining", "pbt_replay": "PopulationBasedTrainingReplay", "pb2": "PB2",
    "resource_changing": "ResourceChangingScheduler",
}  # fmt: skip
OURS = {
    "asha": "ASHAScheduler", "pasha": "PASHAScheduler", "successive_halving": "SuccessiveHalvingScheduler",
    "percentile": "PercentileStoppingRule", "patience": "PatienceScheduler", "fixed_cut": "FixedCutScheduler",
}  # fmt: skip
NEEDS: dict[str, dict[str, Any]] = {"pbt": {"hyperparam_mutations": {"lr": [1, 2]}}, "pb2": {"hyperparam_bounds": {"lr": [0.1, 1.0]}}}


def test_the_names_are_these() -> None:
    assert {name: target.removeprefix("tunesmith.schedulers:") for name, target in SCHEDULERS.items()} == {**RAY, **OURS}


@pytest.mark.parametrize("name", sorted({*RAY, *OURS} - {"pbt_replay"}))
def test_each_name_makes_its_class(name: str) -> None:
    cls = getattr(schedulers, {**RAY, **OURS}[name])
    assert type(tune.create_scheduler(name, **NEEDS.get(name, {}))) is cls
    assert type(tune.create_scheduler(name.upper(), **NEEDS.get(name, {}))) is cls


@pytest.mark.parametrize("name", sorted({*RAY, *OURS} - {"fifo", "pbt_replay", "resource_changing"}))
def test_metric_and_mode_go_to_it(name: str) -> None:
    made = tune.create_scheduler(name, metric="loss", mode="min", **NEEDS.get(name, {}))
    assert (made.metric, made.mode) == ("loss", "min")


@pytest.mark.parametrize("name", sorted({*RAY, *OURS}))
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match=rf"scheduler '{name}' \(\w+\) has no argument 'grace_periodd'\."):
        tune.create_scheduler(name, grace_periodd=3)


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(SpecError, match=r"scheduler='asyn_hyperband' is not known\. Did you mean 'async_hyperband'\? Known names: asha, "):
        tune.create_scheduler("asyn_hyperband")
    with pytest.raises(SpecError, match=r"'patience' \(PatienceScheduler\) has no argument 'patiense'\. Did you mean 'patience'\?"):
        tune.create_scheduler("patience", patiense=3)
    with pytest.raises(SpecError, match="is not known"):
        tune.create_scheduler(None)  # type: ignore[arg-type]


def test_options_out_of_their_range_are_refused_by_the_class() -> None:
    with pytest.raises(SpecError, match=r"FixedCutScheduler: keep must be a whole number, at least 1, got 0\."):
        tune.create_scheduler("fixed_cut", keep=0)


def test_what_must_be_given_is_named() -> None:
    with pytest.raises(SpecError, match=r"'pbt_replay' .* cannot be made without policy_file; give scheduler=Po.*\(policy_file=\.\.\.\)"):
        tune.create_scheduler("pbt_replay")


def test_a_name_is_enough_for_a_run(tmp_path: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        for _ in range(3):
            tune.report(loss=config["x"])

    analysis = tune.run(
        train, config={"x": tune.grid_search([1, 2, 3])}, scheduler="fixed_cut", metric="loss", mode="min", executor="inline",
        storage_path=tmp_path, verbose=0,
    )  # fmt: skip
    assert [trial.iteration for trial in analysis] == [3, 1, 1]


def test_all_names_are_exported() -> None:
    for name in schedulers.__all__:
        assert getattr(schedulers, name).__module__.startswith("tunesmith.schedulers."), name
    assert set(schedulers.__all__) <= set(dir(schedulers))
    top = set(schedulers.__all__) - {"Scheduler", "SchedulerCapabilities", "TrialScheduler"}
    assert all(getattr(tune, name) is getattr(schedulers, name) for name in top)
    with pytest.raises(AttributeError, match=r"has no attribute 'ASHASheduler'\. Did you mean 'ASHAScheduler'\?"):
        _ = schedulers.ASHASheduler  # type: ignore[attr-defined]


def loaded_by(code: str) -> list[str]:
    """Modules that come with ``code``, in a fresh interpreter."""
    program = f"import json, sys\nbefore = set(sys.modules)\n{code}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_schedulers_load_no_third_party_module() -> None:
    """Not even all of them; PB2's model comes with its first use."""
    names = "".join(f"schedulers.{name};" for name in schedulers.__all__)
    modules = {name.partition(".")[0] for name in loaded_by(f"from tunesmith import schedulers; {names}")}
    assert {name for name in modules if name not in sys.stdlib_module_names} == {"tunesmith"}


def test_importing_the_package_loads_what_is_used() -> None:
    modules = loaded_by("import tunesmith.schedulers")
    assert "tunesmith.schedulers.fifo" in modules
    assert "tunesmith.schedulers.median" not in modules
