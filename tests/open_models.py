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


def _t5(**other: Any) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(**{"vocab_size": len(WORDS), "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1,
                                      "num_heads": 2, **other}))


def _ltx(**scheduling: Any) -> dict[str, Any]:
    from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel

    codec = AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1))
    codec.latents_mean.normal_()
    network = LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
        num_layers=2, caption_channels=16)
    return {"tokenizer": tokenizer(), "text_encoder": _t5(), "vae": codec, "transformer": network,
            "scheduler": FlowMatchEulerDiscreteScheduler(**scheduling)}


def ltx() -> Any:
    """LTX-Video from words."""
    from diffusers import LTXPipeline

    return LTXPipeline(**_ltx(use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, shift_terminal=0.1,
                              base_image_seq_len=1024, max_image_seq_len=4096))


def ltx_condition() -> Any:
    """LTX-Video 0.9.5 and later, which is loaded by another pipeline."""
    from diffusers import LTXConditionPipeline

    return LTXConditionPipeline(**_ltx())


def ltx2() -> Any:
    """LTX-2, which dreams sound beside the picture."""
    from diffusers import (
        AutoencoderKLLTX2Audio,
        AutoencoderKLLTX2Video,
        FlowMatchEulerDiscreteScheduler,
        LTX2Pipeline,
        LTX2VideoTransformer3DModel,
    )
    from diffusers.pipelines.ltx2 import LTX2TextConnectors
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    codec = AutoencoderKLLTX2Video(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1), spatial_compression_ratio=32,
        temporal_compression_ratio=8, decoder_spatial_padding_mode="zeros",
        upsample_factor=(1, 1, 1), upsample_residual=(False, False, False))
    codec.latents_mean.normal_()
    sound = AutoencoderKLLTX2Audio(
        base_channels=8, output_channels=2, ch_mult=(1,), num_res_blocks=1, attn_resolutions=None, in_channels=2,
        resolution=32, latent_channels=4, norm_type="pixel", causality_axis="height", mid_block_add_attention=False,
        mel_bins=8)
    network = LTX2VideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
        audio_in_channels=8, audio_out_channels=8, audio_num_attention_heads=2, audio_attention_head_dim=4,
        audio_cross_attention_dim=8, num_layers=2, caption_channels=16, rope_double_precision=False, rope_type="split")
    connectors = LTX2TextConnectors(
        caption_channels=16, text_proj_in_factor=2, video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=8, video_connector_num_layers=1,
        video_connector_num_learnable_registers=None, audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=8, audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None, connector_rope_base_seq_len=32, rope_theta=10000.0,
        rope_double_precision=False, causal_temporal_positioning=False, rope_type="split")
    words = Gemma3Config(
        text_config={"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                     "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8},
        vision_config={"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
                       "image_size": 16, "patch_size": 8})
    voice = LTX2Vocoder(
        in_channels=16, hidden_channels=8, out_channels=2, upsample_kernel_sizes=[4], upsample_factors=[2],
        resnet_kernel_sizes=[3], resnet_dilations=[[1, 3, 5]], output_sampling_rate=16000)
    return LTX2Pipeline(
        tokenizer=tokenizer(), text_encoder=Gemma3ForConditionalGeneration(words), vae=codec, audio_vae=sound,
        transformer=network, connectors=connectors, vocoder=voice,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1))


def _cogvideox(invert: bool = False, **network: Any) -> dict[str, Any]:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel

    codec = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2,
        temporal_compression_ratio=4, sample_height=32, sample_width=64, scaling_factor=0.7,
        invert_scale_latents=invert)
    settings = {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4,
                "time_embed_dim": 8, "text_embed_dim": 16, "num_layers": 2, "sample_width": 8, "sample_height": 4,
                "sample_frames": 9, "max_text_seq_length": 12}
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=3.0, timestep_spacing="trailing",
        clip_sample=False)
    return {"tokenizer": tokenizer(), "text_encoder": _t5(), "vae": codec, "scheduler": scheduler,
            "transformer": CogVideoXTransformer3DModel(**{**settings, **network})}


def cogvideox_2b() -> Any:
    """CogVideoX from words, with sines for positions."""
    from diffusers import CogVideoXPipeline

    return CogVideoXPipeline(**_cogvideox())


def cogvideox_i2v() -> Any:
    """CogVideoX that animates a picture, with positions that turn."""
    from diffusers import CogVideoXImageToVideoPipeline

    return CogVideoXImageToVideoPipeline(
        **_cogvideox(in_channels=8, use_rotary_positional_embeddings=True, invert=True))


def cogvideox15() -> Any:
    """CogVideoX 1.5 from words: two latent steps to a token."""
    from diffusers import CogVideoXPipeline

    return CogVideoXPipeline(**_cogvideox(patch_size_t=2, patch_bias=False, use_rotary_positional_embeddings=True))


CHAT = "{% for m in messages %}{{ m.content }} {% endfor %}"


def _hunyuan(**network: Any) -> dict[str, Any]:
    from diffusers import (
        AutoencoderKLHunyuanVideo15,
        ClassifierFreeGuidance,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideo15Transformer3DModel,
    )
    from transformers import ByT5Tokenizer, Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

    codec = AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1)
    settings = {"in_channels": 9, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1,
                "num_refiner_layers": 1, "mlp_ratio": 1.0, "text_embed_dim": 16, "text_embed_2_dim": 16,
                "image_embed_dim": 8, "rope_axes_dim": (2, 2, 4), "target_size": 48}
    words = Qwen2_5_VLTextConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=2, rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4})
    reader = tokenizer()
    reader.chat_template = CHAT
    return {"tokenizer": reader, "text_encoder": Qwen2_5_VLTextModel(words), "tokenizer_2": ByT5Tokenizer(),
            "text_encoder_2": _t5(vocab_size=384), "vae": codec, "guider": ClassifierFreeGuidance(guidance_scale=3.0),
            "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
            "transformer": HunyuanVideo15Transformer3DModel(**{**settings, **network})}


def hunyuan15() -> Any:
    """HunyuanVideo 1.5 from words."""
    from diffusers import HunyuanVideo15Pipeline

    return HunyuanVideo15Pipeline(**_hunyuan(task_type="t2v"))


def hunyuan15_i2v() -> Any:
    """HunyuanVideo 1.5 that animates a picture."""
    from diffusers import HunyuanVideo15ImageToVideoPipeline
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    eye = SiglipVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                             image_size=16, patch_size=8)
    return HunyuanVideo15ImageToVideoPipeline(
        **_hunyuan(task_type="i2v"), image_encoder=SiglipVisionModel(eye),
        feature_extractor=SiglipImageProcessor(size={"height": 16, "width": 16}))


MODELS: dict[str, Callable[[], Any]] = {made.__name__: made for made in (
    wan21, wan21_i2v, wan22, wan22_i2v, wan22_5b, ltx, ltx_condition, ltx2, cogvideox_2b,
    cogvideox_i2v, cogvideox15, hunyuan15, hunyuan15_i2v,
)}


def write(name: str, folder: Path) -> Path:
    """A folder with that model, the same whenever it is written."""
    with torch.random.fork_rng():
        torch.manual_seed(sum(name.encode()))
        pipe = MODELS[name]()
    pipe.save_pretrained(folder)
    return folder
