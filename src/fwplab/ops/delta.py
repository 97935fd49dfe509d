"""The delta rule of DeltaNet."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fwplab.ops.linear import causal_product, from_chunks, poison, to_chunks
from fwplab.ops.rule import Inputs, Rule
from fwplab.ops.scan import Scan, scan_of


def delta(
    query: Float[Tensor, "batch time heads key"],
    key: Float[Tensor, "batch time heads key"],
    value: Float[Tensor, "batch time heads value"],
    beta: Float[Tensor, "batch time heads"],
    *,
    log_decay: Float[Tensor, "batch time heads"] | None = None,
    initial_state: Float[Tensor, "sequences heads key value"] | None = None,
    cu_seqlens: Int[Tensor, "bounds"] | None = None,
    backend: str = "auto",
) -> Scan:
    """Fast weights with the delta rule: `W_t = W_{t-1} + beta_t k_t^T (v_t - k_t W_{t-1})`, `o_t = q_t W_t`.

    With `log_decay` (gated delta rule) `W_{t-1}` is first multiplied by `alpha_t = exp(log_decay_t)`, in both places.
    With keys of length 1 and `beta` in (0, 2) (signed delta rule, arXiv 2411.12537) the transition `I - beta k^T k` has
    eigenvalues in (-1, 1]. The caller applies the feature map and the normalisation to query and key.

    - `query`, `key`: `[batch, time, heads, key]`.
    - `value`: `[batch, time, heads, value]`.
    - `beta`: `[batch, time, heads]`, the write strength, after its sigmoid.
    - `log_decay`: `[batch, time, heads]`, at most 0; minus infinity erases all of W. None for no decay.
    - `initial_state`: `W_0`, `[sequences, heads, key, value]`; zero if it is None.
    - `cu_seqlens`: `[sequences + 1]`, integers. The start of each packed sequence and the end of the last; the batch is
      then 1. Without it every row of the batch is a sequence.
    - `backend`: "auto" for the fastest that can run, or "cpu" (compiled, for values as wide as keys), "chunk"
      (WY form), "triton" (GPU), "reference".

    Returns `Scan(output, state)`. Raises `UserError` for an unknown backend, for one that cannot run, and for shapes or
    bounds that do not fit.
    Source: arXiv 2310.16076, equation 8; gated: arXiv 2412.06464, equation 10, in row-vector form; chunkwise: arXiv
    2406.06484.
    """
    state = None if initial_state is None else (initial_state,)
    return RULE.run(backend, (query, key, value, beta, log_decay), state=state, cu_seqlens=cu_seqlens)


def step(
    state: Tensor, query: Tensor, key: Tensor, value: Tensor, beta: Tensor, log_decay: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One position: vectors `[batch, heads, d]`, beta `[batch, heads]`; returns the output and the new state."""
    if log_decay is not None:
        state = state * log_decay.exp()[..., None, None]
    error = value - (key.unsqueeze(-2) @ state).squeeze(-2)
    state = state + (beta.unsqueeze(-1) * key).unsqueeze(-1) * error.unsqueeze(-2)
    return (query.unsqueeze(-2) @ state).squeeze(-2), state


def reference(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor) -> Scan:
    """The definition: a loop over the positions."""
    sequences = query, key, value, beta, *(() if log_decay is None else (log_decay,))
    outputs, start = [], state
    for at_time in zip(*(tensor.unbind(1) for tensor in sequences), strict=True):
        output, state = step(state, *at_time)
        outputs.append(output)
    return scan_of(outputs, value, start, state)


