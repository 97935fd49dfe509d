"""Compiles the kernels of all rules for a GPU that need not be there, down to its machine code: the interpreter accepts
more than that.

The host code runs as for a forward and a backward pass, but each launch is only entered. Run by a test in a process of
its own, as Triton either interprets or compiles: `compile_kernels.py CAPABILITY NAMES`.
"""

import importlib
import inspect
import sys
from typing import Any

import torch
import triton as triton_itself
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fwplab.ops import RULES, triton
from fwplab.ops.triton import self_check

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64", torch.uint8: "*u8"}


def launches(packed: bool) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every kernel with its last arguments, by rule and function; `packed` also stands for bfloat16 inputs."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    triton.FOUND["why"] = None  # nothing is run, so that no GPU is needed
    for rule in triton.rules():

        def enter(kernel: Any, programs: int, like: Tensor, *arguments: Any, rule: str = rule, **options: Any) -> None:
            name = "_".join([rule, *kernel.fn.__name__.split("_")[:-1]])
            names = inspect.signature(kernel.fn).parameters
            found[name] = kernel, dict(zip(names, arguments, strict=False)) | options

        importlib.import_module(f"fwplab.ops.triton.kernels.{rule}").launch = enter  # type: ignore[attr-defined]
        dtype = torch.bfloat16 if packed else torch.float32
        use = self_check.Use(rule, torch.device("cpu"), dtype, 16, RULES[rule].optional, packed)
        self_check.by_kernels(use, self_check.draw(use))
    return found


def assemble(kernel: Any, given: dict[str, Any], capability: int) -> int:
    """The size of a kernel's machine code for these arguments."""
    options = {name: given.pop(name) for name in ("num_warps", "num_stages") if name in given}
    fixed = {name for name, value in given.items() if name.isupper() or value is None}
    fixed |= {name for name, value in given.items() if isinstance(value, int) and value == 1}
    signature = {
        name: "constexpr" if name in fixed else TYPES[value.dtype] if isinstance(value, Tensor) else "i32"
        for name, value in given.items()
    }
    source = ASTSource(kernel, signature=signature, constexprs={name: given[name] for name in fixed})
    target = GPUTarget("cuda", capability, 32)
    return len(triton_itself.compile(source, target=target, options=options).asm["cubin"])


if __name__ == "__main__":
    wanted = sys.argv[2:]
    for name, (kernel, given) in launches(packed=bool(wanted)).items():
        if not wanted or name in wanted:
            print(name, assemble(kernel, given, int(sys.argv[1])))
