"""From what a request calls a model to the engine that it is: the one place that chooses."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from tenku.engines import bundled
from tenku.engines.cogvideox import CogVideoX
from tenku.engines.hunyuan import HunyuanVideo15
from tenku.engines.ltx import LTX, LTX2, LTXCondition
from tenku.engines.open import About, OpenEngine
from tenku.engines.wan import Wan
from tenku.errors import UserError
from tenku.model.checkpoint import sha256

# class that a folder's model_index.json names -> who runs it
FAMILIES: dict[str, type[OpenEngine]] = {
    "WanPipeline": Wan, "WanImageToVideoPipeline": Wan,
    "LTXPipeline": LTX, "LTXImageToVideoPipeline": LTX, "LTXConditionPipeline": LTXCondition,
    "LTX2Pipeline": LTX2, "LTX2ImageToVideoPipeline": LTX2,
    "CogVideoXPipeline": CogVideoX, "CogVideoXImageToVideoPipeline": CogVideoX,
    "HunyuanVideo15Pipeline": HunyuanVideo15, "HunyuanVideo15ImageToVideoPipeline": HunyuanVideo15,
}
INDEX = "model_index.json"


@lru_cache(maxsize=1)
def load(model: str) -> bundled.Engine | OpenEngine:
    """The bundled model of that name, or what a folder holds: one of ours, or a pipeline that `save_pretrained` wrote.

    Raises UserError if there is none, or none of a kind that is known.
    """
    folder = Path(model)
    if (folder / INDEX).is_file():
        return opened(folder, folder.resolve().name)
    return bundled.load(model)


def opened(folder: Path, name: str) -> OpenEngine:
    """The engine of a pipeline's folder. Raises UserError for one that cannot be read, or is of no known kind."""
    try:
        kind = json.loads((folder / INDEX).read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder / INDEX} cannot be read", "give a folder that save_pretrained wrote") from None
    if kind not in FAMILIES:
        raise UserError(f"{folder.name} is a {str(kind)[:60]}, which is not known", f"one of {', '.join(FAMILIES)}")
    about = About(name, weights(folder), licence(folder))
    return FAMILIES[kind](_pipeline(folder, kind), about)


def _pipeline(folder: Path, kind: str) -> Any:
    try:
        import diffusers
    except ImportError:
        raise UserError("open models need diffusers", "pip install -c constraints.txt '.[models]'") from None
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # ours shows how far the clip is
    diffusers.utils.logging.disable_progress_bar()
    pipe = getattr(diffusers, kind).from_pretrained(folder, use_safetensors=True, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def weights(folder: Path) -> str:
    """64 hex digits of all weight files and configurations of a pipeline."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json"))
    said = "".join(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n" for path in files)
    return hashlib.sha256(said.encode()).hexdigest()


def licence(folder: Path) -> str:
    """The licence that a folder's model card states, or "not stated"."""
    return "not stated"
