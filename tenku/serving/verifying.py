"""`POST /v1/verify`: where does this file come from? Asked of a process of its own.

Uploads are hostile until shown otherwise: what decodes them has limits on memory, time and files, and its death is an
answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response

from tenku.errors import UserError
from tenku.media import sniff
from tenku.serving.asked import refuse_unknown
from tenku.serving.errors import ApiError
from tenku.serving.service import Fields

SECONDS = 60  # of processor time, and twice as many by the clock, also where the server does not live to say so
MEMORY = 4 << 30  # bytes of address space; the libraries alone reserve two thirds of a GiB
WRITTEN = 1 << 20  # bytes of any file that it may write
LIMITED = f"""
import os, resource, signal, sys
for what, most in ((resource.RLIMIT_AS, {MEMORY}), (resource.RLIMIT_CPU, {SECONDS}),
                   (resource.RLIMIT_FSIZE, {WRITTEN}), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(what, (most, most))
signal.alarm({2 * SECONDS})
os.nice(5)
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
from tenku.cli import main
sys.exit(main(sys.argv[1:]))
"""


def verify_file(call: Call, fields: Fields) -> Response:
    """Reads the marks and the signature of a video or an image: multipart, field `file`."""
    refuse_unknown(fields, ("file",))
    upload = fields.get("file")
    if not isinstance(upload, UploadFile):
        raise ApiError(400, "Send a file in the field `file`", code="invalid_value", param="file")
    try:
        kind = sniff(upload.file.read(16))
    except UserError as error:
        raise ApiError(400, f"{str(error).capitalize()}: {error.hint}", code="unsupported_file", param="file") from None
    upload.file.seek(0)
    with tempfile.TemporaryDirectory(prefix="tenku-verify-") as folder:
        path = Path(folder, f"upload.{'mkv' if kind == 'matroska' else kind}")
        with path.open("wb") as file:
            while block := upload.file.read(1 << 20):
                file.write(block)
        return JSONResponse(examine(path))


def examine(path: Path) -> dict[str, Any]:
    """What `tenku verify` says of a file. Raises ApiError for one that cannot be read."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, "verify", "--json", str(path)], stdin=subprocess.DEVNULL, cwd=path.parent,
            capture_output=True, timeout=2 * SECONDS, check=False,
            env={name: value for name, value in os.environ.items() if name not in ("TENKU_DB", "TENKU_FILES")})
        [report] = json.loads(done.stdout)["files"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        raise ApiError(400, "The file could not be read within the limits", code="unreadable_file",
                       param="file") from None
    report.pop("file", None)
    if "error" in report:
        raise ApiError(400, "The file is broken, or larger than what is examined", code="unreadable_file", param="file")
    return dict(report)
