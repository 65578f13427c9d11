"""HyperOpt as a searcher."""

from __future__ import annotations

import logging
import math
import pickle
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hyperopt
import pytest
from hyperopt import hp

import tunesmith as tune
from tunesmith.errors import SpaceError, SpecError
from tunesmith.search.base import Proposal
from tunesmith.search.hyperopt import HyperOptSearch
from tunesmith.space import Space, choice, lograndint, loguniform, qloguniform, qrandint, qrandn, quniform, randint, randn, uniform
from tunesmith.testing import SearcherKit


class TestHyperOpt(SearcherKit):
    def make(self) -> HyperOptSearch:
        return HyperOptSearch(n_initial_points=3)


def bound(searcher: HyperOptSearch, config: Mapping[str, Any] | None = None, seed: int = 1) -> HyperOptSearch:
    searcher.bind(Space.parse(dict(config or {})), "loss", "min", seed)
    return searcher


def values_of(answer: object) -> dict[str, Any]:
    assert isinstance(answer, Proposal)
    return answer.values


def play(searcher: HyperOptSearch, loss: Any, trials: range) -> list[dict[str, Any]]:
    """Values of these trials, one after the other."""
    found = []
    for number in trials:
        found.append(values_of(searcher.propose(number, str(number))))
        searcher.on_trial_complete(str(number), {"loss": loss(found[-1])})
    return found


def replayed(searcher: HyperOptSearch, loss: Any, earlier: list[dict[str, Any]]) -> HyperOptSearch:
    for number, values in enumerate(earlier):
        searcher.on_replayed(number, str(number), values)
        searcher.on_trial_complete(str(number), {"loss": loss(values)})
    return searcher


MIXED = {
    "x": uniform(-5, 5),
    "lr": loguniform(1e-5, 1),
    "n": randint(0, 10),
    "units": lograndint(1, 1000),
    "q": quniform(-0.5, 0.5, 0.1),
    "ql": qloguniform(0.01, 10, 0.01),
    "batch": qrandint(8, 64, 8),
    "z": randn(3, 2),
    "qz": qrandn(0, 5, 0.5),
    "opt": choice([{"name": "sgd", "momentum": uniform(0, 1)}, {"name": "adam", "beta": choice([0.9, 0.99])}, None]),
}


def mixed_loss(values: Mapping[str, Any]) -> float:
    return values["x"] ** 2 + abs(math.log10(values["lr"]) + 2) + (0 if values["opt"] == 0 else 3)


def test_after_a_resume_the_model_proposes_what_it_would_have_in_a_space_of_all_kinds() -> None:
    whole = bound(HyperOptSearch(n_initial_points=4), MIXED)
    first = play(whole, mixed_loss, range(8))
    again = replayed(bound(HyperOptSearch(n_initial_points=4), MIXED), mixed_loss, first)
    assert play(again, mixed_loss, range(8, 12)) == play(whole, mixed_loss, range(8, 12))


def test_all_values_of_integers_are_equally_likely() -> None:
    searcher = bound(HyperOptSearch(n_initial_points=10_000), {"n": randint(0, 3), "q": qrandint(0, 4, 2)})
    drawn = play(searcher, lambda _: 0.0, range(300))
    for name, options in (("n", (0, 1, 2)), ("q", (0, 2, 4))):
        counts = [sum(values[name] == option for values in drawn) for option in options]
        assert min(counts) > 70, counts


def test_it_finds_more_than_random_search() -> None:
    space = {"x": uniform(-5, 5), "lr": loguniform(1e-5, 1), "opt": choice([{"m": uniform(0, 1)}, {"b": uniform(0, 1)}, None])}

    def loss(values: Mapping[str, Any]) -> float:
        inner = (values["opt/0/m"] - 0.5) ** 2 if values["opt"] == 0 else 3.0
        return values["x"] ** 2 + (math.log10(values["lr"]) + 2) ** 2 + inner  # type: ignore[no-any-return]

    late = at_random = 0.0
    for seed in range(4):
        late += sum(map(loss, play(bound(HyperOptSearch(n_initial_points=10), space, seed), loss, range(40))[20:]))
        rng = random.Random(seed)
        at_random += sum(loss(Space.parse(space).draw(rng)) for _ in range(20))
    assert late < 0.75 * at_random


