"""The tables of docs/self-modifying.md: `python docs/smfa_table.py [CHECKPOINT...]`, those shipped and those named."""

import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import torch

from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.smfa.answers import answers_of_chain
from fwplab.smfa.chain import Chain
from fwplab.smfa.fit import fit
from fwplab.smfa.propose import LENGTHS, Proposal, propose
from fwplab.storage.archive import shipped_checkpoints
from fwplab.studies.irie2023 import LANGUAGES, MODELS
from fwplab.training.checkpoint import Checkpoint, load_checkpoint

SHORT = 8
"""The largest length of the words from which the clusters of `weights` are made."""
RANDOM, LONGEST, MOST_STEPS = 50, 10, 300_000
"""The number of random machines of each size, the length of the words they are fitted to, and the limit on steps."""
GROUPS = {"one counter": ("counter_2", "dyck_1", "reset_dyck_1"), "two counters": ("counter_3", "shuffle_2")}


def kind(found: Proposal) -> str:
    chain = found.fit.chain
    if chain is None:
        return "none" if found.fit.exhausted else "none, given up"
    size = f"{chain.controls}{' + chain' if chain.counts else ''}"
    return size if found.witness is None else f"{size}, not the language: {found.witness}"


def weights(checkpoint: Checkpoint) -> tuple[str, bool]:
    """The machine of the programs, and whether it is that of the language."""
    try:
        model, language = checkpoint.model(), load_language(checkpoint.run.language)
        found = propose(model, language, source="weights", longest=SHORT, lengths=(20,))
    except UserError:
        return "the state grows", False
    faithful = "" if found.faithful else ", unfaithful"
    return f"{kind(found)} ({found.programs} programs{faithful})", found.fit.chain is not None and found.witness is None


STEPS = {"push": 1, "pop": -1, "keep": 0}


def depths_read(found: Proposal) -> str:
    """Of the moves that are no resets, the number at which the probed depth changes by the right amount."""
    if found.fit.chain is None or found.reading is None or not found.fit.chain.counts:
        return "-"
    moved = [
        abs(changed.depth[0] - STEPS[effect]) < 0.5
        for move, changed in found.reading.changed.items()
        if changed.depth and (effect := found.fit.chain.moves[move][1]) in STEPS
    ]
    return f"{sum(moved)} of {len(moved)}"


def written(found: Proposal) -> str:
    """The shares of positions at which the next answers are the machine's: symbol read, change written, neither."""
    if found.reading is None or not found.reading.written.positions:
        return "-"
    return ", ".join(map(percent, found.reading.written.shares.values()))


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g}"


def random_machines() -> None:
    """How often is a random machine found again from its outputs on all short words?"""
    print(
        "\n| random machines on a chain | found | the same on a random word of 200 symbols | words read, median, most |"
    )
    print("|---|---|---|---|")
    for controls in (1, 2, 3):
        found, same, steps = 0, 0, []
        for seed in range(RANDOM):
            generator = np.random.default_rng(seed)
            chain = Chain.random(controls, "ab", generator)
            fitted = fit(answers_of_chain(chain, LONGEST), most_steps=MOST_STEPS)
            word = allowed(chain, 200, generator)
            found += fitted.chain is not None
            same += fitted.chain is not None and fitted.chain.run(word) == chain.run(word)
            steps.append(fitted.steps)
        print(f"| {RANDOM} of {controls} control states | {found} | {same} | {median(steps):,.0f}, {max(steps):,} |")


def allowed(chain: Chain, length: int, generator: np.random.Generator) -> str:
    """A random word of `size` symbols, or fewer if there is no move left."""
    word, place = "", (0, 0)
    for _ in range(length):
        ways = [symbol for symbol in chain.symbols if chain.step(*place, symbol)]
        if not ways:
            break
        word += ways[generator.integers(len(ways))]
        place = chain.step(*place, word[-1])
    return word


def main() -> None:
    torch.set_num_threads(1)
    named = [load_checkpoint(Path(path)) for path in sys.argv[1:]]
    cells = [(checkpoint, "") for checkpoint in map(load_checkpoint, shipped_checkpoints("irie2023"))]
    cells += [(checkpoint, " *") for checkpoint in named]
    order = ["srwm", *(name for name in MODELS if name != "srwm")]
    cells.sort(key=lambda each: (order.index(each[0].run.mixer_name), LANGUAGES.index(each[0].run.language), each[1]))
    print(
        "| model | language | machine, from answers | as the model at 20, 50, 100, 200, 500, % | as the language, % "
        "| depth R2 | control, % | depth of moves | read, written, neither, % | from weights |"
        "\n|---|---|---|---|---|---|---|---|---|---|"
    )
    counts: dict[str, list[tuple[bool, bool, list[bool]]]] = defaultdict(list)
    for checkpoint, mark in cells:
        language, mixer = checkpoint.run.language, checkpoint.run.mixer_name
        found = propose(checkpoint.model(), load_language(language))
        reading = found.reading
        model = ", ".join(percent(each.with_model / each.words) for each in found.agreement) or "-"
        true = ", ".join(dict.fromkeys(percent(each.with_language / each.words) for each in found.agreement)) or "-"
        depth = "-" if reading is None or reading.depth is None else f"{reading.depth:.3f}"
        control = "-" if reading is None else percent(reading.control)
        by_weights, right = weights(checkpoint)
        cell, read = (mixer + mark, language), (depth, control, depths_read(found), written(found))
        row = (*cell, kind(found), model, true, *read, by_weights)
        print(f"| {' | '.join(row)} |", flush=True)
        group = next((name for name, members in GROUPS.items() if language in members), "regular")
        same = [each.with_model == each.words for each in found.agreement] or [False] * len(LENGTHS)
        counts[group].append((found.fit.chain is not None and found.witness is None, right, same))
    lengths = ", ".join(map(str, LENGTHS))
    columns = ("checkpoints", "the language's, from answers", "from weights", f"the model's on all words of {lengths}")
    print(f"\n| languages | {' | '.join(columns)} |")
    print("|---|---|---|---|---|")
    for name, rows in sorted(counts.items()):
        answers, right, same = zip(*rows, strict=True)
        kept = ", ".join(str(sum(each)) for each in zip(*same, strict=True))
        print(f"| {name} | {len(rows)} | {sum(answers)} | {sum(right)} | {kept} |")
    random_machines()


if __name__ == "__main__":
    main()
