"""The ledger of a folder of shards: who made them, from what, under which licence."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tenku.errors import UserError

NAME = "ledger.json"


@dataclass(frozen=True)
class Ledger:
    """What is in the folder. `recipe` holds all that is needed to make it again."""

    license: str  # SPDX identifier
    producer: str
    version: str
    command: str
    recipe: dict[str, Any]
    clips: int  # in complete shards when the ledger was written
    planned: int  # clips when finished
    complete: bool


def write(folder: Path, ledger: Ledger) -> None:
    """Writes `ledger.json`, whole or not at all."""
    temporary = folder / f"{NAME}.{os.getpid()}.tmp"
    with temporary.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as a shard's: a killed run's is swept away (data/shards.py)
        file.write(json.dumps(asdict(ledger), indent=2) + "\n")
        file.flush()
        os.replace(temporary, folder / NAME)


def read(folder: Path) -> Ledger:
    """Reads it back. Raises UserError when it is missing or not a ledger."""
    path = folder / NAME
    try:
        return Ledger(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"no {NAME} in {folder}", "tenku world make --out FOLDER writes one") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is not a ledger: {error}") from None
