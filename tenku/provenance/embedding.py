"""Writes the invisible mark that invisible.py reads.

Embedding is informed: the writer runs the reader on its own frames. It takes the shift of the tile, of 4096, at which
the picture itself already leans the right way; then it spends amplitude where it buys signs, little where the picture
already leans the right way and little where its texture is beyond reach.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tenku.media import Frames
from tenku.provenance import geometry, invisible, known
from tenku.provenance.code import Payload
from tenku.provenance.geometry import TILE, Place, Plane

FLOOR_DB = 42.0  # PSNR against the frames before marking
_EASY, _SPARED_DB = 0.94, 3.0  # share of chips read rightly from which the mark is fainter by so much
_LOOK = 16  # frames that the writer studies
_MASK = (1.0, 0.3)  # amplitude on flat ground, and what texture may add: little, for flat ground survives compression


def embed(frames: Frames, payload: Payload, key: str | None = None) -> Frames:
    """The frames [T, H, W, 3] with the mark, at 42 dB or better. key: None means TENKU_MARK_KEY, else the public one.

    The same frames, payload and key give the same result.
    """
    chips = invisible.chips_of(key or invisible.keys()[-1])
    height, width = frames.shape[1:3]
    if min(height, width) < 8:  # no wave fits
        return frames.copy()
    look = frames[np.unique(np.linspace(0, len(frames) - 1, _LOOK).round().astype(int))]
    writer = _Writer(look, chips, known.signs_of(chips, payload))
    pattern = writer.pattern(amplitudes := writer.amplitudes())
    if writer.share_right(pattern) > _EASY:  # flat pictures: they hold it well and show it first
        pattern = writer.pattern(amplitudes, FLOOR_DB + _SPARED_DB)
    return np.stack([_apply(frame, pattern, _mask(frame)) for frame in frames])


class _Writer:
    """Studies some frames of a clip and finds the pattern that serves them best."""

    def __init__(self, look: Frames, chips: invisible.Chips, signs: npt.NDArray[np.float32]) -> None:
        self.look, self.chips, self.signs = look, chips, signs
        self.masks = [_mask(frame) for frame in look]
        self.size = (look.shape[1], look.shape[2])
        made = geometry.tiles_of(*self.size)
        self.place = Place(made, made_with=made)
        self.shift = self._kindest_shift()

    def _kindest_shift(self) -> tuple[float, float]:
        """Of the tile's 4096 shifts, that at which the pictures already lean towards the signs."""
        values = invisible.limited(self._waves(self.look), self.chips)
        wanted = self.signs[:, 0] + 1j * self.signs[:, 1]
        leaning = np.fft.irfft2(self.chips.fold(values * np.conj(wanted)), (TILE, TILE))
        down, across = np.unravel_index(int(leaning.argmax()), leaning.shape)
        return float(across), float(down)

    def read(self, frames: Frames) -> npt.NDArray[np.floating]:
        """[F, 2]: what the reader sees of each chip, positive where its sign is right; not limited."""
        upright = self._waves(frames) * self.chips.turned(self.shift)
        return np.stack([upright.real, upright.imag], 1) * self.signs

    def _waves(self, frames: Frames) -> invisible.Spectrum:
        return invisible.spectrum(invisible.mean(invisible.planes(frames)), self.place, self.chips)

    def share_right(self, pattern: Plane) -> float:
        """Of chips, that a reader of the marked frames sees with their sign."""
        return float((self.read(self._marked(pattern)) > 0).mean())

    def _marked(self, pattern: Plane) -> Frames:
        return np.stack([_apply(f, pattern, m) for f, m in zip(self.look, self.masks, strict=True)])

    def pattern(self, amplitudes: npt.NDArray[np.floating], decibels: float = FLOOR_DB) -> Plane:
        """[H, W] in levels, before each frame's mask, scaled to that PSNR."""
        chips = self.chips
        values = (self.signs[:, 0] * amplitudes[:, 0] + 1j * self.signs[:, 1] * amplitudes[:, 1])
        pattern = geometry.spread(chips.fold(values * np.conj(chips.turned(self.shift))), *self.size)
        energy = float(np.mean([np.square(mask * pattern).mean() for mask in self.masks]))
        decibels += 0.15  # rounding to whole levels costs a little
        return (pattern * math.sqrt(255**2 / 10 ** (decibels / 10) / max(energy, 1e-12))).astype(np.float32)

    def amplitudes(self) -> npt.NDArray[np.floating]:
        """[F, 2] relative amplitude of each chip: informed embedding.

        For a chip whose picture alone leans by h towards its sign, amplitude a yields h + g a at the reader, whose
        expected limited value under noise is near erf((h + g a) / (sigma sqrt 2)). Each chip takes the a that
        maximises this less lambda a^2; lambda meets the budget. Chips disturb each other through masks and limits, so h
        is measured again after each round.
        """
        chips = self.chips
        amplitude: npt.NDArray[np.floating] = np.ones(self.signs.shape)
        before = self.read(self.look)
        gain = np.ones(len(self.signs))
        for turn in range(3):
            pattern = self.pattern(amplitude)
            after = self.read(self._marked(pattern))
            relative = amplitude / math.sqrt(np.square(amplitude).mean())
            rings = range(chips.ring.max() + 1)
            if turn == 0:
                yields = np.array([(after - before)[chips.ring == ring].mean() for ring in rings])
                gain = np.maximum(yields, 1e-3)[chips.ring]
            usual = np.array([np.median(np.abs(after[chips.ring == ring])) for ring in rings])[chips.ring]
            sigma = np.hypot(usual, self._noise())
            chosen = _allocate(after - gain[:, None] * relative, gain, sigma)
            amplitude = chosen if turn == 0 else (amplitude + chosen) / 2
        return amplitude

    def _noise(self) -> npt.NDArray[np.floating]:
        """[F]: damage that the writer prepares for, as the reader would see it before the mark is weakened.

        Measured on rendered clips after H.264: a constant, over the share of a wave's amplitude that is left by its
        period in pixels (dev/LOG.md, 2026-11-24).
        """
        made = geometry.tiles_of(*self.size)
        period = math.sqrt(self.size[0] * self.size[1]) / made / self.chips.radius
        left = np.interp(period, [4, 4.6, 5.6, 7, 8.4, 10, 13, 17, 25],
                         [0.25, 0.3, 0.4, 0.46, 0.53, 0.58, 0.68, 0.73, 0.8])
        return 25.0 * made / left


