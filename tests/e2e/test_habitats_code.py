"""Code and objects of every kind reach a trial, mean the same there, and come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

RunScript = Callable[..., str]

CALLABLES = """
import functools, logging, sys
import tunesmith as tune

log = logging.getLogger("mine")
LIMIT = 1

def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

def factorial(n: "Whole") -> int:
    return 1 if n < 2 else n * factorial(n - 1)

class Whole(int):
    pass

@decorated
def plain(config: "dict[str, Whole]") -> dict:
    log.debug("hidden")
    return {"loss": config["x"] * LIMIT + factorial(3) - 6}

def shifted(config, by, *, scale=1):
    return {"loss": (config["x"] + by) * scale}

def closure():
    captured = {"n": 1}
    def inner(config):
        return {"loss": config["x"] * captured["n"]}
    return inner

class Bound:
    def __init__(self):
        self.by = 1
    def fit(self, config):
        return {"loss": config["x"] * self.by}
    def __call__(self, config):
        return self.fit(config)
    @classmethod
    def of_class(cls, config):
        return cls().fit(config)
    @staticmethod
    def alone(config):
        return {"loss": config["x"]}

class Base(tune.Trainable):
    def setup(self, config):
        self.x = config["x"]
    def step(self):
        return {"loss": self.x, "done": True}

class Steps(Base):
    def setup(self, config):
        super().setup(config)
    def step(self):
        return {**super().step(), "more": 1}

async def coroutine():
    return 1

def with_loop(config):
    import asyncio
    return {"loss": config["x"] * asyncio.run(coroutine())}

LIMIT = 1.0
kinds = [
    plain, lambda config: {"loss": config["x"]}, closure(), functools.partial(shifted, by=0), functools.partial(shifted, by=0, scale=1),
    Bound().fit, Bound(), Bound.of_class, Bound.alone, Steps,
    tune.with_parameters(shifted, by=0), tune.with_resources(Bound().fit, {"cpu": 1}),
    functools.partial(tune.with_parameters(shifted, by=0)), with_loop,
]
for number, kind in enumerate(kinds):
    LIMIT = 2 if number == len(kinds) else 1
    analysis = tune.run(kind, config={"x": tune.grid_search([3, 1, 2])}, metric="loss", mode="min", storage_path=sys.argv[1], verbose=0)
    print(number, analysis.best_config, [trial.last_result["loss"] for trial in analysis.trials])
