"""The questions of a preflight, one after another."""

from __future__ import annotations

import itertools
import os
import shutil
import time
import uuid
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.core.placement import Pool, request_of
from tunesmith.core.ports import Header
from tunesmith.core.rng import fresh_seed, stream, trial_seed
from tunesmith.errors import ExecutorError, TuneError
from tunesmith.executors.base import Assignment, Executor
from tunesmith.inspection.estimates import Plan, disk_use, may_shorten, pace, parallel_trials, size_of, steps_per_trial, total_trials
from tunesmith.inspection.findings import Preflight, byte_text
from tunesmith.inspection.judgement import judge_keys, judge_unread, said, unread_paths, went_on, where
from tunesmith.inspection.rehearsal import Rehearsal, Seen, scratch
from tunesmith.naming import Namer
from tunesmith.resources import refuse_impossible
from tunesmith.secrets import redact
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.trainable.class_api import Trainable
from tunesmith.trainable.watched import Reads

__all__ = ["inspect"]

_DRAWS = 10
"""So many configurations in a row may be infeasible."""


def inspect(spec: ExperimentSpec, root: str, executor: Executor, timeout_s: float | None) -> Preflight:
    """Run one trial of an experiment for a step or two, in a directory of its own that is gone afterwards.

    Args:
        spec: the experiment. Nothing of it changes: its searcher, scheduler and stop criteria are not asked anything.
        root: absolute directory of all experiments.
        executor: to run the trial on; not started yet. It is closed.
        timeout_s: seconds for all of it; None: as long as it takes.

    Raises:
        StorageFull: ``root`` cannot be written.
        ExecutorError: the executor cannot run here.
    """
    with scratch(root) as folder:
        try:
            return _Inspection(spec, folder, executor, timeout_s).run()
        finally:
            executor.close()


@dataclass(slots=True)
class _Drawn:
    """A configuration to try, and what the user's functions say of it."""

    values: dict[str, Any]
    resources: dict[str, float]
    name: str | None = None
    dirname: str | None = None


