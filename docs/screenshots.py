"""Takes the pictures of docs/explorer.md: `python docs/screenshots.py URL` of a running `fwplab explore`.

It needs an installed Chromium. The checkpoints that come with the package are enough.
"""

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent / "explorer"
WORD = "011011101001"


def settled(page: Page) -> None:
    page.wait_for_timeout(300)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_timeout(1200)


def take(page: Page, name: str, height: int) -> None:
    page.set_viewport_size({"width": 1280, "height": height})
    settled(page)
    page.screenshot(path=FOLDER / f"{name}.png")


def choose(page: Page, label: str, option: str) -> None:
    settled(page)
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    settled(page)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark" if "--dark" in sys.argv else "light")
        page.goto(sys.argv[1])
        page.locator(".st-key-cell-reset_dyck_1-transformer button").first.wait_for()
        take(page, "ladder", 960)
        page.locator(".st-key-cell-parity-delta-net button").first.click()
        page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first.wait_for()
        take(page, "runs", 1050)
        page.get_by_role("link", name="Reader").click()
        for mixer, height in (("recurrent-delta", 1500), ("e-lstm", 860), ("transformer", 1040)):
            choose(page, "mixer", mixer)
            box = page.get_by_role("textbox", name=re.compile("string over"))
            box.fill(WORD)
            box.press("Enter")
            settled(page)
            for _ in range(2):
                page.get_by_role("slider").press("ArrowRight")
                settled(page)
            take(page, f"reader-{mixer}", height)
        page.get_by_role("link", name="Automaton").click()
        choose(page, "language", "aa_star")
        choose(page, "mixer", "delta-net")
        page.get_by_role("button", name="extract").click()
        page.get_by_text("states against 2").wait_for()
        take(page, "automaton", 1000)
        page.get_by_role("link", name="Try a language").click()
        choose(page, "language", "parity")
        take(page, "language", 1000)
        browser.close()


if __name__ == "__main__":
    main()
