"""Every way to start a program that tunes: each trial is a process of its own, and runs the program's code as the driver has it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

RunScript = Callable[..., str]

BARE = """
import os, sys
import tunesmith as tune

def square(x):
    return x * x

def train(config):
    assert os.getpid() != config["driver"]
    return {"loss": square(config["x"] - 2)}

analysis = tune.run(
    train, config={"x": tune.grid_search([1, 2, 3]), "driver": os.getpid()}, metric="loss", mode="min", storage_path=sys.argv[1], verbose=0
)
print("best", analysis.best_config["x"], [trial.status for trial in analysis.trials])
"""
ANSWER = "best 2 ['TERMINATED', 'TERMINATED', 'TERMINATED']\n"


@pytest.mark.parametrize("flags", [(), ("-O",), ("-W", "error"), ("-X", "dev", "-W", "error"), ("-I",), ("-P",), ("-u",)], ids=" ".join)
def test_a_script_without_a_main_guard(program, flags: tuple[str, ...]) -> None:
    program.write({"script.py": BARE})
    done = program.python(*flags, "script.py", program.results)
    assert (done.stdout, done.stderr) == (ANSWER, "")
    assert len(list(program.results.iterdir())) == 1, "trials don't run the script"


@pytest.mark.parametrize("layout", [("bare.py", "bare"), ("pack/bare.py", "pack.bare")])
def test_a_module_that_tunes_while_it_is_imported(program, layout: tuple[str, str]) -> None:
    """Its trials would begin the same experiment if they imported it."""
    file, name = layout
    program.write({file: BARE, "pack/__init__.py": "from pack.bare import train"})
    done = program.python("-W", "error", "-c", f"import {name}", program.results)
    assert (done.stdout, done.stderr) == (ANSWER, "")
    assert len(list(program.results.iterdir())) == 1


def test_an_experiment_that_an_import_would_start_in_a_trial_is_refused(program) -> None:
    program.write({"bare.py": BARE})
    again = "import sys, tunesmith as tune, bare; tune.run(bare.train, storage_path=sys.argv[1], name='again', verbose=0)"
    done = program.python("-c", again, program.results, check=False)
    assert done.stdout == ANSWER
    assert "ExecutorError: an experiment was to start in the process of a trial" in done.stderr
    assert "under: if __name__ == '__main__'" in done.stderr
    assert len(list(program.results.iterdir())) == 2


@pytest.mark.parametrize("how", ["-c", "-"])
def test_code_that_is_in_no_file(program, how: str) -> None:
    if how == "-c":
        done = program.python("-W", "error", "-c", BARE, program.results)
    else:
        done = program.python("-W", "error", "-", program.results, input=BARE)
    assert (done.stdout, done.stderr) == (ANSWER, "")


def test_options_of_the_interpreter_hold_in_trials(run_script: RunScript) -> None:
    source = """
        import sys
        import tunesmith as tune
        def train(config):
            return {"loss": 0, "level": sys.flags.optimize, "dev": sys.flags.dev_mode, "utf8": sys.flags.utf8_mode}
        result = tune.run(train, storage_path=sys.argv[1], verbose=0).trials[0].last_result
        print(result["level"], result["dev"], result["utf8"])
    """
    assert run_script(source, "-OO", "-X", "dev", "-X", "utf8") == "2 True 1\n"


def test_a_package_run_as_a_module(program) -> None:
    program.write({
        "work/__init__.py": "",
        "work/parts/__init__.py": "from .model import loss",
        "work/parts/model.py": "import json\ndef loss(x):\n    return (x - 2) ** 2\n",
        "work/late.py": "from .parts import loss\nclass Scale:\n    by = 1\n",
        "work/main.py": """
            import pickle, sys
            import tunesmith as tune
            from .parts import loss
            from . import parts

            def train(config):
                from .late import Scale
                from . import late
                assert late.loss is loss is parts.model.loss and late.Scale is Scale
                assert __package__ == "work" and __name__ == "__main__"
                return {"loss": loss(config["x"]) * Scale.by}

            if __name__ == "__main__":
                by_script = tune.run(train, config={"x": tune.grid_search([1, 2, 3])},
                    metric="loss", mode="min", storage_path=sys.argv[1], verbose=0)
                print("best", by_script.best_config["x"], [trial.status for trial in by_script.trials])
        """,
    })  # fmt: skip
    assert program.python("-m", "work.main", program.results).stdout == ANSWER
    elsewhere = program.folder / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(program.folder)}
    assert program.python("-m", "work.main", program.results, cwd=elsewhere, env=environment).stdout == ANSWER


def test_helper_modules_beside_a_script_in_another_directory(program) -> None:
    program.write({
        "far/away/helper.py": """
            import os
            import numpy as np
            import second
            with open(os.path.join(os.path.dirname(__file__), "table.txt")) as file:
                TABLE = np.loadtxt(file)
            class Model:
                def loss(self, x):
                    return float(np.abs(TABLE - x).min()) + second.offset()
        """,
        "far/away/second.py": "def offset():\n    import third\n    return third.OFFSET\n",
        "far/away/third.py": "OFFSET = 0.5\n",
        "far/away/table.txt": "1\n4\n",
        "far/away/script.py": """
            import sys
            import tunesmith as tune
            from helper import Model

            def train(config):
                import helper, lazy
                assert helper.Model is Model and "far" in helper.__file__
                open("data.txt").close()
                return {"loss": Model().loss(config["x"]) + lazy.NOTHING}

            analysis = tune.run(train, config={"x": tune.grid_search([2, 4])},
                metric="loss", mode="min", storage_path=sys.argv[1], verbose=0)
            print(analysis.best_config, analysis.best_result["loss"])
        """,
        "far/away/lazy.py": "NOTHING = 0\n",
        "data.txt": "in the driver's directory",
    })  # fmt: skip
    assert program.python("-W", "error", "far/away/script.py", program.results).stdout == "{'x': 4} 0.5\n"


def test_a_source_tree_added_to_the_path_at_run_time(program) -> None:
    program.write({
        "src/company/__init__.py": "",
        "src/company/model.py": "def loss(x):\n    from company import more\n    return abs(x - more.BEST)\n",
        "src/company/more.py": "BEST = 2\n",
        "tools/script.py": """
            import os, sys
            sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "src"))
            import tunesmith as tune
            from company import model

            def train(config):
                from company.more import BEST
                return {"loss": model.loss(config["x"])}

            for trainable in (train, lambda config: {"loss": model.loss(config["x"])}):
                analysis = tune.run(trainable, config={"x": tune.grid_search([1, 2, 3])},
                    metric="loss", mode="min", storage_path=sys.argv[1], verbose=0)
                print("best", analysis.best_config["x"], [trial.status for trial in analysis.trials])
        """,
    })  # fmt: skip
    assert program.python("-W", "error", "tools/script.py", program.results).stdout == ANSWER * 2


def test_a_trainable_of_an_imported_module(program) -> None:
    program.write({
        "jobs.py": """
            import tunesmith as tune
            class Steps(tune.Trainable):
                def step(self):
                    return {"loss": abs(self.config["x"] - 2), "done": True}
            def train(config):
                return {"loss": abs(config["x"] - 2)}
        """,
        "script.py": """
            import sys
            import jobs
            import tunesmith as tune
            for trainable in (jobs.train, jobs.Steps):
                analysis = tune.run(trainable, config={"x": tune.grid_search([1, 2, 3])},
                    metric="loss", mode="min", storage_path=sys.argv[1], verbose=0)
                print("best", analysis.best_config["x"], [trial.status for trial in analysis.trials])
        """,
    })  # fmt: skip
    assert program.python("-W", "error", "script.py", program.results).stdout == ANSWER * 2


def test_what_the_driver_changed_by_then_holds_in_trials(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "plugin.py").write_text("VALUE = 7\n", encoding="utf-8")
    assert run_script("""
        import os, sys
        import tunesmith as tune
        def train(config):
            import plugin
            return {"loss": plugin.VALUE, "mode": os.environ["MODE"], "gone": os.environ.get("GONE"), "here": os.path.basename(os.getcwd())}
        os.environ["MODE"] = "late"
        os.environ.pop("GONE")
        os.chdir("data")
        sys.path.append(os.getcwd())
        result = tune.run(train, storage_path=sys.argv[1], verbose=0).trials[0].last_result
        print(result["loss"], result["mode"], result["gone"], result["here"], sys.argv[1:] == sys.argv[1:2])
    """, env={**os.environ, "GONE": "1"}) == "7 late None data True\n"  # fmt: skip


# -- descriptors -----------------------------------------------------------------------------------------------------------------

DAEMON = """
import os, sys
import tunesmith as tune

