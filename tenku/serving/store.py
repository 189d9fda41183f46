"""Where finished files lie: a folder, or S3 and whatever else fsspec knows.

Every attempt at a job has a folder of its own, `<job>/<token>/`, so an attempt that lost its lease overwrites nothing:
the job's row says which folder counts, and all others are swept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tenku.errors import UserError

BLOCK = 1 << 18  # bytes read at once


class Store:
    """Files by key, "<job>/<token>/<name>"."""

    def __init__(self, url: str) -> None:
        """url: a folder, or "s3://bucket/prefix". Raises UserError for what fsspec cannot open."""
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        try:
            self.fs, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError):
            raise UserError(f"files cannot be kept at {url[:80]!r}",
                            "a folder, or s3://bucket/prefix (pip install 'tenku[s3]')") from None
        self.local = isinstance(self.fs, LocalFileSystem)
        if self.local:
            Path(self.root).mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextlib.contextmanager
    def attempt(self, job: str, token: int) -> Iterator[Path]:
        """A local folder to write an attempt's files into: its own place, or a temporary one that `publish` copies."""
        if self.local:
            folder = Path(self.root, job, str(token))
            folder.mkdir(parents=True, exist_ok=True)
            yield folder
            return
        with tempfile.TemporaryDirectory(prefix="tenku-") as folder_name:
            yield Path(folder_name)

    def publish(self, path: Path, key: str) -> int:
        """Makes a file of an attempt readable under its key; returns its bytes."""
        if not self.local:
            self.fs.put_file(str(path), self._at(key))
        return path.stat().st_size

    def save(self, data: bytes, key: str) -> None:
        """Writes a small file, whole or not at all."""
        if not self.local:
            self.fs.pipe_file(self._at(key), data)
            return
        path = Path(self._at(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        draft.write_bytes(data)
        os.replace(draft, path)

    def put(self, path: Path, key: str) -> None:
        """Copies a file of any length to a key, whole or not at all."""
        if not self.local:
            self.fs.put_file(str(path), self._at(key))
            return
        target = Path(self._at(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(path, draft)
        os.replace(draft, target)

    def fetch(self, key: str, folder: Path) -> Path:
        """A local file with a key's bytes: its own place, or a copy in a folder. Raises FileNotFoundError."""
        if self.local:
            path = Path(self._at(key))
            if not path.is_file():
                raise FileNotFoundError(key)
            return path
        path = folder / key.replace("/", "-")
        if not path.exists():
            self.fs.get_file(self._at(key), str(path))
        return path

    def load(self, key: str) -> bytes:
        """All bytes of a small file. Raises FileNotFoundError."""
        return bytes(self.fs.cat_file(self._at(key)))

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes start..stop of a file, in blocks. Raises FileNotFoundError before the first."""
        with self.fs.open(self._at(key), "rb") as file:
            file.seek(start)
            left = stop - start
            while left > 0 and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        return bool(self.fs.exists(self._at(key)))

    def remove(self, prefix: str) -> None:
        """Removes a file or a folder, whether it is there or not."""
        if self.local:
            path = Path(self._at(prefix))
            with contextlib.suppress(FileNotFoundError):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                    with contextlib.suppress(OSError):
                        path.parent.rmdir() if path.parent != Path(self.root) else None
                else:
                    path.unlink()
            return
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm(self._at(prefix), recursive=True)

    def remove_named(self, job: str, prefix: str) -> None:
        """Removes the folders of a job whose names begin so."""
        self.fs.invalidate_cache()
        for name in self._names(job):
            if name.startswith(prefix):
                self.remove(f"{job}/{name}")

    def attempts(self) -> list[tuple[str, str]]:
        """All (job, token) that have files."""
        self.fs.invalidate_cache()
        found: list[tuple[str, str]] = []
        for job in self._names(""):
            if job.startswith("video_"):
                found += [(job, token) for token in self._names(job)] or [(job, "")]
        return found

    def _names(self, prefix: str) -> list[str]:
        try:
            listed = self.fs.ls(self._at(prefix), detail=False)
        except FileNotFoundError:
            return []
        return sorted({str(name).rstrip("/").rpartition("/")[2] for name in listed} - {""})

    def _at(self, key: str) -> str:
        assert ".." not in key.split("/"), key
        return f"{self.root}/{key}".rstrip("/")
