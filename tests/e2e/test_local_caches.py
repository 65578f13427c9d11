"""What ``functools`` has made of the script's functions, and pickle knows by its name only, in worker processes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = """
    import functools, os, pickle, sys
    import __main__
    import tunesmith as tune

    @functools.cache
    def driver():
        return os.getpid()

    @functools.lru_cache(maxsize=7, typed=True)
    def fib(n):
        "The n-th number."
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    class Data:
        @functools.lru_cache
        def half(self, whole):
            return whole / 2

        @functools.cached_property
        def size(self):
            return 6

    fib.note = "kept"

    def train(config):
        assert driver() == os.getpid(), "it goes without what it has in it"
        assert __main__.fib is fib and pickle.loads(pickle.dumps(fib)) is fib
        assert fib.cache_info().maxsize == 7 and fib.cache_parameters()["typed"]
        assert (fib.__doc__, fib.__name__, fib.note, fib.__wrapped__.__name__) == ("The n-th number.", "fib", "kept", "fib")
        data = Data()
        assert (data.half(4), data.size, vars(data)) == (2, 6, {"size": 6})
        before = fib.cache_info().hits
        tune.report(loss=fib(30), hits=fib.cache_info().hits - before)

    driver()
    result = tune.run(train, storage_path=sys.argv[1], metric="loss", mode="min", verbose=0, executor="local").best_result
    print(result["loss"], result["hits"])
"""


def test_caches_and_cached_properties(run_script):
    assert run_script(SCRIPT) == "832040 28\n"
