"""Tiny open models of the real classes, with random weights, written by `save_pretrained` as the real ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WORDS = ("<pad>", "</s>", "<unk>", "a", "red", "blue", "ball", "cube", "on", "the", "beach", "night")


def tokenizer() -> Any:
    """A tokenizer of a dozen words, made on the spot."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def _wan_codec(**other: Any) -> Any:
    from diffusers import AutoencoderKLWan

    settings = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1,
                "temperal_downsample": [False, True, True], "latents_mean": [0.1, -0.2, 0.3, 0.4],
                "latents_std": [1.0, 2.0, 0.5, 1.5]}
    return AutoencoderKLWan(**{**settings, **other})


def _wan_network(**other: Any) -> Any:
    from diffusers import WanTransformer3DModel

    settings = {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "text_dim": 16,
                "freq_dim": 16, "ffn_dim": 32, "num_layers": 2, "rope_max_seq_len": 64}
    return WanTransformer3DModel(**{**settings, **other})


def _wan(**parts: Any) -> dict[str, Any]:
    from diffusers import UniPCMultistepScheduler
    from transformers import UMT5Config, UMT5EncoderModel

    text = UMT5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return {"tokenizer": tokenizer(), "text_encoder": UMT5EncoderModel(text), "vae": _wan_codec(),
            "scheduler": scheduler, "transformer": _wan_network(), **parts}


def wan21() -> Any:
    """Wan 2.1 from words."""
    from diffusers import WanPipeline

    return WanPipeline(**_wan())


def wan21_i2v() -> Any:
    """Wan 2.1 that animates a picture, which it sees beside the latents and through CLIP."""
    from diffusers import WanImageToVideoPipeline
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    eye = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
                           image_size=16, patch_size=8)
    size = {"height": 16, "width": 16}
    return WanImageToVideoPipeline(**_wan(
        transformer=_wan_network(in_channels=12, image_dim=8, added_kv_proj_dim=24),
        image_encoder=CLIPVisionModel(eye), image_processor=CLIPImageProcessor(size=size, crop_size=size)))


def wan22() -> Any:
    """Wan 2.2 from words: two experts."""
    from diffusers import WanPipeline

    return WanPipeline(**_wan(transformer_2=_wan_network()), boundary_ratio=0.875)


def wan22_i2v() -> Any:
    """Wan 2.2 that animates a picture: two experts, which see it beside the latents alone."""
    from diffusers import WanImageToVideoPipeline

    experts = {"transformer": _wan_network(in_channels=12), "transformer_2": _wan_network(in_channels=12)}
    return WanImageToVideoPipeline(**_wan(**experts), boundary_ratio=0.9)


def wan22_5b() -> Any:
    """Wan 2.2 TI2V: a noise level for each token, and a codec of 16 x 16 pixels."""
    from diffusers import WanPipeline

    codec = _wan_codec(is_residual=True, patch_size=2, in_channels=12, out_channels=12, scale_factor_spatial=16,
                       decoder_base_dim=4)
    return WanPipeline(**_wan(vae=codec), expand_timesteps=True)


MODELS: dict[str, Callable[[], Any]] = {
    made.__name__: made for made in (wan21, wan21_i2v, wan22, wan22_i2v, wan22_5b)
}


def write(name: str, folder: Path) -> Path:
    """A folder with that model, the same whenever it is written."""
    with torch.random.fork_rng():
        torch.manual_seed(sum(name.encode()))
        pipe = MODELS[name]()
    pipe.save_pretrained(folder)
    return folder
