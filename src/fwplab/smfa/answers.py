"""The labels to which a chain machine is fitted: a model's own, or those of an automaton built from its states."""

from typing import Literal

import numpy as np

from fwplab.extraction.black_box import BlackBox, predict
from fwplab.extraction.mealy import UNDEFINED, Integers, mealy_of, pad_words
from fwplab.languages import Language
from fwplab.model import Model
from fwplab.smfa.chain import NO_OUTPUT, Chain
from fwplab.smfa.fit import Answers

Source = Literal["answers", "weights"]
SOURCES: tuple[Source, ...] = ("answers", "weights")


def prefixes(language: Language, longest: int, most: int) -> Answers:
    """All prefixes of the language's words with at most `longest` symbols, shorter ones first, without labels.

    The search stops after about `most` prefixes.
    """
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


def answers_of_chain(chain: Chain, longest: int) -> Answers:
    """The outputs of a chain machine after every word of at most `longest` symbols that it does not reject."""
    classes = tuple(sorted({*chain.outputs.values(), NO_OUTPUT}))
    parents, last, labels = [0], [0], [UNDEFINED]
    reached: list[tuple[tuple[int, int], int]] = [((0, 0), 0)]
    for word, (place, length) in enumerate(reached):
        for index, symbol in enumerate(chain.symbols if length < longest else ()):
            after = chain.step(*place, symbol)
            if after is not None:
                parents.append(word)
                last.append(index)
                labels.append(classes.index(chain.output(after)))
                reached.append((after, length + 1))
    return Answers(chain.symbols, classes, parents, last, labels)


def answers_of(model: Model, language: Language, longest: int, most: int) -> Answers:
    """The model's label after each of the `prefixes`."""
    tree = prefixes(language, longest, most)
    leaves, tokens = _leaves(tree)
    return _filled(tree, leaves, predict(model, tokens, len(language.symbols)))


def programs_of(
    model: Model, language: Language, longest: int, most: int, generator: np.random.Generator
) -> tuple[Answers, int, bool]:
    """The labels of an automaton whose states are clusters of the model's states, after each of the `prefixes`.

    A cluster is called a program, because the fast weights in a model's state are the program it runs next. The
    clusters are fitted to the states on the prefixes.

    Returns the labels, the number of programs, and whether the automaton gives all the model's labels on the prefixes.
    """
    from fwplab.extraction.clusters import MOST_CLUSTERS, cluster  # scikit-learn is slow to import

    tree = prefixes(language, longest, most)
    leaves, tokens = _leaves(tree)
    box = BlackBox(model, mealy_of(language, longest))
    found = cluster(box, tokens, MOST_CLUSTERS, generator, enough=1.0)
    return _filled(tree, leaves, found.machine.run(tokens)), found.clusters, found.complete


def _leaves(tree: Answers) -> tuple[list[list[int]], Integers]:
    """The prefixes that no other prefix extends: for each the numbers of its own prefixes, and its token ids."""
    inner = set(tree.parents)
    paths = []
    for leaf in range(1, len(tree) + 1):
        if leaf not in inner:
            path = [leaf]
            while tree.parents[path[-1]]:
                path.append(tree.parents[path[-1]])
            paths.append(path[::-1])
    return paths, pad_words([[tree.last[word] for word in path] for path in paths], len(tree.symbols))


def _filled(tree: Answers, paths: list[list[int]], labels: Integers) -> Answers:
    answers = list(tree.labels)
    for path, row in zip(paths, labels.tolist(), strict=True):
        for word, output in zip(path, row, strict=False):  # the row is longer: it is padded
            answers[word] = output
    return Answers(tree.symbols, tree.classes, tree.parents, tree.last, answers)
