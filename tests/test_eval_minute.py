"""`tenku eval minute` on an untrained model, and its measures on pictures of which they are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tenku.evaluation import minute
from tenku.evaluation.minute import Settings, ends, looks
from tenku.types import Clip


def test_long_clips_are_measured(tiny_model: Path, tmp_path: Path) -> None:
    report = minute.evaluate(Settings(tmp_path, str(tiny_model), 1, 1, seconds=11), lambda _: None)
    assert report == json.loads((tmp_path / "minute.json").read_text())
    assert set(report["last_over_first"]) == {"sharpness", "red", "green", "blue", "motion"}
    assert all(100 < peak < 4000 for peak in report["peak_mb"].values())
    assert report["seconds_made_per_second"] > 0
    assert "peak memory" in minute.table(report)


def test_the_ends_of_a_clip_in_pieces_are_those_of_the_whole() -> None:
    frames = np.arange(20, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    for cuts in ([9, 12], [1, 2, 19], []):
        pieces = [Clip(part, 16.0) for part in np.split(frames, cuts)]
        first, last = ends(iter(pieces), 8)
        assert np.array_equal(first, frames[:8])
        assert np.array_equal(last, frames[-8:])


def test_looks_are_counted_in_levels() -> None:
    stripes = np.zeros((3, 4, 8, 3), np.uint8)
    stripes[:, :, ::2] = 100
    stripes[1] += 10
    found = looks(stripes)
    assert found["sharpness"] == pytest.approx(100)
    assert found["motion"] == pytest.approx(10)
    assert found["red"] == pytest.approx(50 + 10 / 3, abs=1e-4)
