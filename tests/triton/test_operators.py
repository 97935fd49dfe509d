"""The Triton kernels as PyTorch operators: opcheck, tapes, error messages, compilation, lazy import, derivatives."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton as triton_itself
import triton.language as tl
from tests.ops.operators import operator_of
from tests.triton.cases import CASES, DEVICE, Rule, draw, kernel, largest_error, reference

from fwplab.errors import UserError
from fwplab.ops import triton
from fwplab.ops.triton.kernels import launch, numerics


def operator(name: str) -> torch._ops.OpOverload:
    """The forward operator of a case."""
    return getattr(torch.ops.fwplab, f"triton_{CASES[name].rule}").default


@pytest.mark.parametrize("bounds", [None, torch.tensor([0, 1, 3], device=DEVICE)], ids=["batch", "packed"])
@pytest.mark.parametrize("name", CASES)
def test_operators_pass_opcheck(name: str, bounds: torch.Tensor | None) -> None:
    inputs = draw(name, 1, 3, 1, 2, sequences=1 if bounds is None else 2)
    found, arguments = operator_of(kernel(name, bounds), *inputs)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(found.operator._opoverload, arguments, test_utils=checks)


@pytest.mark.parametrize("name", ["delta", "recurrent_delta", "srwm"])
def test_the_tape_is_empty_when_no_gradient_is_needed(name: str) -> None:
    importlib.import_module(f"fwplab.ops.triton.kernels.{name}")
    arguments, results = draw(name, 1, 3, 1, 2), 1 + CASES[name].states
    without, kept = (operator(name)(*arguments, None, keep)[results:] for keep in (False, True))
    assert all(tensor.numel() == 0 for tensor in without)
    assert any(tensor.numel() > 0 for tensor in kept)
    leaves = [None if a is None else a.requires_grad_() for a in arguments]
    output = operator(name)(*leaves, None, False)[0]
    with pytest.raises(RuntimeError, match="did not keep"):
        output.sum().backward()


def test_torch_compile_captures_one_graph() -> None:
    query, key, value, state = draw("linear", 1, 3, 1, 2)
    assert triton.available()
    compiled = torch.compile(kernel("linear"), backend="eager", fullgraph=True)
    assert torch.equal(compiled(query, key, value, state)[0], kernel("linear")(query, key, value, state)[0])


def test_wrong_shapes_and_dtypes_are_errors_that_name_them() -> None:
    query, key, value, state = draw("linear", 1, 3, 1, 2)
    with pytest.raises(UserError, match=r"linear: value is \[1, 2, 1, 2\]"):
        triton.run("linear", query, key, value[:, :2], state)
    with pytest.raises(UserError, match="choose from: float32, bfloat16, float64"):
        triton.run("linear", query.half(), key.half(), value.half(), state.float())
    with pytest.raises(UserError, match="float64 for all or none"):
        triton.run("linear", query, key.float(), value, state)
    with pytest.raises(UserError, match="width 1 to 128, not 129"):
        triton.run(
            "srwm", *(torch.zeros(1, 1, 1, 129), *(torch.zeros(1, 1, 129, columns) for columns in (129, 129, 129, 4)))
        )


def test_without_a_gpu_the_error_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "missing", lambda: "there is no GPU")
    assert not triton.available()
    assert triton.info()["why"] == "there is no GPU"
    assert triton.checked("linear") == "there is no GPU"
    with pytest.raises(UserError, match="there is no GPU; choose from: auto, reference"):
        triton.run("linear", *draw("linear", 1, 3, 1, 2))


def test_importing_the_package_does_not_import_triton() -> None:
    question = "import sys, fwplab.ops.triton as t; t.available(); print('triton' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_saved_states_of_packed_sequences_never_overlap() -> None:
    for lengths in ((5, 0, 16, 17, 1, 15), (16, 16), (0,), (33, 31)):
        bounds = torch.tensor([0, *lengths]).cumsum(0)
        rows = launch.saved_rows(torch.empty(1, int(bounds[-1]), 1, 1), bounds, 16)
        first = (start // 16 + index for index, start in enumerate(bounds.tolist()))
        own = [range(row, row - (-length // 16)) for row, length in zip(first, lengths, strict=False)]
        taken = [row for each in own for row in each]
        assert len(taken) == len(set(taken))
        assert all(row < rows for row in taken)


@pytest.mark.parametrize(
    ("capability", "names"),
    [("90", ()), ("80", ("linear", "recurrent_delta_backward"))],
    ids=["Hopper", "Ampere"],
)
def test_kernels_compile_for_a_gpu(capability: str, names: tuple[str, ...], tmp_path: Path) -> None:
    script, environment = Path(__file__).with_name("compile_kernels.py"), dict(os.environ)
    environment.pop("TRITON_INTERPRET", None)
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, str(script), capability, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    compiled = {line.split()[0] for line in done.stdout.splitlines()}
    assert (
        compiled == set(names) if names else all(any(n.startswith(rule) for n in compiled) for rule in triton.rules())
    )


@triton_itself.jit
def apply(x, tanh, sigmoid, softmax, BLOCK: tl.constexpr):  # noqa: N803
    place = tl.arange(0, BLOCK)
    given = tl.load(x + place)
    tl.store(tanh + place, numerics.tanh(given))
    tl.store(sigmoid + place, numerics.sigmoid(given))
    tl.store(softmax + place, numerics.softmax(given, BLOCK - 1, BLOCK))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tanh_sigmoid_and_softmax_from_zero_to_infinity(dtype: torch.dtype) -> None:
    sizes = torch.logspace(-30, 4, 255, dtype=torch.float64)
    x = torch.cat([-sizes.flip(0), torch.zeros(1), sizes, torch.zeros(1)]).to(DEVICE, dtype)
    found = [torch.empty_like(x) for _ in range(3)]
    apply[(1,)](x, *found, BLOCK=512)
    tiny, rounding = torch.finfo(dtype).tiny, torch.finfo(dtype).eps
    for result, wanted in zip(found, (x.double().tanh(), x.double().sigmoid()), strict=False):
        error = (result.double() - wanted).abs()
        units = 4 + x.double().abs() / 2 if DEVICE == "cuda" else 4.0  # a GPU computes exp(x) as 2^(x log2(e))
        assert bool((error <= units * rounding * wanted.abs() + 4 * tiny).all())
    assert float(found[2].sum()) == pytest.approx(1)
    assert float(found[2][-1]) == 0
    x[7] = torch.nan
    apply[(1,)](x, *found, BLOCK=512)
    assert found[0][7].isnan()
    assert found[1][7].isnan()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # raised inside PyTorch's forward mode
@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_every_order_and_mode_are_those_of_the_reference(name: str) -> None:
    arguments = draw(name, 1, 3, 1, 2)
    places = [place for place, argument in enumerate(arguments) if argument is not None]

    def derivatives(rule: Rule) -> list[torch.Tensor]:
        def score(*moving: torch.Tensor) -> torch.Tensor:
            now = list(arguments)
            for place, value in zip(places, moving, strict=True):
                now[place] = value
            return torch.stack([result.sin().sum() for result in rule(*now)]).sum()

        leaves = [argument.clone().requires_grad_() for argument in arguments if argument is not None]
        value = score(*leaves)
        (first,) = torch.autograd.grad(value, leaves[0], create_graph=True)
        second = torch.autograd.grad(value + first.square().sum(), leaves)
        plain = tuple(leaf.detach() for leaf in leaves)
        return [*second, *torch.func.jvp(score, plain, plain), *torch.func.grad(score, (0, 1))(*plain)]

    assert largest_error(derivatives(kernel(name)), derivatives(reference(name))) < 1e-10
