"""The codec: video to latents and back, causal in time, any size; an image is a one-frame video.

A latent position stands for 8 frames of 16x16 pixels. The first frame stands alone (it is repeated to fill its
group), then groups of 8 follow: 1 + 8k frames make 1 + k latent steps. The encoder is the closed-form linear
solution (principal components of rendered groups); the decoder is its transpose plus a network that learns
what the linear one cannot say: sharp edges that move. What the network says within the components' reach is
left out, for there the latents know better: what is decoded encodes to the same latents again. Latents are the
components divided by a power of their standard deviation, so that coarse things stay louder than fine ones and
noise hides the fine ones first.

Legend: B batch, T frames, H W pixels; S latent steps, R rows, Q columns, C channels; P = 8*16*16*3 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenku.config import CodecConfig
from tenku.model.checkpoint import load_module, save_module
from tenku.model.patches import Grid

State = list[Tensor]  # per block: the shifted channels of the last step it saw, B c H W


class Block(nn.Module):
    """Residual 3x3 convolution in space; a quarter of the channels comes from the step before (causal shift)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, width, 1)
        self.shifted = width // 4
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, batch: int, last: Tensor | None) -> tuple[Tensor, Tensor]:
        # x: (B S) D R Q, channels last. Returns the new x and the channels that the next call needs.
        h = F.rms_norm(x.permute(0, 2, 3, 1), (x.shape[1],)).permute(0, 3, 1, 2)
        moved = h[:, : self.shifted].unflatten(0, (batch, -1))  # B S c R Q
        before = torch.zeros_like(moved[:, :1]) if last is None else last[:, None].to(moved.dtype)
        shifted = torch.cat([before, moved[:, :-1]], 1).flatten(0, 1)
        h = torch.cat([shifted, h[:, self.shifted :]], 1).contiguous(memory_format=torch.channels_last)
        return x + self.out(F.silu(self.space(h))), moved[:, -1]


