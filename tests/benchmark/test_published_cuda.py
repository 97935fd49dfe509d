"""The benchmark of the published CUDA kernels, with fake packages of the same interface that compute with loops."""

import math
from pathlib import Path

import pytest
import torch

from fwplab.benchmark import gpu
from fwplab.benchmark.operators import Case, draw
from fwplab.benchmark.published_cuda import KERNELS, published_passes
from fwplab.cli import run
from fwplab.errors import UserError

PACKAGES = {
    "fast_transformers": """
        def fast_weight_sum(query, key, value, state):
            return output_of(published.linear(*map(swap, (query, key, value)), take(state)))
    """,
    "fast_weight": """
        def delta_net_fn(query, key, value, beta, state):
            return output_of(published.delta(*map(swap, (query, key, value)), swap(beta)[..., 0], None, take(state)))
    """,
    "rec_update_fwm_tanh": """
        def rec_delta_fn(query, key, value, beta, r_q, r_k, r_v, r_b, state, last):
            along = *map(swap, (query, key, value)), swap(beta)[..., 0]
            weights = r_q[0], r_k[0], r_v[0], r_b[0, :, 0]
            return output_of(published.recurrent_delta(*along, *weights, take(state), take(last)[:, :, 0]))
    """,
    "self_ref_v0": """
        def self_ref_v0(x, w_y, w_q, w_k, w_b):
            return output_of(published.srwm(swap(x), w_y, w_q, w_k, w_b))
    """,
}
HEAD = """
import torch
from fwplab.benchmark import published

def swap(tensor):
    return tensor.transpose(1, 2)

def output_of(scan):
    return FACTOR * swap(scan.output)

def take(state):
    before = state.clone()
    state.fill_(torch.nan)  # the kernels overwrite their states too; a second use of one fails the test
    return before
"""


def write_packages(folder: Path, factor: float = 1.0) -> Path:
    """Writes the fake packages. A `factor` other than 1 makes their results wrong."""
    for package, code in PACKAGES.items():
        (folder / package).mkdir(parents=True)
        text = HEAD.replace("FACTOR", str(factor)) + code.replace("\n        ", "\n")
        (folder / package / "__init__.py").write_text(text)
    return folder


@pytest.mark.parametrize("operator", [*KERNELS, "signed_delta"])
def test_the_kernels_get_their_own_layout(operator: str, tmp_path: Path) -> None:
    case = Case(operator, 2, 5)
    inputs = draw(case, batch=3, length=7)
    call = published_passes(case, inputs, write_packages(tmp_path))
    first, again = call(), call()
    assert all(map(torch.equal, first, again))
    learned = {"linear": 3, "delta": 4, "signed_delta": 4, "recurrent_delta": 8, "srwm": 5}[operator]
    assert len(first) == learned
    assert first[0].shape == (3, 2, 7, 5)


@pytest.mark.parametrize("operator", KERNELS)
def test_no_speed_is_reported_for_a_wrong_kernel(operator: str, tmp_path: Path) -> None:
    (row,) = gpu.measure(
        Case(operator, 2, 4),
        "cpu",
        batch=2,
        length=5,
        rounds=1,
        compiled=False,
        published=write_packages(tmp_path, 1.01),
    )
    assert "published_cuda: UserError: the published kernel differs from the reference (result 0)" in row.failed
    assert math.isnan(row.ratio_published_cuda)


def test_a_row_has_the_ratio_or_the_reason_why_not(tmp_path: Path) -> None:
    folder = write_packages(tmp_path)
    (row,) = gpu.measure(Case("srwm", 2, 4), "cpu", batch=2, length=5, rounds=1, compiled=False, published=folder)
    assert row.ratio_published_cuda > 0
    with pytest.raises(UserError, match="no kernel of gated_delta"):
        published_passes(Case("gated_delta", 2, 4), draw(Case("gated_delta", 2, 4), 2, 3), folder)


def test_a_folder_without_the_code_is_a_user_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["bench", "--published", str(tmp_path)]) == 2
    assert "is no clone of IDSIA/fwp-formal-lang: no fast_transformers, fast_weight" in capsys.readouterr().err
    assert run(["bench", "--published", str(write_packages(tmp_path / "code"))]) == 2
    assert "choose --device cuda" in capsys.readouterr().err
