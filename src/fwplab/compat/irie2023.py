"""Loads checkpoints of the code published with arXiv 2310.16076 (github.com/IDSIA/fwp-formal-lang).

The models here compute the same functions. Their weights have other names, but the same orientation and order of
elements. Conversion only renames them and removes axes of length one.
"""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from fwplab.errors import UserError
from fwplab.mixers import MixerSpec
from fwplab.mixers.delta_net import DeltaNet
from fwplab.mixers.e_lstm import ELSTM
from fwplab.mixers.linear_transformer import LinearTransformer
from fwplab.mixers.lstm import LSTM
from fwplab.mixers.recurrent_delta import RecurrentDelta
from fwplab.mixers.softmax_attention import SoftmaxAttention
from fwplab.mixers.srwm import SRWM
from fwplab.mixers.transformer import Transformer
from fwplab.model.model import Model, ModelSpec, build
from fwplab.model.spec import MOST_NUMBERS

Weights = Mapping[str, Tensor]


def _both(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}


# Templates of weight names, from ours to the published ones. {n} is the index of the layer. {m} and {f} are the indices
# of its mixer and its feed-forward part in the published list of modules.
_ENDS = {"embedding.weight": "embedding.weight", **_both("readout", "out_layer")}
_LSTM = {
    f"mixers.{{n}}.cell.{part}_l0": f"rnn_func.{part}_l{{n}}"
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
}
_E_LSTM = {
    f"mixers.0.{ours}_{gate}": f"rnn_func.{theirs}_{gate}"
    for ours, theirs in (("weight", "wm"), ("recurrent", "wv"), ("bias", "bias"))
    for gate in ("z", "f")
} | _both("mixers.0.output_gate", "output_gate")
_ENCODER = {
    "embedding.weight": "embedding.weight",
    "mixers.{n}.in_linear.weight": "transformer.layers.{n}.self_attn.in_proj_weight",
    "mixers.{n}.in_linear.bias": "transformer.layers.{n}.self_attn.in_proj_bias",
    **_both("mixers.{n}.out_linear", "transformer.layers.{n}.self_attn.out_proj"),
    **_both("mixers.{n}.layer_norm", "transformer.layers.{n}.norm1"),
    **_both("feed_forwards.{n}.linear1", "transformer.layers.{n}.linear1"),
    **_both("feed_forwards.{n}.linear2", "transformer.layers.{n}.linear2"),
    **_both("feed_forwards.{n}.layer_norm", "transformer.layers.{n}.norm2"),
    **_both("final_norm", "transformer.norm"),
    **_both("readout", "linear"),
}
_FRAME = {
    **_ENDS,
    **_both("mixers.{n}.layer_norm", "layers.{m}.layer_norm"),
    "mixers.{n}.out_linear.weight": "layers.{m}.out_linear.weight",
    **_both("feed_forwards.{n}.layer_norm", "layers.{f}.layer_norm"),
    **_both("feed_forwards.{n}.linear1", "layers.{f}.linear1"),
    **_both("feed_forwards.{n}.linear2", "layers.{f}.linear2"),
}
_SLOW = _FRAME | {"mixers.{n}.slow_net.weight": "layers.{m}.slow_net.weight"}
_RECURRENT = {
    f"mixers.{{n}}.recurrent_{ours}": f"layers.{{m}}.{theirs}"
    for ours, theirs in (("query", "R_q"), ("key", "R_k"), ("value", "R_v"), ("beta", "r_b"))
}
_SRWM = {f"mixers.{{n}}.{block.lower()}": f"layers.{{m}}.{block}" for block in ("W_y", "W_q", "W_k", "w_b")}
# The published feed-forward part registers its two linear maps twice, under different names.
_COPIES = _both("layers.{f}.ff_layers.0", "layers.{f}.linear1") | _both("layers.{f}.ff_layers.3", "layers.{f}.linear2")
_BATCH_AXIS = {"R_q", "R_k", "R_v", "W_y", "W_q", "W_k", "w_b"}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Published:
    """One published model.

    - `mixer`: the mixer that computes the same function here.
    - `templates`: templates of weight names, from our name to the published one.
    - `copies`: templates of weights that are stored twice, from the second name to the first.
    - `table`: the name of the table of positions, if the model may have one.
    - `heads_in`: our name of a weight whose shape gives the number of heads.
    """

    mixer: MixerSpec
    templates: Mapping[str, str]
    copies: Mapping[str, str] = field(default_factory=dict)
    table: str | None = None
    heads_in: str | None = None

    @property
    def name(self) -> str:
        """The name of the model here."""
        return type(self.mixer).__name__

    def names(self, depth: int, first: int) -> dict[str, str]:
        """Our weight names and the published ones.

        depth: the number of layers.
        first: the index of the first mixer in the published list of modules.
        """
        return _filled(self.templates, range(depth), first)

    def second_names(self, depth: int, first: int) -> dict[str, str]:
        """For a weight that is stored twice, its second name and its first, both published ones."""
        return _filled(self.copies, range(depth), first)

    def depth(self, weights: Weights, first: int) -> int:
        """The number of layers that the weight names contain, at least one."""
        once = set(self.names(1, first).values())
        layers = (set(_filled(self.templates, [n], first).values()) - once for n in count(1))
        return next(n for n, names in enumerate(layers, 1) if not names & weights.keys())


