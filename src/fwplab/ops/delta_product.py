"""Several steps of the delta rule at each position: a product of Householder matrices."""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fwplab.ops.delta import RULE as DELTA
from fwplab.ops.delta import step as delta_step
from fwplab.ops.rule import Inputs, Rule
from fwplab.ops.scan import Scan, scan_of


def delta_product(
    query: Float[Tensor, "batch time heads key"],
    key: Float[Tensor, "batch time steps heads key"],
    value: Float[Tensor, "batch time steps heads value"],
    beta: Float[Tensor, "batch time steps heads"],
    *,
    initial_state: Float[Tensor, "sequences heads key value"] | None = None,
    cu_seqlens: Int[Tensor, "bounds"] | None = None,
    backend: str = "auto",
) -> Scan:
    """n steps of the delta rule at each position, then one read.

    `W <- W + beta_j k_j^T (v_j - k_j W)` for j = 1 ... n, then `o = q W`.

    The transition of a position is the product `(I - beta_n k_n^T k_n) ... (I - beta_1 k_1^T k_1)`. With keys of length
    1 and `beta = 2` it can be any product of n reflections, so for n >= 2 also a rotation.

    - `query`: `[batch, time, heads, key]`.
    - `key`: `[batch, time, steps, heads, key]`.
    - `value`: `[batch, time, steps, heads, value]`.
    - `beta`: `[batch, time, steps, heads]`, the write strengths, after their sigmoid.
    - `initial_state`: `W_0`, `[sequences, heads, key, value]`; zero if it is None.
    - `cu_seqlens`: `[sequences + 1]`, integers. The start of each packed sequence and the end of the last; the batch is
      then 1. Without it every row of the batch is a sequence.
    - `backend`: "auto" for the fastest that can run, or one of `delta`, which runs the steps as positions of a
      sequence n times as long.

    Returns `Scan(output, state)`. Raises `UserError` for an unknown backend, for one that cannot run, and for shapes or
    bounds that do not fit.
    Source: arXiv 2502.10297, in row-vector form.
    """
    state = None if initial_state is None else (initial_state,)
    return RULE.run(backend, (query, key, value, beta), state=state, cu_seqlens=cu_seqlens)


def step(state: Tensor, query: Tensor, key: Tensor, value: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """One position: query `[batch, heads, d]`, the others `[batch, steps, heads, ...]`; output and new state."""
    for inner in zip(key.unbind(1), value.unbind(1), beta.unbind(1), strict=True):
        _, state = delta_step(state, query, *inner)
    return (query.unsqueeze(-2) @ state).squeeze(-2), state


def reference(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, state: Tensor) -> Scan:
    """The definition: a loop over the positions."""
    outputs, start = [], state
    for at_time in zip(query.unbind(1), key.unbind(1), value.unbind(1), beta.unbind(1), strict=True):
        output, state = step(state, *at_time)
        outputs.append(output)
    return scan_of(outputs, query.new_zeros(*query.shape[:-1], value.shape[-1]), start, state)


def reflections(drawn: Inputs) -> Inputs:
    """Keys of length 1 and rates below 2."""
    return {**drawn, "key": functional.normalize(drawn["key"], dim=-1), "beta": 2 * drawn["beta"].sigmoid()}


def by_delta(form: Callable[..., Scan]) -> Callable[..., Scan]:
    """A form of this rule from a form of the delta rule. All steps become positions, and the last of each n is read."""

    def run(
        query: Tensor, key: Tensor, value: Tensor, beta: Tensor, state: Tensor, *, cu_seqlens: Tensor | None = None
    ) -> Scan:
        steps = key.shape[2]
        asked = functional.pad(query.unsqueeze(2), (0, 0, 0, 0, steps - 1, 0))
        parts = (part.flatten(1, 2) for part in (asked, key, value, beta))
        bounds = {} if cu_seqlens is None else {"cu_seqlens": steps * cu_seqlens}
        output, state = form(*parts, None, state, **bounds)
        return Scan(output.unflatten(1, (query.shape[1], steps))[:, :, -1].clone(), state)

    return run


RULE = Rule(
    "delta_product",
    reference,
    sequences={
        "query": "batch time heads key",
        "key": "batch time steps heads key",
        "value": "batch time steps heads value",
        "beta": "batch time steps heads",
    },
    state={"initial_state": "sequences heads key value"},
    square=True,
    derived_from=(DELTA, by_delta),
    cases={"delta_product": reflections},
)
