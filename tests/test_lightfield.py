"""Light fields: rays in, colours out, the same however many pictures and sayings are at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tenku.config import CODEC_PRESETS, LightFieldConfig
from tenku.data.latents import looks_of, motion_of, scenery_of, setting_of
from tenku.model.codec import Codec
from tenku.model.lightfield import LightField, rows_of_frames
from tenku.model.motion import PARTS, plain
from tenku.world.camera import FOV, project
from tenku.world.grammar import draw, variant
from tenku.world.motion import CAMERA, STATE, THING, states
from tenku.world.simulate import Format, render

SHAPE = Format(64, 48, 17, 16.0)


@pytest.fixture(scope="module")
def facts() -> dict:
    scene = variant(draw(3), subject="car", place="meadow", action="moves left", camera="orbit left", size="large")
    return render(scene, SHAPE).facts


@pytest.fixture(scope="module")
def field() -> LightField:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LightField(LightFieldConfig(width=32)).eval()


def told(facts: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return looks_of(facts)[None], setting_of(facts)[None], scenery_of(facts)[None]


def rays(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    unit = 2 * np.tan(FOV / 2) / height
    y, x = torch.meshgrid(((height - 1) / 2 - torch.arange(height)) * unit,
                          (torch.arange(width) - (width - 1) / 2) * unit, indexing="ij")
    return x.reshape(1, -1), y.reshape(1, -1), unit


@torch.inference_mode()
def test_pictures_are_the_same_together_alone_and_told_once(facts: dict, field: LightField) -> None:
    rows = plain(torch.from_numpy(states(facts)))[[0, 8, 16]]
    x, y, unit = rays(48, 64)
    once = field(rows, *told(facts), x.expand(3, -1), y.expand(3, -1), unit)
    each = field(rows, *(t.expand(3, *t.shape[1:]) for t in told(facts)), x.expand(3, -1), y.expand(3, -1), unit)
    alone = torch.cat([field(row[None], *told(facts), x, y, unit) for row in rows])
    some = field(rows, *(t.expand(3, *t.shape[1:]) for t in told(facts)), x[:, ::97].expand(3, -1),
                 y[:, ::97].expand(3, -1), unit)  # few rays of each saying: another way to the same
    assert torch.allclose(once, each, atol=1e-5)
    assert torch.allclose(once, alone, atol=1e-5)
    assert torch.allclose(once[:, ::97], some, atol=1e-5)


@torch.inference_mode()
def test_a_thing_is_seen_only_where_it_is(facts: dict, field: LightField) -> None:
    rows = plain(torch.from_numpy(states(facts)))[8:9]
    x, y, unit = rays(48, 64)
    without = rows.clone()
    without[:, CAMERA::THING] = 0.0  # no thing is there
    changed = (field(rows, *told(facts), x, y, unit) - field(without, *told(facts), x, y, unit)).abs().amax(-1) > 1e-4
    changed = changed.view(48, 64)
    poses = np.array(facts["things"][0]["poses"])[8, :3]
    column, line = project(poses[None], np.array(facts["cameras"][8]), 64, 48)[0][0]
    assert changed[int(line), int(column)]
    assert not changed[0, [0, -1]].any()  # the sky beside it


@torch.inference_mode()
def test_what_stands_around_changes_the_picture(facts: dict, field: LightField) -> None:
    rows = plain(torch.from_numpy(states(facts)))[:1]
    x, y, unit = rays(48, 64)
    looks, setting, scenery = told(facts)
    bare = field(rows, looks, setting, torch.zeros_like(scenery), x, y, unit)
    full = field(rows, looks, setting, scenery, x, y, unit)
    share = ((bare - full).abs().amax(-1) > 1e-4).float().mean()
    assert 0.02 < share < 0.9


def test_a_clip_has_its_frames_and_a_motion_between_samples(facts: dict, field: LightField) -> None:
    codec = Codec(CODEC_PRESETS["tiny"])
    grid = codec.grid(SHAPE.frames, SHAPE.height, SHAPE.width, SHAPE.fps)
    motion = motion_of(facts, codec)[:1]
    with torch.inference_mode():
        clip = field.video(motion, *told(facts), codec.shape(grid))
        still = field.video(motion[:, :1], *told(facts), (1, SHAPE.height, SHAPE.width))
        some = field.video(motion, *told(facts), codec.shape(grid), torch.arange(SHAPE.frames) > 11)
    assert clip.shape == (1, SHAPE.frames, SHAPE.height, SHAPE.width, 3)
    assert torch.allclose(clip[:, :1], still, atol=1e-5)
    assert torch.allclose(some[:, 12:], clip[:, 12:], atol=1e-5)
    assert not some[:, :12].any()
    rows = rows_of_frames(plain(motion.unflatten(2, (PARTS, STATE)).flatten(1, 2)[0]), SHAPE.frames)
    truth = plain(torch.from_numpy(states(facts)))
    assert torch.allclose(rows[::2], truth[::2], atol=1e-5)
    assert torch.allclose(rows[1::2, : CAMERA + 4], truth[1::2, : CAMERA + 4], atol=0.02)


def test_it_is_saved_and_loaded(field: LightField, tmp_path: Path) -> None:
    field.save(tmp_path / "lightfield.safetensors")
    again = LightField.load(tmp_path / "lightfield.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(field.parameters(), again.parameters(), strict=True))
