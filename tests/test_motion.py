"""Motion: read off the facts, sampled in latent steps, told to every token of a picture, the same in a mirror."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenku.config import CODEC_PRESETS, MOTION_PRESETS, TRANSFORMER_PRESETS
from tenku.data.encoding import looks_of, motion_of
from tenku.model.codec import Codec
from tenku.model.motion import (
    BESIDE,
    CHANNELS,
    FEATURES,
    GROUND,
    PARTS,
    REACH,
    SCENERY,
    features,
    motion_from,
    nearness,
    plain,
    seen,
    spots,
    steps_of,
    stretched,
    timeline,
    told_of,
)
from tenku.model.patches import Grid
from tenku.sampling.window import without
from tenku.world.camera import FOV, project
from tenku.world.grammar import COLOURS, SUBJECTS, draw, variant
from tenku.world.motion import (
    CAMERA,
    HEIGHT_SPREAD,
    LOOKS,
    MIRROR,
    SETTING,
    STATE,
    THING,
    THINGS,
    rotations,
    states,
)
from tenku.world.scenery import LANDMARK, LANDMARKS
from tenku.world.simulate import Format, render

SHAPE = Format(64, 48, 17, 16.0)
NOTHING = torch.zeros(1, THINGS, LOOKS)  # said of what things are
NOWHERE = torch.zeros(1, SETTING)
EMPTY = torch.zeros(1, LANDMARKS, LANDMARK)


@pytest.fixture(scope="module")
def facts() -> dict:
    scene = variant(draw(3), subject="car", place="meadow", action="moves left", camera="static", size="large")
    return render(scene, SHAPE).facts


def filmed(facts: dict) -> np.ndarray:
    """The states as the camera sees them, in metres, radians and tangents."""
    return seen(plain(torch.from_numpy(states(facts)))).numpy()


def test_a_thing_is_where_its_box_is(facts: dict) -> None:
    focal = SHAPE.height / 2 / np.tan(FOV / 2)
    for row, box in zip(filmed(facts), facts["things"][0]["boxes"], strict=True):
        present, right, up, log_away = row[CAMERA : CAMERA + 4]
        x, y = SHAPE.width / 2 + right * focal, SHAPE.height / 2 - up * focal
        assert present == pytest.approx(1)
        assert 1 < np.exp(log_away) < 12
        if box and box[0] > 0 and box[2] < SHAPE.width:  # whole in the picture
            assert box[0] < x < box[2]
            assert box[1] < y < box[3]


def test_a_spot_of_the_grid_is_in_the_thing(facts: dict) -> None:
    codec = Codec(CODEC_PRESETS["tiny"])
    grid = codec.grid(SHAPE.frames, SHAPE.height, SHAPE.width, SHAPE.fps)
    where, there = spots(motion_of(facts, codec)[:1], grid)
    assert there[0].tolist() == [k < len(facts["things"]) for k in range(THINGS)]
    for step in range(grid.steps):
        boxes = [box for box in facts["things"][0]["boxes"][8 * step - 7 if step else 0 : 8 * step + 1] if box]
        row, column = where[0, step, 0].tolist()
        if boxes:
            x, y = (column + 0.5) * 16, (row + 0.5) * 16
            assert min(b[0] for b in boxes) - 2 < x < max(b[2] for b in boxes) + 2
            assert min(b[1] for b in boxes) - 2 < y < max(b[3] for b in boxes) + 2


def test_a_car_that_drives_left_looks_left(facts: dict) -> None:
    rows = filmed(facts)[:, CAMERA : CAMERA + THING]
    assert rows[-1, 1] < rows[0, 1]
    assert rows[8, 4] < -0.8  # its front, +x, points to the camera's left
    assert np.allclose((rows[:, 4:7] ** 2).sum(1), 1, atol=1e-4)


def test_rotations_are_those_of_the_quaternions() -> None:
    half = np.sqrt(0.5)
    turned = rotations(np.array([[1, 0, 0, 0], [half, 0, 0, half]]))  # none; a quarter about z
    assert np.allclose(turned[0], np.eye(3))
    assert np.allclose(turned[1], [[0, -1, 0], [1, 0, 0], [0, 0, 1]])


def test_only_things_that_are_there_are_told(facts: dict) -> None:
    for k in range(len(facts["things"]), 3):
        assert (states(facts)[:, CAMERA + k * THING : CAMERA + (k + 1) * THING] == 0).all()
    assert states(facts).shape == (17, STATE)


def test_presets_have_room_for_what_is_told() -> None:
    assert {c.motion for c in TRANSFORMER_PRESETS.values()} == {FEATURES}
    assert {c.channels for c in MOTION_PRESETS.values()} == {CHANNELS}


def test_frames_fall_into_the_steps_that_pictures_fall_into() -> None:
    codec = Codec(CODEC_PRESETS["tiny"])
    numbers = torch.arange(17.0)[None, :, None]
    steps = codec.steps(numbers, PARTS)
    assert steps[0, :, :, 0].tolist() == [[0, 0, 0, 0], [2, 4, 6, 8], [10, 12, 14, 16]]
    video = numbers[..., None, None].expand(-1, -1, 16, 16, 3)
    groups = codec.groups(video).unflatten(4, (8, 16, 16, 3))[0, :, 0, 0, :, 0, 0, 0]
    assert torch.equal(groups[:, 1::2], steps[0, :, :, 0])
    assert codec.steps(torch.arange(12.0)[None, :, None], PARTS)[0, -1, -1, 0] == 11  # the last frame fills the rest


def test_the_tokens_nearest_to_a_thing_are_told_so_and_a_mirror_turns_it_round(facts: dict) -> None:
    codec = Codec(CODEC_PRESETS["tiny"])
    grid = codec.grid(SHAPE.frames, SHAPE.height, SHAPE.width, SHAPE.fps)
    motion = motion_of(facts, codec)
    assert motion.shape == (2, grid.steps, CHANNELS)
    told = features(motion, NOTHING.expand(2, -1, -1), NOWHERE.expand(2, -1), EMPTY.expand(2, -1, -1), grid)
    assert told.shape == (2, grid.tokens, FEATURES)
    assert (told[..., 0] == 1).all()
    some = torch.arange(grid.tokens).view(grid.steps, -1)[:, [[3, 0], [1, 2]]].transpose(0, 1).flatten(1)
    asked = features(motion, NOTHING.expand(2, -1, -1), NOWHERE.expand(2, -1), EMPTY.expand(2, -1, -1), grid, some)
    assert torch.equal(asked, told[torch.arange(2)[:, None], some])
    # the first number that fades out with the distance from the first thing, for the first part of each step
    seen = told.unflatten(1, (grid.steps, grid.rows, grid.columns))
    camera = 5 + 4 * 4 + 4 * 4
    near = seen[..., 1 + camera + 3]
    assert (nearness(told).unflatten(1, (grid.steps, grid.rows, grid.columns)) >= near).all()
    assert 0 < near.max() <= 1
    assert torch.allclose(near[0], near[1].flip(2), atol=1e-5)
    focal = SHAPE.height / 2 / np.tan(FOV / 2)
    right, up = filmed(facts)[0, CAMERA + 1 : CAMERA + 3]
    column, row = (SHAPE.width / 2 + right * focal) / 16, (SHAPE.height / 2 - up * focal) / 16
    brightest = int(near[0, 0].argmax())
    assert abs(brightest % grid.columns + 0.5 - column) <= 0.51
    assert abs(brightest // grid.columns + 0.5 - row) <= 0.51
    assert near[0, 0].min() < np.exp(-0.5 / REACH**2)


def test_steps_add_up_to_the_motion_again_and_stand_still_with_the_camera(facts: dict) -> None:
    motion = motion_of(facts, Codec(CODEC_PRESETS["tiny"]))
    steps = steps_of(motion)
    assert torch.allclose(motion_from(steps), motion, atol=1e-4)
    samples = steps.unflatten(2, (PARTS, STATE)).flatten(1, 2)
    assert samples[:, 1:, :CAMERA].abs().max() < 1e-3  # the scene's camera is static
    assert samples[:, 4:, CAMERA + 1].abs().max() > 0.5  # the car is not


def test_what_rests_is_zeros_under_a_camera_that_moves_and_what_spins_is_one_number() -> None:
    codec = Codec(CODEC_PRESETS["tiny"])
    for action, turns in (("rests", False), ("spins", True)):
        scene = variant(draw(3), subject="car", place="meadow", action=action, camera="orbit left", size="large")
        samples = steps_of(motion_of(render(scene, SHAPE).facts, codec)).unflatten(2, (PARTS, STATE)).flatten(1, 2)
        thing = samples[:, PARTS:, CAMERA : CAMERA + THING]
        assert samples[:, PARTS:, 3].abs().min() > 0.5  # the camera looks elsewhere
        assert thing[:, 1:, :6].abs().max() < (0.3 if turns else 0.02)  # it settles in the first moment
        spin = thing[..., 6]
        assert (spin.abs().min() > 0.5) == turns
        assert spin.std(1).max() < 0.1


def test_a_stretched_step_is_so_many_times_as_long(facts: dict) -> None:
    motion = motion_of(facts, Codec(CODEC_PRESETS["tiny"]))
    samples = steps_of(motion).unflatten(2, (PARTS, STATE)).flatten(1, 2)
    twice = torch.cat([samples[:, :1], stretched(samples[:, 1:], 2.0)], 1).reshape(motion.shape)
    gone, far = (rows.unflatten(2, (PARTS, STATE)).flatten(1, 2)[..., CAMERA + 1].diff(dim=1)
                 for rows in (motion, motion_from(twice)))
    assert gone.abs().max() > 0.1
    assert torch.allclose(far, 2 * gone, atol=1e-4)


def test_mirroring_twice_is_nothing() -> None:
    assert (MIRROR * MIRROR == 1).all()


def test_a_motion_has_one_token_a_step() -> None:
    grid = Grid(5, 4, 6, 0.25)
    assert timeline(grid) == Grid(5, 1, 1, 0.25)
    assert told_of(0.5, 2.0).tolist() == [-1.0, 1.0]


def test_a_spot_of_the_world_is_told_and_its_position_stands_still() -> None:
    codec = Codec(CODEC_PRESETS["tiny"])
    for camera in ("static", "pan left", "orbit right", "dolly in", "crane up"):
        scene = variant(draw(3), subject="car", place="meadow", action="rests", camera=camera, size="large")
        seen = render(scene, SHAPE).facts
        grid = codec.grid(SHAPE.frames, SHAPE.height, SHAPE.width, SHAPE.fps)
        # of each frame alone, as if every latent step held one
        alone = torch.from_numpy(states(seen))[None, :, None].expand(-1, -1, PARTS, -1).flatten(2)
        frames = Grid(SHAPE.frames, grid.rows, grid.columns)
        told = features(alone, NOTHING, NOWHERE, EMPTY, frames)[0].unflatten(0, (SHAPE.frames, grid.rows, grid.columns))
        drift = told[..., -2:]
        unit = 8 / (grid.rows * grid.columns) ** 0.5
        first, last = (np.array(seen["cameras"][i]) for i in (0, -1))
        row, column = grid.rows - 1, 1  # what the ground is at there, in the last frame
        focal = SHAPE.height / 2 / np.tan(FOV / 2)
        x, y = (column * 16 + 8 - SHAPE.width / 2) / focal, -(row * 16 + 8 - SHAPE.height / 2) / focal
        ray = last[:3, :3] @ np.array([x, y, -1.0])
        assert ray[2] < 0
        spot = last[:3, 3] - ray * last[2, 3] / ray[2]
        pixel, depth = project(spot[None], first, SHAPE.width, SHAPE.height)
        assert depth > 0
        expected = (pixel[0, ::-1] - (row * 16 + 8, column * 16 + 8)) / 16 * unit
        assert np.allclose(drift[-1, row, column], expected, atol=0.03), camera
        ground = told[-1, row, column, 1 + 3 + 4 * 4 :][: 2 + 4 * 4].numpy()
        assert np.allclose(ground[:2] * 4, spot[:2], atol=0.01)
        angle = np.arctan2(ground[[4, 5]], ground[[2, 3]]) - spot[:2] * 2 * np.pi / GROUND[0]
        assert np.allclose(np.cos(angle), 1, atol=1e-3)
        assert (drift.abs().max() < 1e-3) == (camera == "static")


def test_what_things_are_is_told_near_them(facts: dict) -> None:
    motion = motion_of(facts, Codec(CODEC_PRESETS["tiny"]))
    grid, looks = Grid(motion.shape[1], 3, 4), looks_of(facts)
    told = features(motion, looks.expand(2, -1, -1), NOWHERE.expand(2, -1), EMPTY.expand(2, -1, -1), grid)
    what = told[..., -2 - SCENERY - SETTING - BESIDE * LOOKS : -2 - SCENERY - SETTING].unflatten(-1, (BESIDE, LOOKS))
    near = nearness(told)[0]
    assert torch.allclose(what[0, int(near.argmax()), 0], near.max() * looks[0])
    assert what[0, int(near.argmin()), 0, :-1].max() < 0.5 * near.max()
    assert what[:, :, len(facts["things"]) :].abs().sum() == 0
    thing = facts["things"][0]
    assert int(looks[0, : len(SUBJECTS)].argmax()) == SUBJECTS.index(thing["subject"])
    assert int(looks[0, len(SUBJECTS) : -1].argmax()) == list(COLOURS).index(thing["colour"])
    assert np.exp(float(looks[0, -1]) * HEIGHT_SPREAD) == pytest.approx(thing["height"], rel=1e-3)


def test_tokens_are_told_of_the_nearest_things_whatever_their_order() -> None:
    scene = next(scene for scene in map(draw, range(99)) if len(scene.things) == THINGS)
    facts = render(scene, SHAPE).facts
    motion, looks = motion_of(facts, Codec(CODEC_PRESETS["tiny"]))[:1], looks_of(facts)[None]
    grid = Grid(motion.shape[1], 5, 7)
    told = features(motion, looks, NOWHERE, EMPTY, grid)
    rows = motion.unflatten(2, (PARTS, STATE))
    things = rows[..., CAMERA:].unflatten(-1, (THINGS, THING))[..., [2, 0, 1], :].flatten(-2)
    turned = torch.cat([rows[..., :CAMERA], things], -1).flatten(2)
    assert torch.equal(features(turned, looks[:, [2, 0, 1]], NOWHERE, EMPTY, grid), told)
    assert not torch.equal(features(turned, looks, NOWHERE, EMPTY, grid), told)


def test_things_of_which_nothing_is_said_are_not_there_unless_they_are_led() -> None:
    scene = next(scene for scene in map(draw, range(99)) if len(scene.things) == THINGS)
    made = render(scene, SHAPE).facts
    motion, said = motion_of(made, Codec(CODEC_PRESETS["tiny"]))[:1], looks_of(made)[None]
    said[:, 1:] = 0
    for led, there in ((0, [True, False, False]), (2, [True, True, False])):
        left = without(motion, said, led)
        samples = left.unflatten(2, (PARTS, STATE))
        assert (samples[..., CAMERA::THING] > 0.5).all((0, 1, 2)).tolist() == there
        assert torch.equal(samples[..., :CAMERA], motion.unflatten(2, (PARTS, STATE))[..., :CAMERA])
