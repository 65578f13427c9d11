"""What W&B is shown of configurations and results."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tunesmith.integration.wandb_rows import config_shown, metrics_shown, pictures
from tunesmith.trainable.watched import Reads


class Drawn:
    """What a client's class makes of an array."""

    def __init__(self, value: Any) -> None:
        self.shape = np.shape(value)


class Image(Drawn):
    pass


class Histogram(Drawn):
    pass


class Video(Drawn):
    def __init__(self, value: Any) -> None:
        raise ValueError("needs moviepy")


for kind in (Image, Histogram):
    kind.__module__ = "wandb.data_types"
WANDB = SimpleNamespace(Image=Image, Histogram=Histogram, Video=Video)


def shown(**result: Any) -> dict[str, Any]:
    return {name: (type(one).__name__, one.shape) for name, one in pictures(WANDB, result, ("no",)).items()}


def test_a_config_is_nested_and_has_no_secrets() -> None:
    config = {
        "lr": 0.1, "opt": {"name": "adam", "betas": (0.9, 0.99)}, "max_tokens": 512, "tokenizer": "bert", "token": "drawn",
        "hub": {"api_key": "s", "user": "ada"}, "wandb": {"project": "p", "api_key": "s"}, "act": math.tanh, "data": np.arange(2), 3: None,
    }  # fmt: skip
    assert config_shown(config, {"token"}) == {
        "lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}, "max_tokens": 512, "tokenizer": "bert", "token": "drawn",
        "hub": {"user": "ada"}, "act": "math.tanh", "data": [0, 1], "3": None,
    }  # fmt: skip
    assert "wandb" in config


def test_to_show_a_config_is_not_to_read_it() -> None:
    reads = Reads()
    config_shown(reads.watch({"lr": 0.1, "opt": {"momentum": 0.9}}))
    assert not reads.covers(("lr",))
    assert not reads.covers(("opt", "momentum"))


def test_numbers_and_text_of_a_result_are_metrics() -> None:
    result = {
        "loss": math.nan, "val/acc": 1, "val/n": 2, "value": 3, "phase": "warm", "flag": True, "none": None, "list": [1],
        "training_iteration": 4, "time_total_s": 0.5, "trial_id": "x", "pid": 1, "date": "d", "done": False,
        "config": {"lr": 1}, "checkpoint_dir_name": "c",
    }  # fmt: skip
    found = metrics_shown(result, None, ("val", "flag"))
    assert list(found) == ["loss", "value", "phase", "training_iteration", "time_total_s"]
    assert metrics_shown({}, {"lr": 0.1, "opt": {"name": "adam", "m": 1}, "layers": [1]}, ("config/opt/m",)) == {
        "config/lr": 0.1, "config/opt/name": "adam",
    }  # fmt: skip


def test_arrays_become_pictures(caplog: pytest.LogCaptureFixture) -> None:
    assert shown(
        a=np.zeros(3), b=[1, 2.5], c=np.zeros((2, 3)), d=np.zeros((4, 5, 3)), no=np.zeros(3), e=np.zeros(()), f=[], g=["x"], h=object(),
        i=None, j=1.0, k={}, l=[[1], [2, 3]], config=[1, 2],
    ) == {"a": ("Histogram", (3,)), "b": ("Histogram", (2,)), "c": ("Histogram", (6,)), "d": ("Image", (4, 5, 3))}  # fmt: skip
    several = pictures(WANDB, {"batch": np.zeros((2, 4, 5, 3))}, ())["batch"]
    assert [(type(one), one.shape) for one in several] == [(Image, (4, 5, 3))] * 2
    assert shown(clip=np.zeros((1, 2, 3, 4, 5))) == {}
    assert "cannot show an array of shape (1, 2, 3, 4, 5): ValueError: needs moviepy" in caplog.text


def test_objects_that_wandb_knows_pass() -> None:
    figure = type("Figure", (), {"__module__": "plotly.graph_objs"})()
    one = Image(np.zeros(2))
    assert pictures(WANDB, {"plot": figure, "one": one, "several": [one, one]}, ()) == {"plot": figure, "one": one, "several": [one, one]}


def test_pillows_images_and_tensors() -> None:
    picture = type("Picture", (), {"__module__": "PIL.Image", "__array__": lambda self, *_, **__: np.zeros((2, 2, 3))})()
    tensor = SimpleNamespace(detach=lambda: SimpleNamespace(cpu=lambda: np.zeros((2, 2, 1))))
    assert shown(picture=picture, tensor=tensor) == {"picture": ("Image", (2, 2, 3)), "tensor": ("Image", (2, 2, 1))}


def test_importing_tunesmith_imports_no_wandb() -> None:
    import subprocess

    code = "import sys, tunesmith, tunesmith.integration.wandb; print('wandb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
