"""What the probe measures in a clip before anything is learnt: features, colours, movement, per cell of the picture.

The features are those of EfficientNet-Lite0 (Apache-2.0), trained on ImageNet by others and frozen here; colours and
movement are in closed form. All of it is a pure function of the pixels, so training keeps it and sees it many times.

Legend: B clips, T frames, H W pixels, N cells (R rows x Q columns), D channels, P pairs of frames.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenku.types import Clip

FRAMES, HEIGHT, WIDTH = 17, 80, 128  # what is looked at of a clip; SECONDS apart from first to last
SECONDS = 2.0
STILLS = (4, 12)  # the frames whose features and colours are taken
ROWS, COLUMNS = 5, 8  # cells of 16x16 pixels
BLOCKS = 16  # of 4x4 pixels in a cell, each with its mean colour
PARTS = 4  # of 8x8 pixels in a cell, each with its movement
PAIR = 6  # numbers of a pair of frames: see `movement`
SINCE = 8  # numbers that compare later frames with the first
MOVEMENT = PAIR * (FRAMES - 1) + SINCE + 1
REACH_X, REACH_Y = 6, 4  # how far movement is looked for, in pixels of the halved picture
FLOOR = (2 / 255) ** 2  # variance below which a window shows nothing to follow

# EfficientNet-Lite0: repeats, kernel, stride, expansion, channels of each stage (arXiv:1905.11946, without
# squeeze-excitation and with ReLU6: github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite)
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
           (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip
STEM, HEAD = 32, 1280


@dataclass
class Sight:
    """What is measured of B clips."""

    features: Tensor  # uint8 B stills N D, of 0..6
    colours: Tensor  # uint8 B stills N BLOCKS 3
    movement: Tensor  # float16 B N PARTS MOVEMENT

    @classmethod
    def join(cls, parts: list[Sight]) -> Sight:
        """Several in one."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def __getitem__(self, picks: Tensor) -> Sight:
        return Sight(self.features[picks], self.colours[picks], self.movement[picks])

    def __len__(self) -> int:
        return len(self.features)


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow does: an odd pixel of padding goes to the right and the bottom."""

    def __init__(self, enter: int, leave: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(enter, leave, kernel, stride, groups=groups)
        spare = kernel - stride  # sides are multiples of 32
        self.margin = (spare // 2, spare - spare // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.margin) if any(self.margin) else x)


class Inverted(nn.Module):
    """Widen, look around within each channel, narrow; its batch norms are folded into the convolutions."""

    def __init__(self, enter: int, leave: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = enter * expansion
        self.widen = Same(enter, inner, 1, 1) if expansion > 1 else None
        self.around = Same(inner, inner, kernel, stride, groups=inner)
        self.narrow = Same(inner, leave, 1, 1)
        self.residual = stride == 1 and enter == leave

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.widen is None else F.relu6(self.widen(x))
        h = self.narrow(F.relu6(self.around(h)))
        return x + h if self.residual else h


class Backbone(nn.Module):
    """EfficientNet-Lite0 up to its features; `thin` divides all channels (for tests)."""

    def __init__(self, thin: int) -> None:
        super().__init__()
        width = STEM // thin
        self.stem = Same(3, width, 3, 2)
        blocks: list[Inverted] = []
        for repeats, kernel, stride, expansion, channels in _STAGES:
            for repeat in range(repeats):
                blocks.append(Inverted(width, channels // thin, kernel, 1 if repeat else stride, expansion))
                width = channels // thin
        self.blocks = nn.Sequential(*blocks)
        self.head = Same(width, HEAD // thin, 1, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 T H W 3 -> T N D features from 0 to 6, of the picture enlarged twice."""
        x = frames.permute(0, 3, 1, 2).float()
        x = F.interpolate(x, scale_factor=2, mode="bicubic").clamp(0, 255)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        x = F.relu6(self.head(self.blocks(F.relu6(self.stem(x)))))
        return x.flatten(2).transpose(1, 2)


def look(clip: Clip) -> np.ndarray:
    """What is looked at of a clip: uint8 17 80 128 3.

    Seventeen frames, an eighth of a second apart, from the clip's first two seconds; evenly from first to last where
    it is shorter. Other sizes are resampled, not cropped.
    """
    count = min(len(clip.frames), round(SECONDS * clip.fps) + 1)
    frames = clip.frames[np.linspace(0, count - 1, FRAMES).round().astype(int)]
    if frames.shape[1:3] == (HEIGHT, WIDTH):
        return np.ascontiguousarray(frames)
    flat = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    shrunk = F.interpolate(flat, (HEIGHT, WIDTH), mode="bilinear", antialias=True, align_corners=False)
    return shrunk.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


@torch.inference_mode()
def sight(backbone: Backbone, clip: Clip) -> Sight:
    """Everything that is measured of one clip."""
    frames = torch.from_numpy(look(clip))
    stills = frames[list(STILLS)]
    features = (backbone(stills) * (255 / 6)).round().byte()
    return Sight(features[None], colours(stills)[None], movement(frames)[None].half())


