"""What a trial holds, in every form that users write."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpecError
from tunesmith.resources import PlacementGroupFactory, resource_request, resources_from


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


amounts = st.integers(0, 64).map(lambda eighths: eighths / 8)


@given(st.lists(st.dictionaries(st.sampled_from(["cpu", "gpu", "license"]), amounts), min_size=1, max_size=5))
def test_the_sum_is_that_of_the_bundles(bundles: list[dict[str, float]]) -> None:
    total = PlacementGroupFactory(bundles).required_resources
    for name in ("cpu", "gpu", "license"):
        assert total.get(name, 0.0) == sum(bundle.get(name, 0.0) for bundle in bundles)
