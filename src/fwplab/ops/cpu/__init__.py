"""Compiled CPU kernels of the rules.

C++ behind a plain C interface, called through `ctypes` inside PyTorch custom operators (`fwplab::delta`,
`fwplab::recurrent_delta`, `fwplab::srwm`, `fwplab::elementwise`): forward, analytic backward, `torch.compile` and
`torch.func.vmap`, which folds the mapped members into the heads (`fwplab.ops.operator` has the way there). float32 and
float64; a result's bits do not depend on the number of threads.
"""

import torch

from fwplab.ops.cpu import library
from fwplab.ops.cpu.delta import delta, linear
from fwplab.ops.cpu.elementwise import elementwise
from fwplab.ops.cpu.recurrent_delta import recurrent_delta
from fwplab.ops.cpu.srwm import srwm

__all__ = ["available", "delta", "elementwise", "info", "linear", "recurrent_delta", "srwm"]


def available() -> bool:
    """Whether a library is built that this processor can run."""
    return isinstance(library.load(), library.Library)


# It looks at files and the processor, which cannot be traced. This is all that `torch.compiler.assume_constant_result`
# does, but calling that imports the compiler and with it Triton, which takes seconds.
available._dynamo_marked_constant = True  # type: ignore[attr-defined]


def info() -> dict[str, str | int | None]:
    """The variant in use (None where there is none), why, its path, and the threads a call may take."""
    loaded = library.load()
    built = loaded if isinstance(loaded, library.Library) else None
    return {
        "variant": built.variant if built else None,
        "why": loaded.why,
        "path": str(built.path) if built else None,
        "threads": torch.get_num_threads(),
    }
