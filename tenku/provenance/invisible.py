"""The invisible mark: a keyed pattern in the brightness of every frame, found again without the original.

Legend: T frames, H height, W width (pixels); G = 64 cells along each side of the pattern.

The pattern is a grid of G x G cells stretched over the picture, whatever its size, so resizing costs nothing. Each
cell is a little brighter or darker than its neighbours. A quarter of the cells, scattered by the key, carry
fixed signs (the *pilot*, which says that a mark is there and how the picture was cropped or mirrored); the rest
carry 256 coded bits, 12 cells for each. The same pattern lies in all frames: dropped, repeated or reordered
frames do no harm, and what moves in the picture averages out.

Embedding is informed: the writer runs the reader on its own frames and spends amplitude where it buys signs,
little where the picture already leans the right way and little where its texture is beyond reach. At 41 dB this
about doubles the score against the same energy spent evenly (docs/provenance.md has the tables).

The threshold needs no model of pictures. The pilot's signs s_i are independent fair coins, drawn from the key;
for any picture made without the key and any cell values f_i read from it, Hoeffding's inequality gives
P(sum s_i f_i >= t sqrt(sum f_i^2)) <= exp(-t^2 / 2). Every place searched multiplies the bound.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tenku import rng
from tenku.media import Frames
from tenku.provenance import code, geometry
from tenku.provenance.code import Payload

PUBLIC_KEY = "tenku public mark 1"  # everybody's copy of Tenku finds this one, and whoever reads it can forge it
FALSE_POSITIVES = 1e-6  # per file, search included, for all keys together
FLOOR_DB = 40.0  # PSNR against the frames before marking
_HARD_DB, _EASY_DB = 40.5, 42.5  # PSNR where the mark is hard to read, and where it is easy; before rounding
_PILOT = 1024  # cells
_COPIES = 12  # cells for each coded bit: 1024 + 256 * 12 = 64 * 64
_LOOK = 16  # frames that the writer studies, 32 that the reader sums
_SUM = 32
_NOISE = 6.0  # grey levels of damage at a cell that the writer prepares for; 3 to 6 measured best after H.264 crf 28

_MASK = (0.7, 1.3)  # amplitude on flat ground, and what texture may add: grain shows on flat ground first
Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Finding:
    """What `detect` saw."""

    found: bool
    score: float  # standard deviations of the pilot; noise stays within a few
    chance: float  # upper bound for pictures without the mark to score this anywhere in the search
    payload: Payload | None = None  # None: the mark is there, its content is worn away
    place: geometry.Place | None = None  # how the picture lies over the pattern
    own_key: bool = False  # found under TENKU_MARK_KEY, not under the public key


@dataclass(frozen=True)
class _Cells:
    pilot: npt.NDArray[np.intp]  # [1024] cell numbers
    data: npt.NDArray[np.intp]  # [256, 12] cell numbers
    signs: npt.NDArray[np.float32]  # [4096], +1 or -1


@lru_cache(maxsize=8)
def _cells(key: str) -> _Cells:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    draw = rng.stream(seed, "invisible mark")
    order = draw.permutation(geometry.CELLS**2)
    signs = (draw.integers(0, 2, geometry.CELLS**2) * 2 - 1).astype(np.float32)
    return _Cells(order[:_PILOT], order[_PILOT:].reshape(code.CODED, _COPIES), signs)


def keys() -> list[str]:
    """The keys that a reader tries: the public one, and TENKU_MARK_KEY when set."""
    own = os.environ.get("TENKU_MARK_KEY")
    return [PUBLIC_KEY, own] if own else [PUBLIC_KEY]


def embed(frames: Frames, payload: Payload, key: str | None = None) -> Frames:
    """The frames [T, H, W, 3] with the mark, at 40 dB or better. key: None means TENKU_MARK_KEY, else the public one.

    The same frames, payload and key give the same result.
    """
    cells = _cells(key or keys()[-1])
    signs = cells.signs.copy()
    signs[cells.data.ravel()] *= np.repeat(code.encode(code.pack(payload)), _COPIES)
    look = frames[np.unique(np.linspace(0, len(frames) - 1, _LOOK).round().astype(int))]
    values = signs * _amplitudes(look, signs)
    hard = _scale(look, values, _HARD_DB)
    trial = np.stack([_apply(frame, values, hard) for frame in look])
    score = _score((geometry.cells_at(_plane(trial), geometry.Place()) * signs)[cells.pilot])
    scale = _scale(look, values, min(_HARD_DB + max(0.0, score - 20) * 0.15, _EASY_DB))
    out = np.empty_like(frames)
    for t, frame in enumerate(frames):
        out[t] = _apply(frame, values, scale)
    return out


def detect(frames: Frames, search: bool = True) -> Finding:
    """Looks for the mark under every key of `keys()`: as it was made, mirrored, cropped, resized or padded.

    search: False looks only where the mark was written (resized or mirrored, but not cropped): 0.05 s, not 0.8.
    One threshold for everything: the chance bound below FALSE_POSITIVES, half of it for the picture as it lies,
    half for the search. A valid CRC lets a fainter pilot count, at the price of the 2^-16 it has by chance.
    """
    plane = _plane(frames)
    best = Finding(False, 0.0, 1.0)
    for number, key in enumerate(keys()):
        finding = _detect(plane, _cells(key), FALSE_POSITIVES / len(keys()), search)
        if finding.found:
            return Finding(True, finding.score, finding.chance, finding.payload, finding.place, number > 0)
        best = finding if finding.chance < best.chance else best
    return best


def _detect(plane: Plane, cells: _Cells, allowed: float, search: bool) -> Finding:
    straight = [geometry.Place(), geometry.Place(mirrored=True)]
    first = _judge(plane, cells, straight, len(straight), allowed / 2)
    if first.found or not search:
        return first
    places, tried = geometry.search(plane, cells.pilot, cells.signs)
    second = _judge(plane, cells, places, tried, allowed / 2)
    return second if second.found or second.chance < first.chance else first


def _judge(plane: Plane, cells: _Cells, places: list[geometry.Place], tried: int, allowed: float) -> Finding:
    """The best of some places, out of `tried` that were compared to arrive at them."""
    best = Finding(False, 0.0, 1.0)
    for place in places:
        values = geometry.cells_at(plane, place)
        score = _score(values[cells.pilot] * cells.signs[cells.pilot])
        soft = (values * cells.signs)[cells.data].sum(1)
        payload = code.unpack(code.decode(soft)) if soft.any() else None
        pilot_alone = tried * math.exp(-max(score, 0.0) ** 2 / 2)
        with_code = pilot_alone * len(places) * 2.0**-16 if payload and score > 0 else 1.0
        chance = min(1.0, pilot_alone, with_code) * 2  # two ways to be found
        if chance < best.chance:
            best = Finding(chance <= allowed, score, min(1.0, chance), payload, place)
    return best if best.found else Finding(False, best.score, best.chance)


def _score(values: npt.NDArray[np.floating]) -> float:
    energy = float(np.square(values, dtype=np.float64).sum())
    return float(values.sum(dtype=np.float64)) / math.sqrt(energy) if energy > 0 else 0.0


def _luma(frame: Frames) -> Plane:
    return frame.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709


def _plane(frames: Frames) -> Plane:
    """The reader's view [128, 128]: what is left of the brightness after its surroundings, mean over frames."""
    look = frames[np.unique(np.linspace(0, len(frames) - 1, _SUM).round().astype(int))]
    total = np.zeros((geometry.PLANE, geometry.PLANE), np.float32)
    for frame in look:
        small = geometry.resize(_luma(frame), geometry.PLANE, geometry.PLANE)
        rest = small - geometry.box(small, 3)
        limit = 4 * float(np.median(np.abs(rest))) + 0.5  # edges are strong and say nothing
        total += np.clip(rest, -limit, limit)
    return (total / len(look)).astype(np.float32)