"""


def test_callables_of_every_kind(run_script: RunScript) -> None:
    out = run_script(CALLABLES, "-W", "error").splitlines()
    assert [eval(line.split(" ", 2)[2].split("} ")[1]) for line in out] == [[3, 1, 2]] * 14
    assert all("{'x': 1}" in line for line in out)


def test_objects_of_the_scripts_classes_in_configs_reports_and_checkpoints(run_script: RunScript) -> None:
    assert run_script("""
        import enum, os, pickle, sys, tempfile
        from dataclasses import dataclass, field
        from typing import NamedTuple
        import tunesmith as tune

        class Colour(enum.Enum):
            RED = 1
            BLUE = 2

        @dataclass(frozen=True)
        class Options:
            depth: int = 1
            colour: Colour = Colour.RED
            names: list = field(default_factory=list)

        class Point(NamedTuple):
            x: int
            y: int = 0

        class Outer:
            class Inner:
                value = 5

        class Secret(Exception):
            pass

        def helper(x):
            return x + 1

        def train(config):
            assert isinstance(config["options"], Options) and config["options"].colour in Colour
            assert config["options"].colour is Colour[config["options"].colour.name], "one class, however it came"
            assert config["point"] == Point(1) and type(config["point"]) is Point
            assert config["function"](1) in (2, 3) and config["kind"] is Point and config["inner"].value == 5
            with open(config["start"], "rb") as file:
                unmentioned = pickle.load(file)
            assert unmentioned.ready() == "ready"
            import __main__
            assert __main__.Options is Options and __main__.Unmentioned is type(unmentioned)
            from __main__ import helper as same
            assert same is helper
            assert not hasattr(__main__, "nothing")
            with tempfile.TemporaryDirectory() as folder:
                with open(os.path.join(folder, "model.pkl"), "wb") as file:
                    pickle.dump([config["options"], config["point"], Colour.BLUE, Outer.Inner(), helper, unmentioned], file)
                checkpoint = tune.Checkpoint.from_directory(folder)
                tune.report({"loss": config["options"].depth, "object": config["options"]}, checkpoint=checkpoint)

        class Unmentioned:
            def ready(self):
                return State.text
        class State:
            text = "ready"

        class Unpicklable:
            handle = sys.stdout

        def other(x):
            return helper(x) + 1

        start = os.path.abspath("start.pkl")
        with open(start, "wb") as file:
            pickle.dump(Unmentioned(), file)
        analysis = tune.run(
            train, storage_path=sys.argv[1], verbose=0, metric="loss", mode="min",
            config={
                "options": tune.choice([Options(1), Options(2, Colour.BLUE)]), "point": Point(1), "start": start, "kind": Point,
                "function": tune.grid_search([helper, other, lambda x: x + 1, lambda x: x + 2]), "inner": Outer.Inner(),
            },
        )
        print([trial.status for trial in analysis.trials])
        for trial in analysis.trials:
            with open(os.path.join(trial.checkpoint.path, "model.pkl"), "rb") as file:
                options, point, colour, inner, function, unmentioned = pickle.load(file)
            assert type(options) is Options and options == trial.config["options"] and point == Point(1)
            assert colour is Colour.BLUE and type(inner) is Outer.Inner and function is helper and unmentioned.ready() == "ready"
        print("same")
    """, "-W", "error") == f"{['TERMINATED'] * 4}\nsame\n"  # fmt: skip


def test_globals_of_a_script_are_one_for_all_that_comes_from_it(run_script: RunScript) -> None:
    """What a method of an object in the config changes, the function sees; as in the script itself."""
    assert run_script("""
        import sys
        import tunesmith as tune

        CALLS = []
        count = 0

        class Model:
            def step(self):
                global count
                count += 1
                CALLS.append(count)

        def bump():
            global count
            count += 10

        def train(config):
            config["model"].step()
            config["bump"]()
            import __main__
            return {"loss": count, "calls": len(CALLS), "main": __main__.count}

        for count in (0, 100):
            result = tune.run(train, config={"model": Model(), "bump": bump}, storage_path=sys.argv[1], verbose=0).trials[0].last_result
            print(result["loss"], result["calls"], result["main"], CALLS)
    """) == "11 1 11 []\n111 1 111 []\n"  # fmt: skip


def test_errors_of_the_scripts_own_classes_come_back_whole(run_script: RunScript) -> None:
    out = run_script("""
        import sys
        import tunesmith as tune

        class Sour(Exception):
            def __init__(self, taste):
                super().__init__(f"it tastes {taste}")
                self.taste = taste

            def __reduce__(self):
                return Sour, (self.taste,)

        def train(config):
            squeeze(config["x"])

        def squeeze(x):
            raise Sour("bitter")

        try:
            tune.run(train, config={"x": 1}, storage_path=sys.argv[1], verbose=0, fail_fast="raise")
        except Sour as error:
            print("taste", error.taste, "squeeze(config" in error.__notes__[0])
        analysis = tune.run(train, config={"x": 1}, storage_path=sys.argv[1], verbose=0, raise_on_failed_trial=False)
        print(open(analysis.trials[0].error_file).read())
    """)
    assert out.startswith("taste bitter True\n")
    assert 'squeeze(config["x"])' in out
    assert 'raise Sour("bitter")' in out
    assert "script.py" in out
    assert "site-packages" not in out
    assert "executors" not in out


@pytest.mark.parametrize("how", ["-c", "-"])
def test_tracebacks_of_code_in_no_file(program, how: str) -> None:
    source = """
import sys
import tunesmith as tune
def train(config):
    value = config["missing"]
analysis = tune.run(train, storage_path=sys.argv[1], verbose=0, raise_on_failed_trial=False)
print(open(analysis.trials[0].error_file).read())
"""
    arguments, options = (("-c", source), {}) if how == "-c" else (("-",), {"input": source})
    out = program.python(*arguments, program.results, **options).stdout
    assert "KeyError: 'missing'" in out
    assert f"{'<string>' if how == '-c' else '<stdin>'}\", line 5, in train" in out


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("open('log.txt', 'w')", "_io.TextIOWrapper"),
        ("__import__('threading').Lock()", "_thread.lock"),
        ("__import__('sqlite3').connect(':memory:')", "sqlite3.Connection"),
        ("(x for x in 'abc')", "generator"),
        ("__import__('socket').socket()", "socket.socket"),
        ("{'deep': [__import__('threading').Thread()]}", "_thread."),
    ],
)
@pytest.mark.parametrize("main", [True, False], ids=["script", "module"])
def test_what_cannot_travel_is_named(program, what: str, kind: str, main: bool) -> None:
    module = f"handle = {what}\ndef train(config):\n    return handle\n"
    driver = """
