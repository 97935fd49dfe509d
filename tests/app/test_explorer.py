"""The explorer in a browser, with a server, records and checkpoints."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fwplab.app.training import Job
from fwplab.cli import run
from fwplab.data.splits import SplitSpec
from fwplab.engines import Local, train_all
from fwplab.mixers import MIXERS
from fwplab.model.model import ModelSpec
from fwplab.storage.store import Store, folder_of
from fwplab.training.checkpoint import checkpoint_path
from fwplab.training.run import PROTOCOLS, Run
from fwplab.training.trainer import RESUME, Training

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium from the distribution"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SCREENSHOTS = Path("artifacts") / "explorer"
SPLITS = SplitSpec(train_strings=600, validation_strings=60, test_strings=20)
PROTOCOL = replace(PROTOCOLS["paper"], max_steps=60, check_every=20, splits=SPLITS)
MIXERS_SHOWN = ("recurrent-delta", "srwm", "delta-product", "lstm", "transformer")
TIMEOUT = 60_000  # milliseconds


def small_run(mixer: str) -> Run:
    model = ModelSpec(hidden=16, layers=1, heads=2)
    return Run("parity", MIXERS.load(mixer)(), (0,), (5e-3,), model, PROTOCOL)


def write_half_trained(run: Run) -> None:
    """Writes the saved state of a run in training."""
    training = Training(run, "cpu")
    for _ in range(20):
        training.step()
    training.check()
    training.save(folder_of(run) / RESUME)
    later = time.time() + 3_600  # so that the state counts as recent on a slow machine too
    os.utime(folder_of(run) / RESUME, (later, later))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose home has finished runs, one run in training, and one broken checkpoint."""
    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("FWPLAB_HOME")
    os.environ["FWPLAB_HOME"] = str(home)
    try:
        with Store() as store:
            train_all([small_run(mixer) for mixer in MIXERS_SHOWN], store, Local(1))
        write_half_trained(small_run("e-lstm"))
        broken = folder_of(small_run("lstm")).parent / "0000000000000000"
        broken.mkdir()
        checkpoint_path(broken, 0, "paper").write_bytes(b"not a checkpoint")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "fwplab", "explore", "--port", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    finally:
        if before is None:
            del os.environ["FWPLAB_HOME"]
        else:
            os.environ["FWPLAB_HOME"] = before
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate(timeout=30)


def _wait_for(port: int, server: subprocess.Popen[str]) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, server.communicate()[1]
        time.sleep(0.1)
    raise AssertionError("the server did not start")


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    playwright.expect.set_options(timeout=TIMEOUT)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: "playwright.Browser", address: str) -> Iterator["playwright.Page"]:
    """The first page of the explorer. The test fails if the browser reports an error."""
    tab = browser.new_page(viewport={"width": 1280, "height": 1000})
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.set_default_timeout(TIMEOUT)
    tab.goto(address)
    tab.get_by_role("heading", name="What can a sequence model compute?").wait_for()
    yield tab
    tab.close()
    assert not errors


IS_IDLE = """() => {
    const app = document.querySelector("[data-testid=stApp]"), now = performance.now();
    if (!(window.busy >= 0) || !app || app.dataset.testScriptState !== "notRunning") window.busy = now;
    return now - window.busy > 700;
}"""


def wait_until_drawn(page: "playwright.Page") -> None:
    """Waits until the page has been drawn, because text typed earlier may go into a box that is then replaced.

    The state of the script reaches the page with a delay, so that it must have been idle for 0.7 seconds.
    """
    page.evaluate("window.busy = performance.now()")
    page.wait_for_function(IS_IDLE)


def open_page(page: "playwright.Page", name: str) -> None:
    wait_until_drawn(page)
    page.get_by_role("link", name=name).click()
    page.get_by_role("heading", name=name, exact=True, level=1).wait_for()
    wait_until_drawn(page)


def write(page: "playwright.Page", box: str, text: str) -> None:
    field = page.get_by_role("textbox", name=re.compile(box))
    field.fill(text)
    field.press("Enter")
    wait_until_drawn(page)


