"""Where did this file come from? Reads every layer of the seal and says so in plain words.

The layers: the signature, the invisible mark (in the whole and in every stretch of it), what the installation's store
knows of the clip that the mark or the fingerprint leads to, and the visible mark. docs/provenance.md says what each
is worth. A mark counts as ours only where the pictures look like the clip that it names. Where neither signature nor
invisible mark settles it, the classifier is asked what the pictures look like: it never outweighs one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenku.provenance import classifier, fingerprint, invisible, visible
from tenku.provenance.manifest import Manifest, Signature

if TYPE_CHECKING:
    from tenku.media import Frames
    from tenku.provenance.lookup import Suspect
    from tenku.provenance.parts import Part

_SAMPLE = 48  # frames to look at, at least, where there are as many
_WHOLE = 0.9  # share of the frames that one clip must explain to pass for all of them


class Verdict(Enum):
    """The answer, in the words that are printed."""

    MADE = "made by Tenku"
    PARTLY = "parts of it were made by Tenku"
    CHANGED = "made by Tenku and changed since"
    CONTRADICTORY = "its marks contradict each other"
    TAMPERED = "its signature does not fit: changed or forged"
    MARKED = "carries Tenku's mark, which nothing here confirms"
    UNPROVEN = "says it is Tenku's, without proof"
    LIKELY = "looks made by Tenku's model, which nothing proves"
    UNKNOWN = "no sign of Tenku"

    @property
    def exit_code(self) -> int:
        """0 for MADE, 1 for all else."""
        return 0 if self is Verdict.MADE else 1


@dataclass(frozen=True)
class Source:
    """A clip that the file, or a stretch of it, leads to."""

    clip: str  # hex digits of its id: 16 when known here, else the 13 of the mark, "" when worn away
    start: float = 0.0  # seconds
    end: float = 0.0  # seconds
    known: bool = False  # this machine's store, or an intact manifest, says what the clip looks like
    likeness: float = 0.0  # of the pictures to that clip, -1..1; nothing when not known
    by_mark: bool = True  # False: only by what it looks like
    shades: bool = False  # its colours alone are enough to agree
    request: dict[str, Any] = field(default_factory=dict)  # as it was sealed, where the store knows it

    @property
    def agrees(self) -> bool:
        enough = fingerprint.SAME if self.by_mark else fingerprint.ALIKE
        return self.known and (self.shades or self.likeness >= enough)

    @property
    def refuted(self) -> bool:
        """The mark names a clip that looks otherwise: it was moved here, or forged."""
        return self.known and not self.agrees


@dataclass(frozen=True)
class Report:
    """What `examine` found in one file."""

    verdict: Verdict
    manifest: Manifest
    mark: invisible.Finding
    plate: visible.Finding  # the visible mark
    sources: tuple[Source, ...]  # in order of time
    evidence: tuple[str, ...]  # one sentence per layer, and one for a contradiction
    looks: classifier.Opinion | None = None  # what the pictures look like; None where it was not asked

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able data; docs/provenance.md documents the fields."""
        mark, payload = self.mark, self.mark.payload
        return {
            "verdict": self.verdict.name.lower(),
            "says": self.verdict.value,
            "signature": {
                "state": self.manifest.signature.value, "signer": self.manifest.signer,
                "generator": self.manifest.generator, "problems": list(self.manifest.problems),
                "clip": self.manifest.clip_id, "request": dict(self.manifest.request),
                "ingredients": list(self.manifest.ingredients), "time_stamp": self.manifest.time_stamp,
            },
            "invisible": {
                "found": mark.found, "score": round(mark.score, 2), "chance": mark.chance,
                "payload": str(payload) if payload else None, "clip": payload.clip_digits if payload else None,
                "weights": f"{payload.model:02x}" if payload else None,
                "place": str(mark.place) if mark.place else None, "own_key": mark.own_key,
            },
            "visible": {"found": self.plate.found, "score": round(self.plate.score, 3)},
            "looks": self.looks.to_json() if self.looks else None,
            "sources": [
                {"clip": s.clip, "start": round(s.start, 2), "end": round(s.end, 2), "known": s.known,
                 "likeness": round(s.likeness, 3), "by_mark": s.by_mark, "request": s.request} for s in self.sources
            ],
            "evidence": list(self.evidence),
        }


def examine(path: Path) -> Report:
    """Reads a video or image file of any origin. Raises UserError for what cannot be read as one."""
    from tenku.provenance import manifest

    clip, claim = manifest.read_with_pictures(path, _SAMPLE)
    sources, mark = trace(clip.frames, clip.fps, claim)
    plate = visible.detect(clip.frames, clip.fps)
    settled = mark.found or (claim.signature is Signature.TRUSTED and claim.ours)
    looks = None if settled or not classifier.BUNDLED.exists() else classifier.load().look(clip.frames)
    return judge(claim, mark, plate, sources, clip.seconds, looks)


