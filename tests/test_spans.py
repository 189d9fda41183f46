"""Stretches of a video are what the whole would be, wherever they begin."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from scenes import texture

from tenku import media, untrusted
from tenku.errors import UserError
from tenku.spans import decode_span
from tenku.types import Clip


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A video of 8 s whose keyframes are 48 frames apart, in each container."""
    clip = Clip(texture(96, 64, 48), 12.0)
    return {ending: media.encode(clip, ending) for ending in (".mp4", ".webm", ".gif")}


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif"])
@pytest.mark.parametrize("fps", [12.0, 16.0, 5.0])
def test_stretches_put_together_are_the_whole(files, ending, fps):
    data = files[ending]
    kind = media.sniff(data[:16])
    whole = media.decode_at(io.BytesIO(data), kind, fps, (64, 48)).frames
    parts, first = [], 0
    while len(part := decode_span(io.BytesIO(data), kind, fps, (64, 48), first, 25).frames):
        parts.append(part)
        first += len(part)
    assert [len(part) for part in parts[:-1]] == [25] * (len(parts) - 1)
    assert np.array_equal(np.concatenate(parts), whole)


def test_large_pictures_are_made_smaller_as_they_come(files):
    clip = decode_span(io.BytesIO(files[".mp4"]), "mp4", 12.0, (8, 6), 70, 3)
    assert clip.frames.shape == (3, 12, 16, 3)


def test_a_stranger_is_read_in_a_process_of_its_own(files, tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(files[".mp4"])
    here = decode_span(io.BytesIO(files[".mp4"]), "mp4", 12.0, (64, 48), 60, 9)
    there = untrusted.read_span(path, 12.0, (64, 48), 60, 9)
    assert np.array_equal(here.frames, there.frames)
    assert len(untrusted.read_span(path, 12.0, (64, 48), 96, 9).frames) == 0
    monkeypatch.setattr(untrusted.sys, "executable", shutil.which("false"))
    with pytest.raises(UserError, match="limits"):
        untrusted.read_span(path, 12.0, (64, 48), 0, 9)


def test_what_breaks_off_is_said(files):
    with pytest.raises(UserError, match=r"broken|no frame|no pictures"):
        decode_span(io.BytesIO(files[".mp4"][:2000]), "mp4", 12.0, (64, 48), 0, 99)
