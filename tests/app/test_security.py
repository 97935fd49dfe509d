"""A real server with hostile files: no call to the outside, no markup from files, no file but the store's, no crowd."""

import asyncio
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.text_format import MessageToString
from scripts import sessions
from tests.app.serving import calls, calls_outside, watched_server
from tests.app.test_text import HOSTILE
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from fwplab.storage.archive import shipped_checkpoints
from fwplab.training.checkpoint import load_checkpoint, read_header, write_tensors

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
SECRET = "a file that is not in the store"
TIMEOUT = 60_000
MEMORY_OF_SESSIONS = 400
"""MiB for fifty sessions. With no bound it was 850 for fifty (`scripts/sessions.py` before this test)."""


def hostile_checkpoints(runs: Path) -> None:
    """Checkpoints with texts in every part of their headers, one with an unknown rule, one without a weight."""
    source = shipped_checkpoints()[0]
    weights = load_checkpoint(source).weights

    def write(name: str, change: Any, tensors: Any = weights) -> None:
        header = json.loads(json.dumps(read_header(source)))
        change(header)
        folder = runs / name
        folder.mkdir(parents=True)
        write_tensors(folder / "seed-0-paper.safetensors", tensors, header)

    write("0" * 16, lambda header: header["run"].update(language=HOSTILE))
    write("1" * 16, lambda header: header["run"].update({HOSTILE: HOSTILE}))
    write("2" * 16, lambda header: header.update(rule=HOSTILE))
    write("3" * 16, lambda header: header.update(rule="best"))
    write("4" * 16, lambda header: header["run"]["mixer"].update({HOSTILE: 1}))
    write("5" * 16, lambda header: None, {})
    named = runs / ("6" * 16) / "seed-:smile: $x$ <b>b<b> `c` **d**.safetensors"
    named.parent.mkdir()
    named.write_bytes(b"no checkpoint")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, Path]]:
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.txt").write_text(SECRET)
    hostile_checkpoints(folder / "home" / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FWPLAB_HOME", str(folder / "home"))
        patch.setenv("FWPLAB_DOCTOR", "off")
        with watched_server(folder) as found:
            yield found


def visit(port: int, page: str) -> str:
    """What the server sends for a page, as text."""
    done = asyncio.run(asyncio.wait_for(sessions.visit(port, page), 120))
    return "\n".join(MessageToString(message, as_utf8=True) for message in done.messages)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium from the distribution")
def test_no_page_asks_anybody_else_and_files_are_shown_as_text(server: tuple[int, int, Path]) -> None:
    _, port, log = server
    address, asked, errors = f"http://127.0.0.1:{port}", list[str](), list[str]()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_default_timeout(TIMEOUT)
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("websocket", lambda opened: asked.append(opened.url))
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        for page in sessions.PAGES:
            tab.goto(f"{address}/{'' if page == 'ladder' else page}")
            tab.get_by_role("heading", level=1).wait_for()
            tab.wait_for_function(
                "document.querySelector('[data-testid=stApp]').dataset.testScriptState==='notRunning'"
            )
            tab.wait_for_timeout(1_000)
            if page in ("reader", "automaton"):
                _has_the_hostile_texts(tab)
            if page == "reader":
                field = tab.get_by_role("textbox", name="string over")
                field.fill(HOSTILE)
                field.press("Enter")
                tab.get_by_text("is outside the alphabet").wait_for()
            if page == "language":
                field = tab.get_by_role("textbox", name="a string over")
                field.fill(":smile:![x](http://example.invalid/x.png)")
                field.press("Enter")
                tab.get_by_text("is outside the alphabet").wait_for()
            _has_no_markup(tab)
        browser.close()
    others = [url for url in asked if not url.startswith((f"{address}/", f"ws://127.0.0.1:{port}/", "data:", "blob:"))]
    assert others == []
    assert len(asked) > 20
    refused = [error for error in errors if "404" not in error]  # Streamlit looks for itself below each page's path
    assert refused == []
    assert any(call[0] == "socket.bind" for call in calls(log)), "the watch sees nothing"
    assert calls_outside(log) == []


def _has_the_hostile_texts(tab: Any) -> None:
    """The names that hostile checkpoints hold are on the page, letter by letter, and the others are listed."""
    tab.get_by_text("6" * 16).wait_for()
    tab.get_by_role("combobox", name="checkpoint").wait_for()
    shown = " ".join((tab.locator("[data-testid=stMain]").text_content() or "").split())
    for number in (0, 1, 2, 3, 4, 6):
        assert str(number) * 16 in shown
    assert "unknown language '![x](http'; choose from: " in shown  # what follows a colon are options of the language
    assert "seed-:smile: $x$ <b>b<b> `c` **d**.safetensors is no fwplab checkpoint" in shown
    assert "best" in shown
    assert tab.get_by_role("combobox", name="language").count() == 1


def _has_no_markup(tab: Any) -> None:
    main = tab.locator("[data-testid=stMain]")
    assert main.locator("script, iframe, object, embed, .katex, [src*='example.invalid'], [href*='http']").count() == 0
    assert main.locator("img:not([src^='data:'])").count() == 0
    assert "\N{SMILING FACE WITH OPEN MOUTH AND SMILING EYES}" not in (main.text_content() or "")


@pytest.mark.parametrize("page", sessions.PAGES)
def test_hostile_files_reach_no_markdown(server: tuple[int, int, Path], page: str) -> None:
    _, port, _ = server
    sent = visit(port, page)
    assert "script_finished" in sent
    assert "exception {" not in sent
    if page in ("reader", "automaton"):
        assert "example.invalid" in sent
        assert all("html {" in block for block in sent.split("delta {") if "example.invalid" in block)


def test_a_checkpoint_without_a_weight_is_listed_and_named_when_it_is_chosen(server: tuple[int, int, Path]) -> None:
    from fwplab.app.shared import model_of
    from fwplab.errors import UserError

    path = next(server[2].parent.glob("home/runs/5*/seed-0-paper.safetensors"))
    with pytest.raises(UserError, match=r"5555/seed-0-paper.safetensors: these weights have 0 layers "):
        model_of(path)


PATHS = [
    *("/../secret.txt", "/../../../../../../etc/passwd", "/static/../../../../etc/passwd", "//etc/passwd"),
    *("/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2f..%2fetc%2fpasswd", "/static/%252e%252e/etc/passwd"),
    *("/static//etc/passwd", "/media/../../etc/passwd", "/media//etc/passwd", "/component/x/../../../../etc/passwd"),
    "/app/static/../main.py",
    *(
        "/_stcore/upload_file/../../etc/passwd",
        "/static/..\\..\\etc\\passwd",
        "/?file=/etc/passwd",
        "/static//etc/passwd",
    ),
    *("/reader?path=../../secret.txt", "/_stcore/bidi-components/x/../../../etc/passwd", "/%00/etc/passwd"),
]


def answer(port: int, path: str, **headers: str) -> str:
    """The answer to a request whose path nobody has tidied up."""
    lines = {"Host": f"127.0.0.1:{port}", "Connection": "close"} | headers
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{text}\r\n".encode())
        parts = iter(lambda: connection.recv(2**16), b"")
        return b"".join(parts).decode(errors="replace")


@pytest.mark.parametrize("path", PATHS)
def test_no_url_reaches_a_file_outside(server: tuple[int, int, Path], path: str) -> None:
    _, port, log = server
    folder = log.parent
    for asked in (path, path.replace("/etc/passwd", str(folder / "secret.txt"))):
        found = answer(port, asked)
        assert found.startswith("HTTP/1.1 ")
        assert SECRET not in found
        assert "root:" not in found
        assert "import streamlit as st" not in found


@pytest.mark.parametrize("page", ["../../secret.txt", "/etc/passwd", "reader/../../secret.txt", "..", "\x00"])
def test_no_name_of_a_page_reaches_a_file_outside(server: tuple[int, int, Path], page: str) -> None:
    sent = visit(server[1], page)
    assert "script_finished" in sent
    assert SECRET not in sent
    assert "root:" not in sent


def test_requests_of_other_sites_are_refused_and_ask_nobody(server: tuple[int, int, Path]) -> None:
    _, port, log = server
    assert answer(port, "/").startswith("HTTP/1.1 200 ")
    assert answer(port, "/", Host="evil.example").startswith("HTTP/1.1 403 ")
    assert answer(port, "/", Origin="http://evil.example").startswith("HTTP/1.1 403 ")

    async def open_session(**headers: str) -> None:
        address = f"ws://127.0.0.1:{port}/_stcore/stream"
        async with connect(address, subprotocols=["streamlit"], additional_headers=headers):  # type: ignore[list-item]
            pass

    asyncio.run(open_session(Origin=f"http://127.0.0.1:{port}"))
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": f"http://localhost:{port}"}):
        with pytest.raises(InvalidStatus, match="403"):
            asyncio.run(open_session(**headers))
    assert calls_outside(log) == []


def test_the_server_listens_on_the_loopback_only(server: tuple[int, int, Path]) -> None:
    bound = [call for call in calls(server[2]) if call[0] == "socket.bind"]
    assert bound
    assert all("'127.0.0.1'" in call[-1] for call in bound)


def test_fifty_sessions_at_once_are_answered_in_bounded_memory(server: tuple[int, int, Path]) -> None:
    process, port, _ = server
    visit(port, "ladder")
    before = sessions.memory(process, "VmRSS")
    done = asyncio.run(asyncio.wait_for(sessions.visit_all(port, 50), 300))
    assert len(done) == 50
    for session in done:
        assert len(session.messages) > 5
        assert not any(message.delta.new_element.HasField("exception") for message in session.messages)
    assert sessions.memory(process, "VmHWM") - before < MEMORY_OF_SESSIONS
