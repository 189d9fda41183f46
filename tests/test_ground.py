"""What carries things: simulated truth stays as it is, and what was dreamt astray is put back on ground and rope."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from tenku.engines.bundled import load
from tenku.evaluation.mechanics import Bodies, measure
from tenku.evaluation.physics import Case, cases
from tenku.evaluation.truth import FPS, FRAMES, HEIGHT, WIDTH
from tenku.model.motion import PARTS
from tenku.sampling.ground import bodies, carried_by
from tenku.world.motion import CAMERA, THING

HIGH = CAMERA + 3
EVERY = 2 / FPS  # seconds between samples of the bundled model, one for each second frame


@pytest.fixture(scope="module")
def truth() -> list[Case]:
    found = list(islice(cases(load("nano").codec), 24))
    assert all(len(case.rows) == (FRAMES + 1) // 2 for case in found)
    assert {case.scene.things[0].action for case in found} >= {"bounces", "jumps", "swings", "topples", "spins"}
    return found


def carried(case: Case, rows: np.ndarray, since: int = 0) -> np.ndarray:
    """As a clip's samples are: those of its first moment are there PARTS times."""
    clip = np.r_[np.repeat(rows[:1], PARTS - 1, 0), rows]
    return carried_by(clip, bodies((case.text,)), since and since + PARTS - 1, EVERY)[PARTS - 1 :]


def test_truth_stays_as_it_is(truth: list[Case]) -> None:
    moved = np.array([np.abs(carried(case, case.rows)[:, HIGH] - case.rows[:, HIGH]).max() for case in truth])
    assert np.median(moved) < 0.02
    assert moved.max() < 0.25


def test_what_was_dreamt_astray_comes_back(truth: list[Case]) -> None:
    worse, better = [], []
    for number, case in enumerate(truth):
        if case.scene.things[0].action not in ("bounces", "jumps") or not any(bodies((case.text,))):
            continue
        creeps = np.linspace(0, 0.5 if number % 2 else -0.5, len(case.rows))[:, None]
        rows = case.rows.copy()
        rows[:, [HIGH]] += creeps
        found = carried(case, rows)
        worse.append(np.abs(rows[:, HIGH] - case.rows[:, HIGH]).mean())
        better.append(np.abs(found[:, HIGH] - case.rows[:, HIGH]).mean())
    assert len(worse) > 3
    assert np.mean(better) < 0.4 * np.mean(worse)


def test_what_flies_is_moved_by_gravity_alone(truth: list[Case]) -> None:
    slow = []
    for case in truth:
        if case.scene.things[0].action == "jumps" and any(bodies((case.text,))):
            rows = case.rows.copy()
            low = rows[:, HIGH].min()
            rows[:, HIGH] = low + 0.6 * (rows[:, HIGH] - low)  # as if gravity were less
            laws = Bodies(case.scene, (FRAMES - 1) / FPS, WIDTH / HEIGHT, FPS)
            slow.append((measure(laws, rows, EVERY)["fall"], measure(laws, carried(case, rows), EVERY)["fall"]))
    before, after = np.mean(slow, 0)
    assert before < 0.7
    assert after == pytest.approx(1, abs=0.1)


def test_a_rope_keeps_its_length_and_swings(truth: list[Case]) -> None:
    draw = np.random.default_rng(0)
    for case in truth:
        if case.scene.things[0].action == "swings":
            rows = case.rows.copy()
            rows[:, CAMERA + 1 : CAMERA + 4] += draw.normal(0, 0.1, (len(rows), 3))
            laws = Bodies(case.scene, (FRAMES - 1) / FPS, WIDTH / HEIGHT, FPS)
            assert measure(laws, rows, EVERY)["rope"] > 0.05
            found = carried(case, rows)
            assert measure(laws, found, EVERY)["rope"] == pytest.approx(0, abs=1e-6)
            off = np.abs(found[:, CAMERA + 1 : CAMERA + THING] - case.rows[:, CAMERA + 1 : CAMERA + THING])
            assert off.max() < 0.2


def test_what_is_known_stays_and_goes_on(truth: list[Case]) -> None:
    for case in truth:
        rows = case.rows.copy()
        rows[:, HIGH] += 0.3  # known to be carried by something
        found = carried(case, rows, since=8)
        assert np.array_equal(found[:8], rows[:8])
        if case.scene.things[0].action == "rests":
            assert np.abs(np.diff(found[:, HIGH])).max() < 0.05


@pytest.mark.parametrize("text", [
    "a ball floats on the open sea", "a fish swims in a coral reef", "a red ball", "",
    "an aeroplane flies across over a meadow", "a robot stands on a large cube in a meadow",
])
def test_what_something_else_may_carry_is_left_alone(text: str) -> None:
    assert bodies((text,))[:1] in ([], [None])


def test_gravity_is_as_strong_as_motion_is_asked_to_be() -> None:
    earth, twice = (bodies(("a red cube jumps in a meadow",), motion)[0] for motion in (1.0, 2.0))
    assert earth
    assert twice
    assert twice.gravity == 2 * earth.gravity
    assert bodies(("a red cube jumps in a meadow",), 0.0) == []  # what stands still in the air stays there
