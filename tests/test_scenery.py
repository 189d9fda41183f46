"""What stands around: drawn by a seed alone, built as drawn, told to the tokens that show it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from tenku.config import CODEC_PRESETS
from tenku.data.encoding import motion_of, scenery_of
from tenku.model.codec import Codec
from tenku.model.motion import ACROSS, AROUND, PARTS, SCENERY, features
from tenku.request import Request
from tenku.sampling.plan import plan
from tenku.world.camera import project
from tenku.world.grammar import PLACES, SUBJECTS, actions, draw, variant
from tenku.world.mentions import swings
from tenku.world.motion import LOOKS, SETTING, THINGS
from tenku.world.scenery import KINDS, LANDMARK, LANDMARKS, landmarks, told
from tenku.world.simulate import Format, render
from tenku.world.stage import build

SHAPE = Format(128, 80, 17)


def filmed(place: str, camera: str) -> dict:
    scene = variant(draw(5), subject="ball", place=place, action="rests", camera=camera, light="day")
    return render(scene, SHAPE).facts


def around(facts: dict, scenery: torch.Tensor) -> torch.Tensor:
    """What tokens of a fine grid are told of what stands around: B T H W, the flag, parts, kinds."""
    motion = motion_of(facts, Codec(CODEC_PRESETS["tiny"]))[: len(scenery)]
    codec = Codec(CODEC_PRESETS["tiny"])
    grid = codec.grid(SHAPE.frames, SHAPE.height, SHAPE.width, SHAPE.fps)
    looks, nowhere = torch.zeros(len(motion), THINGS, LOOKS), torch.zeros(len(motion), SETTING)
    numbers = features(motion, looks, nowhere, scenery, grid)[..., -2 - SCENERY : -2]
    return numbers.unflatten(1, (grid.steps, grid.rows, grid.columns))


def parts(numbers: torch.Tensor) -> torch.Tensor:
    """... T H W -> ... T H W PARTS AROUND (nearness, place across, place upwards, waves)."""
    size = 3 + 4 * len(ACROSS)
    return numbers[..., 1 : 1 + PARTS * AROUND * size].unflatten(-1, (PARTS, AROUND, size))


def test_every_place_has_some_and_what_is_built_stands_there() -> None:
    subject = {p: next(s for s in SUBJECTS if actions(s, p)) for p in PLACES}
    for place in PLACES:
        for seed in range(3):
            scene = variant(draw(seed), subject=subject[place], place=place)
            found = landmarks(place, scene.seed)
            assert 0 < len(found) <= LANDMARKS
            model = build(scene, 1.0, 1.6, (64, 48), 16.0).model
            spots = model.geom_pos[(model.geom_bodyid == 0) & (model.geom_contype == 0)]
            for one in found:
                assert 0 <= one.kind < KINDS
                assert -1 <= one.hand <= 1
                off = np.abs(spots[:, 0] - one.x) / one.wide + np.abs(spots[:, 1] - one.y)
                assert off.min() < 1, (place, one)


def test_nothing_is_said_of_no_place_and_one_seed_draws_one_scenery() -> None:
    assert not told(None, 3).any()
    assert not told("moon", None).any()
    assert told("moon", 0).any()
    assert told("moon", 3).shape == (LANDMARKS, LANDMARK)
    assert np.array_equal(told("moon", 3), told("moon", 3))
    assert not np.array_equal(told("moon", 3), told("moon", 4))
    with pytest.raises(KeyError):
        told("nowhere", 0)


@pytest.mark.parametrize("camera", ["pan left", "orbit right", "crane up"])
def test_tokens_are_told_of_the_landmark_that_they_show(camera: str) -> None:
    facts = filmed("snow", camera)
    numbers = parts(around(facts, scenery_of(facts)[None])[0])
    shown = 0
    for one in landmarks("snow", facts["scene"]["seed"]):
        # the last step's second sample is frame 12
        middle = np.array([[one.x, one.y, one.high / 2]])
        pixel, depth = project(middle, np.array(facts["cameras"][12]), SHAPE.width, SHAPE.height)
        column, row = (pixel[0] // 16).astype(int)
        if depth[0] > 0 and 0 <= column < 8 and 0 <= row < 5:
            shown += 1
            near, across, upwards = numbers[-1, row, column, 1, :, :3].unbind(-1)
            side = np.tan(np.radians(20)) * 2 / 5 * depth[0]  # metres that a token covers there
            fits = (near > 0.6) & ((across / near).abs() <= side / 2 / (2 * one.wide) + 0.02)
            assert (fits & ((upwards / near - 0.5).abs() <= side / 2 / one.high + 0.02)).any(), (camera, one)
    assert shown > 2


def test_the_frame_of_a_swing_stands_where_the_world_puts_it() -> None:
    scene = variant(draw(3), subject="ball", place="meadow", action="swings", camera="static", size="large")
    made = render(scene, Format(128, 80, 9, 16.0))
    frame = scenery_of(made.facts)[-1].numpy()
    assert frame[0] == 1
    half, high = np.exp(frame[4:6])
    corner, foot = np.array([[half, 0, high]]), np.array([[half, 0, 0.3]])
    for spot in (corner, foot):
        pixel, _ = project(spot, np.array(made.facts["cameras"][0]), 128, 80)
        column, line = pixel[0].astype(int).clip((1, 1), (126, 78))
        around_it = made.clip.frames[0, line - 1 : line + 2, column - 1 : column + 2].reshape(-1, 3).astype(int)
        assert (around_it[:, 0] > around_it[:, 2] + 8).any()  # wood: more red than blue, on grass or sky
    assert not scenery_of(filmed("moon", "static"))[-1].any()
    assert swings("a red ball swinging on a rope")
    assert not swings("a red ball bounces")


def test_without_scenery_tokens_are_told_nothing_of_it() -> None:
    facts = filmed("moon", "static")
    assert not around(facts, torch.zeros(1, LANDMARKS, LANDMARK)).any()
    assert (around(facts, scenery_of(facts)[None])[..., 0] == 1).all()


def test_the_seed_draws_it_unless_pictures_are_given() -> None:
    def seed(**fields: object) -> int | None:
        return plan(Request.parse({"prompt": "a ball on a beach", "seed": 7, **fields}), 5, 5).said[0].scenery

    assert seed() == 7
    assert seed(inputs=["sha256:" + "0" * 64]) is None


def test_drawing_it_needs_no_physics() -> None:
    code = "import sys; sys.modules['mujoco'] = None; from tenku.world.scenery import told; told('moon', 1)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