def test_failures_count_as_bad_and_what_says_nothing_counts_as_nothing() -> None:
    searcher = bound(HyperOptSearch(n_initial_points=2), {"x": uniform(0, 1)})
    ends: list[tuple[Any, str]] = [({"loss": 1.0}, ""), ({"loss": math.nan}, ""), (None, "oom_gpu"), (None, "lost"), (None, "")]
    for number, (result, error) in enumerate(ends):
        searcher.propose(number, str(number))
        if error:
            searcher.on_trial_failed(str(number), error)
        searcher.on_trial_complete(str(number), result, bool(error))
    statuses = [doc["result"]["status"] for doc in searcher._trials.trials]
    assert statuses == ["ok", "fail", "fail"]
    assert searcher._results == 1, "the model would begin with results that are none"
    assert [doc["result"].get("loss") for doc in searcher._trials.trials] == [1.0, None, None]


def test_a_region_that_fails_is_left() -> None:
    searcher = bound(HyperOptSearch(n_initial_points=5), {"x": uniform(0, 1)})
    failed = 0
    for number in range(40):
        x = values_of(searcher.propose(number, str(number)))["x"]
        if x > 0.5:
            searcher.on_trial_failed(str(number), "user_error")
            searcher.on_trial_complete(str(number), None, error=True)
            failed += number >= 20
        else:
            searcher.on_trial_complete(str(number), {"loss": -x})
    assert failed < 10, f"{failed} of the last 20 are where half of the space always fails, next to the best"


# ---- hp spaces


HP = {
    "lr": hp.loguniform("rate", math.log(1e-4), 0),
    "layers": [hp.choice("first", [8, 16]), 32],
    "opt": hp.choice("optimizer", [{"name": "sgd", "momentum": hp.uniform("m", 0, 1)}, {"name": "adam", "eps": hp.quniform("e", 0, 4, 1)}]),
    "depth": hyperopt.pyll.scope.int(hp.quniform("d", 1, 9, 2)),
    "epochs": 7,
}


def hp_loss(values: Mapping[str, Any]) -> float:
    return abs(math.log10(values["lr"]) + 2) + (values["opt/name"] == "adam")


def test_a_space_of_hyperopts_own_is_laid_over_the_config() -> None:
    config = {"seed": 3, "opt": {"weight_decay": 0.1}}
    searcher = bound(HyperOptSearch(HP, n_initial_points=5), config)
    names = set()
    for values in play(searcher, hp_loss, range(12)):
        resolved = Space.parse(config).resolve(values)
        assert resolved["seed"] == 3
        assert resolved["opt"]["weight_decay"] == 0.1
        assert resolved["epochs"] == 7
        assert resolved["depth"] in (0, 2, 4, 6, 8)
        assert resolved["layers"] in ([8, 32], [16, 32])
        names.add(resolved["opt"]["name"])
        assert ("momentum" in resolved["opt"]) == (resolved["opt"]["name"] == "sgd")
    assert names == {"sgd", "adam"}


def test_after_a_resume_an_hp_space_goes_on_as_it_would_have() -> None:
    whole = bound(HyperOptSearch(HP, n_initial_points=5), {"seed": 3})
    first = play(whole, hp_loss, range(9))
    again = replayed(bound(HyperOptSearch(HP, n_initial_points=5), {"seed": 3}), hp_loss, first)
    assert play(again, hp_loss, range(9, 13)) == play(whole, hp_loss, range(9, 13))


