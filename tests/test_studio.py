"""The studio in a real Chromium: its whole story, without an error in the console, a script run, or a label missing."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from servers import Served

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
PAGES = ("#/", "#/library", "#/verify", "#/settings")
WAIT = 120_000  # milliseconds

# Strings that break out of text, attributes, URLs, templates and JSON where somebody forgot to escape.
CORES = ("<script>hit()</script>", "<img src=x onerror=hit()>", "<svg onload=hit()>", "javascript:hit()",
         "<iframe srcdoc='<script>parent.hit()</script>'>", "<body onload=hit()>", "<details open ontoggle=hit()>",
         "<a href=javascript:hit()>x</a>", "${hit()}", "{{constructor.constructor('hit()')()}}",
         "<math><mtext></form><form><mglyph><style></math><img src onerror=hit()>", "<video><source onerror=hit()>",
         "<input autofocus onfocus=hit()>", "<object data=javascript:hit()>",
         "<style>@import 'javascript:hit()'</style>",
         "<link rel=stylesheet href=javascript:hit()>", "<template><script>hit()</script></template>",
         "<base href=javascript:hit()//>", "<meta http-equiv=refresh content='0;javascript:hit()'>",
         "\\u003cscript>hit()")
WRAPS = ("{}", "\">{}", "'>{}", "</textarea>{}", "-->{}<!--")
INJECTIONS = [wrap.format(core) for wrap in WRAPS for core in CORES]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("studio"), "--model", f"tiny={tiny_model}") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as start:
        playwright.expect.set_options(timeout=WAIT)
        running = start.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new visitor; whatever the console or the network complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="dark")
    visitor = context.new_page()
    visitor.set_default_timeout(WAIT)
    wrong: list[str] = []
    visitor.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning")
               and "status of 400" not in said.text else None)  # a refusal, which the page shows
    visitor.on("pageerror", lambda error: wrong.append(str(error)))
    visitor.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
    visitor.on("request", lambda call: wrong.append(call.url) if "127.0.0.1" not in call.url
               and not call.url.startswith(("blob:", "data:")) else None)
    yield visitor
    context.close()
    assert wrong == []


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]


def test_the_story_from_the_first_visit_to_the_verdict(served, page, tmp_path):
    page.goto(served.url)
    playwright.expect(page.get_by_role("heading", name="Begin with one of these")).to_be_visible()
    page.get_by_text("More: steps").click()
    page.get_by_label("Steps").fill("10")
    page.get_by_label("Length").fill("0.5")
    page.get_by_role("button", name="a red ball bouncing on a beach at sunset").click()
    lately = page.locator("section", has=page.get_by_role("heading", name="Lately"))
    playwright.expect(lately.locator(".card")).to_have_count(1)
    assert violations(page) == []

    lately.get_by_role("link").click()
    page.get_by_role("heading", name="How it was made").wait_for()
    original = page.url.rpartition("/")[2]
    assert violations(page) == []
    page.get_by_label("The new words").fill("a blue ball on the moon")
    page.get_by_role("button", name="Remix", exact=True).click()
    page.get_by_role("heading", name="Made from", exact=True).wait_for()
    remix = page.url.rpartition("/")[2]
    assert remix != original

    page.get_by_role("button", name="Good", exact=True).click()
    page.get_by_role("button", name="good motion").click()
    page.get_by_label("It may be learnt from").check()
    page.get_by_role("button", name="Send").click()
    page.get_by_text("It is kept with the clip").wait_for()
    page.get_by_role("link", name="Compare").click()
    page.get_by_role("button", name="The left one is better").click()
    page.get_by_text("Noted").wait_for()
    assert violations(page) == []
    rows = [json.loads(line) for line in page.request.get(f"{served.url}/v1/feedback").text().splitlines()]
    assert [(row["rating"], row["reasons"], row["consent"], row["other"]) for row in rows] == [
        (1, ["good motion"], True, None), (1, [], False, original)]

    page.goto(f"{served.url}/#/clip/{remix}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    file = tmp_path / "clip.mp4"
    download.value.save_as(file)
    page.get_by_role("link", name="Verify").click()
    page.locator("input[type=file]").set_input_files(file)
    playwright.expect(page.locator(".verdict")).to_have_text("made by Tenku")
    playwright.expect(page.locator("q")).to_have_text("a blue ball on the moon")
    assert violations(page) == []

    page.get_by_role("link", name="Library").click()
    page.get_by_label("Search in prompts").fill("moon")
    playwright.expect(page.locator(".card")).to_have_count(1)
    page.locator(".card").get_by_role("link").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for ever?").click()
    page.get_by_text("Deleted").wait_for()
    assert page.request.get(f"{served.url}/v1/videos/{remix}").status == 404
    assert not (served.folder / remix).exists()


def test_a_job_goes_on_without_its_visitor_and_can_be_cancelled(served, page):
    page.goto(served.url)
    page.get_by_text("More: steps").click()
    page.get_by_label("Steps").fill("100")
    page.get_by_label("Length").fill("8")
    page.get_by_label("What to show").fill("a red ball, for long")
    page.keyboard.press("Control+Enter")
    page.get_by_role("progressbar").wait_for()
    page.goto("about:blank")
    page.goto(served.url)
    playwright.expect(page.get_by_text(re.compile(r"step \d+ of"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    playwright.expect(page.get_by_role("progressbar")).to_have_count(0)
    states = [row["status"] for row in page.request.get(f"{served.url}/v1/videos").json()["data"]]
    assert "in_progress" not in states


def test_refusals_are_shown_where_one_types(served, page):
    page.goto(served.url)
    page.get_by_label("Seed").fill("no number")
    page.get_by_label("What to show").fill("a ball")
    with page.expect_response(lambda answer: answer.status == 400):
        page.get_by_role("button", name="Make it").click()
    page.get_by_text("Seed cannot be").wait_for()
    playwright.expect(page.get_by_label("Seed")).to_be_focused()


def test_everything_works_from_the_keyboard(served, page):
    page.goto(f"{served.url}/#/library")
    page.get_by_role("heading", name="Library").wait_for()
    page.keyboard.press("v")
    page.get_by_role("heading", name="Where does it come from?").wait_for()
    page.keyboard.press("m")
    page.get_by_role("heading", name="What shall appear in the sky?").wait_for()
    page.locator("body").click(position={"x": 5, "y": 5})
    page.keyboard.press("/")
    playwright.expect(page.get_by_label("What to show")).to_be_focused()
    page.goto(served.url)
    page.locator("#prompt").wait_for()
    page.locator("body").focus()
    page.keyboard.press("Tab")
    playwright.expect(page.get_by_text("Skip to the content")).to_be_visible()


@pytest.mark.parametrize("look", ["dark", "light"])
def test_pages_have_no_accessibility_errors(served, browser, look):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=look, reduced_motion="reduce")
    page = context.new_page()
    for where in PAGES:
        page.goto(served.url + "/" + where)
        page.reload()
        page.locator("h1").wait_for()
        page.wait_for_load_state("networkidle")
        assert violations(page) == [], where
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{where} scrolls sideways"
    context.close()


def fill(served: Served, prompts: list[str]) -> None:
    """Completed jobs with these prompts, all with the files of one that was really made."""
    with sqlite3.connect(served.folder / "tenku.db", timeout=30) as db:
        db.row_factory = sqlite3.Row
        row = dict(db.execute("select * from jobs where status = 'completed' limit 1").fetchone())
        row.pop("seq")
        for prompt in prompts:
            request = json.dumps({**json.loads(row["request"]), "prompt": prompt})
            one = {**row, "id": f"video_{secrets.token_hex(12)}", "prompt": prompt, "request": request}
            db.execute(f"insert into jobs ({','.join(one)}) values ({','.join('?' * len(one))})", list(one.values()))


def test_a_thousand_clips_and_a_hundred_injections(served, page):
    """All in one library: the first paint is soon, pages come as one scrolls, and nothing that was typed runs."""
    fill(served, [f"clip {i}" for i in range(900)] + INJECTIONS)
    page.expose_function("hit", lambda: pytest.fail("a script ran"))
    page.goto(f"{served.url}/#/library")
    page.locator(".card").first.wait_for()
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first contentful paint {paint:.0f} ms")
    assert paint < 3000  # 1 s on an idle machine
    assert page.locator(".card").count() <= 96
    page.mouse.wheel(0, 20_000)
    playwright.expect(page.locator(".said", has_text=INJECTIONS[-60]).first).to_be_visible()
    shown = set(page.locator(".said").all_inner_texts())
    assert set(INJECTIONS[-40:]) <= shown
    links = page.locator(".card a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    for link in links[:5]:
        page.goto(f"{served.url}/{link}")
        page.locator(".stage").wait_for()
    typed = "?prompt=%22%3E%3Cimg%20src%3Dx%20onerror%3Dhit()%3E&seed=%3Csvg%20onload%3Dhit()%3E"
    page.goto(f"{served.url}/#/{typed}")
    page.locator("#prompt").wait_for()
    page.goto(served.url + "/#/library?words=<img src=x onerror=hit()>")
    page.get_by_text("That is all").or_(page.get_by_text("Nothing with")).wait_for()


def test_a_server_that_wants_a_key_gets_one(browser, tmp_path):
    with Served(tmp_path / "keyed", "--require-key", "--workers", "0") as server:
        secret = next(line for line in server.lines if line.startswith("first key")).split()[-1]
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.goto(server.url)
        page.get_by_role("heading", name="Key", exact=True).wait_for()
        page.get_by_placeholder("tk_").fill("tk_wrong")
        page.get_by_role("button", name="Enter").click()
        page.get_by_text("Incorrect API key").wait_for()
        page.get_by_placeholder("tk_").fill(secret)
        page.get_by_role("button", name="Enter").click()
        page.locator("#prompt").wait_for()
        assert secret not in page.evaluate("document.cookie + JSON.stringify(localStorage)")
        page.goto(f"{server.url}/#/settings")
        page.get_by_role("button", name="Forget the key").click()
        page.get_by_placeholder("tk_").wait_for()
        context.close()
