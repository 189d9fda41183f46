"""CogVideoX and CogVideoX 1.5 (arXiv:2408.06072), from words and from a picture.

Their samples keep their variance, and the networks predict v = sqrt(a) noise - sqrt(1 - a) data (arXiv:2202.00512);
here they are seen on the straight line, where one DDIM step is one of Euler's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from tenku.engines.open import About, At, OpenEngine, Seen
from tenku.engines.schedules import Schedule, variance_preserving_schedule
from tenku.model import flow
from tenku.model.patches import Grid
from tenku.sampling.canvas import FIRM, Canvas

MOTION = 2.0  # what CogVideoX 1.5 is told of how much a picture is to move, as its pipeline does


class CogVideoX(OpenEngine):
    """Pipelines of the classes CogVideoXPipeline and CogVideoXImageToVideoPipeline."""

    longest = 13  # 49 frames

    def __init__(self, pipe: Any, about: About) -> None:
        super().__init__(pipe, about)
        side, network = pipe.vae_scale_factor_spatial, pipe.transformer.config
        self.spans = (pipe.vae_scale_factor_temporal, side, side)
        self.multiple = side * network.patch_size
        self.channels = pipe.vae.config.latent_channels
        self.at_once = network.patch_size_t or 1
        self.takes_frames = network.in_channels > self.channels
        if self.at_once > 1:
            self.longest = 21  # 81 frames

    @override
    def normalised(self, coded: Tensor) -> Tensor:
        return coded * self.pipe.vae.config.scaling_factor

    @override
    def coded(self, latents: Tensor) -> Tensor:
        return latents / self.pipe.vae.config.scaling_factor

    @override
    def schedule(self, steps: int, grid: Grid) -> Schedule:
        return variance_preserving_schedule(self.pipe.scheduler, steps)

    @override
    def read(self, prompt: str) -> dict[str, Any]:
        words = self.pipe.transformer.config.max_text_seq_length
        found, _ = self.pipe.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=words)
        return {"encoder_hidden_states": found}

    @override
    def condition(self, canvas: Canvas | None, grid: Grid) -> tuple[dict[str, Any], Tensor | None]:
        """The first frame beside the first latents, where it is known."""
        if not self.takes_frames:
            return {}, None
        beside = torch.zeros(1, self.channels, grid.steps, grid.rows, grid.columns)
        taken = torch.zeros(grid.steps, dtype=torch.bool)
        if canvas is not None and (canvas.weight[0] == FIRM).all():
            taken[: grid.steps - self.steps(len(canvas.frames)) + 1] = True
            first = self._latents(torch.from_numpy(canvas.frames[:1]).permute(3, 0, 1, 2)[None].float() / 127.5 - 1)
            scale = self.pipe.vae.config.scaling_factor
            # the first of these models were trained on pictures divided by what they should be multiplied with
            beside[:, :, :1] = first / scale**2 if self.pipe.vae.config.invert_scale_latents else first
        return {"beside": beside}, taken

    @override
    def predict(self, x: Tensor, at: At, said: dict[str, Any], seen: Seen) -> Tensor:
        network, grid = self.pipe.transformer, seen.grid
        data, noise, scale = flow.variance_preserving(at.sigma)
        x = x * scale
        shown = torch.cat([x, seen.native["beside"].to(x)], 1) if "beside" in seen.native else x
        size = (grid.rows * self.spans[1], grid.columns * self.spans[2])
        turning = network.config.use_rotary_positional_embeddings
        v = network(
            hidden_states=shown.permute(0, 2, 1, 3, 4).to(network.dtype), timestep=at.time, return_dict=False,
            image_rotary_emb=self.pipe._prepare_rotary_positional_embeddings(*size, grid.steps, x.device)
            if turning else None,
            ofs=None if network.config.ofs_embed_dim is None else torch.full((1,), MOTION).to(x), **said,
        )[0].float().permute(0, 2, 1, 3, 4)
        found: Tensor = (data * v + noise * x) - (data * x - noise * v)
        return found
