"""Which requests the explorer answers, and to which names."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from fwplab.app.server import HEADERS, Door, names_of

Message = MutableMapping[str, Any]


async def _page(scope: Message, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await receive()
        return
    headers = [(b"content-type", b"text/html"), (b"Content-Security-Policy", b"default-src *")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def ask(door: Door, kind: str = "http", **headers: str) -> Message:
    """The first message of the answer to a request with these headers."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.disconnect"}

    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    asyncio.run(door({"type": kind, "headers": pairs}, receive, send))
    return sent[0]


LOCAL = Door(_page, names_of("127.0.0.1"))
EVERYWHERE = Door(_page, names_of("0.0.0.0"))


@pytest.mark.parametrize("host", ["127.0.0.1:8501", "localhost:8501", "LOCALHOST", "[::1]:8501", "localhost:9000"])
def test_own_names_are_answered(host: str) -> None:
    assert ask(LOCAL, host=host)["status"] == 200
    assert ask(LOCAL, host=host, origin=f"http://{host}")["status"] == 200
    assert ask(LOCAL, "websocket", host=host, origin=f"http://{host}")["type"] == "websocket.accept"


FOREIGN_HOSTS = [
    *("evil.example", "evil.example:8501", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::1", "10.0.0.1"),
    *("localhost@evil.example", "evil.example@localhost", "localhost:x", "localhost/evil", "localhost#", "localhost?a"),
    *("127.0.0.1 evil.example", "localhost,evil.example", "127.1", "2130706433", "loc\xe4lhost", "localhost:99999"),
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_foreign_hosts_are_refused(host: str) -> None:
    assert ask(LOCAL, host=host)["status"] == 403
    assert ask(LOCAL, "websocket", host=host)["type"] == "websocket.close"
    assert ask(LOCAL, "websocket", host=host, origin=f"http://{host}")["type"] == "websocket.close"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost:8501", "http://127.0.0.1", "null", "", "file://", "http://"]
)
def test_foreign_origins_are_refused(origin: str) -> None:
    assert ask(LOCAL, host="127.0.0.1:8501", origin=origin)["status"] == 403
    assert ask(LOCAL, "websocket", host="127.0.0.1:8501", origin=origin)["type"] == "websocket.close"


def test_one_host_is_needed() -> None:
    assert ask(LOCAL)["status"] == 403
    assert ask(LOCAL, host="localhost", Host="evil.example")["status"] == 403
    assert ask(LOCAL, host="localhost", origin="http://localhost", Origin="http://evil.example")["status"] == 403


def test_a_server_on_all_addresses_answers_to_addresses_and_not_to_names() -> None:
    assert ask(EVERYWHERE, host="192.0.2.7:8501")["status"] == 200
    assert ask(EVERYWHERE, host="[2001:db8::7]:8501")["status"] == 200
    assert ask(EVERYWHERE, host="evil.example:8501")["status"] == 403
    assert ask(EVERYWHERE, host="*")["status"] == 403
    assert ask(Door(_page, names_of("lab.example")), host="LAB.example:8501")["status"] == 200


def test_answers_carry_the_policy_once() -> None:
    headers = ask(LOCAL, host="localhost")["headers"]
    names = [name.decode().lower() for name, _ in headers]
    for name, value in HEADERS.items():
        assert names.count(name) == 1
        assert (name.encode(), value.encode()) in headers
    assert "http" not in HEADERS["content-security-policy"]


def test_no_more_sessions_than_allowed_are_open() -> None:
    door = Door(_page, names_of("127.0.0.1"), most=2)
    kinds: list[str] = []

    async def open_sessions() -> None:
        end = asyncio.Event()

        async def session() -> None:
            async def send(message: Message) -> None:
                kinds.append(message["type"])

            async def receive() -> Message:
                await end.wait()
                return {"type": "websocket.disconnect"}

            await door({"type": "websocket", "headers": [(b"host", b"localhost")]}, receive, send)

        tasks = [asyncio.create_task(session()) for _ in range(3)]
        await asyncio.sleep(0.01)
        end.set()
        await asyncio.gather(*tasks)

    asyncio.run(open_sessions())
    assert sorted(kinds) == ["websocket.accept", "websocket.accept", "websocket.close"]
    assert ask(door, "websocket", host="localhost")["type"] == "websocket.accept"
