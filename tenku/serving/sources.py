"""What a video is made from: files of a form, data URLs, uploads, and videos of the caller's own.

Nothing that a client sends names a file of the server's disk. Bytes are known by their hash, kept in the folder of the
job that is made from them, and decoded by nobody but the limited process of `untrusted`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from starlette.datastructures import UploadFile

from tenku import untrusted
from tenku.errors import UserError
from tenku.media import sniff
from tenku.serving import jobs
from tenku.serving.db import Database, files
from tenku.serving.errors import ApiError
from tenku.types import Size

if TYPE_CHECKING:
    from tenku.serving.store import Store

MAX_BYTES = 32 << 20  # of one source
MAX_SECONDS = 60.0  # of one source
HINT = "a file, a data URL, or the id of a video or a file of yours"
# what `media.sniff` says -> ending and type
KINDS = {"mp4": ("mp4", "video/mp4"), "matroska": ("mkv", "video/x-matroska"), "gif": ("gif", "image/gif"),
         "png": ("png", "image/png"), "jpeg": ("jpg", "image/jpeg"), "webp": ("webp", "image/webp")}
_LOOKS = threading.BoundedSemaphore(2)  # processes that measure at once


@dataclass(frozen=True)
class Source:
    """One file that a video is made from."""

    sha256: str
    kind: str  # of KINDS
    bytes: int
    path: Path  # where it lies as long as the call lasts
    job: Mapping[str, Any] | None = None  # the video of the caller's that it is


class Sources:
    """The sources of one call, by the name that a Request knows them by: "sha256:..."."""

    def __init__(self, db: Database, store: Store, tenant: str, key: str = "") -> None:
        """key: the name of the key that the call came with."""
        self.db, self.store, self.tenant, self.key = db, store, tenant, key
        self.found: dict[str, Source] = {}
        self._measured: dict[tuple[str, float], tuple[int, tuple[int, int]]] = {}
        self._held = tempfile.TemporaryDirectory(prefix="tenku-given-")
        self.folder = Path(self._held.name)

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.cleanup()

    def take(self, value: Any, param: str) -> str:
        """The name of what a client gave as a source. Raises ApiError for what is none, or is not the caller's."""
        if isinstance(value, UploadFile):
            return self._upload(value, param)
        if isinstance(value, Mapping) and len(value) == 1:
            [(said, value)] = value.items()
            if said not in ("id", "file_id", "image_url"):
                raise ApiError(400, f"{param} cannot have the field {said[:40]!r}: {HINT}", code="invalid_value",
                               param=param)
        if isinstance(value, str):
            if re.fullmatch(r"video_[0-9a-f]{24}", value):
                return self._video(value, param)
            if re.fullmatch(r"file-[0-9a-f]{24}", value):
                return self._file(value, param)
            if value.startswith("data:"):
                return self._data(value, param)
            if re.match(r"[a-z][a-z0-9+.-]*://", value, re.IGNORECASE):
                raise ApiError(400, f"{param}: addresses are not fetched; send the data itself",
                               code="unsupported_url", param=param)
            if re.match(r"(video_|file-)", value):
                raise _missing(value, param)
        raise ApiError(400, f"{param} cannot be so: {HINT}", code="invalid_value", param=param)

    def measure(self, name: str, fps: float, param: str) -> tuple[int, tuple[int, int]]:
        """How many frames a source has at a rate, and its width and height. Raises ApiError for a broken file."""
        source = self.found[name]
        if source.job is not None:
            facts = source.job["facts"]
            size = Size.parse(facts["size"])
            seconds = facts["frames"] / facts["fps"]
            count = 1 if facts["frames"] == 1 else max(1, math.ceil(seconds * fps - 1e-3))
            return count, (size.width, size.height)
        if (name, fps) not in self._measured:
            try:
                with _LOOKS:
                    self._measured[name, fps] = untrusted.measure(source.path, fps)
            except UserError as error:
                said = "The file cannot be used: " + str(error).replace(source.path.name, "it")
                raise ApiError(400, said + (f" ({error.hint})" if error.hint else ""), code="unreadable_file",
                               param=param) from None
        count, size_seen = self._measured[name, fps]
        if count > MAX_SECONDS * fps + 1:
            raise ApiError(400, f"The file is longer than {MAX_SECONDS:g} s", code="file_too_large", param=param)
        return count, size_seen

    def videos(self) -> tuple[str, ...]:
        """The videos of the caller's among them."""
        return tuple(source.job["id"] for source in self.found.values() if source.job is not None)

    def adopt(self, job: Mapping[str, Any]) -> None:
        """Takes over all that another job of the caller's was made from. Raises ApiError when it is gone."""
        for sha256, entry in (job["inputs"] or {}).items():
            video = entry["video"] and jobs.find(self.db, self.tenant, entry["video"])
            try:
                path = self.store.fetch(entry["key"], self.folder)
            except FileNotFoundError:
                raise ApiError(404, "What the video was made from is gone", code="not_found", param="id") from None
            self._keep(path, sha256, "", video or None)

    def keep(self, job: str) -> dict[str, Any] | None:
        """Copies them into the folder of a job to be; what its row says of them. None where there are none."""
        kept = {}
        for source in self.found.values():
            ending, kind = KINDS[source.kind]
            key = f"{job}/inputs/{source.sha256}.{ending}"
            self.store.put(source.path, key)
            kept[source.sha256] = {"key": key, "type": kind, "bytes": source.bytes,
                                   "video": None if source.job is None else source.job["id"]}
        return kept or None

    def _upload(self, upload: UploadFile, param: str) -> str:
        def blocks() -> Iterator[bytes]:
            upload.file.seek(0)
            while block := upload.file.read(1 << 20):
                yield block

        return self._write(blocks(), param)

    def _data(self, url: str, param: str) -> str:
        head, comma, body = url.partition(",")
        try:
            if not comma or not head.endswith(";base64"):
                raise ValueError
            data = base64.b64decode(body, validate=True)
        except (ValueError, binascii.Error):
            raise ApiError(400, f"{param}: the data URL cannot be read: data:TYPE;base64,...", code="invalid_value",
                           param=param) from None
        return self._write(iter([data]), param)

    def _file(self, name: str, param: str) -> str:
        with self.db.read() as connection:
            row = connection.execute(select(files.c.purpose, files.c.bytes).where(
                files.c.id == name, files.c.tenant == self.tenant)).first()
        if row is None:
            raise _missing(name, param)
        return self._write(self.store.read(f"files/{name}", 0, row.bytes), param)

    def _video(self, name: str, param: str) -> str:
        job = jobs.find(self.db, self.tenant, name)
        if job is None:
            raise _missing(name, param)
        if job["status"] != "completed":
            raise ApiError(400, f"The video {name} is {job['status'].replace('_', ' ')}", code="video_not_ready",
                           param=param)
        try:
            path = self.store.fetch((job["artifacts"] or {})["video"]["key"], self.folder)
        except (KeyError, FileNotFoundError):
            raise ApiError(404, f"There are no files of {name} any more", code="not_found", param=param) from None
        with path.open("rb") as file:
            return self._keep(path, hashlib.file_digest(file, "sha256").hexdigest(), param, job)

    def _write(self, blocks: Iterator[bytes], param: str) -> str:
        path, digest, size = self.folder / f"given-{len(self.found)}", hashlib.sha256(), 0
        with path.open("wb") as file:
            for block in blocks:
                size += len(block)
                if size > MAX_BYTES:
                    raise ApiError(400, f"A file may have at most {MAX_BYTES >> 20} MiB", code="file_too_large",
                                   param=param)
                digest.update(block)
                file.write(block)
        return self._keep(path, digest.hexdigest(), param, None)

    def _keep(self, path: Path, sha256: str, param: str, job: Mapping[str, Any] | None) -> str:
        try:
            with path.open("rb") as file:
                kind = sniff(file.read(16))
        except UserError as error:
            raise ApiError(400, f"{str(error).capitalize()}: {error.hint}", code="unsupported_file",
                           param=param) from None
        name = f"sha256:{sha256}"
        self.found.setdefault(name, Source(sha256, kind, path.stat().st_size, path, job))
        return name


def _missing(name: str, param: str) -> ApiError:
    return ApiError(404, f"No such video or file: {name[:60]!r}", code="not_found", param=param)
