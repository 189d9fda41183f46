"""Adapters and weights become weights: a folder that `--model` takes and that needs no adapter any more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tenku.engines import adapters
from tenku.engines.loading import fresh
from tenku.engines.open import OpenEngine
from tenku.errors import UserError
from tenku.inputs import Lora


def merge(model: str, loras: Sequence[Lora], out: Path) -> Path:
    """Writes a model with adapters, each with its strength, into a new folder, and returns that.

    Raises UserError where the folder is not empty, or an adapter is not the model's.
    """
    if not loras:
        raise UserError("there is nothing to merge", "give at least one adapter")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already", "give a new folder")
    engine = fresh(model, loras)
    return adapters.merged(engine, out) if isinstance(engine, OpenEngine) else engine.save(out)
