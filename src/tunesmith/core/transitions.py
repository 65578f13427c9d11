"""Which event may meet a trial in which status, in one table; the diagram in the docs is generated from it.

A trial is STARTING between its launch and its ``AttemptStarted``; people see both as RUNNING. NEW is a number that has not been
suggested yet. An event without an entry is illegal: the controller raises and its state is unchanged. Events of older
attempts and of ended trials are not illegal but late: :meth:`Controller.accepts` says so, and they are ignored and counted.
"""

from __future__ import annotations

from tunesmith.core import events as ev
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED

__all__ = ["EXPERIMENT", "MOVES", "NEW", "STARTING", "TABLE", "diagram"]

NEW = "NEW"
STARTING = "STARTING"

TABLE: dict[tuple[str, type], tuple[str, tuple[str, ...]]] = {
    (NEW, ev.Suggested): ("suggested", (PENDING,)),
    (PENDING, ev.Explored): ("explored", (PENDING,)),
    (PENDING, ev.UserAction): ("user_action", (PENDING, PAUSED, TERMINATED)),
    (STARTING, ev.AttemptStarted): ("attempt_started", (RUNNING,)),
    (STARTING, ev.AttemptEnded): ("attempt_ended", (PENDING, PAUSED, TERMINATED, ERROR)),
    (STARTING, ev.Explored): ("explored", (STARTING,)),
    (STARTING, ev.UserAction): ("user_action", (STARTING,)),
    (RUNNING, ev.Reported): ("reported", (RUNNING, PAUSED)),
    (RUNNING, ev.CheckpointSaved): ("checkpoint_saved", (RUNNING,)),
    (RUNNING, ev.SaveSkipped): ("save_skipped", (RUNNING,)),
    (RUNNING, ev.AttemptEnded): ("attempt_ended", (PENDING, PAUSED, TERMINATED, ERROR)),
    (RUNNING, ev.Explored): ("explored", (RUNNING,)),
    (RUNNING, ev.UserAction): ("user_action", (RUNNING,)),
    (PAUSED, ev.AttemptEnded): ("attempt_ended", (PENDING, PAUSED, TERMINATED, ERROR)),
    (PAUSED, ev.CheckpointSaved): ("checkpoint_saved", (PAUSED,)),
    (PAUSED, ev.SaveSkipped): ("save_skipped", (PAUSED,)),
    (PAUSED, ev.Explored): ("explored", (PAUSED,)),
    (PAUSED, ev.UserAction): ("user_action", (PAUSED, TERMINATED)),
    (TERMINATED, ev.Reopened): ("reopened", (PENDING,)),
    (ERROR, ev.Reopened): ("reopened", (PENDING,)),
}
"""(status, event) -> (handler, statuses that the handler may leave the trial in)."""

MOVES: dict[tuple[str, str], str] = {
    (PENDING, STARTING): "launch",
    (PAUSED, STARTING): "launch (cold, rerun)",
    (PAUSED, RUNNING): "launch (warm)",
    (PAUSED, PENDING): "exploit (cold, rerun)",
    (PENDING, TERMINATED): "stop",
    (PAUSED, TERMINATED): "stop",
    (PENDING, ERROR): "unplaceable",
    (PAUSED, ERROR): "unplaceable",
}
"""Where decisions move a trial on its own: by a scheduler's word on another trial's event, a free slot, the end of the experiment."""

EXPERIMENT: dict[type, str] = {
    ev.ExperimentStarted: "experiment_started",
    ev.SpecChanged: "spec_changed",
    ev.SearchExhausted: "search_exhausted",
    ev.TimerFired: "timer_fired",
    ev.CapacityChanged: "capacity_changed",
    ev.StopRequested: "stop_requested",
}
"""Events of the experiment as a whole; all but the first need a started experiment."""


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for (status, event), (_, targets) in TABLE.items():
        lines += [f"    {status} --> {target}: {event.__name__}" for target in targets if target != status]
    lines += [f"    {status} --> {target}: {move}" for (status, target), move in MOVES.items()]
    return "\n".join(lines) + "\n"
