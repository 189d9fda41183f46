"""What a clip was made from and with: the Request that its manifest holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenku.provenance.manifest import Signature, read


def asked(path: Path) -> Mapping[str, Any]:
    """The fields of the Request that a file was made by, as a stranger may have written them; {} where none is known.

    A manifest that does not fit its file says nothing. Raises UserError for a file that is no video or image.
    """
    found = read(path)
    if found.signature in (Signature.MISSING, Signature.TAMPERED):
        return {}
    record = found.request.get("request")
    request = record.get("request") if isinstance(record, Mapping) else None
    return request if isinstance(request, Mapping) else {}
