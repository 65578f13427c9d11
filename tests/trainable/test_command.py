"""Programs as trials, without an executor: what they report, how they end, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tunesmith.checkpoints import Checkpoint
from tunesmith.executors.guardian import kill_marked
from tunesmith.trainable import command_run, program
from tunesmith.trainable.command import command
from tunesmith.trainable.place import VARIABLES
from tunesmith.trainable.session import GO_ON, Answer

STOP = Answer("stop")
OWN = ("training_iteration", "time_this_iter_s", "time_total_s")
HERE = str(Path(__file__).parents[2] / "src")


def shell(text, **arguments):
    return command(["sh", "-c", text.replace("{", "{{").replace("}", "}}")], **arguments)


def python(text, *words, **arguments):
    """A Python program that has ``tune``."""
    source = "import os, sys\nimport tunesmith as tune\n" + textwrap.dedent(text)
    return command([sys.executable, "-c", source.replace("{", "{{").replace("}", "}}"), *words], **arguments)


def reported(channel):
    return [{key: value for key, value in metrics.items() if key not in OWN} for metrics in channel.metrics]


def stop_at(iteration):
    return lambda event: STOP if event.iteration >= iteration else GO_ON


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


# -- lines of a file


def test_lines_of_a_file_are_reports(attempt):
    made = shell('for i in 1 2 3; do echo "{\\"loss\\": $i, \\"val\\": {\\"acc\\": 0.5}}" >> $TUNESMITH_REPORTS; done')
    ended, channel = attempt(made)
    assert ended.outcome == "finished", ended.error
    assert reported(channel) == [{"loss": i, "val/acc": 0.5} for i in (1, 2, 3)]


def test_numbers_that_are_none_may_be_written_as_c_does(attempt):
    _, channel = attempt(shell("""printf '{"a": nan, "b": -inf, "c": Infinity, "d": "nan"}' > $TUNESMITH_REPORTS"""))  # no end of line, too
    (metrics,) = reported(channel)
    assert str(metrics) == str({"a": float("nan"), "b": float("-inf"), "c": float("inf"), "d": "nan"})


@pytest.mark.parametrize("line", ["loss=1", "[1]", "{", "\\377"])
def test_a_line_that_is_none_fails_the_trial_and_ends_the_program(attempt, line):
    made = shell(f"printf '{line}\\n' > $TUNESMITH_REPORTS; echo $$ > $TUNESMITH_TRIAL_DIR/pid; exec sleep 100")
    ended, channel = attempt(made)
    assert ended.outcome == "user_error"
    assert "wrote to TUNESMITH_REPORTS what is no report" in ended.error["message"]
    assert channel.events == []


def test_who_waits_gets_the_decision(attempt, tmp_path):
    made = shell("""
        exec 3< $TUNESMITH_ANSWERS
        for i in 1 2 3 4 5; do
            echo "{\\"i\\": $i}" > $TUNESMITH_REPORTS
            read answer <&3
            echo $answer >> log
            [ $answer = stop ] && exit 0
        done
    """, cwd=tmp_path)  # fmt: skip
    ended, channel = attempt(made, decide=stop_at(3))
    assert (ended.outcome, len(channel.events)) == ("stopped", 3)
    assert (tmp_path / "log").read_text().split()[:2] == ["continue", "continue"]


def test_checkpoints_are_stored_with_their_reports(attempt, tmp_path):
    made = shell("""
        mkdir mine; echo weights > mine/w; echo '{"loss": 1, "checkpoint": "mine"}' > $TUNESMITH_REPORTS
        read answer < $TUNESMITH_ANSWERS
    """, cwd=tmp_path)  # fmt: skip
    ended, channel = attempt(made)
    assert ended.outcome == "finished", ended.error
    assert [event.checkpoint for event in channel.events] == ["3/checkpoint_000000"]
    stored = tmp_path / "trial" / "checkpoint_000000"
    assert (stored / "w").read_text() == "weights\n"
    again = command(["sh", "-c", 'cat "$0/w" "$TUNESMITH_CHECKPOINT/w" > found', "{checkpoint}"], cwd=tmp_path)
    ended, _ = attempt(again, checkpoint=str(stored), checkpoint_id="3/checkpoint_000000", iteration=1)
    assert (ended.outcome, (tmp_path / "found").read_text()) == ("finished", "weights\nweights\n")


def test_an_empty_name_is_no_checkpoint(attempt, tmp_path):
    ended, channel = attempt(shell("""echo '{"loss": 1, "checkpoint": ""}' > $TUNESMITH_REPORTS""", cwd="{trial_dir}"))
    assert (ended.outcome, reported(channel), channel.events[0].checkpoint) == ("finished", [{"loss": 1}], None), ended.error


@pytest.mark.parametrize(("value", "message"), [('"nowhere"', "nowhere.* not there"), ("3", "expected the path of a directory")])
def test_a_checkpoint_that_is_none_fails_the_trial(attempt, value, message):
    ended, _ = attempt(shell("""echo '{"loss": 1, "checkpoint": VALUE}' > $TUNESMITH_REPORTS""".replace("VALUE", value)))
    assert ended.outcome == "user_error"
    assert re.search(message, ended.error["message"])


def test_a_stop_is_a_sigterm_to_the_whole_group(attempt, tmp_path):
    made = shell("""
        trap 'echo told >> log; wait; exit 0' TERM
        sh -c 'trap "echo child >> log; exit 0" TERM; echo x > ready; while :; do sleep 0.01; done' &
        while [ ! -e ready ]; do sleep 0.01; done
        echo '{"loss": 1}' > $TUNESMITH_REPORTS
        wait
    """, cwd=tmp_path)  # fmt: skip
    ended, _ = attempt(made, decide=stop_at(1))
    assert (ended.outcome, ended.error) == ("stopped", None)
    assert set((tmp_path / "log").read_text().split()) == {"told", "child"}


def test_what_does_not_end_is_killed_and_so_is_all_that_has_left_the_group(attempt, tmp_path):
    made = shell("""
        trap '' TERM
        setsid sleep 1000 & echo $! > other
        echo $$ > self
        echo '{"loss": 1}' > $TUNESMITH_REPORTS
        while :; do sleep 0.01; done
    """, cwd=tmp_path, grace_s=0.05)  # fmt: skip
    ended, _ = attempt(made, decide=stop_at(1))
    assert ended.outcome == "stopped"
    assert not alive((tmp_path / "other").read_text().strip())
    assert not alive((tmp_path / "self").read_text().strip())


def test_a_program_that_does_not_wait_stands_still_while_its_trial_is_paused(attempt, tmp_path, monkeypatch):
    monkeypatch.setattr(command_run, "_HOLD_S", 0.01)
    states = []

    def decide(event):
        pid = (tmp_path / "self").read_text().strip()
        deadline = threading.Event()
        for _ in range(500):
            states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
            if states[-1] == "T":
                break
            deadline.wait(0.01)
        return GO_ON

    made = shell('echo $$ > self; echo "{\\"loss\\": 1}" > $TUNESMITH_REPORTS; read x < $TUNESMITH_ANSWERS', cwd=tmp_path)
    ended, _ = attempt(made, decide=decide)
    assert (ended.outcome, states[-1]) == ("finished", "T")


def test_what_a_program_leaves_behind_does_not_go_on_to_report(attempt):
    made = shell("""(while :; do echo '{"loss": 1}' > $TUNESMITH_REPORTS; done) & read answer < $TUNESMITH_ANSWERS; exit 0""")
    ended, channel = attempt(made)
    assert ended.outcome == "finished"
    assert channel.events


# -- lines of its output


def test_lines_of_json_that_it_prints_are_reports(attempt, capfd):
    made = shell("""echo starting; echo '{"loss": 1}'; echo '[1]'; echo '{"not json'; printf '{"loss": 2}'""", metrics="stdout")
    ended, channel = attempt(made)
    assert (ended.outcome, reported(channel)) == ("finished", [{"loss": 1}, {"loss": 2}])
    assert capfd.readouterr().out.startswith("starting\n")


def test_what_a_pattern_finds_is_reported(attempt):
    pattern = r"epoch (?P<epoch>\d+): loss=(?P<loss>\S+)( (?P<word>\w+))?"
    made = shell("echo 'epoch 1: loss=0.5'; echo nothing; echo 'epoch 2: loss=1e-3 best'", metrics=pattern)
    _, channel = attempt(made)
    assert reported(channel) == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.001, "word": "best"}]


def test_a_stop_ends_a_program_that_knows_nothing_of_us(attempt, tmp_path):
    source = "import time\nfor i in range(10**6):\n    print('loss', i)\n    time.sleep(0.001)"
    ended, channel = attempt(command([sys.executable, "-c", source], metrics=r"loss (?P<loss>\d+)"), decide=stop_at(4))
    assert (ended.outcome, len(channel.events)) == ("stopped", 4)


# -- Python programs


def test_tune_works_in_a_python_program(attempt, tmp_path):
    made = python("""
        context = tune.get_context()
        assert tune.get_checkpoint() is None
        for i in range(3):
            tune.report({"val": {"loss": i}}, checkpoint={"i": i} if i else None, lr=float(sys.argv[1]))
        assert tune.get_checkpoint().to_dict() == {"i": 2}
        tune.report(
            name=context.get_trial_name(), id=tune.get_trial_id(), seed=context.seed, dir=tune.get_trial_dir(),
            resources=tune.get_trial_resources()["cpu"], world=context.get_world_size(), enabled=tune.is_session_enabled(),
        )
        tune.report(shape=[1, 2])
    """, "{lr}")  # fmt: skip
    ended, channel = attempt(made, {"lr": 0.25})
    assert ended.outcome == "finished", ended.error
    assert reported(channel)[:3] == [{"val/loss": i, "lr": 0.25} for i in range(3)]
    assert [event.checkpoint for event in channel.events[:3]] == [None, "3/checkpoint_000000", "3/checkpoint_000001"]
    assert reported(channel)[3] == {
        "name": "train_abcde_00003", "id": "abcde_00003", "seed": 5, "dir": str(tmp_path / "trial"), "resources": 1.0, "world": 1,
        "enabled": True,
    }  # fmt: skip
    assert channel.events[4].extras == {"shape": [1, 2]}
    assert sorted(path.name for path in (tmp_path / "trial").iterdir()) == ["checkpoint_000000", "checkpoint_000001"]


def test_a_python_program_waits_and_unwinds(attempt, tmp_path):
    made = python("""
        try:
            for i in range(10):
                tune.report(i=i)
        finally:
            open("unwound", "w").write(str(i))
    """, cwd=tmp_path)  # fmt: skip
    ended, channel = attempt(made, decide=stop_at(3))
    assert (ended.outcome, ended.error, len(channel.events)) == ("stopped", None, 3)
    assert (tmp_path / "unwound").read_text() == "2"


def test_a_python_program_goes_on_from_a_checkpoint(attempt, tmp_path):
    made = python("""
        with tune.checkpoint_dir(step=0) as folder:
            open(os.path.join(folder, "w"), "w").write("x")
        tune.report(a=1)
    """)  # fmt: skip
    ended, channel = attempt(made)
    assert ended.outcome == "finished", ended.error
    assert [event.checkpoint for event in channel.events] == ["3/checkpoint_000000"]
    again = python("""
        with tune.get_checkpoint().as_directory() as folder:
            tune.report(w=open(os.path.join(folder, "w")).read())
    """)  # fmt: skip
    path = str(tmp_path / "trial" / "checkpoint_000000")
    ended, channel = attempt(again, checkpoint=path, checkpoint_id="3/checkpoint_000000", iteration=1)
    assert (ended.outcome, reported(channel), channel.events[0].iteration) == ("finished", [{"w": "x"}], 2)


def test_errors_of_a_report_are_raised_where_it_was_made(attempt):
    made = python("""
        for bad in (lambda: tune.report([1]), lambda: tune.report(a=1, checkpoint=3), lambda: tune.report(a=1, checkpoint="nowhere")):
            try:
                bad()
            except Exception as error:
                print(type(error).__name__, error)
            else:
                raise AssertionError
        if os.fork() == 0:
            try:
                tune.report(a=1)
            except tune.UserCodeError:
                os._exit(7)
        tune.report(b=os.waitstatus_to_exitcode(os.wait()[1]))
    """)  # fmt: skip
    ended, channel = attempt(made)
    assert ended.outcome == "finished", ended.error
    assert reported(channel) == [{"b": 7}]


def test_ranks_take_part(attempt, tmp_path):
    """As torchrun starts them: rank 0 reports, the other has the same decisions, and both end at the same report."""
    source = """
        rank = int(os.environ["RANK"])
        context = tune.get_context()
        assert (context.get_world_rank(), context.get_world_size(), context.get_local_rank()) == (rank, 2, rank)
        try:
            for i in range(10):
                tune.report(i=i, rank=rank, checkpoint={"i": i})
        finally:
            open(f"rank{rank}", "w").write(f"{i} {tune.get_checkpoint().to_dict()['i']}")
    """
    (tmp_path / "both.py").write_text("import os, sys\nimport tunesmith as tune\n" + textwrap.dedent(source))
    start = "for r in 0 1; do RANK=$r LOCAL_RANK=$r WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 " + sys.executable + " both.py & done; wait"
    ended, channel = attempt(shell(start, cwd=tmp_path), decide=stop_at(4))
    assert (ended.outcome, [metrics["rank"] for metrics in reported(channel)]) == ("stopped", [0] * 4)
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["3 3"] * 2


def test_who_has_not_the_token_is_not_heard(attempt):
    made = python("""
        import json, socket
        host, port, token = os.environ["TUNESMITH_RELAY"].split(":")
        with socket.create_connection((host, int(port))) as other:
            other.sendall(json.dumps({"token": "x" + token[1:], "rank": 0}).encode() + b"\\n")
            assert other.recv(100) == b""
        tune.report(a=1)
    """)  # fmt: skip
    ended, channel = attempt(made)
    assert (ended.outcome, reported(channel)) == ("finished", [{"a": 1}])


# -- ends


def test_an_exit_code_is_a_failure_that_says_what_it_printed(attempt, capfd):
    made = command(["sh", "-c", "echo out; for i in $(seq 50); do echo line $i >&2; done; exit 3", "{hub/token}"], name="x")
    ended, _ = attempt(made, {"hub": {"token": "abc"}})
    assert ended.outcome == "user_error"
    first, _, rest = ended.error["message"].partition("\n")
    assert first.startswith("sh -c ")
    assert first.endswith("'***' ended with exit code 3: line 50")
    assert rest.splitlines()[0] == "The end of its standard error:"
    assert rest.splitlines()[1:] == [f"line {i}" for i in range(31, 51)]
    assert "abc" not in str(ended.error)
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("out\n", 50)


def test_the_first_line_of_an_error_says_what_went_wrong_however_long_the_command_is(attempt):
    ended, _ = attempt(shell("if true\nthen\n  # " + 500 * "x" + "\n  echo no luck >&2\n  exit 3\nfi"))
    first = ended.error["message"].splitlines()[0]
    assert first.startswith("sh -c ")
    assert first.endswith(" ... ended with exit code 3: no luck")


@pytest.mark.parametrize(
    ("text", "outcome", "said"),
    [
        ("kill -KILL $$", "worker_lost", "was killed by SIGKILL"),
        ("kill -SEGV $$", "worker_lost", "was killed by SIGSEGV"),
        ("echo 'torch.OutOfMemoryError: CUDA out of memory.' >&2; exit 1", "oom_gpu", "exit code 1: torch.OutOfMemoryError"),
        ("exit 137", "user_error", "exit code 137"),
    ],
)
def test_ends_are_judged_as_those_of_any_trial(attempt, text, outcome, said):
    ended, _ = attempt(shell(text))
    assert ended.outcome == outcome
    assert said in ended.error["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("no_such_program --x", r"no program 'no_such_program' in PATH='/nowhere'"),
        ("./nothing", r"/nothing is not there"),
        ("./file", r"/file is not executable: chmod \+x"),
        ("./folder", r"/folder is no program"),
        ("./text", r"/text can't be started: (\[Errno 8\] )?Exec format error.* A script needs a first line such as #!/bin/sh\.\Z"),
    ],
)
def test_a_program_that_is_not_there_is_named(attempt, tmp_path, words, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "text").write_text("not a program")
    (tmp_path / "text").chmod(0o755)
    (tmp_path / "folder").mkdir()
    ended, _ = attempt(command(words, cwd=tmp_path, env={"PATH": "/nowhere"}))
    assert ended.outcome == "user_error"
    assert re.search(message, ended.error["message"]), ended.error["message"]
    assert "Traceback" not in ended.error["message"]


def test_programs_of_this_virtual_environment_come_first(attempt, tmp_path, monkeypatch):
    (tmp_path / "python").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    monkeypatch.setattr(program.sys, "base_prefix", "/elsewhere")
    assert attempt(command("python -c pass"))[0].outcome == "finished"
    monkeypatch.setattr(program.sys, "base_prefix", sys.prefix)
    assert attempt(command("python -c pass"))[0].outcome == "user_error"


def test_a_missing_directory_and_a_missing_entry_start_nothing(attempt, tmp_path):
    assert "working directory" in attempt(command("touch x", cwd=tmp_path / "none"))[0].error["message"]
    ended, _ = attempt(command(["touch", str(tmp_path / "x"), "{lr}"]), {"rate": 1})
    assert ended.error["type"] == "SpecError"
    assert not (tmp_path / "x").exists()


def test_environment_and_directory_have_placeholders_too(attempt, tmp_path):
    text = """printf '{"lr": %s, "here": "%s", "id": "%s", "seed": %s}' "$LR" "$PWD" $TUNESMITH_TRIAL_ID $TUNESMITH_SEED"""
    made = shell(text + " > $TUNESMITH_REPORTS", env={"LR": "{lr}"}, cwd="{trial_dir}")
    _, channel = attempt(made, {"lr": 0.5})
    assert reported(channel) == [{"lr": 0.5, "here": str(tmp_path / "trial"), "id": "abcde_00003", "seed": 5}]


def test_the_drivers_own_rank_is_not_the_programs(attempt, monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    text = "".join(f"${name}" for name in VARIABLES)
    made = shell("""printf '{"found": "%s"}' TEXT > $TUNESMITH_REPORTS""".replace("TEXT", text), env={"MASTER_PORT": "{port}"})
    _, channel = attempt(made, {"port": "7"})
    assert reported(channel) == [{"found": "7"}]


def test_no_shell_is_involved(attempt, tmp_path):
    ended, _ = attempt(command(["touch", "{name}"], cwd=tmp_path), {"name": "a; $(b) > c"})
    assert ended.outcome == "finished"
    assert [path.name for path in tmp_path.iterdir() if path.name != "trial"] == ["a; $(b) > c"]


def test_it_runs_outside_of_trials_too(tmp_path):
    shell('echo "{\\"a\\": 1}" > $TUNESMITH_REPORTS; echo done > file', cwd=tmp_path)({})
    assert (tmp_path / "file").read_text() == "done\n"


def test_its_process_dies_with_the_one_that_started_it(tmp_path):
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            shell("echo $$ > self; exec sleep 1000", cwd=tmp_path, env={"PROOF": str(tmp_path)})({})
        os._exit(1)
    found = tmp_path / "self"
    wait = threading.Event()
    while not (found.exists() and found.read_text().strip()):
        wait.wait(0.01)
    handle = os.pidfd_open(int(found.read_text()))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert select.select([handle], [], [], 10)[0]
    os.close(handle)
    assert kill_marked(str(tmp_path), variable="PROOF")


def test_a_python_program_whose_trial_is_gone_ends_well(tmp_path):
    environment = {**os.environ, "TUNESMITH_RELAY": "127.0.0.1:1:x", "PYTHONPATH": HERE}
    source = "import tunesmith as t; t.report(a=1); print('on')"
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_checkpoints_may_be_given_as_such(attempt, tmp_path):
    (tmp_path / "mine").mkdir()
    made = python('tune.report(a=1, checkpoint=tune.Checkpoint("mine"))', cwd=tmp_path)
    _, channel = attempt(made)
    assert Checkpoint(tmp_path / "trial" / "checkpoint_000000").path
    assert channel.events[0].checkpoint == "3/checkpoint_000000"
