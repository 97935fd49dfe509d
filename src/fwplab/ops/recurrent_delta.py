"""The delta rule with feedback: Recurrent Delta."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fwplab.ops.delta import step as delta_step
from fwplab.ops.linear import step as additive_step
from fwplab.ops.rule import Rule
from fwplab.ops.scan import Scan, scan_of
from fwplab.ops.variation import PAPER, Variation, varied


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
    cu_seqlens: Int[Tensor, "bounds"] | None = None,
    backend: str = "auto",
    variation: Variation = PAPER,
) -> Scan:
    """The delta rule with feedback of the last output into the query, key, value and rate.

    With `h = tanh(o_{t-1})`: `q = softmax(q_x + h R_q)`, `k = softmax(k_x + h R_k)`, `v = v_x + h R_v`,
    `beta = sigmoid(b_x + h . r_b)`; then `W += beta k^T (v - k W)` and `o = q W`. The output is `o`; only
    the feedback has the tanh.

    - `query`, `key`, `value`: `[batch, time, heads, d]`, before softmax and feedback.
    - `beta`: `[batch, time, heads]`, before the sigmoid.
    - `recurrent_query`, `recurrent_key`, `recurrent_value`: `R_q`, `R_k`, `R_v`, `[heads, d, d]`.
    - `recurrent_beta`: `r_b`, `[heads, d]`.
    - `initial_state`: `(W_0 [sequences, heads, d, d], o_0 [sequences, heads, d])`; zero if it is None.
    - `cu_seqlens`: `[sequences + 1]`, integers. The start of each packed sequence and the end of the last; the batch is
      then 1. Without it every row of the batch is a sequence.
    - `backend`: "auto" for the fastest that can run, or "cpu" (compiled), "loop", "triton" (GPU), "reference";
      for a variation "cpu" or "reference".
    - `variation`: replaces the softmaxes, the sigmoid, the tanh and the update by other functions.

    Returns `Scan(output, state)`. Raises `UserError` for an unknown backend, for one that cannot run, and for shapes or
    bounds that do not fit.
    Source: arXiv 2310.16076, section 2, and the code published with it; the rule is that of arXiv 2106.06295.
    """
    sequences = query, key, value, beta
    slow = recurrent_query, recurrent_key, recurrent_value, recurrent_beta
    forms = varied("recurrent_delta", RULE.forms, variation, fixed="rewritten")
    return RULE.run(backend, sequences, slow, state=initial_state, cu_seqlens=cu_seqlens, forms=forms)


def step(
    state: tuple[Tensor, Tensor], inputs: tuple[Tensor, ...], slow: tuple[Tensor, ...], variation: Variation = PAPER
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One position: query, key, value `[batch, heads, d]` and beta `[batch, heads]` against the slow weights."""
    weight, last = state
    query, key, value, rate = with_feedback(last, inputs, slow, variation)
    if variation.update == "delta":
        output, weight = delta_step(weight, query, key, value, rate)
    else:
        output, weight = additive_step(weight, query, key, rate.unsqueeze(-1) * value)
    return output, (weight, output)


def with_feedback(
    last: Tensor, inputs: tuple[Tensor, ...], slow: tuple[Tensor, ...], variation: Variation = PAPER
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, key, value and rate of one position, from its inputs and the last output `[batch, heads, d]`."""
    query, key, value, beta = inputs
    recurrent_query, recurrent_key, recurrent_value, recurrent_beta = slow
    feedback = variation.squash(last)
    return (
        variation.phi(query + feed(feedback, recurrent_query)),
        variation.phi(key + feed(feedback, recurrent_key)),
        value + feed(feedback, recurrent_value),
        variation.rho(beta + (feedback * recurrent_beta).sum(-1)),
    )


def feed(feedback: Tensor, slow: Tensor) -> Tensor:
    """`h R` for each head: `[batch, heads, d] x [heads, d, d] -> [batch, heads, d]`."""
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
    variation: Variation = PAPER,
) -> Scan:
    """The definition: a loop over the positions."""
    slow = recurrent_query, recurrent_key, recurrent_value, recurrent_beta
    state, outputs = (weight, last), []
    for inputs in zip(query.unbind(1), key.unbind(1), value.unbind(1), beta.unbind(1), strict=True):
        output, state = step(state, inputs, slow, variation)
        outputs.append(output)
    return scan_of(outputs, value, (weight, last), state)


def loop(
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
    """The fastest PyTorch loop: one product for all feedback, one for both reads of W, and one `baddbmm` to update."""
    batch, time, heads, d = query.shape
    if not time:
        return scan_of([], value, (weight, last), (weight, last))
    joined = torch.cat([query, key, value, beta.unsqueeze(-1)], dim=-1)
    slow = torch.cat([recurrent_query, recurrent_key, recurrent_value, recurrent_beta.unsqueeze(-1)], dim=-1)
    weight, last, outputs = weight.flatten(0, 1), last.transpose(0, 1), []
    for at_time in joined.permute(1, 2, 0, 3).unbind(0):
        fed = torch.baddbmm(at_time, torch.tanh(last), slow).transpose(0, 1)
        logits, value, strength = fed.split([2 * d, d, 1], dim=-1)
        rows = logits.unflatten(-1, (2, d)).softmax(-1).flatten(0, 1)
        read = rows @ weight
        query, key = rows.split(1, dim=1)
        update = torch.sigmoid(strength).flatten(0, 1).unsqueeze(1) * (value.reshape(-1, 1, d) - read[:, 1:])
        weight = torch.baddbmm(weight, key.transpose(1, 2), update)
        output = torch.baddbmm(read[:, :1], query @ key.transpose(1, 2), update)
        last = output.view(batch, heads, d).transpose(0, 1)
        outputs.append(output)
    unfolded = torch.cat(outputs, dim=1).unflatten(0, (batch, heads)).transpose(1, 2)
    return Scan(unfolded, (weight.unflatten(0, (batch, heads)), last.transpose(0, 1)))


RULE = Rule(
    "recurrent_delta",
    reference,
    forms={"loop": loop},
    sequences={
        "query": "batch time heads d",
        "key": "batch time heads d",
        "value": "batch time heads d",
        "beta": "batch time heads",
    },
    slow={
        "recurrent_query": "heads d d",
        "recurrent_key": "heads d d",
        "recurrent_value": "heads d d",
        "recurrent_beta": "heads d",
    },
    state={"initial_weight": "sequences heads d d", "initial_output": "sequences heads d"},
    multiply_adds={"recurrent_delta": lambda d: 18 * d * d},
)
