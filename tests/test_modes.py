"""Every mode with the bundled weights, small and in few steps: what comes out, and that what is given comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import scene

from tenku import media
from tenku.engines.bundled import BUNDLED, Engine, load
from tenku.errors import UserError
from tenku.request import Request
from tenku.sampling import modes
from tenku.sampling.generate import Result, Saved, generate
from tenku.types import Clip, Size

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
    "edit": ({"mode": "edit", "inputs": ["a.mp4"], "moves": [WORDS, 3]}, 17, []),
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


def test_a_clip_goes_on_after_a_round_to_the_same_bits_and_is_as_fine_as_its_sketch(engine: Engine) -> None:
    request = Request.parse({"prompt": WORDS, **SMALL, "seconds": 3})
    kept: list[Saved] = []
    whole = generate(request, on_round=kept.append)[0].clip
    assert [saved.rounds for saved in kept] == list(range(1, kept[0].total + 1))
    assert kept[0].total > 1
    assert np.array_equal(generate(request, saved=kept[0])[0].clip.frames, whole.frames)
    begun = kept[0].finished().frames
    assert np.array_equal(begun, whole.frames[: len(begun)])
    drawn = kept[-1].drawn[:, :HEIGHT, :WIDTH].numpy()
    assert len(drawn) >= len(whole.frames)
    guessed = round_trip(engine, drawn)  # what the codec alone would show of it
    near = decibels(whole.frames, drawn[: len(whole.frames)])
    assert near > decibels(guessed[: len(whole.frames)], drawn[: len(whole.frames)])


def test_an_own_clip_goes_on_as_it_moved(folder: Path) -> None:
    """Its motion and its place are dreamt again from its prompt and seed. Of another clip's they are not believed."""
    own = make(seconds=1)
    named = {modes.name_of(own.clip): own.clip}
    more = {"mode": "extend", "inputs": list(named), "seconds": 2.5}
    kept: list[Saved] = []

    def longer(**fields: object) -> np.ndarray:
        request = Request.parse({"prompt": WORDS, **SMALL, **more, **fields})
        return generate(request, clips=named, on_round=kept.append)[0].clip.frames

    true = longer(moves=[WORDS, SMALL["seed"]])
    assert np.array_equal(true[:17], own.clip.frames)  # its fine lines, too, go around the codec
    assert len(kept) > 1
    request = Request.parse({"prompt": WORDS, **SMALL, **more, "moves": [WORDS, SMALL["seed"]]})
    assert np.array_equal(generate(request, clips=named, saved=kept[0])[0].clip.frames, true)
    jump, before = (np.abs(true[t].astype(float) - true[t - 1]).mean() for t in (17, 9))
    assert jump < 2 * before + 1
    back = longer(way="backwards", moves=[WORDS, SMALL["seed"]])
    assert np.array_equal(back[-17:], own.clip.frames)
    jump, before = (np.abs(back[t].astype(float) - back[t - 1]).mean() for t in (-17, -25))
    assert jump < 2 * before + 1
    unknown = longer()
    assert not np.array_equal(unknown[:17], own.clip.frames)
    assert np.array_equal(longer(moves=["a green truck spins in the snow at night", 9]), unknown)


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
