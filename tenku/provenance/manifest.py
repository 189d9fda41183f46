"""The signed manifest: C2PA content credentials, embedded in the file or beside it.

The manifest says that the pictures were made by a model (IPTC's trainedAlgorithmicMedia), which software and
weights made them, what was asked for, and what the invisible mark carries (the soft binding), so that whoever
finds the mark in a stripped copy can find the manifest again. C2PA cannot be embedded in WebM: there the
manifest lies beside the file as `<name>.webm.c2pa`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from tenku import untrusted
from tenku.credentials import MEDIA_TYPES
from tenku.provenance import identity
from tenku.types import Clip

REQUEST_LABEL = "org.tenku.request"  # our assertion: what was asked for, and by which weights it was made
MARK_ALGORITHM = "org.tenku.mark.2"  # names the invisible mark in a soft binding
LOOK_ALGORITHM = "org.tenku.fingerprint.1"  # and the fingerprint in another: base64 of fingerprint.Fingerprint.to_bytes
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
# C2PA's relationships, and the action that each calls for: given to the model, put into the work, changed by it.
RELATIONSHIPS = {"inputTo": "", "componentOf": "c2pa.placed", "parentOf": "c2pa.opened"}


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
    look: bytes = b""  # the fingerprint, b"" when the manifest has none
    ingredients: tuple[str, ...] = ()  # what it was made from, as the manifest says: "start image (inputTo), trusted"
    made_of: tuple[str, ...] = ()  # the clip IDs of what it was made from, and of what that was made from
    time_stamp: str = ""  # of a time stamp authority, ISO 8601; "" for none
    request: Mapping[str, Any] = field(default_factory=dict)  # what was asked for, as it was sealed

    @property
    def ours(self) -> bool:
        """True when the manifest claims Tenku made the file; a claim, worth what the signature is worth."""
        return self.generator.partition(" ")[0] == "tenku"


@dataclass(frozen=True)
class Ingredient:
    """Something that the pictures were made from. Its own manifest, where it has one, travels inside the new one."""

    archive: bytes  # C2PA's, of the media file
    relationship: str  # C2PA's: one of RELATIONSHIPS
    label: str  # by which the actions name it

    @classmethod
    def of(cls, path: Path, number: int, title: str, relationship: str) -> Ingredient | None:
        """A media file; None for one that C2PA cannot read. title: what it is to the work, never a file's name.

        Raises UserError for a file that is no video or image.
        """
        assert relationship in RELATIONSHIPS, relationship
        label = f"ingredient-{number}"
        archive = untrusted.ingredient(path, {"title": title, "relationship": relationship, "label": label})
        return cls(archive, relationship, label) if archive else None


def ingredients(paths: Sequence[Path]) -> tuple[Ingredient, ...]:
    """The files that a work was put together from. What C2PA cannot read is left to the record, which has its hash."""
    found = (Ingredient.of(path, number, f"ingredient {number}", "componentOf") for number, path in enumerate(paths, 1))
    return tuple(one for one in found if one)


def sidecar(path: Path) -> Path:
    """Where the manifest of a file lies that cannot hold it."""
    return path.with_name(path.name + ".c2pa")


def describe(clip_id: str, record: Mapping[str, Any], payload: str, look: bytes = b"",
             ingredients: Sequence[Ingredient] = ()) -> dict[str, Any]:
    """The manifest before signing, as JSON-able data.

    payload: the invisible mark's content in hex, "" for none; look: the fingerprint, b"" for none. At most one
    ingredient is the parent.

    Names no file, folder, user or machine.
    """
    from tenku import __version__

    agent = {"name": "tenku", "version": __version__}
    created = {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": agent}
    actions: list[dict[str, Any]] = []
    for ingredient in ingredients:
        if ingredient.relationship == "parentOf":  # what was opened comes first, and then nothing is created
            created = {**created, "action": "c2pa.edited"}
            actions.insert(0, {"action": "c2pa.opened", "parameters": {"ingredientIds": [ingredient.label]}})
        elif action := RELATIONSHIPS[ingredient.relationship]:
            actions.append({"action": action, "parameters": {"ingredientIds": [ingredient.label]}})
    inputs = [i.label for i in ingredients if i.relationship == "inputTo"]
    if inputs:
        created["parameters"] = {"ingredientIds": inputs}
    actions.insert(len(actions) if created["action"] == "c2pa.edited" else 0, created)
    assertions: list[dict[str, Any]] = [
        {"label": REQUEST_LABEL, "data": {"clip": clip_id, **record}},
    ]
    if payload:
        actions.append({"action": "c2pa.watermarked.bound", "softwareAgent": agent})
        assertions.append(_binding(MARK_ALGORITHM, payload))
    if look:
        assertions.append(_binding(LOOK_ALGORITHM, base64.b64encode(look).decode()))
    assertions.insert(0, {"label": "c2pa.actions", "data": {"actions": actions}})
    return {"claim_generator_info": [agent], "title": f"Tenku clip {clip_id}", "assertions": assertions}


def _binding(algorithm: str, value: str) -> dict[str, Any]:
    return {"label": "c2pa.soft-binding", "data": {"alg": algorithm, "blocks": [{"scope": {}, "value": value}]}}


def sign(data: bytes, kind: str, manifest: Mapping[str, Any],
         ingredients: Sequence[Ingredient] = ()) -> tuple[bytes, bytes]:
    """Signs the bytes of a media file. Returns the file to write, and the manifest: to be put beside it when `beside`.

    kind: as `media.sniff` names it. ingredients: files that it was made of, each with the manifest that it has; their
    names are left out. Raises UserError for an identity that C2PA refuses.
    """
    import c2pa

    from tenku.errors import UserError

    who = identity.load()
    info = c2pa.C2paSignerInfo(getattr(c2pa.C2paSigningAlg, who.algorithm), who.chain_pem, who.key_pem,
                               who.time_authority or None)
    signed = io.BytesIO()

    def work() -> bytes:
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
            if beside(kind):
                builder.set_no_embed()
            for one in ingredients:
                builder.add_ingredient_from_archive(io.BytesIO(one.archive))
            return builder.sign(signer, MEDIA_TYPES[kind], io.BytesIO(data), signed)

    try:
        # Ctrl-C is raised in the main thread, and would be lost where the library calls back to read and write there.
        with ThreadPoolExecutor(1) as aside:
            signature = aside.submit(work).result()
    except c2pa.C2paError as error:
        if who.time_authority and any(word in str(error).lower() for word in ("time", "http", "request", "connect")):
            raise UserError("the time stamp authority of TENKU_TIMESTAMP_URL does not answer as one",
                            "an RFC 3161 service, or unset it") from None
        if "certificate" not in str(error).lower():
            raise
        raise UserError("C2PA refuses the signing certificate",
                        "a leaf with digitalSignature and emailProtection; docs/provenance.md says more") from None
    return (data if beside(kind) else signed.getvalue()), signature


def beside(kind: str) -> bool:
    """True for containers that cannot hold a manifest: it lies in a sidecar."""
    return kind == "matroska"


def read(path: Path) -> Manifest:
    """The manifest in a media file, else in its sidecar, checked against the roots this machine trusts.

    A process of its own parses it (`untrusted`); one that cannot be parsed is a tampered one. Raises UserError for a
    file that is no video or image, or of which that process died.
    """
    return of_report(untrusted.report(path, identity.anchors(), sidecar(path)))


def read_with_pictures(path: Path, sample: int) -> tuple[Clip, Manifest]:
    """A file's manifest as `read` gives it and its pictures as `untrusted.read` does, at the price of one."""
    clip, said = untrusted.read_signed(path, sample, identity.anchors(), sidecar(path))
    return clip, of_report(said)