def choose(page: "playwright.Page", label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    has(page, label, option)
    wait_until_drawn(page)


def has(page: "playwright.Page", label: str, option: str) -> None:
    playwright.expect(page.get_by_role("combobox", name=label)).to_have_value(option)


def screenshot(page: "playwright.Page", name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(700)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def test_a_cell_of_the_table_opens_its_runs(page: "playwright.Page") -> None:
    page.locator(".st-key-cell-reset_dyck_1-transformer button").first.wait_for()
    cell = page.locator(".st-key-cell-parity-lstm button").first
    assert re.match(r"\d/\d", cell.inner_text())
    screenshot(page, "ladder")
    cell.click()
    page.get_by_role("heading", name="Runs", exact=True).wait_for()
    page.get_by_role("heading", name="Learning curves").wait_for()
    page.locator(".vega-embed, canvas").first.wait_for()
    has(page, "mixer", "lstm")
    has(page, "language", "parity")
    screenshot(page, "runs")


def test_a_run_in_training_is_shown(page: "playwright.Page") -> None:
    open_page(page, "Runs")
    choose(page, "mixer", "e-lstm")
    page.get_by_text(re.compile("training: run .*, step 20 of 60")).wait_for()


@pytest.mark.parametrize("mixer", ["lstm", "transformer"])
def test_a_long_string_is_shown_in_parts(page: "playwright.Page", mixer: str) -> None:
    open_page(page, "Reader")
    choose(page, "mixer", mixer)
    write(page, "string over", "01" * 3_150)
    page.get_by_text(re.compile("All 6300 labels|of 6300 labels")).wait_for()
    slider = page.get_by_role("slider")
    # The outcome is drawn before the slider, which until then belongs to the previous string.
    playwright.expect(slider).to_have_attribute("max", "6300")
    wait_until_drawn(page)
    slider.press("End")
    page.get_by_text("Position 6300, symbol 1").wait_for()
    playwright.expect(page.locator("span[title^='position ']")).to_have_count(100)
    outcome = page.get_by_text(re.compile("the first at position")).text_content() or ""
    page.get_by_role("button", name="to the first error").click()
    first = re.search(r"position (\d+)\.", outcome)
    page.get_by_text(f"Position {first and first[1]}, symbol").wait_for()


@pytest.mark.parametrize("mixer", MIXERS_SHOWN)
def test_a_string_is_read_step_by_step(page: "playwright.Page", mixer: str) -> None:
    open_page(page, "Reader")
    choose(page, "mixer", mixer)
    write(page, "string over", "0110111")
    page.get_by_text(re.compile("All 7 labels|of 7 labels")).wait_for()
    page.get_by_text("Position 1, symbol 0").wait_for()
    slider = page.get_by_role("slider")
    playwright.expect(slider).to_have_attribute("max", "7")
    wait_until_drawn(page)
    slider.press("ArrowRight")
    page.get_by_text("Position 2, symbol 1: label 0").wait_for()
    slider.press("ArrowRight")
    page.get_by_text("Position 3, symbol 1: label 1").wait_for()
    screenshot(page, f"reader-{mixer}")
    shows = {"lstm": "hidden, a row a unit", "transformer": "where this position attends"}.get(mixer, "written")
    page.get_by_text(shows).first.wait_for()


def test_a_bad_string_and_a_broken_checkpoint_are_shown_as_errors(page: "playwright.Page") -> None:
    open_page(page, "Reader")
    page.get_by_text("is no fwplab checkpoint").wait_for()
    write(page, "string over", "01x")
    page.get_by_text("symbol 'x' at position 3 is outside the alphabet").wait_for()
    screenshot(page, "reader-bad-string")
    page.get_by_role("button", name="draw a word").click()
    page.get_by_text("Position 1, symbol").wait_for()


def test_the_automaton_of_a_checkpoint_is_drawn(page: "playwright.Page") -> None:
    open_page(page, "Automaton")
    choose(page, "mixer", "lstm")
    page.get_by_role("combobox", name="checkpoint").click()
    shipped = page.get_by_role("option", name=re.compile("shipped"))
    label = shipped.inner_text()
    shipped.click()
    has(page, "checkpoint", label)
    wait_until_drawn(page)
    page.get_by_role("button", name="extract").click()
    page.get_by_text("equivalent to the language: 2 states against 2").wait_for()
    page.get_by_role("heading", name="true: 2 states").wait_for()
    page.locator("svg g.node").first.wait_for()
    screenshot(page, "automaton")


def test_a_word_is_explained_and_a_training_started(page: "playwright.Page") -> None:
    open_page(page, "Try a language")
    page.locator("svg g.node").first.wait_for()
    write(page, "a string over", "011")
    page.get_by_text("011 is a word of parity").wait_for()
    screenshot(page, "language")
    steps = page.get_by_role("spinbutton", name="steps at most")
    steps.fill("100")
    steps.press("Enter")
    page.get_by_role("button", name="train", exact=True).click()
    page.get_by_text(re.compile("starting the workers|training")).first.wait_for()
    page.get_by_text("Trained: recurrent-delta on parity, 2 seeds.").wait_for(timeout=4 * TIMEOUT)
    page.get_by_role("button", name="its runs").click()
    page.get_by_role("heading", name="Runs", exact=True).wait_for()
    page.get_by_role("heading", name="Learning curves").wait_for()


def test_a_stopped_training_is_reported_as_stopped_not_failed() -> None:
    job = Job(small_run("recurrent-delta"))
    job.stop = True
    job.thread.join()
    assert job.error == "stopped; train it again to continue"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--port", "0"), "from 1 to 65535"),
        (("--host", ""), "an address of this machine"),
        (("--host", "203.0.113.1"), "cannot listen on 203.0.113.1:8501"),
    ],
)
def test_a_bad_address_is_a_user_error(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explore", *options]) == 2
    assert message in capsys.readouterr().err
