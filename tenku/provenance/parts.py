"""Which stretches of a video carry which clip's mark: for what was cut together from several sources."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenku.provenance import invisible, known
from tenku.provenance.geometry import Plane
from tenku.provenance.invisible import Finding

_LEAST = 4  # frames of a stretch
_WINDOWS = 24  # stretches looked at, at most; each takes its share of the false positives
_FITS = 3.0  # standard deviations at which a frame counts as carrying a pattern that the clip is known to carry
_MOST = 6  # clips in one file


@dataclass(frozen=True)
class Part:
    """A stretch of a video that carries one clip's mark."""

    start: int  # frame
    end: int  # frame after the last
    finding: Finding


def find(views: list[Plane], size: tuple[int, int]) -> list[Part]:
    """Stretches with a mark, in order of time. views: `invisible.planes` of the frames; size: (height, width).

    Looks at the whole, then at halves, quarters and eighths of what is not explained yet, as it lies, turned or
    mirrored. Together at most two fifths of `invisible.FALSE_POSITIVES`.
    """
    whole = invisible.detect_in(invisible.mean(views), size, share=invisible.SHARE)
    held = [_Held(whole, views)] if whole.payload else []
    looked, more = 0, True
    while more:
        more = False
        _ask_halves(held, views)
        for start, end in itertools.islice(_windows(_free(held, len(views))), _WINDOWS - looked):
            looked += 1
            finding = invisible.detect_in(invisible.mean(views[start:end]), size, share=invisible.SHARE / _WINDOWS)
            if finding.payload and all(finding.payload != one.finding.payload for one in held):
                held.append(_Held(finding, views))
                more = len(held) < _MOST
                break
    parts = _assigned(held, len(views))
    if not parts and whole.found:  # worn away: nothing to follow from frame to frame
        return [Part(0, len(views), whole)]
    return parts


def find_moved(views: list[Plane], size: tuple[int, int]) -> list[Part]:
    """Cropped, rotated or stretched pictures that carry a mark, searched for in the whole."""
    found = invisible.search_in(invisible.mean(views), size, share=invisible.SHARE)
    if not found.found:
        return []
    return _assigned([_Held(found, views)], len(views)) if found.payload else [Part(0, len(views), found)]


class _Held:
    """A clip that was found, and how well each frame fits it."""

    def __init__(self, finding: Finding, views: list[Plane]) -> None:
        self.finding = finding
        padded = np.pad(np.array(known.presence(views, finding)), 2, mode="edge")
        self.fits = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), -1)
        self.limit = min(_FITS, 0.4 * float(np.quantile(self.fits, 0.9)))


def _ask_halves(held: list[_Held], views: list[Plane]) -> None:
    """Adds the clips that halves of stretches name otherwise: patterns of clips that look alike are alike."""
    asked: set[tuple[int, int]] = set()
    while len(held) < _MOST:
        halves = [(a, b, part.finding) for part in _assigned(held, len(views)) for a, b in _halves(part)
                  if b - a >= _LEAST and (a, b) not in asked]
        if not halves:
            return
        start, end, finding = halves[0]
        asked.add((start, end))
        again = invisible.read_again(invisible.mean(views[start:end]), finding)
        if again.payload and all(again.payload != one.finding.payload for one in held):
            held.append(_Held(again, views))


def _halves(part: Part) -> tuple[tuple[int, int], tuple[int, int]]:
    middle = (part.start + part.end) // 2
    return (part.start, middle), (middle, part.end)


def _free(held: list[_Held], count: int) -> npt.NDArray[np.bool_]:
    """[count]: the frames that nothing explains."""
    free = np.ones(count, bool)
    for part in _assigned(held, count):
        free[part.start:part.end] = False
    return free


def _windows(free: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Runs of frames that nothing explains, then their halves, quarters and eighths."""
    runs = list(_runs(free))
    for parts in (1, 2, 4, 8):
        for start, end in runs:
            if parts == 1 and end - start == len(free):
                continue  # the whole was looked at
            edges = np.linspace(start, end, parts + 1).round().astype(int)
            yield from ((int(a), int(b)) for a, b in itertools.pairwise(edges) if b - a >= _LEAST)


def _runs(marks: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marks.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _assigned(held: list[_Held], count: int) -> list[Part]:
    """The stretches of frames whose best clip is the same and fits."""
    if not held:
        return []
    fits = np.stack([one.fits for one in held])
    best = fits.argmax(0)
    label = np.where(fits.max(0) > np.array([one.limit for one in held])[best], best, -1)
    parts = [Part(a, b, one.finding) for number, one in enumerate(held) for a, b in _runs(label == number)
             if b - a >= min(_LEAST, count)]
    return _joined(sorted(parts, key=lambda part: part.start))


def _joined(parts: list[Part]) -> list[Part]:
    """Stretches of one clip with less than `_LEAST` frames between them are one: a frame was spoilt."""
    out: list[Part] = []
    for part in parts:
        if out and out[-1].finding is part.finding and part.start - out[-1].end < _LEAST:
            out[-1] = Part(out[-1].start, part.end, part.finding)
        else:
            out.append(part)
    return out