def of_report(said: Mapping[str, str]) -> Manifest:
    """What `credentials.report` says, as far as we use it."""
    if problem := said.get("problem"):
        return Manifest(Signature.TAMPERED, problems=(problem,))
    if "store" not in said:
        return Manifest(Signature.MISSING, problems=(said["nothing"],) if "nothing" in said else ())
    try:
        return _summary(json.loads(said["store"]), said["state"], json.loads(said["results"]))
    except (ValueError, RecursionError):
        return Manifest(Signature.TAMPERED, problems=("unreadable report",))


def _summary(store: Any, state: str | None, results: Any) -> Manifest:
    """Picks what we use out of C2PA's report. The report repeats what a stranger wrote: nothing in it is sure."""
    manifests, label = _mapping(_mapping(store).get("manifests")), str(_mapping(store).get("active_manifest"))
    active = _mapping(manifests.get(label))
    info = active.get("claim_generator_info")
    agent = _mapping(info[0] if isinstance(info, list) and info else None)
    request = _request(active)
    bindings = {MARK_ALGORITHM: "", LOOK_ALGORITHM: ""}
    for name, data in _assertions(active):
        if name.startswith("c2pa.soft-binding") and data.get("alg") in bindings:
            blocks = data.get("blocks")
            value = _mapping(blocks[0] if isinstance(blocks, list) and blocks else None).get("value")
            bindings[str(data["alg"])] = value if isinstance(value, str) else ""
    failures = _mapping(_mapping(results).get("activeManifest")).get("failure") or ()
    problems = tuple(sorted({_text(_mapping(f).get("code")) for f in failures} - {"signingCredential.untrusted"}))
    return Manifest(
        {"Trusted": Signature.TRUSTED, "Valid": Signature.UNKNOWN}.get(state or "", Signature.TAMPERED),
        generator=f"{_text(agent.get('name'))} {_text(agent.get('version'))}".strip(),
        signer=_text(_mapping(active.get("signature_info")).get("common_name")),
        problems=problems, clip_id=_text(request.get("clip")), soft_binding=_text(bindings[MARK_ALGORITHM]),
        look=_look(bindings[LOOK_ALGORITHM]), request=request, ingredients=_ingredients(active),
        made_of=tuple(_text(_request(_mapping(one)).get("clip")) for name, one in manifests.items() if name != label),
        time_stamp=_text(_mapping(active.get("signature_info")).get("time")))


