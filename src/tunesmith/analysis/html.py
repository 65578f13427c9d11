"""How results show themselves in a notebook: an experiment as a table of its best trials, a result as its numbers and configuration."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.core.flat import flatten
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED
from tunesmith.journal.rows import AUTO_KEYS
from tunesmith.journal.trials import TrialInfo
from tunesmith.logger.params import drawn_paths
from tunesmith.progress.board import Picture, Row, row_of
from tunesmith.progress.leader import rank
from tunesmith.progress.notebook_page import Cell, chip, escaped, facts, failures, head, leader, sheet, trials, wrapped
from tunesmith.progress.options import TableOptions
from tunesmith.secrets import redact

if TYPE_CHECKING:
    from tunesmith.analysis.experiment import ExperimentAnalysis
    from tunesmith.analysis.results import Result

__all__ = ["experiment_page", "result_page"]

_ROWS = 10
_TIMES = ("training_iteration", "time_total_s")
_STATUSES = (RUNNING, PAUSED, PENDING, TERMINATED, ERROR)


def experiment_page(analysis: ExperimentAnalysis) -> str:
    """Counts, the best trials first, and failures."""
    spec = analysis._book.experiment.spec
    views = analysis.trials
    metrics = [analysis.default_metric] if analysis.default_metric else list(spec.get("metrics") or ())
    mode = analysis.default_mode or next(iter(spec.get("modes") or ()), None)
    keys = [rank(view.metrics.get(metrics[0]), mode, view.outcome) if metrics and mode else None for view in views]
    order = sorted(range(len(views)), key=lambda index: (keys[index] is None, keys[index] or 0.0, index))
    counts = {status: sum(view.status == status for view in views) for status in _STATUSES}
    picture = Picture(analysis._book.experiment.header.name, counts, metrics=metrics)
    picture.rows = [_row(views[index]) for index in order[:_ROWS]]
    picture.best = picture.rows[0] if order and keys[order[0]] is not None else None
    picture.failed = [(view.trial_id, view.reason) for view in views if view.status == ERROR]
    options = TableOptions(max_progress_rows=_ROWS)
    place = [f"<code>{html.escape(analysis.experiment_path)}</code>"] if analysis.experiment_path else []
    return wrapped(
        facts(head(picture)), facts(place, "ts-dim"), facts(leader(picture)), trials(picture, options), *failures(picture, options)
    )


def _row(view: TrialInfo) -> Row:
    row = row_of(view)
    row.values = view.evaluated_params
    return row


def result_page(result: Result) -> str:
    """What the step reported, what it was made with, and where it is."""
    trial, metrics = result.trial, result.metrics
    pieces = [f'<b class="ts-name">{html.escape(trial.trial_name)}</b>', chip(trial.status)]
    if metrics:
        pieces.append(f"iteration {escaped(metrics['training_iteration'])}")
    if result.checkpoint_iteration is not None:
        pieces.append(f"checkpoint of iteration {result.checkpoint_iteration}")
    reported = {key: value for key, value in metrics.items() if key not in AUTO_KEYS or key in _TIMES}
    config = flatten(redact(result.config, drawn_paths(trial)))
    why = [f"{chip(ERROR, 'failed:')} {html.escape(trial.reason)}"] if trial.status == ERROR else []
    return wrapped(
        facts(pieces),
        facts(why),
        facts([f"<code>{html.escape(result.path)}</code>"], "ts-dim"),
        f'<div class="ts-row">{_pairs("metric", reported)}{_pairs("parameter", config)}</div>',
    )


def _pairs(what: str, values: Mapping[str, Any]) -> str:
    """A table of names and values; nothing if there are none."""
    rows: list[Sequence[Cell]] = [[(escaped(name), True), (escaped(value), False)] for name, value in values.items()]
    return sheet([(what, True), ("value", False)], rows) if rows else ""
