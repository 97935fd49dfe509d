"""Does arXiv 2310.16076's table come out again, seed for seed?"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fwplab.languages.splits import SplitSpec
from fwplab.mixers import MIXERS
from fwplab.model import ModelSpec
from fwplab.record import Record
from fwplab.run import PROTOCOLS, Run
from fwplab.studies.study import Study
from fwplab.table import Row, row

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


@dataclass(frozen=True)
class Recipe:
    """What a cell is trained with."""

    model: ModelSpec = ModelSpec(hidden=32, layers=2, heads=4, feed_forward_factor=2)
    learning_rate: float = 3e-3
    batch_size: int = 64
    max_steps: int = 15_000
    quick_steps: int = 800


RECIPES: dict[str, Recipe] = {
    # One layer, as in the paper's Table 2; narrow heads are where the delta family learns to count.
    "reset_dyck_1": Recipe(
        ModelSpec(hidden=32, layers=1, heads=8, feed_forward_factor=2),
        learning_rate=5e-3,
        batch_size=32,
        max_steps=60_000,
        quick_steps=1_500,
    ),
}
"""Recipes by language where it is not the common one. Nothing here was chosen on the strings that are reported."""

QUICK_SPLITS = SplitSpec(validation_strings=500, test_strings=200)


class Irie2023(Study):
    """The paper's table: models by languages, its claim beside what was measured, over several seeds."""

    title = "Practical computational power of linear Transformers, again"
    question = (
        "Which of the models of arXiv 2310.16076 recognise which formal languages, on strings as long as those of "
        "training (Bin0, 2-50) and longer (Bin1, 51-100), in how many of several seeds?"
    )

    def runs(self, *, quick: bool) -> list[Run]:
        """Quick: four models, three languages, three seeds. Else all models and languages, five seeds."""
        models = MODELS[:4] if quick else MODELS
        languages = ("parity", "aa_star", "reset_dyck_1") if quick else LANGUAGES
        cells = [(model, language) for language in languages for model in models]
        return [_run(*cell, quick) for cell in sorted(cells, key=_ends_early)]

    def rows(self, records: Iterable[Record]) -> Sequence[Row]:
        """One row a cell, in the paper's order, read under the paper's rule."""
        cells: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in records:
            cells[record.run.mixer_name, record.run.language].append(record)
        return [
            row(cells[mixer, language], "paper", CLAIMS.get((mixer, language), ""))
            for language in LANGUAGES
            for mixer in MODELS
            if (mixer, language) in cells
        ]


def _ends_early(cell: tuple[str, str]) -> bool:
    """Whether members are likely to be solved, and so to leave, long before their last step."""
    return cell[1] in REGULAR and CLAIMS.get(cell) == "solves"


def _run(mixer: str, language: str, quick: bool) -> Run:
    recipe = RECIPES.get(language, Recipe())
    protocol = replace(
        PROTOCOLS["paper"],
        batch_size=recipe.batch_size,
        max_steps=recipe.quick_steps if quick else recipe.max_steps,
        splits=QUICK_SPLITS if quick else SplitSpec(),
    )
    seeds = tuple(range(3 if quick else 5))
    rates = (recipe.learning_rate,)
    return Run(language, MIXERS.load(mixer)(), seeds, rates, recipe.model, protocol)
