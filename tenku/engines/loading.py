"""From what a request calls a model to the engine that it is: the one place that chooses."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tenku.catalogue import INDEX, LISTED, Listed, kind_of
from tenku.engines import bundled
from tenku.engines.adapters import adapted
from tenku.engines.cogvideox import CogVideoX
from tenku.engines.hunyuan import HunyuanVideo15
from tenku.engines.ltx import LTX, LTX2, LTXCondition
from tenku.engines.open import About, OpenEngine
from tenku.engines.settings import Settings
from tenku.engines.wan import Wan
from tenku.errors import UserError
from tenku.inputs import Lora
from tenku.model.checkpoint import sha256
from tenku.model.precision import fastest
from tenku.sampling.modes import located

# class that a folder's model_index.json names -> who runs it
FAMILIES: dict[str, type[OpenEngine]] = {
    "WanPipeline": Wan, "WanImageToVideoPipeline": Wan,
    "LTXPipeline": LTX, "LTXImageToVideoPipeline": LTX, "LTXConditionPipeline": LTXCondition,
    "LTX2Pipeline": LTX2, "LTX2ImageToVideoPipeline": LTX2,
    "CogVideoXPipeline": CogVideoX, "CogVideoXImageToVideoPipeline": CogVideoX,
    "HunyuanVideo15Pipeline": HunyuanVideo15, "HunyuanVideo15ImageToVideoPipeline": HunyuanVideo15,
}
# What of a repository is fetched: the parts of a pipeline, in its folders, and what says whose they are.
WANTED = ["*/*.safetensors", "*/*.json", "*/*.txt", "*/*.model", "*/*.jinja", INDEX, "README.md", "LICENSE*"]
WHOLE = ".whole"  # lies in a snapshot's folder when all of it has come


def load(model: str, loras: Sequence[Lora] = ()) -> bundled.Engine | OpenEngine:
    """The bundled model of that name, a listed one, or what a folder holds: ours, or what `save_pretrained` wrote.

    loras: what it learnt afterwards. The last one loaded is kept. Raises UserError if there is none, or none of a kind
    that is known, or where an adapter is not the model's.
    """
    return _load(model, tuple(loras))


def fresh(model: str, loras: Sequence[Lora] = ()) -> bundled.Engine | OpenEngine:
    """The same for whoever changes its weights: nobody else gets it, and all of them are float32 where they can be."""
    _load.cache_clear()  # two of them may be more than there is memory for
    return _made(model, tuple(loras))


@lru_cache(maxsize=1)
def _load(model: str, loras: tuple[Lora, ...]) -> bundled.Engine | OpenEngine:
    engine = _made(model, loras)
    if isinstance(engine, bundled.Engine) and engine.field is not None:
        engine.field.to(fastest())  # 55 to 65 dB from float32, and a quarter faster (dev/LOG.md)
    return engine


def _made(model: str, loras: tuple[Lora, ...]) -> bundled.Engine | OpenEngine:
    if model in LISTED and not Path(model).is_dir():
        known = LISTED[model]
        return adapted(opened(fetched(model, known), model, known.licence[0]), loras)
    folder = Path(model)
    if (folder / INDEX).is_file():
        return adapted(opened(folder, folder.resolve().name, licence_of(folder)), loras)
    return bundled.load(model, adapters=tuple((located(one.source), one.strength) for one in loras))


def folder_of(model: str) -> Path | None:
    """The folder of a model of ours, by name or as a folder; None for an open one. Raises UserError for neither."""
    if model in LISTED or (Path(model) / INDEX).is_file():
        return None
    return bundled.folder_of(model)


def opened(folder: Path, name: str, licence: str) -> OpenEngine:
    """The engine of a pipeline's folder. Raises UserError for one that cannot be read, or is of no known kind."""
    kind = kind_of(folder)
    if kind is None:
        raise UserError(f"{folder / INDEX} cannot be read", "give a folder that save_pretrained wrote")
    if kind not in FAMILIES:
        raise UserError(f"{folder.name} is a {kind[:60]}, which is not known", f"one of {', '.join(FAMILIES)}")
    settings = Settings.find()
    about = About(name, weights(folder), licence, settings.told())
    return FAMILIES[kind](_pipeline(folder, kind, settings), about)


def _pipeline(folder: Path, kind: str, settings: Settings) -> Any:
    try:
        import diffusers
        from transformers.utils.logging import disable_progress_bar
    except ImportError:
        raise UserError("open models need diffusers", "pip install -c constraints.txt '.[models]'") from None
    disable_progress_bar()  # ours shows how far the clip is
    diffusers.utils.logging.disable_progress_bar()
    dtype = {"default": settings.precision()}
    if FAMILIES[kind].precise:
        dtype["vae"] = torch.float32
    try:
        pipe = getattr(diffusers, kind).from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=dtype, **settings.loading())
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder.name} cannot be loaded", str(error).strip().partition("\n")[0][:200]) from None
    pipe.set_progress_bar_config(disable=True)
    settings.place(pipe)
    return pipe


def fetched(name: str, known: Listed) -> Path:
    """The folder of a listed model. Before it is fetched for the first time, its licence is shown.

    Raises UserError where it cannot be fetched.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError:
        raise UserError("open models need diffusers", "pip install -c constraints.txt '.[models]'") from None
    try:
        there = Path(snapshot_download(known.repository, allow_patterns=WANTED, local_files_only=True))
        if (there / WHOLE).exists():
            return there
    except LocalEntryNotFoundError:
        pass
    licence, url, says = known.licence
    print(f"{name} is not Tenku's: its weights come from {known.repository}, under the {licence}\n"
          f"({says}; {url}). To use it is to accept that.", file=sys.stderr)
    try:
        there = Path(snapshot_download(known.repository, allow_patterns=WANTED))
    except Exception as error:  # the hub's errors, its client's and the system's are of many kinds
        raise UserError(f"{known.repository} cannot be fetched: {type(error).__name__}",
                        "see whether the hub answers, or give a folder that holds the model") from error
    (there / WHOLE).touch()
    return there


def weights(folder: Path) -> str:
    """64 hex digits of all weight files and configurations of a pipeline.

    The hub's cache names large files by their hash, and is believed.
    """
    files = sorted(path for path in folder.glob("*/*") if path.suffix in (".safetensors", ".json"))
    said = ""
    for path in (folder / INDEX, *files):
        named = path.resolve().name
        digest = named if re.fullmatch(r"[0-9a-f]{64}", named) else sha256(path)
        said += f"{path.relative_to(folder).as_posix()} {digest}\n"
    return hashlib.sha256(said.encode()).hexdigest()


def licence_of(folder: Path) -> str:
    """The licence that a folder's model card names in its head, or "not stated"."""
    try:
        head = (folder / "README.md").read_text(encoding="utf-8").split("---")[1]
    except (OSError, ValueError, IndexError):
        return "not stated"
    said = dict(re.findall(r"^(license|license_name): *[\"']?([\w .-]+)", head, re.MULTILINE))
    return str(said.get("license_name") or said.get("license") or "not stated").strip()[:100]
