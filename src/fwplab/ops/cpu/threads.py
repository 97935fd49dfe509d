"""How many threads a kernel may take, and what a forked process may not.

The kernels work on the OpenMP threads of PyTorch. A process that was forked off has lost them, OpenMP in it does not
know, and whatever asks for them waits for ever: so a child works on one thread, PyTorch's own operations too.
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
    """What a child does first."""
    STATE["forked"] = True
    torch.set_num_threads(1)


def was_forked() -> bool:
    """Whether this process was forked off before this module was imported, as far as the system tells."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return False
    fields = stat.read_text().rpartition(")")[2].split()  # the name before it may hold spaces
    return bool(int(fields[6]) & FORKED_WITHOUT_EXEC)


STATE["forked"] = was_forked()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)
