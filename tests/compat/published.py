"""A second implementation of the published models from their equations, with plain loops over positions and heads.

It uses nothing from the package and none of the layers of `torch.nn`. Weights have their published names. Vectors are
rows and multiply from the left. Every linear map is stored as `[out, in]`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

Weights = dict[str, Tensor]
PARTS = ("weight", "bias")


@dataclass(frozen=True)
class Shape:
    """The sizes of a published model."""

    model_type: int
    hidden: int = 12
    heads: int = 3
    layers: int = 2
    factor: int = 2
    vocabulary: int = 5
    classes: int = 4
    embedding: int = 7
    one_hot: bool = False
    positions: int = 0

    @property
    def first(self) -> int:
        """The index of the first mixer in the list of modules. A table of positions comes before it."""
        return int(self.positions > 0 and self.model_type != 1)


CASES = [
    Shape(0),
    Shape(0, layers=1, one_hot=True),
    Shape(0, layers=3, embedding=12),
    Shape(1),
    Shape(1, layers=1, heads=2, positions=40),
    Shape(2),
    Shape(2, heads=1, layers=1, factor=4),
    Shape(2, positions=40),
    Shape(7),
    Shape(7, heads=4, layers=3),
    Shape(7, positions=40),
    Shape(8),
    Shape(8, heads=2, factor=1, positions=40),
    Shape(9),
    Shape(9, heads=6, layers=1, positions=40),
    Shape(10),
    Shape(10, one_hot=True),
    Shape(12),
    Shape(12, heads=4, layers=1),
]


def shapes(case: Shape) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by its published name."""
    hidden, width = case.hidden, case.embedding if case.model_type in (0, 10) else case.hidden
    found: dict[str, tuple[int, ...]] = {}
    if case.one_hot:
        width = case.vocabulary
    else:
        found["embedding.weight"] = (case.vocabulary, width)
    out = "linear" if case.model_type == 1 else "out_layer"
    found |= {f"{out}.weight": (case.classes, hidden), f"{out}.bias": (case.classes,)}
    if case.model_type == 0:
        for layer in range(case.layers):
            below = hidden if layer else width
            found |= {f"rnn_func.weight_ih_l{layer}": (4 * hidden, below)}
            found |= {f"rnn_func.weight_hh_l{layer}": (4 * hidden, hidden)}
            found |= {f"rnn_func.bias_{way}_l{layer}": (4 * hidden,) for way in ("ih", "hh")}
    elif case.model_type == 10:
        found |= {f"rnn_func.wm_{gate}": (hidden, width) for gate in "zf"}
        found |= {f"rnn_func.{vector}_{gate}": (1, hidden) for vector in ("wv", "bias") for gate in "zf"}
        found |= {"output_gate.weight": (hidden, width + hidden), "output_gate.bias": (hidden,)}
    elif case.model_type == 1:
        found |= {f"transformer.norm.{part}": (hidden,) for part in PARTS}
        for layer in range(case.layers):
            found |= encoder_shapes(case, f"transformer.layers.{layer}")
    else:
        for layer in range(case.layers):
            found |= mixer_shapes(case, f"layers.{case.first + 2 * layer}")
            found |= feed_forward_shapes(case, f"layers.{case.first + 2 * layer + 1}")
    return found


def encoder_shapes(case: Shape, at: str) -> dict[str, tuple[int, ...]]:
    """The weights of a post-LayerNorm encoder layer."""
    hidden = case.hidden
    attention = {"in_proj_weight": (3 * hidden, hidden), "in_proj_bias": (3 * hidden,)}
    attention |= {"out_proj.weight": (hidden, hidden), "out_proj.bias": (hidden,)}
    norms = {f"{at}.{norm}.{part}": (hidden,) for norm in ("norm1", "norm2") for part in PARTS}
    return {f"{at}.self_attn.{name}": shape for name, shape in attention.items()} | norms | linear_shapes(case, at)


