"""Our searchers, asked and told as an experiment with one worker does."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

from _search_spaces import Config, Fork, Labels, Number, Space

__all__ = ["Ours", "our_names", "our_versions"]


def _domain(parameter: Number | Labels) -> Any:
    import tunesmith as tune

    if isinstance(parameter, Labels):
        return tune.choice(list(parameter.labels))
    if not parameter.whole:
        return (tune.loguniform if parameter.log else tune.uniform)(parameter.low, parameter.high)
    return (tune.lograndint if parameter.log else tune.randint)(int(parameter.low), int(parameter.high) + 1)


def our_config(space: Space) -> dict[str, Any]:
    """``space`` as our users write it: the options of a choice are dicts with their own entries."""
    import tunesmith as tune

    config: dict[str, Any] = {}
    for parameter in space:
        if isinstance(parameter, Fork):
            options = [{"taken": label} | {each.name: _domain(each) for each in below} for label, below in parameter.options]
            config[parameter.name] = tune.choice(options)
        else:
            config[parameter.name] = _domain(parameter)
    return config


class Ours:
    """One of our searchers on one task.

    Args:
        name: as in ``run(search_alg=...)``, or "module:Class".
        space: what is searched.
        seed: of the search.
        budget: how many evaluations there will be.
    """

    def __init__(self, name: str, space: Space, seed: int, budget: int) -> None:
        from tunesmith.space import Space as OurSpace

        self._searcher = _make(name)
        self._space = OurSpace.parse(our_config(space))
        self._searcher.bind(self._space, "loss", "min", seed, budget=budget, concurrency=1, early=False)
        self._asked = 0

    def ask(self) -> Config:
        from tunesmith.search import Proposal

        answer = self._searcher.propose(self._asked, str(self._asked))
        if not isinstance(answer, Proposal):
            raise SystemExit(f"{type(self._searcher).__name__} had nothing to propose for trial {self._asked}: {answer!r}")
        config: Config = {}
        for name, value in self._space.resolve(answer.values).items():
            config |= {name: value["taken"], **value} if isinstance(value, dict) else {name: value}
        config.pop("taken", None)
        return config

    def tell(self, loss: float) -> None:
        trial_id = str(self._asked)
        result = {"loss": loss, "training_iteration": 1, "trial_id": trial_id}
        self._searcher.on_trial_result(trial_id, dict(result))
        self._searcher.on_trial_complete(trial_id, result)
        self._asked += 1


def _make(name: str) -> Any:
    if ":" in name:
        module, _, attribute = name.partition(":")
        return getattr(importlib.import_module(module), attribute)()
    from tunesmith.create import create_searcher

    return create_searcher(name)


def our_names() -> list[str]:
    """Those that ``search_alg`` knows, and can be made without arguments."""
    from tunesmith.create import SEARCHERS

    return list(SEARCHERS)


def our_versions() -> dict[str, str]:
    """Of this library, and a digest of the sources that decide what is proposed."""
    import tunesmith

    digest = hashlib.sha256()
    root = Path(tunesmith.__file__).parent
    for path in sorted([*root.glob("search/**/*.py"), *root.glob("space/*.py")]):
        digest.update(path.read_bytes())
    return {"tunesmith": tunesmith.__version__, "sources": digest.hexdigest()[:10]}
