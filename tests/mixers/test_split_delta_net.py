"""The delta rule with separate gates to erase and to write: its equation, and very small and equal gates."""

import pytest
import torch
from torch import Tensor

from fwplab.mixers._fast_weight import FastWeightMixer
from fwplab.mixers.split_delta_net import LEAST_ERASE, SplitDeltaNet
from fwplab.model.model import ModelSpec, build


def layer(dtype: torch.dtype, **switches: float) -> FastWeightMixer:
    """A layer of two heads whose gates depend on the head and the input."""
    made = build(SplitDeltaNet(**switches), ModelSpec(hidden=8, layers=1, heads=2), 3, 2, seed=0).to(dtype).mixers[0]
    assert isinstance(made, FastWeightMixer)
    return made


def inputs(dtype: torch.dtype) -> Tensor:
    return torch.randn(2, 9, 8, dtype=dtype, generator=torch.Generator().manual_seed(0))


def equation(made: FastWeightMixer, x: Tensor, slope: float) -> Tensor:
    """`W <- W + k^T (w v - e k W)`, `o = q W`, computed for one string, head and position at a time."""
    d = 4
    slow = made.slow_net(made.layer_norm(x)).unflatten(-1, (2, 3 * d + 2))
    rows = []
    for string in range(x.shape[0]):
        for head in range(2):
            weight = torch.zeros(d, d, dtype=x.dtype)
            for position in range(x.shape[1]):
                q, k, v, e, w = slow[string, position, head].split([d, d, d, 1, 1])
                q, k = (torch.where(part > 0, part + 1, part.exp()) for part in (q, k))
                q, k = q / q.sum(), k / k.sum()
                erase = 1 / (1 + torch.exp(-(slope * e + made.erase_bias[head])))
                write = 1 / (1 + torch.exp(-(w + made.write_bias[head])))
                weight = weight + torch.outer(k, write * v - erase * (k @ weight))
                rows.append(q @ weight)
    outputs = torch.stack(rows).view(x.shape[0], 2, x.shape[1], d).transpose(1, 2).flatten(-2)
    return x + outputs @ made.out_linear.weight.T


@pytest.mark.parametrize("bias", [-12.0, -6.0, 0.0, 4.0])
def test_outputs_and_gradients_equal_the_equation(bias: float) -> None:
    made = layer(torch.float64, erase_bias=bias, write_bias=0.5, gate_scale=2.0, erase_slope=1.5)
    x = inputs(torch.float64)
    weights = [x.requires_grad_(), *made.parameters()]
    output, expected = made(x)[0], equation(made, x, slope=1.5)
    # The layer computes with the value w v / e, up to e^12 times the write. Multiplying by e again scales its rounding
    # error back to that of the write.
    torch.testing.assert_close(output, expected, rtol=1e-11, atol=1e-13)
    gradients = [torch.autograd.grad(each.square().sum(), weights) for each in (output, expected)]
    for found, right in zip(*gradients, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-11)


def test_a_closed_erase_gate_gives_a_sum_and_finite_gradients() -> None:
    """For any logit below `LEAST_ERASE`, even -1e6, the layer uses that gate, which erases less than float32 rounds."""
    x, outputs = inputs(torch.float32), []
    for bias in (LEAST_ERASE - 1, -200.0, -1e6):
        made = layer(torch.float32, erase_bias=bias, gate_scale=0.0)
        output = made(x)[0]
        assert all(part.isfinite().all() for part in torch.autograd.grad(output.sum(), list(made.parameters())))
        outputs.append(output)
        exact = equation(made.double(), x.double(), slope=6.0)
        # 9 writes, each rounded a few times in float32. Each erases a share of 2e-9, which is far below the rounding.
        torch.testing.assert_close(output.double(), exact, rtol=0, atol=9 * 8 * torch.finfo(torch.float32).eps)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_equal_gates_give_the_delta_rule() -> None:
    """With `w = e` the value is `v`, and the layer is DeltaNet with the rate `e`."""
    made, x = layer(torch.float64, erase_bias=-2.0, write_bias=-2.0, erase_slope=1.0), inputs(torch.float64)
    rows = made.slow_net.weight.unflatten(0, (2, -1))
    with torch.no_grad():
        rows[:, 13] = rows[:, 12]
    projected = made.project(made.layer_norm(x))
    _, _, value, rate = made.features(projected)
    torch.testing.assert_close(value, projected.value, rtol=1e-13, atol=0)
    torch.testing.assert_close(rate, torch.sigmoid(projected.rates[0] - 2))