def linear_shapes(case: Shape, at: str) -> dict[str, tuple[int, ...]]:
    """The two linear maps of a feed-forward part."""
    hidden, inner = case.hidden, case.factor * case.hidden
    first = {f"{at}.linear1.weight": (inner, hidden), f"{at}.linear1.bias": (inner,)}
    return first | {f"{at}.linear2.weight": (hidden, inner), f"{at}.linear2.bias": (hidden,)}


def feed_forward_shapes(case: Shape, at: str) -> dict[str, tuple[int, ...]]:
    """The weights of a feed-forward layer."""
    return linear_shapes(case, at) | {f"{at}.layer_norm.{part}": (case.hidden,) for part in PARTS}


def mixer_shapes(case: Shape, at: str) -> dict[str, tuple[int, ...]]:
    """The weights of a fast-weight, attention or self-referential layer."""
    hidden, heads, d = case.hidden, case.heads, case.hidden // case.heads
    found: dict[str, tuple[int, ...]] = {f"{at}.layer_norm.{part}": (hidden,) for part in PARTS}
    found[f"{at}.out_linear.weight"] = (hidden, hidden)
    if case.model_type == 12:
        found |= {f"{at}.W_{block}": (1, heads, d, d) for block in "yqk"}
        return found | {f"{at}.w_b": (1, heads, d, 4)}
    rows = 3 * d + (1 if case.model_type in (2, 7) else 0)
    found[f"{at}.slow_net.weight"] = (heads * rows, hidden)
    if case.model_type == 7:
        found |= {f"{at}.R_{block}": (1, heads, d, d) for block in "qkv"}
        found[f"{at}.r_b"] = (1, heads, 1, d)
    return found


def random_weights(case: Shape, dtype: torch.dtype, seed: int = 0) -> Weights:
    """Leaves with gradients; LayerNorm scales about one, all others about zero."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes(case).items():
        fan = shape[-1] if len(shape) > 1 and shape[0] > 1 else 4
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * fan**-0.5
        scale = len(shape) == 1 and name.endswith("weight")
        weights[name] = (1 + 0.3 * drawn if scale else drawn).to(dtype).requires_grad_()
    return weights


def position_table(case: Shape, dtype: torch.dtype) -> Tensor:
    """`[positions, 1, hidden]`: sines and cosines of falling frequencies, in turn, rounded to float32."""
    place = torch.arange(case.positions, dtype=torch.float64).unsqueeze(1)
    angle = place * 10000.0 ** (-torch.arange(0, case.hidden, 2, dtype=torch.float64) / case.hidden)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(case.positions, 1, case.hidden).float().to(dtype)


def state_dict(case: Shape, weights: Weights) -> Weights:
    """What the published code saves: feed-forward maps twice, the table of positions among them."""
    saved = {name: tensor.detach() for name, tensor in weights.items()}
    if case.positions:
        name = "pos_enc.pe" if case.model_type == 1 else "layers.0.pe"
        saved[name] = position_table(case, saved["embedding.weight"].dtype)
    if case.model_type not in (0, 1, 10):
        for name in list(saved):
            for single, second in (("linear1", "ff_layers.0"), ("linear2", "ff_layers.3")):
                if f".{single}." in name:
                    saved[name.replace(single, second)] = saved[name]
    return saved


def logits(case: Shape, weights: Weights, tokens: Tensor) -> Tensor:
    """`[batch, time]` to `[batch, time, classes]`."""
    if case.one_hot:
        x = torch.stack([torch.eye(case.vocabulary).to(weights["out_layer.bias"].dtype)[row] for row in tokens])
    else:
        x = torch.stack([weights["embedding.weight"][row] for row in tokens])
    if case.positions:
        x = x + position_table(case, x.dtype)[: tokens.shape[1], 0]
    if case.model_type == 0:
        for layer in range(case.layers):
            x = lstm(weights, layer, x)
    elif case.model_type == 10:
        x = quasi_lstm(weights, x)
    elif case.model_type == 1:
        for layer in range(case.layers):
            x = encoder_layer(case, weights, f"transformer.layers.{layer}", x)
        x = layer_norm(weights, "transformer.norm", x)
    else:
        for layer in range(case.layers):
            x = mixer(case, weights, f"layers.{case.first + 2 * layer}", x)
            at = f"layers.{case.first + 2 * layer + 1}"
            x = x + feed_forward(weights, at, layer_norm(weights, f"{at}.layer_norm", x))
    return affine(weights, "linear" if case.model_type == 1 else "out_layer", x)


def affine(weights: Weights, at: str, x: Tensor) -> Tensor:
    """`x W^T + b`."""
    return x @ weights[f"{at}.weight"].T + weights[f"{at}.bias"]


def layer_norm(weights: Weights, at: str, x: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the last axis (the biased variance, plus 1e-5), then scale and shift."""
    centred = x - x.mean(-1, keepdim=True)
    normal = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return normal * weights[f"{at}.weight"] + weights[f"{at}.bias"]


