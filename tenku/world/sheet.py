"""Pictures of what the grammar can say, and single clips, for eyes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tenku.errors import UserError
from tenku.rng import stream
from tenku.world import captions, grammar
from tenku.world.grammar import CAMERAS, COLOURS, LIGHTS, PLACES, SIZES, SUBJECTS, Relation, Scene, Thing
from tenku.world.simulate import Format, Take, render

CELL = (128, 80)  # pixels of a picture of the sheet
_HOME = {"fish": "coral reef", "sailing boat": "open sea"}


def single(
    subject: str, colour: str, size: str, action: str, place: str, light: str, camera: str, seed: int = 0
) -> Scene:
    """A scene of one subject (with something that hits it, where it "is hit")."""
    thing = Thing(subject, colour, size, action)
    other = (Thing("ball", "blue" if colour != "blue" else "red", "small", grammar.HITS),) if action == "is hit" else ()
    return Scene(seed, place, light, camera, (thing, *other))


def save_clip(out: Path, seed: int, fields: dict[str, str], text: str, fps: float, split: str) -> str:
    """Renders one scene to .mp4 or .png, with the facts beside it as .json. Returns its caption."""
    from tenku.media import encode_video

    try:
        width, height, frames = (int(n) for n in text.lower().split("x"))
    except ValueError:
        raise UserError(f"not a format: {text!r}", "WIDTHxHEIGHTxFRAMES, such as 256x160x33") from None
    if out.suffix not in (".mp4", ".png"):
        raise UserError(f"cannot write {out.name!r}", "the file must end in .mp4 or .png")
    scene = grammar.draw(seed, split)
    if fields:
        scene = grammar.variant(scene, **fields)
    take = render(scene, Format(width, height, 1 if out.suffix == ".png" else frames, fps))
    if out.suffix == ".png":
        Image.fromarray(take.clip.frames[0]).save(out)
    else:
        encode_video(take.clip.frames, fps, out, container="mp4", codec="libx264", pixel_format="yuv420p",
                     options={"crf": "16"})  # fmt: skip
    said = {r: captions.caption(take.facts, r, stream(seed, "caption", r)) for r in captions.REGISTERS}
    out.with_suffix(".json").write_text(json.dumps({**take.facts, "captions": said}))
    return said["everything"]


def _strip(scene: Scene, count: int = 5, frames: int = 33) -> np.ndarray:
    take: Take = render(scene, Format(*CELL, frames))
    picks = np.linspace(0, frames - 1, count).astype(int)
    return np.concatenate(list(take.clip.frames[picks]), axis=1)


def _still(scene: Scene) -> np.ndarray:
    return render(scene, Format(*CELL, 1)).clip.frames[0]


def _label(picture: np.ndarray, text: str) -> np.ndarray:
    image = Image.fromarray(np.concatenate([np.full((12, picture.shape[1], 3), 250, np.uint8), picture]))
    ImageDraw.Draw(image).text((3, 0), text, fill=(20, 20, 20))
    return np.asarray(image)


def _grid(cells: list[np.ndarray], columns: int) -> np.ndarray:
    blank = np.full_like(cells[0], 255)
    cells = cells + [blank] * (-len(cells) % columns)
    return np.concatenate([np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)])


_TELLING = {  # action -> who shows it best, and where
    "rests": ("robot", "meadow"),
    "moves left": ("car", "meadow"),
    "moves right": ("ball", "meadow"),
    "moves away": ("truck", "meadow"),
    "moves near": ("sailing boat", "open sea"),
    "bounces": ("ball", "beach"),
    "jumps": ("snowman", "snow"),
    "spins": ("house", "meadow"),
    "flies across": ("aeroplane", "meadow"),
    "swings": ("coffee cup", "meadow"),
    "is hit": ("cylinder", "meadow"),
    "topples": ("lighthouse", "meadow"),
    "floats": ("sailing boat", "open sea"),
    "takes off": ("rocket", "desert"),
}


def action_scenes() -> list[Scene]:
    """One telling scene for each action."""
    colours = tuple(COLOURS)
    return [
        single(who, colours[i % 8], ("small", "large")[i % 2], action, where, "day", "static", i)
        for i, (action, (who, where)) in enumerate(_TELLING.items())
    ]


def _subjects() -> list[np.ndarray]:
    cells = []
    for i, subject in enumerate(SUBJECTS):
        place, colour = _HOME.get(subject, "meadow"), tuple(COLOURS)[i % 8]
        can = grammar.actions(subject, place)
        scene = single(subject, colour, "large", "rests" if "rests" in can else can[0], place, "day", "static", i)
        cells.append(_label(_still(scene), f"{colour} {subject}"))
    return cells


def _colours() -> list[np.ndarray]:
    pairs = [(size, colour) for size in SIZES for colour in COLOURS]
    return [
        _label(_still(single("house", colour, size, "rests", "meadow", "day", "static", 5)), f"{size} {colour} house")
        for size, colour in pairs
    ]


def _places() -> list[np.ndarray]:
    who = {"open sea": ("sailing boat", "floats"), "coral reef": ("robot", "rests")}
    cells = []
    for light in LIGHTS:
        for place in PLACES:
            subject, action = who.get(place, ("car", "rests"))
            scene = single(subject, "red", "large", action, place, light, "static", 3)
            cells.append(_label(_still(scene), f"{place}, {light}"))
    return cells


def _cameras() -> list[np.ndarray]:
    actions = {camera: "moves right" if camera == "follow" else "rests" for camera in CAMERAS}
    return [
        _label(_strip(single("truck", "red", "large", action, "city street", "day", camera, 2)), camera)
        for camera, action in actions.items()
    ]


def _relations() -> list[np.ndarray]:
    pair = (Thing("cube", "yellow", "small", "rests"), Thing("cylinder", "blue", "large", "rests"))
    scenes = {kind: Scene(4, "beach", "day", "static", pair, (Relation(0, kind, 1),)) for kind in grammar.RELATIONS}
    return [_label(_still(scene), f"cube {kind} cylinder") for kind, scene in scenes.items()]


def sheet() -> np.ndarray:
    """The contact sheet, RGB uint8 [H, W, 3]: subjects, colours, places x lights, actions, cameras, relations."""
    strips = [_label(_strip(scene), scene.things[0].action) for scene in action_scenes()]
    rows = [
        _grid(_subjects(), 10),
        _grid(_colours(), 10),
        _grid(_places(), 8),
        _grid(strips, 2),
        _grid(_cameras(), 2),
        _grid(_relations(), 5),
    ]
    wide = max(row.shape[1] for row in rows)
    margins = [((0, 6), (0, wide - row.shape[1]), (0, 0)) for row in rows]
    return np.concatenate([np.pad(row, m, constant_values=255) for row, m in zip(rows, margins, strict=True)])


def save_sheet(out: Path) -> None:
    """Draws the contact sheet into a .png file."""
    if out.suffix != ".png":
        raise UserError(f"cannot write {out.name!r}", "the file must end in .png")
    Image.fromarray(sheet()).save(out)
