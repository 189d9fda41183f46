"""The invisible mark: a keyed pattern in the brightness of every frame, found again without the original.

Legend: T frames, H height, W width (pixels); F frequencies of a tile.

The pattern is one square tile, repeated around the picture's centre (geometry.py). It is made of the tile's waves
of 5 to 25 periods across: each wave has a sine and a cosine, and each of these *chips* carries a sign. A fifth of the
waves, scattered by the key, have fixed signs: the *pilot*, which says that a mark is there and how the picture was cut.
The rest carry 352 coded bits of the payload. The same tile lies in all frames of a clip: dropped, repeated, reversed
or reordered frames do no harm, nothing flickers, and what moves in the picture averages out.

The tile is shifted differently in every clip, so that the mean of many clips holds no pattern that could be taken
away or pasted. The reader finds the shift by one transform. embedding.py writes.

The threshold needs no model of pictures. The pilot's signs s_i are independent fair coins, drawn from the key;
for any picture made without the key and any values f_i read from it, Hoeffding's inequality gives
P(sum s_i f_i >= t sqrt(sum f_i^2)) <= exp(-t^2 / 2), and `by_chance` a little less. Every place and shift searched
multiplies the bound, and a payload whose CRC and version fit divides it by the 2^28 that this has by chance.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Sequence
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
SHARE = 0.2  # of it: as it lies, its stretches, set straight, searched, and as a clip that it looks like
_BAND = (5.0, 25.0)  # periods across a tile
_PILOT = 180  # waves, of 900
CUTS = (25.0, 18.0, 12.0)  # the reader looks at all waves, and at those that survive strong compression
_SURROUNDINGS = 0.12  # of the picture's side: what is taken for the ground of a pixel
_NEAR, _QUIET, _LIMIT = 9, 1.5, 2.5  # pixels, levels, and times the contrast: edges are strong and say nothing
_SEARCHED = 32  # pixels of the shorter side, below which no crop is looked for
_HALVES = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))  # samples
_LATTICE = (_HALVES[0], _HALVES[3])  # where the search takes its first look
_STARTS, _FINALISTS = 10, 4  # places that are refined, and those of them to the end
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
class Chips:
    """The waves of a tile and what each stands for."""

    across: npt.NDArray[np.intp]  # [F] periods of each wave across a tile
    down: npt.NDArray[np.intp]  # [F]
    radius: npt.NDArray[np.floating]  # [F]
    ring: npt.NDArray[np.intp]  # [F] waves of like radius
    signs: npt.NDArray[np.float32]  # [F, 2] of cosine and sine, +1 or -1
    pilot: npt.NDArray[np.intp]  # wave numbers
    data: npt.NDArray[np.intp]  # [D, 2] wave number, and 0 for its cosine or 1 for its sine
    bit: npt.NDArray[np.intp]  # [D] the coded bit of each
    rings: npt.NDArray[np.intp]  # [R, M] the waves of each ring, F where a ring has fewer

    def usual(self, size: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """[..., F]: the median of values [..., F] over each wave's ring."""
        end = np.full((*size.shape[:-1], 1), np.inf, size.dtype)
        ordered = np.sort(np.concatenate([size, end], -1)[..., self.rings], -1)
        count = (self.rings < size.shape[-1]).sum(1)
        row = np.arange(len(count))
        return ((ordered[..., row, (count - 1) // 2] + ordered[..., row, count // 2]) / 2)[..., self.ring]

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
def chips_of(key: str) -> Chips:
    """The waves and signs of a key."""
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
    ring = ((radius - _BAND[0]) / 2).astype(int)
    each = [np.flatnonzero(ring == number) for number in range(ring.max() + 1)]
    most = max(map(len, each))
    rings = np.stack([np.pad(waves, (0, most - len(waves)), constant_values=len(radius)) for waves in each])
    return Chips(across, down, radius, ring, signs, order[:_PILOT], data, bit, rings)


def keys() -> list[str]:
    """The keys that a reader tries: the public one, and TENKU_MARK_KEY when set."""
    own = os.environ.get("TENKU_MARK_KEY")
    return [PUBLIC_KEY, own] if own else [PUBLIC_KEY]


# -- reading -------------------------------------------------------------------------------------------------------


def planes(frames: Frames) -> list[Plane]:
    """The reader's view of each frame: each pixel's brightness against its surroundings."""
    height, width = frames.shape[1:3]
    longest = _WORKING * max(geometry.likely_tiles(height, width))
    return [_rest(geometry.shrink(luma(frame), longest)) for frame in frames]


def luma(frame: Frames) -> Plane:
    """[H, W]: the brightness of a frame [H, W, 3]."""
    return frame.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709


def _rest(bright: Plane) -> Plane:
    """Each pixel against its surroundings, in units of their contrast: where the picture is busy, it says little."""
    side = max(3, int(_SURROUNDINGS * math.sqrt(bright.size)) // 2 * 2 + 1)
    rest = bright - geometry.box(bright, side)
    contrast = np.sqrt(np.maximum(geometry.box(rest * rest, _NEAR), 0)) + _QUIET
    return (4 * np.clip(rest / contrast, -_LIMIT, _LIMIT)).astype(np.float32)


def detect(frames: Frames, search: bool = True) -> Finding:
    """Looks for the mark under every key of `keys()`: as it was made, and if `search`, cropped, padded or rotated.

    One threshold for everything: the chance bound below FALSE_POSITIVES, half of it for the picture as it lies,
    turned or mirrored, half for the search, all frames together.
    """
    size = (frames.shape[1], frames.shape[2])
    plane = mean(planes(frames))
    finding = detect_in(plane, size, share=0.5)
    if finding.found or not search:
        return finding
    wider = search_in(plane, size, share=0.5)
    return wider if wider.found or wider.chance < finding.chance else finding


def mean(views: Iterable[Plane]) -> Plane:
    """Of planes."""
    views = list(views)
    return (sum(views[1:], start=views[0].copy()) / len(views)).astype(np.float32)


def detect_in(plane: Plane, size: tuple[int, int], share: float = 1.0) -> Finding:
    """The mark in the mean of `planes` as it lies, turned or mirrored.

    size: (height, width) of the frames; share: of FALSE_POSITIVES that this look may take.
    """
    return _any_key(lambda chips, allowed: _in_place(plane, size, chips, allowed), share)


def search_in(plane: Plane, size: tuple[int, int], share: float = 1.0) -> Finding:
    """`detect_in` for cropped, padded, rotated or stretched pictures."""
    if min(size) < _SEARCHED or not plane.any():
        return Finding(False, 0.0, 1.0)
    return _any_key(lambda chips, allowed: _in_search(plane, size, chips, allowed), share)


def _any_key(look: Callable[[Chips, float], Finding], share: float) -> Finding:
    best = Finding(False, 0.0, 1.0)
    for number, key in enumerate(keys()):
        finding = replace(look(chips_of(key), FALSE_POSITIVES * share / len(keys())), own_key=number > 0)
        if finding.found:
            return finding
        best = finding if finding.chance < best.chance else best
    return best


def read_again(plane: Plane, finding: Finding) -> Finding:
    """What other frames of a file say at the place of a finding: for clips that were cut together."""
    assert finding.place is not None
    chips = chips_of(keys()[-1] if finding.own_key else PUBLIC_KEY)
    values = limited(spectrum(plane, finding.place, chips), chips)
    score, shift = _shifts(values, chips)
    again = _judge([(score, finding.place, shift, values)], chips, (4.0 * TILE) ** 2, FALSE_POSITIVES)
    return replace(again, own_key=finding.own_key)


def waves(plane: Plane, place: Place, key: str | None = None, most: float = 0.0) -> Spectrum:
    """[F]: the waves of a plane's tiles at a place, each limited to the median magnitude of its ring."""
    return limited(spectrum(plane, place, chips_of(key or PUBLIC_KEY), most), chips_of(key or PUBLIC_KEY))


def spectrum(plane: Plane, place: Place, chips: Chips, most: float = 0.0) -> Spectrum:
    """[F]: the waves of a plane's tiles at a place, as they are."""
    return np.fft.rfft2(geometry.fold(plane, place, most))[chips.down, chips.across]


def limited(values: Spectrum, chips: Chips) -> Spectrum:
    """A picture's strong waves say nothing about the mark."""
    size = np.abs(values)
    return values / np.maximum(np.maximum(size, chips.usual(size)), 1e-6)


def correlated(pilot: Spectrum, chips: Chips) -> npt.NDArray[np.floating]:
    """[N, 64, 64]: the pilot's correlation at every whole shift, of the pilot's waves [N, P]."""
    across, down = chips.across[chips.pilot], chips.down[chips.pilot]
    signed = pilot * (chips.signs[chips.pilot, 0] - 1j * chips.signs[chips.pilot, 1])
    stack = np.zeros((len(pilot), TILE, TILE // 2 + 1), np.complex64)
    stack[:, down, across] = signed
    stack[:, -down[across == 0], 0] = np.conj(signed[:, across == 0])
    return np.fft.irfft2(stack, (TILE, TILE))


def _turns(chips: Chips, shifts: Sequence[tuple[float, float]]) -> Spectrum:
    """[N, P] factors that undo shifts, of the pilot's waves."""
    across, down = chips.across[chips.pilot], chips.down[chips.pilot]
    x, y = np.array(shifts).T
    return np.exp(2j * np.pi / TILE * (np.outer(x, across) + np.outer(y, down))).astype(np.complex64)


def _shifts(values: Spectrum, chips: Chips) -> tuple[float, tuple[float, float]]:
    """The pilot's score at its best shift, in quarters of a sample, and that shift."""
    pilot = values[chips.pilot]
    found = correlated(pilot * _turns(chips, _HALVES), chips)  # four small transforms are faster than a large one
    page, row, column = np.unravel_index(int(found.argmax()), found.shape)
    x, y = column + _HALVES[page][0], row + _HALVES[page][1]
    around = [(float(x + i / 4) % TILE, float(y + j / 4) % TILE) for j in (-1, 0, 1) for i in (-1, 0, 1)]
    signed = pilot * (chips.signs[chips.pilot, 0] - 1j * chips.signs[chips.pilot, 1])
    shift = around[int((signed * _turns(chips, around)).real.sum(1).argmax())]
    return _pilot_score(values, chips, shift), shift


def _pilot_score(values: Spectrum, chips: Chips, shift: tuple[float, float]) -> float:
    across, down = chips.across[chips.pilot], chips.down[chips.pilot]
    upright = values[chips.pilot] * np.exp(2j * np.pi / TILE * (across * shift[0] + down * shift[1]))
    return score_of(np.stack([upright.real, upright.imag], 1) * chips.signs[chips.pilot])


def score_of(values: npt.NDArray[np.floating]) -> float:
    """Standard deviations of a sum of values, were their signs fair coins."""
    energy = float(np.square(values, dtype=np.float64).sum())
    return float(values.sum(dtype=np.float64)) / math.sqrt(energy) if energy > 0 else 0.0


def by_chance(score: float) -> float:
    """Upper bound for signs that are fair coins to reach a score in values that do not depend on them.

    Hoeffding (1963), and the tighter 3.18 P(N > score) of Bentkus and Dzindzalieta, Bernoulli 21 (2015), theorem 1.1.
    """
    if score <= 0:
        return 1.0
    return min(math.exp(-score**2 / 2), 3.18 * math.erfc(score / math.sqrt(2)) / 2)


def _judge(candidates: list[tuple[float, Place, tuple[float, float], Spectrum]], chips: Chips, tried: float,
           allowed: float) -> Finding:
    """The best of some places, out of `tried` places and shifts that were compared to arrive at them."""
    best = Finding(False, 0.0, 1.0)
    chances = [min(1.0, tried * by_chance(score)) for score, *_ in candidates]
    price = len(candidates) * code.CHANCE
    payloads: list[Payload | None] = [None] * len(candidates)
    if chances and 2 * min(chances) * price <= allowed:  # else no payload could count
        soft = np.stack([_soft(values, shift, chips) for _, _, shift, values in candidates])
        payloads = [code.unpack(bits) if word.any() else None
                    for word, bits in zip(soft, code.decode(soft), strict=True)]
    for (score, place, shift, _), by_pilot, payload in zip(candidates, chances, payloads, strict=True):
        by_code = by_pilot * price if payload else 1.0
        chance = min(1.0, 2 * min(by_pilot, by_code))  # two ways to be found
        if best.place is None or (chance, -score) < (best.chance, -best.score):
            best = Finding(chance <= allowed, score, chance, payload if chance <= allowed else None, place,
                           shift=shift)
    return best if best.found else Finding(False, best.score, best.chance)


def _soft(values: Spectrum, shift: tuple[float, float], chips: Chips) -> npt.NDArray[np.float64]:
    """[352]: the coded bits, positive where they lean to 0."""
    upright = values * chips.turned(shift)
    each = np.stack([upright.real, upright.imag], 1) * chips.signs
    each *= _trust(each, chips)[:, None]
    return np.bincount(chips.bit, each[chips.data[:, 0], chips.data[:, 1]], code.CODED).astype(np.float64)


def _trust(each: npt.NDArray[np.floating], chips: Chips) -> npt.NDArray[np.floating]:
    """[F]: what a wave's values are worth, by how well the pilot agrees in its ring and those beside it."""
    rings = chips.ring[chips.pilot]
    agree = np.bincount(rings, each[chips.pilot].sum(1), chips.ring.max() + 1)
    count = np.bincount(rings, minlength=len(agree)) * 2.0
    near = np.convolve(agree, np.ones(3), "same") / np.maximum(np.convolve(count, np.ones(3), "same"), 1)
    return np.maximum(near, 0.1)[chips.ring]


def _in_place(plane: Plane, size: tuple[int, int], chips: Chips, allowed: float) -> Finding:
    places = geometry.straight(*size)
    upright = {n: geometry.fold(plane, Place(n, made_with=n)) for n in {place.made_with for place in places}}
    folds = np.stack([np.rot90(upright[p.made_with][:, ::-1 if p.mirrored else 1], p.turned) for p in places])
    values = limited(np.fft.rfft2(folds)[:, chips.down, chips.across], chips)
    lows = (values[:, None] * (chips.radius <= np.array(CUTS)[:, None])).reshape(-1, values.shape[1])
    found = correlated(lows[:, chips.pilot], chips)
    shifts = [divmod(int(at), TILE) for at in found.reshape(len(found), -1).argmax(1)]
    ranked = []
    for number, (down, across) in enumerate(shifts):
        low, shift = lows[number], (float(across), float(down))
        ranked.append((_pilot_score(low, chips, shift), places[number // len(CUTS)], shift, low))
    ranked.sort(key=lambda candidate: -candidate[0])
    return _judge(ranked[:6], chips, float(len(ranked) * TILE**2), allowed)


def _in_search(plane: Plane, size: tuple[int, int], chips: Chips, allowed: float) -> Finding:
    """Coarsely around the centre, then ever finer from the best. Counts every place that it could have looked at."""
    ranked: list[tuple[float, Place]] = []
    for places, folds, of in geometry.searched(plane, *size):
        ranked += zip(_coarse(places, folds, of, chips), places, strict=True)
    tried = len(ranked)
    ranked.sort(key=lambda r: -r[0])
    starts = [_Start(place, plane, chips) for _, place in ranked[:_STARTS]]
    step = 0.5
    while step * geometry.FINER >= 1:
        starts = sorted(starts, key=lambda start: -start.score)[:_STARTS if step > 0.2 else _FINALISTS]
        for start in starts:
            start.climb(step)
        step /= 2
    refined = sorted(((s.score, s.place, s.shift, s.values) for s in starts), key=lambda r: -r[0])
    return _judge(refined, chips, tried * geometry.FINER**2 * (4.0 * TILE) ** 2, allowed)


def _coarse(places: list[Place], folds: npt.NDArray[np.float32], of: list[int], chips: Chips) -> list[float]:
    """The pilot's best correlation at each of many places (`geometry.searched`), all waves taken as equally strong."""
    waves = _rfft2(folds)
    pilot = np.empty((len(places), len(chips.pilot)), np.complex64)
    ways = [(place.mirrored, place.turned) for place in places]
    for way in set(ways):
        some = [number for number, other in enumerate(ways) if other == way]
        down, across = geometry.waves_of(chips.down[chips.pilot], chips.across[chips.pilot], places[some[0]])
        half = np.where(across < 0, -1, 1)  # the other half is its conjugate
        values = waves[np.array(of)[some]][:, half * down, half * across]
        pilot[some] = np.where(half < 0, np.conj(values), values)
    pilot /= np.maximum(np.abs(pilot), 1e-6)
    each = [correlated(pilot * turn, chips).max((1, 2)) for turn in _turns(chips, _LATTICE)]
    return np.maximum.reduce(each).tolist()


def _rfft2(folds: npt.NDArray[np.float32]) -> Spectrum:
    """[N, 64, 33]: as numpy's, by two products of matrices, which take a third of its time."""
    turns = np.exp(-2j * np.pi / TILE * np.outer(np.arange(TILE), np.arange(TILE)))
    rows = turns[:, :TILE // 2 + 1]
    half = folds.reshape(-1, TILE) @ np.concatenate([rows.real, rows.imag], 1).astype(np.float32)
    half = half.reshape(len(folds), TILE, 2, -1).transpose(2, 1, 0, 3)  # real and imaginary, row, fold, across
    whole = turns.astype(np.complex64) @ (half[0] + 1j * half[1]).reshape(TILE, -1)
    return whole.reshape(TILE, len(folds), -1).swapaxes(0, 1)


class _Start:
    """A place that is made better step by step."""

    def __init__(self, place: Place, plane: Plane, chips: Chips) -> None:
        self.place, self.plane, self.chips = place, plane, chips
        self.values = limited(spectrum(plane, place, chips), chips)
        self.score, self.shift = _shifts(self.values, chips)

    def climb(self, step: float) -> None:
        """Takes whichever place around it is better. step: of the search's own."""
        for other in geometry.neighbours(self.place, step):
            values = limited(spectrum(self.plane, other, self.chips), self.chips)
            score, shift = _shifts(values, self.chips)
            if score > self.score:
                self.score, self.shift, self.values, self.place = score, shift, values, other
