"""How open models are run on this machine: TENKU_ENGINE, such as "device=cuda offload=model attention=flash".

A request does not say it, for it is of the machine and not of the clip. What changes the pictures is in the record.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from tenku.errors import UserError

VARIABLE = "TENKU_ENGINE"
CHOICES: dict[str, tuple[str, ...]] = {  # empty: anything that the library knows
    "device": (),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "offload": ("none", "model", "sequential"),
    "quantise": ("none", "int8", "nf4"),
    "cache": ("none", "first_block", "taylor"),
    "attention": (),
    "tiling": ("off", "on"),
}


@dataclass(frozen=True)
class Settings:
    """As the variable says, or as is meant where it says nothing."""

    device: str = "auto"  # cuda, cuda:1, mps, cpu; auto: the best that is there
    dtype: str = "auto"  # of the networks; auto: bfloat16 on an accelerator, float32 without
    offload: str = "none"  # model: what is not at work waits in main memory; sequential: layer by layer, slowly
    quantise: str = "none"  # of transformer and text encoder; int8: torchao, nf4: bitsandbytes
    cache: str = "none"  # first_block, taylor: steps that would say what the one before said are skipped or foreseen
    attention: str = "native"  # a backend of diffusers; native: PyTorch's own (SDPA)
    tiling: str = "off"  # on: the codec works on parts of a picture; less memory, seams are blended

    @classmethod
    def find(cls) -> Settings:
        """What the environment says. Raises UserError for what cannot be."""
        said: dict[str, str] = {}
        for part in os.environ.get(VARIABLE, "").replace(",", " ").split():
            name, _, value = part.partition("=")
            if name not in CHOICES or not value:
                raise UserError(f"{VARIABLE} cannot hold {part[:60]!r}", f"NAME=VALUE, of {', '.join(CHOICES)}")
            if CHOICES[name] and value not in CHOICES[name]:
                raise UserError(f"{name} cannot be {value[:60]!r}", f"one of {', '.join(CHOICES[name])}")
            said[name] = value
        return cls(**said)

    def where(self) -> torch.device:
        """The device. Raises UserError for one that is not there."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else
                                "mps" if torch.backends.mps.is_available() else "cpu")
        try:
            return torch.empty(0, device=self.device).device
        except (RuntimeError, AssertionError):
            raise UserError(f"device cannot be {self.device[:60]!r}", "auto, cpu, cuda, cuda:1, mps") from None

    def precision(self) -> torch.dtype:
        """Of the networks."""
        if self.dtype == "auto":
            return torch.float32 if self.where().type == "cpu" else torch.bfloat16
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    def told(self) -> dict[str, str]:
        """What of this changes the pictures, for the manifest."""
        said = asdict(self) | {"dtype": str(self.precision()).removeprefix("torch.")}
        meant = {field.name: field.default for field in fields(self)}
        return {name: said[name] for name in ("dtype", "quantise", "cache", "attention", "tiling")
                if name == "dtype" or said[name] != meant[name]}

    def loading(self) -> dict[str, Any]:
        """What `from_pretrained` is told. Raises UserError where the library for it is not there."""
        if self.quantise == "none":
            return {}
        from diffusers import PipelineQuantizationConfig

        parts = ["transformer", "transformer_2", "text_encoder"]
        if self.quantise == "nf4":
            _need("bitsandbytes", "quantise=nf4")
            how = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": self.precision()}
            return {"quantization_config": PipelineQuantizationConfig(
                quant_backend="bitsandbytes_4bit", quant_kwargs=how, components_to_quantize=parts)}
        _need("torchao", "quantise=int8")
        from diffusers import TorchAoConfig
        from torchao.quantization import Int8WeightOnlyConfig
        from transformers import TorchAoConfig as OfText

        mapping = {part: (OfText if part == "text_encoder" else TorchAoConfig)(Int8WeightOnlyConfig())
                   for part in parts}
        return {"quantization_config": PipelineQuantizationConfig(quant_mapping=mapping)}

    def place(self, pipe: Any) -> None:
        """Puts a loaded pipeline where it works, and switches on what was asked for."""
        networks = [network for name in ("transformer", "transformer_2")
                    if (network := getattr(pipe, name, None)) is not None]
        device = self.where()
        if self.offload != "none" and device.type == "cpu":
            raise UserError(f"offload cannot be {self.offload} without an accelerator", "offload=none")
        if self.offload == "model":
            pipe.enable_model_cpu_offload(device=device)
        elif self.offload == "sequential":
            pipe.enable_sequential_cpu_offload(device=device)
        else:
            pipe.to(device)
        for network in networks:
            if self.attention != "native":
                try:
                    network.set_attention_backend(self.attention)
                except (ValueError, RuntimeError, ImportError) as error:
                    raise UserError(f"attention cannot be {self.attention[:60]!r}", str(error)[:200]) from None
            if self.cache != "none":
                network.enable_cache(CACHES[self.cache]())
        if self.tiling == "on":
            pipe.vae.enable_tiling()


def _first_block() -> Any:
    from diffusers import FirstBlockCacheConfig

    return FirstBlockCacheConfig()


def _taylor() -> Any:
    from diffusers import TaylorSeerCacheConfig

    return TaylorSeerCacheConfig()


CACHES: dict[str, Callable[[], Any]] = {"first_block": _first_block, "taylor": _taylor}


def _need(package: str, what: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise UserError(f"{what} needs {package}", f"pip install {package}")
