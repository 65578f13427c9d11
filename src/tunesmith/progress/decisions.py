"""Decisions in words: what was decided about a trial and why, short enough for one line."""

from __future__ import annotations

from collections.abc import Callable

from tunesmith.core.commands import Decision
from tunesmith.core.placement import worded
from tunesmith.core.trial import ERROR

__all__ = ["again", "left", "told"]

_WORDS = {
    "stop": "stopped", "pause": "paused", "retry": "to be tried again", "kill": "killed", "skip": "goes on as it was", "resize": "resized",
}  # fmt: skip


def told(decision: Decision, trial_id: Callable[[int], str], *, paused: bool = False, ending: bool = False) -> str | None:
    """One decision about a trial for people, without the trial's id; None: not worth a line.

    Args:
        paused: it is about a trial that was paused until now.
        ending: so is the run: nothing is tried again in it.

    Example:
        >>> told(Decision("stop", 3, "0.61 is below the rung's cut of 0.83"), str)
        "stopped: 0.61 is below the rung's cut of 0.83"
        >>> told(Decision("exploit", 3, "among the worst 25 %", {"source": 7}), str)
        'takes over from 7: among the worst 25 %'
        >>> told(Decision("launch", 3), str, paused=True)
        'goes on'
        >>> told(Decision("continue", 3), str) is None
        True
    """
    do, reason, data = decision.do, decision.reason, decision.data
    if do == "exploit":
        word = f"takes over from {trial_id(data['source'])}"
    elif do == "exploited":
        word = "goes on with other values" if data["source"] == decision.trial else f"goes on from {trial_id(data['source'])}"
    elif do == "retry" and data.get("wait"):
        return None  # for an exploit
    elif ending and (do == "retry" or (do == "paused" and data.get("charge"))):
        return left(decision)
    elif do == "retry" and "resources" in data and not data.get("charge"):
        word = f"goes on with {worded(data['resources'])}"
    elif (do == "launch" and paused) or (do == "continue" and reason and not data.get("notice")):
        word = "goes on"
    elif do == "launch" and reason:
        word = "started"
    elif do == "paused" and data.get("charge"):
        word = "failed, paused"
    elif do == "end" and (data.get("status") == ERROR or reason):
        word = "failed" if data.get("status") == ERROR else data.get("outcome") or "ended"
    elif do == "stop" and data.get("then") == "interrupt":
        return None  # all of them, as the run is interrupted
    else:
        word = _WORDS.get(do, "")
    if not word:
        return None
    return reason if reason.startswith(word) else f"{word}: {reason}" if reason else word


def again(decision: Decision) -> str:
    """What follows an attempt that is to have another one."""
    sized = "resources" in decision.data and not decision.data.get("charge")
    what = f"goes on with {worded(decision.data['resources'])}" if sized else "will be tried again"
    return f"{what}: {decision.reason}"


def left(decision: Decision) -> str:
    """What became of an attempt that would have another one if the run were not ending: that one is a resume's.

    Example:
        >>> left(Decision("retry", 3, "interrupted; goes on from iteration 7"))
        'interrupted; a resume goes on from iteration 7'
    """
    reason = decision.reason.replace("; starts anew", "; a resume starts it anew").replace("; goes on from", "; a resume goes on from")
    if reason == decision.reason:  # it was on its way to other resources
        reason = f"interrupted; a resume goes on: {reason}"
    return f"failed: {reason}" if decision.data.get("charge") else reason
