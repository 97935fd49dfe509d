"""By which start, and with which gates, does the delta family learn to count and to reset a count?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fwplab.mixers import MixerSpec
from fwplab.mixers.delta_net import DeltaNet
from fwplab.mixers.recurrent_delta import RecurrentDelta
from fwplab.mixers.split_delta_net import SplitDeltaNet
from fwplab.model.model import ModelSpec
from fwplab.recipes.recipe import PROTOCOL
from fwplab.studies.irie2023 import CLAIMS
from fwplab.studies.study import Draw, Study
from fwplab.tables.rows import Row, by_cell, row
from fwplab.training.record import Record
from fwplab.training.run import Rule, Run

LANGUAGES = ("reset_dyck_1", "dyck_1", "shuffle_2", "counter_2", "counter_3")
MODEL = ModelSpec(hidden=64, layers=1, heads=16)
MAX_STEPS = 3_000
RATE_BIAS, OUTPUT_SCALE = -10.0, 60_000.0
"""First writes so weak that they erase almost nothing, and an output map that makes up for it."""
VARIANTS: Mapping[str, tuple[MixerSpec, float]] = {
    "split-delta-net": (SplitDeltaNet(), 3e-3),
    "delta-net, weak first writes": (DeltaNet(rate_bias=RATE_BIAS, output_scale=OUTPUT_SCALE), 1e-3),
    "recurrent-delta, weak first writes": (
        RecurrentDelta(rate_bias=RATE_BIAS, output_scale=OUTPUT_SCALE, feedback_scale=0.01),
        1e-3,
    ),
}
"""Each layer with its start, and its learning rate. Seeds from 1,000 on chose them; no table reports those."""


class Counting(Study):
    """One model of one layer for all counter languages, with weak first writes or with parted gates."""

    title = "Counting by the delta rule"
    question = (
        "A delta step forgets a share of what it holds whenever it writes. Does the delta family learn to count, and "
        "to reset the count, if it starts with writes too weak to forget, or has one gate to erase and one to write?"
    )
    reports = True

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """Quick: split-delta-net on reset Dyck-1, three seeds. Else every variant on every language."""
        every = tuple(range(seeds or (3 if quick else self.seeds)))
        protocol = replace(PROTOCOL, batch_size=64, max_steps=MAX_STEPS, schedule="cosine", check_every=1_000_000)
        return [
            Run(language, mixer, every, (rate,), MODEL, protocol)
            for language in (LANGUAGES[:1] if quick else LANGUAGES)
            for mixer, rate in (list(VARIANTS.values())[:1] if quick else VARIANTS.values())
        ]

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[Row]:
        """One row for each language and variant."""
        cells = by_cell(records, self.place)
        return [
            replace(row(cells[language, name], rule, CLAIMS.get((name.split(",")[0], language), "")), mixer=name)
            for language in LANGUAGES
            for name in VARIANTS
            if (language, name) in cells
        ]

    def place(self, run: Run) -> tuple[str, str]:
        """The language, and the variant."""
        names = {mixer: name for name, (mixer, _) in VARIANTS.items()}
        return run.language, names[run.mixer]

    def figures(self) -> Mapping[str, Draw]:
        """How far each variant counts, and how fast it learns."""
        return {"lengths": self.draw_lengths, "curves": self.draw_curves, "steps": self.draw_steps}
