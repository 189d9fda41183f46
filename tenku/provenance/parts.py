"""Which stretches of a video carry which clip's mark: for what was cut together from several sources."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenku.provenance import invisible
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

    Looks at the whole, then at halves, quarters and eighths of what is not explained yet; cropped or rotated pictures
    only as a whole. Together at most `invisible.FALSE_POSITIVES`.
    """
    free = np.ones(len(views), bool)
    found: list[Part] = []
    whole = invisible.mean(views)
    first = invisible.detect_in(whole, size, search=False, share=0.5)
    if first.found:
        found += _claim(first, views, free)
    looked = 0
    while looked < _WINDOWS and len(found) < _MOST:
        for start, end in _windows(free):
            looked += 1
            finding = invisible.detect_in(invisible.mean(views[start:end]), size, search=False, share=0.5 / _WINDOWS)
            if finding.payload and (parts := _claim(finding, views, free)):
                found += parts
                break
            if looked == _WINDOWS:
                break
        else:
            break
    if not found:
        wider = invisible.detect_in(whole, size, search=True, share=0.5)
        if wider.found:
            found += _claim(wider, views, free)
    return sorted(found, key=lambda part: part.start)


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


def _claim(finding: Finding, views: list[Plane], free: npt.NDArray[np.bool_]) -> list[Part]:
    """The stretches that carry this finding's pattern; they are free no longer."""
    if finding.payload is None:  # worn away: nothing to follow from frame to frame
        free[:] = False
        return [Part(0, len(views), finding)]
    scores = np.array(invisible.presence(views, finding))
    padded = np.pad(scores, 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), -1)
    limit = min(_FITS, 0.4 * float(np.quantile(smooth, 0.9)))
    fits = (smooth > limit) & free
    parts = [Part(a, b, finding) for a, b in _runs(fits) if b - a >= min(_LEAST, len(views))]
    for part in parts:
        free[part.start:part.end] = False
    return _joined(parts)


def _joined(parts: list[Part]) -> list[Part]:
    """Stretches of one clip with less than `_LEAST` frames between them are one: a frame was spoilt."""
    out: list[Part] = []
    for part in parts:
        if out and part.start - out[-1].end < _LEAST:
            out[-1] = Part(out[-1].start, part.end, part.finding)
        else:
            out.append(part)
    return out
