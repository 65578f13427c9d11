"""Where trials run, and where what they print goes."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.e2e

RunScript = Callable[..., str]

PRINTS = r"""
import ctypes, logging, os, subprocess, sys, warnings
import tunesmith as tune
{before}
def train(config):
    if config["x"] == 3:
        return
    print("print", config["x"], "é ☃ \ud800")
    sys.stdout.write("no newline ")
    os.write(1, b"os\n")
    subprocess.run([sys.executable, "-c", "print('child')"])
    print("flush me")
    libc = ctypes.CDLL(None)
    libc.printf(b"printf\n")
    libc.fflush(None)
    print("err", file=sys.stderr)
    print("original", file=sys.__stderr__, flush=True)
    warnings.warn("careful")
    logging.getLogger("mine").warning("logged")
    tune.report(loss=config["x"])

{main}
"""
RUN = 'tune.run(train, config={"x": tune.grid_search([1, 2, 3])}, storage_path=sys.argv[1], verbose=0%s)'


def test_everything_printed_is_in_the_trials_files(program) -> None:
    program.write({"script.py": PRINTS.format(before="", main=RUN % "")})
    done = program.python("script.py", program.results)
    assert (done.stdout, done.stderr) == ("", "")
    printed = [f"print {x} é ☃ \\ud800\nos\nchild\nno newline flush me\nprintf\n" for x in (1, 2)]
    assert program.logs() == printed, "none for the one that was silent"
    for text in program.logs("stderr.log"):
        assert "err\noriginal\n" in text
        assert "UserWarning: careful\n" in text
        assert text.endswith("logged\n")
    assert len(program.logs("stderr.log")) == 2


@pytest.mark.parametrize("inside", [False, True], ids=["before the run", "in the trial"])
def test_logging_as_the_script_has_set_it_up(program, inside: bool) -> None:
    setup = """logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(levelname)s|%(message)s", force=True)"""
    source = """
import logging, sys
import tunesmith as tune
log = logging.getLogger("part.of")
def setup():
    SETUP
    quiet = logging.getLogger("part.of.quiet")
    quiet.setLevel(logging.ERROR)
    own = logging.StreamHandler()
    own.setFormatter(logging.Formatter("own {message}", style="{"))
    own.setLevel(logging.WARNING)
    quiet.addHandler(own)
    quiet.propagate = False
BEFORE
def train(config):
    INSIDE
    log.info("step %d", config["x"])
    logging.getLogger("part.of.quiet").warning("not shown")
    logging.getLogger("part.of.quiet").error("shown")
tune.run(train, config={"x": tune.grid_search([1, 2])}, storage_path=sys.argv[1], verbose=0)
""".replace("SETUP", setup).replace("BEFORE", "" if inside else "setup()").replace("INSIDE", "setup()" if inside else "pass")
    program.write({"script.py": source})
    program.python("script.py", program.results)
    assert program.logs() == ["INFO|step 1\n", "INFO|step 2\n"]
    assert program.logs("stderr.log") == ["own shown\n"] * 2


@pytest.mark.parametrize(
    ("option", "files"),
    [
        ("None", {"stdout.log": "out", "stderr.log": "err"}),
        ("True", {"stdout.log": "out", "stderr.log": "err"}),
        ("False", {}),
        ("'both.txt'", {"both.txt": "out\nerr"}),
        ("('logs/o.txt', 'logs/e.txt')", {"logs/o.txt": "out", "logs/e.txt": "err"}),
    ],
)
@pytest.mark.parametrize("reuse", [None, False])
def test_log_to_file(program, option: str, files: dict[str, str], reuse: bool | None) -> None:
    program.write({"script.py": f"""
        import os, sys
        import tunesmith as tune
        def train(config):
            sys.stdout.write("out\\n")  # print makes two writes of it if PYTHONUNBUFFERED is set
            sys.stdout.flush()
            os.write(2, b"err\\n")
        tune.run(train, num_samples=3, storage_path=sys.argv[1], verbose=0, log_to_file={option}, reuse_actors={reuse})
    """})  # fmt: skip
    done = program.python("script.py", program.results)
    assert (done.stdout, done.stderr) == (("", "") if files else ("out\n" * 3, "err\n" * 3))
    folders = [folder for folder in program.results.glob("*/*") if folder.is_dir()]
    assert len(folders) == 3
    for folder in folders:
        paths = [path for path in folder.rglob("*") if path.suffix in (".log", ".txt")]
        found = {str(path.relative_to(folder)): path.read_text() for path in paths}
        assert found == {name: text + "\n" for name, text in files.items()}


def test_inline_trials_print_to_the_console_by_default(run_script: RunScript) -> None:
    assert run_script("""
        import sys
        import tunesmith as tune
        tune.run(lambda config: print("out"), storage_path=sys.argv[1], verbose=0, executor="inline")
    """) == "out\n"  # fmt: skip


def test_a_progress_bar_in_a_trial(program) -> None:
    program.write({"script.py": """
        import sys
        import tunesmith as tune
        from tqdm import tqdm
        def train(config):
            for step in tqdm(range(3), desc="training"):
                print("step", step)
            return {"loss": 0}
        tune.run(train, storage_path=sys.argv[1], verbose=0)
    """})  # fmt: skip
    done = program.python("-W", "error", "script.py", program.results)
    assert (done.stdout, done.stderr) == ("", "")
    assert program.logs() == ["step 0\nstep 1\nstep 2\n"]
    assert "training: 100%" in program.logs("stderr.log")[0]


