"""Why some mixers cannot compute parity: the eigenvalues of their transitions, and what an optimiser reaches.

The parity of 1^n is a label that changes at every position. Consider one layer of a fast-weight mixer that reads the
same symbol at every position, with a linear readout and without a feed-forward part. Each head then has the output

    linear Transformer:  o_n = n c
    delta rule:          o_n = (1 - lambda^n) c,   lambda = 1 - beta |k|^2

For the linear Transformer the difference of two logits is `a + n c`, which changes its sign at most once. For the delta
rule with H heads it is `a + sum_h c_h lambda_h^n`. DeltaNet has `0 < lambda < 1`, and a sum of H + 1 exponentials with
positive bases has at most H real zeros (Polya and Szego, Problems and Theorems in Analysis, part V, 77). The label
therefore changes at most H times, however long the word is. With `lambda = -1` it can change at every position.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fwplab.mixers import MixerSpec, Writes
from fwplab.mixers.delta_net import DeltaNet
from fwplab.mixers.fast_weight_program import FastWeightProgram
from fwplab.mixers.linear_transformer import LinearTransformer
from fwplab.mixers.mixer import Mixer
from fwplab.model.model import Model, ModelSpec, build, drawn_from

WIDTH = 8


@dataclass(frozen=True)
class Limit:
    """A proved bound on the eigenvalue of the transition along its key, and on the label changes that follow from it.

    - `mixer`: the layer that the bound holds for.
    - `low`, `high`: the smallest and the largest possible eigenvalue.
    - `changes`: how often the label can change along 1^n, as a function of the number of heads; None for no bound.
    """

    mixer: MixerSpec
    low: float
    high: float
    changes: Callable[[int], int | None]


LIMITS = {
    "linear-transformer": Limit(LinearTransformer(), 1.0, 1.0, lambda heads: 1),
    "delta-net": Limit(DeltaNet(), 0.0, 1.0, lambda heads: heads),
    "signed delta-net": Limit(
        FastWeightProgram(feedback="none", normalisation="l2", rate="double"), -1.0, 1.0, lambda heads: None
    ),
}


def eigenvalue_range(mixer: MixerSpec, *, heads: int = 2, steps: int = 300, seed: int = 0) -> tuple[float, float]:
    """The lowest and the highest eigenvalue `1 - beta |k|^2` that Adam reaches by training the layer's weights.

    The inputs are fixed and normally distributed. All other eigenvalues of the transition are 1.

    mixer: the layer.
    heads: its number of heads.
    steps: the number of training steps.
    seed: the seed of the inputs and of the initial weights.
    """
    return _extreme(mixer, 1, heads, steps, seed), -_extreme(mixer, -1, heads, steps, seed)


def _extreme(mixer: MixerSpec, sign: int, heads: int, steps: int, seed: int) -> float:
    with drawn_from(seed):
        layer, inputs = mixer.build(WIDTH, WIDTH, heads), torch.randn(16, WIDTH)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    found = float("inf")
    for _ in range(steps):
        lowest = (sign * _eigenvalues(layer, inputs)).min()
        found = min(found, float(lowest.detach()))
        if not lowest.requires_grad:
            break
        optimiser.zero_grad()
        lowest.backward()
        optimiser.step()
    return found


def _eigenvalues(layer: Mixer, inputs: Tensor) -> Tensor:
    view = layer.view(inputs, layer.initial_state(len(inputs)))
    assert isinstance(view, Writes)
    return view.kept


def agreement_bound(changes: int | None, longest: int) -> float:
    """The largest possible share of correct labels of 1^longest when the labels change at most `changes` times.

    The true label changes `longest - 1` times. It is best to follow it for as long as changes are left. Every second
    position after that is correct, which is half of them, rounded up. With `changes=None` there is no bound.

    >>> agreement_bound(1, 8), agreement_bound(None, 8)
    (0.625, 1.0)
    """
    followed = longest if changes is None else min(changes, longest)
    return (followed + -(-(longest - followed) // 2)) / longest


def best_agreement(limit: Limit, longest: int, *, heads: int = 2, restarts: int = 4, steps: int = 400) -> float:
    """The largest share of correct parity labels of 1^longest that Adam finds. It is a lower bound, not a proof.

    The model has one layer and a linear readout. Its feed-forward part is set to zero and is not trained. The result is
    the best over all steps of `restarts` random starts. The search stops when it reaches `agreement_bound`.
    """
    word = torch.zeros(1, longest, dtype=torch.long)
    wanted = torch.arange(1, longest + 1) % 2
    bound, found = agreement_bound(limit.changes(heads), longest), 0.0
    for seed in range(restarts):
        model = _without_feed_forward(build(limit.mixer, ModelSpec(WIDTH, 1, heads, 1), 1, 2, seed))
        optimiser = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=0.03)
        for _ in range(steps):
            logits = model(word)[0]
            found = max(found, int((logits.argmax(-1) == wanted).sum()) / longest)
            if found >= bound:
                return found
            optimiser.zero_grad()
            cross_entropy(logits, wanted).backward()
            optimiser.step()
    return found


def best_agreement_of_words(
    mixer: MixerSpec, longest: int, *, layers: int = 1, heads: int = 2, restarts: int = 2, steps: int = 500
) -> float:
    """The largest share of words of length `longest` whose last parity label Adam gets right. It is not a proof.

    This trains the whole model, feed-forward parts included, with any number of layers. We know no bound for such a
    model except the one from its size. The loss covers the labels at all positions, and therefore all shorter words
    too. The result is the best over all steps of `restarts` random starts. The results for growing lengths show whether
    each length is harder than the one before: a mixer that can compute parity finds one solution for all lengths.
    """
    words = torch.tensor(list(product((0, 1), repeat=longest)))
    wanted = 1 - words.cumsum(1) % 2
    found = 0.0
    for seed in range(restarts):
        model = build(mixer, ModelSpec(WIDTH, layers, heads, 2), 2, 2, seed)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(steps):
            logits = model(words)
            found = max(found, float((logits.argmax(-1) == wanted)[:, -1].float().mean()))
            if found == 1:
                return found
            optimiser.zero_grad()
            cross_entropy(logits.flatten(0, 1), wanted.flatten()).backward()
            optimiser.step()
    return found


def _without_feed_forward(model: Model) -> Model:
    for weight in model.feed_forwards.parameters():
        weight.requires_grad_(False).zero_()
    return model
