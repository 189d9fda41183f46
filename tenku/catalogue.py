"""The open models that Tenku knows by name: where their weights lie, under which licence, and how they are meant to be
asked. Plain data; nothing is loaded or fetched here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX = "model_index.json"  # what marks a folder that `save_pretrained` of diffusers wrote


@dataclass(frozen=True)
class Listed:
    """One of them. What a request leaves open is as here."""

    repository: str  # on the Hugging Face hub
    licence: tuple[str, str, str]  # its name, where it is to be read, and what of it to know before
    size: str = "832x480"  # pixels, width x height
    seconds: float = 5.0
    fps: float = 16.0  # frames a second that it was trained for
    steps: int = 50  # denoising steps
    guidance: float = 5.0


_APACHE = ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "any use")
_LTX = ("LTX-Video Open Weights License", "https://huggingface.co/Lightricks/LTX-Video",
        "commercial use within limits; some uses are forbidden; a licence file of its own for each version")
_LTX2 = ("LTX-2 Community License Agreement", "https://github.com/Lightricks/LTX-2/blob/main/LICENSE",
         "commercial use for some only; some uses are forbidden; not to train rivals on what it makes")
_COGVIDEOX = ("CogVideoX License", "https://huggingface.co/THUDM/CogVideoX-5b/blob/main/LICENSE",
              "free for research; commercial use needs registration")
_HUNYUAN = ("Tencent Hunyuan Community License Agreement",
            "https://github.com/Tencent-Hunyuan/HunyuanVideo-1.5/blob/main/LICENSE",
            "not licensed in the European Union, the United Kingdom and South Korea; not to train other models")

LISTED: dict[str, Listed] = {
    "wan2.1-1.3b": Listed("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", _APACHE),
    "wan2.1-14b": Listed("Wan-AI/Wan2.1-T2V-14B-Diffusers", _APACHE),
    "wan2.1-i2v-14b": Listed("Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", _APACHE),
    "wan2.2-a14b": Listed("Wan-AI/Wan2.2-T2V-A14B-Diffusers", _APACHE, steps=40, guidance=4.0),
    "wan2.2-i2v-a14b": Listed("Wan-AI/Wan2.2-I2V-A14B-Diffusers", _APACHE, steps=40, guidance=3.5),
    "wan2.2-5b": Listed("Wan-AI/Wan2.2-TI2V-5B-Diffusers", _APACHE, size="1280x704", fps=24.0),
    "ltx-video": Listed("Lightricks/LTX-Video", _LTX, size="704x512", fps=25.0, guidance=3.0),
    "ltx-video-0.9.5": Listed("Lightricks/LTX-Video-0.9.5", _LTX, size="704x512", fps=25.0, guidance=3.0),
    "ltx-2": Listed("Lightricks/LTX-2", _LTX2, size="768x512", fps=24.0, steps=40, guidance=4.0),
    "cogvideox-2b": Listed("THUDM/CogVideoX-2b", _APACHE, size="720x480", seconds=6.0, fps=8.0, guidance=6.0),
    "cogvideox-5b": Listed("THUDM/CogVideoX-5b", _COGVIDEOX, size="720x480", seconds=6.0, fps=8.0, guidance=6.0),
    "cogvideox-5b-i2v": Listed("THUDM/CogVideoX-5b-I2V", _COGVIDEOX, size="720x480", seconds=6.0, fps=8.0,
                               guidance=6.0),
    "cogvideox1.5-5b": Listed("THUDM/CogVideoX1.5-5B", _COGVIDEOX, size="1360x768", guidance=6.0),
    "hunyuanvideo1.5": Listed("hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v", _HUNYUAN, fps=24.0,
                              guidance=6.0),
    "hunyuanvideo1.5-i2v": Listed("hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_i2v", _HUNYUAN, fps=24.0,
                                  guidance=6.0),
}
# class of a pipeline's folder -> whose defaults stand for it
_LIKE = {
    "WanPipeline": "wan2.1-1.3b", "WanImageToVideoPipeline": "wan2.1-i2v-14b", "LTXPipeline": "ltx-video",
    "LTXImageToVideoPipeline": "ltx-video", "LTXConditionPipeline": "ltx-video-0.9.5", "LTX2Pipeline": "ltx-2",
    "LTX2ImageToVideoPipeline": "ltx-2", "CogVideoXPipeline": "cogvideox-5b",
    "CogVideoXImageToVideoPipeline": "cogvideox-5b-i2v", "HunyuanVideo15Pipeline": "hunyuanvideo1.5",
    "HunyuanVideo15ImageToVideoPipeline": "hunyuanvideo1.5-i2v",
}


def listed(model: str) -> Listed | None:
    """What is known of a model: by its name, or of a folder by the pipeline that it holds; None for one of our own."""
    if model in LISTED:
        return LISTED[model]
    kind = kind_of(Path(model)) if len(model) < 4096 and "\0" not in model else None
    return LISTED[_LIKE[kind]] if kind in _LIKE else None


def kind_of(folder: Path) -> str | None:
    """The class of pipeline that a folder holds; None where it holds none, or nobody can tell."""
    try:
        said = json.loads((folder / INDEX).read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if isinstance(said, str) else None


def defaults(model: Any) -> dict[str, Any]:
    """Fields of a Request that an open model has its own values for."""
    known = listed(str(model)) if isinstance(model, str | Path) else None
    if known is None:
        return {}
    return {name: getattr(known, name) for name in ("size", "seconds", "fps", "steps", "guidance")}
