"""The compiled CPU kernels; everything else about the package is in pyproject.toml."""

import platform
import sys

from setuptools import Extension, setup

FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
"""No -ffast-math or -Ofast: loading a library linked so would change the rounding of the whole process."""

LAYOUT_FLAGS = ["-fno-strict-aliasing", "-fvisibility=hidden", "-pthread"]


def variants() -> dict[str, list[str]]:
    """Suffix of each library and the flags of its instruction set."""
    if platform.machine().lower() in {"x86_64", "amd64"}:
        return {level: [f"-march=x86-64-{level}"] for level in ("v2", "v3", "v4")}
    return {"generic": []}


def kernels(variant: str, instruction_set: list[str]) -> Extension:
    """One library. It exports C symbols for ctypes and no Python module; without a compiler the install goes on."""
    return Extension(
        f"fwplab.ops.cpu._kernels_{variant}",
        sources=["src/fwplab/ops/cpu/kernels.cpp"],
        depends=[
            f"src/fwplab/ops/cpu/{name}.h"
            for name in ("elementwise", "order", "parallel", "problem", "products", "recurrent_delta", "srwm", "vector")
        ],
        extra_compile_args=FLAGS + LAYOUT_FLAGS + instruction_set,
        extra_link_args=["-pthread"],
        language="c++",
        optional=True,
    )


setup(ext_modules=[] if sys.platform == "win32" else [kernels(*variant) for variant in variants().items()])
