"""Loads the compiled kernels. There is one library for each instruction set; the best that can run here is loaded."""

import ctypes
import functools
import os
import platform
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fwplab.errors import UserError

CHOICE = "FWPLAB_CPU_KERNELS"
"""The environment variable that selects a variant. The same variant gives the same bits on different processors."""

GENERIC = "generic"

X86_VARIANTS: Mapping[str, frozenset[str]] = {
    "v4": frozenset(
        {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}
    ),
    "v3": frozenset({"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}),
    "v2": frozenset({"sse4_2", "ssse3", "popcnt", "cx16"}),
}
"""The x86-64 levels, best first, with the processor flags (Linux's names) that each needs beyond the next lower one."""


@dataclass(frozen=True)
class Library:
    """A loaded library, and why it was chosen."""

    variant: str
    why: str
    path: Path
    functions: ctypes.CDLL
    register_bytes: int
    """The size of the registers it was compiled for."""


@dataclass(frozen=True)
class Missing:
    """The reason why no library can be used."""

    why: str


@functools.cache
def load() -> Library | Missing:
    """Loads the library, once in a process. Raises `UserError` if `FWPLAB_CPU_KERNELS` names one that cannot run."""
    runnable = runnable_variants()
    wanted = os.environ.get(CHOICE)
    if wanted:
        if wanted not in runnable or not path_of(wanted).exists():
            built = [variant for variant in runnable if path_of(variant).exists()]
            raise UserError(
                f"{CHOICE}={wanted!r} cannot be used here; choose from: {', '.join(built) or 'none is built'}"
            )
        return open_variant(wanted, f"{CHOICE} names it")
    for variant in runnable:
        if path_of(variant).exists():
            return open_variant(variant, f"the best built variant for this {platform.machine()} processor")
    return Missing(
        f"no compiled library for this processor (variants {', '.join(runnable)}) beside {Path(__file__).parent.name}/"
    )


def open_variant(variant: str, why: str) -> Library:
    """Loads one variant without a check of the processor."""
    path = path_of(variant)
    functions = ctypes.CDLL(str(path))
    return Library(variant, why, path, functions, int(functions.fwplab_register_bytes()))


def path_of(variant: str) -> Path:
    """The path of a variant's library."""
    return Path(__file__).with_name(f"_kernels_{variant}{sysconfig.get_config_var('EXT_SUFFIX')}")


def runnable_variants() -> list[str]:
    """The variants this processor can run, best first."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return [GENERIC]
    flags = processor_flags()
    return [variant for variant, needed in X86_VARIANTS.items() if needed <= flags]


def processor_flags() -> frozenset[str]:
    """The flags of this x86 processor, in Linux's names. On other systems those of the lowest level."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return X86_VARIANTS["v2"]
