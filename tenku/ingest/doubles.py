"""Clips that show what another shows already: found by the fingerprint that finds sealed clips again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tenku.ingest.prepare import Candidate, look_of
from tenku.provenance.fingerprint import Fingerprint, likeness

if TYPE_CHECKING:
    from tenku.ingest.make import File

COMMON = 64  # clips that share a word of a fingerprint: a word of more says nothing

Held = tuple[tuple[str, int], Fingerprint]  # of which shot, and what it looks like


def without_doubles(files: Sequence[File], limit: float | None) -> list[File]:
    """The files, in order, with clips that are like an earlier one left out as "alike"; None leaves out none.

    Parts of one shot are not compared: it goes on.
    """
    index: dict[tuple[int, int], list[Held]] = {}
    found = []
    for file in files:
        clips = [clip if clip.reason or limit is None else _weighed(clip, file.source.sha256, index, limit)
                 for clip in file.clips]
        found.append(replace(file, clips=tuple(clips)))
    return found


def _weighed(clip: Candidate, sha256: str, index: dict[tuple[int, int], list[Held]], limit: float) -> Candidate:
    """The clip, left out or taken into the index."""
    look, shot = look_of(clip), (sha256, clip.shot)
    words = {(place, int(word)) for row in look.words for place, word in enumerate(row)}
    near = {id(held): held for word in words for held in index.get(word, ()) if held[0] != shot}
    most = max((likeness(look.sketches, other.sketches) for _, other in near.values()), default=-1.0)
    if most > limit:
        return replace(clip, reason="alike", measured={**clip.measured, "alike": round(most, 3)})
    held = (shot, look)
    for word in words:
        some = index.setdefault(word, [])
        if len(some) < COMMON:
            some.append(held)
    return clip
