from __future__ import annotations

import json
import pickle
import shlex
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpecError
from tunesmith.space import choice, grid_search, loguniform, sample_from
from tunesmith.trainable import TrainableSpec
from tunesmith.trainable.command import command
from tunesmith.trainable.command_words import Word, name_of, words_of
from tunesmith.trainable.watched import Reads


def word(text):
    return Word(text, "here")


@pytest.mark.parametrize(
    ("text", "config", "filled"),
    [
        ("{lr}", {"lr": 0.1}, "0.1"),
        ("--lr={lr:.2e}", {"lr": 0.00123}, "--lr=1.23e-03"),
        ("{model[lr]}-{model/lr}", {"model": {"lr": 3}}, "3-3"),
        ("{a[b][c]}", {"a": {"b": {"c": "x y"}}}, "x y"),
        ("{layers}", {"layers": [64, 32]}, "[64, 32]"),
        ("{layers[1]}", {"layers": [64, 32]}, "32"),
        ("{flag} {none}", {"flag": True, "none": None}, "True null"),
        ("{model}", {"model": {"lr": 0.5}}, '{"lr": 0.5}'),
        ("{{{lr}}}", {"lr": 1}, "{1}"),
        ("{x!r:>5}", {"x": "a"}, "  'a'"),
        ("optim.lr={optim.lr}", {"optim.lr": 2}, "optim.lr=2"),
        ("{a/b}", {"a/b": 7}, "7"),
        ("{x}", {"x": np.float32(0.5)}, "0.5"),
        ("{checkpoint}:{seed}", {}, "/c:5"),
        ("{seed}", {"seed": 9}, "9"),
    ],
)
def test_placeholders(text, config, filled):
    assert word(text).filled(config, {"checkpoint": "/c", "seed": 5}) == filled


