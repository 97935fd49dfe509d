"""The web server of the explorer: which requests it answers, and what the browser may do with the answers.

A page of another site in the same browser can send requests to this server too. So a request is answered only if its
Host is a name of this server, and if its Origin, where it has one, is the page's own address. The answers carry a
policy under which the browser fetches nothing from elsewhere, whatever a page holds.
"""

import gc
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from importlib.resources import as_file, files
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from fwplab.errors import UserError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_SESSIONS = 64
"""How many pages may be open at the same time."""
LARGEST_MESSAGE = 8 * 2**20
"""The largest message of a page in bytes; the longest string of the Reader fits."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "style-src 'self' 'unsafe-inline'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # Streamlit's page; Vega compiles its expressions
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
SETTINGS: dict[str, object] = {
    "browser.gatherUsageStats": False,
    "client.allowedOrigins": [],
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "logger.level": "warning",
    "runner.postScriptGC": False,  # it takes 0.3 s a page to look through all records and PyTorch
    "server.disconnectedSessionTTL": 30,
    "server.enableAgentApi": False,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 1,
}
"""Streamlit's settings. They precede the user's own file of settings."""


def set_streamlit() -> None:
    """Gives Streamlit its settings. Raises `UserError` if its version has no such setting."""
    from streamlit import config
    from streamlit.web.bootstrap import load_config_options

    try:
        load_config_options(dict(SETTINGS))
        wrong = [name for name, value in SETTINGS.items() if config.get_option(name) != value]
    except RuntimeError as error:
        raise UserError(f"this version of Streamlit lacks a setting ({error}); choose another version") from error
    if wrong:
        raise UserError(f"this version of Streamlit does not take the settings {', '.join(wrong)}; choose another")


def serve(host: str, port: int, ready: Callable[[], None]) -> None:
    """Serves the pages until the process is told to end.

    ready: called when the server listens.
    """
    from streamlit.starlette import App

    gc.freeze()  # what was loaded until now stays, so that the garbage collector need not look through it
    with as_file(files("fwplab") / "app" / "main.py") as script:
        config = uvicorn.Config(
            Door(App(script), names_of(host)),
            host,
            port,
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            ws_max_size=LARGEST_MESSAGE,
        )
        listening = config.bind_socket()
        listening.listen()  # a browser that is opened now waits until the server has started
        ready()
        uvicorn.Server(config).run([listening])


def names_of(host: str) -> tuple[str, ...]:
    """The names by which a server that listens on `host` may be asked. Names of the whole Internet are not looked up.

    If it listens on all addresses, "*" stands for any address in numbers: no name of another site is one.
    """
    names = {host.lower(), *LOOPBACK}
    try:
        everywhere = ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    return tuple(sorted(names | ({"*", socket.gethostname().lower()} if everywhere else set())))


class Door:
    """Answers requests to a server of these names from its own pages, and refuses all others with status 403.

    application: what answers them.
    names: as `names_of` gives them.
    most: how many websockets may be open; others are refused.
    """

    def __init__(self, application: Application, names: Iterable[str], most: int = MOST_SESSIONS) -> None:
        self.application, self.names, self.most = application, frozenset(names), most
        self.sessions = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
        elif not self.is_own(scope["headers"]):
            await _refuse(scope, send)
        elif scope["type"] == "websocket":
            await self._session(scope, receive, send)
        else:
            await self.application(scope, receive, _with_headers(send))

    async def _session(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.sessions >= self.most:
            await _refuse(scope, send)
            return
        self.sessions += 1
        try:
            await self.application(scope, receive, send)
        finally:
            self.sessions -= 1

    def is_own(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers is for this server, and from one of its pages or no page at all."""
        found: dict[str, list[str]] = {"host": [], "origin": []}
        for name, value in headers:
            found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts, origins = found["host"], found["origin"]
        if len(hosts) != 1 or not self._is_name(hosts[0]):
            return False
        return all(
            origin.lower() in (f"http://{hosts[0]}".lower(), f"https://{hosts[0]}".lower()) for origin in origins
        )

    def _is_name(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port  # the port raises ValueError if it is none
        except ValueError:
            return False
        if name is None or parts.netloc != host or "@" in host:
            return False
        if name in self.names - {"*"}:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return "*" in self.names


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: status 403
        return
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"This address is not one of the explorer's.\n"})


def _with_headers(send: Send) -> Send:
    """`send` with `HEADERS` in place of the application's headers of these names."""

    async def decorated(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0].decode("latin-1").lower() not in HEADERS]
            message["headers"] = [*kept, *((name.encode(), value.encode()) for name, value in HEADERS.items())]
        await send(message)

    return decorated
