"""The conformance kit for loggers: subclass :class:`LoggerKit`, give ``make``, and let pytest collect the subclass.

Loggers are told a story (:class:`tunesmith.testing.logger_story.Story`) by the same host that tells them of a real run: in its
thread, from committed records. Give :meth:`LoggerKit.stored`, too, and what the logger wrote is compared with what it was told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.logger import LoggerCallback, LoggerHost
from tunesmith.testing.logger_story import METRICS, Diary, Player, Story, check_rows, open_below, tell
from tunesmith.trainable.metrics import flatten_metrics

__all__ = ["LoggerKit"]

SECRET = "kit-s3cr3t-value"


class LoggerKit:
    """What every logger must do, as pytest tests.

    Attributes:
        rewrites: whether a trial that rewinds (a retry from an earlier checkpoint) has its repeated iterations replaced. False for
            loggers that can only add: repeated rows then stand behind the first ones, and after a crash of the driver rows may come twice.
        keeps: the kinds of metrics that :meth:`stored` gives back; of other kinds it may say what it likes.
        odd_metrics: name -> rows that a trial reports; take out what the format you write has no way to hold (say so in your docstring).
        open_files: at most so many files below ``tmp_path`` may be open at once, however many trials run.

    Example::

        class TestMyLogger(LoggerKit):
            rewrites = False  # it only ever adds lines

            def make(self, tmp_path):
                return MyLogger(tmp_path / "log.jsonl")

            def stored(self, tmp_path, trial_id):
                rows = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
                return [row for row in rows if row["trial_id"] == trial_id]
    """

    rewrites: ClassVar[bool] = True
    keeps: ClassVar[tuple[type, ...]] = (float, int, bool, str, type(None))
    odd_metrics: ClassVar[dict[str, list[dict[str, Any]]]] = METRICS
    open_files: ClassVar[int] = 64

    def make(self, tmp_path: Path) -> LoggerCallback:
        """A new logger; called again with the same ``tmp_path`` it is one that resumes. Trials live in ``tmp_path / trial_id``."""
        raise NotImplementedError("a subclass of LoggerKit gives make()")

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]] | None:
        """The results that the logger has stored of a trial: flat ("/"-joined) rows in order; ``[]``: none. None: it cannot be asked."""
        return None

    @contextmanager
    def session(self, story: Story, *beside: Any, note: bool = True) -> Iterator[LoggerHost]:
        """A new logger is told what happens within the block; afterwards it is closed and must not have raised."""
        logger = self.make(story.directory)
        host = story.host([logger, *beside], note=note)
        host.setup(stop=None, num_samples=3, total_num_samples=3)
        try:
            yield host
        finally:
            story.close()
        for failed, error in host.failures:
            if failed is logger or failed is host:
                raise error

    def expect(self, story: Story, trial: int, told: list[dict[str, Any]]) -> None:
        """What the logger has of the trial is what it was told: rows with "training_iteration", repeated ones included."""
        found = self.stored(story.directory, story.trial_id(trial))
        if found is not None:
            check_rows(found, told, f"trial {trial}", self.rewrites, self.keeps)

    # -- a trial's life ----------------------------------------------------------------------------------------------------

    def test_a_trial_from_start_to_end(self, tmp_path: Path) -> None:
        story = Story(tmp_path)
        with self.session(story):
            story.start()
            told = tell(story, 0, 1, 5)
            story.end()
        self.expect(story, 0, told)

    def test_trials_that_run_at_the_same_time(self, tmp_path: Path) -> None:
        story = Story(tmp_path)
        told: dict[int, list[dict[str, Any]]] = {trial: [] for trial in range(3)}
        with self.session(story):
            for trial in told:
                story.start(trial, lr=float(trial))
            for iteration in range(1, 5):
                for trial in told:
                    told[trial] += tell(story, trial, iteration, iteration)
            for trial in (1, 0, 2):
                story.end(trial)
        for trial, rows in told.items():
            self.expect(story, trial, rows)

    def test_a_trial_that_never_reports(self, tmp_path: Path) -> None:
        story = Story(tmp_path)
        with self.session(story):
            story.start(0)
            story.end(0)
            story.start(1)
            story.fail(1)
        self.expect(story, 0, [])
        self.expect(story, 1, [])

    def test_trials_that_fail_or_are_stopped(self, tmp_path: Path) -> None:
        story = Story(tmp_path)
        with self.session(story):
            told = []
            for trial in range(3):
                story.start(trial)
                told.append(tell(story, trial, 1, 2))
            story.fail(0)
            story.fall_silent(1)
            story.end(2, outcome="stopped", reason="loss <= 1")
        for trial in range(3):
            self.expect(story, trial, told[trial])

    def test_no_trial_at_all(self, tmp_path: Path) -> None:
        with self.session(Story(tmp_path)):
            pass

    @pytest.mark.parametrize("checkpoint", [None, 1, 2, 3])
    def test_a_retry_rewinds_to_its_checkpoint(self, tmp_path: Path, checkpoint: int | None) -> None:
        story = Story(tmp_path)
        with self.session(story):
            story.start()
            told = tell(story, 0, 1, 3, checkpoint=checkpoint)
            story.fail(retry=True)
            story.start(attempt=1)
            told += tell(story, 0, (checkpoint or 0) + 1, 5, attempt=1, scale=10)
            story.end(attempt=1)
        self.expect(story, 0, told)

    def test_a_trial_that_pauses_goes_on(self, tmp_path: Path) -> None:
        story = Story(tmp_path)
        with self.session(story):
            story.start()
            told = tell(story, 0, 1, 2, checkpoint=2)
            story.pause()
            story.start(1)
            story.end(1)
            story.start(attempt=1)
            told += tell(story, 0, 3, 4, attempt=1)
            story.end(attempt=1)
        self.expect(story, 0, told)

    def test_a_trial_that_exploits_another_has_another_config(self, tmp_path: Path) -> None:
        story = Story(tmp_path)
        with self.session(story):
            story.start(0, lr=0.1)
            story.start(1, lr=0.2)
            told = tell(story, 0, 1, 2)
            tell(story, 1, 1, 2, checkpoint=2)
            story.exploit(0, 0, 1, lr=0.3)
            story.start(0, attempt=1)
            told += tell(story, 0, 3, 4, attempt=1)
            story.end(0, attempt=1)
        self.expect(story, 0, told)

    # -- values ------------------------------------------------------------------------------------------------------------

    def test_odd_metrics(self, tmp_path: Path) -> None:
        for name, rows in self.odd_metrics.items():
            (tmp_path / name).mkdir()
            story = Story(tmp_path / name)
            with self.session(story):
                story.start()
                for iteration, row in enumerate(rows, 1):
                    story.report(iteration, **row)
                story.end()
            self.expect(story, 0, [{**flatten_metrics(row)[0], "training_iteration": iteration} for iteration, row in enumerate(rows, 1)])

    @pytest.mark.parametrize("text", ["nul \x00", "half a pair \ud800"])
    def test_text_that_few_formats_hold_is_no_reason_to_fail(self, tmp_path: Path, text: str) -> None:
        story = Story(tmp_path)
        with self.session(story):
            story.start(note=text)
            for iteration in (1, 2):
                metrics: dict[str, Any] = {text: 1.0, "note": text, f"late {iteration}": text}
                story.report(iteration, **metrics)
            story.end()

    @pytest.mark.parametrize("live", [True, False])
    def test_arrays_and_objects_are_there_only_while_the_run_is_live(self, tmp_path: Path, live: bool) -> None:
        """A logger shows those that it can; told from the journal, later, it gets their names only."""
        story = Story(tmp_path)
        extras: dict[str, Any] = {
            "image": np.zeros((2, 3)),
            "list": [1, "a"],
            "obj": object(),
            "empty": {},
            "f": len,
            "nested": {"a": np.arange(3)},
        }

        def happen() -> None:
            story.start()
            story.report(1, loss=1.0, **extras)
            story.report(2, loss=2.0)
            story.report(3, loss=3.0, image="no image")
            story.end()

        if not live:
            happen()
        with self.session(story) as host:
            host.follow(story.journal.last())
            if live:
                happen()
        self.expect(story, 0, [{"training_iteration": iteration, "loss": float(iteration)} for iteration in (1, 2, 3)])

    @pytest.mark.parametrize("empty", [True, False])
    def test_odd_configs(self, tmp_path: Path, empty: bool) -> None:
        story = Story(tmp_path)
        odd = {"layers": [64, [32]], "pair": (1, 2), "none": None, "nan": math.nan, "ü/b": "ü\n", "f": len, "set": {1}, "obj": object()}
        more = {"data": np.arange(3), "names": {1: "one", (2, 3): "two"}, "empty": {}, "scalar": np.float32(0.5)}
        story.resolve = lambda values: {} if empty else {**values, **odd, **more}
        with self.session(story):
            story.start()
            told = tell(story, 0, 1, 2)
            story.end()
        self.expect(story, 0, told)

    def test_secrets_reach_no_file(self, tmp_path: Path) -> None:
        story = Story(tmp_path)
        secrets = {"wandb": {"key": SECRET}, "hub": {"api_key": SECRET, "user": "ada"}, "password": SECRET, "list": [{"token": SECRET}]}
        story.resolve = lambda values: {**values, **secrets, "object": object()}
        with self.session(story):
            story.start()
            told = tell(story, 0, 1, 2, checkpoint=1)
            story.fail(retry=True)
            story.start(attempt=1)
            told += tell(story, 0, 2, 3, attempt=1)
            story.fail(attempt=1)
        self.expect(story, 0, told)
        leaks = [str(file) for file in tmp_path.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
        assert not leaks, f"secrets of the configuration are in {leaks}; see tunesmith.secrets.redact"

    def test_what_it_is_given_it_leaves_alone(self, tmp_path: Path) -> None:
        """A logger with a true ``reads_only`` shares its results with others."""
        story = Story(tmp_path)
        shared, apart = Diary(), Diary()
        with self.session(story, shared):
            story.host([apart])
            story.start(lr=0.1)
            tell(story, 0, 1, 3)
            story.end()
        assert shared.results == apart.results, "it has changed the results that others were given"
        assert shared.entries[1:] == apart.entries

    @pytest.mark.parametrize("hook", ["setup", "log_trial_start", "log_trial_result", "log_trial_end", "flush", "on_experiment_end"])
    def test_another_logger_that_raises_is_dropped_and_this_one_goes_on(self, tmp_path: Path, hook: str) -> None:
        story = Story(tmp_path)
        broken = Diary()
        setattr(broken, hook, _raise)
        with self.session(story, broken) as host:
            story.start()
            told = tell(story, 0, 1, 3)
            story.end()
        self.expect(story, 0, told)
        assert [failed for failed, _ in host.failures] == [broken]

    def test_flush_brings_out_what_was_told(self, tmp_path: Path) -> None:
        story = Story(tmp_path)
        diary = Diary()
        with self.session(story, diary):
            story.start()
            told: list[dict[str, Any]] = []
            for iteration in (1, 2, 3):
                told += tell(story, 0, iteration, iteration)
                diary.wait(2 + iteration)  # the set-up and the start come first
                self.expect(story, 0, told)

    def test_closing_twice(self, tmp_path: Path) -> None:
        story = Story(tmp_path)
        logger = self.make(tmp_path)
        host = story.host([logger])
        story.start()
        told = tell(story, 0, 1, 2)
        story.close()
        host.close()
        logger.flush()
        logger.on_experiment_end(trials=())
        self.expect(story, 0, told)

    def test_files_are_closed(self, tmp_path: Path) -> None:
        """Few are open while many trials run, and none afterwards."""
        story = Story(tmp_path)
        diary = Diary()
        with self.session(story, diary, note=False):
            for trial in range(80):
                story.start(trial)
            for iteration in (1, 2, 3):
                for trial in range(80):
                    tell(story, trial, iteration, iteration)
                diary.wait(1 + 80 + 80 * iteration)
                count = len(open_below(tmp_path))
                assert count <= self.open_files, f"{count} files are open while 80 trials run; expected at most {self.open_files}"
            for trial in range(79):
                story.end(trial)
            diary.wait(1 + 80 * 4 + 79)
            left = [path for path in open_below(tmp_path) if any(story.trial_id(trial) in path for trial in range(79))]
            assert not left, f"still open, though their trials have ended: {left}"
        left = open_below(tmp_path)
        assert not left, f"still open, though the logger was closed: {left}"

    def test_a_new_one_can_be_pickled(self, tmp_path: Path) -> None:
        """Callbacks are stored with the experiment, for those who restore it."""
        import cloudpickle

        story = Story(tmp_path)
        logger = cloudpickle.loads(cloudpickle.dumps(self.make(tmp_path)))
        story.host([logger], note=True)
        story.start()
        told = tell(story, 0, 1, 2)
        story.end()
        story.close()
        self.expect(story, 0, told)

    # -- resuming ----------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("checkpoint", [None, 1, 3])
    def test_a_resumed_run_loses_and_doubles_nothing(self, tmp_path: Path, checkpoint: int | None) -> None:
        story = Story(tmp_path)
        with self.session(story):
            story.start(0)
            story.start(1)
            told = [tell(story, 0, 1, 3, checkpoint=checkpoint), tell(story, 1, 1, 2)]
            story.end(1)
        with self.session(story):
            story.lose(0)
            story.start(0, attempt=1)
            told[0] += tell(story, 0, (checkpoint or 0) + 1, 5, attempt=1, scale=10)
            story.end(0, attempt=1)
            story.start(2)
            told.append(tell(story, 2, 1, 2))
            story.end(2)
        for trial, rows in enumerate(told):
            self.expect(story, trial, rows)

    def test_after_a_crash_everything_may_be_told_again(self, tmp_path: Path) -> None:
        """A driver that was killed left no note of how far its loggers were told."""
        story = Story(tmp_path)
        with self.session(story, note=False):
            story.start(0)
            story.start(1)
            told = [tell(story, 0, 1, 3, checkpoint=3), tell(story, 1, 1, 2)]
            story.end(1)
        with self.session(story):
            story.lose(0)
            story.start(0, attempt=1)
            told[0] += tell(story, 0, 4, 5, attempt=1)
            story.end(0, attempt=1)
        for trial, rows in enumerate(told):
            if self.rewrites:
                self.expect(story, trial, rows)
            else:
                found = self.stored(story.directory, story.trial_id(trial))
                assert found is None or {int(float(row["training_iteration"])) for row in found} == set(range(1, len(rows) + 1))

    def test_any_story(self, tmp_path: Path) -> None:
        """Attempts, rewinds and sessions in any order."""
        folders = iter(range(1_000_000))

        @settings(max_examples=25, deadline=None, database=None)
        @given(acts=st.lists(st.tuples(st.sampled_from(Player.ACTS), st.integers(0, 2)), max_size=25))
        def check(acts: list[tuple[str, int]]) -> None:
            story = Story(tmp_path / str(next(folders)))
            story.directory.mkdir()
            player = Player(story)
            sessions: list[list[tuple[str, int]]] = [[]]
            for act in acts:
                sessions += [[]] if act[0] == "resume" else []
                sessions[-1].append(act)
            for session in sessions:
                with self.session(story):
                    for happening in session:
                        player.play(*happening)
            for trial, told in player.told.items():
                self.expect(story, trial, told)

        check()


def _raise(*_args: Any, **_info: Any) -> None:
    raise OSError("no network")
