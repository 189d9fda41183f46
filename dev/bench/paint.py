"""The studio with 1,000 clips, 100 of them named to break out: `python dev/bench/paint.py [VISITS]`; a few minutes.

In Debian's Chromium: how soon the library first paints for a new visitor, and whether any of 100 script injections
runs: as what videos, films and keys are called on every page that shows them, and typed into composer and storyboard.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import figures
import test_studio
from playwright.sync_api import sync_playwright
from servers import Served

from tenku.serving.client import Client

PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def painted(browser: Any, url: str) -> tuple[float, float]:
    """Milliseconds until a new visitor sees something of the library, and until the first clip is there."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.goto(f"{url}/#/library")
    page.locator(".card").first.wait_for()
    seen = page.evaluate(f"[{PAINT}, performance.now()]")
    context.close()
    return seen[0], seen[1]


def shown(page: Any, url: str) -> int:
    """Opens whatever shows what the injections were typed into; how many pages that were."""
    client = Client(url)
    for text in test_studio.INJECTIONS:
        client._json("POST", "/keys", {"name": text[:80]})
    named = set(test_studio.INJECTIONS)
    hostile = [video.id for video in client.videos(limit=100) if video.raw["tenku"]["negative_prompt"] in named]
    assert len(hostile) == len(test_studio.INJECTIONS) == 100
    page.goto(f"{url}/#/settings")
    page.locator(".keys li").nth(99).wait_for()
    for video in hostile:
        page.goto(f"{url}/#/clip/{video}")
        page.locator(".stage").wait_for()
    for text in test_studio.INJECTIONS:
        page.goto("about:blank")
        page.goto(f"{url}/#/?prompt={quote(text)}&seed={quote(text)}&model={quote(text)}")
        page.locator("#prompt").wait_for()
    return 1 + len(hostile) + len(test_studio.INJECTIONS)


def main(visits: int) -> int:
    """Fills a library, visits it, prints."""
    ran: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tenku-paint-") as folder, sync_playwright() as start:
        os.environ["TENKU_HOME"] = f"{folder}/home"
        browser = start.chromium.launch(executable_path=test_studio.CHROMIUM, args=test_studio.FLAGS)
        with Served(Path(folder, "library")) as server:
            client = Client(server.url)
            [*client.watch(client.create("a red ball", seconds="0.5", size="64x48", steps=2).id)]
            test_studio.fill(server, [f"clip {i}" for i in range(900)] + test_studio.INJECTIONS)
            paints, cards = zip(*(painted(browser, server.url) for _ in range(visits)), strict=True)
            page = browser.new_page(reduced_motion="reduce")
            page.set_default_timeout(test_studio.WAIT)
            page.expose_function("hit", lambda: ran.append(page.url))
            page.evaluate("hit()")
            assert ran.pop() == page.url  # one that runs is noticed
            page.on("dialog", lambda dialog: (ran.append(page.url), dialog.dismiss()))
            pages = shown(page, server.url)
            page.close()
            page = browser.new_page(reduced_motion="reduce")
            page.set_default_timeout(test_studio.WAIT)
            test_studio.test_nothing_that_is_typed_runs(server, page)  # fails by itself
            page.goto("about:blank")
        browser.close()
    worst = max(paints)
    return figures.judged(
        {"visits": visits, "paint_ms": round(statistics.median(paints)), "paint_most_ms": round(worst),
         "first_clip_ms": round(statistics.median(cards)), "pages": pages, "ran": ran},
        {f"the library of 1,000 clips first paints after {worst:.0f} ms at most (asked: 1000)": worst <= 1000,
         f"of 100 injections on {pages} pages, and in composer and storyboard, {len(ran)} ran (asked: 0)": not ran})


if __name__ == "__main__":
    figures.tidy()
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
