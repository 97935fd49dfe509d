"""Do the results of arXiv 2310.16076 reproduce, over several seeds?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fwplab.data.splits import SplitSpec
from fwplab.mixers import MIXERS
from fwplab.model.model import ModelSpec
from fwplab.recipes.history import History
from fwplab.recipes.recipe import recipe, recipe_of, recipes, shared_recipes
from fwplab.studies.study import Draw, Study
from fwplab.tables.rows import Row, by_cell, missed, row
from fwplab.training.record import Record
from fwplab.training.run import PROTOCOLS, Rule, Run

REGULAR = ("parity", "aa_star", "abab_star")
COUNTER = ("counter_2", "counter_3", "shuffle_2", "dyck_1")
MODELS = ("linear-transformer", "delta-net", "recurrent-delta", "srwm", "lstm", "e-lstm", "transformer")
LANGUAGES = (*REGULAR, *COUNTER, "reset_dyck_1")
CELLS = [(language, model) for language in LANGUAGES for model in MODELS]

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
"""What the text of the paper claims about a cell: "solves" or "fails". Other cells have no claim."""


QUICK = ("parity", "aa_star", "reset_dyck_1")
QUICK_SPLITS = SplitSpec(validation_strings=500, test_strings=200)
QUICK_PROTOCOL = replace(PROTOCOLS["paper"], max_steps=800, splits=QUICK_SPLITS)
QUICK_MODEL = ModelSpec(hidden=32, layers=2, heads=4, feed_forward_factor=2)
QUICK_CELLS = {
    # One layer, as in the paper's Table 2. The delta rule learns to count only with narrow heads.
    "reset_dyck_1": (
        ModelSpec(hidden=32, layers=1, heads=8, feed_forward_factor=2),
        5e-3,
        replace(QUICK_PROTOCOL, max_steps=1_500, batch_size=32),
    ),
}
"""The quick part takes minutes instead of hours: fewer strings and steps, and no search. This has the languages that
need another spec than `QUICK_MODEL` with a learning rate of 3e-3."""
QUICK_START = "parted gates"
"""The recipes with this start are also in the quick part, with its protocol."""


class Irie2023(Study):
    """The paper's table: models by languages, with the paper's claims and the results over several seeds."""

    title = "Practical computational power of linear Transformers, again"
    question = (
        "Which of the models of arXiv 2310.16076 recognise which formal languages, on strings as long as those of "
        "training (Bin0, 2-50) and on longer ones (Bin1, 51-100)?"
    )

    reports = True
    template_mixer = "linear-transformer"
    records_of = ("irie2023", "counting")

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """All models and languages, with all recipes of each cell. quick: four models, three languages, three seeds."""
        if quick:
            every = tuple(range(seeds or 3))
            cells = sorted(((language, model) for language in QUICK for model in MODELS[:4]), key=_ends_early)
            return [run for cell in cells for run in (*_quick_start(*cell, every), _quick(*cell, every))]
        every = tuple(range(seeds or self.seeds))
        return [each.run(every) for cell in CELLS for each in recipes(*cell)]

    def published(self, *, seeds: int | None = None) -> list[Run]:
        """All models and languages, with the first recipe of each cell, which has the published start."""
        every = tuple(range(seeds or self.seeds))
        return [recipe(*cell).run(every) for cell in CELLS]

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[Row]:
        """One row for each cell, in the paper's order. Other mixers come after those of the paper.

        A cell has a second row if there is a recipe with another start than the published one.
        """
        cells = by_cell(records)
        mixers = {model: found[0].run.mixer_name for (_, model), found in cells.items()}
        models = sorted(mixers, key=lambda model: (_order(mixers[model]), model != mixers[model]))
        return [
            row(cells[cell], rule, CLAIMS.get((mixers[cell[1]], cell[0]), ""), _found_by(cells[cell][0]))
            for cell in ((language, model) for language in LANGUAGES for model in models)
            if cell in cells
        ]

    def figures(self) -> Mapping[str, Draw]:
        """The four figures of the records."""
        return {
            "solved": self.draw_solved,
            "lengths": self.draw_lengths,
            "curves": self.draw_curves,
            "steps": self.draw_steps,
        }

    def notes(self, rows: Sequence[Row]) -> str:
        """The searches behind the cells whose claim was not reproduced."""
        behind = [(each, each.found_by) for each in missed(rows) if each.found_by]
        lines = [f"- {each.model} on {each.language}: {found.summary(each.language)}" for each, found in behind]
        heading = "Recipes of claims that were not reproduced in every seed (--searches prints the details):"
        return "\n".join([heading, *lines]) if lines else ""

    def searches(self, rows: Sequence[Row]) -> str:
        """The details of every recipe, with the cells that use it."""
        cells: dict[str, list[str]] = {}
        for each in rows:
            if each.found_by:
                history = "\n".join(f"  - {line}" for line in each.found_by.lines())
                cells.setdefault(history, []).append(f"{each.model} on {each.language}")
        return "\n".join(f"{', '.join(names)}:\n{history}" for history, names in cells.items())


def _order(mixer: str) -> int:
    """The place of a mixer in the table."""
    return MODELS.index(mixer) if mixer in MODELS else len(MODELS)


def _found_by(record: Record) -> History | None:
    """Where the numbers of the run's recipe come from; None for a run that does not follow a recipe."""
    run = record.run
    if own := recipe_of(run):
        return own.found_by
    if recipes(run.language, run.mixer_name):
        return None
    common = recipe(run.language, Irie2023.template_mixer)
    trained = replace(common.run(run.seeds[:1]), mixer=run.mixer, code=run.code)
    return common.found_by if trained == run.member(run.seeds[0]) else None


def _ends_early(cell: tuple[str, str]) -> bool:
    """Whether training is likely to end long before the last step, because the members solve the language."""
    language, mixer = cell
    return language in REGULAR and CLAIMS.get((mixer, language)) == "solves"


def _quick(language: str, mixer: str, seeds: tuple[int, ...]) -> Run:
    model, rate, protocol = QUICK_CELLS.get(language, (QUICK_MODEL, 3e-3, QUICK_PROTOCOL))
    return Run(language, MIXERS.load(mixer)(), seeds, (rate,), model, protocol)


def _quick_start(language: str, mixer: str, seeds: tuple[int, ...]) -> list[Run]:
    """The run with another start of the cell, if the quick part has one."""
    runs = []
    for each in shared_recipes(language, mixer):
        if each.start == QUICK_START:
            protocol = replace(QUICK_PROTOCOL, batch_size=each.batch_size, schedule=each.schedule)
            runs.append(replace(each.run(seeds), protocol=protocol))
    return runs
