"""Read models know which version of the space a trial was drawn from."""

from __future__ import annotations

import pickle
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import MemoryJournal
from tunesmith.journal.experiment import Experiment
from tunesmith.journal.trials import TrialBook
from tunesmith.space import Space, choice

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0)


def space(*options: Any, **constants: Any) -> dict[str, Any]:
    return Space.parse({"x": choice([[option] for option in options]), **constants}).describe()


def test_the_version_is_a_matter_of_the_place_in_the_journal() -> None:
    experiment = Experiment(HEADER)
    assert experiment.version(7) == 0
    for seq, description in ((0, space(1)), (5, space(2)), (9, space(3))):
        experiment.new_space(description, seq)
    for seq in (5, 9):  # told again, by somebody who reads it again
        experiment.new_space(space(2), seq)
    assert experiment.spaces == [space(1), space(2), space(3)]
    assert [experiment.version(seq) for seq in (0, 1, 4, 5, 6, 8, 9, 100)] == [0, 0, 0, 1, 1, 1, 2, 2]


def end(trial: int) -> Decision:
    return Decision("end", trial, "", {"status": "TERMINATED", "outcome": "finished"})


def test_trials_read_again_are_of_the_same_version() -> None:
    """Also where the very record that changes the space decided about them, which is then read again, too."""
    journal = MemoryJournal(HEADER)
    journal.append(
        [
            Record(ev.ExperimentStarted({"space": space("a", "b")})),
            Record(ev.Suggested(0, {"x": 1})),
            Record(ev.Suggested(1, {"x": 0})),
            Record(ev.SpecChanged({"num_samples": 9})),
            Record(ev.SpecChanged({"space": space("c", "d", n=3)}), [end(0)]),
            Record(ev.Suggested(2, {"x": 1})),
            Record(ev.SpecChanged({"space": space("e", "f")}), handled=False),
            Record(ev.ExperimentStarted({"space": space("g", "h")}, 1)),
            Record(ev.Suggested(3, {"x": 0})),
            Record(ev.StopRequested("x"), [end(1), end(2), end(3)]),
        ]
    )
    for keep in (True, False):
        book = TrialBook(HEADER, reader=journal.read, keep_finished=keep)
        for record in journal.read():
            book.apply(record)
        for _ in range(2):
            assert [trial.space for trial in book.trials] == [0, 0, 1, 1]
            assert [trial.config for trial in book.trials] == [{"x": ["b"]}, {"x": ["a"]}, {"x": ["d"], "n": 3}, {"x": ["c"], "n": 3}]
    again = pickle.loads(pickle.dumps(book.trials[0]))
    assert again.experiment.spaces == book.experiment.spaces
    assert (again.space, again.config, again.experiment_tag) == (0, {"x": ["b"]}, "0_x=['b']")


def test_an_exploit_brings_the_version_of_its_source() -> None:
    journal = MemoryJournal(HEADER)
    exploit = Decision("exploit", 0, "", {"source": 1, "values": {"x": 1}})
    exploited = Decision("exploited", 0, "", {"source": 1, "checkpoint": "1/checkpoint_000000", "space": 1})
    journal.append(
        [
            Record(ev.ExperimentStarted({"space": space("a", "b")})),
            Record(ev.Suggested(0, {"x": 0})),
            Record(ev.SpecChanged({"space": space("c", "d")})),
            Record(ev.Suggested(1, {"x": 1})),
            Record(ev.Reported(1, 0, 1, {"loss": 1.0}, "1/checkpoint_000000"), [exploit, exploited]),
            Record(ev.StopRequested("x"), [end(0), end(1)]),
        ]
    )
    for keep in (True, False):
        book = TrialBook(HEADER, reader=journal.read, keep_finished=keep)
        for record in journal.read():
            book.apply(record)
        assert (book.trials[0].space, book.trials[0].config) == (1, {"x": ["d"]})
