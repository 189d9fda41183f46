"""Clips in tar shards that can be read while they grow.

A shard holds, for each clip, `<key>.json` (facts and captions), `<key>.mp4` (the frames, without loss) and where
asked for `<key>.npz` (depth, mask, flow); or facts alone, of which only the network of motion can learn. It is written
under a temporary name and renamed when complete, so what is called `*.tar` is always whole; tar headers carry no time
and no user, so the same clips are the same bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tenku.errors import UserError
from tenku.media import decode, write_lossless
from tenku.types import Clip


@dataclass(frozen=True)
class Item:
    """One clip of a shard."""

    key: str
    clip: Clip
    facts: dict[str, Any]  # JSON; `facts["captions"]` has one text per register
    arrays: dict[str, np.ndarray]  # depth, mask, flow; empty unless stored and asked for


class ShardWriter:
    """Writes one shard; used as a context manager. An exception inside leaves no shard behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> ShardWriter:
        self._file = open(self._temporary, "wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)  # ends with the process, however it ends: see `sweep`
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)
        return self

    def add(self, key: str, clip: Clip, facts: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        """Appends a clip. `key` must be a plain file name, unique in the folder."""
        self.put(key, write_lossless(clip.frames, clip.fps), facts)
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
            self._put(f"{key}.npz", buffer.getvalue())

    def put(self, key: str, pictures: bytes | None, facts: dict[str, Any]) -> None:
        """Appends a clip whose pictures are the bytes of an mp4 already, or one without pictures."""
        self._put(f"{key}.json", json.dumps(facts, separators=(",", ":"), allow_nan=False).encode())
        if pictures is not None:
            self._put(f"{key}.mp4", pictures)

    def _put(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()
        self._file.close()
        if kind is None:
            os.replace(self._temporary, self.path)
        else:
            self._temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes the half-written files of killed runs; one that is being written now is left alone."""
    for path in folder.glob("*.tmp"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)


def shard_paths(folder: Path) -> list[Path]:
    """The complete shards of a folder in order. Raises UserError when there is no such folder."""
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}", "`tenku world make` and `tenku data ingest` make one")
    return sorted(folder.glob("*.tar"))


def iter_clips(
    folder: Path, *, arrays: bool = False, skip: Callable[[str], bool] | None = None, shards: list[Path] | None = None
) -> Iterator[Item]:
    """All clips of a folder's complete shards, in order of their keys.

    `skip(key)` true passes a clip by without decoding it; `shards` limits reading to these files.
    """
    for path in shard_paths(folder) if shards is None else shards:
        yield from (_item(key, parts, arrays) for key, parts in iter_parts(path) if not (skip and skip(key)))


def iter_facts(folder: Path, shards: list[Path] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and facts of all clips of a folder's complete shards, or of these files; no picture is decoded."""
    for path in shard_paths(folder) if shards is None else shards:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.name.endswith(".json") and (file := tar.extractfile(member)) is not None:
                    yield member.name.removesuffix(".json"), json.loads(file.read())


def keys(path: Path) -> list[str]:
    """The keys of a shard's clips, in order; nothing of them is read."""
    with tarfile.open(path, "r:") as tar:
        return [name.removesuffix(".json") for name in tar.getnames() if name.endswith(".json")]


def iter_parts(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and files of a shard's clips as they are, {"json": ..., "mp4": ...}. Raises UserError for what is no file."""
    parts: dict[str, bytes] = {}
    current = ""
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, kind = member.name.partition(".")
            if key != current:
                if parts:
                    yield current, parts
                current, parts = key, {}
            file = tar.extractfile(member)
            if file is None:
                raise UserError(f"{path} holds {member.name!r}, which is no file", "tenku world check FOLDER")
            parts[kind] = file.read()
    if parts:
        yield current, parts


def _item(key: str, parts: dict[str, bytes], arrays: bool) -> Item:
    missing = {"json", "mp4"} - set(parts)
    if missing == {"mp4"}:
        raise UserError(f"clip {key} has no pictures", "of facts alone only the network of motion can learn")
    if missing:
        raise UserError(
            f"clip {key} lacks its {' and '.join(sorted(missing))}", "the shard is damaged: delete it and make it again"
        )
    loaded: dict[str, np.ndarray] = {}
    if arrays and "npz" in parts:
        with np.load(io.BytesIO(parts["npz"]), allow_pickle=False) as stored:
            loaded = {name: stored[name] for name in stored.files}
    return Item(key, decode(io.BytesIO(parts["mp4"]), "mp4"), json.loads(parts["json"]), loaded)


def read_clip(folder: Path, key: str, *, arrays: bool = True) -> Item:
    """One clip by its key. Raises UserError when no complete shard has it."""
    for path in shard_paths(folder):
        with tarfile.open(path, "r:") as tar:
            names = set(tar.getnames())
            if f"{key}.json" not in names:
                continue
            parts = {}
            for kind in ("json", "mp4", "npz"):
                if f"{key}.{kind}" in names:
                    file = tar.extractfile(f"{key}.{kind}")
                    assert file is not None
                    parts[kind] = file.read()
            return _item(key, parts, arrays)
    raise UserError(f"no clip {key!r} in {folder}", "keys are eight digits, counted from 00000000")
