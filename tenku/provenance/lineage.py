"""What a clip was made from and with: the Request that its manifest holds, and what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tenku.provenance.manifest import Signature, read


def asked(path: Path) -> Mapping[str, Any]:
    """The fields of the Request that a file was made by, as a stranger may have written them; {} where none is known.

    A manifest that does not fit its file says nothing. Raises UserError for a file that is no video or image.
    """
    request = _recorded(path).get("request")
    return request if isinstance(request, Mapping) else {}


def shown(path: Path) -> object:
    """What a file says that it shows, for `generate`, which believes it where it sees it; None where nothing is said.

    Raises UserError like `asked`.
    """
    return _recorded(path).get("shown")


def _recorded(path: Path) -> Mapping[str, Any]:
    about = path.stat() if path.is_file() else None
    return _read(path, about and (about.st_mtime_ns, about.st_size))


@lru_cache(maxsize=16)
def _read(path: Path, changed: tuple[int, int] | None) -> Mapping[str, Any]:
    found = read(path)
    if found.signature in (Signature.MISSING, Signature.TAMPERED):
        return {}
    record = found.request.get("request")
    return record if isinstance(record, Mapping) else {}
