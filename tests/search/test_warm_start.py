"""What earlier experiments found, told to a searcher: from analyses, from our folders, and from Ray Tune's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.search import BasicVariantGenerator, Proposal, Searcher
from tunesmith.search.limiter import ConcurrencyLimiter
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.repeater import Repeater
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.search.warm_start import evaluated
from tunesmith.space import Space

SPACE = {"x": tune.uniform(0, 1)}


class Listening(Sampler):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def propose(self, asked: Asked) -> Proposal | None:
        return None


class Listener(NativeSearcher):
    def make_sampler(self, problem: Problem) -> Sampler:
        return Listening(problem)

    @property
    def seen(self) -> list[Observation]:
        return self.sampler.seen  # type: ignore[attr-defined,no-any-return]


def told(source: Any, config: dict[str, Any] | None = None, metric: Any = None, **options: Any) -> list[Observation]:
    """What a searcher for ``config`` hears of ``source``."""
    searcher = Listener(**{"metric": "loss", "mode": "min", **options})
    searcher.add_evaluated_trials(source, metric)
    searcher.bind(Space.parse(SPACE if config is None else config))
    return searcher.seen


def brief(seen: list[Observation]) -> list[tuple[Any, ...]]:
    return [(one.values["x"], one.losses, one.outcome, one.step) for one in seen[:4]]


def train(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(loss=config["x"] + 1 / step, size={"mb": config["x"]})
        if config["x"] == 0.75 and step == 2:
            raise ValueError("broken on purpose")
    if config["x"] == 0.25:
        raise tune.Infeasible("not this one")


XS = [0.5, 0.75, 0.25, 0.0]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> tune.ExperimentAnalysis:
    """Finished, failed in its second step, infeasible at its end, finished; and one in the place of the infeasible one."""
    return tune.run(
        train, config={**SPACE, "epochs": 3}, metric="loss", mode="min", num_samples=4, name="earlier", verbose=0, executor="inline",
        storage_path=tmp_path_factory.mktemp("results"), seed=1, raise_on_failed_trial=False,
        search_alg=BasicVariantGenerator(points_to_evaluate=[{"x": x} for x in XS]),
    )  # fmt: skip


EXPECTED = [
    (0.5, (0.5 + 1 / 3,), "finished", 3.0),
    (0.75, None, "failed", 2.0),
    (0.25, None, "failed", 3.0),
    (0.0, (1 / 3,), "finished", 3.0),
]


@pytest.mark.parametrize(
    "form", [lambda a: a, lambda a: a.trials, tune.ResultGrid, lambda a: [*tune.ResultGrid(a)], iter]
)
def test_trials_of_an_analysis_in_all_its_forms(earlier: tune.ExperimentAnalysis, form: Any) -> None:
    assert brief(told(form(earlier))) == EXPECTED


def test_an_experiment_that_is_opened(earlier: tune.ExperimentAnalysis) -> None:
    assert brief(told(tune.open_experiment(earlier.experiment_path))) == EXPECTED


@pytest.mark.parametrize("as_path", [str, Path, lambda path: [path]])
def test_a_folder_of_ours(earlier: tune.ExperimentAnalysis, as_path: Any) -> None:
    """Files do not say that a trial which reported turned out to be infeasible."""
    found = brief(told(as_path(earlier.experiment_path)))
    assert [one for one in found if one[0] != 0.25] == [one for one in EXPECTED if one[0] != 0.25]


def test_one_trials_folder(earlier: tune.ExperimentAnalysis) -> None:
    assert brief(told(earlier.trials[1].path)) == [EXPECTED[1]]


def test_a_trial_that_a_scheduler_stopped_counts_with_its_last_result(tmp_path: Path) -> None:
    def curve(config: dict[str, Any]) -> None:
        for step in range(1, 10):
            tune.report(loss=config["x"] + 1 / step)

    analysis = tune.run(
        curve, config=SPACE, metric="loss", mode="min", num_samples=9, storage_path=tmp_path, verbose=0, executor="inline", seed=1,
        scheduler=tune.ASHAScheduler(max_t=20, grace_period=1, reduction_factor=2),
    )  # fmt: skip
    seen = told(analysis)
    assert [one.losses for one in seen] == [(trial.last_result["loss"],) for trial in analysis]
    assert [one.step for one in seen] == [trial.iteration for trial in analysis]
    assert {one.outcome for one in seen} == {"stopped", "finished"}


def test_after_the_searcher_is_bound_too(earlier: tune.ExperimentAnalysis) -> None:
    searcher = Listener("loss", "min")
    searcher.bind(Space.parse(SPACE))
    searcher.add_evaluated_trials(earlier)
    searcher.add_evaluated_point({"x": 0.125}, 3.0)
    assert [one.trial for one in searcher.seen] == [-1, -2, -3, -4, -5, -6]


def test_through_wrappers(earlier: tune.ExperimentAnalysis) -> None:
    inner = Listener("loss", "min")
    searcher = ConcurrencyLimiter(Repeater(inner, 2), 4)
    searcher.add_evaluated_trials(earlier)
    searcher.bind(Space.parse(SPACE))
    assert brief(inner.seen) == EXPECTED


def test_in_a_real_run_and_again_when_that_is_resumed(earlier: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    for total in (1, 3):
        searcher = Listener(points_to_evaluate=[{"x": 0.375}])
        searcher.add_evaluated_trials(earlier.experiment_path)
        tune.run(
            train, config=SPACE, metric="loss", mode="min", num_samples=total, storage_path=tmp_path, name="next", verbose=0,
            executor="inline", search_alg=searcher, resume=total > 1, seed=2,
        )  # fmt: skip
        assert len(searcher.seen) == 5 + total
    assert searcher.seen[5].values == {"x": 0.375}


def test_several_metrics_and_nested_ones(earlier: tune.ExperimentAnalysis) -> None:
    class Several(Listener):
        from dataclasses import replace as _replace

        capabilities = _replace(Listener.capabilities, multi_objective=True)

    searcher = Several(["loss", "size/mb"], ["min", "max"])
    searcher.add_evaluated_trials(earlier)
    searcher.bind(Space.parse(SPACE))
    assert [one.losses for one in searcher.seen[:4]] == [(0.5 + 1 / 3, -0.5), None, None, (1 / 3, -0.0)]
    assert brief(told(earlier, metric="size/mb", mode="max"))[0][1] == (-0.5,)


def test_a_metric_that_none_has_is_an_error(earlier: tune.ExperimentAnalysis) -> None:
    with pytest.raises(SpecError, match=r"none of the 5 trials with results has 'los'. Did you mean 'loss'\?"):
        told(earlier, metric="los")
    with pytest.raises(SpecError, match="must be as many names as the searcher has metrics: loss"):
        told(earlier, metric=["loss", "size/mb"])


def test_searchers_that_cannot_be_told_say_so(earlier: tune.ExperimentAnalysis) -> None:
    class Own(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return {}

    for searcher in (BasicVariantGenerator(), Own(), Repeater(Own(), 2)):
        with pytest.raises(SpecError, match="cannot be told of points"):
            searcher.add_evaluated_trials(earlier)


def test_users_own_searchers_are_told_as_rays_are(earlier: tune.ExperimentAnalysis) -> None:
    class Own(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return {}

        def add_evaluated_point(self, *given: Any, **named: Any) -> None:
            calls.append((given, named))

    calls: list[Any] = []
    searcher = Own("loss", "min")
    searcher.add_evaluated_trials(earlier)
    searcher.bind(Space.parse(SPACE))
    curve = [0.5 + 1 / step for step in (1, 2, 3)]
    assert calls[0] == (({"x": 0.5}, curve[-1]), {"error": False, "pruned": False, "intermediate_values": curve})
    assert [named["error"] for _, named in calls] == [False, True, True, False, False]


@pytest.mark.parametrize("wrong", [7, None, {"x": 1}, [3], ["no/such/folder"]])
def test_what_is_nothing_of_these_is_refused(wrong: Any) -> None:
    with pytest.raises(SpecError, match="add_evaluated_trials"):
        evaluated(wrong)


def test_a_folder_without_trials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no experiment's directory"):
        evaluated(tmp_path)


# ---- which of them the space has


def known(*configs: dict[str, Any], state: str = "TERMINATED") -> list[Any]:
    """Trials as Ray's own objects are, with a loss of 0, 1, 2 ..."""
    return [
        SimpleNamespace(config=config, last_result={"loss": float(number)}, status=state, trial_id=f"t{number}")
        for number, config in enumerate(configs)
    ]


