"""Compiles kernels for a GPU that need not be there, down to its machine code: the interpreter accepts more than that.

Run by a test in a process of its own, as Triton either interprets or compiles: `compile_kernels.py CAPABILITY NAMES`.
"""

import inspect
import re
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fwplab.ops.triton.kernels import delta, elementwise, launch, linear, recurrent_delta, srwm

TILES = launch.tiling(16, 16, widest=16)
CHUNKS = {**TILES, "CHUNK": delta.CHUNK, "DOUBLINGS": delta.CHUNK.bit_length() - 2, "GATED": True}
KERNELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "linear": (linear.kernel, {**TILES, "CHUNK": linear.CHUNK, "REVERSE": True}),
    "delta_forward": (delta.forward_kernel, {**CHUNKS, "KEEP": True}),
    "delta_backward": (delta.backward_kernel, CHUNKS),
    "recurrent_delta_forward": (recurrent_delta.forward_kernel, {**recurrent_delta.options(16), "KEEP": True}),
    "recurrent_delta_backward": (recurrent_delta.backward_kernel, recurrent_delta.options(16)),
    "srwm_forward": (srwm.forward_kernel, {**srwm.options(16), "KEEP": True}),
    "srwm_backward": (srwm.backward_kernel, srwm.options(16)),
    "elementwise_forward": (elementwise.forward_kernel, elementwise.options(16)),
    "elementwise_backward": (elementwise.backward_kernel, elementwise.options(16)),
}
INPUTS = {"query", "key", "value", "beta", "log_decay", "x", "z", "f", "grad_output"}


def assemble(name: str, capability: int, packed: bool) -> int:
    """The size of a kernel's machine code; `packed` also stands for bfloat16 inputs and a single head."""
    kernel, settings = KERNELS[name]
    warps = settings["num_warps"]
    constants = {"PACKED": packed} | {key: value for key, value in settings.items() if key.isupper()}
    constants |= {"heads": 1} if packed else {"cu_seqlens": None}
    signature = {}
    for parameter in inspect.signature(kernel.fn).parameters:
        if parameter in constants:
            signature[parameter] = "constexpr"
        elif parameter == "cu_seqlens":
            signature[parameter] = "*i64"
        elif re.fullmatch(r"time|heads|positions|._(batch|time|head)", parameter):
            signature[parameter] = "i32"
        else:
            signature[parameter] = "*bf16" if packed and parameter in INPUTS else "*fp32"
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    target = GPUTarget("cuda", capability, 32)
    return len(triton.compile(source, target=target, options={"num_warps": warps, "num_stages": 1}).asm["cubin"])


if __name__ == "__main__":
    for name in sys.argv[2:] or KERNELS:
        print(name, assemble(name, int(sys.argv[1]), packed=bool(sys.argv[2:])))
