"""A study of a few runs that take a second each."""

from dataclasses import replace

from fwplab.data.splits import SplitSpec
from fwplab.mixers import MIXERS
from fwplab.model.spec import ModelSpec
from fwplab.studies.study import Study
from fwplab.tables.rows import row
from fwplab.training.run import PROTOCOLS, Run

SPLITS = SplitSpec(train_strings=64, validation_strings=20, test_strings=2, test_lengths=((2, 50), (51, 60)))


class SmallRuns(Study):
    """Two mixers on one language."""

    title = "Small runs"
    question = "Is every run trained once?"
    reports = True

    def runs(self, *, quick, seeds=None):
        """One run of each mixer."""
        protocol = replace(PROTOCOLS["paper"], max_steps=40, check_every=5, batch_size=16, splits=SPLITS)
        shape, every = ModelSpec(hidden=8, layers=1, heads=2), tuple(range(seeds or 2))
        return [Run("parity", MIXERS.load(m)(), every, (3e-3,), shape, protocol) for m in ("lstm", "delta-net")]

    def rows(self, records, rule="paper"):
        """One row of each record."""
        return [row([record], rule, "") for record in records]
