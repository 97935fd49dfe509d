"""What a model says after every short word, as itself or as the programs that its states form."""

from typing import Literal

import numpy as np

from fwplab.extraction.black_box import BlackBox, predict
from fwplab.extraction.mealy import UNDEFINED, Integers, mealy_of, tokens_of
from fwplab.languages import Language
from fwplab.model import Model
from fwplab.smfa.chain import UNASKED, Chain
from fwplab.smfa.fit import Answers

Source = Literal["answers", "weights"]
SOURCES: tuple[Source, ...] = ("answers", "weights")


def prefixes(language: Language, longest: int, most: int) -> Answers:
    """The beginnings of words up to a length, about `most` of them, shorter ones first; they have no answers."""
    parents, last, lengths, states = [0], [0], [0], [language.start]
    for word, (state, length) in enumerate(zip(states, lengths, strict=False)):
        if length == longest or len(parents) > most:
            break
        for index, symbol in enumerate(language.symbols):
            after = language.step(state, symbol)
            if language.label(after) is not None and language.following(after):
                parents.append(word)
                last.append(index)
                lengths.append(length + 1)
                states.append(after)
    return Answers(language.symbols, language.classes, parents, last, [UNDEFINED] * len(parents))


def shown_by(chain: Chain, longest: int) -> Answers:
    """What a chain machine without a language says after every word up to a length that it does not reject."""
    classes = tuple(sorted({*chain.outputs.values(), UNASKED}))
    parents, last, said = [0], [0], [UNDEFINED]
    reached: list[tuple[tuple[int, int], int]] = [((0, 0), 0)]
    for word, (place, length) in enumerate(reached):
        for index, symbol in enumerate(chain.symbols if length < longest else ()):
            after = chain.step(*place, symbol)
            if after is not None:
                parents.append(word)
                last.append(index)
                said.append(classes.index(chain.output(after)))
                reached.append((after, length + 1))
    return Answers(chain.symbols, classes, parents, last, said)


def answers_of(model: Model, language: Language, longest: int, most: int) -> Answers:
    """What the model says after each of the `prefixes`."""
    tree = prefixes(language, longest, most)
    leaves, tokens = _leaves(tree)
    return _filled(tree, leaves, predict(model, tokens, len(language.symbols)))


def programs_of(
    model: Model, language: Language, longest: int, most: int, generator: np.random.Generator
) -> tuple[Answers, int, bool]:
    """As `answers_of`, but of the machine whose states are clusters of what the model carries on words up to `longest`.

    With it the number of the clusters, the programs, and whether it says what the model says on those words.
    """
    from fwplab.extraction.clusters import MOST_CLUSTERS, cluster  # scikit-learn is slow to import

    tree = prefixes(language, longest, most)
    leaves, tokens = _leaves(tree)
    box = BlackBox(model, mealy_of(language, longest))
    found = cluster(box, tokens, MOST_CLUSTERS, generator, enough=1.0)
    return _filled(tree, leaves, found.machine.run(tokens)), found.clusters, found.complete


def _leaves(tree: Answers) -> tuple[list[list[int]], Integers]:
    """The words that are no other's beginning: the numbers of their own beginnings, and their symbols."""
    inner = set(tree.parents)
    paths = []
    for leaf in range(1, len(tree) + 1):
        if leaf not in inner:
            path = [leaf]
            while tree.parents[path[-1]]:
                path.append(tree.parents[path[-1]])
            paths.append(path[::-1])
    return paths, tokens_of([[tree.last[word] for word in path] for path in paths], len(tree.symbols))


def _filled(tree: Answers, paths: list[list[int]], said: Integers) -> Answers:
    answers = list(tree.said)
    for path, row in zip(paths, said.tolist(), strict=True):
        for word, output in zip(path, row, strict=False):  # the row goes on with padding
            answers[word] = output
    return Answers(tree.symbols, tree.classes, tree.parents, tree.last, answers)