def kept(config: dict[str, Any], *configs: dict[str, Any]) -> list[float]:
    return [one.loss for one in told(known(*configs), config)]


def test_those_outside_are_left_out_with_one_word(caplog: pytest.LogCaptureFixture) -> None:
    assert kept(SPACE, {"x": 2.0}, {"x": 0.5}, {"y": 0.5}) == [1.0]
    assert caplog.messages == [
        "2 of 3 earlier trials are not used by the search; the first is t0: config['x']: 2.0 is not in uniform(0.0, 1.0)."
    ]


def test_a_parameter_that_has_no_value_there_leaves_the_trial_out(caplog: pytest.LogCaptureFixture) -> None:
    assert kept({**SPACE, "n": {"m": tune.randint(0, 4)}}, {"x": 0.5}, {"x": 0.5, "n": {"m": 3}}) == [1.0]
    assert caplog.messages[0].endswith("t0: config['n']['m']: there is no value for it")


def test_constants_may_be_others_but_not_what_was_varied(caplog: pytest.LogCaptureFixture) -> None:
    space = {**SPACE, "epochs": 3, "net": {"act": "relu", "width": tune.choice([8, 16])}}
    one = {"x": 0.5, "epochs": 9, "data": "/old", "net": {"act": "tanh", "width": 8}}
    assert kept(space, one, {**one, "x": 0.25}) == [0.0, 1.0]
    assert not caplog.messages
    assert kept(space, one, {**one, "epochs": 3}) == [1.0]
    assert kept(space, one, {**one, "momentum": 0.5}) == [0.0]
    assert [message.partition("first is ")[2] for message in caplog.messages] == [
        "t0: config['epochs']: is the constant 3, and 9 there",
        "t1: config['momentum']: differs between the trials, and is no entry of the space",
    ]