def test_streams_that_a_trial_has_replaced_or_closed(program) -> None:
    program.write({"script.py": """
        import io, os, sys
        import tunesmith as tune
        def train(config):
            print("mine", config["x"])
            if config["x"] == 1:
                sys.stdout = io.StringIO()
            elif config["x"] == 2:
                sys.stdout.close()
            elif config["x"] == 3:
                os.close(1)
            else:
                sys.stdout = None
            return {"loss": config["x"]}
        analysis = tune.run(
            train, config={"x": tune.grid_search([1, 2, 3, 4, 1])}, storage_path=sys.argv[1], verbose=0,
            max_concurrent_trials=1, reuse_actors=True,
        )
        print([trial.status for trial in analysis.trials])
    """})  # fmt: skip
    assert program.python("script.py", program.results).stdout == f"{['TERMINATED'] * 5}\n"
    assert program.logs() == [f"mine {x}\n" for x in (1, 2, 3, 4, 1)]


def test_the_working_directory_stays_the_drivers(program) -> None:
    program.write({
        "work/data.txt": "here",
        "work/script.py": """
            import os, sys
            import tunesmith as tune

            def train(config):
                with open("data.txt") as file:
                    content = file.read()
                if config["x"] == 1:
                    os.chdir("/")
                return {"loss": 0, "content": content, "cwd": os.getcwd()}

            def own(config):
                with open("mine.txt", "w") as file:
                    file.write("x")
                os.makedirs("sub")
                os.chdir("sub")
                assert tune.get_context().get_trial_dir() == os.path.dirname(os.getcwd())
                return {"loss": 0}

            x = tune.grid_search([1, 2, 1, 2])
            here = os.getcwd()
            analysis = tune.run(train, config={"x": x}, storage_path=sys.argv[1], verbose=0, max_concurrent_trials=1)
            assert os.getcwd() == here
            for trial in analysis.trials:
                assert trial.last_result["content"] == "here"
                assert trial.last_result["cwd"] == ("/" if trial.config["x"] == 1 else here)
            analysis = tune.run(own, config={"x": x}, storage_path=sys.argv[1], verbose=0, max_concurrent_trials=1, chdir_to_trial_dir=True)
            for trial in analysis.trials:
                assert os.path.exists(os.path.join(trial.path, "mine.txt"))
            assert os.getcwd() == here and sorted(os.listdir()) == ["data.txt", "script.py"]
            print("fine")
        """,
    })  # fmt: skip
    assert program.python("-W", "error", "script.py", program.results, cwd=program.folder / "work").stdout == "fine\n"


def test_a_working_directory_that_was_removed(run_script: RunScript) -> None:
    assert run_script("""
        import os, sys, tempfile
        import tunesmith as tune
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)
        analysis = tune.run(lambda config: {"loss": 1}, storage_path=sys.argv[1], verbose=0)
        print(analysis.trials[0].status)
    """) == "TERMINATED\n"  # fmt: skip


def test_what_a_trial_leaves_to_the_end_of_its_process_is_done(program) -> None:
    """Buffers, temporary folders, exit handlers and threads that are no daemons: as at the end of any Python process."""
    program.write({"script.py": """
        import atexit, logging.handlers, os, sys, tempfile, threading, weakref
        import tunesmith as tune
        kept = []
        class Thing: pass
        def train(config):
            folder = tempfile.TemporaryDirectory()
            thing = Thing()
            kept.extend([folder, thing])
            weakref.finalize(thing, print, "finalized", flush=True)
            atexit.register(print, "at exit")
            kept.append(open(tune.get_context().get_trial_dir() + "/buffered.txt", "w"))
            kept[-1].write("all of it")
            handler = logging.handlers.MemoryHandler(100, target=logging.StreamHandler(sys.stdout))
            logging.getLogger("memory").addHandler(handler)
            logging.getLogger("memory").warning("remembered")
            return {"loss": 0, "folder": folder.name}
        analysis = tune.run(train, storage_path=sys.argv[1], verbose=0)
        print(os.path.exists(analysis.trials[0].last_result["folder"]))
    """})  # fmt: skip
    assert program.python("script.py", program.results).stdout == "False\n"
    [text] = program.logs()
    assert sorted(text.splitlines()) == ["at exit", "finalized", "remembered"]
    assert program.logs("buffered.txt") == ["all of it"]


def test_a_library_that_prints_and_registers_when_it_is_imported(program) -> None:
    """The template imports it, too; that is neither heard, nor does it take part in the ends of trials."""
    program.write({
        "site-packages/library.py": """
            import atexit, logging, os, sys, warnings, weakref
            print("welcome")
            print("careful", file=sys.stderr)
            os.system("echo by a child")
            class Thing: pass
            thing = Thing()
            weakref.finalize(thing, print, "finalized by the library")
            atexit.register(print, "at exit of the library")
        """,
        "script.py": """
            import sys, weakref
            import library
            import tunesmith as tune
            kept = []
            def train(config):
                kept.append(library.Thing())
                weakref.finalize(kept[-1], print, "finalized by the trial")
                assert library.thing
            tune.run(train, num_samples=2, storage_path=sys.argv[1], verbose=0, reuse_actors=False)
        """,
    })  # fmt: skip
    done = program.python("-u", "script.py", program.results, env={**os.environ, "PYTHONPATH": str(program.folder / "site-packages")})
    assert done.stderr == "careful\n"
    assert sorted(done.stdout.splitlines()) == sorted(["welcome", "by a child", "at exit of the library", "finalized by the library"])
    assert program.logs() == ["finalized by the trial\n"] * 2
