"""The compiled CPU kernels; everything else about the package is in pyproject.toml."""

import copy
import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("src/fwplab/ops/cpu")
FLAGS = ["-std=c++17", "-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
"""No -ffast-math or -Ofast: loading a library linked so would change the rounding of the whole process."""

LAYOUT_FLAGS = ["-fno-strict-aliasing", "-fvisibility=hidden", "-pthread"]


class BuildVariants(build_ext):
    """Compiles the one source for every instruction set, side by side and each in a folder of its own."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extension(self, ext: Extension) -> None:
        own = copy.copy(self)
        own.build_temp = str(Path(self.build_temp) / ext.name)
        super(BuildVariants, own).build_extension(ext)


def variants() -> dict[str, list[str]]:
    """Suffix of each library and the flags of its instruction set."""
    if platform.machine().lower() in {"x86_64", "amd64"}:
        return {level: [f"-march=x86-64-{level}"] for level in ("v2", "v3", "v4")}
    return {"generic": []}


def rules() -> list[Path]:
    """The headers of the rules: those beside a Python file of the same name."""
    return [header for header in sorted(SOURCES.glob("*.h")) if header.with_suffix(".py").exists()]


def kernels(variant: str, instruction_set: list[str]) -> Extension:
    """One library. It exports C symbols for ctypes and no Python module; without a compiler the install goes on."""
    return Extension(
        f"fwplab.ops.cpu._kernels_{variant}",
        sources=[str(SOURCES / "kernels.cpp")],
        depends=[str(header) for header in sorted(SOURCES.glob("*.h"))],
        extra_compile_args=FLAGS + LAYOUT_FLAGS + instruction_set + [f"-include{rule}" for rule in rules()],
        extra_link_args=["-pthread"],
        language="c++",
        optional=True,
    )


setup(
    cmdclass={"build_ext": BuildVariants},
    ext_modules=[] if sys.platform == "win32" else [kernels(*variant) for variant in variants().items()],
)
