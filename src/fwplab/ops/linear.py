"""The additive rule of the linear Transformer."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fwplab.ops.rule import Rule
from fwplab.ops.scan import Scan, scan_of


def linear(
    query: Float[Tensor, "batch time heads key"],
    key: Float[Tensor, "batch time heads key"],
    value: Float[Tensor, "batch time heads value"],
    *,
    initial_state: Float[Tensor, "sequences heads key value"] | None = None,
    cu_seqlens: Int[Tensor, "bounds"] | None = None,
    backend: str = "auto",
) -> Scan:
    """Additive fast weights: `W_t = W_{t-1} + k_t^T v_t`, `o_t = q_t W_t`.

    The output includes the current token. There is no normaliser and no scale. The caller applies the feature map.

    - `query`, `key`: `[batch, time, heads, key]`.
    - `value`: `[batch, time, heads, value]`.
    - `initial_state`: `W_0`, `[sequences, heads, key, value]`; zero if it is None.
    - `cu_seqlens`: `[sequences + 1]`, integers. The start of each packed sequence and the end of the last; the batch is
      then 1. Without it every row of the batch is a sequence.
    - `backend`: "auto" for the fastest that can run, or "cpu" (compiled, for values as wide as keys), "chunk"
      (matrix products), "triton" (GPU), "reference".

    Returns `Scan(output, state)`. Raises `UserError` for an unknown backend, for one that cannot run, and for shapes or
    bounds that do not fit.
    Source: arXiv 2310.16076, equations 1 to 3.
    """
    state = None if initial_state is None else (initial_state,)
    return RULE.run(backend, (query, key, value), state=state, cu_seqlens=cu_seqlens)


def step(state: Tensor, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """One position: vectors `[batch, heads, d]`; returns the output and the new state."""
    state = state + key.unsqueeze(-1) * value.unsqueeze(-2)
    return (query.unsqueeze(-2) @ state).squeeze(-2), state


def reference(query: Tensor, key: Tensor, value: Tensor, state: Tensor) -> Scan:
    """The definition: a loop over the positions."""
    outputs, start = [], state
    for at_time in zip(query.unbind(1), key.unbind(1), value.unbind(1), strict=True):
        output, state = step(state, *at_time)
        outputs.append(output)
    return scan_of(outputs, value, start, state)


def chunk(query: Tensor, key: Tensor, value: Tensor, state: Tensor) -> Scan:
    """The chunkwise form: attention inside a chunk of C tokens, and one matrix product with the state between chunks.

    `O = Q W_before + tril(Q K^T) V`, and `W_before` of all chunks at once is a running sum of `K^T V`.
    """
    time, size = query.shape[1], chunk_size(key.shape[-1])
    query, key, value = (to_chunks(tensor, size) for tensor in (query, key, value))
    written = torch.cat([state.unsqueeze(1), key.transpose(-1, -2) @ value], dim=1).cumsum(1)
    output = query @ written[:, :-1] + causal_product(query @ key.transpose(-1, -2), value)
    return Scan(from_chunks(output, time), written[:, -1].clone())


def causal_product(attention: Tensor, values: Tensor) -> Tensor:
    """`tril(attention) @ values`. A value that is not finite affects only its own and later rows, although 0 times NaN
    is NaN."""
    return attention.tril() @ values.nan_to_num(0, 0, 0) + poison(values)


def poison(values: Tensor) -> Tensor:
    """Zeros. In a column with a value that is not finite, NaN from its first such row on."""
    return (values.detach() * 0).cumsum(-2)


def chunk_size(width: int) -> int:
    """The fastest size of a chunk on a CPU for a head width, from measurements of this rule."""
    return 16 if width <= 16 else 64 if width <= 32 else 128


def to_chunks(tensor: Tensor, size: int) -> Tensor:
    """`[batch, time, heads, d] -> [batch, chunks, heads, size, d]`, padded with zeros, which write nothing."""
    padding = -tensor.shape[1] % size
    padded = functional.pad(tensor, (0, 0, 0, 0, 0, padding)) if padding else tensor
    chunks = padded.reshape(padded.shape[0], padded.shape[1] // size, size, *padded.shape[2:])
    return chunks.transpose(2, 3)


def from_chunks(tensor: Tensor, time: int) -> Tensor:
    """The inverse of `to_chunks`, without the padding."""
    joined = tensor.transpose(2, 3).flatten(1, 2)
    return joined if joined.shape[1] == time else joined[:, :time].clone()


RULE = Rule(
    "linear",
    reference,
    sequences={"query": "batch time heads key", "key": "batch time heads key", "value": "batch time heads value"},
    state={"initial_state": "sequences heads key value"},
    forms={"chunk": chunk},
    square=True,
    multiply_adds={"linear": lambda d: 7 * d * d},
)
