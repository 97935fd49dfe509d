"""Names of processes. They distinguish leftovers of a killed process from the work of a running one."""

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path


def this_process() -> str:
    """A unique name of this process over all machines and times: `place-number-start`."""
    return f"{_place()}-{os.getpid()}-{_start(os.getpid())}"


def has_ended(name: str) -> bool:
    """Whether the process with this name has certainly ended.

    The answer is False for a process of another machine, or of another container, because it may still be running.
    """
    place, _, rest = name.partition("-")
    number, _, start = rest.partition("-")
    return place == _place() and number.isdecimal() and _start(int(number)) != start


@cache
def _place() -> str:
    """A digest of this machine, its last boot, and its namespace of process ids (a container has its own)."""
    facts = [os.uname().nodename if hasattr(os, "uname") else ""]
    with suppress(OSError):
        facts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


def _start(number: int) -> str:
    """The start time of a process in clock ticks; "ended" if there is no such process."""
    try:
        after_name = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists() or not _exists(number):
            return "ended"
        return "0"
    return "ended" if after_name[0] == "Z" else after_name[19]


def _exists(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
