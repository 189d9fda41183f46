"""What is given of a clip, in pixels, and what that means for each token.

A token whose pixels are all known is context. One that knows none of its own is canvas. What lies between (a single
frame among the eight of a step, the rim of a mask, what is held less than firmly) is canvas that is led: whatever the
network thinks it is going to be is moved to the nearest that agrees with the pixels.

Legend: T frames, H W pixels; S R Q latent grid, N tokens, C channels, P numbers of a token's pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tenku.model.codec import Codec
from tenku.types import Clip

FIRM = 255  # weight of a pixel that is known; 0: free
CHUNK = 16  # latent steps that are read at once
SEEN = 0.3  # of a direction's pixels must be held, for it to be led by them


@dataclass(frozen=True)
class Canvas:
    """Frames that are given wholly or in part, and how firmly each pixel is held."""

    frames: np.ndarray  # uint8 T H W 3
    weight: np.ndarray  # uint8 T H W, 0..FIRM

    @classmethod
    def empty(cls, frames: int, height: int, width: int) -> Canvas:
        """Grey of which nothing is known. The weight is one number until something is put there."""
        return cls(np.full((frames, height, width, 3), 127, np.uint8), np.zeros((frames, height, width), np.uint8))

    def put(self, clip: Clip, first: int, strength: float = 1.0, mask: np.ndarray | None = None) -> None:
        """Lays a clip of the same size from frame `first` on; the mask T H W, 0..255, says what of it is known."""
        count = min(len(clip.frames), len(self.frames) - first)
        self.frames[first : first + count] = clip.frames[:count]
        held = np.uint8(round(strength * FIRM)) if mask is None else (mask[:count] * strength).round().astype(np.uint8)
        self.weight[first : first + count] = held


@dataclass
class Tokens:
    """A canvas as the sampler needs it, whole or a window of it."""

    latents: Tensor  # 1 S R Q C of all that is given
    known: Tensor  # bool S R Q: every pixel is held
    led: dict[tuple[int, int, int], tuple[Tensor, Tensor]]  # token -> (C C, C): x -> matrix @ x + offset
    canvas: Canvas


@torch.inference_mode()
def tokens(canvas: Canvas, codec: Codec) -> Tokens:
    """Latents of the given pixels, which tokens are known, and how those known in part are led."""
    latents, known = [], []
    led: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}
    solved: dict[bytes, tuple[Tensor, Tensor]] = {}
    steps, length = codec.grid(len(canvas.frames), 1, 1, 1.0).steps, codec.frames(2) - 1
    for first in range(0, steps, CHUNK):  # a few steps at a time, for memory; each begins as a clip does, with a still
        part = slice(max(0, (first - 1) * length), (first + CHUNK - 1) * length + 1)
        skip = int(first > 0)
        video = torch.from_numpy(canvas.frames[part])[None].float() / 127.5 - 1
        weight = torch.from_numpy(canvas.weight[part])[None, ..., None].expand(-1, -1, -1, -1, 3)
        pixels = codec.groups(video)[:, skip:] - codec.mean  # 1 s R Q P
        held = codec.groups(weight.float())[0, skip:] / FIRM  # s R Q P
        latents.append(pixels @ codec.basis.T / codec.scale)
        low, high = held.amin(-1), held.amax(-1)
        known.append(low == 1)
        for s, r, q in ((high > 0) & (low < 1)).nonzero().tolist():
            key = (held[s, r, q] * FIRM).to(torch.uint8).numpy().tobytes()
            if key not in solved:
                solved[key] = _leading(codec, held[s, r, q])
            keep, take = solved[key]
            led[first + s, r, q] = (keep, take @ pixels[0, s, r, q])
    return Tokens(torch.cat(latents, 1), torch.cat(known), led, canvas)


def _leading(codec: Codec, weight: Tensor) -> tuple[Tensor, Tensor]:
    """For one pattern of weights P: how a latent is kept (C C), and how pixels enter it (C P).

    Of the directions v of the components (eigenvectors of B M B', where B is the codec's basis with orthonormal rows
    and M says which pixels are held at all) those are moved of whose pixels enough are held, to where these say, least
    squares: v' B M (y - mean) / e. They are moved as far as the pixels are held firmly. What moved so stays where it is
    when it is moved again, so it does not matter how often it is: to what is hardly seen, residues would add up.
    """
    held = (weight > 0).float()
    masked = codec.basis * held
    seen, directions = torch.linalg.eigh((masked @ codec.basis.T).double())
    directions = directions[:, seen > SEEN].float()
    seen = seen[seen > SEEN].float()
    firm = (((codec.basis * weight) @ codec.basis.T @ directions) * directions).sum(0) / seen
    keep = torch.eye(len(codec.basis)) - (directions * firm) @ directions.T
    take = (directions * (firm / seen)) @ (directions.T @ masked)
    return keep * codec.scale / codec.scale[:, None], take / codec.scale[:, None]


def leader(found: Tokens, window: list[int], canvas: Tensor) -> Callable[[Tensor], Tensor] | None:
    """What moves a window's canvas tokens, 1 N C, to what agrees with the pixels; None where none is known in part.

    window: the window's steps in the whole clip, -1 for one that is none of it; canvas: rows of the canvas tokens N.
    """
    _, rows, columns = found.known.shape
    at = {int(row): i for i, row in enumerate(canvas)}
    picks = {at[row]: pair for i, step in enumerate(window) for (s, r, q), pair in found.led.items()
             if s == step and (row := (i * rows + r) * columns + q) in at}
    if not picks:
        return None
    which = torch.tensor(list(picks))
    keep = torch.stack([m for m, _ in picks.values()])
    offset = torch.stack([o for _, o in picks.values()])

    def lead(x: Tensor) -> Tensor:
        x = x.clone()
        x[0, which] = (keep.to(x.device) @ x[0, which, :, None])[..., 0] + offset.to(x.device)
        return x

    return lead


@torch.inference_mode()
def restore(found: Tokens, frames: np.ndarray, codec: Codec, device: torch.device) -> None:
    """Puts the firm pixels of led tokens into decoded frames T H W 3 as the codec shows them by themselves, in place.

    One frame among eight that move is not as sharp in their latents as it is alone.
    """
    if not found.led:
        return
    led = torch.zeros_like(found.known)
    led[tuple(torch.tensor(list(found.led)).T)] = True
    high, wide = frames.shape[1:3]
    firm = codec.spread(led, high, wide).numpy()[: len(frames)] & (found.canvas.weight[: len(frames)] == FIRM)
    for t in firm.any((1, 2)).nonzero()[0]:
        picture = torch.from_numpy(found.canvas.frames[t])[None, None].float() / 127.5 - 1
        alone = codec.decode(codec.encode(picture).to(device), high, wide)[0, 0].cpu().numpy()
        frames[t] = np.where(firm[t, :, :, None], np.round((alone + 1) * 127.5).astype(np.uint8), frames[t])


def still(latents: Tensor, codec: Codec) -> Tensor:
    """The latents (..., C) of the last frames of steps, each standing still: what a clip that begins there begins with.

    Closed form: the codec's own picture of that frame, repeated through the step.
    """
    length = codec.frames(2) - 1
    pixels = (latents * codec.scale) @ codec.basis + codec.mean
    last = pixels.unflatten(-1, (length, -1))[..., -1:, :]
    return (last.expand(*last.shape[:-2], length, -1).flatten(-2) - codec.mean) @ codec.basis.T / codec.scale
