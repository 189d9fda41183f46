"""Every mode with the bundled weights, small and in few steps: what comes out, and that what is given comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import scene

from tenku import media
from tenku.engines.bundled import BUNDLED, Engine, load
from tenku.errors import UserError
from tenku.model.motion import seen
from tenku.request import Request
from tenku.sampling import modes
from tenku.sampling.generate import Result, Saved, generate, stream
from tenku.sampling.moves import motion_of
from tenku.sampling.plan import plan
from tenku.sampling.shown import Shown
from tenku.sampling.window import sketch_of, what_is_told
from tenku.types import Clip, Size
from tenku.world.motion import CAMERA

pytestmark = pytest.mark.skipif(not (BUNDLED / "nano" / "transformer.safetensors").exists(), reason="no weights yet")

WIDTH, HEIGHT, LONG = 64, 48, 17
SMALL = {"size": f"{WIDTH}x{HEIGHT}", "steps": 2, "seed": 5}
WORDS = "a large red ball moves left on a beach at sunset"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load("nano")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, a picture and a mask."""
    where = tmp_path_factory.mktemp("inputs")
    for name, seed in (("a", 1), ("b", 2)):
        (where / f"{name}.mp4").write_bytes(media.write_lossless(soft(seed), 16.0))
    Image.fromarray(soft(1)[4]).save(where / "a.png")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:40, 20:50] = 255
    Image.fromarray(mask).save(where / "mask.png")
    return where


def soft(seed: int) -> np.ndarray:
    """A moving scene as large as the tests' clips."""
    return modes.fitted(Clip(scene(LONG, WIDTH * 2, HEIGHT * 2, seed), 16.0), Size(WIDTH, HEIGHT)).frames