def test_points_of_an_hp_space_by_path_and_by_label() -> None:
    points = [{"lr": 0.5, "opt": {"name": "adam"}}, {"rate": 0.25, "optimizer": {"name": "sgd", "momentum": 0.125}, "first": 16}]
    searcher = bound(HyperOptSearch(HP, points_to_evaluate=points))
    first, second, third = (values_of(searcher.propose(number, str(number))) for number in range(3))
    assert (first["lr"], first["opt/name"]) == (0.5, "adam")
    assert first["opt/eps"] in (0, 1, 2, 3, 4)
    assert (second["lr"], second["opt/momentum"], second["layers"]) == (0.25, 0.125, [16, 32])
    again = bound(HyperOptSearch(HP, points_to_evaluate=points))
    again.on_replayed(0, "0", first)
    again.on_replayed(1, "1", second)
    assert values_of(again.propose(2, "2")) == third


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"first": 1}, "1 is none of the options of 'first': 8, 16."),
        ({"layers": [8, 32, 4]}, "the space has no entry 2; it has 0, 1 there."),
        ({"layers/x": 8}, "the space has no entry 'x'; it has 0, 1 there."),
        (
            {"opt": {"name": "sgd", "eps": 1}},
            "{'name': 'sgd', 'eps': 1} is none of the options of 'optimizer': "
            "{'momentum': ..., 'name': 'sgd'}, {'eps': ..., 'name': 'adam'}.",
        ),
        ({"lrr": 0.5}, "the space has no entry 'lrr'; it has depth, epochs, layers, lr, opt there."),
        ({"lr": 5}, "5 cannot be drawn for 'rate': loguniform from 0.0001 to 1."),
        ({"lr": True}, "True is not a number, and 'rate' is drawn from loguniform."),
        ({"lr": math.nan}, "nan is not a number, and 'rate' is drawn from loguniform."),
        ({"d": 12}, "12 cannot be drawn for 'd': quniform from 1 to 9."),
        ({"epochs": 8}, "8 was given where the space has 7."),
        ({"seed": 4}, "'seed' is the constant 3 of the config, but 4 was given."),
    ],
)
def test_points_outside_of_an_hp_space_are_refused_before_anything_is_tried(point: Any, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        bound(HyperOptSearch(HP, points_to_evaluate=[{"lr": 0.5}, point]), {"seed": 3})
    assert str(caught.value) == f"points_to_evaluate[1]: {message}"


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ({"r": 0}, True),
        ({"r": 4}, True),
        ({"r": 5}, False),
        ({"r": 1.5}, False),
        ({"s": 2}, True),
        ({"s": 1}, False),
        ({"z": -70}, True),
        ({"z": "a"}, False),
        ({"u": 4}, True),
        ({"u": 6}, False),
    ],
)
def test_what_plain_parameters_of_hyperopts_own_can_be(point: Any, inside: bool) -> None:
    space = {"r": hp.randint("r", 5), "s": hp.randint("s", 2, 5), "z": hp.normal("z", 0, 1), "u": hp.uniformint("u", 1, 4)}
    searcher = HyperOptSearch(space, points_to_evaluate=[point])
    if inside:
        assert point.items() <= values_of(bound(searcher).propose(0, "0")).items()
    else:
        with pytest.raises(SpaceError, match=r"points_to_evaluate\[0\]"):
            bound(searcher)


def test_a_point_takes_the_option_that_has_its_entries() -> None:
    searcher = bound(HyperOptSearch(HP, points_to_evaluate=[{"e": 3}, {"opt": {"eps": 1, "decay": 0.1}}]), {"opt": {"decay": 0.1}})
    first, second = (values_of(searcher.propose(number, str(number))) for number in range(2))
    assert (first["opt/name"], first["opt/eps"]) == ("adam", 3)
    assert (second["opt/name"], second["opt/eps"]) == ("adam", 1)


def test_the_best_config_of_one_search_can_begin_the_next() -> None:
    config = {"net": {"lr": hp.uniform("lr", 0, 1), "depth": 3}, "act": [hp.choice("a", [1, 2])], "offset": 1}
    best = Space.parse(config).resolve(values_of(bound(HyperOptSearch(), config).propose(0, "0")))
    again = values_of(bound(HyperOptSearch(points_to_evaluate=[best]), config, seed=2).propose(0, "0"))
    assert Space.parse(config).resolve(again) == best