def test_constraints_hold(caplog: pytest.LogCaptureFixture) -> None:
    space = {**SPACE, "small": tune.require(lambda config: config["x"] < 0.5, "x is small")}
    assert kept(space, {"x": 0.75}, {"x": 0.25}) == [1.0]
    assert caplog.messages[0].endswith("t0: breaks the constraint (x is small)")


def test_repeats_are_told_each(caplog: pytest.LogCaptureFixture) -> None:
    assert kept(SPACE, {"x": 0.5, "__trial_index__": 0}, {"x": 0.5, "__trial_index__": 1}) == [0.0, 1.0]
    assert not caplog.messages


def test_trials_that_are_not_over_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    assert told([*known({"x": 0.5}, state="RUNNING"), *known({"x": 0.25})])[0].values == {"x": 0.25}
    assert caplog.messages[0].endswith("t0: is not over (RUNNING)")


def test_one_without_a_result_does_not_count_unless_it_failed() -> None:
    nothing = SimpleNamespace(config={"x": 0.5}, last_result=None, status="TERMINATED", trial_id="a")
    broken = SimpleNamespace(config={"x": 0.25}, last_result={}, status="ERROR", trial_id="b")
    assert [(one.values["x"], one.outcome) for one in told([nothing, broken])] == [(0.25, "failed")]


def test_results_of_rays_result_grid() -> None:
    """They have no status."""
    good = SimpleNamespace(config={"x": 0.5}, metrics={"loss": 1.0, "config": {"x": 0.5}}, error=None)
    bad = SimpleNamespace(config={"x": 0.25}, metrics={"loss": 2.0}, error=RuntimeError("no"))
    assert [(one.losses, one.outcome) for one in told([good, bad])] == [((1.0,), "finished"), (None, "failed")]


def test_conditional_spaces_and_objects() -> None:
    space = {
        "opt": tune.choice([{"name": "sgd", "lr": tune.uniform(0, 1)}, {"name": "adam", "eps": tune.uniform(0, 1)}]),
        "act": tune.choice([len, abs]),
        "sizes": tune.choice([(8, 8), (16,)]),
        "x": tune.uniform(0, 1),
    }
    one = {"opt": {"name": "adam", "eps": 0.5}, "act": abs, "sizes": (16,), "x": 0.5}
    seen = told(known(one), space)
    assert seen[0].values == {"opt": 1, "opt/1/eps": 0.5, "act": 1, "sizes": 1, "x": 0.5}
    for text in ("builtins.abs", "<built-in function abs>", "abs"):  # as our files, Ray's, and readers write it
        assert told(known({**one, "act": text, "sizes": [16]}), space)[0].values == seen[0].values
    assert told(known({**one, "act": "no"}), space) == []


def test_lists_with_domains_in_them_and_computed_entries() -> None:
    space = {"layers": [tune.choice([8, 16]), 32], "twice": tune.sample_from(lambda config: config["x"] * 2), "x": tune.uniform(0, 1)}
    seen = told(known({"layers": [16, 64], "twice": 1.0, "x": 0.5}, {"layers": [8, 64], "x": 0.5}), space)
    assert [one.values["layers/0"] for one in seen] == [16, 8]
    assert [one.loss for one in seen] == [0.0, 1.0]


# ---- as Ray Tune writes them


def ray_trial(folder: Path, name: str, config: Any, rows: list[dict[str, Any]], *, error: str = "", torn: bool = False) -> None:
    path = folder / name
    path.mkdir(parents=True)
    (path / "params.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    lines = [
        json.dumps({**row, "timestamp": 1, "done": False, "training_iteration": number, "trial_id": name, "config": config}) + "\n"
        for number, row in enumerate(rows, 1)
    ]
    text = "".join(lines)
    (path / "result.json").write_text(text[:-20] if torn else text)
    if error:
        (path / "error.txt").write_text(f"Failure # 1 (occurred at 2026-01-02_03-04-05)\n{error}\n")


