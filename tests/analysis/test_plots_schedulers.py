"""Rungs, lineage, schedule and timeline: what schedulers and executors did, as figures tell it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.analysis import ExperimentAnalysis
from tunesmith.analysis.plots import plot_lineage, plot_rungs, plot_schedule, plot_timeline
from tunesmith.analysis.plots.material import Attempt, Material
from tunesmith.analysis.plots.rungs import visits
from tunesmith.analysis.plots.timeline import lanes
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Record
from tunesmith.errors import SpecError
from tunesmith.schedulers import ASHAScheduler, HyperBandScheduler, PASHAScheduler

Make = Callable[..., ExperimentAnalysis]


def falling(config: dict[str, Any], iteration: int) -> tuple[dict[str, float], float]:
    return {"loss": config["x"] / iteration}, 10.0


@cache
def halved(kind: str) -> ExperimentAnalysis:
    """27 trials: middling ones first, then ever worse ones, then the best ones."""
    schedulers = {
        "asha": lambda: ASHAScheduler(max_t=9, reduction_factor=3),
        "promote": lambda: ASHAScheduler(max_t=9, reduction_factor=3, form="promote"),
        "hyperband": lambda: HyperBandScheduler(max_t=9),
        "pasha": lambda: PASHAScheduler(max_t=9, reduction_factor=3),
        "none": lambda: None,
    }
    sim = tune.simulate(
        falling, config={"x": tune.grid_search([float((number + 13) % 27 + 1) for number in range(27)])}, scheduler=schedulers[kind](),
        max_t=9, workers=3, metric="loss", mode="min", seed=1, keep_records=True,
    )  # fmt: skip
    return sim.analysis()


def trace(figure: Any, name: str) -> Any:
    found = [one for one in figure.data if one.name == name]
    assert found, f"no trace {name!r} among {[one.name for one in figure.data]}"
    return found[0]


# -- rungs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["asha", "promote", "hyperband"])
def test_who_reached_which_rung_is_what_the_curves_say(kind: str) -> None:
    analysis = halved(kind)
    found, _ = visits(Material(analysis), "loss")
    assert found
    for visit in found:
        assert visit.value == analysis[visit.trial].config["x"] / visit.milestone
        assert analysis[visit.trial].iteration >= visit.milestone
    at_the_top = {visit.trial for visit in found if visit.milestone == 9}
    assert at_the_top == {trial.number for trial in analysis if trial.iteration == 9}
    for trial in analysis:
        own = [visit for visit in found if visit.trial == trial.number]
        assert [visit.fate for visit in own[:-1]] == ["goes on"] * (len(own) - 1)
        assert own[-1].fate == ("done" if trial.iteration == 9 else "cut")


def test_who_need_not_go_on_was_not_cut() -> None:
    analysis = halved("pasha")
    spared = {entry["trial"] for entry in analysis.decisions() if "need not go on" in entry["reason"]}
    found, _ = visits(Material(analysis), "loss")
    last = {visit.trial: visit for visit in found}
    assert spared
    assert {last[number].fate for number in spared if "need not go on" in last[number].reason} == {"done"}


def test_cut_values_are_those_of_the_decisions() -> None:
    analysis = halved("asha")
    stops = [decision for decision in analysis.decisions() if decision["do"] == "stop" and "the cut of" in decision["reason"]]
    _, cuts = visits(Material(analysis), "loss")
    named = Counter(float(decision["reason"].split("the cut of ")[1].split()[0]) for decision in stops)
    assert Counter(value for values in cuts.values() for value in values) == named
    figure = plot_rungs(analysis)
    newest = {rung: values[-1] for (_, rung), values in cuts.items()}
    assert dict(zip([float(label.split("<")[0]) for label in trace(figure, "cut value").x], trace(figure, "cut value").y)) == newest
    assert stops[0]["reason"] in "".join(trace(figure, "cut").text)


def test_the_figure_counts_trials_and_has_a_panel_for_each_bracket() -> None:
    asha = plot_rungs(halved("asha"))
    labels = asha.layout.xaxis.categoryarray
    found, _ = visits(Material(halved("asha")), "loss")
    counts = Counter(visit.milestone for visit in found)
    assert list(labels) == [f"{rung:g}<br>{count} trial{'s' * (count > 1)}" for rung, count in sorted(counts.items())]
    hyperband = plot_rungs(halved("hyperband"))
    brackets = len({visit.bracket for visit in visits(Material(halved("hyperband")), "loss")[0]})
    assert brackets > 1
    assert [note.text for note in hyperband.layout.annotations] == [f"bracket {number}" for number in range(brackets)]


def test_a_paused_trial_waits_and_a_running_one_goes_on(in_memory: Make) -> None:
    reason = "{} waits for others at training_iteration 1 (1st of 1, bracket 0)"
    records = []
    for number in range(2):
        records += [Record(ev.Suggested(number, {})), Record(ev.AttemptStarted(number, 0))]
        records.append(Record(ev.Reported(number, 0, 1, {"loss": 1.0, "training_iteration": 1})))
    records.append(Record(ev.TimerFired("x"), [Decision("pause", 0, reason.format(1), {"mode": "warm"})]))
    options = {"time_attr": "training_iteration", "max_t": 9, "grace_period": 1, "reduction_factor": 3, "brackets": 1}
    analysis = in_memory(*records, spec={"scheduler": "ASHAScheduler", "scheduler_options": options, "metrics": ["loss"], "modes": ["min"]})
    found, _ = visits(Material(analysis), "loss")
    assert [(visit.trial, visit.milestone, visit.fate) for visit in found] == [(0, 1, "waits"), (1, 1, "goes on")]


def test_without_rungs_the_scheduler_is_named() -> None:
    with pytest.raises(SpecError, match=r"has reached a rung. Its scheduler \(FIFOScheduler\) has none"):
        plot_rungs(halved("none"))


# -- populations ---------------------------------------------------------------------------------------------------------


def climbing(config: dict[str, Any], iteration: int, memory: dict[str, Any]) -> dict[str, float]:
    memory["score"] = memory.get("score", 0.0) + config["rate"] * (1 - config["drag"])
    return {"score": memory["score"]}


@cache
def population() -> ExperimentAnalysis:
    scheduler = tune.PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"rate": tune.uniform(0.1, 2.0), "drag": [0.0, 0.5]}
    )
    sim = tune.simulate(
        climbing, config={"rate": tune.uniform(0.1, 1.0), "drag": 0.5, "api_key": "SECRET"}, num_samples=6, workers=6, max_t=20,
        scheduler=scheduler, metric="score", mode="max", seed=3, keep_records=True,
    )  # fmt: skip
    return sim.analysis()


def test_each_exploit_is_an_arrow_from_the_source_to_the_trial() -> None:
    analysis = population()
    exploits = analysis.exploits()
    assert exploits
    figure = plot_lineage(analysis)
    lines, heads = [one for one in figure.data if one.name == "exploit"]
    assert list(zip(heads.x, heads.y)) == [(one["source_iteration"], one["trial"]) for one in exploits]
    assert list(lines.y) == [row for one in exploits for row in (one["source"], one["trial"], None)]
    assert f"goes on from {analysis[exploits[0]['source']].trial_id}" in heads.text[0]
    reports = trace(figure, "reports")
    assert len(reports.x) == sum(len(curve.values) for curve in Material(analysis).curves("score").values())
    assert "SECRET" not in figure.to_json()


def test_the_line_of_the_best_goes_through_everybody_it_copied() -> None:
    analysis = population()
    line = next(one for one in plot_lineage(analysis).data if (one.name or "").startswith("what led to the best"))
    assert (line.x[0], line.x[-1], line.y[-1]) == (0, analysis.best_trial.iteration, analysis.best_trial.number)
    hops = [(at, before, after) for at, before, after in zip(line.x[1:], line.y, line.y[1:]) if before != after]
    known = {(one["source_iteration"], one["source"], one["trial"]) for one in analysis.exploits()}
    assert hops
    assert set(hops) <= known


def test_what_a_source_copied_later_is_not_part_of_the_line(in_memory: Make) -> None:
    def copied(trial: int, source: int, iteration: int) -> list[Record]:
        told = {"source": source, "checkpoint": f"{source}/checkpoint_{iteration:06d}", "iteration": iteration}
        asked = Record(ev.TimerFired("x"), [Decision("exploit", trial, "why", {"source": source, "values": {"x": 1}})])
        return [asked, Record(ev.TimerFired("x"), [Decision("exploited", trial, "why", told)])]

    def reported(trial: int, *iterations: int) -> list[Record]:
        return [Record(ev.Reported(trial, 0, at, {"score": float(at + 100 * (trial == 2))})) for at in iterations]

    records = [Record(ev.Suggested(number, {"x": number})) for number in range(4)]
    records += [*reported(0, 1, 2), *reported(3, 1, 2, 3), *copied(1, 0, 2), *reported(1, 3, 4), *copied(2, 1, 4), *reported(2, 5, 6)]
    records += [*copied(1, 3, 3), *reported(1, 4, 5)]
    figure = plot_lineage(in_memory(*records, default_metric="score", default_mode="max"))
    line = trace(figure, "what led to the best (3f2a9_00002)")
    assert list(zip(line.x, line.y)) == [(0, 0), (2, 0), (2, 1), (4, 1), (4, 2), (6, 2)]


def test_a_lineage_of_very_many_reports_is_thinned_and_drawn_at_once(in_memory: Make) -> None:
    """A look at all values for each of them would take minutes here."""
    told = {"source": 0, "checkpoint": "0/checkpoint_000001", "iteration": 1}
    records = [Record(ev.Suggested(number, {"x": number})) for number in range(2)]
    records += [Record(ev.Reported(number, 0, at, {"score": float(at)})) for number in range(2) for at in range(1, 15_001)]
    records.append(Record(ev.TimerFired("x"), [Decision("exploit", 1, "why", {"source": 0, "values": {"x": 1}})]))
    records.append(Record(ev.TimerFired("x"), [Decision("exploited", 1, "why", told)]))
    reports = trace(plot_lineage(in_memory(*records, default_metric="score", default_mode="max")), "reports")
    assert (reports.type, len(reports.x)) == ("scattergl", 20_000)
    assert (reports.x[0], reports.x[9_999], max(reports.marker.color)) == (1, 15_000, math.log10(15_000))
    assert reports.text[0] == "<b>3f2a9_00000</b><br>iteration 1: score = 1"


def test_the_schedule_is_that_of_the_analysis() -> None:
    analysis = population()
    schedule = analysis.best_schedule()
    figure = plot_schedule(analysis)
    assert len(schedule) > 1
    rate = trace(figure, "rate")
    assert list(rate.x) == [*(at for at, _ in schedule), analysis.best_trial.iteration]
    assert list(rate.y)[:-1] == [config["rate"] for _, config in schedule]
    assert {one.name for one in figure.data} <= {"rate", "drag"}


@pytest.mark.parametrize("plot", [plot_lineage, plot_schedule])
def test_without_exploits_the_scheduler_is_named(plot: Callable[..., Any]) -> None:
    for kind, name in (("none", "FIFOScheduler"), ("asha", "AsyncHyperBandScheduler")):
        with pytest.raises(SpecError, match=rf"{plot.__name__}\(\): no trial .* Its scheduler is {name}"):
            plot(halved(kind))


# -- timeline ------------------------------------------------------------------------------------------------------------


def test_the_timeline_has_one_bar_for_each_attempt_in_as_many_rows_as_ran_at_once() -> None:
    figure = plot_timeline(halved("none"))
    bars = trace(figure, "finished")
    assert sorted(bars.base) == [90.0 * (number // 3) for number in range(27)]
    assert (set(bars.x), set(bars.y)) == ({90.0}, {1, 2, 3})
    busy = trace(figure, "at once")
    assert (max(busy.y), busy.y[-1], busy.x[-1]) == (3, 0, 810.0)
    assert "27 attempts; 3.00 at once on average, 3 at most" in figure.layout.title.text


def test_how_attempts_ended(in_memory: Make) -> None:
    ended = {"status": "TERMINATED", "outcome": "finished"}
    records = [
        Record(ev.CapacityChanged({"cpu": 2.0}, slots=2, at=0.0)),
        *[Record(ev.Suggested(number, {}, at=0.0)) for number in range(4)],
        Record(ev.AttemptStarted(0, 0, {"hostname": "box"}, at=1.0)),
        Record(ev.AttemptEnded(0, 0, "stopped", at=3.0), [Decision("paused", 0)]),
        Record(ev.AttemptStarted(1, 0, at=3.0)),
        Record(ev.AttemptEnded(1, 0, "user_error", at=4.0), [Decision("end", 1, "", {"status": "ERROR", "outcome": "user_error"})]),
        Record(ev.AttemptStarted(2, 0, at=4.0)),
        Record(ev.AttemptEnded(2, 0, "driver_lost", at=5.0), [Decision("retry", 2)]),
        Record(ev.AttemptStarted(0, 1, at=5.0)),
        Record(ev.AttemptEnded(0, 1, "finished", at=6.0), [Decision("end", 0, "", ended)]),
        Record(ev.AttemptStarted(3, 0, at=6.0)),
        Record(ev.TimerFired("x", at=9.0)),
    ]
    figure = plot_timeline(in_memory(*records))
    spans = {one.name: list(zip(one.base, one.x)) for one in figure.data if one.type == "bar"}
    assert spans == {
        "finished": [(5.0, 1.0)],
        "to be continued": [(1.0, 2.0)],
        "failed": [(3.0, 1.0)],
        "cut off": [(4.0, 1.0)],
        "running": [(6.0, 3.0)],  # no end in the journal: drawn to its newest moment
    }
    assert set(trace(figure, "room for").y) == {2}
    assert "on box: 2 s from 1 s, ended: stopped" in trace(figure, "to be continued").text[0]


def test_an_attempt_paused_in_memory_keeps_its_row_and_does_not_run(in_memory: Make) -> None:
    ended = {"status": "TERMINATED", "outcome": "finished"}
    records = [
        *[Record(ev.Suggested(number, {}, at=0.0)) for number in range(2)],
        Record(ev.AttemptStarted(0, 0, at=1.0)),
        Record(ev.Reported(0, 0, 1, {"loss": 1.0}, at=3.0), [Decision("pause", 0, "waits", {"mode": "warm"})]),
        Record(ev.AttemptStarted(1, 0, at=3.0)),
        Record(ev.AttemptEnded(1, 0, "finished", at=5.0), [Decision("end", 1, "", ended), Decision("launch", 0, "goes on")]),
        Record(ev.AttemptEnded(0, 0, "finished", at=6.0), [Decision("end", 0, "", ended)]),
    ]
    figure = plot_timeline(in_memory(*records))
    assert list(zip(trace(figure, "finished").base, trace(figure, "finished").x)) == [(1.0, 2.0), (5.0, 1.0), (3.0, 2.0)]
    held = trace(figure, "paused in memory")
    assert (list(held.base), list(held.x), list(held.y)) == ([3.0], [2.0], [1])
    assert list(zip(trace(figure, "at once").x, trace(figure, "at once").y)) == [(0.0, 0), (1.0, 1), (3.0, 1), (5.0, 1), (6.0, 0)]
    assert "1 at most" in figure.layout.title.text


def test_an_experiment_that_has_not_begun(in_memory: Make) -> None:
    assert plot_timeline(in_memory()).layout.annotations[0].text == "no attempt has begun yet"


def test_very_many_attempts_are_strokes(in_memory: Make) -> None:
    records = []
    for number in range(1600):
        records += [Record(ev.Suggested(number, {})), Record(ev.AttemptStarted(number, 0, at=float(number)))]
        data = {"status": "TERMINATED", "outcome": "finished"}
        records.append(Record(ev.AttemptEnded(number, 0, "finished", at=number + 1.0), [Decision("end", number, "", data)]))
    figure = plot_timeline(in_memory(*records))
    strokes = trace(figure, "finished")
    assert (strokes.type, len(strokes.x), list(strokes.x[:2]), math.isnan(strokes.x[2])) == ("scattergl", 4800, [0.0, 1.0], True)


def test_rows_are_taken_again_as_they_get_free() -> None:
    spans = [(0.0, 4.0), (1.0, 2.0), (2.0, 6.0), (3.0, None), (4.0, 5.0)]
    assert lanes([Attempt(0, 0, start, "", end) for start, end in spans], 9.0) == [0, 1, 1, 2, 0]
