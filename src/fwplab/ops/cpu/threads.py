"""The number of threads of a kernel, and the limit of one thread in a forked process.

The kernels use PyTorch's OpenMP threads. A forked process does not have these threads, but OpenMP still tries to use
them, and waits for ever. So a forked process uses one thread, also for PyTorch's own operations.
"""

import os
from pathlib import Path

import torch

FORKED_WITHOUT_EXEC = 0x40
"""Linux's `PF_FORKNOEXEC` among the flags of a process."""

STATE = {"forked": False}


def threads() -> int:
    """PyTorch's number of threads; 1 in a forked process."""
    return 1 if STATE["forked"] else torch.get_num_threads()


def after_fork() -> None:
    """Runs first in a forked process: limits it to one thread."""
    STATE["forked"] = True
    torch.set_num_threads(1)


def was_forked() -> bool:
    """Whether this process was forked before this module was imported; False if the system does not say."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return False
    fields = stat.read_text().rpartition(")")[2].split()  # the name before it may contain spaces
    return bool(int(fields[6]) & FORKED_WITHOUT_EXEC)


STATE["forked"] = was_forked()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)
