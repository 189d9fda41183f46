"""The invisible mark: a keyed pattern in the brightness of every frame, found again without the original.

Legend: T frames, H height, W width (pixels); F frequencies of a tile.

The pattern is one square tile, repeated around the picture's centre (geometry.py). It is made of the waves of the tile
between 5 and 25 periods across: each wave has a sine and a cosine, and each of these *chips* carries a sign. A
quarter of them, scattered by the key, have fixed signs (the *pilot*, which says that a mark is there and how the picture
was cut); the rest carry 352 coded bits of the payload. The same tile lies in all frames of a clip: dropped, repeated,
reversed or reordered frames do no harm, nothing flickers, and what moves in the picture averages out.

The tile is shifted differently in every clip, so that the mean of many clips holds no pattern that could be taken
away or pasted. The reader finds the shift by one transform. The writer takes the shift, of the tile's 4096, at which
the picture itself already leans the right way.

Embedding is informed: the writer runs the reader on its own frames and spends amplitude where it buys signs, little
where the picture already leans the right way and little where its texture is beyond reach.

The threshold needs no model of pictures. The pilot's signs s_i are independent fair coins, drawn from the key;
for any picture made without the key and any values f_i read from it, Hoeffding's inequality gives
P(sum s_i f_i >= t sqrt(sum f_i^2)) <= exp(-t^2 / 2). Every place and shift searched multiplies the bound, and a
payload whose CRC and version fit divides it by the 2^28 that this has by chance.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tenku import rng
from tenku.media import Frames
from tenku.provenance import code, geometry
from tenku.provenance.code import Payload
from tenku.provenance.geometry import TILE, Place, Plane

PUBLIC_KEY = "tenku public mark 2"  # everybody's copy of Tenku finds this one, and whoever reads it can forge it
FALSE_POSITIVES = 1e-6  # per file, search included, for all keys together
FLOOR_DB = 42.0  # PSNR against the frames before marking
_BAND = (5.0, 25.0)  # periods across a tile
_PILOT = 180  # waves, of 900
_CUTS = (25.0, 18.0, 12.0)  # the reader looks at all waves, and at those that survive strong compression
_LOOK = 16  # frames that the writer studies
_SURROUNDINGS = 0.12  # of the picture's side: what is taken for the ground of a pixel
_NEAR, _QUIET, _LIMIT = 9, 1.5, 2.5  # pixels, levels, and times the contrast: edges are strong and say nothing
_MASK = (1.0, 0.3)  # amplitude on flat ground, and what texture may add: little, for flat ground survives compression
_WORKING = 128.0  # samples for a tile's width at which large pictures are read

Spectrum = npt.NDArray[np.complexfloating]


@dataclass(frozen=True)
class Finding:
    """What `detect` saw."""

    found: bool
    score: float  # standard deviations of the pilot; noise stays within a few, the best of many shifts reaches 4
    chance: float  # upper bound for pictures without the mark to score this anywhere in the search
    payload: Payload | None = None  # None: the mark is there, its content is worn away
    place: Place | None = None  # how the picture lies over the pattern
    own_key: bool = False  # found under TENKU_MARK_KEY, not under the public key
    shift: tuple[float, float] = (0.0, 0.0)  # of the tile, in samples: across, down


@dataclass(frozen=True)
class _Chips:
    across: npt.NDArray[np.intp]  # [F] periods of each wave across a tile
    down: npt.NDArray[np.intp]  # [F]
    radius: npt.NDArray[np.floating]  # [F]
    ring: npt.NDArray[np.intp]  # [F] waves of like radius
    signs: npt.NDArray[np.float32]  # [F, 2] of cosine and sine, +1 or -1
    pilot: npt.NDArray[np.intp]  # wave numbers
    data: npt.NDArray[np.intp]  # [D, 2] wave number, and 0 for its cosine or 1 for its sine
    bit: npt.NDArray[np.intp]  # [D] the coded bit of each

    def turned(self, shift: tuple[float, float]) -> Spectrum:
        """[F] factors that undo a shift of the tile."""
        return np.exp(2j * np.pi / TILE * (self.across * shift[0] + self.down * shift[1]))

    def fold(self, values: Spectrum) -> Spectrum:
        """Wave values as a spectrum [64, 33]."""
        out = np.zeros((TILE, TILE // 2 + 1), complex)
        out[self.down, self.across] = values
        edge = self.across == 0
        out[-self.down[edge], 0] = np.conj(values[edge])
        return out


@lru_cache(maxsize=8)
def _chips(key: str) -> _Chips:
    draw = rng.stream(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"), "invisible mark")
    down, across = np.meshgrid(np.arange(-TILE // 2 + 1, TILE // 2), np.arange(TILE // 2), indexing="ij")
    radius = np.hypot(down, across)
    keep = (radius >= _BAND[0]) & (radius <= _BAND[1]) & ((across > 0) | (down > 0))
    down, across, radius = down[keep], across[keep], radius[keep]
    order = draw.permutation(len(radius))
    rest = np.sort(order[_PILOT:])
    data = np.stack([np.repeat(rest, 2), np.tile([0, 1], len(rest))], 1)
    data = data[np.argsort(radius[data[:, 0]], kind="stable")]  # every bit gets its share of slow and of fast waves
    turns = -(-len(data) // code.CODED)
    bit = np.concatenate([draw.permutation(code.CODED) for _ in range(turns)])[:len(data)]
    signs = (draw.integers(0, 2, (len(radius), 2)) * 2 - 1).astype(np.float32)
    return _Chips(across, down, radius, ((radius - _BAND[0]) / 2).astype(int), signs, order[:_PILOT], data, bit)


def keys() -> list[str]:
    """The keys that a reader tries: the public one, and TENKU_MARK_KEY when set."""
    own = os.environ.get("TENKU_MARK_KEY")
    return [PUBLIC_KEY, own] if own else [PUBLIC_KEY]


# -- reading -------------------------------------------------------------------------------------------------------


def planes(frames: Frames) -> list[Plane]:
    """The reader's view of each frame: each pixel's brightness against its surroundings."""
    height, width = frames.shape[1:3]
    longest = _WORKING * max(geometry.likely_tiles(height, width))
    return [_rest(geometry.shrink(_luma(frame), longest)) for frame in frames]


def _luma(frame: Frames) -> Plane:
    return frame.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709


def _rest(luma: Plane) -> Plane:
    """Each pixel against its surroundings, in units of their contrast: where the picture is busy, it says little."""
    side = max(3, int(_SURROUNDINGS * math.sqrt(luma.size)) // 2 * 2 + 1)
    rest = luma - geometry.box(luma, side)
    contrast = np.sqrt(np.maximum(geometry.box(rest * rest, _NEAR), 0)) + _QUIET
    return (4 * np.clip(rest / contrast, -_LIMIT, _LIMIT)).astype(np.float32)


def detect(frames: Frames, search: bool = True) -> Finding:
    """Looks for the mark under every key of `keys()`: as it was made, and if `search`, cropped, padded or rotated.

    One threshold for everything: the chance bound below FALSE_POSITIVES, half of it for the picture as it lies,
    turned or mirrored, half for the search, all frames together.
    """
    size = (frames.shape[1], frames.shape[2])
    return detect_in(mean(planes(frames)), size, search)


def mean(views: Iterable[Plane]) -> Plane:
    """Of planes."""
    views = list(views)
    return (sum(views[1:], start=views[0].copy()) / len(views)).astype(np.float32)


def detect_in(plane: Plane, size: tuple[int, int], search: bool = True, share: float = 1.0) -> Finding:
    """`detect` in the mean of `planes`. size: (height, width) of the frames; share: of FALSE_POSITIVES."""
    best = Finding(False, 0.0, 1.0)
    for number, key in enumerate(keys()):
        chips, allowed = _chips(key), FALSE_POSITIVES * share / len(keys()) / 2
        finding = _in_place(plane, size, chips, allowed)
        if not finding.found and search:
            wider = _in_search(plane, size, chips, allowed)
            finding = wider if wider.found or wider.chance < finding.chance else finding
        if finding.found:
            return Finding(True, finding.score, finding.chance, finding.payload, finding.place, number > 0,
                           finding.shift)
        best = finding if finding.chance < best.chance else best
    return best


def waves(plane: Plane, place: Place, key: str | None = None, most: float = 0.0) -> Spectrum:
    """[F]: the waves of a plane's tiles at a place, each limited to the median magnitude of its ring."""
    return _limited(_spectrum(plane, place, _chips(key or PUBLIC_KEY), most), _chips(key or PUBLIC_KEY))


