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


def single(subject: str, colour: str, size: str, action: str, place: str, light: str, camera: str, seed: int = 0) -> Scene:
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
        with out.open("wb") as file:
            encode_video(take.clip.frames, fps, file, container="mp4", codec="libx264")
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


def action_scenes() -> list[Scene]:
    """One telling scene for each action."""
    who = {"rests": "robot", "moves left": "car", "moves right": "ball", "moves away": "truck", "moves near": "sailing boat",
           "bounces": "ball", "jumps": "snowman", "spins": "house", "flies across": "aeroplane", "swings": "coffee cup",
           "is hit": "cylinder", "topples": "lighthouse", "floats": "sailing boat", "takes off": "rocket"}  # fmt: skip
    where = {"moves near": "open sea", "floats": "open sea", "takes off": "desert", "bounces": "beach", "jumps": "snow"}
    colours = tuple(COLOURS)
    return [
        single(who[a], colours[i % 8], "large" if i % 2 else "small", a, where.get(a, "meadow"), "day", "static", i)
        for i, a in enumerate(grammar.ACTIONS)
    ]


def sheet() -> np.ndarray:
    """The contact sheet, RGB uint8 [H, W, 3]: subjects, colours, places x lights, actions, cameras, relations."""
    colours = tuple(COLOURS)
    rows = [_grid([_label(_still(single(s, colours[i % 8], "large", "rests" if "rests" in grammar.actions(s, _HOME.get(s, "meadow"))
                                        else grammar.actions(s, _HOME.get(s, "meadow"))[0],
                                        _HOME.get(s, "meadow"), "day", "static", i)), f"{colours[i % 8]} {s}")
                   for i, s in enumerate(SUBJECTS)], 10)]  # fmt: skip
    rows.append(_grid([_label(_still(single("house", c, size, "rests", "meadow", "day", "static", 5)), f"{size} {c} house")
                       for size in SIZES for c in colours], 10))  # fmt: skip
    homes = {"open sea": ("sailing boat", "floats")}
    rows.append(_grid([_label(_still(single(*_who(homes, p), p, light, "static", 3)), f"{p}, {light}")
                       for light in LIGHTS for p in PLACES], 10 if len(PLACES) == 10 else 8))  # fmt: skip
    rows.append(_grid([_label(_strip(s), s.things[0].action) for s in action_scenes()], 2))
    rows.append(_grid([_label(_strip(single("truck", "red", "large", "moves right" if c == "follow" else "rests", "city street",
                                            "day", c, 2)), c) for c in CAMERAS], 2))  # fmt: skip
    pair = (Thing("cube", "yellow", "small", "rests"), Thing("cylinder", "blue", "large", "rests"))
    rows.append(_grid([_label(_still(Scene(4, "beach", "day", "static", pair, (Relation(0, kind, 1),))), f"yellow cube {kind} cylinder")
                       for kind in grammar.RELATIONS], 10))  # fmt: skip
    wide = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 6), (0, wide - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)


def _who(homes: dict[str, tuple[str, str]], place: str) -> tuple[str, str, str, str]:
    subject, action = homes.get(place, ("robot" if place == "coral reef" else "car", "rests"))
    return subject, "red", "large", action


def save_sheet(out: Path) -> None:
    """Draws the contact sheet into a .png file."""
    if out.suffix != ".png":
        raise UserError(f"cannot write {out.name!r}", "the file must end in .png")
    Image.fromarray(sheet()).save(out)
