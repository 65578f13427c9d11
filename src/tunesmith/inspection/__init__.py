"""The preflight: one trial runs for a step or two before an experiment begins, so that what would spoil all of them is found first.

:mod:`~tunesmith.inspection.flow` asks the questions, :mod:`~tunesmith.inspection.rehearsal` runs the attempts that answer them,
:mod:`~tunesmith.inspection.estimates` reckons, :mod:`~tunesmith.inspection.findings` is what comes out.
"""
