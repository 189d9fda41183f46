"""The film as an OpenTimelineIO file, so that an editor can go on from the shots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenku.film.make import Film


def write(film: Film, path: Path) -> bool:
    """Writes a film's cuts; False where OpenTimelineIO is not installed. Shots are named relative to the file."""
    try:
        import opentimelineio as otio
    except ImportError:
        return False

    def time(frames: float) -> otio.opentime.RationalTime:
        return otio.opentime.RationalTime(frames, film.fps)

    timeline = otio.schema.Timeline(name=film.path.stem)
    track = otio.schema.Track(name="picture", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    after = [*(cut.overlap for cut in film.cuts[1:]), 0]
    for cut, next_overlap in zip(film.cuts, after, strict=True):
        half = cut.overlap / 2  # the cut lies in the middle of a dissolve, and both clips reach beyond it
        if cut.overlap:
            track.append(otio.schema.Transition(transition_type="SMPTE_Dissolve", in_offset=time(half),
                                                out_offset=time(half)))
        where = cut.file.relative_to(path.parent).as_posix() if cut.file.is_relative_to(path.parent) else cut.file.name
        track.append(otio.schema.Clip(
            name=cut.name, media_reference=otio.schema.ExternalReference(target_url=where),
            source_range=otio.opentime.TimeRange(time(cut.first + half), time(cut.frames - half - next_overlap / 2))))
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(timeline.to_json_string(), encoding="utf-8")
    draft.replace(path)
    return True
