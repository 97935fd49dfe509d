"""The rules as plain PyTorch loops in the style of the published code, the baseline of `ratio_published_loop`.

They index one position after the other, with one operation for each operation of the equation. Their tensor layout is
that of `fwplab.ops`, so that no transposition is timed.
"""

import torch
from torch import Tensor

from fwplab.ops import Scan


def linear(query: Tensor, key: Tensor, value: Tensor, state: Tensor) -> Scan:
    """`W += k^T v; o = q W`."""
    outputs = []
    for t in range(query.shape[1]):
        state = state + torch.einsum("bhi,bhj->bhij", key[:, t], value[:, t])
        outputs.append(torch.einsum("bhi,bhij->bhj", query[:, t], state))
    return Scan(torch.stack(outputs, dim=1), state)


def delta(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor) -> Scan:
    """`W = alpha W; W += beta k^T (v - k W); o = q W`."""
    outputs = []
    for t in range(query.shape[1]):
        if log_decay is not None:
            state = torch.exp(log_decay[:, t, :, None, None]) * state
        old = torch.einsum("bhi,bhij->bhj", key[:, t], state)
        update = beta[:, t, :, None] * (value[:, t] - old)
        state = state + torch.einsum("bhi,bhj->bhij", key[:, t], update)
        outputs.append(torch.einsum("bhi,bhij->bhj", query[:, t], state))
    return Scan(torch.stack(outputs, dim=1), state)


def recurrent_delta(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor,
    recurrent_query: Tensor,
    recurrent_key: Tensor,
    recurrent_value: Tensor,
    recurrent_beta: Tensor,
    state: Tensor,
    last: Tensor,
) -> Scan:
    """The delta rule with `h = tanh(o)` of the position before as a further input of query, key, value and beta."""
    outputs = []
    for t in range(query.shape[1]):
        h = torch.tanh(last)
        q = torch.softmax(query[:, t] + torch.einsum("bhi,hij->bhj", h, recurrent_query), dim=-1)
        k = torch.softmax(key[:, t] + torch.einsum("bhi,hij->bhj", h, recurrent_key), dim=-1)
        v = value[:, t] + torch.einsum("bhi,hij->bhj", h, recurrent_value)
        b = torch.sigmoid(beta[:, t] + torch.einsum("bhi,hi->bh", h, recurrent_beta))
        old = torch.einsum("bhi,bhij->bhj", k, state)
        state = state + torch.einsum("bhi,bhj->bhij", k, b[..., None] * (v - old))
        last = torch.einsum("bhi,bhij->bhj", q, state)
        outputs.append(last)
    return Scan(torch.stack(outputs, dim=1), (state, last))


def srwm(x: Tensor, w_y: Tensor, w_q: Tensor, w_k: Tensor, w_b: Tensor) -> Scan:
    """`y, q, k, b = x W; W_j += b_j k^T (q W_j - k W_j)` for the four blocks `W_j` of W."""
    blocks = [w_y, w_q, w_k, w_b]
    outputs = []
    for t in range(x.shape[1]):
        y, q, k, b = (torch.einsum("bhi,bhij->bhj", x[:, t], block) for block in blocks)
        q, k, b = torch.softmax(q, dim=-1), torch.softmax(k, dim=-1), torch.sigmoid(b)
        outputs.append(y)
        for j, block in enumerate(blocks):
            new = torch.einsum("bhi,bhij->bhj", q, block)
            old = torch.einsum("bhi,bhij->bhj", k, block)
            blocks[j] = block + torch.einsum("bhi,bhj->bhij", k, b[:, :, j, None] * (new - old))
    return Scan(torch.stack(outputs, dim=1), tuple(blocks))


def elementwise(z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor, cell: Tensor) -> Scan:
    """`c = f c + (1 - f) z`, where the gates f and z depend on the last c."""
    outputs = []
    for t in range(z.shape[1]):
        new = torch.tanh(z[:, t] + w_z * cell)
        forget = torch.sigmoid(f[:, t] + w_f * cell)
        cell = forget * cell + (1 - forget) * new
        outputs.append(cell)
    return Scan(torch.stack(outputs, dim=1), cell)
