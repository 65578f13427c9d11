"""Curve tables: arrays in, the same curves out, through a file and through lookups; and simulations that play them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.simulation import CurveTable, simulate
from tunesmith.space import Space


def small(**more: Any) -> CurveTable:
    configs = {"lr": [0.1, 0.01, 0.001], "act": ["relu", "tanh", "relu"], "layers": [1, 2, 3]}
    loss = np.array([[3.0, 2.0, 1.0], [3.5, 0.5, 0.6], [9.0, 8.0, 7.0]])
    return CurveTable.from_arrays(configs, {"loss": loss}, **{"seconds": 10.0, "log": ["lr"], **more})


def play(table: CurveTable, **options: Any) -> tune.simulation.Simulation:
    return simulate(table, **{"workers": 1, "metric": "loss", "mode": "min", "seed": 1, **options})


# -- the table ---------------------------------------------------------------------------------------------------------------


def test_what_was_put_in_comes_out() -> None:
    table = small(about="made up", units={"lr": "1", "seconds": "s"})
    assert len(table) == 3
    assert [table.config(row) for row in range(3)] == [
        {"lr": 0.1, "act": "relu", "layers": 1}, {"lr": 0.01, "act": "tanh", "layers": 2}, {"lr": 0.001, "act": "relu", "layers": 3},
    ]  # fmt: skip
    assert type(table.config(0)["layers"]) is int
    assert table.curve(1, "loss").tolist() == [3.5, 0.5, 0.6]
    assert (table.best("loss", "min"), table.best("loss", "max"), table.best("loss", "min", "last")) == (0.5, 9.0, 0.6)
    assert repr(table) == "<CurveTable of 3 x 3: loss (made up)>"


def test_configs_may_be_nested_and_need_not_be_alike() -> None:
    configs = [{"opt": {"name": "sgd", "momentum": 0.9}}, {"opt": {"name": "adam"}}, {"opt": {"name": None}, "wide": True}]
    table = CurveTable.from_arrays(configs, {"loss": np.ones((3, 1))})
    assert [table.config(row) for row in range(3)] == configs
    assert table.lookup({"opt": {"name": "adam"}}) == (1, 0.0)
    assert table.lookup({"opt/name": "sgd", "opt/momentum": 0.9, "unknown": 3}) == (0, 0.0)
    assert table.lookup({"opt": {"name": "adam"}, "wide": True})[1] == 1.0


def test_rows_may_be_of_different_lengths_and_lack_metrics() -> None:
    missing = {"acc": np.array([[False, True], [False, False]])}
    metrics = {"loss": [[1.0, math.nan], [2.0, math.nan]], "acc": [[0.1, 0.0], [0.3, 0.4]]}
    table = CurveTable.from_arrays({"x": [0, 1]}, metrics, lengths=[2, 1], missing=missing)
    assert table.curve(1, "acc").tolist() == [0.3]
    sim = play(table, keep_records=True)
    frames = [trial.records() for trial in sim.analysis().trials]
    reports = [[r.event.metrics for r in records if type(r.event).__name__ == "Reported"] for records in frames]
    assert ["acc" in report for report in reports[0]] == [True, False]
    assert len(reports[1]) == 1


CONFIGS = st.fixed_dictionaries(
    {"a": st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.integers(-5, 5)), "b": st.floats(-9, 9)},
    optional={"c": st.integers(0, 2**53)},
)


def tables(rows: int) -> st.SearchStrategy[Any]:
    numbers = arrays.arrays(np.float64, (rows, 3), elements=st.floats(width=32))
    seconds = arrays.arrays(np.float64, (rows, 3), elements=st.floats(0, 1e6, width=32))
    lengths = st.lists(st.integers(0, 3), min_size=rows, max_size=rows)
    return st.tuples(numbers, seconds, st.lists(CONFIGS, min_size=rows, max_size=rows), lengths)


@given(table=st.integers(1, 5).flatmap(tables))
def test_through_a_file_it_is_the_same(tmp_path_factory: pytest.TempPathFactory, table: Any) -> None:
    values, seconds, configs, lengths = table
    path = tmp_path_factory.mktemp("tables") / "curves.npz"
    missing = {"loss": values > 1}
    one = CurveTable.from_arrays(configs, {"loss": values, "a/b": -values}, seconds, lengths=lengths, ends="cut", missing=missing)
    one.save(path)
    again = CurveTable.load(path)
    assert again.columns == one.columns
    assert again.names == ("loss", "a/b")
    for name in ("configs", "metrics", "seconds", "lengths", "ends", "missing"):
        np.testing.assert_array_equal(getattr(again, name), getattr(one, name))
    for row, config in enumerate(configs):
        assert again.values(row) == config
        found, distance = again.lookup(config)
        assert distance == 0.0
        assert again.values(found) == config
    assert [file.name for file in path.parent.iterdir()] == ["curves.npz"]


def test_it_is_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    configs = {name: rng.random(1000) for name in "abcdef"}
    table = CurveTable.from_arrays(configs, {name: rng.random((1000, 30)) for name in ("loss", "acc")}, rng.random((1000, 30)))
    table.save(tmp_path / "curves.npz")
    assert (tmp_path / "curves.npz").stat().st_size < 1_000_000


def test_exactness_is_a_choice(tmp_path: Path) -> None:
    table = CurveTable.from_arrays({"x": [0.1]}, {"loss": [[0.1]]})
    table.save(tmp_path / "a.npz")
    table.save(tmp_path / "b.npz", dtype="float64")
    assert CurveTable.load(tmp_path / "a.npz").curve(0, "loss")[0] == np.float32(0.1)
    assert CurveTable.load(tmp_path / "b.npz").curve(0, "loss")[0] == 0.1
    assert CurveTable.load(tmp_path / "a.npz").config(0) == {"x": 0.1}, "parameters are always exact"
    with pytest.raises(SpecError, match="dtype must be"):
        table.save(tmp_path / "c.npz", dtype="float16")


def test_the_header_says_what_is_in_it(tmp_path: Path) -> None:
    small(units={"loss": "nats", "lr": "1/step"}, space={"lr": tune.loguniform(1e-4, 1)}, about="made up").save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as file:
        header = json.loads(file["header"].tobytes())
        assert set(file.files) == {"header", "configs", "metrics", "seconds", "lengths", "ends"}
    assert header["columns"][0] == {"name": "lr", "kind": "number", "log": True, "unit": "1/step"}
    assert header["columns"][1]["options"] == ["relu", "tanh"]
    assert header["metrics"] == [{"name": "loss", "unit": "nats"}]
    assert (header["format"], header["about"]) == (1, "made up")
    assert CurveTable.load(tmp_path / "t.npz").units == {"loss": "nats", "seconds": "s"}


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", loss=np.ones(3))
    np.savez(tmp_path / "newer.npz", header=np.frombuffer(b'{"format": 2}', np.uint8))
    (tmp_path / "empty.npz").touch()
    for name, message in (("text", "is no curve"), ("other", "is no curve"), ("newer", "of format 2"), ("empty", "is no curve")):
        with pytest.raises(SpecError, match=message):
            CurveTable.load(tmp_path / f"{name}.npz")
    with pytest.raises(SpecError, match="there is no curve table at"):
        CurveTable.load(tmp_path / "nothing.npz")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"configs": {}}, "at least one parameter"),
        ({"configs": {"x": [1], "y": [1, 2]}}, "as many values"),
        ({"configs": {"x": [[1], [2]]}}, "values are numbers, strings, bools or None"),
        ({"metrics": {}}, "at least one row and one metric"),
        ({"metrics": {"loss": [[1.0]]}}, r"the shape \(2, iterations\)"),
        ({"metrics": {"loss": [["a"], ["b"]]}}, "must hold numbers"),
        ({"metrics": {"loss": [[1.0], [1.0]], "acc": [[1.0, 2.0], [1.0, 2.0]]}}, "as many iterations"),
        ({"seconds": -1.0}, "finite and >= 0"),
        ({"seconds": [[1.0, 2.0, 3.0]]}, r"shape \(2, 1\)"),
        ({"lengths": [2, 1]}, "2 whole numbers from 0 to 1"),
        ({"ends": ["finished"]}, "one for each of the 2 rows"),
        ({"ends": "gone"}, "ends must be one of finished, limit, cut"),
        ({"log": ["y"]}, "log='y' is no parameter"),
        ({"log": ["x"]}, "log='x' needs positive values"),
        ({"configs": {"x": ["a", "b"]}, "log": ["x"]}, "log='x' needs numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        CurveTable.from_arrays(**{"configs": {"x": [0, 1]}, "metrics": {"loss": [[1.0], [2.0]]}, **given})


def test_unknown_metrics_and_rows_are_refused() -> None:
    with pytest.raises(SpecError, match="no metric 'acc'; there are loss"):
        small().curve(0, "acc")
    with pytest.raises(SpecError, match="no finite value"):
        CurveTable.from_arrays({"x": [0]}, {"loss": [[math.nan]]}).best("loss", "min")
    for row in (3, -1, True, "0"):
        with pytest.raises(SpecError, match="is no row; there are 3"):
            small().lookup({"row": row})


# -- lookup ------------------------------------------------------------------------------------------------------------------


def test_near_is_measured_by_places_between_the_least_and_the_greatest() -> None:
    table = small()
    assert table.lookup({"lr": 0.01, "act": "tanh", "layers": 2}) == (1, 0.0)
    assert table.lookup({"lr": 0.03, "act": "relu", "layers": 1})[0] == 0, "logarithms: 0.03 lies about in the middle"
    row, distance = table.lookup({"lr": 0.1, "act": "relu", "layers": 2})
    assert (row, distance) == (0, 0.5)
    assert table.lookup({"lr": 0.1, "act": "gelu", "layers": 1}) == (0, 1.0)
    assert table.lookup({"lr": -1.0, "act": "relu", "layers": 1}) == (0, 1.0), "no place on a logarithmic scale"
    assert table.lookup({"lr": "much", "act": "relu", "layers": 1}) == (0, 1.0)
    assert table.lookup({"lr": 10.0, "act": "relu", "layers": 1}) == (0, 1.0), "as far beyond as the whole range is wide"
    assert table.lookup({"lr": 0.1, "act": "relu"}) == (0, 1.0)


def test_of_equally_near_and_of_equal_rows_the_first_counts() -> None:
    table = CurveTable.from_arrays({"x": [0.0, 1.0, 1.0]}, {"loss": [[1.0]] * 3})
    assert table.lookup({"x": 0.5}) == (0, 0.5)
    assert table.lookup({"x": 1}) == (1, 0.0)
    assert table.lookup({"row": 2}) == (2, 0.0), "but a row can be named"


def test_a_row_stands_for_its_parameters_and_others_take_their_place() -> None:
    table = small()
    assert table.lookup({"row": 1}) == (1, 0.0)
    assert table.lookup({"row": 1, "act": "tanh", "epochs": 3}) == (1, 0.0)
    assert table.lookup({"row": 0, "layers": 2}) == (0, 0.5)
    assert table.lookup({"row": 0, "lr": 0.001, "layers": 3}) == (2, 0.0)


def test_a_parameter_may_be_called_row() -> None:
    table = CurveTable.from_arrays({"row": [5, 6]}, {"loss": [[1.0], [2.0]]})
    assert list(table.space()) == ["row_"]
    assert table.lookup({"row": 6}) == (1, 0.0)
    assert [trial.config for trial in play(table).trials] == [{"row": 5, "row_": 0}, {"row": 6, "row_": 1}]


# -- spaces ------------------------------------------------------------------------------------------------------------------


def test_a_table_is_a_space_of_rows_of_a_grid_or_of_domains() -> None:
    assert {name: domain.categories for name, domain in small().space().items()} == {"row": (0, 1, 2)}
    space = {"lr": tune.loguniform(1e-4, 1), "act": tune.choice(["relu", "tanh"]), "layers": tune.randint(1, 4)}
    known = small(space=space)
    assert Space.parse(known.space("domains")).describe() == Space.parse(space).describe()
    grid = CurveTable.from_arrays([{"a": {"b": b}, "c": c} for b in (1, 2) for c in "xyz"], {"loss": np.ones((6, 1))})
    assert grid.space("grid") == {"a": {"b": {"grid_search": [1, 2]}}, "c": {"grid_search": ["x", "y", "z"]}}
    with pytest.raises(SpecError, match="is no full grid"):
        small().space("grid")
    with pytest.raises(SpecError, match="does not say what its rows were drawn from"):
        small().space("domains")
    with pytest.raises(SpecError, match="over must be"):
        small().space("all")


# -- simulations -------------------------------------------------------------------------------------------------------------


def test_each_row_is_a_trial_in_order() -> None:
    sim = play(small())
    assert [trial.config for trial in sim.trials] == [{"row": row, **small().config(row)} for row in range(3)]
    assert [list(curve.values) for curve in sim.curves().values()] == small().metrics[0].tolist()
    assert (sim.seconds, sim.best_value, sim.regret(), sim.unobserved, sim.approximated) == (90.0, 0.5, 0.0, {}, {})
    assert sim.regret(at=30) == 0.5
    assert sim.regret(scope="last") == 0.0


def test_rows_can_be_drawn_and_walked_through_and_looked_up() -> None:
    drawn = play(small(), num_samples=20)
    assert {trial.config["row"] for trial in drawn.trials} == {0, 1, 2}
    grid = CurveTable.from_arrays({"x": [1, 2]}, {"loss": [[1.0], [2.0]]})
    walked = play(grid, config=grid.space("grid"))
    assert [trial.config for trial in walked.trials] == [{"x": 1}, {"x": 2}]
    near = play(grid, config={"x": tune.uniform(1, 2)}, num_samples=10)
    assert set(near.approximated) == set(range(10))
    assert "10 trials played the curve of the nearest configuration" in str(near)
    for trial in near.trials:
        assert trial.last_result["loss"] == round(trial.config["x"])
    exact = play(grid, config={"x": tune.grid_search([1, 1.5])}, lookup="exact", failure_config=tune.FailureConfig(circuit_breaker=None))
    assert [trial.outcome for trial in exact.trials] == ["finished", "user_error"]
    assert "x=1.5: it is not in the table; the nearest is row 0" in exact.trials[1].reason


def test_a_searcher_is_given_the_domains_where_they_are_known() -> None:
    class Asks(tune.search.Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return {}

    table = CurveTable.from_arrays({"x": [1, 2]}, {"loss": [[1.0], [2.0]]}, space={"x": tune.uniform(1, 2)})
    sim = play(table, search_alg=Asks())
    assert len(sim.trials) == 2
    assert all(set(trial.config) == {"x"} and 1 <= trial.config["x"] <= 2 for trial in sim.trials)
    table.drawn_from = None
    assert {frozenset(trial.config) for trial in play(table, search_alg=Asks()).trials} == {frozenset({"row", "x"})}


def test_what_comes_after_a_curve_depends_on_how_it_ended() -> None:
    ends = ["finished", "limit", "cut", "user_error", "infeasible"]
    table = CurveTable.from_arrays({"x": range(5)}, {"loss": np.ones((5, 2))}, ends=ends)
    plain = play(table, failure_config=tune.FailureConfig(max_failures={"user_error": 1}))
    assert [trial.outcome for trial in plain.trials] == ["finished", "finished", "finished", "user_error", "infeasible"]
    assert plain.trials[3].num_failures == 2
    assert plain.unobserved == {2: 2}
    assert "1 trials were to go on beyond what was observed" in str(plain)
    assert play(table, max_t=3).unobserved == {1: 2, 2: 2}, "with a length of its own it needs what the experiment's limit has cut off"
    assert play(table, stop={"training_iteration": 3}).unobserved == {1: 2, 2: 2}
    assert play(table, max_t=2).unobserved == {}
    assert play(table, stop={"training_iteration": 2}).unobserved == {}


def test_a_file_is_a_source_too(tmp_path: Path) -> None:
    small().save(tmp_path / "curves.npz")
    assert play(tmp_path / "curves.npz").seconds == 90.0  # type: ignore[arg-type]
