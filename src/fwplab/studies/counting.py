"""Does the delta family learn to count, and to reset a count, with other starting weights or with separate gates?"""

from collections.abc import Iterable, Mapping, Sequence

from fwplab.recipes.recipe import recipe_of, shared_recipes
from fwplab.studies.irie2023 import CLAIMS
from fwplab.studies.study import Draw, Study
from fwplab.tables.rows import Row, by_cell, cell_of, row
from fwplab.training.record import Record
from fwplab.training.run import Rule, Run

LANGUAGES = ("reset_dyck_1", "dyck_1", "shuffle_2", "counter_2", "counter_3")
MIXERS = ("split-delta-net", "delta-net", "recurrent-delta", "srwm")


class Counting(Study):
    """One model of one layer for all counter languages, with weak first writes or with parted gates.

    At each write, a delta step erases a share of the counter. Weak first writes make this share small, and parted gates
    (one to erase, one to write) separate it from the write.
    """

    title = "Counting by the delta rule"
    question = (
        "Does the delta family learn to count, and to reset a count, if its first writes are weak or if it has "
        "separate gates to erase and to write?"
    )
    reports = True

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """Every shared recipe of the languages and mixers. Quick: split-delta-net on reset Dyck-1, three seeds."""
        every = tuple(range(seeds or (3 if quick else self.seeds)))
        cells = [(language, mixer) for language in LANGUAGES for mixer in MIXERS]
        return [each.run(every) for cell in (cells[:1] if quick else cells) for each in shared_recipes(*cell)]

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[Row]:
        """One row for each language and recipe, in the order of the runs."""
        cells = by_cell(records)
        order = list(dict.fromkeys(cell_of(run) for run in self.runs(quick=False)))
        return [_row(cells[cell], rule) for cell in order if cell in cells]

    def figures(self) -> Mapping[str, Draw]:
        """How far each variant counts, and how fast it learns."""
        return {"lengths": self.draw_lengths, "curves": self.draw_curves, "steps": self.draw_steps}


def _row(records: Sequence[Record], rule: Rule) -> Row:
    run = records[0].run
    recipe = recipe_of(run)
    return row(records, rule, CLAIMS.get((run.mixer_name, run.language), ""), recipe.found_by if recipe else None)
