"""Presets: what the table's dial gives."""

from __future__ import annotations

import json

import pytest
import torch

from tenku.config import CODEC_PRESETS, MOTION_PRESETS, TRANSFORMER_PRESETS, CodecConfig, TransformerConfig
from tenku.model.transformer import Transformer


@pytest.mark.parametrize("config", [*CODEC_PRESETS.values(), *TRANSFORMER_PRESETS.values(),
                                    *MOTION_PRESETS.values()])
def test_configs_survive_json(config: CodecConfig | TransformerConfig) -> None:
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_other_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="surprise"):
        TransformerConfig.from_dict({**TransformerConfig().to_dict(), "surprise": 1})


@pytest.mark.parametrize(("name", "millions", "mflops"), [
    ("nano", 7.89, 16.0), ("small", 42.9, 85.8), ("base", 318, 638), ("large", 1278, 2547),
])
def test_presets_measure_what_their_comments_say(name: str, millions: float, mflops: float) -> None:
    config = TRANSFORMER_PRESETS[name]
    with torch.device("meta"):
        model = Transformer(config)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)
    assert config.flops_per_token(200, 32) / 1e6 == pytest.approx(mflops, rel=0.02)
