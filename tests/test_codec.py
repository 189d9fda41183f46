"""The codec's geometry, causality and streaming, on a tiny one fitted to moving pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tenku import rng
from tenku.config import CODEC_PRESETS
from tenku.errors import UserError
from tenku.model.codec import Codec
from tenku.training.codec import evaluate, fit_linear, psnr, to_signal
from tenku.types import Clip


def moving(seed: int, frames: int = 17, height: int = 32, width: int = 48) -> Clip:
    """A soft disc that crosses a gradient."""
    draw = rng.stream(seed, "moving")
    y, x = np.mgrid[:height, :width]
    cx, cy, vx, vy, r = draw.random(5) * [width, height, 2, 1, 8] + [0, 0, -1, -0.5, 4]
    t = np.arange(frames)[:, None, None]
    disc = 1 / (1 + np.exp(np.hypot(x - cx - vx * t, y - cy - vy * t) - r))
    colours = draw.random((3, 3)) * 255
    picture = colours[0] + (colours[1] - colours[0]) * (y / height)[None, :, :, None]
    picture = picture + (colours[2] - picture) * disc[..., None]
    return Clip(picture.round().astype(np.uint8), 16.0)


@pytest.fixture(scope="module")
def codec() -> Codec:
    torch.manual_seed(0)
    made = Codec(CODEC_PRESETS["tiny"])
    fit_linear(made, (moving(i) for i in range(40)))
    with torch.no_grad():  # wake the network, which starts at zero, so that its geometry is tested too
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return made.eval()


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (2, 2), (9, 2), (10, 3), (17, 3), (33, 5)])
def test_grid_and_frames(codec: Codec, frames: int, steps: int) -> None:
    grid = codec.grid(frames, 33, 48, 16.0)
    assert (grid.steps, grid.rows, grid.columns, grid.seconds_per_step) == (steps, 3, 3, 0.5)
    assert codec.frames(steps) >= frames


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 47), (1, 1), (40, 16)])
def test_any_size_is_padded_and_cropped_back(codec: Codec, height: int, width: int) -> None:
    video = rng.normal((2, 9, height, width, 3), 0, "video").clamp(-1, 1)
    latents = codec.encode(video)
    assert latents.shape == (2, 2, -(-height // 16), -(-width // 16), 32)
    assert codec.decode(latents, height, width).shape == video.shape


def test_groups_hold_every_pixel_once(codec: Codec) -> None:
    video = torch.arange(9 * 16 * 32 * 3, dtype=torch.float64).view(1, 9, 16, 32, 3)
    groups = codec.groups(video)
    assert groups.shape == (1, 2, 1, 2, 8 * 16 * 16 * 3)
    assert set(groups[0, 1].flatten().tolist()) == set(video[0, 1:].flatten().tolist())
    assert torch.equal(groups[0, 0, 0, 0].view(8, 16, 16, 3), video[0, :1, :, :16].expand(8, -1, -1, -1))


def test_an_image_is_the_first_step_of_a_video(codec: Codec) -> None:
    video = to_signal(torch.from_numpy(moving(1).frames))[None]
    torch.testing.assert_close(codec.encode(video)[:, :1], codec.encode(video[:, :1]))


def test_what_is_decoded_encodes_to_the_same_latents(codec: Codec) -> None:
    latents = rng.normal((1, 3, 2, 3, 32), 0, "latents") * 0.1
    with torch.no_grad():
        decoded = codec(latents)
        detail = decoded - codec.decode_linear(latents)
    assert detail.abs().mean() > 0.01  # the network has something to say
    # all but the first step, of which one frame in eight is kept; the basis is stored as bfloat16
    assert (codec.encode(decoded) - latents)[:, 1:].abs().max() < 0.05


def test_what_latents_cannot_hold_is_taken_from_pictures(codec: Codec) -> None:
    video = to_signal(torch.from_numpy(moving(3).frames))[None]
    other = to_signal(torch.from_numpy(moving(4).frames))[None]
    assert torch.allclose(codec.decode_over(codec.encode(video), video), video, atol=1e-4)
    mixed = codec.decode_over(codec.encode(other), video)
    assert (codec.encode(mixed) - codec.encode(other))[:, 1:].abs().max() < 0.2  # clamped to what pixels can be
    fine = codec.decode_linear(codec.encode(video)) - video
    assert fine.abs().mean() > 0.001
    assert torch.allclose(mixed - codec.decode_linear(codec.encode(other)), -fine, atol=0.05)


def test_decoding_is_causal(codec: Codec) -> None:
    latents = rng.normal((1, 4, 2, 3, 32), 0, "latents")
    changed = latents.clone()
    changed[:, 2:] += 1
    a, b = codec.decode(latents), codec.decode(changed)
    assert torch.equal(a[:, :9], b[:, :9])  # steps 0 and 1
    assert not torch.allclose(a[:, 9:17], b[:, 9:17])


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1, 1), (1, 4), (2, 3), (5,)])
def test_streaming_equals_whole_decode(codec: Codec, chunks: tuple[int, ...]) -> None:
    latents = rng.normal((1, 5, 2, 3, 32), 0, "latents")
    whole = codec.decode(latents, 30, 41)
    parts = list(codec.stream(iter(latents.split(chunks, 1)), 30, 41))
    assert [p.shape[1] for p in parts] == [8 * n - 7 * (i == 0) for i, n in enumerate(chunks)]
    assert (torch.cat(parts, 1) - whole).abs().max() < 1e-5


def test_the_linear_part_is_the_best_of_its_rank() -> None:
    # The components' share of variance equals what the linear decoder gets right on the clips it was fitted to.
    made = Codec(CODEC_PRESETS["tiny"])
    clips = [moving(i) for i in range(40)]
    figures = fit_linear(made, iter(clips))
    error = total = 0.0
    for clip in clips:
        video = to_signal(torch.from_numpy(clip.frames))[None]
        truth = made.groups(video).reshape(-1, made.mean.numel())
        back = (made.encode(video) * made.scale) @ made.basis + made.mean
        error += float((back.reshape(truth.shape) - truth).square().sum())
        total += float((truth - made.mean).square().sum())
    assert abs((1 - error / total) - figures["kept"] / figures["variance"]) < 0.005
    assert torch.allclose(made.basis @ made.basis.T, torch.eye(32), atol=0.02)  # stored as bfloat16


def test_it_starts_exactly_at_the_linear_solution() -> None:
    made = Codec(CODEC_PRESETS["tiny"])
    fit_linear(made, (moving(i) for i in range(40)))
    figures = evaluate(made.eval(), [moving(100)])
    assert figures["psnr"] == pytest.approx(figures["linear_psnr"], abs=0.05)  # clamping is all that differs


def test_psnr_is_the_formula() -> None:
    assert psnr(torch.zeros(10), torch.full((10,), 0.02)) == pytest.approx(40.0, abs=1e-3)


def test_fitting_on_nothing_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no clips"):
        fit_linear(Codec(CODEC_PRESETS["tiny"]), iter([]))


def test_checkpoint_round_trip_and_corruption(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    codec.save(path)
    loaded = Codec.load(path)
    latents = rng.normal((1, 2, 2, 2, 32), 0, "latents")
    assert torch.equal(loaded.decode(latents), codec.decode(latents))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="corrupt"):
        Codec.load(path)
    with pytest.raises(UserError, match="no such checkpoint"):
        Codec.load(tmp_path / "none.safetensors")
