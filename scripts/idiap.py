"""Compares linear attention with the CPU kernel of idiap's fast-transformers (arXiv 2006.16236), built from its source.

    python scripts/idiap.py FOLDER

FOLDER is the unpacked source distribution of pytorch-fast-transformers (0.4.0 was used). The script compiles its
`causal_product_cpu.cpp` with its own flags, and again for this machine's instruction set. It prints the milliseconds of
a forward and backward pass through autograd on one core (batch 64, length 100, medians, measured in turn), and the
ratio of the other kernel's time to ours. The other kernel takes no initial state. Its inputs are contiguous in its own
layout, `[batch, heads, time, d]`.
"""

import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils import cpp_extension

from fwplab import ops
from fwplab.benchmark import clock
from fwplab.benchmark.suite import machine

FLAGS = ["-O3", "-fopenmp", "-ffast-math"]
SHAPES = ((16, 4), (8, 8), (4, 16), (2, 32), (1, 64))


def build(source: Path, folder: Path, *flags: str) -> ModuleType:
    """Compiles and imports the other kernel."""
    name = "causal_product_cpu"
    target = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    folders = [*cpp_extension.include_paths(), sysconfig.get_path("include")]
    libraries = [f"-L{Path(torch.__file__).parent / 'lib'}", "-ltorch", "-ltorch_cpu", "-ltorch_python", "-lc10"]
    command = ["g++", "-std=c++20", "-shared", "-fPIC", f"-DTORCH_EXTENSION_NAME={name}", *FLAGS, *flags, str(source)]
    subprocess.run([*command, *(f"-I{path}" for path in folders), "-o", str(target), *libraries], check=True)
    spec = importlib.util.spec_from_file_location(name, target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def differentiable(kernel: ModuleType) -> Callable[..., Tensor]:
    """The kernel as an autograd function, as in its package."""

    class CausalProduct(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Tensor:
            ctx.save_for_backward(*inputs)
            product = torch.zeros_like(inputs[2])
            kernel.causal_dot_product(*inputs, product)
            return product

        @staticmethod
        def backward(ctx: Any, grad_output: Tensor) -> Any:
            gradients = [torch.zeros_like(tensor) for tensor in ctx.saved_tensors]
            kernel.causal_dot_backward(*ctx.saved_tensors, grad_output, *gradients)
            return tuple(gradients)

    return CausalProduct.apply


def passes(form: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], tuple[Tensor, ...]]:
    """A forward and a backward pass."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    cotangent = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1))
    return lambda: torch.autograd.grad(form(*leaves), leaves, cotangent)


def ours(*inputs: Tensor) -> Tensor:
    """Linear attention with the backend "auto"."""
    return ops.linear(*inputs).output


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/idiap.py FOLDER   (the unpacked source of pytorch-fast-transformers)")
    source = Path(sys.argv[1]) / "fast_transformers/causal_product/causal_product_cpu.cpp"
    with tempfile.TemporaryDirectory() as folder, clock.on_threads(1):
        built: dict[str, Callable[..., Tensor]] = {}
        for label, flags in (("theirs", ()), ("theirs native", ("-march=native",))):
            place = Path(folder, label.replace(" ", "_"))
            place.mkdir()
            built[label] = differentiable(build(source, place, *flags))
        own = machine()
        print(f"one core of {own['device']}; torch {own['torch']}; {own['date']}")
        print("shape   ours ms  theirs ms  ratio  theirs -march=native ms  ratio")
        for heads, width in SHAPES:
            inputs = [torch.randn(64, 100, heads, width) for _ in range(3)]
            turned = [tensor.transpose(1, 2).contiguous() for tensor in inputs]
            difference = built["theirs"](*turned).transpose(1, 2) - ours(*inputs)
            assert difference.abs().max() < 1e-2 * ours(*inputs).abs().max()
            calls = {"ours": passes(ours, inputs)} | {name: passes(form, turned) for name, form in built.items()}
            times = clock.medians(calls, rounds=21)
            mine, theirs, native = (1e3 * times[name] for name in ("ours", *built))
            shape = f"{heads}x{width}"
            print(f"{shape:6} {mine:8.2f} {theirs:10.2f} {theirs / mine:6.1f} {native:24.2f} {native / mine:6.1f}")