import sys, tunesmith as tune
try:
    tune.run(train, storage_path=sys.argv[1], verbose=0)
except tune.errors.SerializationError as error:
    print(error)
"""
    load = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("job", "hidden/job_file.py")
job = sys.modules["job"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(job)
train = job.train
"""
    if main:
        program.write({"script.py": module + driver})
    else:
        program.write({"hidden/job_file.py": module, "script.py": load + driver})
    out = program.python("script.py", program.results).stdout
    assert "the global variable 'handle'" in out, out
    assert kind in out
    assert "Create it inside the function, or run with executor='inline'" in out


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_what_cannot_travel_in_a_config_is_named(program, executor: str) -> None:
    program.write({"script.py": f"""
        import sys, threading
        import tunesmith as tune
        for config in ({{"x": 1, "lock": threading.Lock()}}, {{"x": 1, "part": {{"of": tune.choice([1, threading.Lock()])}}}}):
            try:
                tune.run(lambda config: None, config=config, storage_path=sys.argv[1], verbose=0, executor="{executor}")
            except tune.errors.SerializationError as error:
                print(error)
    """})  # fmt: skip
    first, second = program.python("script.py", program.results).stdout.splitlines()
    assert "config['lock'] is a _thread.lock, which can't be pickled" in first
    assert "of entry 'of' of config['part'] is a _thread.lock" in second


def test_big_objects_are_shared_until_written_to(run_script: RunScript) -> None:
    assert run_script("""
        import sys
        import numpy as np
        import pandas as pd
        import tunesmith as tune

        ROWS = np.ones((500, 1000))

        def train(config, data, frame):
            assert data.flags.writeable and data.flags.c_contiguous
            assert data[0, 0] == 1 and ROWS[0, 0] == 1 and frame.loc[0, "a"] == 0.0, "nobody sees what others wrote"
            data[:] = config["x"]
            ROWS[0, 0] = config["x"]
            frame.loc[0, "a"] = config["x"]
            return {"loss": float(data.mean()) + frame.loc[0, "a"] - config["x"], "shape": str(data.shape)}

        data = np.ones((1000, 1000), order="F").T
        frame = pd.DataFrame({"a": np.arange(1000.0), "b": ["text"] * 1000})
        analysis = tune.run(
            tune.with_parameters(train, data=data, frame=frame),
            config={"x": tune.grid_search([2, 3, 4, 5])}, storage_path=sys.argv[1], verbose=0, reuse_actors=False,
        )
        print([trial.last_result["loss"] for trial in analysis.trials], data.mean(), ROWS.mean(), frame.loc[0, "a"])
    """) == "[2.0, 3.0, 4.0, 5.0] 1.0 1.0 0.0\n"  # fmt: skip


def test_a_module_loaded_by_hand(program, tmp_path: Path) -> None:
    """What it defines travels by value, and is found under its own name in the trial."""
    program.write({
        "hidden/job_file.py": """
            import pickle
            class Model:
                def __init__(self, x):
                    self.x = x
            SEEN = []
            def loss(model):
                SEEN.append(model)
                return pickle.loads(pickle.dumps(model)).x + len(SEEN)
        """,
        "script.py": """
            import importlib.util, sys
            import tunesmith as tune
            spec = importlib.util.spec_from_file_location("tools.of.job", "hidden/job_file.py")
            job = sys.modules["tools.of.job"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(job)

            def train(config):
                assert config["model"].__class__ is job.Model is sys.modules["tools.of.job"].Model
                return {"loss": job.loss(config["model"]), "seen": len(job.SEEN)}

            analysis = tune.run(train, config={"model": job.Model(2)}, storage_path=sys.argv[1], verbose=0)
            print(analysis.trials[0].last_result["loss"], analysis.trials[0].last_result["seen"], job.SEEN)
        """,
    })  # fmt: skip
    assert program.python("-W", "error", "script.py", program.results).stdout == "3 1 []\n"