def _mask(frame: Frames) -> Plane:
    """[H, W], 0.7..2: how much change the eye forgives, by the contrast of the 5 x 5 pixels around."""
    luma = _luma(frame)
    mean = geometry.box(luma, 5)
    spread = np.sqrt(np.maximum(geometry.box(luma * luma, 5) - mean * mean, 0))
    return (_MASK[0] + np.minimum(spread / 10, _MASK[1])).astype(np.float32)


def _spread(values: npt.NDArray[np.float32], height: int, width: int) -> Plane:
    """Cell values [4096] as a picture [height, width]."""
    cell = np.kron(values.reshape(geometry.CELLS, geometry.CELLS), np.ones((2, 2), np.float32))
    return geometry.resize(cell.astype(np.float32), height, width)


def _apply(frame: Frames, values: npt.NDArray[np.float32], scale: float) -> Frames:
    height, width = frame.shape[:2]
    change = _mask(frame) * _spread(values, height, width) * scale
    return np.clip(np.rint(frame + change[..., None]), 0, 255).astype(np.uint8)


def _scale(look: Frames, values: npt.NDArray[np.float32], decibels: float) -> float:
    """What brings the change to that PSNR, before rounding and clipping."""
    pattern = _spread(values, *look.shape[1:3])
    energy = np.mean([np.square(_mask(frame) * pattern).mean() for frame in look])
    return math.sqrt(255**2 / 10 ** (decibels / 10) / max(float(energy), 1e-9))


