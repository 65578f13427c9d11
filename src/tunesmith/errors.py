"""Every exception that Tunesmith raises, classed by whose fault it is and so by what to do next.

::

    TuneError                     everything below; ``except tune.TuneError`` catches it all
    +-- SpecError                 you: an argument or a search space is wrong (nothing was started)
    |   +-- SpaceError            ... the search space; names the path of the entry
    |   +-- SerializationError    ... the trainable cannot be sent to a worker; names the captured variable
    +-- UserCodeError             you: your trainable, callback or stop function raised
    |   +-- TrialsFailed          ... in one or more trials; ``.trials`` has them
    |   +-- MetricError           ... or never reported the metric that the run optimises
    +-- JournalError              the experiment's folder: what is wrong there and how to go on
    |   +-- JournalLocked         another live process owns it
    |   +-- JournalCorrupt        not a journal, a newer version, or damaged
    |   +-- StorageFull           no space, read-only or not writable
    |   +-- RemoteStorageError    behind a URL: what was not read or written there; all of it is in the local folder
    +-- ExecutorError             the machinery that runs trials could not start or broke
    +-- BugError                  us: please report it, with the text
        +-- IllegalTransition     an event that the transition table does not allow
        +-- PoisonEvent           a handler raised; the journal still opens and resumes

``TrialStopped`` is no error: it unwinds a trial's own code when the trial has been told to stop. ``Infeasible`` is for users to raise.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BugError",
    "ExecutorError",
    "IllegalTransition",
    "Infeasible",
    "JournalCorrupt",
    "JournalError",
    "JournalLocked",
    "MetricError",
    "PoisonEvent",
    "RemoteStorageError",
    "SerializationError",
    "SpaceError",
    "SpecError",
    "StorageFull",
    "TrialStopped",
    "TrialsFailed",
    "TuneError",
    "UserCodeError",
]


class TuneError(Exception):
    """Base of all errors of this package."""


class SpecError(TuneError, ValueError):
    """An argument is wrong. Raised before any trial starts; names the argument, what was expected and what to do."""


class SpaceError(SpecError):
    """An entry of the search space is wrong; the message begins with its path, as in ``config['optimizer']['lr']``."""


class SerializationError(SpecError, TypeError):
    """The trainable cannot be pickled; the message names the captured variable, its type and its size."""


class UserCodeError(TuneError):
    """Code of the user's raised: a callback that must not fail, a name creator, a stop function."""


class TrialsFailed(UserCodeError):
    """Trials ended in ERROR and ``raise_on_failed_trial`` is true.

    Attributes:
        trials: the failed trials (read-only views), in order of their numbers.
    """

    def __init__(self, message: str, trials: list[Any] | None = None) -> None:
        super().__init__(message)
        self.trials = trials or []


class MetricError(UserCodeError):
    """The metric that the run optimises was never reported; the message lists what was, with a "did you mean"."""


class JournalError(TuneError):
    """The experiment's journal cannot be opened, read or written."""


class JournalLocked(JournalError):
    """Another live process holds the lease on the experiment; the message names its host and process id."""


class JournalCorrupt(JournalError):
    """The file is no journal, is damaged, or was written by a newer version."""


class StorageFull(JournalError):
    """The disk is full, read-only or not writable; what was committed before is kept."""


class RemoteStorageError(JournalError):
    """Remote storage could not be read or written, or two runs have written to one place; names the URL and the object.

    What was reported is kept in the local working folder, which the message names where there is one: a resume stores the rest.
    """


class ExecutorError(TuneError):
    """The executor could not start, or broke in a way that no retry mends."""


class BugError(TuneError):
    """An internal promise was broken. The message tells the story; please report it."""


class IllegalTransition(BugError):
    """An event met a trial in a status for which the transition table has no entry. The state is unchanged."""


class PoisonEvent(BugError):
    """Handling an event raised (a scheduler's bug, or ours). The run was drained; the journal opens and resumes."""


class Infeasible(Exception):
    """Raise it in a trainable to say: this configuration is not allowed.

    The trial ends TERMINATED, is no failure, and is no sample: another one is drawn for it.

    Example:
        >>> def train(config):
        ...     if config["layers"] * config["width"] > 4096:
        ...         raise Infeasible("does not fit")
    """


class TrialStopped(BaseException):
    """Unwinds a trial's code from inside ``report`` when it was told to stop.

    It is a ``BaseException`` so that ``except Exception`` around a training loop does not swallow it;
    ``finally`` blocks run. Swallowed all the same, it is raised again at each later report.
    """
