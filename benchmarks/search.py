"""How good are the configurations that searchers find? Ours beside the peers, on tasks whose best is known; see benchmarks/SEARCH.md.

    python benchmarks/search.py                                     # the page and the rows, from the runs that are stored
    python benchmarks/search.py --searchers "auto; Optuna TPE"      # runs what is missing: everything x 10 seeds x 200 evaluations: hours
    python benchmarks/search.py --searchers "Ax; SMAC" --subset     # the same on 12 tasks x 5 seeds x 100
    python benchmarks/search.py --searchers tpe --redo --suites "bbob; mixint" --seeds 3 --results /tmp/mine --report

Runs are stored one by one, in benchmarks/data/search or where --results says: whoever stops a long comparison goes on with the same
command. Those of ours are run again with --redo only, also when our sources have changed: the page says which sources they had. A report on
other suites or another number of seeds, or from another folder, is printed, and SEARCH.md stays as it is.

Searchers are the peers of _search_peers.py, the names that ``run(search_alg=...)`` takes, and "module:Class". The peers are not needed for
a report. BayesOpt is 3 or later, which Nevergrad cannot have beside it: in an environment of its own::

    python -m venv ../bo && ../bo/bin/pip install bayesian-optimization
    TUNESMITH_BENCH_PYTHONS=../bo/bin/python python benchmarks/search.py --searchers BayesOpt --subset
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from _common import Row
from _search_ours import our_names
from _search_page import page, reference, section
from _search_peers import PEERS
from _search_runs import BUDGETS, Job, Results, missing, play_all
from _search_stats import Table
from _search_tasks import SUBSET, SUITES, names

HERE = Path(__file__).parent
STORED = HERE / "data" / "search"
WHOLE, PART = (10, 200), (5, 100)
"""Seeds and evaluations: of everything, and of the 12 tasks."""


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Searchers on tasks whose best is known.")
    parser.add_argument("--searchers", type=_split, default=[], help=f"to run, of: {'; '.join([*PEERS, *our_names()])}, or module:Class")
    parser.add_argument("--suites", type=_split, default=list(SUITES), help=f"of: {'; '.join(SUITES)}")
    parser.add_argument("--subset", action="store_true", help=f"the {len(SUBSET)} tasks for slow searchers, of the suites given")
    parser.add_argument("--seeds", type=int, help=f"how many; {WHOLE[0]}, with --subset {PART[0]}")
    parser.add_argument("--budget", type=int, choices=BUDGETS, help=f"evaluations; {WHOLE[1]}, with --subset {PART[1]}")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at once")
    parser.add_argument("--redo", action="store_true", help="run again what is stored")
    parser.add_argument("--results", type=Path, default=STORED, help="folder of stored runs")
    parser.add_argument("--report", action="store_true", help="also after running")
    options = parser.parse_args()
    if unknown := [suite for suite in options.suites if suite not in SUITES]:
        parser.error(f"no such suite: {', '.join(unknown)}; there are {', '.join(SUITES)}")
    if unknown := [each for each in options.searchers if each not in PEERS and each not in our_names() and ":" not in each]:
        parser.error(f"no such searcher: {', '.join(unknown)}; there are {', '.join([*PEERS, *our_names()])}, and module:Class")
    usual = PART if options.subset else WHOLE
    options.usual = (options.seeds, options.budget) == (None, None) and options.suites == list(SUITES) and options.results == STORED
    options.seeds, options.budget = options.seeds or usual[0], options.budget or usual[1]
    options.tasks = [name for name in (SUBSET if options.subset else names(options.suites)) if name.split()[0] in options.suites]
    return options


def run(options: argparse.Namespace) -> None:
    """What is missing, task by task, and seed by seed within it, so that what is there first can be compared."""
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(threads, "1")  # of each process: there is one for each core
    results = Results(options.results)
    order = [(task, searcher, seed) for task in options.tasks for searcher in options.searchers for seed in range(options.seeds)]
    jobs = [Job(searcher, task, seed, options.budget) for task, searcher, seed in order]
    if options.redo:
        results.drop(jobs)
    left = missing(jobs, results)
    print(f"{len(jobs) - len(left)} runs are stored, {len(left)} to go", flush=True)
    for number, done in enumerate(play_all(left, options.processes), 1):
        results.add(done)
        job = done.job
        print(f"{number}/{len(left)} {job.searcher}, {job.task}, seed {job.seed}: {done.left} ({done.ms:.3g} ms)", flush=True)


def rows(table: Table, what: str) -> list[Row]:
    """Ours beside each peer, over all budgets."""
    if (ours := reference(table)) is None:
        return []
    value = table.mean(ours)[0]
    beside = {name: table.mean(name)[0] for name in table.regrets if name in (*PEERS, "random")}
    least = min(beside.values(), default=None)
    return [Row(f"mean normalised regret of {ours}, {what}", value, least, "lower", *each) for each in beside.items()]


def report(options: argparse.Namespace) -> None:
    runs = Results(options.results).all()
    if not options.usual:
        print(section(Table.of(runs, options.tasks, options.seeds, options.budget)))
        return
    everything = names(list(SUITES))
    seeds = Table.seeds_there(runs, everything, *WHOLE)
    whole, subset = Table.of(runs, everything, seeds, WHOLE[1]), Table.of(runs, SUBSET, *PART)
    there = {peer: Table.of_those_there(runs, peer, SUBSET, *PART) for peer in subset.partly if peer in PEERS}
    parts = {peer: part for peer, part in there.items() if part is not None}
    (HERE / "SEARCH.md").write_text(page(whole, subset, WHOLE[0], parts), encoding="utf-8")
    found = [*rows(whole, "everything"), *rows(subset, f"{len(SUBSET)} tasks")]
    for row in found:
        print(row)
    if collected := os.environ.get("TUNESMITH_BENCH_ROWS"):
        with open(collected, "a", encoding="utf-8") as file:
            file.writelines(json.dumps({"script": Path(__file__).name, **asdict(row)}) + "\n" for row in found)


def main() -> None:
    options = _command_line()
    if options.searchers:
        run(options)
    if options.report or not options.searchers:
        report(options)


if __name__ == "__main__":
    main()