def _grow(x: Tensor, batch: int, time: int, space: int) -> Tensor:
    """(B S) (time*space*space*D) R Q -> (B S*time) D R*space Q*space."""
    n, c, rows, columns = x.shape
    depth = c // (time * space * space)
    x = x.view(batch, n // batch, time, depth, space, space, rows, columns)
    x = x.permute(0, 1, 2, 3, 6, 4, 7, 5).reshape(-1, depth, rows * space, columns * space)
    return x.contiguous(memory_format=torch.channels_last)


class Codec(nn.Module):
    """Encoder and decoder. `fit_linear` in training.codec sets the buffers; until then it is not usable."""

    basis: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        time, rows, columns = config.stride
        assert (time, rows, columns) == (8, 16, 16), "the decoder's stages are laid out for 8x16x16"
        numbers = time * rows * columns * 3
        self.register_buffer("basis", torch.zeros(config.channels, numbers))  # orthonormal rows
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(config.channels))  # latent = component / scale
        a, b, c = config.widths
        self.enter = nn.Conv2d(config.channels, a, 1)
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(width) for _ in range(depth))
            for width, depth in zip(config.widths, config.depths, strict=True)
        )
        self.grow = nn.ModuleList([nn.Conv2d(a, b * 8, 1), nn.Conv2d(b, c * 8, 1)])
        self.leave = nn.Conv2d(c, 2 * 4 * 4 * 3, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    # -- geometry: nobody else knows strides ---------------------------------------------------------------

    def grid(self, frames: int, height: int, width: int, fps: float) -> Grid:
        """The latent grid of a clip; sizes that are no multiple of the stride are rounded up."""
        time, rows, columns = self.config.stride
        return Grid(1 + -(-(frames - 1) // time), -(-height // rows), -(-width // columns), time / fps)

    def frames(self, steps: int) -> int:
        """How many frames that many latent steps decode to."""
        return 1 + (steps - 1) * self.config.stride[0]

    def shape(self, grid: Grid) -> tuple[int, int, int]:
        """Frames, height and width of the pictures that a grid covers."""
        _, rows, columns = self.config.stride
        return self.frames(grid.steps), grid.rows * rows, grid.columns * columns

    def spread(self, values: Tensor, height: int, width: int) -> Tensor:
        """A number for each latent position, S R Q -> for each pixel that it covers, T height width."""
        for axis, times in enumerate(self.config.stride):
            values = values.repeat_interleave(times, axis)
        return values[self.config.stride[0] - 1 :, :height, :width]

    # -- encoding ------------------------------------------------------------------------------------------

    def groups(self, video: Tensor) -> Tensor:
        """B T H W 3 in [-1, 1] -> B S R Q P: first frame repeated, last frame and edges repeated to fill."""
        time, rows, columns = self.config.stride
        _, t, h, w, _ = video.shape
        tail = -(t - 1) % time
        video = torch.cat([video[:, :1].expand(-1, time - 1, -1, -1, -1), video,
                           video[:, -1:].expand(-1, tail, -1, -1, -1)], 1)
        if h % rows or w % columns:
            flat = video.flatten(0, 1).permute(0, 3, 1, 2)
            flat = F.pad(flat, (0, -w % columns, 0, -h % rows), mode="replicate")
            video = flat.permute(0, 2, 3, 1).unflatten(0, video.shape[:2])
        return self._grouped(video)

    def _grouped(self, video: Tensor) -> Tensor:
        """B S*8 R*16 Q*16 3 -> B S R Q (time rows columns 3)."""
        time, rows, columns = self.config.stride
        video = video.unflatten(3, (-1, columns)).unflatten(2, (-1, rows)).unflatten(1, (-1, time))
        return video.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)

    def steps(self, rows: Tensor, parts: int) -> Tensor:
        """Rows of numbers per frame, B T M -> B S parts M: those of `parts` evenly spaced frames of each latent step.

        As with pictures, the first frame fills the first step and the last frame what is missing of the last.
        """
        time = self.config.stride[0]
        tail = -(rows.shape[1] - 1) % time
        filled = torch.cat([rows[:, :1].expand(-1, time - 1, -1), rows, rows[:, -1:].expand(-1, tail, -1)], 1)
        every = time // parts
        return filled[:, every - 1 :: every].unflatten(1, (-1, parts))

    def encode(self, video: Tensor) -> Tensor:
        """B T H W 3 in [-1, 1] -> latents B S R Q C."""
        return (self.groups(video) - self.mean) @ self.basis.T / self.scale

    # -- decoding ------------------------------------------------------------------------------------------

    def forward(self, latents: Tensor) -> Tensor:
        """Latents B S R Q C -> video B T H W 3, T = 1 + 8 (S - 1), not yet clamped: what training compares."""
        return self._decode(latents, None)[0][:, self.config.stride[0] - 1 :]

    def decode(self, latents: Tensor, height: int | None = None, width: int | None = None) -> Tensor:
        """Latents B S R Q C -> video B T H W 3 in [-1, 1], T = 1 + 8 (S - 1), cropped to height and width."""
        return self(latents)[:, :, :height, :width].clamp(-1, 1)

    def decode_over(
        self, latents: Tensor, pictures: Tensor, height: int | None = None, width: int | None = None, *,
        first: bool = True,
    ) -> Tensor:
        """Like `decode`, but what latents cannot hold is taken from pictures B T H W 3 in [-1, 1], not guessed.

        Each step is decoded by itself. first: they begin with a clip's first frame, and not with a whole group.
        """
        groups = self.groups(pictures) if first else self._grouped(pictures)
        video = self._picture(latents, groups - self.mean)
        return video[:, self.config.stride[0] - 1 if first else 0 :, :height, :width].clamp(-1, 1)

    def decode_linear(self, latents: Tensor, height: int | None = None, width: int | None = None) -> Tensor:
        """Like `decode`, by the closed form alone: cheaper, blockier."""
        return self._picture(latents, None)[:, self.config.stride[0] - 1 :, :height, :width].clamp(-1, 1)

    def stream(self, chunks: Iterator[Tensor], height: int | None = None, width: int | None = None) -> Iterator[Tensor]:
        """Decodes chunks of latents B s R Q C as they come; the frames are those of `decode` on the whole."""
        state: State | None = None
        for chunk in chunks:
            first = state is None
            video, state = self._decode(chunk, state)
            skip = self.config.stride[0] - 1 if first else 0
            yield video[:, skip:, :height, :width].clamp(-1, 1)

    def _decode(self, latents: Tensor, state: State | None) -> tuple[Tensor, State]:
        batch = latents.shape[0]
        x = self.enter(latents.flatten(0, 1).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last))
        new: State = []
        for level, stage in enumerate(self.stages):
            if level:
                x = _grow(self.grow[level - 1](x), batch, 2, 2)
            for block in stage:  # type: ignore[attr-defined]
                x, last = block(x, batch, None if state is None else state[len(new)])
                new.append(last)
        detail = _grow(self.leave(x), batch, 2, 4)  # (B S*8) 3 H W
        detail = detail.float().permute(0, 2, 3, 1).unflatten(0, (batch, -1))
        return self._picture(latents, self._grouped(detail)), new

    def _picture(self, latents: Tensor, rest: Tensor | None) -> Tensor:
        """The closed-form decoder, B S R Q C -> B S*8 H W 3, plus what of the rest, B S R Q P, is not in its reach."""
        time, rows, columns = self.config.stride
        batch, steps, r, q, _ = latents.shape
        flat: Tensor = latents.float() * self.scale
        if rest is None:
            flat = flat @ self.basis + self.mean
        else:
            flat = (flat - rest @ self.basis.T) @ self.basis + rest + self.mean
        flat = flat.unflatten(4, (time, rows, columns, 3)).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return flat.reshape(batch, steps * time, r * rows, q * columns, 3)

    # -- checkpoints ---------------------------------------------------------------------------------------

    def save(self, path: Path, facts: dict[str, str] | None = None, *, half: bool = False) -> None:
        """Writes safetensors with the config in the header. `half` stores bfloat16."""
        save_module(self, path, self.config.to_dict(), facts, half=half)

    @classmethod
    def load(cls, path: Path) -> Codec:
        """Reads what `save` wrote. Raises UserError for a missing, foreign or corrupt file."""
        return load_module(path, lambda values: cls(CodecConfig.from_dict(values)))