def _assertions(one: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = one.get("assertions")
    for assertion in found if isinstance(found, list) else ():
        yield _text(_mapping(assertion).get("label")), _mapping(_mapping(assertion).get("data"))


def _request(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was asked for, of the last such assertion of a manifest."""
    return next((data for name, data in reversed([*_assertions(one)]) if name == REQUEST_LABEL), {})


def _ingredients(active: Mapping[str, Any]) -> tuple[str, ...]:
    """Each as "title (relationship), state"; the state is of its own manifest when the new one was signed."""
    found = active.get("ingredients")
    said = []
    for one in found if isinstance(found, list) else []:
        one = _mapping(one)
        state = "without a manifest"
        if one.get("active_manifest"):
            failures = _mapping(_mapping(one.get("validation_results")).get("activeManifest")).get("failure") or ()
            codes = {_text(_mapping(f).get("code")) for f in failures}
            state = "its manifest broken" if codes - {"signingCredential.untrusted"} else "its manifest intact"
        said.append(f"{_text(one.get('title')) or 'untitled'} ({_text(one.get('relationship'))}), {state}")
    return tuple(said)


def _look(text: str) -> bytes:
    """A stranger's fingerprint: up to 64 key frames of 256 bytes, or nothing."""
    with contextlib.suppress(ValueError):
        data = base64.b64decode(text[:22_000], validate=True)
        return data if len(data) % 256 == 0 else b""
    return b""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """A stranger's string, safe to print: no control characters, no more than 80."""
    return "".join(c for c in value if c.isprintable())[:80] if isinstance(value, str) else ""
