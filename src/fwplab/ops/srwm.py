"""The self-referential weight matrix."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fwplab.ops.packing import count_sequences
from fwplab.ops.rule import Inputs, Rule
from fwplab.ops.scan import Scan, scan_of
from fwplab.ops.variation import PAPER, PARTS, Variation, varied


def srwm(
    x: Float[Tensor, "batch time heads d"],
    w_y: Float[Tensor, "*sequences heads d d"],
    w_q: Float[Tensor, "*sequences heads d d"],
    w_k: Float[Tensor, "*sequences heads d d"],
    w_b: Float[Tensor, "*sequences heads d 4"],
    *,
    initial_state: tuple[Tensor, ...] | None = None,
    cu_seqlens: Int[Tensor, "bounds"] | None = None,
    backend: str = "auto",
    variation: Variation = PAPER,
) -> Scan:
    """A weight matrix that updates itself: `W = [W_y, W_q, W_k, w_b]`.

    `y = x W_y`, `q = softmax(x W_q)`, `k = softmax(x W_k)`, `b = sigmoid(x w_b)` (one rate for each block), then
    for every block `W_j += b_j k^T (q W_j - k W_j)`, all four with the old `W`. The output is `y`, from before the
    update.

    - `x`: `[batch, time, heads, d]`.
    - `w_y`, `w_q`, `w_k`: the initial blocks, `[heads, d, d]`, or for each sequence, `[sequences, heads, d, d]`.
    - `w_b`: likewise `[heads, d, 4]` or `[sequences, heads, d, 4]`.
    - `initial_state`: four blocks for each sequence, which replace the initial blocks.
    - `cu_seqlens`: `[sequences + 1]`, integers. The start of each packed sequence and the end of the last; the batch is
      then 1. Without it every row of the batch is a sequence.
    - `backend`: "auto" for the fastest that can run, or "cpu" (compiled), "loop", "triton" (GPU), "reference";
      for a variation "cpu" or "reference".
    - `variation`: replaces the softmaxes, the sigmoid and the update by other functions, and makes blocks constant.

    Returns `Scan(output, state)`. Raises `UserError` for an unknown backend, for one that cannot run, and for shapes or
    bounds that do not fit.
    Source: arXiv 2310.16076, section 2; the rule is that of arXiv 2202.05780.
    """
    count = count_sequences("srwm", x, cu_seqlens)
    blocks: tuple[Tensor, ...] = initial_state or (w_y, w_q, w_k, w_b)
    if blocks[0].dim() == 3:
        blocks = tuple(block.expand(count, *block.shape) for block in blocks)
    forms = varied("srwm", RULE.forms, variation, fixed="feedback")
    return RULE.run(backend, (x,), state=blocks, cu_seqlens=cu_seqlens, forms=forms)


def step(state: tuple[Tensor, ...], x: Tensor, variation: Variation = PAPER) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One position, `x` `[batch, heads, d]`. Returns `y` and the updated blocks."""
    output, query, key, rates = read(state, x, variation)
    address = query - key if variation.update == "delta" else query
    moved = (
        block + key.transpose(-1, -2) @ (rate * (address @ block)) if part in variation.rewritten else block
        for part, block, rate in zip(PARTS, state, rates.split(1, dim=-1), strict=True)
    )
    return output.squeeze(-2), tuple(moved)


def read(state: tuple[Tensor, ...], x: Tensor, variation: Variation = PAPER) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output, query, key and the four rates of one position as row vectors, `[batch, heads, 1, ...]`.

    state: the four blocks, `[batch, heads, d, ...]`.
    x: the input of the position, `[batch, heads, d]`.
    """
    row = x.unsqueeze(-2)
    output, query, key, rates = (row @ block for block in state)
    return output, variation.phi(query), variation.phi(key), variation.rho(rates)


def reference(x: Tensor, w_y: Tensor, w_q: Tensor, w_k: Tensor, w_b: Tensor, variation: Variation = PAPER) -> Scan:
    """The definition: a loop over the positions."""
    state: tuple[Tensor, ...] = (w_y, w_q, w_k, w_b)
    outputs = []
    for at_time in x.unbind(1):
        output, state = step(state, at_time, variation)
        outputs.append(output)
    return scan_of(outputs, x, (w_y, w_q, w_k, w_b), state)


def loop(x: Tensor, w_y: Tensor, w_q: Tensor, w_k: Tensor, w_b: Tensor) -> Scan:
    """The fastest PyTorch loop: the four blocks form one matrix, with two products and one update in each step."""
    (batch, time, heads, d), sizes = x.shape, (w_y.shape[-1], w_q.shape[-1], w_k.shape[-1], w_b.shape[-1])
    weight = torch.cat([w_y, w_q, w_k, w_b], dim=-1).flatten(0, 1)
    # torch.tensor(list) would wait for the GPU, which a CUDA graph cannot record
    block_of_column = torch.cat([torch.full((columns,), block, device=x.device) for block, columns in enumerate(sizes)])
    outputs = []
    for row in x.transpose(1, 2).reshape(batch * heads, time, d).split(1, dim=1):
        output, logits, rates = (row @ weight).split([d, 2 * d, 4], dim=-1)
        query, key = logits.unflatten(-1, (2, d)).softmax(-1).unbind(-2)
        scale = torch.sigmoid(rates).index_select(-1, block_of_column)
        weight = torch.baddbmm(weight, key.transpose(1, 2), scale * ((query - key) @ weight))
        outputs.append(output)
    state = tuple(part.clone() for part in weight.unflatten(0, (batch, heads)).split(sizes, dim=-1))
    joined = torch.cat(outputs, dim=1) if outputs else x.new_zeros(batch * heads, 0, d)
    return Scan(joined.unflatten(0, (batch, heads)).transpose(1, 2), state)


def smaller(drawn: Inputs) -> Inputs:
    """Divides each block by the square root of its number of rows."""
    return {name: tensor if name == "x" else tensor * tensor.shape[-2] ** -0.5 for name, tensor in drawn.items()}


RULE = Rule(
    "srwm",
    reference,
    state_as_weights=True,
    cases={"srwm": smaller},
    forms={"loop": loop},
    sequences={"x": "batch time heads d"},
    state={
        "w_y": "sequences heads d d",
        "w_q": "sequences heads d d",
        "w_k": "sequences heads d d",
        "w_b": "sequences heads d 4",
    },
    multiply_adds={"srwm": lambda d: 9 * d * (3 * d + 4)},
)
