"""Adapters of open models: LoRA files as `diffusers` writes them, read, written and merged by its own means.

A file holds the matrices of one network, under names that begin with "transformer.", and in its header what peft must
know of them ("lora_adapter_metadata"). Of a model with two networks (Wan 2.2) the second one's lie beside it, in
"<name>.second.safetensors", as they are published, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tenku.engines.open import OpenEngine
from tenku.errors import UserError
from tenku.inputs import Lora
from tenku.model.checkpoint import read_header, read_tensors, sha256, write_tensors
from tenku.sampling.modes import located

PREFIX = "transformer."
ABOUT = "lora_adapter_metadata"  # where diffusers keeps the settings of peft


def second(path: Path) -> Path:
    """Where the matrices of a second network lie."""
    return path.with_name(f"{path.stem}.second.safetensors")


def write(path: Path, facts: Mapping[str, str], tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Writes one network's matrices, named as peft names them, as `load_lora_weights` of diffusers reads them."""
    about = {f"{PREFIX}{name}": sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    header = {"format": "pt", ABOUT: json.dumps(about, indent=2, sort_keys=True), **facts}
    write_tensors(path, {f"{PREFIX}{name}": value for name, value in tensors.items()}, header)


def adapted(engine: OpenEngine, loras: Sequence[Lora]) -> OpenEngine:
    """The engine with adapters, each with its strength, and a hash that says so. Raises UserError for what is none."""
    if not loras:
        return engine
    strengths = {f"lora{i}": one.strength for i, one in enumerate(loras)}
    ledgers: list[str] = []
    said = engine.weights_sha256
    for name, one in zip(strengths, loras, strict=True):
        path = located(one.source)
        for number, (network, file) in enumerate(zip(engine.networks, (path, second(path)), strict=False)):
            if number and not file.exists():
                continue
            _lay(engine.pipe, network, file, name, number > 0)
            said += f" {sha256(file)} {one.strength!r}"
            ledgers += json.loads(read_header(file).get("ledgers", "[]"))
    for network in engine.networks:
        there = [name for name in strengths if name in getattr(network, "peft_config", {})]
        if there:
            network.set_adapters(there, [strengths[name] for name in there])
    engine.weights_sha256 = hashlib.sha256(said.encode()).hexdigest()
    engine.about = replace(engine.about, weights_sha256=engine.weights_sha256)
    engine.ledgers = tuple(dict.fromkeys((*engine.ledgers, *ledgers)))
    return engine


def _lay(pipe: Any, network: Any, path: Path, name: str, other: bool) -> None:
    """Puts one file's matrices beside a network's weights. Pipelines also read what others than diffusers wrote."""
    tensors, header = read_tensors(path)
    try:
        if hasattr(pipe, "load_lora_weights"):
            more = {"load_into_transformer_2": True} if other else {}
            pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name, **more)
        else:
            about = json.loads(header[ABOUT]) if ABOUT in header else None
            network.load_lora_adapter(tensors, prefix=PREFIX.rstrip("."), adapter_name=name, metadata=about)
    except ImportError:
        raise UserError("adapters need peft", "pip install -c constraints.txt '.[models]'") from None
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise UserError(f"{path.name} is no adapter of this model",
                        str(error).strip().partition("\n")[0][:200]) from None
    if name not in getattr(network, "peft_config", {}):
        raise UserError(f"{path.name} is no adapter of this model", f"its names do not begin with {PREFIX}")


def merged(engine: OpenEngine, out: Path) -> Path:
    """Adds an engine's adapters to its weights for good, and writes the whole pipeline as a folder for --model."""
    for network in engine.networks:
        if getattr(network, "peft_config", None):
            network.fuse_lora()
            network.unload_lora()
    engine.pipe.save_pretrained(out)
    return out
