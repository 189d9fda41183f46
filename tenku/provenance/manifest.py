"""The signed manifest: C2PA content credentials, embedded in the file or beside it.

The manifest says that the pictures were made by a model (IPTC's trainedAlgorithmicMedia), which software and
weights made them, what was asked for, and what the invisible mark carries (the soft binding), so that whoever
finds the mark in a stripped copy can find the manifest again. C2PA cannot be embedded in WebM: there the
manifest lies beside the file as `<name>.webm.c2pa`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from tenku.provenance import identity

REQUEST_LABEL = "org.tenku.request"  # our assertion: what was asked for, and by which weights it was made
MARK_ALGORITHM = "org.tenku.mark.1"  # names the invisible mark in the soft binding
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
MEDIA_TYPES = {"mp4": "video/mp4", "matroska": "video/webm", "gif": "image/gif", "png": "image/png",
               "jpeg": "image/jpeg", "webp": "image/webp"}  # by what `media.kind_of` says
MAX_SIDECAR_BYTES = 32 << 20


class Signature(Enum):
    """What the manifest's signature is worth on this machine."""

    TRUSTED = "trusted"  # intact, and the signer's root is one of ours
    UNKNOWN = "unknown"  # intact, signed by somebody this machine does not know
    TAMPERED = "tampered"  # the file or the manifest was changed after signing, or the certificate is no good
    MISSING = "missing"  # no manifest


@dataclass(frozen=True)
class Manifest:
    """What `read` found."""

    signature: Signature
    generator: str = ""  # the software that claims to have made it, "tenku 0.1.0"
    signer: str = ""  # common name of the certificate's subject
    problems: tuple[str, ...] = ()  # C2PA's codes, "assertion.bmffHash.mismatch"
    clip_id: str = ""  # 16 hex digits, "" when the manifest names none
    soft_binding: str = ""  # the invisible mark's payload in hex, "" when the manifest names none
    request: Mapping[str, Any] = field(default_factory=dict)  # what was asked for, as it was sealed

    @property
    def ours(self) -> bool:
        """True when the manifest claims Tenku made the file; a claim, worth what the signature is worth."""
        return self.generator.partition(" ")[0] == "tenku"


def sidecar(path: Path) -> Path:
    """Where the manifest of a file lies that cannot hold it."""
    return path.with_name(path.name + ".c2pa")


def describe(clip_id: str, record: Mapping[str, Any], payload: str) -> dict[str, Any]:
    """The manifest before signing, as JSON-able data. payload: the invisible mark's content in hex, "" for none.

    Names no file, folder, user or machine.
    """
    from tenku import __version__

    agent = {"name": "tenku", "version": __version__}
    actions = [{"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": agent}]
    assertions: list[dict[str, Any]] = [
        {"label": REQUEST_LABEL, "data": {"clip": clip_id, **record}},
    ]
    if payload:
        actions.append({"action": "c2pa.watermarked.bound", "softwareAgent": agent})
        assertions.append({"label": "c2pa.soft-binding",
                           "data": {"alg": MARK_ALGORITHM, "blocks": [{"scope": {}, "value": payload}]}})
    assertions.insert(0, {"label": "c2pa.actions", "data": {"actions": actions}})
    return {"claim_generator_info": [agent], "title": f"Tenku clip {clip_id}", "assertions": assertions}


def sign(data: bytes, kind: str, manifest: Mapping[str, Any]) -> tuple[bytes, bytes | None]:
    """Signs the bytes of a media file. Returns the file to write and, for WebM, the manifest to put beside it.

    kind: as `media.sniff` names it. Raises UserError for an identity that C2PA refuses.
    """
    import c2pa

    from tenku.errors import UserError

    who = identity.load()
    info = c2pa.C2paSignerInfo(getattr(c2pa.C2paSigningAlg, who.algorithm), who.chain_pem, who.key_pem, None)
    signed = io.BytesIO()
    try:
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
            if kind == "matroska":
                builder.set_no_embed()
            beside = builder.sign(signer, MEDIA_TYPES[kind], io.BytesIO(data), signed)
    except c2pa.C2paError as error:
        if "certificate" not in str(error).lower():
            raise
        raise UserError("C2PA refuses the signing certificate",
                        "a leaf with digitalSignature and emailProtection; docs/provenance.md says more") from None
    return (data, beside) if kind == "matroska" else (signed.getvalue(), None)


