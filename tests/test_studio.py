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
from servers import Served, until

from tenku.errors import UserError
from tenku.serving.client import Client

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
PAGES = ("#/", "#/watch", "#/library", "#/film", "#/verify", "#/settings")
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
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A new visitor; whatever the console or the network complains of fails the test.

    Only the story is told in moving pictures: a browser without a graphics card needs a core of its own for them.
    """
    motion = "no-preference" if "story" in request.node.name else "reduce"
    context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="dark", reduced_motion=motion)
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


@pytest.fixture
def made(served: Served) -> list[str]:
    """Two short clips, made once."""
    client = Client(served.url)
    known = [video.id for video in client.videos(words="for the bench") if video.prompt.endswith("for the bench")]
    for colour in ("blue", "red")[len(known):]:
        asked = client.create(f"a {colour} ball, for the bench", seconds="0.5", size="64x48", steps=2, seed=1)
        known.append([*client.watch(asked.id)][-1].id)
    return known[:2]


def tool(page: Any, name: str) -> None:
    """Opens one of the composer's tools."""
    page.get_by_role("button", name=name, exact=True).click()
    playwright.expect(page.locator("#panel")).to_be_visible()


def small(page: Any) -> None:
    """Few pixels and few steps."""
    tool(page, "More")
    page.get_by_role("combobox", name="Size").select_option("0")
    page.get_by_role("slider", name="Steps").fill("4")


def sent(page: Any, button: str = "Make it", path: str = "/v1/videos") -> dict[str, Any]:
    """What the page sends when the button is pressed; it must be taken."""
    with page.expect_response(lambda answer: answer.request.method == "POST" and answer.url.endswith(path)) as call:
        page.get_by_role("button", name=button, exact=True).click()
    assert call.value.ok, call.value.text()
    return {**call.value.request.post_data_json, "answer": call.value.json()}


def drawn(page: Any, where: str, points: list[tuple[float, float]]) -> None:
    """A stroke of the mouse over an element; points are parts of its width and height."""
    box = page.locator(where).bounding_box()
    for i, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if i == 0:
            page.mouse.down()
    page.mouse.up()


def finished(page: Any, served: Served, id: str) -> dict[str, Any]:
    return dict(until(lambda: (found := page.request.get(f"{served.url}/v1/videos/{id}").json())["status"] in (
        "completed", "failed") and found))


