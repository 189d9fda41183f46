"""Films from storyboards: every shot is dreamt once and kept, so only what was changed is made again.

What is kept beside the film, in `<film>.shots/`: each shot as a sealed clip, an ingredient of the film, and its
pictures without marks, from which the film is cut, so that it bears one visible mark and is compressed once. These
lie locked, and no installation but this one can open them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tenku.engines.bundled import Engine
from tenku.engines.loading import load
from tenku.engines.open import OpenEngine
from tenku.errors import UserError
from tenku.film.storyboard import Shot, Storyboard
from tenku.film.text import captioned, card
from tenku.inputs import Given
from tenku.provenance.lineage import shown as shown_by
from tenku.provenance.lock import lock_clip, unlock_clip
from tenku.provenance.seal import Model, check_path, seal
from tenku.request import Request
from tenku.sampling.generate import Step, generate
from tenku.sampling.modes import hashed, name_of
from tenku.sampling.shown import Shown
from tenku.sound import kind_of
from tenku.types import Clip

SEEN = 17  # frames at the ends of shots that a dreamt transition, or a shot that continues, goes on from
TITLE = 2.0  # seconds

Held = tuple[Path, Clip]  # a file, and what is in it
OnStep = Callable[[str, Step], None]  # what is being made, and how far


@dataclass(frozen=True)
class Piece:
    """A part of the film as it was dreamt."""

    clip: Clip
    file: Path  # the sealed clip
    pictures: Path  # beside it, locked, from which the film is cut
    shown: Shown | None  # what it shows, where that can be said
    fresh: bool  # made now, not kept from before


@dataclass(frozen=True)
class Cut:
    """A shot as it stands in the film."""

    name: str
    file: Path
    first: int  # of the shot's frames, the first that is seen
    frames: int
    overlap: int = 0  # frames that the shot before is still seen while this one comes


@dataclass(frozen=True)
class Film:
    """What was made."""

    path: Path
    cuts: tuple[Cut, ...]
    frames: int
    fps: float
    made: int  # parts that were dreamt
    kept: int  # parts that were there from before
    clip: Clip  # before it was marked
    record: dict[str, Any]  # as it was sealed


def make(
    board: Storyboard, path: Path, on_step: OnStep | None = None, *, shots_in: Path | None = None,
    given: Mapping[str, Held] | None = None, on_part: Callable[[Piece], None] | None = None,
) -> Film:
    """Makes the film of a storyboard at `path`, sealed, with an OpenTimelineIO file beside it where that is installed.

    shots_in: the folder of the parts (default: beside the film); given: keyframes in memory and their files, by the
    "sha256:..." that shots name them by; on_part: called with every part, as soon as it is there. Raises
    UserError for what cannot be made; a film that was there stays as it was.
    """
    shots = board.shots
    formats = {(str(s.request.size), s.request.fps, s.request.model, s.request.lora) for s in shots}
    if len(formats) > 1:
        raise UserError("the shots differ in size, fps or model", "say them once, at the top of the storyboard")
    check_path(path, 2)
    if board.sound is not None:
        kind_of(board.sound)
    engine = load(shots[0].request.model, shots[0].request.lora)
    studio = _Studio(engine, shots_in or path.with_name(f"{path.stem}.shots"), on_step, given or {}, on_part)
    pieces: list[Piece] = []
    frames: list[np.ndarray] = []
    cuts: list[Cut] = []
    fps = shots[0].request.fps
    for number, shot in enumerate(shots, 1):
        before = pieces[-1] if pieces else None
        piece, skip = studio.shot(f"shot {number}", shot, before)
        seen = captioned(piece.clip.frames[skip:], shot.text)
        overlap = 0
        if shot.transition == "dream" and before is not None:
            between = studio.between(f"the way to shot {number}", shots[number - 2], shot, before, piece)
            begin, end = (min(SEEN, len(one.clip.frames)) for one in (before, piece))
            middle = between.clip.frames[begin:-end]
            frames.append(middle)
            cuts.append(Cut(f"the way to shot {number}", between.file, begin, len(middle)))
            pieces.append(between)
        elif shot.transition == "dissolve" and frames:
            overlap = min(round(shot.transition_seconds * fps), len(frames[-1]), len(seen))
            share = ((np.arange(overlap) + 1) / (overlap + 1))[:, None, None, None]
            mixed = (1 - share) * frames[-1][-overlap:] + share * seen[:overlap]
            frames[-1] = frames[-1][:-overlap]
            seen = np.concatenate([mixed.round().astype(np.uint8), seen[overlap:]])
        frames.append(seen)
        cuts.append(Cut(f"shot {number}", piece.file, skip, len(seen), overlap))
        pieces.append(piece)
    if board.title:
        frames.insert(0, card(board.title, frames[0].shape[1:3], round(TITLE * fps)))
    whole = Clip(np.concatenate(frames), fps)
    record = {"film": board.title, "shots": [hashed(shot.request).to_json() for shot in shots],
              "cuts": [[cut.name, cut.first, cut.frames, cut.overlap] for cut in cuts]}
    files = list(dict.fromkeys(piece.file for piece in pieces))
    seal(whole, record, path, model=studio.model, ingredients=files, sound=board.sound)
    fresh = sum(piece.fresh for piece in pieces)
    return Film(path, tuple(cuts), len(whole.frames), fps, fresh, len(pieces) - fresh, whole, record)


def _part(piece: Piece, frames: slice) -> tuple[Clip, Shown | None]:
    """Some frames of a piece, and what they show."""
    clip = piece.clip
    first, stop, _ = frames.indices(len(clip.frames))
    shown = piece.shown and piece.shown.part(first / clip.fps, (stop - 1) / clip.fps)
    return Clip(clip.frames[frames], clip.fps), shown


class _Studio:
    """Dreams parts, and keeps them."""

    def __init__(
        self, engine: Engine | OpenEngine, folder: Path, on_step: OnStep | None, given: Mapping[str, Held],
        on_part: Callable[[Piece], None] | None,
    ) -> None:
        self.engine, self.folder, self.on_step, self.given, self.on_part = engine, folder, on_step, given, on_part
        self.model = Model(engine.name, engine.weights_sha256, engine.ledgers)
        folder.mkdir(exist_ok=True)

    def shot(self, name: str, shot: Shot, before: Piece | None) -> tuple[Piece, int]:
        """A shot, and how many of its frames belong to the one before."""
        if not shot.continues or before is None:
            return self._kept(name, shot.request, []), 0
        tail, shown = _part(before, slice(-SEEN, None))
        request = replace(shot.request, mode="extend", way="forwards", inputs=(Given(name_of(tail)),))
        return self._kept(name, request, [(tail, shown)]), len(tail.frames)

    def between(self, name: str, one: Shot, other: Shot, before: Piece, after: Piece) -> Piece:
        """The way from one shot's end to another's beginning."""
        ends = [_part(before, slice(-SEEN, None)), _part(after, slice(SEEN))]
        middle = len(ends[0][0].frames) / before.clip.fps + other.transition_seconds / 2
        request = replace(
            one.request, mode="blend", way="transition", seconds=other.transition_seconds, camera="", tracks=(),
            inputs=tuple(Given(name_of(end)) for end, _ in ends), captions=((middle, other.request.prompt),))
        return self._kept(name, request, ends)

    def _kept(self, name: str, request: Request, clips: list[tuple[Clip, Shown | None]]) -> Piece:
        """The part of a request, from the folder or dreamt."""
        about = json.dumps([hashed(request).to_json(), self.model.weights_sha256], sort_keys=True)
        key = hashlib.sha256(about.encode()).hexdigest()[:16]
        pictures, file = self.folder / f"{key}.locked", self.folder / f"{key}.mp4"
        kept = unlock_clip(pictures.read_bytes(), key) if pictures.exists() and file.exists() else None
        if kept is None:
            def report(step: Step) -> None:
                if self.on_step:
                    self.on_step(name, step)

            files = {one.source: self.given[one.source][0] if one.source in self.given else Path(one.source)
                     for one in request.inputs} if not clips else {}
            shown = {name: shown_by(path) for name, path in files.items()}
            shown |= {name_of(clip): seen.to_json() for clip, seen in clips if seen}
            held = {name: clip for name, (_, clip) in self.given.items()}
            held |= {name_of(clip): clip for clip, _ in clips}
            [result] = generate(request, on_step=report, clips=held, shown=shown)
            seal(result.clip, result.record, file, model=self.model, ingredients=list(files.values()))
            draft = pictures.with_suffix(f".{os.getpid()}.tmp")
            draft.write_bytes(lock_clip(result.clip, key))
            os.replace(draft, pictures)
            clip = result.clip
        else:
            clip = Clip(kept.frames, request.fps)
        piece = Piece(clip, file, pictures, Shown.from_json(shown_by(file)), kept is None)
        if self.on_part:
            self.on_part(piece)
        return piece