def test_hp_expressions_may_stand_in_the_config(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {"loss": config["net"]["lr"] + config["offset"] + config["act"][0]}

    analysis = tune.run(
        train, name="hp", config={"net": {"lr": hp.uniform("lr", 0, 1), "depth": 3}, "act": [hp.choice("a", [1, 2])], "offset": 1},
        metric="loss", mode="min", num_samples=4, search_alg=HyperOptSearch(random_state_seed=1), executor="inline",
        storage_path=str(tmp_path), verbose=0,
    )  # fmt: skip
    configs = [trial.config for trial in analysis.trials]
    assert all(0 <= config["net"]["lr"] <= 1 and config["net"]["depth"] == 3 and config["offset"] == 1 for config in configs)
    assert len({config["net"]["lr"] for config in configs}) == 4
    assert analysis.best_result["loss"] == min(trial.last_result["loss"] for trial in analysis.trials)


def test_expressions_that_cannot_be_undone_are_proposed_and_not_learned_from_after_a_resume(caplog: pytest.LogCaptureFixture) -> None:
    space = {"width": 2 ** hp.uniform("log_width", 0, 5)}
    searcher = bound(HyperOptSearch(space))
    (values,) = play(searcher, lambda values: values["width"], range(1))
    assert 1 <= values["width"] <= 32
    again = bound(HyperOptSearch(space))
    with caplog.at_level(logging.WARNING, "tunesmith"):
        again.on_replayed(0, "t0", values)
    assert "does not learn from trial t0 of an earlier session" in caplog.text
    assert "cannot be traced back through pow()" in caplog.text
    assert again.propose(1, "1") == searcher.propose(1, "1"), "the first ones are random, and depend on seed and number only"


@pytest.mark.parametrize(
    ("searcher", "config", "message"),
    [
        (HyperOptSearch({"a": hp.uniform("x", 0, 1), "b": hp.uniform("x", 0, 2)}), {}, "two hp expressions of the space have the label x"),
        (HyperOptSearch({"a": 3}), {}, "there is nothing to search"),
        (HyperOptSearch(), {"a": 3}, "there is nothing to search"),
        (HyperOptSearch(), {"a": hp.uniform("x", 0, 1), "b": uniform(0, 1)}, "the config has domains, too: b. Give the whole space in one"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(searcher: HyperOptSearch, config: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        bound(searcher, config)


def test_a_space_that_gives_no_dict_is_refused() -> None:
    with pytest.raises(SpecError, match="must evaluate to a dict of named entries"):
        bound(HyperOptSearch(hp.uniform("x", 0, 1))).propose(0, "0")


# ---- the constructor


def test_the_old_positional_form() -> None:
    searcher = HyperOptSearch({"x": hp.uniform("x", 0, 1)}, metric="loss", mode="min")
    searcher.bind(Space.parse({}), None, None, 1)
    assert 0 <= values_of(searcher.propose(0, "0"))["x"] <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_initial_points": 0}, "n_initial_points must be a whole number >= 1"),
        ({"gamma": 0}, "gamma must be a number > 0"),
        ({"gamma": "much"}, "gamma must be a number > 0"),
        ({"random_state_seed": 0.5}, "seed must be a whole number"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        HyperOptSearch(**options)


def test_its_own_seed_takes_the_place_of_the_experiments() -> None:
    one, same, other = (HyperOptSearch(random_state_seed=seed) for seed in (5, 5, 6))
    x = [values_of(bound(searcher, {"x": uniform(0, 1)}, seed).propose(0, "0"))["x"] for seed, searcher in enumerate([one, same, other])]
    assert x[0] == x[1] != x[2]


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hyperopt", None)
    with pytest.raises(SpecError, match=r'pip install "tunesmith\[hyperopt\]"'):
        HyperOptSearch()


def test_its_state_can_be_pickled_with_an_hp_space() -> None:
    searcher = bound(HyperOptSearch(HP, n_initial_points=3))
    play(searcher, hp_loss, range(6))
    again = bound(HyperOptSearch(HP, n_initial_points=3))
    again.set_state(pickle.loads(pickle.dumps(searcher.get_state())))
    assert again.propose(6, "6") == searcher.propose(6, "6")