def test_a_results_folder_of_rays(tmp_path: Path) -> None:
    """NaN and Infinity are literals, metrics are nested, and nothing says that a function has returned."""
    ray_trial(tmp_path, "a", {"x": 0.5}, [{"loss": 3.0, "val": {"acc": 0.1}}, {"loss": 2.0, "val": {"acc": 0.5}}])
    ray_trial(tmp_path, "b", {"x": 0.25}, [{"loss": 1.0}, {"loss": math.nan}])
    ray_trial(tmp_path, "c", {"x": 0.125}, [{"loss": math.inf}], error="ValueError: no")
    ray_trial(tmp_path, "d", {"x": 0.75}, [{"loss": 1.5}, {"loss": 1.0}], torn=True)
    ray_trial(tmp_path, "e", {"x": 1.0}, [])
    (tmp_path / "tuner.pkl").write_bytes(b"not ours to open")
    assert "NaN" in (tmp_path / "b" / "result.json").read_text()
    assert brief(told(tmp_path)) == [
        (0.5, (2.0,), "finished", 2.0),
        (0.25, None, "finished", 2.0),
        (0.125, None, "failed", 1.0),
        (0.75, (1.5,), "finished", 1.0),
    ]
    assert [one.losses for one in told(tmp_path, metric="val/acc", mode="max")] == [(-0.5,), None]


def test_an_error_that_was_retried_does_not_count(tmp_path: Path) -> None:
    ray_trial(tmp_path, "a", {"x": 0.5}, [{"loss": 1.0}, {"loss": 0.5}], error="ValueError: once")
    path = tmp_path / "a" / "result.json"
    path.write_text(path.read_text().replace('"done": false, "training_iteration": 2', '"done": true, "training_iteration": 2'))
    assert brief(told(tmp_path)) == [(0.5, (0.5,), "finished", 2.0)]


@pytest.mark.parametrize("old", [False, True])
def test_rays_own_state_tells_which_are_over(tmp_path: Path, old: bool) -> None:
    statuses = {"a": "TERMINATED", "b": "RUNNING", "c": "ERROR", "d": "TERMINATED"}
    for number, name in enumerate(statuses):
        # the error of the last one was retried
        ray_trial(tmp_path, name, {"x": number / 8}, [{"loss": float(number)}], error="retried" if name == "d" else "")
    texts = [json.dumps({"trial_id": name, "status": status}) for name, status in statuses.items()]
    state = {"checkpoints": texts} if old else {"trial_data": [[text, "{}"] for text in texts]}
    (tmp_path / "experiment_state-2026-01-01_00-00-00.json").write_text("{}")
    (tmp_path / "experiment_state-2026-01-02_00-00-00.json").write_text(json.dumps(state))
    assert [(one.values["x"], one.outcome) for one in told(tmp_path)] == [(0.0, "finished"), (0.25, "failed"), (0.375, "finished")]


def test_a_state_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    ray_trial(tmp_path, "a", {"x": 0.5}, [{"loss": 1.0}])
    (tmp_path / "experiment_state-2026-01-02_00-00-00.json").write_text("{half")
    assert len(told(tmp_path)) == 1


def test_params_that_are_no_json_are_named(tmp_path: Path) -> None:
    ray_trial(tmp_path, "a", {"x": 0.5}, [{"loss": 1.0}])
    (tmp_path / "a" / "params.json").write_text("{")
    with pytest.raises(SpecError, match=r"a/params.json is no JSON"):
        told(tmp_path)


class RayTrial:
    """What its logger needs of a trial."""

    def __init__(self, config: dict[str, Any], path: str) -> None:
        self.config, self.local_path = config, path

    def init_local_path(self) -> None:
        """It is there."""


@pytest.mark.slow
def test_files_that_rays_logger_wrote(tmp_path: Path) -> None:
    """Ray's own class writes them, without Ray being started."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.tune.logger.json import JsonLoggerCallback

    for number in range(3):
        path = tmp_path / f"train_{number}"
        path.mkdir()
        trial = RayTrial({"x": number / 4, "act": len, "size": (1, 2)}, str(path))
        logger = JsonLoggerCallback()
        logger._restore_from_remote = lambda *_: None
        logger.log_trial_start(trial)
        for step in (1, 2):
            loss = math.nan if number == 2 else number + 1 / step
            logger.log_trial_result(step, trial, {"loss": loss, "training_iteration": step, "trial_id": f"t{number}", "val": {"n": step}})
        logger.log_trial_end(trial)
    space = {**SPACE, "act": tune.choice([len, abs]), "size": tune.choice([(1, 2), (3,)])}
    seen = told(tmp_path, space)
    assert [(one.values["x"], one.values["act"], one.losses) for one in seen] == [(0.0, 0, (0.5,)), (0.25, 0, (1.5,)), (0.5, 0, None)]
