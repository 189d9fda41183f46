"""What is given in pixels: which tokens are known, and how those known in part are led."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import scene

from tenku import rng
from tenku.config import CODEC_PRESETS
from tenku.model.codec import Codec
from tenku.sampling.canvas import SEEN, Canvas, leader, restore, still, tokens
from tenku.types import Clip

FRAMES = scene(17, 48, 32)


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The tiny codec with a basis of its own: untrained, but linear like every one."""
    made = Codec(CODEC_PRESETS["tiny"])
    numbers = made.basis.shape[::-1]
    made.basis.copy_(torch.linalg.qr(rng.normal((numbers[0], numbers[1]), 0, "test", "basis")).Q.T)
    made.scale.copy_(1 + 0.1 * rng.normal((numbers[1],), 0, "test", "scale").abs())
    return made


def filled(upto: int, strength: float = 1.0) -> Canvas:
    canvas = Canvas.empty(17, 32, 48)
    canvas.put(Clip(FRAMES[:upto], 16.0), 0, strength)
    return canvas


def test_whole_groups_are_known_the_rest_is_led_or_free(codec):
    found = tokens(filled(12), codec)  # the still, a group, and three frames of the next
    assert found.known.flatten(1).all(1).tolist() == [True, True, False]
    assert {s for s, _, _ in found.led} == {2}
    video = torch.from_numpy(FRAMES)[None].float() / 127.5 - 1
    assert torch.allclose(found.latents[:, :2], codec.encode(video)[:, :2], atol=1e-5)


def test_reading_in_parts_is_reading_at_once(codec, monkeypatch):
    whole = tokens(filled(12), codec)
    monkeypatch.setattr("tenku.sampling.canvas.CHUNK", 1)
    parts = tokens(filled(12), codec)
    assert torch.allclose(whole.latents, parts.latents, atol=1e-6)
    assert torch.equal(whole.known, parts.known)
    assert whole.led.keys() == parts.led.keys()


@pytest.mark.parametrize("count", [11, 12])
def test_leading_is_the_least_squares_solution_where_enough_is_seen(codec, count):
    """By a singular value decomposition of the basis at the known pixels; the other directions stay as they are."""
    found = tokens(filled(count), codec)
    row = 5  # of 2 x 3
    lead = leader(found, [2], torch.arange(6))
    assert lead is not None
    start = rng.normal((1, 6, codec.config.channels), 0, "test", "start")
    moved = lead(start)
    weight = torch.zeros(17, 32, 48, 3)
    weight[:count] = 1
    firm = codec.groups(weight[None])[0, 2, row // 3, row % 3].bool()
    pixels = codec.groups(torch.from_numpy(FRAMES)[None].float() / 127.5 - 1)[0, 2, row // 3, row % 3] - codec.mean
    directions, size, of_pixels = torch.linalg.svd(codec.basis[:, firm], full_matrices=False)
    well = size.square() > SEEN
    assert well.any()
    assert well.all() == (count == 12)
    wanted = torch.where(well, (of_pixels @ pixels[firm]) / size, directions.T @ (start[0, row] * codec.scale))
    assert torch.allclose(directions.T @ (moved[0, row] * codec.scale), wanted, atol=1e-3)
    assert torch.allclose(lead(moved), moved, atol=1e-4)  # else residues would add up, step by step


def test_half_held_is_half_way(codec):
    found = tokens(filled(17, 0.5), codec)
    assert not found.known.any()
    lead = leader(found, [1], torch.arange(6))
    assert lead is not None
    start = torch.zeros(1, 6, codec.config.channels)
    assert torch.allclose(lead(start), found.latents[:, 1].flatten(1, 2) * 0.5, atol=5e-3)


def test_only_the_windows_own_tokens_are_led(codec):
    found = tokens(filled(12), codec)
    assert leader(found, [0, 1], torch.arange(12)) is None
    assert leader(found, [-1, 1], torch.arange(12)) is None
    lead = leader(found, [1, 2], torch.tensor([6, 7]))
    assert lead is not None
    x = rng.normal((1, 2, codec.config.channels), 0, "test", "x")
    assert not torch.allclose(lead(x), x)


def test_a_still_is_the_last_frame_of_a_step(codec):
    video = 0.2 * (torch.from_numpy(FRAMES)[None].float() / 127.5 - 1)  # so that no picture is clamped
    latents = codec.encode(video)
    last = codec.decode_linear(latents, 32, 48)[:, -1:]
    assert torch.allclose(still(latents[:, -1:], codec), codec.encode(last), atol=1e-4)


def test_firm_pixels_come_back_as_the_codec_shows_them_alone(codec):
    found = tokens(filled(12), codec)
    frames = np.zeros((17, 32, 48, 3), np.uint8)
    restore(found, frames, codec, torch.device("cpu"))
    assert not frames[:9].any()  # known tokens need no help
    assert not frames[12:].any()
    picture = torch.from_numpy(FRAMES[11:12])[None].float() / 127.5 - 1
    alone = codec.decode(codec.encode(picture), 32, 48)[0, 0].detach()
    assert np.allclose(frames[11], ((alone + 1) * 127.5).numpy(), atol=1)
