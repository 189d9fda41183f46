"""Our codec beside small ones of `diffusers` with about as many parameters: encoding and decoding, frames a second.

Peers have random weights, which take as long as trained ones, so fidelity is measured of ours alone. What a codec's
strides do not divide is filled up before encoding and not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tenku.errors import UserError
from tenku.evaluation import truth
from tenku.evaluation.bench.peers import size
from tenku.evaluation.bench.timing import in_turns, rate, ratio
from tenku.model.codec import Codec
from tenku.model.precision import autocast, fastest
from tenku.rng import normal

STEP = 4  # widths of peers are multiples of it: finer ones would be slow for their size
# name -> class, settings for a width, rows and columns of a latent
PEERS: dict[str, tuple[str, Callable[[int], dict[str, Any]], int]] = {
    "Wan VAE": ("AutoencoderKLWan", lambda width: dict(base_dim=width, z_dim=16), 8),
    "LTX-Video VAE": ("AutoencoderKLLTXVideo", lambda width: dict(
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        decoder_block_out_channels=(width, 2 * width, 4 * width, 4 * width)), 32),
}


def build(name: str, wanted: int) -> torch.nn.Module:
    """A codec of diffusers of the width that brings it nearest to `wanted` parameters, weights at random."""
    kind, settings, _ = PEERS[name]
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        make = getattr(diffusers, kind)
        below, above, width = 0, 0, 0
        while above < wanted:  # it is a matter of a few steps
            width += STEP
            with torch.device("meta"):
                below, above = above, size(make(**settings(width)))
        if wanted - below < above - wanted and width > STEP:
            width -= STEP
        found: torch.nn.Module = make(**settings(width))
        return found.eval().requires_grad_(False)


@torch.inference_mode()
def measure(codec: Codec, shapes: Sequence[tuple[int, int, int]], rounds: int, unseen: int) -> dict[str, Any]:
    """Frames a second of encoding and decoding clips of (frames, height, width), in JSON values.

    Everybody runs in float32, as pipelines decode, and in the format that is fastest here. unseen: rendered clips that
    our PSNR is measured on.
    """
    wanted = size(codec)
    peers = {name: build(name, wanted) for name in PEERS}
    found: dict[str, Any] = {"parameters": {"ours": wanted, **{name: size(p) for name, p in peers.items()}},
                             "shapes": {}, "psnr_db": None, "notes": []}
    for frames, height, width in shapes:
        jobs = _jobs(codec, peers, (frames, height, width))
        taken = in_turns(jobs, rounds)
        rows: dict[str, Any] = {name: {"frames_per_s": rate(frames, s).to_json()} for name, s in taken.items()}
        for name, row in rows.items():
            does = name.rpartition(" ")[0].rpartition(" ")[2]
            row["against_ours"] = ratio(taken, f"ours {does} fp32", name).to_json()
        found["shapes"][f"{width}x{height}x{frames}"] = rows
    try:
        figure = truth.fidelity(codec, unseen, lambda *_: None)
        found["psnr_db"] = figure.to_json() if figure else None
    except UserError as error:
        found["notes"].append(f"{error}: our PSNR was not measured")
    return found


def _jobs(codec: Codec, peers: dict[str, Any], shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """"who does format" -> the work: "ours decodes fp32"."""
    frames, height, width = shape
    video = normal((1, frames, height, width, 3), 0, "bench", "codec").clamp(-1, 1)
    latents = codec.encode(video)
    jobs: dict[str, Callable[[], object]] = {
        "ours encodes": partial(codec.encode, video),
        "ours decodes": partial(codec.decode, latents, height, width),
        "ours, over a sketch, decodes": partial(codec.decode_over, latents, video, height, width),
    }
    for name, peer in peers.items():
        stride = PEERS[name][2]
        rows, columns = (-side % stride for side in (height, width))
        given = torch.nn.functional.pad(video.permute(0, 4, 1, 2, 3), (0, columns, 0, rows))
        code: Tensor = peer.encode(given).latent_dist.mode()
        jobs |= {f"{name} encodes": partial(peer.encode, given), f"{name} decodes": partial(peer.decode, code)}
    timed = {f"{name} fp32": job for name, job in jobs.items()}
    if fastest() != torch.float32:
        timed |= {f"{name} bf16": partial(_fast, job) for name, job in jobs.items()}
    return timed


def _fast(job: Callable[[], object]) -> object:
    with autocast():
        return job()
