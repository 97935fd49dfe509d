"""Reads the machine's control state and depth off a model's state, and measures what each move changes in it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fwplab.languages import Language
from fwplab.languages.dataset import encode
from fwplab.model import Model
from fwplab.probes.words import flatten_states, language_states, state_grows, stream
from fwplab.smfa.chain import Chain, Row
from fwplab.smfa.writing import Moment, Vectors, Written, write

MIN_POSITIONS = 20
"""The fewest positions on which a readout is scored. With fewer there is no result."""


@dataclass(frozen=True)
class StateChange:
    """What one move of the machine changes in the model's state W.

    - `share`: the mean of |W' - W| / max(|W|, |W'|), with W' the state after the move.
    - `depth`: mean and standard deviation of the change of the depth that is read off the state, on held-out words.
      None if no held-out word makes the move.
    - `written`: the result of writing the change into the state (see `write`). None if it could not be written.
    """

    share: float
    depth: tuple[float, float] | None
    written: Written | None


@dataclass(frozen=True)
class Reading:
    """How well the machine's control state and depth can be read off the model's state, on held-out words.

    - `depth`: the share of the depth's variance that is explained (R squared).
    - `control`: the share of positions at which the control state is right.
    - `majority`: the same for always guessing the most frequent control state.
    - `changed`: for each move, given by its row and symbol, what it changes.

    A number is None if it cannot be measured. This is the case if the machine does not count, if it has a single
    control state, or if the held-out words have too few prefixes of their own or stay in one state.
    """

    depth: float | None
    control: float | None
    majority: float | None
    changed: Mapping[tuple[Row, str], StateChange]

    @property
    def written(self) -> Written:
        """The sum over all moves."""
        return sum((changed.written for changed in self.changed.values() if changed.written), Written())


def read_off(
    model: Model, language: Language, chain: Chain, words: Sequence[str], generator: np.random.Generator
) -> Reading | None:
    """Fits linear readouts (ridge regression) of the standardised state on every second word; scores them on the rest.

    Prefixes that the two halves of the words share are not scored. Returns None if the state grows with the word or is
    not finite, or if the machine rejects every word.
    """
    fitted, held_out = (_moments(model, language, chain, words[part::2]) for part in (0, 1))
    moments = [*fitted.values(), *(moment for beginning, moment in held_out.items() if beginning not in fitted)]
    if not moments or not all(np.isfinite(moment.after).all() for moment in moments):
        return None
    first, second = moments[: len(fitted)], moments[len(fitted) :]
    depth, control, majority, depth_changes = None, None, None, dict[tuple[Row, str], list[float]]()
    if first and len(second) >= MIN_POSITIONS:
        depth, depth_changes = _depth(first, second) if chain.counts else (None, depth_changes)
        control, majority = _control(first, second)
    written = write(model, language, chain, moments, generator)
    return Reading(depth, control, majority, _state_changes(moments, depth_changes, written))


def _moments(model: Model, language: Language, chain: Chain, words: Sequence[str]) -> dict[str, Moment]:
    """The moments of all prefixes of the words that the machine accepts; none if the state grows with the word."""
    words = [word for word in words if None not in chain.trajectory(word)]
    if not words or state_grows(model):
        return {}
    tokens = torch.from_numpy(encode(language, words).tokens).clamp(max=len(language.symbols) - 1)
    states = [model.initial_state(len(words)), *(state for _, state in stream(model, tokens))]
    walks = torch.stack([flatten_states(state) for state in states], 1).detach()
    found = {}
    for word, walked in zip(words, walks.double().numpy(), strict=True):
        path = [(0, 0), *(place for place in chain.trajectory(word) if place is not None)]
        for n, state in enumerate(language_states(language, word)):
            beginning = word[: n + 1]
            found[beginning] = Moment(beginning, path[n], path[n + 1], walked[n], walked[n + 1], state)
    return found


def _depth(
    fitted: Sequence[Moment], held_out: Sequence[Moment]
) -> tuple[float | None, dict[tuple[Row, str], list[float]]]:
    """Returns R squared of the depth on `held_out`, and the changes of the depth that is read off, for each move."""
    from sklearn.linear_model import Ridge  # scikit-learn is slow to import, and an extra
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth = np.array([moment.then[1] for moment in held_out])
    if truth.std() == 0:
        return None, {}
    states = np.array([fitted[0].before, *(moment.after for moment in fitted)])  # the start is a position too
    reader = make_pipeline(StandardScaler(), Ridge()).fit(states, [0, *(moment.then[1] for moment in fitted)])
    before, after = (np.array(part) for part in zip(*((m.before, m.after) for m in held_out), strict=True))
    depth_changes = defaultdict(list)
    for moment, change in zip(held_out, (reader.predict(after) - reader.predict(before)).tolist(), strict=True):
        depth_changes[moment.move].append(change)
    return float(reader.score(after, truth)), depth_changes


def _control(fitted: Sequence[Moment], held_out: Sequence[Moment]) -> tuple[float | None, float | None]:
    """Returns the share of positions with the right control state, and the share that the most frequent one has."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (states, controls), (others, truth) = (
        (np.array([moment.after for moment in part]), np.array([moment.then[0] for moment in part]))
        for part in (fitted, held_out)
    )
    if min(len(np.unique(controls)), len(np.unique(truth))) < 2:
        return None, None
    reader = make_pipeline(StandardScaler(), RidgeClassifier()).fit(states, controls)
    return float(reader.score(others, truth)), float((truth == np.bincount(controls).argmax()).mean())


def _state_changes(
    moments: Sequence[Moment],
    depth_changes: Mapping[tuple[Row, str], list[float]],
    written: Mapping[tuple[Row, str], Written],
) -> dict[tuple[Row, str], StateChange]:
    shares = defaultdict(list)
    for moment in moments:
        larger = max(_norm(moment.before), _norm(moment.after))
        shares[moment.move].append(_norm(moment.after - moment.before) / (larger or 1.0))
    found = {}
    for move, each in sorted(shares.items()):
        depths = depth_changes.get(move)
        depth = (float(np.mean(depths)), float(np.std(depths))) if depths else None
        found[move] = StateChange(float(np.mean(each)), depth, written.get(move))
    return found


def _norm(vector: Vectors) -> float:
    return float(np.linalg.norm(vector))