def make(**fields: object) -> Result:
    return generate(Request.parse({"prompt": WORDS, **SMALL, **fields}))[0]


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def round_trip(engine: Engine, frames: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        video = torch.from_numpy(frames)[None].float() / 127.5 - 1
        back = engine.codec.decode(engine.codec.encode(video), HEIGHT, WIDTH)[0, : len(frames)]
        return ((back + 1) * 127.5).round().to(torch.uint8).numpy()


# mode -> fields; frames that come out; which of them are given: (input, its frames, the clip's frames)
CASES: dict[str, tuple[dict, int, list[tuple[str, slice, slice]]]] = {
    "image": ({"inputs": ["a.png"], "seconds": 1}, 17, [("a.png", slice(0, 1), slice(0, 1))]),
    "keyframes": ({"inputs": ["a.png", "a.png@0.7", "b.mp4@0.9:0.5"], "seconds": 1}, 17,
                  [("a.png", slice(0, 1), slice(11, 12))]),
    "extend": ({"mode": "extend", "inputs": ["a.mp4"], "seconds": 0.5}, 25, [("a.mp4", slice(0, 17), slice(0, 17))]),
    "backwards": ({"mode": "extend", "way": "backwards", "inputs": ["a.mp4"], "seconds": 0.5}, 25,
                  [("a.mp4", slice(0, 17), slice(8, 25))]),
    "transition": ({"mode": "blend", "inputs": ["a.mp4", "b.mp4"], "seconds": 0.5}, 49,
                   [("a.mp4", slice(0, 17), slice(0, 17)), ("b.mp4", slice(0, 17), slice(32, 49))]),
    "morph": ({"mode": "blend", "way": "morph", "inputs": ["a.mp4", "b.mp4"]}, 17,
              [("a.mp4", slice(0, 1), slice(0, 1)), ("b.mp4", slice(16, 17), slice(16, 17))]),
    "loop": ({"mode": "loop", "seconds": 1}, 16, []),
    "looped": ({"mode": "loop", "inputs": ["a.mp4"], "seconds": 0.5}, 25, [("a.mp4", slice(0, 17), slice(0, 17))]),
    "edit": ({"mode": "edit", "inputs": ["a.mp4"]}, 17, []),
    "recut": ({"mode": "edit", "inputs": ["a.mp4"], "keep": [[0, 0.3], [0.8, 1]]}, 17,
              [("a.mp4", slice(0, 6), slice(0, 6)), ("a.mp4", slice(13, 17), slice(13, 17))]),
}  # fmt: skip


@pytest.mark.parametrize("mode", CASES)
def test_a_mode_makes_its_clip_and_what_is_given_comes_back(mode, folder, engine):
    fields, count, given = CASES[mode]
    fields = fields | {"inputs": [str(folder / name) for name in fields.get("inputs", [])]}
    result = make(**fields)
    assert result.clip.frames.shape == (count, HEIGHT, WIDTH, 3)
    for name, source, place in given:
        truth = media.read_at(folder / name, 16.0).frames
        back = round_trip(engine, truth)[source]
        assert decibels(result.clip.frames[place], truth[source]) > decibels(back, truth[source]) - 0.5
    again = json.loads(json.dumps(result.record))
    assert str(folder) not in json.dumps(again)  # inputs are named by hash
    assert Request.from_json(again["request"]).mode == fields.get("mode", "generate")


@pytest.mark.parametrize("way", ["inside", "outside"])
def test_the_other_side_of_a_mask_comes_back(way, folder, engine):
    clip = make(mode="edit", way=way, inputs=[str(folder / "a.mp4")], mask=str(folder / "mask.png")).clip
    truth = media.read_at(folder / "a.mp4", 16.0).frames
    kept = (np.asarray(Image.open(folder / "mask.png")) > 0) == (way == "outside")
    back = round_trip(engine, truth)
    assert decibels(clip.frames[:, kept], truth[:, kept]) > decibels(back[:, kept], truth[:, kept]) - 0.5
    assert decibels(clip.frames[:, ~kept], truth[:, ~kept]) < decibels(back[:, ~kept], truth[:, ~kept])


def test_a_larger_canvas_holds_the_clip_in_its_middle(folder, engine):
    clip = make(mode="edit", way="around", inputs=[str(folder / "a.mp4")], size="96x48").clip
    truth = media.read_at(folder / "a.mp4", 16.0).frames
    assert decibels(clip.frames[:, :, 16:80], truth) > decibels(round_trip(engine, truth), truth) - 0.5


def test_a_circle_has_no_seam(engine):
    """From the last frame to the first it is no farther than over other borders of latent steps; in a clip it is."""
    seam: dict[str, list[float]] = {"loop": [], "generate": []}
    for mode, ratios in seam.items():
        for seed in (1, 2):
            frames = make(mode=mode, seconds=2, steps=6, seed=seed, motion=2).clip.frames[-32:].astype(float)
            jumps = np.abs(np.roll(frames, -1, 0) - frames).mean((1, 2, 3))
            ratios.append(jumps[-1] / jumps[[7, 15, 23]].mean())
    assert np.mean(seam["loop"]) < 1.2
    assert np.mean(seam["generate"]) > 1.2


def test_a_clip_goes_on_after_a_round_or_in_pieces_to_the_same_bits(engine: Engine) -> None:
    request = Request.parse({"prompt": WORDS, **SMALL, "seconds": 3})
    kept: list[Saved] = []
    whole = generate(request, on_round=kept.append)[0].clip
    assert [saved.rounds for saved in kept] == list(range(1, kept[0].total + 1))
    assert kept[0].total > 1
    assert np.array_equal(generate(request, saved=kept[0])[0].clip.frames, whole.frames)
    begun = kept[0].finished().frames
    assert np.array_equal(begun, whole.frames[: len(begun)])
    pieces = list(stream(request))
    assert len(pieces) == kept[0].total
    assert np.array_equal(np.concatenate([piece.frames for piece in pieces]), whole.frames)


def test_a_clip_is_as_fine_as_its_sketch(engine: Engine) -> None:
    """And not as the codec shows that."""
    request = Request.parse({"prompt": WORDS, **SMALL, "seconds": 1})
    grid = engine.codec.grid(request.frames, HEIGHT, WIDTH, request.fps)
    one = plan(request, grid.steps, engine.longest)
    with torch.inference_mode():
        told = what_is_told(engine, one, [motion_of(engine, one, grid)], grid, 0)
        assert told is not None
        drawn = ((sketch_of(engine, one, told)[1][0] + 1) * 127.5).round().to(torch.uint8).numpy()[:, :HEIGHT, :WIDTH]
    frames = generate(request)[0].clip.frames
    assert decibels(frames, drawn) > decibels(round_trip(engine, drawn), drawn)


def test_what_is_given_cannot_be_streamed(folder: Path) -> None:
    with pytest.raises(UserError, match="words alone"):
        next(stream(Request.parse({"prompt": WORDS, "inputs": [str(folder / "a.png")]})))


@pytest.fixture(scope="module")
def own() -> tuple[Result, Result]:
    """Two of our own clips of different things and places."""
    return make(seconds=1), make(seconds=1, prompt="a large blue cube spins in the snow at night", seed=9)


def made_of(results: Sequence[Result], believed: bool = True, **fields: object) -> Result:
    """A clip made from results that are in memory, and say what they show, or do not."""
    named = {modes.name_of(result.clip): result for result in results}
    request = Request.parse({"prompt": WORDS, **SMALL, "inputs": list(named), **fields})
    shown = {name: result.record["shown"] for name, result in named.items()} if believed else {}
    return generate(request, clips={name: result.clip for name, result in named.items()}, shown=shown)[0]


def steady(frames: np.ndarray, at: int) -> bool:
    """Whether the picture goes no farther at a frame than at ordinary ones around it."""
    jumps = np.abs(np.diff(frames[at - 8 : at + 8].astype(float), axis=0)).mean((1, 2, 3))
    return bool(jumps[7] < 2 * np.delete(jumps, 7).mean() + 1)


@pytest.mark.parametrize("way", ["forwards", "backwards"])
def test_an_own_clip_goes_on_as_it_moved_and_again(way: str, own: tuple[Result, Result]) -> None:
    """What it shows is in its record. Of another clip it is not believed."""
    clip = own[0].clip.frames
    longer = made_of(own[:1], mode="extend", way=way, seconds=1)
    kept, seam = (slice(0, 17), 17) if way == "forwards" else (slice(-17, None), -17)
    assert np.array_equal(longer.clip.frames[kept], clip)  # its fine lines, too, go around the codec
    assert steady(longer.clip.frames, seam % 33)
    again = made_of([longer], mode="extend", way=way, seconds=0.5).clip.frames
    assert np.array_equal(again[:33] if way == "forwards" else again[-33:], longer.clip.frames)
    unknown = made_of(own[:1], False, mode="extend", way=way, seconds=1)
    assert not np.array_equal(unknown.clip.frames[kept], clip)
    forged = Result(own[0].clip, own[1].record, (), "", "", ())
    assert np.array_equal(made_of([forged], mode="extend", way=way, seconds=1).clip.frames, unknown.clip.frames)


def test_an_own_clip_goes_on_after_a_round_to_the_same_bits(own: tuple[Result, Result]) -> None:
    name, kept = modes.name_of(own[0].clip), list[Saved]()
    request = Request.parse({"prompt": WORDS, **SMALL, "mode": "extend", "inputs": [name], "seconds": 2.5})
    given = {"clips": {name: own[0].clip}, "shown": {name: own[0].record["shown"]}}
    whole = generate(request, on_round=kept.append, **given)[0]
    assert len(kept) > 1
    again = generate(request, saved=kept[0], **given)[0]
    assert np.array_equal(again.clip.frames, whole.clip.frames)
    assert again.record == whole.record


def test_two_own_clips_become_one_whose_things_meet(own: tuple[Result, Result]) -> None:
    """Both ends come back; between them things lie upon each other, which two motions of their own do not make them."""
    result = made_of(own, mode="blend", seconds=1)
    frames = result.clip.frames
    assert np.array_equal(frames[:17], own[0].clip.frames)
    assert np.array_equal(frames[-17:], own[1].clip.frames)
    assert steady(frames, 17)
    assert steady(frames, len(frames) - 17)
    shown = Shown.from_json(result.record["shown"])
    assert shown is not None
    middle = 16 + (len(frames) - 33) // 2
    there = [seen(torch.from_numpy(shown.at(world, np.array([middle / 16])))) for world in (0, 1)]
    assert torch.allclose(there[0][0, CAMERA : CAMERA + 4], there[1][0, CAMERA : CAMERA + 4], atol=0.01)
    longer = made_of([result], mode="extend", seconds=0.5, prompt="a large blue cube spins in the snow at night")
    assert np.array_equal(longer.clip.frames[: len(frames)], frames)


def test_two_own_clips_turn_into_each_other(own: tuple[Result, Result]) -> None:
    frames = made_of(own, mode="blend", way="morph").clip.frames
    assert np.array_equal(frames[0], own[0].clip.frames[0])
    assert np.array_equal(frames[-1], own[1].clip.frames[-1])
    jumps = np.abs(np.diff(frames.astype(float), axis=0)).mean((1, 2, 3))
    assert jumps.max() < 3 * jumps.mean()


def test_an_own_clip_is_led_back_to_its_beginning(own: tuple[Result, Result]) -> None:
    frames = made_of(own[:1], mode="loop", seconds=1).clip.frames
    assert np.array_equal(frames[:17], own[0].clip.frames)
    assert steady(np.roll(frames, 16, 0), 16)
    assert steady(frames, 17)


def test_an_own_picture_is_come_to(own: tuple[Result, Result]) -> None:
    picture = make(seconds=0, prompt="a large blue cube spins in the snow at night", seed=9)
    for frames in (made_of([own[0], picture], mode="blend", seconds=1).clip.frames,
                   made_of([picture], mode="extend", way="backwards", seconds=1).clip.frames):
        assert np.array_equal(frames[-1], picture.clip.frames[0])
        steps = np.abs(np.diff(frames.astype(float), axis=0)).mean((1, 2, 3))
        assert steps[-1] < min(10, steps.max() / 2)  # it is not cut to


def test_an_own_picture_moves_in_its_own_place() -> None:
    picture = make(seconds=0)
    frames = made_of([picture], seconds=1).clip.frames
    assert np.array_equal(frames[0], picture.clip.frames[0])
    assert np.abs(frames[1].astype(float) - frames[0]).mean() < 6


def test_captions_along_time_change_what_is_seen_later(folder):
    plain = make(seconds=2).clip.frames
    told = make(seconds=2, captions=[[1.2, "a green cube in the snow at night"]]).clip.frames
    difference = np.abs(plain.astype(float) - told).mean((1, 2, 3))
    assert difference[-8:].mean() > 2 * difference[:9].mean()


def test_an_edit_of_no_strength_is_nearly_the_clip(folder):
    truth = media.read_at(folder / "a.mp4", 16.0).frames
    near, far = (make(mode="edit", inputs=[str(folder / "a.mp4")], strength=s).clip.frames for s in (0.05, 0.95))
    assert decibels(near, truth) > decibels(far, truth) + 3


@pytest.mark.parametrize(("fields", "said"), [
    ({"inputs": ["nowhere.png"]}, "cannot read"),
    ({"inputs": ["sha256:" + "0" * 64]}, "hash"),
    ({"inputs": ["a.png@1.5"], "seconds": 1}, "cannot be at 1.5"),
    ({"inputs": ["text.txt"]}, "no video or image"),
    ({"mode": "blend", "way": "morph", "inputs": ["a.png", "a.png"]}, "morph"),
    ({"mode": "edit", "way": "inside", "inputs": ["a.mp4"], "mask": "text.txt"}, "no video or image"),
])  # fmt: skip
def test_inputs_that_cannot_be_are_said(fields, said, folder):
    (folder / "text.txt").write_text("no picture")
    for name in ("inputs", "mask"):
        if name in fields:
            value = fields[name]
            paths = [v if v.startswith("sha256") else str(folder / v) for v in ([value] if name == "mask" else value)]
            fields = fields | {name: paths[0] if name == "mask" else paths}
    with pytest.raises(UserError, match=said) as caught:
        make(**fields)
    assert caught.value.hint


def test_other_sizes_and_rates_are_fitted(tmp_path):
    frames = modes.fitted(Clip(scene(9, 200, 100, 3), 8.0), Size(200, 100)).frames
    (tmp_path / "wide.mp4").write_bytes(media.write_lossless(frames, 8.0))
    made = modes.setting(Request.parse({"prompt": "x", "mode": "extend", "inputs": [str(tmp_path / "wide.mp4")],
                                        "seconds": 0.5, "size": "64x48"}))
    assert made.canvas is not None
    assert made.canvas.frames.shape == (33, 48, 64, 3)  # 9 frames at 8 are 18 at 16, and 8 more, in whole groups
    assert (made.canvas.weight[:18] == 255).all()
    assert (made.canvas.weight[18:] == 0).all()
