"""Which sealed clips pictures look like, where no mark can be read: the store's candidates, weighed.

A candidate counts where its whole known pattern is found in the pictures (`confirmed`), or where they look like it and
like no other (`likeliest`), which proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tenku.media import Frames
from tenku.provenance import fingerprint, known, store
from tenku.provenance.code import Payload
from tenku.provenance.geometry import Plane
from tenku.provenance.invisible import Finding
from tenku.provenance.store import Entry

_TRIED = 6  # candidates whose pattern is looked for
_FAR = 14.0  # levels between thumbs: of one frame and of its clip; other clips of 16 are from 14 on
_NEAR = (5.0, 8.0)  # levels: enough alone, and enough with some likeness; H.264 crf 50 has up to 7
_SOME = 0.35  # likeness
_AHEAD = 4.0  # levels by which the next thumb is farther


@dataclass(frozen=True)
class Suspect:
    """A sealed clip that pictures may show."""

    entry: Entry
    likeness: float  # of the sketches, -1..1
    apart: float  # of the thumbs, in levels
    view: int  # which of the pictures look like it


def suspects(seen: list[Frames]) -> list[Suspect]:
    """The store's candidates for each of some pictures [T, H, W, 3], as they are and mirrored; likeliest first."""
    found: dict[str, Suspect] = {}
    for view, frames in enumerate(seen):
        for pictures in (frames, frames[:, :, ::-1]):
            look = fingerprint.take(pictures, fingerprint.LOOK)
            assert look.thumb is not None
            for entry in [*store.by_look(look.words), *(entry for _, entry in store.by_thumb(look.thumb))]:
                likeness = fingerprint.likeness(look.sketches, fingerprint.sketches_of(entry.look))
                thumb = fingerprint.thumb_of(entry.thumb)
                distance = fingerprint.apart(look.thumb, thumb) if thumb is not None else 255.0
                one = Suspect(entry, likeness, distance, view)
                if entry.clip_id not in found or _rank(one) > _rank(found[entry.clip_id]):
                    found[entry.clip_id] = one
    return sorted(found.values(), key=_rank, reverse=True)


def _rank(suspect: Suspect) -> float:
    return suspect.likeness + max(0.0, 1 - suspect.apart / _FAR)


def confirmed(some: list[Suspect], views: list[Plane], size: tuple[int, int]) -> Iterator[tuple[Suspect, Finding]]:
    """The suspects whose known pattern is there, and that the pictures look like: a pattern alone could be pasted.

    views: the mean of `invisible.planes` of each of the pictures.
    """
    for suspect in some[:_TRIED]:
        alike = suspect.likeness >= fingerprint.SAME or suspect.apart <= _NEAR[1]
        if suspect.entry.payload and alike:
            mark = known.confirm(views[suspect.view], size, Payload.parse(suspect.entry.payload), suspect.entry.shift,
                                 _TRIED)
            if mark.found:
                yield suspect, mark


def likeliest(some: list[Suspect]) -> Suspect | None:
    """The one that the pictures look like, if they look like no other."""
    if alike := [one for one in some if one.likeness >= fingerprint.ALIKE]:
        return max(alike, key=lambda one: one.likeness)
    near = sorted(some, key=lambda one: one.apart)
    if not near or (len(near) > 1 and near[1].apart < near[0].apart + _AHEAD):
        return None
    enough = _NEAR[1] if near[0].likeness >= _SOME else _NEAR[0]
    return near[0] if near[0].apart <= enough else None