def trace(frames: Frames, fps: float, claim: Manifest) -> tuple[list[Source], invisible.Finding]:
    """Where pictures [T, H, W, 3] lead, by their mark or else by their looks; and the strongest mark in them.

    First as they lie or set straight, then as clips that they look like; last, for it takes longest, moved.
    """
    from tenku.provenance import lookup, outline, parts

    size = (frames.shape[1], frames.shape[2])
    views = invisible.planes(frames)
    seen = [(frames, invisible.mean(views))]
    if (straight := outline.straightened(frames)) is not None:
        seen.append((straight, invisible.mean(invisible.planes(straight))))
        mark = invisible.detect_in(seen[1][1], size, share=invisible.SHARE)
        if mark.payload and mark.place:
            mark = replace(mark, place=replace(mark.place, bent=True))
            return _led([parts.Part(0, len(frames), mark)], straight, None, fps, claim)
    found = parts.find(views, size)
    if any(part.finding.payload for part in found):
        return _led(found, frames, straight, fps, claim)
    suspects = lookup.suspects([pictures for pictures, _ in seen])
    for suspect, mark in lookup.confirmed(suspects, [view for _, view in seen], size):
        return [_by_looks(suspect, True)], mark
    found = found or parts.find_moved(views, size)
    likely = None if found else lookup.likeliest(suspects)
    if likely:
        return [_by_looks(likely, False)], invisible.Finding(False, 0.0, 1.0)
    return _led(found, frames, straight, fps, claim)


def _led(found: list[Part], frames: Frames, straight: Frames | None, fps: float,
         claim: Manifest) -> tuple[list[Source], invisible.Finding]:
    mark = max((part.finding for part in found), key=lambda f: f.score, default=invisible.Finding(False, 0.0, 1.0))
    return [_source(part, frames, straight, fps, claim) for part in found], mark


def _source(part: Part, frames: Frames, straight: Frames | None, fps: float, claim: Manifest) -> Source:
    """What is known of a stretch's clip: from the store, else from the file's own intact manifest.

    straight: what fills the picture inside black borders, drawn out; None without borders.
    """
    from tenku.provenance import store

    start, end = part.start / fps, part.end / fps
    payload, place = part.finding.payload, part.finding.place
    if payload is None:
        return Source("", start, end)
    entry = store.by_mark(payload.clip_digits)
    intact = claim.signature in (Signature.TRUSTED, Signature.UNKNOWN)
    own = intact and claim.ours and claim.clip_id.startswith(payload.clip_digits)
    look = entry.look if entry else claim.look if own else b""
    clip = entry.clip_id if entry else claim.clip_id if own else payload.clip_digits
    if not look:
        return Source(clip, start, end)
    likeness = fingerprint.agreement(frames[part.start:part.end], fingerprint.sketches_of(look), place)
    thumb = fingerprint.thumb_of(entry.thumb) if entry else None
    alike = thumb is not None and fingerprint.same_shades(frames[part.start:part.end], thumb, place)
    if thumb is not None and not alike and straight is not None and place:
        whole = replace(place, tiles=place.made_with, angle=0.0)
        alike = fingerprint.same_shades(straight[part.start:part.end], thumb, whole)
    return Source(clip, start, end, True, likeness, True, alike, dict(entry.record) if entry else {})


def _by_looks(suspect: Suspect, by_mark: bool) -> Source:
    entry = suspect.entry
    return Source(entry.clip_id, 0.0, 0.0, True, suspect.likeness, by_mark, True, dict(entry.record))


def judge(found: Manifest, mark: invisible.Finding, plate: visible.Finding, sources: list[Source] | None = None,
          seconds: float = 0.0, looks: classifier.Opinion | None = None) -> Report:
    """Weighs the layers. Pure: the same findings give the same report. seconds: how long the file is."""
    sources = sources or []
    lines = [_signature_line(found), _mark_line(mark), *(_source_line(s, seconds) for s in sources), _plate_line(plate)]
    if looks and looks.says != "other":  # that it looks otherwise says nothing: other models' clips do, too
        lines.append(_looks_line(looks))
    verdict, remark = _weigh(found, mark, plate, sources, seconds)
    if verdict is Verdict.UNKNOWN and looks and looks.says == "made":
        verdict = Verdict.LIKELY
    return Report(verdict, found, mark, plate, tuple(sources), (*lines, remark) if remark else tuple(lines), looks)