def _spectrum(plane: Plane, place: Place, chips: _Chips, most: float = 0.0) -> Spectrum:
    return np.fft.rfft2(geometry.fold(plane, place, most))[chips.down, chips.across]


def _limited(values: Spectrum, chips: _Chips) -> Spectrum:
    """A picture's strong waves say nothing about the mark."""
    size = np.abs(values)
    usual = np.array([np.median(size[chips.ring == ring]) for ring in range(chips.ring.max() + 1)])
    return values / np.maximum(np.maximum(size, usual[chips.ring]), 1e-6)


def _shifts(values: Spectrum, chips: _Chips, fine: int) -> tuple[float, tuple[float, float]]:
    """The pilot's score at its best shift, in 1/fine samples, and that shift."""
    pilot = np.zeros(len(values), complex)
    wanted = chips.signs[chips.pilot, 0] + 1j * chips.signs[chips.pilot, 1]
    pilot[chips.pilot] = values[chips.pilot] * np.conj(wanted)
    spectrum, size = chips.fold(pilot), TILE * fine
    wide = np.zeros((size, size // 2 + 1), complex)
    half = TILE // 2
    wide[:half, :half], wide[-half:, :half] = spectrum[:half, :half], spectrum[-half:, :half]
    found = np.fft.irfft2(wide, (size, size))
    down, across = np.unravel_index(int(found.argmax()), found.shape)
    shift = (float(across) / fine, float(down) / fine)
    return _pilot_score(values, chips, shift), shift


def _pilot_score(values: Spectrum, chips: _Chips, shift: tuple[float, float]) -> float:
    upright = (values * chips.turned(shift))[chips.pilot]
    return _score(np.stack([upright.real, upright.imag], 1) * chips.signs[chips.pilot])


def _score(values: npt.NDArray[np.floating]) -> float:
    energy = float(np.square(values, dtype=np.float64).sum())
    return float(values.sum(dtype=np.float64)) / math.sqrt(energy) if energy > 0 else 0.0


def _judge(candidates: list[tuple[float, Place, tuple[float, float], Spectrum]], chips: _Chips, tried: float,
           allowed: float) -> Finding:
    """The best of some places, out of `tried` places and shifts that were compared to arrive at them."""
    best = Finding(False, 0.0, 1.0)
    for score, place, shift, values in candidates:
        upright = values * chips.turned(shift)
        each = np.stack([upright.real, upright.imag], 1) * chips.signs
        each *= _trust(each, chips)[:, None]
        soft = np.bincount(chips.bit, each[chips.data[:, 0], chips.data[:, 1]], code.CODED)
        payload = code.unpack(code.decode(soft)) if soft.any() else None
        by_pilot = min(1.0, tried * math.exp(-max(score, 0.0) ** 2 / 2))
        by_code = by_pilot * len(candidates) * code.CHANCE if payload else 1.0
        chance = min(1.0, 2 * min(by_pilot, by_code))  # two ways to be found
        if best.place is None or (chance, -score) < (best.chance, -best.score):
            best = Finding(chance <= allowed, score, chance, payload if chance <= allowed else None, place,
                           shift=shift)
    return best if best.found else Finding(False, best.score, best.chance)


def _trust(each: npt.NDArray[np.floating], chips: _Chips) -> npt.NDArray[np.floating]:
    """[F]: what a wave's values are worth, by how well the pilot agrees in its ring and those beside it."""
    rings = chips.ring[chips.pilot]
    agree = np.bincount(rings, each[chips.pilot].sum(1), chips.ring.max() + 1)
    count = np.bincount(rings, minlength=len(agree)) * 2.0
    near = np.convolve(agree, np.ones(3), "same") / np.maximum(np.convolve(count, np.ones(3), "same"), 1)
    return np.maximum(near, 0.1)[chips.ring]


def _in_place(plane: Plane, size: tuple[int, int], chips: _Chips, allowed: float) -> Finding:
    places = geometry.straight(*size)
    candidates = []
    for place in places:
        values = _limited(_spectrum(plane, place, chips), chips)
        for cut in _CUTS:
            low = values * (chips.radius <= cut)
            candidates.append((*_shifts(low, chips, 1), place, low))
    ranked = sorted(((score, place, shift, low) for score, shift, place, low in candidates), key=lambda c: -c[0])
    return _judge(ranked[:6], chips, float(len(candidates) * TILE**2), allowed)


def _in_search(plane: Plane, size: tuple[int, int], chips: _Chips, allowed: float) -> Finding:
    """Coarsely around the centre, then ever finer from the best. Counts every place that it could have looked at."""
    ranked, tried = [], 0.0
    for place in geometry.searched(*size):
        values = _spectrum(plane, place, chips, most=1.5)
        score, _ = _shifts(values / np.maximum(np.abs(values), 1e-6), chips, 2)
        ranked.append((score, place))
        tried += 1
    ranked.sort(key=lambda r: -r[0])
    refined = []
    for _, place in ranked[:10]:
        values = _limited(_spectrum(plane, place, chips), chips)
        best = (*_shifts(values, chips, 4), values)
        step = 0.5
        while step * geometry.FINER >= 1:
            for other in geometry.neighbours(place, step):
                values = _limited(_spectrum(plane, other, chips), chips)
                score, shift = _shifts(values, chips, 4)
                if score > best[0]:
                    best, place = (score, shift, values), other
            step /= 2
        refined.append((best[0], place, best[1], best[2]))
    refined.sort(key=lambda r: -r[0])
    return _judge(refined[:4], chips, tried * geometry.FINER**2 * (4 * TILE) ** 2, allowed)


# -- one clip's pattern ----------------------------------------------------------------------------------------------


def presence(views: list[Plane], finding: Finding) -> list[float]:
    """For each of `planes`, how well the whole pattern of a finding with a payload fits: standard deviations."""
    assert finding.payload is not None
    assert finding.place is not None
    key = keys()[-1] if finding.own_key else PUBLIC_KEY
    chips = _chips(key)
    signs = _signs(chips, finding.payload)
    scores = []
    for view in views:
        upright = waves(view, finding.place, key) * chips.turned(finding.shift)
        scores.append(_score(np.stack([upright.real, upright.imag], 1) * signs))
    return scores


def confirm(view: Plane, size: tuple[int, int], payload: Payload, shift: tuple[float, float]) -> Finding:
    """Whether a picture carries the pattern of a clip that it looks like: fainter than what can be read unaided.

    view: the mean of `planes`; shift: the tile's, as the writer's own reader found it. All chips count, and few
    places are searched, so that less of the pattern is enough.
    """
    best, tried = Finding(False, 0.0, 1.0), 0
    for number, key in enumerate(keys()):
        chips = _chips(key)
        signs = _signs(chips, payload)
        for place in geometry.straight(*size):
            if place.turned or place.made_with != geometry.tiles_of(*size):
                continue
            values = waves(view, place, key) * chips.turned(shift)
            each = np.stack([values.real, values.imag], 1) * signs
            for cut in _CUTS:
                tried += 1
                score = _score(each[chips.radius <= cut])
                if score > best.score:
                    best = Finding(False, score, 1.0, payload, place, number > 0, shift)
    chance = min(1.0, tried * math.exp(-best.score**2 / 2))
    if chance > FALSE_POSITIVES / 4:  # the rest is for what `parts` looks at
        return Finding(False, best.score, chance)
    return replace(best, found=True, chance=chance)


def _signs(chips: _Chips, payload: Payload) -> npt.NDArray[np.float32]:
    """[F, 2] of all chips."""
    signs = chips.signs.copy()
    signs[chips.data[:, 0], chips.data[:, 1]] *= code.encode(code.pack(payload))[chips.bit]
    return signs


# -- writing ----------------------------------------------------------------------------------------------------------


def embed(frames: Frames, payload: Payload, key: str | None = None) -> Frames:
    """The frames [T, H, W, 3] with the mark, at 42 dB or better. key: None means TENKU_MARK_KEY, else the public one.

    The same frames, payload and key give the same result.
    """
    chips = _chips(key or keys()[-1])
    height, width = frames.shape[1:3]
    if min(height, width) < 8:  # no wave fits
        return frames.copy()
    look = frames[np.unique(np.linspace(0, len(frames) - 1, _LOOK).round().astype(int))]
    writer = _Writer(look, chips, _signs(chips, payload))
    pattern = writer.pattern(writer.amplitudes())
    return np.stack([_apply(frame, pattern, _mask(frame)) for frame in frames])


class _Writer:
    """Studies some frames of a clip and finds the pattern that serves them best."""

    def __init__(self, look: Frames, chips: _Chips, signs: npt.NDArray[np.float32]) -> None:
        self.look, self.chips, self.signs = look, chips, signs
        self.masks = [_mask(frame) for frame in look]
        self.size = (look.shape[1], look.shape[2])
        made = geometry.tiles_of(*self.size)
        self.place = Place(made, made_with=made)
        self.shift = self._kindest_shift()

    def _kindest_shift(self) -> tuple[float, float]:
        """Of the tile's 4096 shifts, that at which the pictures already lean towards the signs."""
        values = _limited(_spectrum(mean(planes(self.look)), self.place, self.chips), self.chips)
        wanted = self.signs[:, 0] + 1j * self.signs[:, 1]
        leaning = np.fft.irfft2(self.chips.fold(values * np.conj(wanted)), (TILE, TILE))
        down, across = np.unravel_index(int(leaning.argmax()), leaning.shape)
        return float(across), float(down)

    def read(self, frames: Frames) -> npt.NDArray[np.floating]:
        """[F, 2]: what the reader sees of each chip, positive where its sign is right; not limited."""
        upright = _spectrum(mean(planes(frames)), self.place, self.chips) * self.chips.turned(self.shift)
        return np.stack([upright.real, upright.imag], 1) * self.signs

    def pattern(self, amplitudes: npt.NDArray[np.floating]) -> Plane:
        """[H, W] in levels, before each frame's mask, scaled to FLOOR_DB."""
        chips = self.chips
        values = (self.signs[:, 0] * amplitudes[:, 0] + 1j * self.signs[:, 1] * amplitudes[:, 1])
        pattern = geometry.spread(chips.fold(values * np.conj(chips.turned(self.shift))), *self.size)
        energy = float(np.mean([np.square(mask * pattern).mean() for mask in self.masks]))
        decibels = FLOOR_DB + 0.15  # rounding to whole levels costs a little
        return (pattern * math.sqrt(255**2 / 10 ** (decibels / 10) / max(energy, 1e-12))).astype(np.float32)

    def amplitudes(self) -> npt.NDArray[np.floating]:
        """[F, 2] relative amplitude of each chip: informed embedding.

        For a chip whose picture alone leans by h towards its sign, amplitude a yields h + g a at the reader, whose
        expected limited value under noise is near erf((h + g a) / (sigma sqrt 2)). Each chip takes the a that
        maximises this less lambda a^2; lambda meets the budget. Chips disturb each other through masks and limits, so h
        is measured again after each round.
        """
        chips, amplitude = self.chips, np.ones(self.signs.shape)
        before = self.read(self.look)
        gain = np.ones(len(self.signs))
        for turn in range(3):
            pattern = self.pattern(amplitude)
            marked = np.stack([_apply(f, pattern, m) for f, m in zip(self.look, self.masks, strict=True)])
            after = self.read(marked)
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
    luma = _luma(frame)
    average = geometry.box(luma, 5)
    contrast = np.sqrt(np.maximum(geometry.box(luma * luma, 5) - average * average, 0))
    return (_MASK[0] + np.minimum(contrast / 10, _MASK[1])).astype(np.float32)


def _apply(frame: Frames, pattern: Plane, mask: Plane) -> Frames:
    return np.clip(np.rint(frame + (mask * pattern)[..., None]), 0, 255).astype(np.uint8)