def test_the_story_from_the_first_visit_to_the_verdict(served, page, tmp_path):
    page.goto(served.url)
    playwright.expect(page.get_by_role("heading", name="Begin with one of these")).to_be_visible()
    small(page)
    page.get_by_role("slider", name="Length").fill("0.5")
    page.get_by_role("button", name="a red ball bouncing on a beach at sunset").click()
    lately = page.locator("section", has=page.get_by_role("heading", name="Lately"))
    playwright.expect(lately.locator(".card")).to_have_count(1)

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
    page.get_by_role("button", name="Flag as harmful").click()
    page.get_by_role("button", name="Flag it as harmful?").click()
    page.get_by_role("link", name="Compare with a red ball").click()
    page.get_by_label("My choice may be learnt from").uncheck()
    page.get_by_role("button", name="The left one is better").click()
    page.get_by_text("Noted").wait_for()
    assert violations(page) == []
    rows = [json.loads(line) for line in page.request.get(f"{served.url}/v1/feedback").text().splitlines()]
    assert [(row["rating"], row["reasons"], row["consent"], row["harmful"], row["other"]) for row in rows] == [
        (1, ["good motion"], True, False, None), (-1, ["good motion"], True, True, None),
        (1, [], False, False, original)]

    page.goto(f"{served.url}/#/clip/{remix}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    file = tmp_path / "clip.mp4"
    download.value.save_as(file)
    page.get_by_role("link", name="Verify").click()
    page.locator("main input[type=file]").set_input_files(file)
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
    """Many at once, too: a browser has six connections, and the pages still come."""
    page.goto(served.url)
    tool(page, "More")
    page.get_by_role("slider", name="Steps").fill("100")
    page.get_by_role("slider", name="Length").fill("8")
    page.get_by_label("What to show").fill("a red ball, for long")
    page.keyboard.press("Control+Enter")
    page.get_by_role("progressbar").wait_for()
    client = Client(served.url)
    for _ in range(8):
        client.create("a queue", seconds="8", steps=100)
    page.goto("about:blank")
    page.goto(f"{served.url}/#/watch")
    playwright.expect(page.get_by_text(re.compile(r"step \d+ of"))).to_be_visible()
    playwright.expect(page.get_by_role("progressbar")).to_have_count(9)
    playwright.expect(page.get_by_role("link", name="Watch, 9 being made")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("link", name="Verify").click()
    page.get_by_role("heading", name="Where does it come from?").wait_for()
    page.get_by_role("link", name="Watch").click()
    for left in range(8, -1, -1):
        page.get_by_role("button", name="Cancel").first.click()
        playwright.expect(page.get_by_role("progressbar")).to_have_count(left)
    states = [row["status"] for row in page.request.get(f"{served.url}/v1/videos").json()["data"]]
    assert not {"in_progress", "queued"} & set(states)


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
    page.keyboard.press("f")
    page.get_by_role("heading", name="A film, shot by shot").wait_for()
    page.keyboard.press("m")
    page.get_by_role("heading", name="What shall appear in the sky?").wait_for()
    page.locator("body").click(position={"x": 5, "y": 5})
    page.keyboard.press("/")
    playwright.expect(page.get_by_label("What to show")).to_be_focused()
    page.goto("about:blank")
    page.goto(served.url)
    page.locator("#prompt").wait_for()
    page.locator("body").focus()
    page.keyboard.press("Tab")
    playwright.expect(page.get_by_text("Skip to the content")).to_be_visible()


def test_the_director_camera_paths_and_words_reach_the_request(served, page):
    page.goto(served.url)
    small(page)
    page.get_by_role("slider", name="Length").fill("0.5")
    page.get_by_label("What to show").fill("a ball")
    tool(page, "Director")
    page.get_by_label("Let the director").check()
    added = page.locator(".director .chips button")
    added.first.wait_for()
    light = added.filter(has_text=re.compile("^(by day|at sunset|at night|in fog)$"))
    dropped = light.inner_text()
    light.click()
    whole = page.locator(".director .quote").inner_text()
    assert whole != "a ball"
    assert dropped not in whole

    tool(page, "Style")
    page.get_by_role("button", name="Rush").click()
    tool(page, "Camera")
    page.get_by_role("slider", name="Orbit").fill("-40")
    page.get_by_role("slider", name="Dolly").fill("1")
    page.get_by_role("button", name="Key by key").click()
    page.get_by_label("up of key 2").fill("0.3")
    page.get_by_label("up of key 2").press("Enter")
    keyed = page.locator(".poses tbody tr").count()

    tool(page, "Paths")
    drawn(page, ".paths-stage", [(0.1 + 0.02 * i, 0.8 - 0.02 * abs(i - 15)) for i in range(31)])
    page.get_by_role("button", name="Second thing").click()
    page.get_by_role("button", name="Point").click()
    page.get_by_role("button", name="Point", exact=False).last.press("ArrowRight")

    tool(page, "Over time")
    page.get_by_role("button", name="Other words from a time on").click()
    page.keyboard.type("a ball in the snow")
    page.get_by_role("slider", name="Words 1").press("ArrowRight")
    assert violations(page) == []
    body = sent(page)
    assert body["prompt"] == whole
    assert body["motion"] == 1.6
    assert body["size"] == "64x48"
    assert body["steps"] == 4
    assert len(body["camera"]) == keyed == 3
    assert body["camera"][1][2] == 0.3
    assert body["camera"][-1][0] == 0.5
    assert body["captions"] == [[0.4, "a ball in the snow"]]
    assert 3 <= len(body["tracks"][0]) <= 8
    assert len(body["tracks"][1]) == 1
    times = [point[0] for point in body["tracks"][0]]
    assert times == sorted(set(times))
    assert times[0] == 0
    assert times[-1] <= 0.5
    Client(served.url).cancel(body["answer"]["id"])  # that it is made so is tested where it is made
    page.reload()  # come back: all of it is there
    playwright.expect(page.get_by_label("What to show")).to_have_value("a ball")
    playwright.expect(page.locator("[data-tool=camera]")).to_have_class("set")


def test_the_little_world_shows_the_camera_as_the_model_moves_it(served, page):
    import numpy as np

    from tenku.model.motion import CAMERA, STATE
    from tenku.sampling.control import _named

    page.goto(served.url)
    start = np.zeros(STATE)
    start[2], start[CAMERA], start[CAMERA + 2] = 1.2, 1, 4.5  # height; that there is a thing, and how far ahead
    asked = {"dolly in": 1, "truck left": 0.5, "crane up": 0.7, "pan right": 15, "tilt down": 5, "orbit left": 40}
    text = ", ".join(f"{move} {by}" for move, by in asked.items())
    parts = np.array([0.0, 0.5, 1.0])
    for part, (x, ahead, up, yaw, pitch) in zip(parts.tolist(), _named(text, start, parts, 1.0), strict=True):
        shown = page.evaluate("([m, p]) => import('/camera.js').then(c => c.moved(m, p))", [asked, part])
        assert shown == pytest.approx([x, up - 1.2, ahead, yaw, pitch], abs=1e-6)


def test_a_picture_that_is_dropped_becomes_a_keyframe_on_the_line_of_time(served, page):
    page.goto(served.url)
    page.locator("#prompt").wait_for()
    drop = """(kind) => { const canvas = document.createElement('canvas'); canvas.width = 64; canvas.height = 48;
      const pen = canvas.getContext('2d'); pen.fillStyle = '#c33'; pen.fillRect(9, 9, 40, 30);
      return new Promise(done => canvas.toBlob(blob => { const data = new DataTransfer();
        data.items.add(new File([blob], '"><img src=x onerror=hit()>.png', {type: 'image/png'}));
        const init = {bubbles: true, cancelable: true};
        dispatchEvent(kind === 'drop' ? new DragEvent(kind, {...init, dataTransfer: data})
                      : new ClipboardEvent(kind, {...init, clipboardData: data})); done(); })); }"""
    page.evaluate(drop, "drop")
    playwright.expect(page.locator(".pieces li")).to_have_count(1)
    page.evaluate(drop, "paste")
    playwright.expect(page.locator(".pieces li")).to_have_count(2)
    page.get_by_role("slider", name="Length").fill("0.5")
    second = page.get_by_role("slider", name="Keyframe 2")
    second.press("Home")
    second.press("ArrowRight")
    second.press("ArrowRight")
    page.get_by_role("slider", name="How firmly").fill("0.6")
    assert violations(page) == []
    small(page)
    page.get_by_label("What to show").fill("a red block")
    body = sent(page)
    assert [(one["at"], one["strength"]) for one in body["inputs"]] == [(0, 1), (0.2, 0.6)]
    assert finished(page, served, body["answer"]["id"])["status"] == "completed"
    first = page.get_by_role("slider", name="Keyframe 1")
    first.press("Delete")
    playwright.expect(page.locator(".pieces li")).to_have_count(1)


def test_one_clip_dropped_on_another_blends_them(served, page, made):
    page.goto(f"{served.url}/#/library?words=bench")
    cards = page.locator(".card")
    playwright.expect(cards).to_have_count(2)
    cards.nth(0).locator("a").drag_to(cards.nth(1).locator("a"))
    playwright.expect(page.locator(".pieces li")).to_have_count(2)
    assert violations(page) == []
    small(page)
    page.get_by_role("slider", name="Way between").fill("0.5")
    body = sent(page)
    assert (body["mode"], body["way"]) == ("blend", "transition")
    assert [one["source"] for one in body["inputs"]] == [made[1], made[0]]
    done = finished(page, served, body["answer"]["id"])
    assert done["status"] == "completed"
    assert set(done["tenku"]["made_from"]) == set(made)
    page.goto(f"{served.url}/#/clip/{done['id']}")  # its family
    playwright.expect(page.locator(".kin")).to_have_count(3)
    assert page.locator(".lineage path").count() == 2
    assert violations(page) == []
    page.locator(".kin").first.get_by_role("link").first.click()
    page.get_by_text("This clip, and others beside it").wait_for()
    page.goto(f"{served.url}/#/library?words=bench")  # the same from the keyboard
    for number in (0, 1):
        cards.locator(f"[data-pick={made[number]}]").press("Enter")
    page.locator("#tray").get_by_role("button", name="Blend").press("Enter")
    playwright.expect(page.locator(".pieces li")).to_have_count(2)
    page.get_by_role("button", name="Swap them").press("Enter")


def test_from_any_clip_one_goes_on(served, page, made):
    """Longer, before, looped, changed, within a mask, around, cut again; each sends what it should."""
    deeds = {"Go on after it": ("extend", "forwards"), "What was before": ("extend", "backwards"),
             "Close the loop": ("loop", None), "Change all of it": ("edit", None), "Change a part": ("edit", "inside"),
             "See more around": ("edit", "around"), "Re-cut": ("edit", None)}
    masked = ""
    page.goto(served.url)
    small(page)
    for deed, (mode, way) in deeds.items():
        page.goto(f"{served.url}/#/clip/{made[0]}")
        page.locator(".deeds").get_by_role("button", name=deed).click()
        playwright.expect(page.locator(".given").get_by_role("button", name=deed)).to_have_attribute(
            "aria-pressed", "true")
        length = page.get_by_role("slider", name=re.compile("Longer|Way back"))
        if length.count():
            length.fill("0.5")
        if deed == "Change a part":
            canvas = page.get_by_label("Mask.")
            canvas.press("Space")
            drawn(page, ".mask-stage canvas", [(0.2, 0.2), (0.4, 0.4)])
            playwright.expect(page.get_by_text("is painted")).to_be_visible()
            assert violations(page) == []
        if deed == "Re-cut":
            page.get_by_role("slider", name="End of piece 1").press("ArrowLeft")
            assert violations(page) == []
        body = sent(page)
        assert (body["mode"], body.get("way")) == (mode, way), deed
        assert body["inputs"] == [{"source": made[0]}]
        assert ("mask" in body) == (deed == "Change a part")
        assert ("keep" in body) == (deed == "Re-cut")
        if deed != "Change a part":  # that the others are made so is tested where they are made
            Client(served.url).cancel(body["answer"]["id"])
            continue
        masked = body["answer"]["id"]
    done = finished(page, served, masked)
    assert done["status"] == "completed", done["error"]
    page.goto(f"{served.url}/#/clip/{made[0]}")
    page.get_by_role("button", name="This frame as keyframe").click()
    playwright.expect(page.get_by_role("slider", name="Keyframe 1")).to_be_visible()


def test_two_takes_are_compared_in_step(served, page):
    page.goto(served.url)
    small(page)
    page.get_by_label("Two takes").check()
    page.get_by_role("slider", name="Length").fill("0.5")
    page.get_by_label("What to show").fill("a pair of takes")
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("heading", name="Side by side").wait_for()
    page.get_by_role("button", name="One frame on").click()
    page.get_by_label("Time of both").fill("0.3")
    until(lambda: page.evaluate("[...document.querySelectorAll('.pair video')].every("
                                "one => Math.abs(one.currentTime - 0.3 * one.duration) < 0.05)"), 20)
    page.get_by_role("button", name="One over the other").click()
    page.get_by_role("slider", name="Line between them").fill("30")
    assert violations(page) == []
    page.get_by_role("button", name="The right one is better").click()
    page.get_by_text("Noted").wait_for()


def test_a_storyboard_becomes_a_film_and_a_file(served, page, tmp_path):
    from tenku.film.storyboard import read

    page.goto(f"{served.url}/#/film")
    page.get_by_role("button", name="Begin with an example").click()
    playwright.expect(page.locator(".shot")).to_have_count(3)
    page.evaluate("localStorage.board = localStorage.board.replace('128x80', '64x48')")
    page.reload()
    page.get_by_role("button", name="Remove shot 3").click()
    page.get_by_role("button", name="Move shot 2 earlier").click()
    playwright.expect(page.get_by_label("Shot 1: what it shows")).to_have_value("{hero} moves right on a beach")
    page.get_by_label("Title").fill("")
    page.get_by_role("slider", name="Steps").fill("4")
    for number in (0, 1):
        page.get_by_role("slider", name="Length").nth(number).fill("0.5")
        page.get_by_label("Words in the picture").nth(number).fill("")
    page.get_by_label("Begins with").select_option("cut")
    page.get_by_label("Camera").first.fill("pan left 10")
    assert violations(page) == []
    with page.expect_download() as download:
        page.get_by_role("button", name="Export YAML").click()
    file = tmp_path / "film.yaml"
    download.value.save_as(file)
    board = read(file)
    assert [shot.request.prompt for shot in board.shots] == ["a large red ball moves right on a beach, at sunset",
                                                            "a large red ball rests on a beach, at sunset"]
    assert board.shots[0].request.camera == "pan left 10"
    body = sent(page, "Make the film", "/v1/films")
    assert body["storyboard"]["cast"] == {"hero": "a large red ball"}
    done = finished(page, served, body["answer"]["id"])
    assert done["status"] == "completed", done["error"]
    page.locator(".wall .card video, .wall .card img").first.wait_for()


@pytest.mark.parametrize("look", ["dark", "light"])
def test_pages_have_no_accessibility_errors(served, browser, look):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=look, reduced_motion="reduce")
    page = context.new_page()
    for where in PAGES:
        page.goto("about:blank")
        page.goto(served.url + "/" + where)
        page.locator("h1").wait_for()
        page.wait_for_load_state("networkidle")
        assert violations(page) == [], where
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{where} scrolls sideways"
    page.goto(served.url)
    page.locator("#prompt").wait_for()
    tools = ("Director", "Style", "Camera", "Paths", "Over time", "Words it knows", "More")
    for name in tools if look == "light" else ():  # at night the tests above look at them
        tool(page, name)
        assert violations(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
    context.close()


def fill(served: Served, prompts: list[str]) -> None:
    """Completed jobs with these prompts, all with the files of one that was really made."""
    with sqlite3.connect(served.folder / "tenku.db", timeout=30) as db:
        db.row_factory = sqlite3.Row
        row = dict(db.execute("select * from jobs where status = 'completed' limit 1").fetchone())
        row.pop("seq")
        for prompt in prompts:
            request = json.dumps({**json.loads(row["request"]), "prompt": prompt, "negative_prompt": prompt,
                                  "camera": prompt, "captions": [[0.1, prompt]]})
            film = json.dumps({"title": prompt, "shots": [{"prompt": prompt, "seconds": 1}]})
            one = {**row, "id": f"video_{secrets.token_hex(12)}", "prompt": prompt, "request": request, "film": film}
            db.execute(f"insert into jobs ({','.join(one)}) values ({','.join('?' * len(one))})", list(one.values()))


def test_a_thousand_clips_and_a_hundred_injections(served, page, made):
    """All in one library: the first paint is soon, pages come as one scrolls, and nothing that was typed runs."""
    fill(served, [f"clip {i}" for i in range(900)] + INJECTIONS)
    page.expose_function("hit", lambda: pytest.fail("a script ran"))
    page.goto(f"{served.url}/#/library")
    page.locator(".card").first.wait_for()
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first contentful paint {paint:.0f} ms")
    assert paint < 3000  # 1 s on an idle machine
    assert page.locator(".card").count() <= 96
    with page.expect_request(lambda call: "kind=images" in call.url):  # the server sorts them out, so pages are full
        page.get_by_role("button", name="Images").click()
    playwright.expect(page.locator(".card")).to_have_count(0)
    page.get_by_role("button", name="Everything").click()
    page.locator(".card").first.wait_for()
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


def test_nothing_that_is_typed_runs(served, page):
    """A hundred breakouts in every field of composer and storyboard, as they come back from yesterday."""
    page.expose_function("hit", lambda: pytest.fail("a script ran"))
    page.goto(served.url)
    given = [{"source": "video_" + "0" * 24, "name": text, "kind": "video", "seconds": 1, "thumb": "", "size": "64x48",
              "at": 0, "strength": 1} for text in INJECTIONS]
    shots = [{"prompt": text, "seconds": 1, "camera": text, "transition": "cut", "lasts": 1, "text": text,
              "continues": False, "keyframes": [{**given[i], "source": text}]} for i, text in enumerate(INJECTIONS)]
    cast = [{"name": text, "looks": text} for text in INJECTIONS[:20]]
    for start in range(0, len(INJECTIONS), 34):
        part = INJECTIONS[start : start + 34]
        draft = {"prompt": part[0], "negative": part[1], "seed": part[2], "style": part[3], "task": "keyframes",
                 "given": given[start : start + 34], "captions": [[i / 20, text] for i, text in enumerate(part)],
                 "direct": True, "dropped": part, "moves": {text: 1 for text in part}}
        board = {"title": part[0], "style": part[1], "seed": part[2], "size": "128x80", "cast": cast, "shots":
                 shots[start : start + 34]}
        page.evaluate("([draft, board]) => { localStorage.setItem('draft', JSON.stringify(draft));"
                      "localStorage.setItem('board', JSON.stringify(board)); }", [draft, board])
        page.goto("about:blank")
        page.goto(served.url)
        playwright.expect(page.locator(".pieces li")).to_have_count(16)
        for name in ("Director", "Camera", "Over time", "More"):
            tool(page, name)
        page.goto(f"{served.url}/#/film")
        playwright.expect(page.locator(".shot")).to_have_count(len(part))
    page.get_by_role("button", name="Make the film").click()  # and in what the server answers
    page.locator("#said .bad").wait_for()


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
        page.get_by_label("Name").fill("Ann <b>")
        page.get_by_label("Megabytes kept").fill("2")
        page.get_by_role("button", name="Make a key").click()
        other = page.locator(".secret code").inner_text()
        assert [*Client(server.url, other).videos()] == []  # a tenant of its own
        playwright.expect(page.get_by_text("keeps 0.0 of 2.0 MB")).to_be_visible()
        (tmp_path / "given").write_bytes(b"x" * 1_200_000)
        Client(server.url, other).upload(tmp_path / "given")
        page.reload()
        playwright.expect(page.get_by_text("keeps 1.2 of 2.0 MB")).to_be_visible()
        playwright.expect(page.get_by_text("0.0 MB", exact=True)).to_be_visible()  # what who looks keeps
        assert violations(page) == []
        page.get_by_role("button", name="End the key of Ann").click()
        page.get_by_text("That key is ended").wait_for()
        with pytest.raises(UserError, match="key"):
            [*Client(server.url, other).videos()]
        page.get_by_role("button", name="Day").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
        page.get_by_role("button", name="Forget the key").click()
        page.get_by_placeholder("tk_").wait_for()
        context.close()