def _amplitudes(look: Frames, signs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[4096] amplitude of each cell, before the common scale: informed embedding.

    For a cell whose picture alone leans by h towards its sign, amplitude a yields h + g a at the reader, whose
    expected sign under damage of standard deviation sigma is erf((h + g a) / (sigma sqrt 2)). Each cell takes the
    a that maximises this less lambda w a^2, w its energy through the mask; lambda meets the budget. Cells disturb
    their neighbours, so h is measured again after each round.
    """
    masks = np.stack([_mask(frame) for frame in look])
    energy = _at_cells(np.square(masks).mean(0))
    reach = _at_cells(masks.mean(0))
    budget = 255**2 / 10 ** (_HARD_DB / 10)
    amplitude: Plane = np.full(signs.shape, math.sqrt(budget / float(energy.mean())), np.float32)
    before = geometry.cells_at(_plane(look), geometry.Place(), limited=False) * signs
    gain = 0.0
    for turn in range(3):
        values = signs * amplitude
        scale = _scale(look, values, _HARD_DB)
        marked = np.stack([_apply(frame, values, scale) for frame in look])
        after = geometry.cells_at(_plane(marked), geometry.Place(), limited=False) * signs
        if turn == 0:
            gain = max(1e-3, float((after - before).mean() / (reach * amplitude).mean()))
        chosen = _allocate(after - gain * reach * amplitude, gain * reach, energy, budget, _NOISE * gain)
        amplitude = chosen if turn == 0 else ((amplitude + chosen) / 2).astype(np.float32)
    return amplitude


def _allocate(lean: Plane, reach: Plane, energy: Plane, budget: float, sigma: float) -> Plane:
    """The amplitude of each cell, from a grid, that maximises the expected signs within the energy budget."""
    grid = np.linspace(0.1, 4.0, 40).astype(np.float32)
    worth = _expected_sign(((lean[:, None] + reach[:, None] * grid) / sigma).astype(np.float32))
    cost = energy[:, None] * grid**2
    low, high = 1e-6, 1e2
    for _ in range(24):
        price = math.sqrt(low * high)
        spent = np.take_along_axis(cost, (worth - price * cost).argmax(1)[:, None], 1).mean()
        low, high = (price, high) if spent > budget else (low, price)
    return grid[(worth - high * cost).argmax(1)]


def _expected_sign(x: Plane) -> Plane:
    """erf(x / sqrt 2), read from a table: numpy has no erf."""
    points = np.linspace(-4, 4, 257)
    table = [math.erf(p / math.sqrt(2)) for p in points]
    return np.interp(x, points, table).astype(np.float32)


def _at_cells(picture: Plane) -> Plane:
    """A picture [H, W] averaged over each cell: [4096]."""
    small = geometry.resize(picture, geometry.PLANE, geometry.PLANE)
    return small.reshape(geometry.CELLS, 2, geometry.CELLS, 2).mean((1, 3)).ravel()
