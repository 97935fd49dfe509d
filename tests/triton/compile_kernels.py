"""Compiles the kernels of all rules to machine code, for a GPU that need not be present.

The interpreter accepts code that the compiler refuses, so that interpreting is not enough. The host code runs as in a
forward and a backward pass, but a launch only records its kernel and arguments. A test runs this file in a process of
its own, because one process either interprets or compiles: `compile_kernels.py CAPABILITY NAMES`.
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
    """Every kernel with the arguments of its last launch. With `packed`, the inputs are packed and bfloat16."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    triton.FOUND["why"] = None  # no kernel runs, so that no GPU is needed
    for rule in triton.rules():

        def record_launch(
            kernel: Any, programs: int, like: Tensor, *arguments: Any, rule: str = rule, **options: Any
        ) -> None:
            name = "_".join([rule, *kernel.fn.__name__.split("_")[:-1]])
            names = inspect.signature(kernel.fn).parameters
            found[name] = kernel, dict(zip(names, arguments, strict=False)) | options

        importlib.import_module(f"fwplab.ops.triton.kernels.{rule}").launch = record_launch  # type: ignore[attr-defined]
        dtype = torch.bfloat16 if packed else torch.float32
        use = self_check.Use(rule, torch.device("cpu"), dtype, 16, RULES[rule].optional, packed)
        self_check.by_kernels(use, self_check.draw(use))
    return found


def assemble(kernel: Any, given: dict[str, Any], capability: int) -> int:
    """Compiles a kernel for these arguments and returns the size of its machine code in bytes."""
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