def colours(stills: Tensor) -> Tensor:
    """Mean colour of each block of 4x4 pixels: uint8 T H W 3 -> uint8 T N BLOCKS 3."""
    means = F.avg_pool2d(stills.permute(0, 3, 1, 2).float(), 4)  # T 3 4R 4Q
    cells = means.unflatten(3, (COLUMNS, 4)).unflatten(2, (ROWS, 4))  # T 3 R 4 Q 4
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(len(stills), ROWS * COLUMNS, BLOCKS, 3).round().byte()


def movement(frames: Tensor) -> Tensor:
    """How things move, by matching: uint8 17 H W 3 -> N PARTS MOVEMENT.

    Of each pair of neighbouring frames, in a window of 16x16 pixels around each part of a cell: the displacement of
    least squared difference (u to the right, v down, soft minimum), that difference and the one without displacement,
    both as shares of the window's variance; and the displacement that the gradients say, exact where it is small.
    Then the difference of every second frame from the first, and the logarithm of the variance.
    """
    luma = frames.float() @ torch.tensor([0.299, 0.587, 0.114]) / 255
    luma = F.avg_pool2d(luma[None], 2)[0]  # T h w
    first, second = luma[:-1], luma[1:]
    mean = pool(first)
    variance = (pool(first**2) - mean**2).clamp(min=0) + FLOOR  # P r q
    costs = _costs(first, second)  # P shifts r q
    least = costs.amin(1)
    chance = torch.softmax((least[:, None] - costs) / (0.02 * variance + FLOOR / 4)[:, None], 1)
    shifts = torch.tensor(_shifts(), dtype=torch.float32)
    u, v = torch.einsum("psrq,sd->dprq", chance, shifts)
    here = costs[:, len(shifts) // 2]
    ratios = [torch.log1p(cost / variance) for cost in (least, here)]
    pairs = torch.stack([u, v, *ratios, *gradients(first, second)], 1)  # P PAIR r q
    since = torch.log1p(pool((luma[2::2] - luma[0]) ** 2) / variance[:1])
    found = torch.cat([pairs.flatten(0, 1), since, variance.log().mean(0, keepdim=True)])  # MOVEMENT r q
    parts = found.unflatten(2, (COLUMNS, 2)).unflatten(1, (ROWS, 2)).permute(1, 3, 2, 4, 0)
    return parts.reshape(ROWS * COLUMNS, PARTS, MOVEMENT)


def _shifts() -> list[tuple[int, int]]:
    return [(x, y) for y in range(-REACH_Y, REACH_Y + 1) for x in range(-REACH_X, REACH_X + 1)]


def _costs(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference in every window for every displacement: P h w, twice -> P shifts r q."""
    height, width = first.shape[1:]
    margin = (REACH_X, REACH_X, REACH_Y, REACH_Y)
    moved, inside = F.pad(second, margin), F.pad(torch.ones(1, height, width), margin)
    found = []
    for x, y in _shifts():
        rows, columns = slice(REACH_Y + y, REACH_Y + y + height), slice(REACH_X + x, REACH_X + x + width)
        seen = inside[:, rows, columns]
        share = pool(seen)
        cost = pool((moved[:, rows, columns] - first).square_().mul_(seen)) / share.clamp(min=0.1)
        found.append(torch.where(share < 0.3, 1.0, cost))  # mostly outside of the picture: no match
    return torch.stack(found, 1)


def gradients(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement by least squares on the gradients (Lucas and Kanade): P h w, twice -> u and v, P r q."""
    middle = F.pad((first + second)[:, None] / 2, (1, 1, 1, 1), mode="replicate")[:, 0]
    x, y = (middle[:, 1:-1, 2:] - middle[:, 1:-1, :-2]) / 2, (middle[:, 2:, 1:-1] - middle[:, :-2, 1:-1]) / 2
    change = second - first
    xx, yy, xy, xt, yt = (pool(product) for product in (x * x, y * y, x * y, x * change, y * change))
    xx, yy = xx + FLOOR / 4, yy + FLOOR / 4
    scale = xx * yy - xy * xy
    return ((xy * yt - yy * xt) / scale).clamp(-3, 3), ((xy * xt - xx * yt) / scale).clamp(-3, 3)


def pool(x: Tensor) -> Tensor:
    """Means over windows of 8x8 that lie 4 apart: ... h w -> ... h/4 w/4."""
    return _windows(x.shape[-2]) @ x @ _windows(x.shape[-1]).T


@lru_cache(maxsize=4)
def _windows(side: int) -> Tensor:
    centres = torch.arange(side // 4)[:, None] * 4 + 1.5
    inside = ((torch.arange(side) - centres).abs() < 4).float()
    return inside / inside.sum(1, keepdim=True)


def mirror(seen: Sight) -> Sight:
    """What would be measured of the clips in a mirror (the features nearly: they are not quite even-handed)."""
    features, colours = (x.unflatten(2, (ROWS, COLUMNS)).flip(3).flatten(2, 3) for x in (seen.features, seen.colours))
    colours = colours.unflatten(3, (4, 4)).flip(4).flatten(3, 4)
    moves = seen.movement.unflatten(1, (ROWS, COLUMNS)).flip(2).flatten(1, 2)
    moves = moves.unflatten(2, (2, 2)).flip(3).flatten(2, 3).clone()
    for column in (0, 4):  # the u of both ways
        moves[..., column : PAIR * (FRAMES - 1) : PAIR] *= -1
    return Sight(features, colours, moves)