def feed_forward(weights: Weights, at: str, x: Tensor) -> Tensor:
    """Two linear maps with a ReLU between them."""
    return affine(weights, f"{at}.linear2", affine(weights, f"{at}.linear1", x).clamp(min=0))


def softmax(x: Tensor) -> Tensor:
    """Over the last axis."""
    powers = (x - x.detach().amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


def lstm(weights: Weights, layer: int, x: Tensor) -> Tensor:
    """Gates in the order input, forget, cell, output."""
    into, back = weights[f"rnn_func.weight_ih_l{layer}"], weights[f"rnn_func.weight_hh_l{layer}"]
    bias = weights[f"rnn_func.bias_ih_l{layer}"] + weights[f"rnn_func.bias_hh_l{layer}"]
    hidden = cell = x.new_zeros(x.shape[0], back.shape[1])
    outputs = []
    for x_t in x.unbind(1):
        i, f, g, o = (x_t @ into.T + hidden @ back.T + bias).chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs, dim=1)


def quasi_lstm(weights: Weights, x: Tensor) -> Tensor:
    """Element-wise recurrence, then a gate that sees the input and the new cell."""
    w = {name.removeprefix("rnn_func."): tensor for name, tensor in weights.items()}
    cell = x.new_zeros(x.shape[0], w["bias_z"].shape[1])
    outputs = []
    for x_t in x.unbind(1):
        z = (x_t @ w["wm_z"].T + w["wv_z"] * cell + w["bias_z"]).tanh()
        f = (x_t @ w["wm_f"].T + w["wv_f"] * cell + w["bias_f"]).sigmoid()
        cell = f * cell + (1 - f) * z
        outputs.append(cell * affine(weights, "output_gate", torch.cat([x_t, cell], dim=-1)).sigmoid())
    return torch.stack(outputs, dim=1)


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One head, `[batch, time, d]`: position t reads positions 0 to t."""
    outputs = []
    for t in range(query.shape[1]):
        scores = (query[:, t : t + 1] * key[:, : t + 1]).sum(-1) / query.shape[-1] ** 0.5
        outputs.append((softmax(scores).unsqueeze(-1) * value[:, : t + 1]).sum(1))
    return torch.stack(outputs, dim=1)


def encoder_layer(case: Shape, weights: Weights, at: str, x: Tensor) -> Tensor:
    """Attention and feed-forward part, a LayerNorm after each sum."""
    mixed = x @ weights[f"{at}.self_attn.in_proj_weight"].T + weights[f"{at}.self_attn.in_proj_bias"]
    query, key, value = (part.chunk(case.heads, dim=-1) for part in mixed.chunk(3, dim=-1))
    heads = [attention(query[h], key[h], value[h]) for h in range(case.heads)]
    x = layer_norm(weights, f"{at}.norm1", x + affine(weights, f"{at}.self_attn.out_proj", torch.cat(heads, -1)))
    return layer_norm(weights, f"{at}.norm2", x + feed_forward(weights, at, x))


def mixer(case: Shape, weights: Weights, at: str, x: Tensor) -> Tensor:
    """The four rules and the softmax attention in their frames."""
    normal, out = layer_norm(weights, f"{at}.layer_norm", x), weights[f"{at}.out_linear.weight"]
    if case.model_type == 12:
        blocks = [weights[f"{at}.{block}"][0] for block in ("W_y", "W_q", "W_k", "w_b")]
        heads = [
            self_referential(part, *(block[h] for block in blocks))
            for h, part in enumerate(x.chunk(case.heads, dim=-1))
        ]
        return normal + torch.cat(heads, dim=-1) @ out.T
    slow = (normal @ weights[f"{at}.slow_net.weight"].T).chunk(case.heads, dim=-1)
    heads = [rule(case, weights, at, h, part) for h, part in enumerate(slow)]
    return x + torch.cat(heads, dim=-1) @ out.T


def rule(case: Shape, weights: Weights, at: str, h: int, slow: Tensor) -> Tensor:
    """One head's rule on its rows of SlowNet, query, key, value and (2, 7) the write strength."""
    d = case.hidden // case.heads
    query, key, value, beta = slow[..., :d], slow[..., d : 2 * d], slow[..., 2 * d : 3 * d], slow[..., 3 * d :]
    if case.model_type == 9:
        return attention(query, key, value)
    if case.model_type == 8:
        return fast_weights(elu_plus_one(query), elu_plus_one(key), value, None)
    if case.model_type == 2:
        q, k = elu_plus_one(query), elu_plus_one(key)
        return fast_weights(q / q.sum(-1, keepdim=True), k / k.sum(-1, keepdim=True), value, beta.sigmoid())
    blocks = [weights[f"{at}.{block}"][0, h] for block in ("R_q", "R_k", "R_v", "r_b")]
    return recurrent(query, key, value, beta, *blocks)


