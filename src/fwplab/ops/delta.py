"""The delta rule of DeltaNet."""

import torch
from jaxtyping import Float
from torch import Tensor

from fwplab.ops import cpu
from fwplab.ops.linear import from_chunks, to_chunks
from fwplab.ops.scan import Forms, Scan, choose


def delta(
    query: Float[Tensor, "batch time heads key"],
    key: Float[Tensor, "batch time heads key"],
    value: Float[Tensor, "batch time heads value"],
    beta: Float[Tensor, "batch time heads"],
    *,
    initial_state: Float[Tensor, "batch heads key value"] | None = None,
    backend: str = "auto",
) -> Scan:
    """Error-correcting fast weights: `W_t = W_{t-1} + beta_t k_t^T (v_t - k_t W_{t-1})`, `o_t = q_t W_t`.

    `beta` is the write strength after its sigmoid; feature map and normalisation of query and key are the caller's.
    State: `W`, `[batch, heads, key, value]`, zero at the start. Backends: `cpu` (compiled, for
    values as wide as keys), `chunk` (WY form), `reference`.
    Source: arXiv 2310.16076, equation 8; the chunkwise form is that of arXiv 2406.06484. Raises `UserError` for an
    unknown backend.
    """
    if initial_state is None:
        initial_state = query.new_zeros(query.shape[0], query.shape[2], key.shape[-1], value.shape[-1])
    forms = FORMS if key.shape[-1] == value.shape[-1] else UNEQUAL_FORMS
    return choose("delta", forms, backend, query)(query, key, value, beta, initial_state)


def step(state: Tensor, query: Tensor, key: Tensor, value: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """One position: vectors `[batch, heads, d]`, beta `[batch, heads]`; returns the output and the new state."""
    error = value - (key.unsqueeze(-2) @ state).squeeze(-2)
    state = state + (beta.unsqueeze(-1) * key).unsqueeze(-1) * error.unsqueeze(-2)
    return (query.unsqueeze(-2) @ state).squeeze(-2), state


def reference(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, state: Tensor) -> Scan:
    """The definition: one step after the other."""
    outputs = []
    for at_time in zip(query.unbind(1), key.unbind(1), value.unbind(1), beta.unbind(1), strict=True):
        output, state = step(state, *at_time)
        outputs.append(output)
    return Scan(torch.stack(outputs, dim=1) if outputs else torch.zeros_like(value), state)


def chunk(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, state: Tensor) -> Scan:
    """Chunkwise (WY representation): a chunk's errors solve one unit lower triangular system.

    With `A = tril(diag(beta) K K^T, -1)`, the scaled errors of a chunk are
    `E = (I + A)^{-1} diag(beta) (V - K W)`; then `O = Q W + tril(Q K^T) E` and `W += K^T E`.
    Only the last two products wait for the chunk before.
    """
    time, size = query.shape[1], chunk_size(key.shape[-1])
    query, key, value = (to_chunks(tensor, size) for tensor in (query, key, value))
    scale = to_chunks(beta.unsqueeze(-1), size)
    system = (scale * key @ key.transpose(-1, -2)).tril(-1)
    right = torch.cat([scale * value, scale * key], dim=-1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    free, bound = solved.split([value.shape[-1], key.shape[-1]], dim=-1)
    attention = (query @ key.transpose(-1, -2)).tril()
    outputs = []
    for q, k, a, f, b in zip(*(t.unbind(1) for t in (query, key, attention, free, bound)), strict=True):
        error = f - b @ state
        outputs.append(q @ state + a @ error)
        state = state + k.transpose(-1, -2) @ error
    return Scan(from_chunks(torch.stack(outputs, dim=1) if outputs else value, time), state)


def chunk_size(width: int) -> int:
    """The fastest chunk on a CPU by head width, as measured for the rule."""
    return 8 if width <= 32 else 16


def compiled(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, state: Tensor) -> Scan:
    """The kernel of `fwplab.ops.cpu`, forward and analytic backward in compiled code."""
    return Scan(*cpu.delta(query, key, value, beta, state))


UNEQUAL_FORMS: Forms = {"reference": reference, "chunk": chunk}
"""The forms for values that are not as wide as the keys."""
FORMS: Forms = {**UNEQUAL_FORMS, "cpu": compiled}
