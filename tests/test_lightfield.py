"""Light fields: rays in, colours out, the same however many pictures and sayings are at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tenku.config import CODEC_PRESETS, LightFieldConfig
from tenku.data.encoding import looks_of, motion_of, scenery_of, setting_of
from tenku.model.codec import Codec
from tenku.model.lightfield import ALIKE, PIECES, Field, LightField
from tenku.model.motion import axes_of, plain, rotation_of
from tenku.model.rays import BOXES, CORES, Things, beats, cast, rope, solids, swell
from tenku.world.camera import FOV, project
from tenku.world.grammar import PLACES, SUBJECTS, WINGS, actions, draw, variant
from tenku.world.motion import CAMERA, THING, states
from tenku.world.scenery import CRESTS, ROLL
from tenku.world.simulate import Format, render
from tenku.world.stage import ROPE

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


def told(facts: dict, frames: int = SHAPE.frames) -> tuple[torch.Tensor, ...]:
    beat = beats(torch.arange(frames) / SHAPE.fps)
    return looks_of(facts)[None], setting_of(facts)[None], scenery_of(facts)[None], beat


def rays(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    unit = 2 * np.tan(FOV / 2) / height
    y, x = torch.meshgrid(((height - 1) / 2 - torch.arange(height)) * unit,
                          (torch.arange(width) - (width - 1) / 2) * unit, indexing="ij")
    return x.reshape(1, -1), y.reshape(1, -1), unit


@torch.inference_mode()
def test_pictures_are_the_same_together_alone_and_told_once(facts: dict, field: LightField) -> None:
    rows = plain(torch.from_numpy(states(facts)))[[0, 8, 16]]
    x, y, unit = rays(48, 64)
    given = told(facts, 3)
    many = [t.expand(3, *t.shape[1:]) for t in given]
    once = field(rows, *given, x.expand(3, -1), y.expand(3, -1), unit)
    each = field(rows, *many, x.expand(3, -1), y.expand(3, -1), unit)
    alone = torch.cat([field(rows[i : i + 1], *given[:3], given[3][i : i + 1], x, y, unit) for i in range(3)])
    some = field(rows, *many, x[:, ::97].expand(3, -1), y[:, ::97].expand(3, -1), unit)  # another way to the same
    assert torch.allclose(once, each, atol=1e-5)
    assert torch.allclose(once, alone, atol=1e-5)
    assert torch.allclose(once[:, ::97], some, atol=1e-5)


@torch.inference_mode()
def test_a_thing_is_seen_only_where_it_is(facts: dict, field: LightField) -> None:
    rows = plain(torch.from_numpy(states(facts)))[8:9]
    x, y, unit = rays(48, 64)
    without = rows.clone()
    without[:, CAMERA::THING] = 0.0  # no thing is there
    changed = (field(rows, *told(facts, 1), x, y, unit) - field(without, *told(facts, 1), x, y, unit)).abs()
    changed = changed.amax(-1) > 1e-4
    changed = changed.view(48, 64)
    poses = np.array(facts["things"][0]["poses"])[8, :3]
    column, line = project(poses[None], np.array(facts["cameras"][8]), 64, 48)[0][0]
    assert changed[int(line), int(column)]
    assert not changed[0, [0, -1]].any()  # the sky beside it


@torch.inference_mode()
def test_what_stands_around_changes_the_picture(facts: dict, field: LightField) -> None:
    rows = plain(torch.from_numpy(states(facts)))[:1]
    x, y, unit = rays(48, 64)
    looks, setting, scenery, beat = told(facts, 1)
    bare = field(rows, looks, setting, torch.zeros_like(scenery), beat, x, y, unit)
    full = field(rows, looks, setting, scenery, beat, x, y, unit)
    share = ((bare - full).abs().amax(-1) > 1e-4).float().mean()
    assert 0.02 < share < 0.9


def test_a_clip_has_its_frames_and_a_motion_between_samples(facts: dict, field: LightField) -> None:
    codec = Codec(CODEC_PRESETS["tiny"])
    grid = codec.grid(SHAPE.frames, SHAPE.height, SHAPE.width, SHAPE.fps)
    motion = motion_of(facts, codec)[:1]
    with torch.inference_mode():
        clip = field.video(motion, *told(facts), codec.shape(grid))
        still = field.video(motion[:, :1], *told(facts, 1), (1, SHAPE.height, SHAPE.width))
        some = field.video(motion, *told(facts), codec.shape(grid), torch.arange(SHAPE.frames) > 11)
    assert clip.shape == (1, SHAPE.frames, SHAPE.height, SHAPE.width, 3)
    assert torch.allclose(clip[:, :1], still, atol=1e-5)
    assert torch.allclose(some[:, 12::4], clip[:, 12::4], atol=1e-5)
    assert torch.allclose(some[:, 13], (3 * some[:, 12] + some[:, 16]) / 4, atol=1e-5)
    assert not some[:, :12].any()
    x, y, unit = rays(SHAPE.height, SHAPE.width)
    last, truth = told(facts), plain(torch.from_numpy(states(facts)))[-1:]
    with torch.inference_mode():
        picture = field(truth, *last[:3], last[3][-1:], x, y, unit).clamp(-1, 1)
    off = (clip[0, -1].flatten(0, 1) - picture[0]).abs()  # of pixels that were not asked for, too
    assert off.max() < ALIKE
    assert (off < 1e-5).float().mean() > 0.5
    assert off.mean() < ALIKE / 20
    assert torch.allclose(clip[:, 1, :8], (clip[:, 0, :8] + clip[:, 2, :8]) / 2, atol=1e-5)  # sky
    assert not torch.allclose(clip[:, 1], (clip[:, 0] + clip[:, 2]) / 2, atol=1e-2)


def test_what_stands_still_is_drawn_once(field: LightField) -> None:
    still = variant(draw(3), subject="cube", place="meadow", action="rests", camera="static")
    asked: dict[str, int] = {}
    for name in ("scene", "thing"):
        getattr(field, name).register_forward_pre_hook(
            lambda _, rays, name=name: asked.update({name: asked.get(name, 0) + rays[0].shape[-2]}))
    codec = Codec(CODEC_PRESETS["tiny"])
    facts = render(still, SHAPE).facts
    with torch.inference_mode():
        clip = field.video(motion_of(facts, codec)[:1], *told(facts), (SHAPE.frames, SHAPE.height, SHAPE.width))
    assert asked["scene"] <= 2 * 2 * SHAPE.height * SHAPE.width  # parts of a call are calls
    assert 0 < asked["thing"] < asked["scene"]
    assert torch.allclose(clip[:, :1], clip, atol=0.02)


def test_it_is_saved_and_loaded(field: LightField, tmp_path: Path) -> None:
    field.save(tmp_path / "lightfield.safetensors")
    again = LightField.load(tmp_path / "lightfield.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(field.parameters(), again.parameters(), strict=True))


def test_what_beats_is_told_by_the_clock_and_closes_a_circle() -> None:
    seconds = torch.arange(48) / 16
    line, ring = beats(seconds), beats(seconds, 3.0)
    assert torch.allclose(line[:, 0], (2 * torch.pi * WINGS * seconds).sin(), atol=1e-5)
    assert torch.allclose(beats(seconds[:1] + 3.0, 3.0), ring[:1], atol=1e-5)
    assert not torch.allclose(beats(seconds[1:2] + 3.0), line[1:2], atol=0.1)  # 7.5 beats of wings


@pytest.mark.parametrize("subject", [*SUBJECTS, "rocket that takes off"])
def test_no_subject_reaches_out_of_its_box(subject: str) -> None:
    subject, _, flies = subject.partition(" that ")
    place = next(place for place in PLACES if actions(subject, place))
    action = "takes off" if flies else actions(subject, place)[0]
    scene = variant(draw(3), subject=subject, place=place, action=action, camera="static")
    made = render(scene, SHAPE, arrays=True)
    rows, height = plain(torch.from_numpy(states(made.facts))), made.facts["things"][0]["height"]
    right, up, back = axes_of(rows[:, None, :CAMERA])
    x, y, _ = rays(SHAPE.height, SHAPE.width)
    depth = torch.from_numpy(made.arrays["depth"]).flatten(1)[..., None]
    spots = rows[:, None, :3] + (x[..., None] * right + y[..., None] * up - back) * depth
    inside = (spots - rows[:, None, CAMERA + 1 : CAMERA + 4]) @ rotation_of(rows)[:, 0]  # in the thing's axes
    seen = inside[torch.from_numpy(made.arrays["mask"] == 1).flatten(1)]
    assert len(seen) > 20
    assert (seen.abs() < BOXES[SUBJECTS.index(subject)] * height + 0.04).all()


def test_in_bfloat16_few_numbers_of_rows_are_multiplied():
    """oneDNN keeps kernels for each: a minute of any number of rays once took a gigabyte of them."""
    field, draw = Field(8, 4, 16, 3, 4), torch.Generator().manual_seed(0)
    seen: set[int] = set()
    field.enter.register_forward_pre_hook(lambda _, given: seen.add(given[0].shape[-2]))
    said = torch.randn(3, 4, generator=draw)
    for count in (0, 1, 255, 256, 700, 1300, 5000):
        rays, which = torch.randn(count, 8, generator=draw), torch.randint(3, (count,), generator=draw)
        with torch.inference_mode():
            exact = field.float()(rays, said, which), field(rays[None], said[:1])
            seen.clear()
            found = field.bfloat16()(rays, said, which), field(rays[None], said[:1])
        assert seen <= {0, *PIECES, *range(256, 1024, 256)}
        for one, other in zip(found, exact, strict=True):
            assert one.shape == other.shape
            assert one.dtype == torch.float32
            assert torch.allclose(one, other, atol=0.05)


def test_a_rope_is_where_the_world_hangs_things() -> None:
    scene = variant(draw(5), subject="cube", place="beach", action="swings", camera="static", light="day")
    take = render(scene, Format(256, 160, 9, 8.0))
    rows = plain(torch.from_numpy(states(take.facts)))
    x, y, unit = rays(160, 256)
    seen = cast(rows, x.expand(9, -1), y.expand(9, -1), unit)
    things = Things(seen, looks_of(take.facts)[None], setting_of(take.facts)[None], beats(torch.zeros(9)))
    hides = rope(seen, things).view(9, 160, 256).numpy()
    field = LightField(LightFieldConfig(width=32)).eval()
    bodies = field._bodies(torch.zeros(9, 160 * 256, 3), seen, things)
    clear = (hides > 0.9) & (bodies.view(9, 160, 256, 3) == 0).all(-1).numpy()  # no thing is near
    colours = take.clip.frames[clear] / 255
    assert clear.sum() > 100
    given = (rows[:1], looks_of(take.facts)[None], setting_of(take.facts)[None], scenery_of(take.facts)[None],
             beats(torch.zeros(1)), x, y, unit)
    with torch.inference_mode():
        exact = field(*given)
        assert (exact.view(160, 256, 3)[hides[0] > 0.9].sub(field.rope[0]).abs() < 0.1).all(-1).float().mean() > 0.5
        assert torch.allclose(field.bfloat16()(*given), exact, atol=0.1)  # as processors that can work in it do
    assert np.abs(colours / colours.sum(1, keepdims=True) - np.array(ROPE) / sum(ROPE)).max(1).mean() < 0.05


@pytest.mark.parametrize("seconds", [0.0, 0.7, 2.0])
def test_waves_roll_as_the_world_rolls_them(seconds: float) -> None:
    crests = -2.6 + CRESTS * torch.arange(8.0) - ROLL * seconds  # world/simulate.py
    told = swell(crests, torch.full((8,), 1e-3), beats(torch.tensor([seconds])))
    still = swell(torch.tensor([-2.6]), torch.tensor([1e-3]), beats(torch.zeros(1)))
    assert torch.allclose(told[:, [0, 1, 3, 4]], still[:, [0, 1, 3, 4]].expand(8, -1), atol=1e-3)
    rise = np.sin(1.3 * seconds + crests.numpy() + ROLL * seconds)
    assert np.allclose(told[:, 5], rise, atol=2e-3)
    assert swell(crests, torch.full((8,), 50.0), beats(torch.tensor([seconds]))).abs().max() < 0.01  # finer than pixels


def test_a_ray_is_told_where_it_enters_a_box_and_how_deep() -> None:
    core = CORES[SUBJECTS.index("cube")].expand(3, 3)
    place = torch.tensor([[0.1, 0.2, 0.0], [0.6, 0.0, 0.0], [0.49, 0.0, 0.0]])  # through, past, and at the edge
    down = torch.tensor([0.0, 0.0, -1.0]).expand(3, 3)
    told = solids(place, down, core, torch.full((3, 1), 0.02), torch.tensor([0.0, 0.0, 1.0]).expand(3, 3),
                  torch.full((3, 1), 0.5))
    assert torch.allclose(told[0, :6], torch.tensor([0.1, 0.2, 0.5, 0.1, 0.2, -0.5]))
    deep = told[:, 24]
    assert torch.allclose(deep, torch.tensor([1.0, -2.0, 1.0]))
    assert torch.allclose(told[[0, 2], 27], torch.ones(2))  # above the ground
    ball = told[:, 33]  # 1 in the middle, 0 at the edge
    assert ball[0] > 0.5
    assert ball[1] < 0 < ball[2] < 0.05