def _filled(templates: Mapping[str, str], layers: range | list[int], first: int) -> dict[str, str]:
    places = [{"n": n, "m": first + 2 * n, "f": first + 2 * n + 1} for n in layers]
    return {a.format(**place): b.format(**place) for place in places for a, b in templates.items()}


MODELS: Mapping[int, Published] = {
    0: Published(LSTM(), _ENDS | _LSTM),
    1: Published(Transformer(), _ENCODER, table="pos_enc.pe"),
    2: Published(DeltaNet(), _SLOW, _COPIES, "layers.0.pe", "mixers.0.slow_net.weight"),
    7: Published(RecurrentDelta(), _SLOW | _RECURRENT, _COPIES, "layers.0.pe", "mixers.0.recurrent_query"),
    8: Published(LinearTransformer(), _SLOW, _COPIES, "layers.0.pe"),
    9: Published(SoftmaxAttention(), _SLOW, _COPIES, "layers.0.pe"),
    10: Published(ELSTM(), _ENDS | _E_LSTM),
    12: Published(SRWM(), _FRAME | _SRWM, _COPIES, heads_in="mixers.0.w_y"),
}
"""The published models by their number, `--model_type`."""


class OneHot(nn.Module):
    """Maps tokens `[batch, time]` to unit vectors `[batch, time, vocabulary]`, like the published `--no_embedding`."""

    identity: Tensor

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.register_buffer("identity", torch.eye(vocabulary), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """The rows of the identity matrix. Raises `IndexError` for a token outside the vocabulary."""
        return embedding(tokens, self.identity)


class PositionalModel(nn.Module):
    """Adds a table of positions to the embedded tokens of `model`: `x_t = Embedding(token_t) + table_t`.

    This is the published default, without `--remove_pos_enc`. The table `[longest, hidden]` is that of the checkpoint,
    and it is not trained. The model only takes whole sequences: it cannot continue from a state, because a state does
    not contain the position.
    """

    table: Tensor

    def __init__(self, model: Model, table: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("table", table.detach().clone())

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps `[batch, time]` to logits `[batch, time, classes]`. Raises `UserError` if the table is too short."""
        time, longest = tokens.shape[1], self.table.shape[0]
        if time > longest:
            raise UserError(f"the checkpoint's table of positions ends at {longest}; choose at most that, not {time}")
        return self.model.mix(self.model.embedding(tokens) + self.table[:time])[0]


def load_checkpoint(
    source: str | Path | Mapping[str, object], model_type: int, num_heads: int | None = None
) -> Model | PositionalModel:
    """Loads a published model, which maps int64 tokens `[batch, time]` to logits `[batch, time, classes]`.

    source: a file of the published code, or its content. The content is a state dict, or a dict with a state dict under
        `model_state_dict`. Names may begin with `module.`. No code from the file is run.
    model_type: the published number (see `MODELS`). The weights of 8 and 9 have the same names and shapes, so that only
        this number distinguishes them.
    num_heads: the number of heads. Models 1, 8 and 9 need it, because their weights do not show it. Models 0 and 10
        ignore it.

    An LSTM or e-LSTM without `embedding.weight` gets one-hot inputs. A checkpoint with a table of positions is returned
    as a `PositionalModel`. The model is on the CPU, has the checkpoint's precision and shares no memory with `source`.

    Raises `UserError` with the name of the first weight that is missing, unknown or of the wrong shape, or that differs
    from its copy.
    """
    if model_type not in MODELS:
        known = ", ".join(f"{number} ({model.name})" for number, model in MODELS.items())
        raise UserError(f"model type {model_type} is not a published one; choose from: {known}")
    published = MODELS[model_type]
    weights = _weights(source)
    table = weights.pop(published.table, None) if published.table else None
    first = int(table is not None)
    depth = published.depth(weights, first)
    names, copies = published.names(depth, first), published.second_names(depth, first)
    if not published.mixer.residual and "embedding.weight" not in weights:
        del names["embedding.weight"]
    _check_names(weights, {*names.values(), *copies}, f"model type {model_type} ({published.name})")
    _check_copies(weights, copies)
    model = _empty(published, names, weights, depth, num_heads).to(next(iter(weights.values())).dtype)
    model.load_state_dict(_converted(model, names, weights), strict=True)
    return model if table is None else PositionalModel(model, _rows(table, published.table, model))


def published_names(model: nn.Module) -> dict[str, str]:
    """The published name of every parameter of `model`, by our name.

    A published weight is our weight reshaped, and the same holds for gradients. Raises `UserError` for other models.
    """
    core, prefix = (model.model, "model.") if isinstance(model, PositionalModel) else (model, "")
    ours = {name for name, _ in core.named_parameters()}
    depth = len(core.mixers) if isinstance(core, Model) else 0
    for published in MODELS.values():
        names = published.names(depth, first=len(prefix) // len("model."))
        if names.keys() == ours | {"embedding.weight"}:
            return {prefix + name: theirs for name, theirs in names.items() if name in ours}
    known = ", ".join(published.name for published in MODELS.values())
    raise UserError(f"the published code has no such model; choose one of: {known}")


def published_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict that the published code loads for `model`, as `model_state_dict` of its checkpoints.

    Raises a `UserError` for a model that the published code does not have.
    """
    if not isinstance(model, Model):
        raise UserError(f"{type(model).__name__} has no published state: choose a model without a table of positions")
    weights, names = dict(model.named_parameters()), published_names(model)
    state = {
        theirs: weights[ours].detach().reshape(_published_shape(theirs, weights[ours].shape)).clone()
        for ours, theirs in names.items()
    }
    depth = len(model.mixers)
    copies = next(known.second_names(depth, 0) for known in MODELS.values() if known.names(depth, 0) == names)
    return state | {second: state[once].clone() for second, once in copies.items()}


def _weights(source: str | Path | Mapping[str, object]) -> dict[str, Tensor]:
    content = source if isinstance(source, Mapping) else _unpickled(Path(source))
    inner = content.get("model_state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(inner, Mapping) or not inner:
        raise UserError("no state dict: choose one, a dict that has one as 'model_state_dict', or a file of either")
    weights: dict[str, Tensor] = {}
    wrapped = all(str(name).startswith("module.") for name in inner)
    for name, tensor in inner.items():
        if not isinstance(tensor, Tensor) or tensor.dtype not in _FLOATS:
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(f"{name!r} is no tensor of floating-point numbers but {kind}")
        _check_plain(str(name), tensor)
        weights[str(name).removeprefix("module.") if wrapped else str(name)] = tensor.detach()
    return _of_one_precision(weights)


def _check_plain(name: str, tensor: Tensor) -> None:
    """Raises `UserError` for a tensor that has more numbers than its file."""
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized or tensor.device.type != "cpu":
        kind = "quantised" if tensor.is_quantized else "nested" if tensor.is_nested else str(tensor.layout)
        raise UserError(f"{name!r} is no plain tensor but {kind} on {tensor.device}: save it dense, on the CPU")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError(
            f"{name!r} has the shape {list(tensor.shape)}, but the file has fewer numbers: save a copy of it"
        )


def _check_size(path: Path) -> None:
    """Raises `UserError` for an archive that would unpack to more than the file holds. PyTorch compresses nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise UserError("it unpacks to more than its size")


def _unpickled(path: Path) -> object:
    if not os.path.isfile(path):
        raise UserError(f"there is no file {path}")
    try:
        _check_size(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise many types of error
        kind = type(error).__name__
        raise UserError(f"{path} cannot be read safely ({kind}): choose a file of tensors and numbers") from error


def _of_one_precision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    dtype = next(iter(weights.values())).dtype
    for name, tensor in weights.items():
        if tensor.dtype != dtype:
            raise UserError(
                f"{name!r} is {tensor.dtype} where the tensors before it are {dtype}: convert to one of them"
            )
    return weights


def _check_names(weights: Weights, expected: set[str], model: str) -> None:
    for name in sorted(expected - weights.keys()):
        raise UserError(f"the checkpoint has no {name!r}, which {model} needs")
    for name in sorted(weights.keys() - expected):
        raise UserError(f"the checkpoint has {name!r}, which {model} does not know")


def _check_copies(weights: Weights, copies: Mapping[str, str]) -> None:
    for second, first in copies.items():
        a, b = weights[first], weights[second]
        # NaN equals NaN here: a run that diverged has them in both copies.
        if a.shape != b.shape or not torch.allclose(a, b, rtol=0, atol=0, equal_nan=True):
            raise UserError(f"a corrupt checkpoint: {first!r} and {second!r} are one weight but differ")


def _empty(
    published: Published, names: Mapping[str, str], weights: Weights, depth: int, num_heads: int | None
) -> Model:
    """A model of the checkpoint's sizes. Each size is read from one weight; `_converted` checks all other weights."""
    classes, hidden = _sizes(weights, names["readout.weight"], 2)
    one_hot = "embedding.weight" not in names
    inputs = "mixers.0.weight_z" if "mixers.0.weight_z" in names else "mixers.0.cell.weight_ih_l0"
    read = _sizes(weights, names[inputs if one_hot else "embedding.weight"], 2)
    vocabulary, width = (read[1], read[1]) if one_hot else read
    factor = 1
    if "feed_forwards.0.linear1.weight" in names:
        factor = max(1, _sizes(weights, names["feed_forwards.0.linear1.weight"], 2)[0] // hidden)
    heads = _heads(published, names, weights, hidden, num_heads)
    spec = ModelSpec(hidden, depth, heads, factor, None if published.mixer.residual else width)
    if one_hot and vocabulary**2 > MOST_NUMBERS:
        raise UserError(f"{vocabulary:,} symbols are too many for one-hot inputs; choose a model with an embedding")
    model = build(published.mixer, spec, vocabulary, classes, seed=0)
    if one_hot:
        model.register_module("embedding", OneHot(vocabulary))
    return model


def _heads(published: Published, names: Mapping[str, str], weights: Weights, hidden: int, given: int | None) -> int:
    if not published.mixer.residual:
        return 1
    if published.heads_in is None:
        if given is None:
            raise UserError(f"{published.name}'s weights don't show its heads: choose num_heads that divides {hidden}")
        return given
    name = names[published.heads_in]
    if published.heads_in.endswith("slow_net.weight"):
        # The rows of slow_net are query, key and value, each as wide as the model, and one rate per head.
        found = max(1, _sizes(weights, name, 2)[0] - 3 * hidden)
    else:
        found = _sizes(weights, name, 4)[1]
    if given not in (None, found):
        raise UserError(f"num_heads={given} contradicts {name!r}: choose {found}, or leave it out")
    return found


def _sizes(weights: Weights, name: str, axes: int) -> tuple[int, ...]:
    shape = tuple(weights[name].shape)
    if len(shape) != axes or 0 in shape:
        raise UserError(f"{name!r} has the shape {list(shape)} where {axes} axes, none of them empty, are expected")
    return shape


def _converted(model: Model, names: Mapping[str, str], weights: Weights) -> dict[str, Tensor]:
    own = model.state_dict()
    for ours, theirs in names.items():
        expected, found = _published_shape(theirs, own[ours].shape), tuple(weights[theirs].shape)
        if found != expected:
            raise UserError(f"{theirs!r} has the shape {list(found)} where {list(expected)} is expected")
    return {ours: weights[theirs].reshape(own[ours].shape) for ours, theirs in names.items()}


def _published_shape(theirs: str, ours: torch.Size) -> tuple[int, ...]:
    last = theirs.rpartition(".")[2]
    if last == "r_b":
        return (1, ours[0], 1, ours[1])
    return (1, *ours) if last in _BATCH_AXIS else tuple(ours)


def _rows(table: Tensor, name: str | None, model: Model) -> Tensor:
    hidden = model.readout.in_features
    if table.ndim != 3 or table.shape[1:] != (1, hidden):
        raise UserError(f"{name!r} has the shape {list(table.shape)} where [positions, 1, {hidden}] is expected")
    return table.squeeze(1)