@given(st.floats(allow_nan=False), st.integers(), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_nothing_is_lost_on_the_way(number, whole, text):
    assert float(word("{x}").filled({"x": number}, {})) == number
    assert int(word("{x}").filled({"x": whole}, {})) == whole
    assert word("{x}").filled({"x": text}, {}) == text
    assert json.loads(word("{x}").filled({"x": [number, whole, text]}, {})) == [number, whole, text]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{lr", "expected '}'"), ("{}", "not understood"), ("{a[}", "here: "), ('{"loss": 1}', "not understood"), ("{x!z}", "not understood")],
)
def test_a_placeholder_that_is_none_is_refused_at_once(text, message):
    with pytest.raises(SpecError, match=message):
        word(text)


@pytest.mark.parametrize(
    ("text", "config", "message"),
    [
        ("{lrr}", {"lr": 1}, r"no entry 'lrr'\. Did you mean 'lr'\? There are: lr, checkpoint, trial_id, trial_dir, seed"),
        ("{model/width}", {"model": {"depth": 1}}, "There are: model/depth"),
        ("{lr/x}", {"lr": 1}, "no entry 'lr/x'"),
        ("{layers[3]}", {"layers": [1]}, "no entry"),
        ("{lr:d}", {"lr": 0.5}, "the value of {lr} is a float, 0.5, and cannot be written there"),
        ("{x}", {"x": object()}, "is a object"),
        ("{x}", {"x": "a\0b"}, "NUL"),
        ("{x}", {"x": "\ud800"}, "cannot be written"),
    ],
)
def test_what_cannot_be_filled_in_says_why(text, config, message):
    with pytest.raises(SpecError, match=message):
        word(text).filled(config, {})


def test_secrets_are_not_shown():
    config = {"hub": {"token": "abc"}, "lr": 1}
    assert word("{hub/token} {lr}").filled(config, {}, hide=True) == "*** 1"
    assert word("{hub/token} {lr}").filled(config, {}) == "abc 1"


SPACE = {
    "lr": loguniform(1e-4, 1), "epochs": 3, "model": {"width": choice([1, 2])}, "optimizer": choice([{"name": "sgd", "momentum": 0.9}]),
    "more": sample_from(lambda: {"a": 1}), "grid": grid_search([1, 2]),
}  # fmt: skip


@pytest.mark.parametrize("text", ["{lr}", "{lr:d}", "{epochs}", "{model/width}", "{optimizer[momentum]}", "{more/a}", "{grid}", "{seed}"])
def test_a_space_is_looked_at_before_anything_starts(text):
    command(["x", text]).__check_config__(SPACE)


@pytest.mark.parametrize(
    ("text", "message"), [("{lrr}", "Did you mean 'lr'"), ("{model/depth}", "no entry"), ("{epochs:s}", "cannot be written")]
)
def test_a_space_that_cannot_fill_it_is_refused(text, message):
    for made in (command(["x", text]), command("x", env={"A": text}), command("x", cwd="{trial_dir}/" + text)):
        with pytest.raises(SpecError, match=message):
            made.__check_config__(SPACE)


def test_a_searcher_may_bring_what_the_config_has_not():
    command("x {lr} {epochs}").__check_config__({"epochs": 3})
    command("x {lr}").__check_config__({})


@given(st.lists(st.text(st.characters(exclude_characters="\0{}"), min_size=1), min_size=1))
def test_a_string_is_taken_apart_as_a_shell_does_and_a_list_as_given(texts):
    assert [one.text for one in words_of(texts)] == texts
    assert [one.text for one in words_of(shlex.join(texts))] == texts


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("python 'x", "cannot be taken apart"), ("", "no program"), ([], "no program"), (3, "list of words"), (["a", 3], "list of words"),
        ("a\0", "NUL"),
    ],
)  # fmt: skip
def test_what_is_no_command_line_is_refused(program, message):
    with pytest.raises(SpecError, match=message):
        words_of(program)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env": ["A"]}, "env must be a dict"),
        ({"env": {"A": 1}}, r"env\['A'\]: names and values"),
        ({"env": {"A=": "x"}}, "names and values"),
        ({"env": {"HUB_TOKEN": "abc"}}, "would be stored"),
        ({"cwd": 3}, "cwd must be"),
        ({"metrics": "("}, "no regular expression"),
        ({"metrics": "loss"}, "no named group"),
        ({"metrics": 3}, "metrics must be"),
        ({"grace_s": -1}, "grace_s"),
        ({"grace_s": float("inf")}, "grace_s"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(SpecError, match=message):
        command("true", **arguments)


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("python train.py --lr {lr}", "train"), ("torchrun --nproc-per-node 2 dir/ddp.py {lr}", "ddp"), ("python -m pack.mod", "mod"),
        ("./simulate --x {x}", "simulate"), ([sys.executable, "-c", "pass"], "python"), ("bash -c 'echo'", "bash"),
        ("Rscript fit.R", "fit"),
        ("{tool} x", "tool"),
    ],
)  # fmt: skip
def test_names(program, name):
    assert name_of(words_of(program)).startswith(name)
    assert TrainableSpec.of(command(program)).name == name_of(words_of(program))


def test_it_is_a_trainable_that_travels():
    made = command("train.py {lr}", env={"A": "{lr}"}, metrics=r"(?P<loss>\d+)", cwd="{trial_dir}", grace_s=1)
    again = pickle.loads(pickle.dumps(made))
    assert repr(again) == repr(made) == "tune.command(['train.py', '{lr}'])"
    assert (again.words, again.env, again.cwd, again.metrics, again.grace_s) == (made.words, made.env, made.cwd, made.metrics, 1.0)


def test_only_what_a_placeholder_names_counts_as_read():
    reads = Reads()
    config = reads.watch({"lr": 0.1, "momentum": 0.9, "model": {"width": 3, "depth": 2}})
    assert word("{lr} {model/width} {checkpoint}").filled(config, {"checkpoint": ""}) == "0.1 3 "
    assert [reads.covers(path) for path in (("lr",), ("model", "width"), ("momentum",), ("model", "depth"))] == [True, True, False, False]
    assert not reads.absent
