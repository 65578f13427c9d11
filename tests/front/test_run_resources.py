"""What a trial holds, in every form that users write."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.executors.inline import InlineExecutor
from tunesmith.resources import PlacementGroupFactory, refuse_impossible, resource_request, resources_from, unasked_gpus
from tunesmith.trainable.base import normalise_resources


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (None, {"cpu": 1.0}),
        ({}, {"cpu": 1.0}),
        ({"cpu": 2}, {"cpu": 2.0}),
        ({"CPU": 2, "GPU": 0.5}, {"cpu": 2.0, "gpu": 0.5}),
        ({"gpu": 1}, {"cpu": 1.0, "gpu": 1.0}),  # the rule of old: a CPU unless another number is given
        ({"cpu": 0, "gpu": 1}, {"cpu": 0.0, "gpu": 1.0}),
        ({"cpu": 1, "extra_cpu": 3, "extra_gpu": 2}, {"cpu": 4.0, "gpu": 2.0}),
        ({"custom_resources": {"license": 2}}, {"cpu": 1.0, "license": 2.0}),
        ({"cpu": 1, "license": 1, "memory": 2**30}, {"cpu": 1.0, "license": 1.0, "memory": 2.0**30}),
        (PlacementGroupFactory([{}, {"CPU": 2}, {"CPU": 2, "GPU": 1}]), {"cpu": 4.0, "gpu": 1.0}),
    ],
)
def test_plain_sums(request_: Any, expected: dict[str, float]) -> None:
    assert resources_from(request_) == expected


@pytest.mark.parametrize("amount", [-1, "2", None, True, math.nan, math.inf, [1]])
def test_an_amount_is_a_finite_number_that_is_not_negative(amount: object) -> None:
    with pytest.raises(SpecError, match=r"resources_per_trial\['gpu'\] must be a finite number >= 0"):
        resources_from({"gpu": amount})


@pytest.mark.parametrize("request_", [3, "cpu", [{"cpu": 1}]])
def test_other_types_are_refused(request_: object) -> None:
    with pytest.raises(SpecError, match="must be a dict such as"):
        resources_from(request_)


def test_a_function_of_the_config_stays_one_and_its_answers_are_checked() -> None:
    request = resource_request(lambda config: {"gpu": config["gpus"]})
    assert callable(request)
    assert request({"gpus": 2}) == {"cpu": 1.0, "gpu": 2.0}
    with pytest.raises(SpecError, match=r"what the function given as resources_per_trial returned\['gpu'\]"):
        request({"gpus": "two"})


def test_bundles_compare_and_hash_by_content() -> None:
    one = PlacementGroupFactory([{"CPU": 1}, {"GPU": 1, "CPU": 1}], strategy="SPREAD")
    same = PlacementGroupFactory([{"cpu": 1.0}, {"cpu": 1, "gpu": 1}], strategy="SPREAD")
    assert one == same
    assert hash(one) == hash(same)
    assert one != PlacementGroupFactory([{"cpu": 1}, {"cpu": 1, "gpu": 1}])
    assert one != {"cpu": 2}
    assert pickle.loads(pickle.dumps(one)) == one
    assert "SPREAD" in repr(one)


def test_the_first_bundle_is_the_trials_own() -> None:
    assert PlacementGroupFactory([{"CPU": 2}, {"CPU": 4}]).head_cpus == 2
    assert PlacementGroupFactory([{}, {"CPU": 4}]).head_bundle_is_empty
    assert not PlacementGroupFactory([{"GPU": 1}]).head_bundle_is_empty


@pytest.mark.parametrize(("bundles", "strategy"), [([], "PACK"), ({"cpu": 1}, "PACK"), ("cpu", "PACK"), ([{"cpu": 1}], "HEAP")])
def test_bad_bundles(bundles: Any, strategy: str) -> None:
    with pytest.raises(SpecError, match="PlacementGroupFactory"):
        PlacementGroupFactory(bundles, strategy)


@pytest.mark.parametrize(
    "request_", [{"gpu": 1.5}, {"GPU": 1, "extra_gpu": 0.25}, PlacementGroupFactory([{"gpu": 0.5}] * 3), {"custom_resources": {"gpu": 2.5}}]
)
def test_more_than_one_card_must_be_whole_cards(request_: Any) -> None:
    with pytest.raises(SpecError, match=r"'gpu' must be a part of one card \(up to 1\) or a whole number of cards, got [12]\.[25]"):
        resources_from(request_)
    with pytest.raises(SpecError, match="'gpu' must be a part of one card"):
        normalise_resources(request_)
    with pytest.raises(SpecError, match="'gpu' must be a part of one card"):
        tune.with_resources(lambda config: None, request_)


@pytest.mark.parametrize("request_", [{"gpu": 0.25}, {"gpu": 3}, PlacementGroupFactory([{"gpu": 0.1}] * 10), {"cpu": 0}, {"cpu": 0.5}])
def test_what_can_be_given(request_: Any) -> None:
    resources_from(request_)
    normalise_resources(request_)


# -- what can never be given --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"cpu": 9}, "each asks for cpu 9; there is cpu 8, gpu 2, license 3, memory 4 GiB in all. Ask for less of 'cpu', or, if there is "),
        ({"cpu": 9}, "more, set TUNESMITH_NUM_CPUS=9."),
        ({"gpu": 4}, "set TUNESMITH_NUM_GPUS=4."),
        ({"memory": 8 * 2**30}, "set TUNESMITH_RESOURCES='{\"memory\": 8589934592}'."),
        ({"licence": 1}, "Did you mean 'license'?"),
        ({"gpus": 1}, "Did you mean 'gpu'?"),
        ({"tpu_v5": 1}, "Leave 'tpu_v5' out, or, if there is some, set TUNESMITH_RESOURCES='{\"tpu_v5\": 1}'."),
        ({"cpu": 9, "license": 4}, "Ask for less of 'license', or, if there is more, set TUNESMITH_RESOURCES='{\"license\": 4}'."),
    ],
)
def test_a_request_that_can_never_be_met(monkeypatch: pytest.MonkeyPatch, request_: dict[str, float], expected: str) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(SpecError) as caught:
        refuse_impossible(request_, {"cpu": 8.0, "gpu": 2.0, "license": 3.0, "memory": 4.0 * 2**30})
    assert str(caught.value).startswith("No trial could ever start: each asks for ")
    assert expected in str(caught.value)


def test_a_variable_that_hides_cards_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(SpecError, match="CUDA_VISIBLE_DEVICES='-1' says which GPUs may be used; change or unset it"):
        refuse_impossible({"gpu": 1}, {"cpu": 8.0, "gpu": 0.0})


@pytest.mark.parametrize("request_", [{"cpu": 8, "gpu": 2}, {"cpu": 0}, {}, {"tpu": 0}, {"gpu": 0.5}])
def test_a_request_that_can_be_met(request_: dict[str, float]) -> None:
    refuse_impossible(request_, {"cpu": 8.0, "gpu": 2.0})


class Machine(InlineExecutor):
    """As inline, with what a test says there is."""

    def __init__(self, totals: dict[str, float], **abilities: Any) -> None:
        super().__init__()
        self.totals = totals
        self.capabilities = dataclasses.replace(InlineExecutor.capabilities, **abilities)

    def start(self, setup: Any) -> dict[str, float]:
        super().start(setup)
        return self.totals


def train(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": 1.0}


@pytest.mark.parametrize(
    ("request_", "there"),
    [
        (None, {"cpu": 0.0}),
        ({"license": 1}, {"cpu": 1.0}),
        (PlacementGroupFactory([{"cpu": 1}, {"cpu": 1}]), {"cpu": 1.0}),
    ],
)
def test_a_run_that_could_start_no_trial_is_refused(go: Any, request_: Any, there: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="No trial could ever start"):
        go(train, resources_per_trial=request_, executor=Machine(there))
    with pytest.raises(SpecError, match="No trial could ever start"):
        go(tune.with_resources(train, {"cpu": 9}), executor=Machine({"cpu": 8.0}))


@pytest.mark.parametrize("request_", [{"cpu": 0}, {"cpu": 0, "license": 0.5}, lambda config: {"cpu": config["n"]}])
def test_requests_that_fit(go: Any, request_: Any) -> None:
    (trial,) = go(train, resources_per_trial=request_, config={"n": 1}, executor=Machine({"cpu": 1.0, "license": 1.0})).trials
    assert trial.status == "TERMINATED"


def test_a_word_on_cards_that_nobody_asks_for(go: Any, caplog: pytest.LogCaptureFixture) -> None:
    go(train, executor=Machine({"cpu": 1.0, "gpu": 2.0}, isolated=True), verbose=1)
    (line,) = [record.getMessage() for record in caplog.records if "GPU" in record.getMessage()]
    assert line == (
        "there are 2 GPUs, and trials do not see them, since they ask for none. To give each trial one: resources_per_trial={'gpu': 1}; "
        "to let two share one: {'gpu': 0.5}."
    )
    caplog.clear()
    for arguments in ({"verbose": 0}, {"resources_per_trial": {"gpu": 0.5}}, {"resources_per_trial": lambda config: {"cpu": 1}}):
        go(train, executor=Machine({"cpu": 1.0, "gpu": 2.0}, isolated=True), **{"verbose": 1, **arguments})
    go(train, executor=Machine({"cpu": 1.0, "gpu": 2.0}), verbose=1)  # in this very process they are seen
    go(train, executor=Machine({"cpu": 1.0, "gpu": 0.0}, isolated=True), verbose=1)
    assert not [record for record in caplog.records if "GPU" in record.getMessage()]
    assert unasked_gpus({}, {"gpu": 1.0}).startswith("there is 1 GPU, and")


amounts = st.integers(0, 64).map(lambda eighths: eighths / 8)


@given(st.lists(st.dictionaries(st.sampled_from(["cpu", "gpu", "license"]), amounts), min_size=1, max_size=5))
def test_the_sum_is_that_of_the_bundles(bundles: list[dict[str, float]]) -> None:
    total = PlacementGroupFactory(bundles).required_resources
    for name in ("cpu", "gpu", "license"):
        assert total.get(name, 0.0) == sum(bundle.get(name, 0.0) for bundle in bundles)
