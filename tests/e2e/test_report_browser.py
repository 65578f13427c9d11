"""report.html in a real browser: every plot is drawn, nothing goes wrong, nothing is asked of the network."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.analysis.plots import write_report

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr", "--virtual-time-budget=20000",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


class Drawn(HTMLParser):
    """Of each plot's element, the tags that were drawn in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.plots: dict[str, list[str]] = {}
        self._path: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("br", "meta", "link", "img", "input", "hr"):
            return
        about = dict(attrs)
        inside = next((one for one in reversed(self._path) if one is not None), None)
        if inside is not None:
            self.plots[inside].append(f"{tag} {about.get('class') or ''}")
        name = about.get("data-figure")
        if name is not None:
            self.plots[name] = []
        self._path.append(name)

    def handle_endtag(self, tag: str) -> None:
        if self._path and tag not in ("br", "meta", "link", "img", "input", "hr"):
            self._path.pop()


def shown(path: str, profile: Path) -> tuple[dict[str, list[str]], list[str]]:
    """The plots as a browser has drawn them, and what it wrote to its console."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    assert browser is not None, f"this test needs a browser, one of {', '.join(BROWSERS)} on PATH: install Chromium"
    command = [browser, *OPTIONS, f"--user-data-dir={profile}", "--window-size=1200,9000", "--dump-dom", f"file://{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "GL Driver Message" not in line]
    return Drawn(done.stdout).plots, console


def halving(config: dict[str, Any]) -> None:
    for step in range(1, 10):
        tune.report({"loss": config["x"] ** 2 / step + (config["act"] == "tanh") + config["net"].get("width", 0) / 100})


def climbing(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    score, done = (0.0, 0) if checkpoint is None else checkpoint.to_dict()["state"]
    for step in range(done, 12):
        score += config["rate"]
        tune.report({"score": score}, checkpoint={"state": (score, step + 1)})


def test_every_plot_of_a_halving_run_is_drawn(tmp_path: Path) -> None:
    analysis = tune.run(
        halving, name="a </script> & b", storage_path=tmp_path, verbose=0, executor="inline", metric="loss", mode="min", seed=1,
        num_samples=30,
        config={
            "x": tune.loguniform(1e-3, 1.0), "act": tune.choice(["relu", "tanh"]),
            "net": tune.choice([{"kind": "mlp", "width": tune.randint(1, 9)}, {"kind": "linear"}]),
        },
        scheduler=tune.schedulers.ASHAScheduler(max_t=9, reduction_factor=3), search_alg="random",
    )  # fmt: skip
    plots, console = shown(write_report(analysis), tmp_path / "profile")
    assert set(plots) == {"history", "parallel", "importance", "slice", "learning", "rungs", "edf", "timeline"}
    assert not console
    for name, tags in plots.items():
        assert any(tag.startswith(("svg", "canvas")) for tag in tags), f"{name} is empty"
    assert sum("axis-heading" in tag for tag in plots["parallel"]) == 5, "x, act, net, net/width and loss"
    for name in ("history", "slice", "learning", "rungs", "edf"):
        assert any(re.search(r"^path (point|js-line)", tag) for tag in plots[name]), f"{name} has axes, but no marks"


def test_every_plot_of_a_population_and_of_several_objectives_is_drawn(tmp_path: Path) -> None:
    population = tune.run(
        climbing, name="population", storage_path=tmp_path, verbose=0, metric="score", mode="max", num_samples=4, seed=1,
        config={"rate": tune.grid_search([0.1, 0.2, 0.9, 1.0])}, executor="inline",
        scheduler=tune.PopulationBasedTraining("training_iteration", perturbation_interval=2, hyperparam_mutations={"rate": [0.1, 1.0]}),
    )  # fmt: skip
    several = tune.run(
        lambda config: {"error": config["x"], "size": 1 / config["x"], "time": abs(config["x"] - 2)}, name="several", storage_path=tmp_path,
        verbose=0, executor="inline", metric=["error", "size", "time"], mode=["min", "min", "min"], num_samples=12, seed=1,
        config={"x": tune.uniform(0.1, 3.0)}, search_alg="random",
    )  # fmt: skip
    for analysis, wanted in ((population, {"history"}), (several, {"pareto", "hypervolume"})):
        plots, console = shown(write_report(analysis), tmp_path / f"profile of {len(wanted)}")
        assert wanted <= set(plots)
        assert not console
        for name, tags in plots.items():
            assert any(tag.startswith(("svg", "canvas")) for tag in tags), f"{name} is empty"