def train(config):
    print("out", config["x"])
    print("err", file=sys.stderr)
    os.write(1, b"raw\\n")
    return {"loss": config["x"]}

analysis = tune.run(train, config={"x": tune.grid_search([1, 2, 3])},
    metric="loss", mode="min", storage_path=sys.argv[1], **eval(sys.argv[2]))
with open("answer", "w") as file:
    print(analysis.best_config["x"], [trial.status for trial in analysis.trials], file=file)
"""
DONE = "1 ['TERMINATED', 'TERMINATED', 'TERMINATED']\n"


@pytest.mark.parametrize("options", ["{}", "{'log_to_file': False}"])
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_without_standard_streams(program, closed: str, options: str) -> None:
    program.write({"script.py": DAEMON})
    command = f'exec "{sys.executable}" script.py results "{options}" {closed}'
    done = subprocess.run(["sh", "-c", command], cwd=program.folder, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (program.folder / "answer").read_text() == DONE
    if options == "{}":
        assert program.logs() == ["out 1\nraw\n", "out 2\nraw\n", "out 3\nraw\n"]
        assert program.logs("stderr.log") == ["err\n"] * 3
    [database] = program.results.glob("*/experiment.db")
    assert database.read_bytes().startswith(b"SQLite format 3\0")
    tables = [path.read_text().count("\n") for path in program.results.glob("*/*/progress.csv")]
    assert tables == [2, 2, 2], "nothing was printed into other files"


def test_nobody_reads_the_output_any_more(program) -> None:
    program.write({"script.py": DAEMON})
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "script.py", "results", "{'verbose': 2}"]
        done = subprocess.run(command, cwd=program.folder, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writer)
    assert (program.folder / "answer").read_text() == DONE, done.stderr
    assert program.logs() == ["out 1\nraw\n", "out 2\nraw\n", "out 3\nraw\n"]


def test_a_service_that_ignores_signals_of_its_children(run_script: RunScript) -> None:
    assert run_script("""
        import signal, subprocess, sys
        import tunesmith as tune
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
        def train(config):
            code = subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode
            return {"loss": code, "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, []))}
        analysis = tune.run(train, num_samples=3, storage_path=sys.argv[1], verbose=0, reuse_actors=False)
        print([(trial.status, trial.last_result["loss"], trial.last_result["blocked"]) for trial in analysis.trials])
    """) == f"{[('TERMINATED', 3, 0)] * 3}\n"  # fmt: skip


# -- interpreters ----------------------------------------------------------------------------------------------------------------


def test_an_environment_reached_through_a_symbolic_link(program) -> None:
    link = program.folder / "python-link"
    link.symlink_to(Path(sys.prefix), target_is_directory=True)
    program.write({"script.py": BARE})
    assert program.python("-W", "error", "script.py", program.results, python=link / "bin" / "python").stdout == ANSWER


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_driver_that_multiprocessing_started(run_script: RunScript, method: str) -> None:
    assert run_script(f"""
        import multiprocessing, sys
        import tunesmith as tune

        class Model:
            def __init__(self, x):
                self.x = x

        def train(config):
            return {{"loss": abs(Model(config["x"]).x - 2)}}

        def drive(queue):
            analysis = tune.run(train, config={{"x": tune.grid_search([1, 2, 3])}},
                metric="loss", mode="min", storage_path=sys.argv[1], verbose=0)
            queue.put((analysis.best_config["x"], [trial.status for trial in analysis.trials]))

        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            queue = context.Queue()
            process = context.Process(target=drive, args=(queue,))
            process.start()
            print("best", *queue.get(timeout=60))
            process.join()
    """) == ANSWER  # fmt: skip


def test_a_trial_whose_children_import_an_unguarded_script_says_so(run_script: RunScript, program) -> None:
    out = run_script("""
        import multiprocessing, sys
        import tunesmith as tune

        def child():
            pass

        def train(config):
            process = multiprocessing.get_context("spawn").Process(target=child)
            process.start()
            process.join()
            return {"loss": process.exitcode}

        analysis = tune.run(train, storage_path=sys.argv[1], verbose=0)
        print(analysis.trials[0].last_result["loss"])
    """)
    assert out == "1\n"
    [error] = program.logs("stderr.log")
    assert "Put what must run only once, such as tune.run, under: if __name__ == '__main__':" in error