class _Inspection:
    """One preflight."""

    def __init__(self, spec: ExperimentSpec, folder: str, executor: Executor, timeout_s: float | None) -> None:
        self.space = Space.parse(spec.space.config)  # the experiment's own remembers what was drawn from it
        self.spec = replace(spec, path=folder, space=self.space)
        self.seed = spec.seed if spec.seed is not None else fresh_seed()
        self.timeout_s = timeout_s
        self.rehearsal = Rehearsal(self.spec, executor, timeout_s)
        self.growing = executor.capabilities.growing
        self.header = Header(uuid.uuid4().hex, spec.name, time.time())
        self.totals: dict[str, float] = {}
        self.numbers = itertools.count()  # of trials, and of attempts that go on
        self.watching = True
        self.outside = Reads()  # what functions of the configuration read that run outside of the trial
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.found = Preflight(name=spec.trainable.name, free_bytes=shutil.disk_usage(folder).free)

    def run(self) -> Preflight:
        """Ask all questions, as far as the answers allow."""
        tried = self._first()
        if tried is not None:
            drawn, first = tried
            labels = Space.parse(redact(self.space.config)).labels(drawn.values)
            self._note(config=self.space.resolve(drawn.values), drawn=labels)
            if first.reports:
                self._note(metrics=first.reports[0].metrics)
            if self._ran(first):
                self._judge(*judge_keys(self.spec, first))
                last = self._go_on(drawn, first)
                self._reads(drawn, first, last)
                self._estimate(drawn, first, last)
        return replace(self.found, problems=tuple(self.problems), warnings=tuple(self.warnings))

    def _note(self, **found: Any) -> None:
        self.found = replace(self.found, **found)

    def _judge(self, problems: list[str], warnings: list[str]) -> None:
        self.problems += problems
        self.warnings += warnings

    # -- a trial ---------------------------------------------------------------------------------------------------------

    def _first(self) -> tuple[_Drawn, Seen] | None:
        """The first attempt of a trial that is feasible; None: there is none, and the problem is noted."""
        for number in range(_DRAWS):
            try:
                drawn = self._draw(number)
                if number == 0:
                    self.totals = self.rehearsal.start(drawn.resources.get("cpu", 1.0))
                if not self.growing:
                    refuse_impossible(drawn.resources, self.totals)
            except ExecutorError:
                raise
            except TuneError as error:
                self.problems.append(str(error))
                return None
            seen = self._attempt(drawn, None)
            if seen.outcome != "infeasible":
                return drawn, seen
        self.problems.append(f"{said(seen)} ({_DRAWS} configurations were drawn, and all were infeasible)")
        return None

    def _draw(self, number: int) -> _Drawn:
        """From a stream of its own: the searcher will draw as if this had not been."""
        spec, space = self.spec, self.space
        values = space.draw(stream(self.seed, "preflight", number))
        given = Namer(spec, self.header).prepare(number, values)
        fixed = {"cpu": 1.0}
        if callable(spec.resources):
            try:
                spec.resources(self.outside.watch(space.resolve(values)))
            except Exception:  # a plain dict it took
                self.outside.whole.add(())
        elif spec.resources is not None:
            fixed = dict(spec.resources)
        return _Drawn(values, given.get("resources") or fixed, given.get("name"), given.get("dirname"))

    def _attempt(self, drawn: _Drawn, before: Seen | None) -> Seen:
        """A trial's first attempt, or one that goes on from the newest checkpoint of ``before``.

        One that does not bear to be watched is run again unwatched.
        """
        seen = self.rehearsal.run(self._assignment(drawn, before), lambda seen: self._enough(seen, before))
        if not (seen.failed and self.watching):
            return seen
        self.watching = False
        again = self.rehearsal.run(self._assignment(drawn, before), lambda seen: self._enough(seen, before))
        if again.overdue:
            return seen
        if not again.failed:
            self.warnings.append(
                f"config reads could not be watched: where the config is a subclass of dict that notes them, the trial fails ({said(seen)})"
            )
        return again

    def _enough(self, seen: Seen, before: Seen | None) -> bool:
        """A trial stops where it saves for the first time, else at its second report: only that shows how long a step takes."""
        if before is None and (seen.reports[-1].checkpoint is not None or self._saves()):
            return True
        return len(seen.reports) > 1 or self.rehearsal.left() < seen.times[0] - seen.launched

    def _saves(self) -> bool:
        """Whether the trainable saves itself when it is asked to."""
        what = self.spec.trainable
        own = what.kind == "class" and what.target.save_checkpoint is not Trainable.save_checkpoint
        return own or (what.kind == "class" and hasattr(what.target, "_save"))

    def _assignment(self, drawn: _Drawn, before: Seen | None) -> Assignment:
        spec, number = self.spec, next(self.numbers)
        config = self.space.resolve(drawn.values)
        if before is not None:
            iteration, checkpoint = before.saved[-1]
            return replace(
                before.assignment, attempt=number, config=config, checkpoint=before.checkpoint_path(checkpoint),
                checkpoint_id=checkpoint, iteration=iteration, time_total=before.metrics.get("time_total_s", 0.0), watch=self.watching,
            )  # fmt: skip
        trial_id = f"{self.header.uuid[:5]}_{number:05d}"
        pool = Pool()
        pool.resize(self.totals)
        request = request_of(drawn.resources)
        gpus = pool.take(request) if pool.fits(request) else ()
        return Assignment(
            number, 0, trial_id, drawn.name or f"{spec.trainable.name}_{trial_id}", spec.name, config,
            os.path.join(spec.path, str(number), drawn.dirname or trial_id), resources=drawn.resources, gpus=gpus,
            seed=trial_seed(self.seed, 0), max_ram=spec.max_ram, watch=self.watching,
        )  # fmt: skip

    def _ran(self, seen: Seen, when: str = "") -> bool:
        """Whether it went as it should; else the problem is noted. ``when`` is set for an attempt that goes on."""
        if seen.overdue and not seen.reports:
            self.problems.append(f"{where(seen)}no report came within timeout_s={self.timeout_s:g} s{when}")
        elif seen.failed or seen.outcome == "infeasible":
            self.problems.append(f"{said(seen)}{when}")
        elif not seen.reports and not when:
            name = self.spec.trainable.name
            self.problems.append(f"{name} ended without a report: call tune.report({{'loss': ...}}), or return a dict of metrics")
        else:
            return True
        return False

    # -- the other questions ---------------------------------------------------------------------------------------------

    def _go_on(self, drawn: _Drawn, first: Seen) -> Seen:
        """Does a trial go on from its checkpoint? Returns the newest attempt that went as it should."""
        if not first.saved:
            if not first.over:
                why = f": {first.skipped}" if first.skipped else ""
                self.warnings.append(f"no checkpoint was saved{why}. A retry, and a trial that goes on after a pause, starts anew")
            return first
        iteration, checkpoint = first.saved[-1]
        self._note(checkpoint_bytes=size_of(first.checkpoint_path(checkpoint)))
        if first.over:
            return first  # nothing is left to go on with
        if self.rehearsal.left() < first.times[0] - first.launched:
            self.warnings.append(f"timeout_s={self.timeout_s:g} left no time to go on from the checkpoint: give more to have that tried")
            return first
        second = self._attempt(drawn, first)
        if not self._ran(second, f" (while it goes on from its checkpoint of iteration {iteration})"):
            self._note(restored=False)
            return first
        wrong = went_on(first, second, iteration)
        if second.reads is not None and not second.reads.checkpoint:
            self.warnings.append(
                f"{self.spec.trainable.name} writes checkpoints and never loads them: a retry, and a trial that goes on after a pause, "
                "starts anew. Ask for the checkpoint at the beginning: tune.get_checkpoint()"
            )
            self._note(restored=False)
        elif wrong:
            self.problems.append(wrong)
            self._note(restored=False)
        else:
            self._note(restored=True if second.reads is not None else None)
        return second

    def _reads(self, drawn: _Drawn, first: Seen, last: Seen) -> None:
        """Which drawn parameters does the trial never look at?"""
        if first.reads is None:
            return
        reads = [one for one in (self.outside, first.reads, last.reads) if one is not None]
        unread = unread_paths(self.space, drawn.values, reads)
        self._note(unread=unread)
        if unread:
            self.warnings.append(judge_unread(unread, reads, self.space.computes))

    def _estimate(self, drawn: _Drawn, first: Seen, last: Seen) -> None:
        """How long will it all take, and is there room for it?"""
        spec = self.spec
        setup_s, step_s = pace(last) or pace(first) or (None, None)
        try:
            trials = total_trials(spec, self.space, self.seed)
        except TuneError as error:
            self.problems.append(str(error))
            return
        parallel = parallel_trials(spec, self.totals, drawn.resources, trials)
        plan = Plan(trials, parallel, steps_per_trial(spec, first), may_shorten(spec) or spec.time_budget_s is not None)
        whole = plan.seconds(setup_s, step_s) if setup_s is not None and step_s is not None else None
        seconds = min((limit for limit in (whole, spec.time_budget_s) if limit is not None), default=None)
        self._note(setup_s=setup_s, step_s=step_s, trials=trials, parallel=parallel, steps=plan.steps)
        self._note(estimated_s=seconds, shortened=plan.shortened)
        one, free = self.found.checkpoint_bytes, self.found.free_bytes
        if one is None or free is None:
            return
        needed = disk_use(spec.checkpoint, plan, one, max(1, first.saved[0][0]), spec.trainable.kind)
        self._note(estimated_bytes=needed)
        if needed is not None and needed > free:
            self.warnings.append(
                f"checkpoints may take {byte_text(needed)} in all, and {byte_text(free)} are free. Keep fewer of them: num_to_keep "
                "(keep_checkpoints_num) per trial, keep_best or max_checkpoint_bytes for the experiment"
            )