def _allocate(lean: npt.NDArray[np.floating], gain: npt.NDArray[np.floating],
              sigma: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The amplitude of each chip, from a grid, that maximises the expected values with a mean square of 1."""
    grid = np.linspace(0.0, 4.0, 48)
    points = np.linspace(-4, 4, 257)
    table = [math.erf(p / math.sqrt(2)) for p in points]  # numpy has no erf
    worth = np.interp((lean[..., None] + gain[:, None, None] * grid) / sigma[:, None, None], points, table)
    low, high = 1e-6, 1e2
    for _ in range(24):
        price = math.sqrt(low * high)
        spent = np.square(grid[(worth - price * grid**2).argmax(-1)]).mean()
        low, high = (price, high) if spent > 1 else (low, price)
    return grid[(worth - high * grid**2).argmax(-1)] + 1e-3


def _mask(frame: Frames) -> Plane:
    """[H, W], 1..1.3: how much change the eye forgives, by the contrast of the 5 x 5 pixels around."""
    bright = invisible.luma(frame)
    average = geometry.box(bright, 5)
    contrast = np.sqrt(np.maximum(geometry.box(bright * bright, 5) - average * average, 0))
    return (_MASK[0] + np.minimum(contrast / 10, _MASK[1])).astype(np.float32)


def _apply(frame: Frames, pattern: Plane, mask: Plane) -> Frames:
    return np.clip(np.rint(frame + (mask * pattern)[..., None]), 0, 255).astype(np.uint8)