def _weigh(found: Manifest, mark: invisible.Finding, plate: visible.Finding, sources: list[Source],
           seconds: float) -> tuple[Verdict, str]:
    """The verdict, and a sentence on what does not fit ("" when all does)."""
    intact = found.signature in (Signature.TRUSTED, Signature.UNKNOWN)
    named = mark.payload is not None and found.clip_id.startswith(mark.payload.clip_digits)
    within = mark.payload is not None and any(clip.startswith(mark.payload.clip_digits) for clip in found.made_of)
    if found.signature is Signature.TRUSTED and found.ours and (named or within):
        # every byte is signed by a key we trust: no need to ask what the pictures look like
        return Verdict.MADE, "" if named else "the invisible mark that is read is of something that it was made from"
    if any(source.refuted and source.by_mark for source in sources):
        return Verdict.CONTRADICTORY, "the mark names a clip that looks otherwise: it was moved here or forged"
    if found.signature is Signature.TAMPERED:
        if mark.found:
            return Verdict.CHANGED, "the mark says Tenku and the signature no longer fits: it was changed after sealing"
        return Verdict.TAMPERED, ""
    if mark.found and intact and not found.ours:
        by = found.generator or "without a name"
        return Verdict.CHANGED, f"the mark says Tenku, the signature is by other software ({by})"
    if mark.found and intact and mark.payload and not named:
        return Verdict.CONTRADICTORY, "the signature and the invisible mark name different clips"
    if mark.found:
        return _weigh_mark(intact, sources, seconds)
    if found.signature is Signature.TRUSTED and found.ours:
        missing = found.soft_binding and "the signed manifest promises an invisible mark that is not found"
        return Verdict.MADE, missing or ""
    if found.signature is Signature.UNKNOWN and found.ours:
        return Verdict.UNPROVEN, "anybody can sign a manifest that names Tenku"
    if any(source.agrees for source in sources):
        return Verdict.UNPROVEN, "it looks like a clip that was sealed here, and nothing else says so"
    if plate.found:
        return Verdict.UNPROVEN, "anybody can draw the visible mark"
    return Verdict.UNKNOWN, ""


def _weigh_mark(intact: bool, sources: list[Source], seconds: float) -> tuple[Verdict, str]:
    """A mark was found and nothing contradicts it."""
    ours = sum(s.end - s.start for s in sources)
    clips = {s.clip for s in sources}
    if sources and seconds and ours < _WHOLE * seconds and any(s.end for s in sources):
        return Verdict.PARTLY, f"{ours:.1f} of {seconds:.1f} s carry a mark, the rest carries none"
    if not intact and not any(source.agrees for source in sources):
        return Verdict.MARKED, "its clip is not in this machine's store, and who knows the public key can forge a mark"
    if len(clips) > 1:
        return Verdict.MADE, f"cut together from {len(clips)} clips"
    return Verdict.MADE, "" if intact else "without its signature: copied, converted or uploaded since"


def _signature_line(found: Manifest) -> str:
    by = f"{found.signer or 'a signer without a name'}, software {found.generator or 'unnamed'}"
    when = f", time stamp {found.time_stamp}" if found.time_stamp else ""
    made_of = f", made from {len(found.ingredients)} ingredients" if found.ingredients else ""
    return "signature: " + {
        Signature.TRUSTED: f"intact and trusted, by {by}{when}{made_of}",
        Signature.UNKNOWN: f"intact, signer unknown here: {by}{when}{made_of}",
        Signature.TAMPERED: f"broken ({', '.join(found.problems) or 'no reason given'})",
        Signature.MISSING: "none",
    }[found.signature]


def _mark_line(mark: invisible.Finding) -> str:
    if not mark.found:
        return f"invisible mark: not found (score {mark.score:.1f})"
    said = "its content worn away"
    if mark.payload:
        said = f"clip {mark.payload.clip_digits}, weights {mark.payload.model:02x}"
    key = " under this operator's key" if mark.own_key else ""
    return (f"invisible mark: found{key}, {said}, {mark.place} "
            f"(score {mark.score:.1f}, by chance under {max(mark.chance, 1e-99):.0e})")


def _source_line(source: Source, seconds: float) -> str:
    stretch = f" {source.start:.1f} to {source.end:.1f} s" if 0 < source.end - source.start < _WHOLE * seconds else ""
    if not source.clip:
        return f"source{stretch}: the mark names no clip any more"
    if not source.known:
        return f"source{stretch}: clip {source.clip}, not in this machine's store"
    prompt = _prompt(source.request)
    said = "looks like it" if source.agrees else "looks otherwise"
    return f"source{stretch}: clip {source.clip}{prompt}, {said} ({source.likeness:.2f} of 1)"


def _prompt(record: dict[str, Any]) -> str:
    """The prompt of a record of this machine's own store, shortened."""
    asked = record.get("request")
    inner = asked.get("request", asked) if isinstance(asked, dict) else {}
    prompt = inner.get("prompt") if isinstance(inner, dict) else None
    if not isinstance(prompt, str):
        return ""
    plain = "".join(c for c in prompt if c.isprintable())
    return f' "{plain[:60]}"'


def _looks_line(looks: classifier.Opinion) -> str:
    if looks.says == "made":
        return f"pictures: look made by Tenku's model ({min(looks.probability, 0.99):.0%})"
    return "pictures: cannot tell whether Tenku's model made them"


def _plate_line(plate: visible.Finding) -> str:
    return f"visible mark: {'found' if plate.found else 'not found'} ({plate.score:.2f} of 1)"
