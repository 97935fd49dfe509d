"""The waiting times of a user of the explorer: for the first page, for reading a string, and for a step through it.

    python scripts/explorer.py

It needs an installed Chromium, and a checkpoint of Recurrent Delta on parity (one comes with the package).
"""

import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

from playwright.sync_api import Page, sync_playwright

LENGTHS = (200, 100_000)
CLOCK = """() => {
  const position = () => document.body.textContent.match(/Position (\\d+), symbol/)?.[1];
  let pressed = 0, before = position();
  window.waits = [];
  document.addEventListener("keydown", () => { pressed = performance.now(); before = position(); }, true);
  new MutationObserver(() => {
    if (pressed && position() !== before) { window.waits.push(performance.now() - pressed); pressed = 0; }
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
"""JavaScript that measures in the page, because the driver only polls it."""
STEPS = 30


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "fwplab", "explore", "--port", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        print(f"server: {time.perf_counter() - began:.1f} s until it listens")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for visit in ("first", "second"):
                page = browser.new_page()
                began = time.perf_counter()
                page.goto(f"http://127.0.0.1:{port}")
                page.locator(".st-key-cell-reset_dyck_1-transformer button").first.wait_for()
                print(f"first page, {visit} visit: {time.perf_counter() - began:.2f} s to the last cell of the ladder")
            for length in LENGTHS:
                began = time.perf_counter()
                read(page, length)
                until = time.perf_counter() - began
                waits = steps(page)
                print(
                    f"reader, {length} symbols: {until:.1f} s until they are read; {STEPS} steps: median "
                    f"{statistics.median(waits):.0f} ms, slowest {max(waits):.0f} ms from the key to the new label"
                )
    finally:
        server.terminate()
        server.wait()


def read(page: Page, length: int) -> None:
    """Types a string into the reader and waits for its outcome."""
    page.get_by_role("link", name="Reader").click()
    box = page.get_by_role("textbox", name=re.compile("string over"))
    box.fill("01101" * (length // 5))
    box.press("Enter")
    page.get_by_text(re.compile(f"All {length} labels|of {length} labels")).wait_for()
    page.get_by_text("Position 1, symbol").wait_for()


def steps(page: Page) -> list[float]:
    """Milliseconds from each press of the arrow key until the page names the next position."""
    page.evaluate(CLOCK)
    slider = page.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    page.get_by_text("Position 1, symbol").wait_for()
    for position in range(2, STEPS + 2):
        page.wait_for_timeout(300)
        slider.press("ArrowRight")
        page.get_by_text(f"Position {position}, symbol").wait_for()
    waits: list[float] = page.evaluate("window.waits")
    return waits


if __name__ == "__main__":
    main()
