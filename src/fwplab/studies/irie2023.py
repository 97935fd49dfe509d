"""Does arXiv 2310.16076's table come out again, seed for seed?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fwplab.data.splits import SplitSpec
from fwplab.mixers import MIXERS
from fwplab.model.model import ModelSpec
from fwplab.recipes.history import History
from fwplab.recipes.recipe import has_recipe, recipe
from fwplab.studies.study import Draw, Study
from fwplab.tables.rows import Row, by_cell, missed, row
from fwplab.training.record import Record
from fwplab.training.run import PROTOCOLS, Rule, Run

REGULAR = ("parity", "aa_star", "abab_star")
COUNTER = ("counter_2", "counter_3", "shuffle_2", "dyck_1")
MODELS = ("linear-transformer", "delta-net", "recurrent-delta", "srwm", "lstm", "e-lstm", "transformer")
LANGUAGES = (*REGULAR, *COUNTER, "reset_dyck_1")

CLAIMS: dict[tuple[str, str], str] = {
    # "Standard LTs struggle with parity and (aa)*"; DeltaNet's transitions have no negative eigenvalue.
    **{(mixer, language): "fails" for mixer in MODELS[:2] for language in ("parity", "aa_star")},
    # "both the recurrent and self-referential extensions successfully solve and generalise on these tasks"
    **{(mixer, language): "solves" for mixer in MODELS[2:4] for language in ("parity", "aa_star")},
    # "all LT variants can learn representative counter languages"
    **{(mixer, language): "solves" for mixer in MODELS[:4] for language in COUNTER},
    # Table 2, single-layer models: the additive rule cannot forget, the delta rule can.
    ("linear-transformer", "reset_dyck_1"): "fails",
    **{(mixer, "reset_dyck_1"): "solves" for mixer in MODELS[1:4]},
}
"""What the paper says of a cell, "solves" or "fails", where it says it in words; other cells carry no claim."""


QUICK = ("parity", "aa_star", "reset_dyck_1")
QUICK_SPLITS = SplitSpec(validation_strings=500, test_strings=200)
QUICK_PROTOCOL = replace(PROTOCOLS["paper"], max_steps=800, splits=QUICK_SPLITS)
QUICK_MODEL = ModelSpec(hidden=32, layers=2, heads=4, feed_forward_factor=2)
QUICK_CELLS = {
    # One layer, as in the paper's Table 2; narrow heads are where the delta family learns to count.
    "reset_dyck_1": (
        ModelSpec(hidden=32, layers=1, heads=8, feed_forward_factor=2),
        5e-3,
        replace(QUICK_PROTOCOL, max_steps=1_500, batch_size=32),
    ),
}
"""Minutes instead of hours: fewer strings and steps, no search; by language where it is not `QUICK_MODEL` at 3e-3."""


class Irie2023(Study):
    """The paper's table: models by languages, its claim beside what was measured, over several seeds."""

    title = "Practical computational power of linear Transformers, again"
    question = (
        "Which of the models of arXiv 2310.16076 recognise which formal languages, on strings as long as those of "
        "training (Bin0, 2-50) and longer (Bin1, 51-100), in how many of several seeds?"
    )

    reports = True
    template_mixer = "linear-transformer"

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """Quick: four models, three languages, three seeds. Else all models and languages from their recipes."""
        if quick:
            cells = [(model, language) for language in QUICK for model in MODELS[:4]]
            return [_quick(*cell, seeds or 3) for cell in sorted(cells, key=_ends_early)]
        every = tuple(range(seeds or self.seeds))
        return [recipe(language, model).run(every) for language in LANGUAGES for model in MODELS]

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[Row]:
        """One row a cell, in the paper's order; mixers that are not the paper's come after its own."""
        cells = by_cell(records)
        others = dict.fromkeys(mixer for _, mixer in cells if mixer not in MODELS)
        return [
            row(
                cells[language, mixer],
                rule,
                CLAIMS.get((mixer, language), ""),
                _found_by(cells[language, mixer][0]),
            )
            for language in LANGUAGES
            for mixer in (*MODELS, *others)
            if (language, mixer) in cells
        ]

    def figures(self) -> Mapping[str, Draw]:
        """What every seed did, from four sides."""
        return {
            "solved": self.draw_solved,
            "lengths": self.draw_lengths,
            "curves": self.draw_curves,
            "steps": self.draw_steps,
        }

    def notes(self, rows: Sequence[Row]) -> str:
        """The searches behind the cells that did not come out."""
        behind = [(each, each.found_by) for each in missed(rows) if each.found_by]
        lines = [f"- {each.mixer} on {each.language}: {found.summary(each.language)}" for each, found in behind]
        heading = "Recipes of what did not come out, or not in every seed (--searches tells more):"
        return "\n".join([heading, *lines]) if lines else ""

    def searches(self, rows: Sequence[Row]) -> str:
        """Every recipe once, with the cells that it is of."""
        cells: dict[str, list[str]] = {}
        for each in rows:
            if each.found_by:
                history = "\n".join(f"  - {line}" for line in each.found_by.lines())
                cells.setdefault(history, []).append(f"{each.mixer} on {each.language}")
        return "\n".join(f"{', '.join(names)}:\n{history}" for history, names in cells.items())


def _found_by(record: Record) -> History | None:
    """What the recipe says of its numbers; nothing for a run that is not the recipe's."""
    one = record.run.member(record.run.seeds[0])
    searched = has_recipe(one.language, one.mixer_name)
    own = recipe(one.language, one.mixer_name if searched else Irie2023.template_mixer)
    trained = own.run(one.seeds)
    if not searched:
        trained = replace(trained, mixer=one.mixer, code=one.code)
    return own.found_by if trained == one else None


def _ends_early(cell: tuple[str, str]) -> bool:
    """Whether members are likely to be solved, and so to leave, long before their last step."""
    return cell[1] in REGULAR and CLAIMS.get(cell) == "solves"


def _quick(mixer: str, language: str, seeds: int) -> Run:
    model, rate, protocol = QUICK_CELLS.get(language, (QUICK_MODEL, 3e-3, QUICK_PROTOCOL))
    return Run(language, MIXERS.load(mixer)(), tuple(range(seeds)), (rate,), model, protocol)
