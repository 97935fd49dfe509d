"""Compiled CPU kernels of the rules, a file a rule beside its C++ header.

C++ behind a plain C interface, called through `ctypes` inside PyTorch custom operators (`fwplab::delta` and so on):
forward, analytic backward, `torch.compile` and `torch.func.vmap`, which folds the mapped members into the heads
(`fwplab.ops.operator` has the way there). float32 and float64; a result's bits do not depend on the number of threads.
"""

from fwplab.ops.cpu import library
from fwplab.ops.cpu.threads import threads

__all__ = ["available", "info"]


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
        "threads": threads(),
    }
