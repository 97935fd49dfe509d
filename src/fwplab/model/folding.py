"""Converts trained layers with more parameters than the published ones to published layers with the same output."""

import copy
from typing import Any

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.mixers import MixerSpec
from fwplab.mixers.delta_net import DeltaNet
from fwplab.mixers.recurrent_delta import RecurrentDelta
from fwplab.model.model import Model, ModelSpec, build

Weights = dict[str, Tensor]
TINY = 1e-30
"""The smallest entry of a key; smaller ones are replaced by it, because the logarithm of 0 cannot be a weight."""
LEAST_ERASE = 1e-6
"""The smallest erase gate of a model that is converted during training (see `fold`).

A gate of `e` makes a counter wrong from a depth of about `(2 e)^(-1/2)`, here 700. In float32 the values of `1 / e` are
rounded by `6e-8 / e`, here 0.06 of what a bracket writes, and a symbol that erases writes this in full."""


def fold(model: Model, spec: ModelSpec, into: MixerSpec) -> Model:
    """Converts a model during training to the published mixer `into`, with erase gates of at least `LEAST_ERASE`.

    model: the model in training, whose mixer names `into` in `MixerSpec.folds_into`.
    spec: its shape.
    into: `delta-net` or `recurrent-delta`.
    """
    assert isinstance(into, DeltaNet | RecurrentDelta)
    return fold_split_delta_net(model, spec, into, least_erase=LEAST_ERASE)


@torch.no_grad()
def fold_split_delta_net(
    model: Model, spec: ModelSpec, into: DeltaNet | RecurrentDelta | None = None, *, least_erase: float = 0.0
) -> Model:
    """Converts a one-layer `split-delta-net` to a published layer that gives the same labels.

    The first layer reads only the embedding. So its gates and values are functions of the symbol, and the rate and the
    value of DeltaNet can be the same functions: `beta = e`, and the value is `v w / e`. The rows of SlowNet that
    produce them solve

        y_s r = logit e_s;   y_s V = v_s w_s / e_s    for every symbol s,

    where `y_s` is the normalised embedding. If the `y_s` are linearly independent, there is an exact solution; the one
    with the smallest norm is used. All other weights are unchanged. Recurrent Delta has a softmax instead of DeltaNet's
    feature map. For it, the rows of query and key give `log q` and `log k`, and the weights of the feedback are 0.

    The rows of the values can be as large as `1 / e`. In float32 this gives rounding errors of `6e-8 / e`, which a
    symbol with a rate near 1 writes in full. `least_erase` bounds them.

    model: the trained model.
    spec: its shape.
    into: the published mixer; by default DeltaNet.
    least_erase: the smallest gate `e`, in [0, 1); smaller ones are replaced by it. 0 keeps all.
    Raises a `UserError` for another mixer, more than one layer, or dependent embeddings.
    """
    exact = copy.deepcopy(model).double()
    layer: Any = exact.mixers[0]
    if spec.layers != 1 or not hasattr(layer, "erase_bias"):
        raise UserError(
            f"only one layer of split-delta-net can be folded: choose such a model, not {spec.layers} layers"
        )
    weights, d = _doubled(model), layer.head_width
    inputs = layer.layer_norm(exact.embedding.weight)
    query, key, scaled, gate = (part[0] for part in layer.features(layer.project(inputs.unsqueeze(0))))
    rate = gate.clamp(min=least_erase)
    value = scaled * (gate / rate).unsqueeze(-1)
    rank = int(torch.linalg.matrix_rank(inputs))
    if rank < len(inputs):
        raise UserError(f"{len(inputs)} embeddings span {rank} dimensions only: choose a model with independent ones")
    recurrent = isinstance(into, RecurrentDelta)
    addresses = [torch.cat([query, key], dim=-1).clamp(min=TINY).log()] if recurrent else []
    # [symbols, heads, columns]: the required outputs of SlowNet; a gate that rounds to 1 gets a finite logit
    wanted = torch.cat([*addresses, value, torch.logit(rate, eps=torch.finfo(rate.dtype).eps).unsqueeze(-1)], dim=-1)
    solved = (torch.linalg.pinv(inputs) @ wanted.flatten(1)).T.unflatten(0, (spec.heads, -1))
    rows = weights["mixers.0.slow_net.weight"].unflatten(0, (spec.heads, -1))
    folded = solved if recurrent else torch.cat([rows[:, : 2 * d], solved], dim=1)
    weights["mixers.0.slow_net.weight"] = folded.flatten(0, 1)
    for name in ("erase_bias", "write_bias"):
        del weights[f"mixers.0.{name}"]
    if recurrent:
        matrices = {
            f"mixers.0.recurrent_{part}": rows.new_zeros(spec.heads, d, d) for part in ("query", "key", "value")
        }
        weights |= matrices | {"mixers.0.recurrent_beta": rows.new_zeros(spec.heads, d)}
    return _built(model, type(into)() if into else DeltaNet(), spec, weights)


@torch.no_grad()
def fold_rate_bias(model: Model, mixer: MixerSpec, spec: ModelSpec) -> Model:
    """Moves the bias of the rates of DeltaNet or Recurrent Delta into the published weights, for any number of layers.

    LayerNorm gives `g x + c` with `sum(x) = 0`. Let `u = 1 / g`. Then `u (g x + c) = u c` is the same for every input.
    First, c is moved along u so that `u c = |u|`. Then a multiple of u, added to a row of SlowNet, adds a constant to
    its output. This gives the bias of the rates, and corrects the other rows for the move of c.

    model: the trained model.
    mixer: its mixer.
    spec: its shape.
    Raises a `UserError` for another mixer, or a LayerNorm with a weight of 0.
    """
    if not isinstance(mixer, DeltaNet | RecurrentDelta):
        raise UserError(f"{type(mixer).__name__} has no bias to fold: choose delta-net or recurrent-delta")
    weights = _doubled(model)
    for layer in range(len(model.mixers)):
        at = f"mixers.{layer}."
        if f"{at}rate_bias" not in weights:
            continue
        gain, shift = weights[f"{at}layer_norm.weight"], weights[f"{at}layer_norm.bias"]
        if not gain.all():
            raise UserError("a LayerNorm with a weight of 0 cannot carry a bias: choose a model without one")
        direction = 1 / gain
        size = direction.norm()
        moved = shift + (size - direction @ shift) / size**2 * direction
        rows = weights[f"{at}slow_net.weight"].unflatten(0, (spec.heads, -1))
        constant = rows @ (shift - moved)
        constant[:, -1] += weights.pop(f"{at}rate_bias")
        weights[f"{at}slow_net.weight"] = (rows + constant.unsqueeze(-1) * direction / size).flatten(0, 1)
        weights[f"{at}layer_norm.bias"] = moved
    return _built(model, type(mixer)(), spec, weights)


def _doubled(model: Model) -> Weights:
    return {name: parameter.detach().double().clone() for name, parameter in model.named_parameters()}


def _built(model: Model, mixer: DeltaNet | RecurrentDelta, spec: ModelSpec, weights: Weights) -> Model:
    readout = model.readout
    made = build(mixer, spec, model.embedding.num_embeddings, readout.out_features, seed=0)
    made.to(readout.weight.dtype).load_state_dict(weights)
    return made