def read(path: Path) -> Manifest:
    """The manifest in a media file, else in its sidecar, checked against the roots this machine trusts.

    A manifest that cannot be parsed is a tampered one. Raises UserError for a file that is no video or image, OSError
    when it cannot be read.
    """
    from tenku import media

    kind = MEDIA_TYPES[media.kind_of(path)]
    inside = _read(path, kind, None)
    beside = sidecar(path)
    if inside.signature is Signature.MISSING and not inside.problems and beside.is_file():
        if beside.stat().st_size > MAX_SIDECAR_BYTES:
            return Manifest(Signature.TAMPERED, problems=("sidecar too large",))
        return _read(path, kind, beside.read_bytes())
    return inside


def _read(path: Path, kind: str, manifest: bytes | None) -> Manifest:
    """The manifest given, or the one in the file."""
    import c2pa

    roots = identity.anchors()
    trust = {"trust": {"user_anchors": roots}} if roots else {}
    settings = {**trust, "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}}
    with path.open("rb") as file:
        try:
            context = c2pa.Context(settings=c2pa.Settings.from_dict(settings))
            with c2pa.Reader(kind, file, manifest, context=context) as reader:
                store = json.loads(reader.json())
                return _summary(store, reader.get_validation_state(), reader.get_validation_results())
        except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
            return Manifest(Signature.MISSING)
        except (c2pa.C2paError, ValueError) as error:
            problem = type(error).__name__.lstrip("_")
            # a broken file without a manifest fails the same way as one with a broken manifest
            held = manifest is not None or _mentions_c2pa(path)
            return Manifest(Signature.TAMPERED if held else Signature.MISSING, problems=(problem,))


def _mentions_c2pa(path: Path) -> bool:
    last = b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if b"c2pa" in last + block:
                return True
            last = block[-3:]
    return False


def _summary(store: Any, state: str | None, results: Any) -> Manifest:
    """Picks what we use out of C2PA's report. The report repeats what a stranger wrote: nothing in it is sure."""
    active = _mapping(_mapping(_mapping(store).get("manifests")).get(str(_mapping(store).get("active_manifest"))))
    info = active.get("claim_generator_info")
    agent = _mapping(info[0] if isinstance(info, list) and info else None)
    request: Mapping[str, Any] = {}
    binding = ""
    for assertion in active.get("assertions") or ():
        label, data = _text(_mapping(assertion).get("label")), _mapping(_mapping(assertion).get("data"))
        if label == REQUEST_LABEL:
            request = data
        elif label.startswith("c2pa.soft-binding") and data.get("alg") == MARK_ALGORITHM:
            blocks = data.get("blocks")
            binding = _text(_mapping(blocks[0] if isinstance(blocks, list) and blocks else None).get("value"))
    failures = _mapping(_mapping(results).get("activeManifest")).get("failure") or ()
    problems = tuple(sorted({_text(_mapping(f).get("code")) for f in failures} - {"signingCredential.untrusted"}))
    return Manifest(
        {"Trusted": Signature.TRUSTED, "Valid": Signature.UNKNOWN}.get(state or "", Signature.TAMPERED),
        generator=f"{_text(agent.get('name'))} {_text(agent.get('version'))}".strip(),
        signer=_text(_mapping(active.get("signature_info")).get("common_name")),
        problems=problems, clip_id=_text(request.get("clip")), soft_binding=binding, request=request)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """A stranger's string, safe to print: no control characters, no more than 80."""
    return "".join(c for c in value if c.isprintable())[:80] if isinstance(value, str) else ""
