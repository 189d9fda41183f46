"""What weights learnt from: said in their header, and noted in the folders of shards that they learnt from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenku.data import ledger
from tenku.model.checkpoint import read_header, sha256


@dataclass(frozen=True)
class Origin:
    """Folders of shards, and the weights that a run starts from. Raises UserError for a folder without a ledger."""

    folders: tuple[Path, ...]
    start: Path | None = None

    def __post_init__(self) -> None:
        for folder in self.folders:
            ledger.read(folder)

    def publish(self, path: Path, save: Callable[[Path, dict[str, str]], object], facts: dict[str, str]) -> None:
        """Has `save` write weights, with the ledgers of all that they ever learnt from; notes it in the folders."""
        digests = [digest for file in (self.start, path) if file and file.exists() for digest in learnt(file)]
        digests += [ledger.keep(folder) for folder in self.folders]
        for folder in self.folders:
            digests = ledger.newest(folder, digests)
        save(path, {**facts, "ledgers": json.dumps(digests)})
        for folder in self.folders:
            ledger.note(folder, ledger.Touched(str(path.resolve()), sha256(path), tuple(digests)))


def learnt(path: Path) -> list[str]:
    """The SHA-256 of each ledger that a checkpoint says it learnt under; none of one from before there were ledgers."""
    return [str(digest) for digest in json.loads(read_header(path).get("ledgers", "[]"))]
