"""Presets: one dial per model, everything else derived from it and printed before a run.

The dial of the transformer is its size name; of the codec, likewise. A checkpoint carries its config in the
safetensors header, so no file but the checkpoint is needed to load it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self


class Config:
    """What all configs share: a strict round trip through plain JSON values."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises ValueError for unknown or missing fields."""
        names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        if set(values) != names:
            raise ValueError(f"{cls.__name__} has other fields: {sorted(names ^ set(values))}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class CodecConfig(Config):
    """The video compression network."""

    stride: tuple[int, int, int] = (8, 16, 16)  # frames, rows, columns that one latent position covers
    channels: int = 128  # numbers per latent position
    widths: tuple[int, int, int] = (384, 192, 96)  # decoder width at strides 8x16x16, 4x8x8, 2x4x4
    depths: tuple[int, int, int] = (2, 2, 3)  # blocks at each of them


@dataclass(frozen=True)
class TransformerConfig(Config):
    """The diffusion transformer on spacetime patches. Everything but width and depth follows from them."""

    width: int = 256  # model dimension D, a multiple of 64 (the size of a head)
    depth: int = 8  # blocks
    channels: int = 128  # latent channels in and out
    text_depth: int = 0  # blocks that read the prompt alone, before the context joins
    vocabulary: int = 512  # rows of the word table
    max_words: int = 96  # words of a prompt that are read
    motion: int = 792  # numbers that each token is told of the clip's motion (model/motion.py); 0: none

    @property
    def heads(self) -> int:
        return self.width // 64

    @property
    def hidden(self) -> int:
        """Width of the SwiGLU's inside: 8/3 of D, to a multiple of 64."""
        return -(-self.width * 8 // 3 // 64) * 64

    def flops_per_token(self, canvas: int, context: int) -> int:
        """Forward FLOPs for one canvas token among `canvas`, attending to `canvas + context` tokens."""
        per_block = 2 * (4 * self.width**2 + 3 * self.width * self.hidden)
        attention = 4 * self.width * (canvas + context)
        told = 0
        if self.motion:  # the told numbers' own network, and the sketch on its way in
            told = 4 * self.width * (self.motion + self.width) + 2 * self.width * self.channels
        return self.depth * (per_block + attention) + 4 * self.width * self.channels + told


@dataclass(frozen=True)
class LightFieldConfig(Config):
    """The networks that say what a pixel looks like (model/lightfield.py)."""

    width: int = 256  # of the one for things; the others are narrower


CODEC_PRESETS: dict[str, CodecConfig] = {
    "tiny": CodecConfig(channels=32, widths=(32, 24, 16), depths=(1, 1, 1)),  # tests
    "nano": CodecConfig(),  # bundled
}

# parameters, forward FLOPs per canvas token at 200 canvas + 32 text tokens (tests/test_config.py recomputes them)
TRANSFORMER_PRESETS: dict[str, TransformerConfig] = {
    "tiny": TransformerConfig(width=64, depth=2, channels=32, text_depth=1),  # tests
    "nano": TransformerConfig(),  # bundled; 7.9 M, 16.0 MFLOP; a CPU
    "small": TransformerConfig(width=512, depth=12),  # 42.9 M, 85.8 MFLOP; one consumer GPU
    "base": TransformerConfig(width=1024, depth=24),  # 318 M, 638 MFLOP; one datacentre GPU
    "large": TransformerConfig(width=1792, depth=32),  # 1.28 G, 2.5 GFLOP; several
}
# The network that dreams motion from words: one token a latent step, 140 numbers each (model/motion.py).
MOTION_PRESETS: dict[str, TransformerConfig] = {
    "tiny": TransformerConfig(width=64, depth=2, channels=140, text_depth=1, motion=0),  # tests
    "nano": TransformerConfig(width=192, depth=6, channels=140, text_depth=2, motion=0),  # bundled; 4.1 M
}