def elu_plus_one(x: Tensor) -> Tensor:
    """`x + 1` where x is positive, `exp(x)` elsewhere."""
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


def outer(key: Tensor, value: Tensor) -> Tensor:
    """`k^T v` for each of the batch."""
    return key.unsqueeze(-1) * value.unsqueeze(-2)


def read(query: Tensor, matrix: Tensor) -> Tensor:
    """`q W` for each of the batch."""
    return (query.unsqueeze(-1) * matrix).sum(-2)


def fast_weights(query: Tensor, key: Tensor, value: Tensor, beta: Tensor | None) -> Tensor:
    """One head: the sum rule, or with beta the delta rule."""
    matrix = query.new_zeros(query.shape[0], query.shape[-1], value.shape[-1])
    outputs = []
    for t in range(query.shape[1]):
        new = value[:, t]
        if beta is not None:
            new = beta[:, t] * (new - read(key[:, t], matrix))
        matrix = matrix + outer(key[:, t], new)
        outputs.append(read(query[:, t], matrix))
    return torch.stack(outputs, dim=1)


def recurrent(
    query: Tensor, key: Tensor, value: Tensor, beta: Tensor, r_q: Tensor, r_k: Tensor, r_v: Tensor, r_b: Tensor
) -> Tensor:
    """One head: the delta rule that sees the tanh of its last output; `r_b` is `[1, d]`."""
    output = torch.zeros_like(query[:, 0])
    matrix = output.new_zeros(*output.shape, output.shape[-1])
    outputs = []
    for t in range(query.shape[1]):
        h = output.tanh()
        q, k = softmax(query[:, t] + h @ r_q), softmax(key[:, t] + h @ r_k)
        strength = (beta[:, t] + h @ r_b.T).sigmoid()
        matrix = matrix + outer(k, strength * (value[:, t] + h @ r_v - read(k, matrix)))
        output = read(q, matrix)
        outputs.append(output)
    return torch.stack(outputs, dim=1)


def self_referential(x: Tensor, w_y: Tensor, w_q: Tensor, w_k: Tensor, w_b: Tensor) -> Tensor:
    """One head: four blocks that rewrite themselves, each with its own rate, all from the old matrix."""
    blocks = [block.expand(x.shape[0], *block.shape) for block in (w_y, w_q, w_k, w_b)]
    outputs = []
    for x_t in x.unbind(1):
        y, q, k, b = (read(x_t, block) for block in blocks)
        q, k, rates = softmax(q), softmax(k), b.sigmoid()
        outputs.append(y)
        blocks = [
            block + outer(k, rates[:, j : j + 1] * (read(q, block) - read(k, block))) for j, block in enumerate(blocks)
        ]
    return torch.stack(outputs, dim=1)
