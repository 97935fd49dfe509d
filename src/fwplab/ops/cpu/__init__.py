"""Compiled CPU kernels of the rules. A rule has a C++ header and a Python file of the same name.

The kernels have a plain C interface, which `ctypes` calls inside PyTorch operators (`fwplab::delta` and so on, see
`fwplab.ops.operator`). They have a forward pass and an analytic backward pass, in float32 and float64. They work with
`torch.compile`, and with `torch.func.vmap`, which folds the mapped dimension into the heads. The bits of a result do
not depend on the number of threads.
"""

from fwplab.ops.cpu import library
from fwplab.ops.cpu.threads import threads

__all__ = ["available", "info"]


def available() -> bool:
    """Whether there is a compiled library that this processor can run."""
    return isinstance(library.load(), library.Library)


# `torch.compile` cannot trace `available`, which reads files. `torch.compiler.assume_constant_result` only sets this
# flag, but calling it imports the compiler and Triton, which takes seconds.
available._dynamo_marked_constant = True  # type: ignore[attr-defined]


def info() -> dict[str, str | int | None]:
    """The library in use (None if there is none), the reason for the choice, its path, and the number of threads."""
    loaded = library.load()
    built = loaded if isinstance(loaded, library.Library) else None
    return {
        "variant": built.variant if built else None,
        "why": loaded.why,
        "path": str(built.path) if built else None,
        "threads": threads(),
    }
