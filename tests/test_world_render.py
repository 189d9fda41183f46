"""Rendering for real, at tiny size: bytes, facts against masks, deeds against trajectories, flow against pictures."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from tenku.errors import UserError
from tenku.world import grammar
from tenku.world.camera import project
from tenku.world.grammar import Relation, Scene, Thing, actions, draw
from tenku.world.sheet import action_scenes, single
from tenku.world.simulate import Format, facts_of, render

TINY = Format(48, 30, 17, 8.0)  # two seconds


def digest(take) -> str:
    return hashlib.sha256(take.clip.frames.tobytes() + repr(take.facts).encode()).hexdigest()


def test_the_same_scene_is_the_same_bytes_in_another_process():
    scene = draw(21)
    code = (
        "import hashlib; from tenku.world.grammar import draw; from tenku.world.simulate import Format, render\n"
        "render(draw(5), Format(32, 20, 2))\n"  # what was drawn before must not matter
        "t = render(draw(21), Format(48, 30, 17, 8.0))\n"
        "print(hashlib.sha256(t.clip.frames.tobytes() + repr(t.facts).encode()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert digest(render(scene, TINY)) == there


@pytest.mark.parametrize("shape", [(64, 36, 3, 24.0), (36, 64, 2, 12.0), (40, 40, 1, 16.0), (33, 21, 5, 30.0)])
def test_any_size_rate_and_length(shape):
    take = render(draw(2), Format(*shape))
    width, height, frames, fps = shape
    assert take.clip.frames.shape == (frames, height, width, 3)
    assert take.clip.fps == fps
    assert len(take.facts["cameras"]) == frames
    assert take.clip.frames.std() > 5  # not an empty picture


@pytest.mark.parametrize("frames", [1, 9])
def test_a_scene_that_is_not_filmed_has_the_same_facts(frames):
    shape = Format(48, 30, frames)
    assert facts_of(draw(3), shape) == render(draw(3), shape).facts


@pytest.mark.parametrize("subject", ["snowman", "coffee cup"])
def test_what_spins_on_the_moon_stays_on_it(subject):
    for seed in range(3):
        facts = facts_of(single(subject, "red", "small", "spins", "moon", "day", "static", seed), TINY)
        assert np.ptp(np.array(facts["things"][0]["poses"])[:, 2]) < 0.05


def test_formats_out_of_range_are_refused():
    for bad in ((8, 80, 3), (80, 4000, 3), (80, 80, 0), (80, 80, 3, 0.0)):
        with pytest.raises(UserError, match="range"):
            Format(*bad)


@pytest.mark.parametrize("scene", action_scenes(), ids=lambda s: s.things[0].action)
def test_every_action_is_done_and_proved(scene):
    """The claims against the trajectory itself, measured here by other means than in facts.py."""
    take = render(scene, TINY)
    thing = take.facts["things"][0]
    action = thing["action"]
    assert action in thing["done"]
    poses, camera = np.array(thing["poses"]), np.array(take.facts["cameras"])
    pixels, _ = project(poses[[0, -1], :3], camera[0], 48, 30)
    across = pixels[1, 0] - pixels[0, 0]
    away = np.linalg.norm(poses[:, :3] - camera[0][:3, 3], axis=1)
    heights = poses[:, 2]
    if action == "moves left":
        assert across < -8
    elif action == "moves right":
        assert across > 8
    elif action == "moves away":
        assert away[-1] > away[0] + 1
    elif action == "moves near":
        assert away[-1] < away[0] - 1
    elif action == "bounces":
        ground = [c for c in take.facts["contacts"] if c["a"] == "ground" and c["impulse"] > 0.05]
        lowest = heights.argmin()
        assert len(ground) >= 2
        assert heights[lowest:].max() > heights.min() + 0.2
    elif action == "jumps":
        assert np.ptp(heights) > 0.25
    elif action == "takes off":
        assert heights[-1] > heights[0] + 0.4
    elif action == "is hit":
        assert any(c["a"] == 0 and c["b"] == 1 and c["impulse"] > 0.05 for c in take.facts["contacts"])
    elif action == "rests":
        assert np.ptp(poses[:, :3], axis=0).max() < 0.25


def test_almost_all_drawn_actions_are_proved():
    shape = Format(32, 20, 9, 4.0)
    scenes = [draw(seed) for seed in range(7_000, 7_020)]
    proved = [scene.things[0].action in render(scene, shape).facts["things"][0]["done"] for scene in scenes]
    assert np.mean(proved) >= 0.9


def test_cameras_do_what_their_names_say():
    for name in ("pan left", "pan right", "orbit left", "orbit right", "dolly in", "dolly out", "crane up", "static"):
        facts = render(single("cube", "red", "large", "rests", "snow", "day", name), Format(32, 20, 5, 2.0)).facts
        first, last = (np.array(facts["cameras"][k]) for k in (0, -1))
        moved = last[:3, 3] - first[:3, 3]
        turned = np.cross(-first[:3, 2], -last[:3, 2])[2]  # positive: to the left
        right = float(moved @ first[:3, 0])
        if name == "static":
            assert np.allclose(first, last)
        elif name.startswith("pan"):
            assert np.allclose(moved, 0)
            assert (turned > 0.2) == (name == "pan left")
        elif name.startswith("orbit"):
            assert (right < -1) == (name == "orbit left")
        elif name.startswith("dolly"):
            assert (float(moved @ -first[:3, 2]) > 0.8) == (name == "dolly in")
        else:
            assert moved[2] > 1


def test_a_following_camera_keeps_the_subject_in_the_middle():
    take = render(single("car", "blue", "small", "moves left", "desert", "day", "follow"), TINY)
    centres = [(box[0] + box[2]) / 2 for box in take.facts["things"][0]["boxes"]]
    assert np.abs(np.array(centres) - 24).max() < 6


def test_boxes_and_visibility_agree_with_masks():
    scenes = [single(s, "red", "large", "rests", "desert", "day", "orbit left", k)
              for k, s in enumerate(grammar.SUBJECTS) if "rests" in actions(s, "desert")]  # fmt: skip
    for scene in scenes:
        take = render(scene, Format(128, 80, 2, 1.0), arrays=True)
        thing = take.facts["things"][0]
        for index, mask in enumerate(take.arrays["mask"]):
            y, x = np.nonzero(mask == 1)
            truth = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
            assert np.abs(truth - thing["boxes"][index]).max() <= 3, scene.things[0].subject
            assert thing["visible"][index] > 0.9


def test_what_stands_behind_is_seen_less():
    wall, small = Thing("truck", "blue", "large", "rests"), Thing("ball", "red", "small", "rests")
    scene = Scene(9, "meadow", "day", "static", (small, wall), (Relation(0, "behind", 1),))
    beside = Scene(9, "meadow", "day", "static", (small, wall), (Relation(0, "left of", 1),))
    hidden, free = (render(s, Format(64, 40, 1), arrays=True) for s in (scene, beside))
    assert hidden.facts["things"][0]["visible"][0] < free.facts["things"][0]["visible"][0]
    assert (hidden.arrays["mask"] == 1).sum() < (free.arrays["mask"] == 1).sum()


@pytest.mark.parametrize("kind", grammar.RELATIONS)
def test_relations_hold_in_the_picture(kind):
    pair = (Thing("cube", "yellow", "small", "rests"), Thing("cylinder", "blue", "large", "rests"))
    take = render(Scene(4, "beach", "day", "static", pair, (Relation(0, kind, 1),)), Format(64, 40, 3, 2.0))
    assert take.facts["relations"] == [{"a": 0, "kind": kind, "b": 1}]
    a, b = (np.array(t["boxes"][0]) for t in take.facts["things"])
    if kind == "left of":
        assert a[2] <= b[0] + 2
    elif kind == "right of":
        assert a[0] >= b[2] - 2
    elif kind == "on top of":
        assert a[3] <= b[1] + 4
    else:  # the nearer one's foot is lower in the picture
        assert (a[3] > b[3]) == (kind == "in front of")


def test_flow_leads_each_pixel_to_the_same_thing_at_the_same_place():
    scene = single("car", "red", "large", "moves right", "meadow", "day", "pan right")
    take = render(scene, Format(96, 60, 3, 8.0), arrays=True)
    flow, mask, depth = take.arrays["flow"], take.arrays["mask"], take.arrays["depth"]
    assert flow.shape == (2, 60, 96, 2)
    y, x = np.nonzero(mask[0] == 1)
    there = np.round(np.stack([x, y], 1) + flow[0, y, x]).astype(int)
    inside = ((there >= 0) & (there < (96, 60))).all(axis=1)
    landed = mask[1][there[inside, 1], there[inside, 0]]
    assert (landed == 1).mean() > 0.9
    pictures = take.clip.frames.astype(float)
    stay = np.abs(pictures[1][there[inside, 1], there[inside, 0]] - pictures[0][y[inside], x[inside]]).mean()
    still = np.abs(pictures[1][y, x] - pictures[0][y, x]).mean()
    assert stay < still
    assert np.isinf(depth).any()
    assert 1 < depth[0][mask[0] == 1].min() < 8


def test_colours_of_subjects_read_as_their_names():
    """The mean hue inside the mask is nearest to the named colour, of red, green and blue."""
    for colour, channel in (("red", 0), ("green", 1), ("blue", 2)):
        for subject in ("house", "robot", "coffee cup", "lighthouse", "rocket"):
            take = render(
                single(subject, colour, "large", "rests", "snow", "day", "static"), Format(48, 30, 1), arrays=True
            )
            mean = take.clip.frames[0][take.arrays["mask"][0] == 1].mean(axis=0)
            assert mean.argmax() == channel, (subject, colour)


def test_night_is_dark_but_the_subject_can_be_seen():
    scenes = [single("ball", "yellow", "large", "rests", "meadow", light, "static") for light in ("day", "night")]
    day, night = (render(scene, Format(48, 30, 1), arrays=True) for scene in scenes)
    assert night.clip.frames.mean() < 0.6 * day.clip.frames.mean()
    inside = night.arrays["mask"][0] == 1
    contrast = night.clip.frames[0][inside].mean() - night.clip.frames[0][~inside].mean()
    assert contrast > 10
