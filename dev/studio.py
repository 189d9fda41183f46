"""Takes the pictures of the studio that are in the docs: docs/media/studio-*.webp.

    python dev/studio.py [URL]

Starts a server of its own with the bundled model and makes a dozen clips (minutes on two cores), or uses one that runs.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "tests"))

from servers import Served  # noqa: E402

from tenku.serving.client import Client  # noqa: E402

MEDIA = REPO / "docs" / "media"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PROMPTS = (
    "a red ball bouncing on a beach at sunset", "a white sailing boat floats on the open sea in fog",
    "a blue rocket takes off on the moon at night", "an orange fish swims right in a coral reef",
    "a purple house in a meadow, the camera orbits left", "a yellow butterfly flies over a meadow",
    "a red lighthouse on a beach, the camera moves closer", "a green robot spins in the snow",
)
BASIC = {"seconds": "1", "steps": 20, "seed": 0}


def clips(client: Client) -> dict[str, str]:
    """Names of clips to their ids; what is there already is not made again."""
    there = {video.prompt: video.id for video in client.videos(status="completed")}

    def made(name: str, prompt: str, **fields: Any) -> str:
        if prompt not in there:
            there[prompt] = [*client.watch(client.create(prompt, **{**BASIC, **fields}).id)][-1].id
            print(name, flush=True)
        return there[prompt]

    found = {prompt.split()[2]: made(prompt, prompt, size="128x80") for prompt in PROMPTS}
    found["night"] = made("edit", "a red ball bouncing on a beach at night", mode="edit", inputs=[found["ball"]],
                          seconds=None, strength=0.8)
    found["longer"] = made("extend", "a red ball rolls on a beach at night", mode="extend", inputs=[found["night"]])
    found["blend"] = made("blend", "a ball and a boat on the sea", mode="blend",
                          inputs=[found["ball"], found["sailing"]])
    return found


class Camera:
    """A browser of one width and look, and what it sees as small files."""

    def __init__(self, browser: Any, url: str, *, width: int, height: int, look: str) -> None:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=look,
                                      device_scale_factor=1 if width > 600 else 1.5, reduced_motion="reduce")
        self.page, self.url = context.new_page(), url
        self.page.set_default_timeout(60_000)

    def goto(self, where: str, sign: str) -> Any:
        """Opens a page and waits for what shows that it is there."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/{where}")
        self.page.locator(sign).first.wait_for()
        return self.page

    def seen(self) -> Image.Image:
        """What is on the screen, once pictures are loaded."""
        self.page.mouse.move(0, 0)
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(700)
        return Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")


def compose(camera: Camera) -> Image.Image:
    """The composer with a camera's path."""
    page = camera.goto("", "#prompt")
    page.locator("#prompt").fill("a red ball on a beach at sunset")
    page.get_by_role("button", name="Camera", exact=True).click()
    for move, by in (("Orbit", "-55"), ("Crane", "1.2"), ("Look at", "0.6")):
        page.get_by_role("slider", name=move).fill(by)
    return camera.seen()


def main() -> None:
    """All pictures."""
    from playwright.sync_api import sync_playwright

    folder = Path(tempfile.mkdtemp(prefix="tenku-studio-"))
    served = None if len(sys.argv) > 1 else Served(folder).start()
    url = sys.argv[1] if served is None else served.url
    try:
        ids = clips(Client(url))
        with sync_playwright() as start:
            browser = start.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            night = Camera(browser, url, width=1280, height=860, look="dark")
            day = Camera(browser, url, width=1280, height=860, look="light")
            phone = Camera(browser, url, width=390, height=780, look="light")
            pictures = {"make": compose(night)}
            page = day.goto("#/library", ".card")
            for name in ("ball", "sailing"):
                page.locator(f"[data-pick={ids[name]}]").press("Enter")
            pictures["library"] = day.seen()
            page = night.goto(f"#/clip/{ids['ball']}", ".lineage")
            pictures["clip"] = night.seen()
            page.locator(".lineage").scroll_into_view_if_needed()
            box = page.locator("[aria-labelledby=lineage]").bounding_box()
            top, bottom = round(box["y"]) - 20, round(box["y"] + box["height"]) + 30
            pictures["family"] = night.seen().crop((0, top, 1280, min(860, bottom)))
            page = day.goto("#/film", ".shots")
            page.get_by_role("button", name="Begin with an example").click()
            page.evaluate("scrollTo(0, 240)")
            pictures["film"] = day.seen()
            compose(phone)
            phone.page.evaluate("scrollTo(0, 0)")
            parts = [phone.seen()]
            phone.goto(f"#/clip/{ids['night']}", ".lineage")
            parts.append(phone.seen())
            phone.goto("#/library", ".card")
            parts.append(phone.seen())
            sheet = Image.new("RGB", (sum(part.width for part in parts) + 48, parts[0].height), (120, 120, 140))
            for i, part in enumerate(parts):
                sheet.paste(part, (i * (part.width + 24), 0))
            pictures["phone"] = sheet
            browser.close()
        for name, picture in pictures.items():
            picture.thumbnail((1280, 1280))
            picture.save(MEDIA / f"studio-{name}.webp", quality=82, method=6)
    finally:
        if served is not None:
            served.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
