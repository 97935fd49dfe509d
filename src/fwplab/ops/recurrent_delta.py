"""The delta rule with feedback: Recurrent Delta."""

import torch
from jaxtyping import Float
from torch import Tensor

from fwplab.ops import cpu
from fwplab.ops.delta import step as delta_step
from fwplab.ops.scan import Forms, Scan, choose


def recurrent_delta(
    query: Float[Tensor, "batch time heads d"],
    key: Float[Tensor, "batch time heads d"],
    value: Float[Tensor, "batch time heads d"],
    beta: Float[Tensor, "batch time heads"],
    recurrent_query: Float[Tensor, "heads d d"],
    recurrent_key: Float[Tensor, "heads d d"],
    recurrent_value: Float[Tensor, "heads d d"],
    recurrent_beta: Float[Tensor, "heads d"],
    *,
    initial_state: tuple[Tensor, ...] | None = None,
    backend: str = "auto",
) -> Scan:
    """Delta rule whose query, key, value and write strength see the last output.

    With `h = tanh(o_{t-1})`: `q = softmax(q_x + h R_q)`, `k = softmax(k_x + h R_k)`, `v = v_x + h R_v`,
    `beta = sigmoid(b_x + h . r_b)`; then `W += beta k^T (v - k W)` and `o = q W`. The inputs come before softmax and
    sigmoid; the raw `o` is the output, the tanh is on the feedback alone.
    State: `(W [batch, heads, d, d], o [batch, heads, d])`, zero at the start. Backends: `cpu` (compiled),
    `reference`. Source: arXiv 2310.16076, section 2, and the code published with it; the rule is that of
    arXiv 2106.06295. Raises `UserError` for an unknown backend, or `cpu` where it cannot run.
    """
    if initial_state is None:
        batch, _, heads, width = query.shape
        initial_state = query.new_zeros(batch, heads, width, width), query.new_zeros(batch, heads, width)
    slow = recurrent_query, recurrent_key, recurrent_value, recurrent_beta
    return choose("recurrent_delta", FORMS, backend, query)(query, key, value, beta, *slow, *initial_state)


def step(
    state: tuple[Tensor, Tensor], inputs: tuple[Tensor, ...], slow: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One position: query, key, value `[batch, heads, d]` and beta `[batch, heads]` against the slow weights."""
    weight, last = state
    query, key, value, beta = inputs
    recurrent_query, recurrent_key, recurrent_value, recurrent_beta = slow
    feedback = torch.tanh(last)
    query = (query + feed(feedback, recurrent_query)).softmax(-1)
    key = (key + feed(feedback, recurrent_key)).softmax(-1)
    value = value + feed(feedback, recurrent_value)
    beta = torch.sigmoid(beta + (feedback * recurrent_beta).sum(-1))
    output, weight = delta_step(weight, query, key, value, beta)
    return output, (weight, output)


def feed(feedback: Tensor, slow: Tensor) -> Tensor:
    """`h R` a head: `[batch, heads, d] x [heads, d, d] -> [batch, heads, d]`."""
    return torch.einsum("bhi,hij->bhj", feedback, slow)


def reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor,
    recurrent_query: Tensor,
    recurrent_key: Tensor,
    recurrent_value: Tensor,
    recurrent_beta: Tensor,
    weight: Tensor,
    last: Tensor,
) -> Scan:
    """The definition: one step after the other."""
    slow = recurrent_query, recurrent_key, recurrent_value, recurrent_beta
    state, outputs = (weight, last), []
    for inputs in zip(query.unbind(1), key.unbind(1), value.unbind(1), beta.unbind(1), strict=True):
        output, state = step(state, inputs, slow)
        outputs.append(output)
    return Scan(torch.stack(outputs, dim=1) if outputs else torch.zeros_like(value), state)


def compiled(*arguments: Tensor) -> Scan:
    """The kernel of `fwplab.ops.cpu`, forward and analytic backward in compiled code."""
    output, weight, last = cpu.recurrent_delta(*arguments)
    return Scan(output, (weight, last))


FORMS: Forms = {"reference": reference, "cpu": compiled}
