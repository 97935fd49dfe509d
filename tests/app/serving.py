"""A server of the explorer for tests, which writes down every network call of its process."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts import sessions

WATCH = """
import json, os, sys

CALLS = "connect sendto sendmsg bind getaddrinfo gethostbyname gethostbyaddr"
EVENTS = {f"socket.{call}" for call in CALLS.split()}


def watch(event, arguments):
    if event in EVENTS:
        plain = [event, *(argument for argument in map(repr, arguments))]
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(json.dumps(plain) + "\\n")


sys.addaudithook(watch)
"""
"""Python imports it before anything else. An audit hook cannot be removed, and sees the calls of every library."""
LOCAL = ("'127.0.0.1'", "'localhost'", "'::1'", "''", "None", "AF_UNIX")


@contextmanager
def watched_server(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """The process and the port of a server, and the file with its network calls."""
    (folder / "sitecustomize.py").write_text(WATCH)
    log = folder / "network.log"
    log.touch()
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    with sessions.server(PYTHONPATH=path, NETWORK_LOG=str(log)) as (process, port):
        yield process.pid, port, log


def calls(log: Path) -> list[list[str]]:
    """The network calls of the server so far."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def calls_outside(log: Path) -> list[list[str]]:
    """Those of them that name another address than the loopback's."""
    return [call for call in calls(log) if not any(name in " ".join(call[1:]) for name in LOCAL)]
