"""The visible mark: legible on every ground, on its path, found again."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from scenes import scene, texture

from tenku import media
from tenku.errors import UserError
from tenku.provenance import visible
from tenku.types import Clip


def resized(frames: np.ndarray, width: int, height: int) -> np.ndarray:
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(f).resize((width, height))) for f in frames])


@pytest.mark.parametrize("grey", [0, 90, 160, 255])
def test_letters_stand_out_on_every_ground(grey):
    frames = visible.draw(np.full((1, 80, 128, 3), grey, np.uint8), 12)
    ink = visible.stamp(128)[1]
    x, y = visible.place(0, (128, 80), (ink.shape[1], ink.shape[0]))
    patch = frames[0, y:y + ink.shape[0], x:x + ink.shape[1], 0].astype(int)
    plate = patch[2:-2, 2:-2][ink[2:-2, 2:-2] == 0]
    assert patch[ink == 1].mean() - plate.mean() > 60  # levels, of letters against their plate


@pytest.mark.parametrize(("width", "height", "least", "most"), [(128, 80, 0.2, 0.26), (256, 144, 0.18, 0.25),
                                                                (1280, 720, 0.1, 0.15), (80, 128, 0.3, 0.45)])
def test_the_mark_scales_with_the_frame(width, height, least, most):
    plate, ink = visible.stamp(width)
    assert least < plate.shape[1] / width < most
    assert plate.shape == ink.shape
    assert plate.max() == 1
    assert ink.max() == pytest.approx(1)


def test_the_path_stays_inside_moves_slowly_and_closes():
    mark = (32, 9)
    spots = [visible.place(t / 24, (128, 80), mark) for t in range(int(visible.PERIOD * 24) + 1)]
    assert all(0 <= x <= 128 - mark[0] and 0 <= y <= 80 - mark[1] for x, y in spots)
    steps = [max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a, b in itertools.pairwise(spots)]
    assert max(steps) <= 1  # pixel in 1/24 s: it never jumps
    assert spots[0] == spots[-1]
    assert spots[0][0] > 64
    assert spots[0][1] > 40  # starts in the lower right
    covered = {(x > 48, y > 35) for x, y in spots}
    assert len(covered) == 4  # no quarter of the frame stays free of it


def test_the_mark_walks_through_pieces_as_through_the_whole():
    frames = scene(60)
    pieces = [visible.draw(frames[a:b], 12, a) for a, b in ((0, 17), (17, 18), (18, 60))]
    assert np.array_equal(np.concatenate(pieces), visible.draw(frames, 12))
    assert not np.array_equal(visible.draw(frames[17:], 12), visible.draw(frames, 12)[17:])


def test_only_the_plate_is_touched():
    before = scene(5)
    after = visible.draw(before, 12)
    changed = (before != after).any(3).mean()
    plate = visible.stamp(128)[0]
    assert 0 < changed <= plate.size / (128 * 80)
    assert np.array_equal(visible.draw(before, 12), after)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (5, 40), (200, 6)])
def test_tiny_frames_take_what_fits(shape):
    frames = np.full((2, *shape, 3), 99, np.uint8)
    assert visible.draw(frames, 12).shape == frames.shape
    assert visible.detect(frames, 12).found is False


@pytest.mark.parametrize("pictures", [scene(17), texture(17), np.full((17, 80, 128, 3), 250, np.uint8)])
def test_found_again_after_compression_resizing_and_cutting(pictures):
    marked = visible.draw(pictures, 12)
    data = io.BytesIO()
    media.encode_video(marked, 12, data, container="mp4", codec="libx264", pixel_format="yuv420p",
                       options={"crf": "28"})
    data.seek(0)
    assert visible.detect(marked, 12).score > 0.85
    assert visible.detect(media.decode(data, "mp4").frames, 12).found
    assert visible.detect(resized(marked, 256, 160), 12).found
    assert visible.detect(marked[7:], 12).found
    assert visible.detect(marked[:1], 1).found
    assert visible.detect(media.decode(io.BytesIO(media.encode(Clip(marked, 12), ".mp4")), "mp4", 4).frames, 3).found


def test_not_found_where_it_is_not():
    plain = [scene(9, seed=s) for s in range(6)] + [texture(9, seed=s) for s in range(6)]
    assert max(visible.detect(p, 12).score for p in plain) < visible.THRESHOLD - 0.15
    assert not visible.detect(np.zeros((3, 80, 128, 3), np.uint8), 12).found


# -- the operator's choice ---------------------------------------------------------------------------------------------


def test_the_operator_chooses_size_place_and_opacity(monkeypatch):
    usual = visible.draw(scene(3), 12)
    monkeypatch.setenv("TENKU_VISIBLE_MARK", "size=1.6 opacity=0.9 start=0.5")
    chosen = visible.draw(scene(3), 12)
    before, after = ((frames != scene(3)).any(3)[0] for frames in (usual, chosen))
    assert after.sum() > 1.5 * before.sum()
    assert np.argwhere(after)[:, 0].mean() < 40 < np.argwhere(before)[:, 0].mean()  # rows: above, and below
    assert visible.detect(chosen, 12).found


@pytest.mark.parametrize("said", ["opacity=0", "size=0.1", "start=2", "size=nan", "text=mine", "off", "opacity"])
def test_it_cannot_be_made_to_vanish(said, monkeypatch):
    monkeypatch.setenv("TENKU_VISIBLE_MARK", said)
    with pytest.raises(UserError, match="TENKU_VISIBLE_MARK") as caught:
        visible.draw(scene(1), 12)
    assert "opacity from 0.3" in caught.value.hint


def test_the_faintest_choice_is_legible(monkeypatch):
    monkeypatch.setenv("TENKU_VISIBLE_MARK", "size=0.8 opacity=0.3")
    for grey in (0, 90, 160, 255):
        frames = visible.draw(np.full((1, 80, 128, 3), grey, np.uint8), 12)[0, ..., 0].astype(int)
        changed = frames[frames != grey]
        assert changed.max() - changed.min() > 40  # levels between letters and plate
