"""HunyuanVideo 1.5 (arXiv:2511.18870), from words and from a picture: one network, told by a mask which."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from tenku.engines.open import About, At, OpenEngine, Seen
from tenku.engines.schedules import Schedule, flow_schedule
from tenku.model.patches import Grid
from tenku.sampling.canvas import FIRM, Canvas


class HunyuanVideo15(OpenEngine):
    """Pipelines of the classes HunyuanVideo15Pipeline and HunyuanVideo15ImageToVideoPipeline."""

    longest = 31  # 121 frames

    def __init__(self, pipe: Any, about: About) -> None:
        super().__init__(pipe, about)
        side = pipe.vae_scale_factor_spatial
        self.spans = (pipe.vae_scale_factor_temporal, side, side)
        self.multiple = side * pipe.transformer.config.patch_size
        self.channels = pipe.vae.config.latent_channels
        self.takes_frames = "image_encoder" in pipe.components

    @override
    def normalised(self, coded: Tensor) -> Tensor:
        return coded * self.pipe.vae.config.scaling_factor

    @override
    def coded(self, latents: Tensor) -> Tensor:
        return latents / self.pipe.vae.config.scaling_factor

    @override
    def schedule(self, steps: int, grid: Grid) -> Schedule:
        return flow_schedule(self.pipe.scheduler, steps, sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])

    @override
    def read(self, prompt: str) -> dict[str, Any]:
        words, mask, glyphs, glyph_mask = self.pipe.encode_prompt(
            prompt, device=self.device, dtype=self.pipe.transformer.dtype)
        return {"encoder_hidden_states": words, "encoder_attention_mask": mask,
                "encoder_hidden_states_2": glyphs, "encoder_attention_mask_2": glyph_mask}

    @override
    def condition(self, canvas: Canvas | None, grid: Grid) -> tuple[dict[str, Any], Tensor | None]:
        """The first frame's latents and a mask beside the latents, and the frame as the image encoder sees it."""
        beside = torch.zeros(1, self.channels + 1, grid.steps, grid.rows, grid.columns)
        tokens, width = self.pipe.vision_num_semantic_tokens, self.pipe.transformer.config.image_embed_dim
        native = {"image_embeds": torch.zeros(1, tokens, width).to(self.device, self.pipe.transformer.dtype)}
        taken = torch.zeros(grid.steps, dtype=torch.bool)
        if self.takes_frames and canvas is not None and (canvas.weight[0] == FIRM).all():
            from PIL import Image

            taken[0] = True
            first = torch.from_numpy(canvas.frames[:1]).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
            beside[:, :-1, :1], beside[:, -1, 0] = self._latents(first), 1.0
            native["image_embeds"] = self.pipe.encode_image(
                Image.fromarray(canvas.frames[0]), 1, self.device, self.pipe.transformer.dtype)
        return {**native, "beside": beside}, taken

    @override
    def predict(self, x: Tensor, at: At, said: dict[str, Any], seen: Seen) -> Tensor:
        network, native = self.pipe.transformer, dict(seen.native)
        shown = torch.cat([x, native.pop("beside").to(x)], 1).to(network.dtype)
        if network.config.use_meanflow:
            native["timestep_r"] = torch.full((1,), at.after).to(shown)
        v: Tensor = network(
            hidden_states=shown, timestep=at.time.to(shown.dtype), return_dict=False, **said, **native)[0]
        return v