def chunk(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor) -> Scan:
    """The chunkwise form (WY representation). The errors of a chunk solve a unit lower triangular system.

    With `A = tril(D * (diag(beta) K K^T), -1)`, the scaled errors of a chunk are
    `E = (I + A)^{-1} diag(beta) (V - c K W)`; then `O = c Q W + tril(D * (Q K^T)) E` and `W = c_C W + K^T (d_C E)`.
    Only the products with `W` depend on the previous chunk. `D_ij` is the decay of the positions after j up to i, `c_i`
    that from the start of the chunk up to i; `c_C` and `d_C` are the same up to its end. All are 1 without `log_decay`.
    """
    time, size = query.shape[1], chunk_size(key.shape[-1])
    if not time:
        return scan_of([], value, state, state)
    query, key, value, scale = (to_chunks(tensor, size) for tensor in (query, key, value, beta.unsqueeze(-1)))
    system, attention = scale * key @ key.transpose(-1, -2), query @ key.transpose(-1, -2)
    read, write, keep = key, key, None
    if log_decay is not None:
        between, since_start = decays(to_chunks(log_decay.unsqueeze(-1), size))
        system, attention = system * between, attention * between
        read, query = since_start * key, since_start * query
        write, keep = between[..., -1:, :].transpose(-1, -2) * key, since_start[..., -1:, :]
    right = torch.cat([scale * value, scale * read], dim=-1)
    solved = causal_solve(system.tril(-1), right)
    free, bound = solved.split([value.shape[-1], key.shape[-1]], dim=-1)
    keeps = [None] * query.shape[1] if keep is None else keep.unbind(1)
    reads, errors = [], []
    for q, w, f, b, c in zip(*(t.unbind(1) for t in (query, write, free, bound)), keeps, strict=True):
        error = f - b @ state
        reads.append(q @ state)
        errors.append(error)
        state = (state if c is None else c * state) + w.transpose(-1, -2) @ error
    output = torch.stack(reads, dim=1) + causal_product(attention, torch.stack(errors, dim=1))
    return Scan(from_chunks(output, time), state)


def causal_solve(system: Tensor, right: Tensor) -> Tensor:
    """`(I + system)^{-1} right` for a strictly lower triangular system. A value that is not finite affects only its own
    and later rows."""
    solved: Tensor = torch.linalg.solve_triangular(
        system.nan_to_num(0, 0, 0), right.nan_to_num(0, 0, 0), upper=False, unitriangular=True
    )
    return solved + poison(right) + poison(system).sum(-1, keepdim=True)


def decays(log_decay: Tensor) -> tuple[Tensor, Tensor]:
    """The decays of a chunk: `exp(sum of log_decay over j < m <= i)` at `[i, j]`, and the same over all `m <= i`.

    log_decay: `[..., size, 1]`. Each sum is computed directly. The difference of two sums would be NaN for minus
        infinity.
    """
    size = log_decay.shape[-2]
    sums = log_decay.expand(*log_decay.shape[:-1], size).tril(-1).cumsum(-2)
    return sums.exp(), log_decay.cumsum(-2).exp()


def chunk_size(width: int) -> int:
    """The fastest size of a chunk on a CPU for a head width, from measurements of this rule."""
    return 8 if width <= 32 else 16


def plain(drawn: Inputs) -> Inputs:
    """Keys and queries that sum to 1, rates below 1."""
    query, key, beta = drawn["query"], drawn["key"], drawn["beta"]
    shares = {"query": query.softmax(-1), "key": key.softmax(-1)}
    return {**drawn, **shares, "beta": beta.sigmoid(), "log_decay": None}


def signed(drawn: Inputs) -> Inputs:
    """Keys and queries of length 1, rates below 2."""
    query, key, beta = drawn["query"], drawn["key"], drawn["beta"]
    lengths = {"query": functional.normalize(query, dim=-1), "key": functional.normalize(key, dim=-1)}
    return {**drawn, **lengths, "beta": 2 * beta.sigmoid(), "log_decay": None}


def gated(drawn: Inputs) -> Inputs:
    """A decay that sometimes erases all of W."""
    decay = functional.logsigmoid(drawn["log_decay"] + 2)
    decay[:, ::7] = -torch.inf if decay.shape[1] > 7 else -1.0
    return {**plain(drawn), "log_decay": decay}


RULE = Rule(
    "delta",
    reference,
    sequences={
        "query": "batch time heads key",
        "key": "batch time heads key",
        "value": "batch time heads value",
        "beta": "batch time heads",
        "log_decay": "batch time heads",
    },
    optional=("log_decay",),
    state={"initial_state": "sequences heads key value"},
    forms={"chunk": chunk},
    square=True,
    cases={"delta": plain, "gated_delta": gated, "signed_delta": signed},
    multiply_adds={
        "delta": lambda d: 10 * d * d,
        "gated_delta": lambda d: 11 * d * d,
        "signed_delta": lambda d: 10 * d * d,
    },
)
