"""What an integration of a training framework must do: results arrive, weights are restored exactly, and schedulers rule over training."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import tunesmith as tune

__all__ = ["Diary", "FrameworkKit"]


class Diary:
    """What a training function tells of its weights; every trial has a page. Travels in the trial's config.

    Args:
        folder: where pages are; must exist.
        kill_after: the process is killed by SIGKILL after this epoch of the first attempt; 0: never.
    """

    def __init__(self, folder: Path, kill_after: int = 0) -> None:
        self.folder, self.kill_after = folder, kill_after

    def begins(self, epochs: int, weights: bytes) -> None:
        """The model is there, new (``epochs=0``) or restored after so many epochs; ``weights`` are its bytes, in a fixed order."""
        self._write("begins", epochs, weights)

    def trained(self, epochs: int, weights: bytes) -> None:
        """So many epochs have been trained, counted over all attempts, **and reported**."""
        self._write("trained", epochs, weights)
        first_time = self.folder / "killed"
        if epochs == self.kill_after and not first_time.exists():
            first_time.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def page(self, number: int) -> list[tuple[str, int, str]]:
        """Of the trial with this number: ("begins" or "trained", epochs, digest of the weights), in the order of writing."""
        (path,) = self.folder.glob(f"*_{number:05d}")
        return [tuple(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]

    def _write(self, what: str, epochs: int, weights: bytes) -> None:
        with open(self.folder / str(tune.get_trial_id()), "a", encoding="utf-8") as page:
            page.write(json.dumps([what, epochs, hashlib.sha256(weights).hexdigest()]) + "\n")


class FrameworkKit:
    """Subclass it as ``TestMyFramework`` and give :attr:`train`; the tests run it in processes of their own.

    ``train(config)`` trains real data for ``config["epochs"]`` epochs with the learning rate ``config["lr"]``. In each it reports
    :attr:`metric` with a checkpoint, by the integration; it goes on from ``tune.get_checkpoint()`` if there is one. It calls
    ``config["diary"].begins(epochs, weights)`` once, and ``config["diary"].trained(epochs, weights)`` after each report.

    Attributes:
        train: the function, as ``staticmethod``.
        metric, mode: what it reports each epoch, and whether "min" or "max" is better.
        good, bad: learning rates; from the first epoch on the metric with ``bad`` is worse.
    """

    train: ClassVar[Callable[[dict[str, Any]], Any]]
    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    good: ClassVar[float] = 0.1
    bad: ClassVar[float] = 1e-6

    def run(self, folder: Path, diary: Diary, lr: Any, epochs: int, **arguments: Any) -> Any:
        """Run an experiment with it in ``folder``."""
        (folder / "results").mkdir(exist_ok=True)
        return tune.run(
            type(self).train, config={"lr": lr, "epochs": epochs, "diary": diary}, metric=self.metric, mode=self.mode, verbose=0,
            executor="local", storage_path=str(folder / "results"), seed=1, **arguments,
        )  # fmt: skip

    def test_each_epoch_is_a_result(self, tmp_path: Path) -> None:
        diary = self._diary(tmp_path)
        analysis = self.run(tmp_path, diary, self.good, epochs=3)
        (frame,) = analysis.trial_dataframes.values()
        assert list(frame["training_iteration"]) == [1, 2, 3]
        assert frame[self.metric].notna().all()
        assert frame[self.metric].nunique() > 1, "nothing is learned"
        assert [(what, epochs) for what, epochs, _ in diary.page(0)] == [("begins", 0), ("trained", 1), ("trained", 2), ("trained", 3)]
        assert len({digest for _, _, digest in diary.page(0)}) == 4, "weights change with training"

    def test_a_killed_trial_goes_on_with_the_same_weights(self, tmp_path: Path) -> None:
        diary = self._diary(tmp_path, kill_after=2)
        analysis = self.run(tmp_path, diary, self.good, epochs=4)
        (trial,) = analysis.trials
        assert (trial.status, trial.last_result["training_iteration"]) == ("TERMINATED", 4)
        page = diary.page(0)
        assert [(what, epochs) for what, epochs, _ in page] == [
            ("begins", 0), ("trained", 1), ("trained", 2), ("begins", 2), ("trained", 3), ("trained", 4),
        ]  # fmt: skip
        assert page[3][2] == page[2][2], "other weights were restored than had been trained"

    def test_asha_stops_in_the_midst_of_training(self, tmp_path: Path) -> None:
        diary = self._diary(tmp_path)
        scheduler = tune.ASHAScheduler(max_t=5, grace_period=1, reduction_factor=2)
        analysis = self.run(
            tmp_path, diary, tune.grid_search([self.good, self.bad]), epochs=5, scheduler=scheduler, max_concurrent_trials=1
        )
        assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
        assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [5, 1]
        assert not [epochs for _, epochs, _ in diary.page(1) if epochs > 1], "the bad one was trained on"

    def test_pbt_copies_weights(self, tmp_path: Path) -> None:
        diary = self._diary(tmp_path)
        scheduler = tune.PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=2, quantile_fraction=0.5, synch=True,
            hyperparam_mutations={"lr": tune.uniform(self.good / 2, self.good)},
        )  # fmt: skip
        analysis = self.run(tmp_path, diary, tune.grid_search([self.good, self.bad]), epochs=6, scheduler=scheduler)
        assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
        given = {digest for what, _, digest in diary.page(0) if what == "trained"}
        taken = [(epochs, digest in given) for what, epochs, digest in diary.page(1) if what == "begins" and epochs > 0]
        assert taken[0] == (2, True), "the bad one did not begin again with the weights of the good one"

    @staticmethod
    def _diary(folder: Path, **arguments: int) -> Diary:
        (folder / "diary").mkdir()
        return Diary(folder / "diary", **arguments)
