"""The time to answer and the memory of the explorer's server when many sessions open their pages at the same time.

    python scripts/sessions.py [SESSIONS]

A session is a websocket that asks for one page, as a browser does. The sessions ask for the pages in turn.
"""

import asyncio
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

PAGES = ("ladder", "runs", "reader", "automaton", "language")
ANSWER_SECONDS = 600
LARGEST_MESSAGE = 2**27


@dataclass(frozen=True)
class Session:
    """One page that was opened."""

    page: str
    seconds: float
    """From the connection to the end of its script."""
    messages: list[ForwardMsg]
    """What the server sent."""


@contextmanager
def server(**environment: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running explorer and its port. `environment` adds variables to those of this process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "fwplab", "explore", "--port", str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if process.poll() is not None:
                raise RuntimeError(process.communicate()[1])
            time.sleep(0.1)
        yield process, port
    finally:
        process.terminate()
        process.communicate(timeout=60)


async def visit(port: int, page: str) -> Session:
    """Opens a page and waits until it is drawn."""
    began, messages = time.perf_counter(), []
    async with connect(
        f"ws://127.0.0.1:{port}/_stcore/stream",
        origin=f"http://127.0.0.1:{port}",
        subprotocols=["streamlit"],
        max_size=LARGEST_MESSAGE,
        open_timeout=ANSWER_SECONDS,
        ping_timeout=ANSWER_SECONDS,
    ) as socket_:
        ask = BackMsg()
        ask.rerun_script.page_name = page
        await socket_.send(ask.SerializeToString())
        async for data in socket_:
            messages.append(ForwardMsg.FromString(data))
            if messages[-1].WhichOneof("type") == "script_finished":
                break
        return Session(page, time.perf_counter() - began, messages)


async def visit_all(port: int, sessions: int) -> list[Session]:
    """Opens that many pages at the same time."""
    return await asyncio.gather(*(visit(port, PAGES[index % len(PAGES)]) for index in range(sessions)))


def memory(process: int, field: str) -> int:
    """A field of the process's status, such as VmRSS (now) or VmHWM (at most so far), in MiB."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) // 1024


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with server() as (process, port):
        print(f"server: {memory(process.pid, 'VmRSS')} MiB when it listens")
        for visits in ("first", "second"):
            done = asyncio.run(asyncio.wait_for(visit_all(port, count), ANSWER_SECONDS))
            waits = [session.seconds for session in done]
            print(
                f"{count} sessions at once, {visits} time: median {statistics.median(waits):.1f} s, slowest "
                f"{max(waits):.1f} s to the end of a page; {memory(process.pid, 'VmHWM')} MiB at most, "
                f"{memory(process.pid, 'VmRSS')} MiB afterwards"
            )


if __name__ == "__main__":
    main()
