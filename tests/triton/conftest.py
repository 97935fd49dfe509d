"""Without a GPU, Triton's interpreter runs the kernels. It must be chosen before Triton is imported."""

import os
import sys
from typing import Any

import pytest
import torch

from fwplab.ops import triton

if not torch.cuda.is_available():
    if "triton" in sys.modules and not triton.interpreted():
        raise RuntimeError(
            "Triton was imported before these tests could choose its interpreter: set TRITON_INTERPRET=1"
        )
    os.environ["TRITON_INTERPRET"] = "1"
    triton.FOUND.clear()

pytest.importorskip("triton", reason="Triton is not installed")

from triton.runtime import interpreter

patch_tensor, patch_language, launch = (
    interpreter._patch_lang_tensor,
    interpreter._patch_lang,
    interpreter.GridExecutor.__call__,
)
patched: dict[int, Any] = {}
"""The modules that are patched during a launch, by the id of their globals."""


def patch_tensor_for_numpy(tensor: Any, *scope: Any) -> None:
    """Triton before 3.7 converts the bounds of `range` in a way that numpy 2.4 and later refuse."""
    patch_tensor(tensor, *scope)
    tensor.__index__ = lambda self: int(self.handle.data.item())


def call_function(self: Any, *arguments: Any, **options: Any) -> Any:
    """Calls a function from a kernel. Triton would patch its language again at each call: 5/6 of the time."""
    scope = id(self.fn.__globals__)
    if scope not in patched:
        patched[scope] = patch_language(self.fn)
    return self.rewrite()(*arguments, **options)


def launch_once_patched(self: Any, *arguments: Any, **options: Any) -> None:
    """Launches a kernel. The launch restores all patches, so that the next one must patch again."""
    patched.clear()
    launch(self, *arguments, **options)


interpreter._patch_lang_tensor = patch_tensor_for_numpy
interpreter.InterpretedFunction.__call__ = call_function
interpreter.GridExecutor.__call__ = launch_once_patched
