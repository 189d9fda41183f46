"""Where did this file come from? Reads all three layers of the seal and says so in plain words.

Strong layers are a signature that this machine trusts and the invisible mark. A manifest by an unknown signer and
the visible mark are weak: anybody can write or draw them. docs/provenance.md says what each is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tenku.provenance import invisible, visible
from tenku.provenance.manifest import Manifest, Signature

_SAMPLE = 48  # frames to look at, at least, where there are as many


class Verdict(Enum):
    """The answer, in the words that are printed."""

    MADE = "made by Tenku"
    CHANGED = "made by Tenku and changed since"
    CONTRADICTORY = "its marks contradict each other"
    TAMPERED = "its signature does not fit: changed or forged"
    UNPROVEN = "says it is Tenku's, without proof"
    UNKNOWN = "no sign of Tenku"

    @property
    def exit_code(self) -> int:
        """0 for MADE, 1 for all else."""
        return 0 if self is Verdict.MADE else 1


@dataclass(frozen=True)
class Report:
    """What `examine` found in one file."""

    verdict: Verdict
    manifest: Manifest
    mark: invisible.Finding
    plate: visible.Finding  # the visible mark
    evidence: tuple[str, ...]  # one sentence per layer, and one for a contradiction

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
            },
            "invisible": {
                "found": mark.found, "score": round(mark.score, 2), "chance": mark.chance,
                "payload": str(payload) if payload else None, "clip": f"{payload.clip:010x}" if payload else None,
                "weights": f"{payload.model:02x}" if payload else None,
                "place": str(mark.place) if mark.place else None, "own_key": mark.own_key,
            },
            "visible": {"found": self.plate.found, "score": round(self.plate.score, 3)},
            "evidence": list(self.evidence),
        }


def examine(path: Path) -> Report:
    """Reads a video or image file of any origin. Raises UserError for what cannot be read as one."""
    from tenku import media
    from tenku.provenance import manifest

    clip = media.read_clip(path, sample=_SAMPLE)
    mark = invisible.detect(clip.frames)
    plate = visible.detect(clip.frames, clip.fps)
    return judge(manifest.read(path), mark, plate)


def judge(found: Manifest, mark: invisible.Finding, plate: visible.Finding) -> Report:
    """Weighs the layers. Pure: the same findings give the same report."""
    lines = [_signature_line(found), _mark_line(mark), _plate_line(plate)]
    verdict, remark = _weigh(found, mark, plate)
    return Report(verdict, found, mark, plate, (*lines, remark) if remark else tuple(lines))


def _weigh(found: Manifest, mark: invisible.Finding, plate: visible.Finding) -> tuple[Verdict, str]:
    """The verdict, and a sentence on what does not fit ("" when all does)."""
    intact = found.signature in (Signature.TRUSTED, Signature.UNKNOWN)
    if found.signature is Signature.TAMPERED:
        if mark.found:
            return Verdict.CHANGED, "the mark says Tenku and the signature no longer fits: it was changed after sealing"
        return Verdict.TAMPERED, ""
    if mark.found and intact and not found.ours:
        by = found.generator or "without a name"
        return Verdict.CHANGED, f"the mark says Tenku, the signature is by other software ({by})"
    if mark.found and intact and mark.payload and not found.clip_id.startswith(f"{mark.payload.clip:010x}"):
        return Verdict.CONTRADICTORY, "the signature and the invisible mark name different clips"
    if mark.found:
        remark = "" if intact else "without its signature: copied, converted or uploaded since"
        return Verdict.MADE, remark
    if found.signature is Signature.TRUSTED and found.ours:
        missing = found.soft_binding and "the signed manifest promises an invisible mark that is not found"
        return Verdict.MADE, missing or ""
    if found.signature is Signature.UNKNOWN and found.ours:
        return Verdict.UNPROVEN, "anybody can sign a manifest that names Tenku"
    if plate.found:
        return Verdict.UNPROVEN, "anybody can draw the visible mark"
    return Verdict.UNKNOWN, ""


def _signature_line(found: Manifest) -> str:
    by = f"{found.signer or 'a signer without a name'}, software {found.generator or 'unnamed'}"
    return "signature: " + {
        Signature.TRUSTED: f"intact and trusted, by {by}",
        Signature.UNKNOWN: f"intact, signer unknown here: {by}",
        Signature.TAMPERED: f"broken ({', '.join(found.problems) or 'no reason given'})",
        Signature.MISSING: "none",
    }[found.signature]


def _mark_line(mark: invisible.Finding) -> str:
    if not mark.found:
        return f"invisible mark: not found (score {mark.score:.1f})"
    said = "its content worn away"
    if mark.payload:
        said = f"clip {mark.payload.clip:010x}, weights {mark.payload.model:02x}"
    key = " under this operator's key" if mark.own_key else ""
    return (f"invisible mark: found{key}, {said}, {mark.place} "
            f"(score {mark.score:.1f}, by chance under {max(mark.chance, 1e-99):.0e})")


def _plate_line(plate: visible.Finding) -> str:
    return f"visible mark: {'found' if plate.found else 'not found'} ({plate.score:.2f} of 1)"
