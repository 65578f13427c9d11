"""Settings of W&B: what is refused, where the key comes from and where it never goes, and what ``wandb.init`` is called with."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from tunesmith.errors import SpecError
from tunesmith.integration.wandb import WandbLogger, WandbLoggerCallback, WandbTrainableMixin, setup_wandb, wandb_mixin
from tunesmith.integration.wandb_settings import WandbSettings, block_of

KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def online(offline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is started here, so that nothing is sent; returns the home."""
    import wandb

    wandb.teardown()  # forgets what other tests have set
    monkeypatch.delenv("WANDB_MODE")
    return offline


def of(**given: Any) -> WandbSettings:
    return WandbSettings.of("config['wandb']", {"project": "p", **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"api_key": KEY, "api_key_file": "f"}, "both api_key and api_key_file are given"),
        ({"api_key_file": "f", "settings": {"api_key": KEY}}, "both api_key and api_key_file are given"),
        ({"api_key": 7}, "api_key must be a string, got a int"),
        ({"api_key_file": 7}, "api_key_file must be a path, got 7"),
        ({"excludes": "loss"}, "excludes must be a list of metric names, got 'loss'"),
        ({"excludes": 3}, "excludes must be a list of metric names, got 3"),
        ({"settings": 3}, r"settings must be a wandb\.Settings or a dict, got 3"),
        ({"mode": "ofline"}, "mode must be 'online', 'offline', .*, got 'ofline'"),
        ({"settings": {"mode": "of"}}, "mode must be .*, got 'of'"),
        ({"log_config": "yes"}, r"log_config must be True or False, got 'yes'"),
        ({"log_confg": True}, r"has no argument 'log_confg'\. Did you mean 'log_config'\?"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        of(**given)
    assert str(caught.value).startswith("config['wandb']")
    assert KEY not in str(caught.value)


def test_the_project_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = of(project=None, api_key=KEY)
    with pytest.raises(SpecError, match=r"config\['wandb'\]: project is missing"):
        settings.check()
    monkeypatch.setenv("WANDB_PROJECT", "from outside")
    assert settings.check().project == "from outside"


def test_without_a_key_it_says_what_to_do(online: Path) -> None:
    with pytest.raises(SpecError, match=r"no W&B API key\. Set WANDB_API_KEY, run `wandb login`, or give api_key_file"):
        of().check()
    (online / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    (online / ".netrc").chmod(0o600)
    assert of().check().read_key() is None, "the client finds it by itself"


@pytest.mark.parametrize("variable", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_a_key_in_the_environment_will_do(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, KEY)
    of().check()


@pytest.mark.parametrize("mode", ["offline", "disabled", "dryrun"])
def test_without_a_server_no_key_is_needed_and_none_is_read(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of(mode=mode, api_key_file="/nowhere").check()
    assert of(settings={"mode": mode}).check()
    monkeypatch.setenv("WANDB_MODE", mode)
    settings = of(api_key=KEY).check()
    assert "api_key" not in settings.arguments({}, {}, {})["settings"]


def test_the_key_file(online: Path) -> None:
    settings = of(api_key_file="~/key.txt")
    with pytest.raises(SpecError, match=r"api_key_file .*/home/key\.txt cannot be read: No such file"):
        settings.check()
    (online / "key.txt").write_text(" \n")
    with pytest.raises(SpecError, match="is empty"):
        settings.check()
    (online / "key.txt").write_text(f"{KEY}\n")
    assert settings.check().arguments({}, {}, {})["settings"] == {"api_key": KEY}


def test_what_wandb_init_is_called_with(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"id": "3f2a9_00001", "name": "train_3f2a9_00001", "group": "train", "resume": "allow", "dir": "/trial"}
    quiet = {"console": "off", "silent": True}
    settings = of(api_key=KEY, name="mine", tags=["a"], notes=None, settings={"silent": False}, excludes=["n"], config={"more": 1})
    assert settings.arguments({"lr": 0.1, "n": 2}, ours, quiet) == {
        **ours, "name": "mine", "tags": ["a"], "project": "p", "mode": "online", "config": {"lr": 0.1, "more": 1},
        "settings": {"console": "off", "silent": False, "api_key": KEY},
    }  # fmt: skip
    monkeypatch.setenv("WANDB_RUN_GROUP", "outside")
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    given = of(mode="offline").arguments({}, ours, quiet)
    assert (given["group"], given["settings"]) == ("outside", quiet)
    assert not {"resume", "dir"} & set(given), "offline there is nobody to ask; and the client reads WANDB_DIR itself"
    assert of(group="given", mode="offline").arguments({}, ours, {})["group"] == "given"


def test_settings_of_wandbs_own_kind() -> None:
    import wandb

    settings = of(settings=wandb.Settings(mode="offline", api_key=KEY, silent=True))
    assert (settings.key, settings.mode, settings.init["settings"]) == (KEY, "offline", {"mode": "offline", "silent": True})


def test_the_key_is_in_no_repr_and_in_no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    callback = WandbLoggerCallback(project="p", api_key=KEY, settings={"api_key": KEY})
    pickled = cloudpickle.dumps(callback)
    assert KEY not in repr(of(api_key=KEY)) + repr(callback)
    assert KEY.encode() not in pickled
    restored = pickle.loads(pickled)
    with pytest.raises(SpecError, match="no W&B API key"):
        restored.setup()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    restored.setup()


def test_the_block_may_be_where_older_scripts_have_it() -> None:
    assert block_of({"wandb": {"project": "p"}}) == {"project": "p"} == block_of({"logger_config": {"wandb": {"project": "p"}}})
    assert block_of({"wandb": True}) is None is block_of({})


@wandb_mixin
def train(config: dict[str, Any]) -> None:
    """Never called here."""


class Digits(WandbTrainableMixin):
    """Never made here."""


@pytest.mark.parametrize("judge", [WandbLogger, train, Digits])
def test_a_config_can_be_judged_before_anything_runs(judge: Any) -> None:
    with pytest.raises(SpecError, match=r"needs settings in the config: config=\{\.\.\., 'wandb': \{'project'"):
        judge.__check_config__({"lr": 0.1})
    with pytest.raises(SpecError, match="project is missing"):
        judge.__check_config__({"wandb": {"api_key": KEY}})
    with pytest.raises(SpecError, match="no W&B API key"):
        judge.__check_config__({"wandb": {"project": "p"}})
    judge.__check_config__({"wandb": {"project": "p", "api_key": KEY}})


@pytest.mark.parametrize("given", [{"log_config": True}, {"excludes": ["loss"]}])
def test_what_only_loggers_do_is_refused_in_the_trial(given: dict[str, Any]) -> None:
    config = {"wandb": {"project": "p", "api_key": KEY, **given}}
    WandbLogger.__check_config__(config)
    for judge in (train, Digits):
        with pytest.raises(SpecError, match=rf"{next(iter(given))} is for WandbLogger and WandbLoggerCallback"):
            judge.__check_config__(config)  # type: ignore[attr-defined]
    with pytest.raises(SpecError, match=r"setup_wandb: .* is for WandbLogger"):
        setup_wandb(config)


def test_a_callback_is_judged_when_it_is_made() -> None:
    with pytest.raises(SpecError, match="WandbLoggerCallback: project is missing"):
        WandbLoggerCallback(api_key=KEY)
    with pytest.raises(SpecError, match=r"WandbLoggerCallback has no argument 'entty'\. Did you mean 'entity'"):
        WandbLoggerCallback(project="p", api_key=KEY, entty="me")
    with pytest.raises(SpecError, match="upload_checkpoints must be True or False"):
        WandbLoggerCallback(project="p", api_key=KEY, upload_checkpoints="all")  # type: ignore[arg-type]


def test_without_the_package_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SpecError, match=r'WandbLoggerCallback needs the package wandb .*pip install "tunesmith\[wandb\]"'):
        WandbLoggerCallback(project="p")
