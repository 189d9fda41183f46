"""The measures of the modes: a cut is found, ordinary moments are not; paths and middles against closed truth."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import scene, texture

from tenku.evaluation.seams import auc, features, finder, logistic, middle_of, moments, path_errors


def cut(seed: int) -> np.ndarray:
    """Two drifting textures, one after the other, at frame 9."""
    return np.concatenate([texture(9, 64, 48, seed), texture(8, 64, 48, seed + 100)])


def test_a_cut_stands_out_and_steady_movement_does_not():
    steady = texture(17, 64, 48, 1)
    assert max(np.abs(features(steady, t)[[0, 2, 3]]).max() for t in moments(steady)) < 0.3
    found = features(cut(1), 9)
    assert found[0] > 0.5
    assert found[2] > 0.5
    still = np.repeat(scene(1, 64, 48), 9, 0)
    assert np.allclose(features(still, 4), 0)


def test_a_pause_is_a_jump_of_velocity():
    ramp = np.arange(64)[None, None, :, None] * 2 + np.arange(17)[:, None, None, None] * 3
    steady = np.broadcast_to(ramp, (17, 48, 64, 3)).astype(np.uint8)
    paused = np.concatenate([steady[:9], steady[8:9], steady[9:16]])
    assert np.allclose(features(steady, 9), 0)
    assert features(paused, 9)[0] < -1  # nothing moves
    assert features(paused, 9)[3] > 1


def test_the_finder_finds_cuts_and_nothing_where_there_is_none():
    cuts, none = [], []
    for seed in range(8):
        frames, steady = cut(seed), texture(17, 64, 48, seed + 50, speed=1 + seed % 3)
        ordinary = np.stack([features(steady, t) for t in (3, 5, 11, 13)])
        cuts.append((features(frames, 9)[None], ordinary))
        none.append((features(steady, 9)[None], ordinary))
    assert finder(cuts) == 1.0
    assert finder(none) < 0.85


def test_auc_counts_pairs():
    assert auc([2, 3], [0, 1]) == 1
    assert auc([0, 2], [1, 1]) == 0.5
    assert auc([1], [1]) == 0.5


def test_the_regression_separates_along_the_right_axis():
    draw = np.random.Generator(np.random.Philox(key=3))
    x = draw.standard_normal((200, 3))
    w = logistic(x, (x[:, 1] + 0.1 * draw.standard_normal(200) > 0).astype(float))
    assert w[1] > 5 * max(abs(w[0]), abs(w[2]))


def test_path_errors_in_closed_form():
    asked = np.repeat(np.eye(4)[None], 3, 0)
    asked[:, 2, 3] = [0, -1, -2]
    assert path_errors(asked, asked) == pytest.approx({"RotErr": 0, "TransErr": 0, "CamMC": 0}, abs=1e-6)
    made = asked.copy()
    made[2, 0, 3] = 0.5  # half a metre beside it at the end
    assert path_errors(made, asked) == pytest.approx({"RotErr": 0, "TransErr": 0.5, "CamMC": 0.5}, abs=1e-6)
    angle = np.radians(10)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    made = asked.copy()
    made[1, :3, :3] = turn
    found = path_errors(made, asked)
    assert found["RotErr"] == pytest.approx(angle)
    assert found["CamMC"] == pytest.approx(np.linalg.norm(turn - np.eye(3)))
    moved = np.einsum("ij,tjk->tik", np.array([[0, 0, 1, 3], [0, 1, 0, 0], [-1, 0, 0, 1], [0, 0, 0, 1.0]]), made)
    assert path_errors(moved, asked) == pytest.approx(found)  # where the world begins does not matter


def test_the_middle_of_a_colour_is_found_in_light_and_shade():
    picture = np.full((40, 64, 3), 200, np.uint8)
    picture[10:20, 30:40] = (219, 18, 18)
    assert middle_of(picture, (0.86, 0.07, 0.07)) == pytest.approx((34.5, 14.5))
    assert middle_of((picture * 0.5).astype(np.uint8), (0.86, 0.07, 0.07)) == pytest.approx((34.5, 14.5))
    assert middle_of(picture, (0.08, 0.22, 0.88)) is None
