"""Content credentials (C2PA) as a file holds them. Runs where strangers' files are read: in the process of `untrusted`.

What C2PA reports repeats what a stranger wrote; `provenance.manifest` picks out of it what we use.
"""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any, BinaryIO

MEDIA_TYPES = {"mp4": "video/mp4", "matroska": "video/webm", "gif": "image/gif", "png": "image/png",
               "jpeg": "image/jpeg", "webp": "image/webp"}  # by what `media.kind_of` says
MAX_SIDECAR_BYTES = 32 << 20
MAX_REPORT_BYTES = 8 << 20


def report(file: BinaryIO, kind: str, roots: str, beside: BinaryIO | None = None) -> dict[str, str]:
    """C2PA's report on the manifest in a file, else on the one beside it: "store" and "results" as JSON, "state".

    kind: as `media.sniff` names it; roots: certificates that are trusted, as PEM. A manifest that cannot be parsed
    has a "problem" instead; a file without one has nothing.
    """
    inside = _report(file, kind, roots, None)
    if inside or beside is None:
        return inside
    data = beside.read(MAX_SIDECAR_BYTES + 1)
    return _report(file, kind, roots, data) if len(data) <= MAX_SIDECAR_BYTES else {"problem": "sidecar too large"}


def _report(file: BinaryIO, kind: str, roots: str, manifest: bytes | None) -> dict[str, str]:
    """Of the manifest given, or of the one in the file."""
    import c2pa

    trust = {"trust": {"user_anchors": roots}} if roots else {}
    settings = {**trust, "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}}
    file.seek(0)
    try:
        context = c2pa.Context(settings=c2pa.Settings.from_dict(settings))
        with c2pa.Reader(MEDIA_TYPES[kind], file, manifest, context=context) as reader:
            said = {"store": reader.json(), "state": reader.get_validation_state() or "",
                    "results": json.dumps(reader.get_validation_results())}
    except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
        return {}
    except (c2pa.C2paError, ValueError, RecursionError) as error:
        # a broken file without a manifest fails the same way as one with a broken manifest
        if manifest is not None or _mentions_c2pa(file):
            return {"problem": type(error).__name__.lstrip("_")}
        return {"nothing": type(error).__name__.lstrip("_")}
    return said if sum(map(len, said.values())) <= MAX_REPORT_BYTES else {"problem": "manifest too large"}


def _mentions_c2pa(file: BinaryIO) -> bool:
    last = b""
    file.seek(0)
    while block := file.read(1 << 20):
        if b"c2pa" in last + block:
            return True
        last = block[-3:]
    return False


def ingredient(file: BinaryIO, kind: str, about: dict[str, Any]) -> bytes:
    """A file as C2PA's archive of one ingredient, with its manifest and what that is worth. b"" where it cannot be.

    about: title, relationship and label. C2PA takes a file for nothing whose manifest is too broken.
    """
    import c2pa

    archive = io.BytesIO()
    file.seek(0)
    with contextlib.suppress(c2pa.C2paError), c2pa.Builder("{}") as builder:
        builder.add_ingredient(json.dumps(about), MEDIA_TYPES[kind], file)
        builder.write_ingredient_archive(about["label"], archive)
        return archive.getvalue()
    return b""
