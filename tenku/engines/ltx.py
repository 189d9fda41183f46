"""LTX-Video (arXiv:2501.00103) and LTX-2 (arXiv:2601.03233): a codec of 32 x 32 pixels and 8 frames, and a noise
level for each token. LTX-2 dreams sound in the same breath.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from tenku.engines.open import About, At, OpenEngine, Seen
from tenku.engines.schedules import Schedule, flow_schedule
from tenku.errors import UserError
from tenku.model.patches import Grid


class LTX(OpenEngine):
    """Pipelines of the classes LTXPipeline and LTXImageToVideoPipeline."""

    longest = 21  # 161 frames
    by_token = True
    words = 128  # tokens of a prompt
    shifts: ClassVar[dict[str, float]] = {  # what the scheduler means where it says nothing
        "base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}

    def __init__(self, pipe: Any, about: About) -> None:
        super().__init__(pipe, about)
        side = pipe.vae_spatial_compression_ratio
        self.spans = (pipe.vae_temporal_compression_ratio, side, side)
        self.multiple = side * pipe.transformer_spatial_patch_size
        self.channels = pipe.vae.config.latent_channels
        self.patch = (pipe.transformer_spatial_patch_size, pipe.transformer_temporal_patch_size)

    @override
    def normalised(self, coded: Tensor) -> Tensor:
        found: Tensor = self.pipe._normalize_latents(coded, *self._statistics())
        return found

    @override
    def coded(self, latents: Tensor) -> Tensor:
        found: Tensor = self.pipe._denormalize_latents(latents, *self._statistics())
        return found

    def _statistics(self) -> tuple[Tensor, Tensor, float]:
        vae = self.pipe.vae
        return vae.latents_mean, vae.latents_std, vae.config.scaling_factor

    @override
    def _pixels(self, coded: Tensor) -> Tensor:
        """The last of the denoising is the decoder's, where it was trained for that: here of no noise."""
        time = torch.zeros(1).to(coded) if self.pipe.vae.config.timestep_conditioning else None
        video: Tensor = self.pipe.vae.decode(coded, time, return_dict=False)[0]
        return video

    @override
    def schedule(self, steps: int, grid: Grid) -> Schedule:
        """The more tokens, the later the noise goes."""
        from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

        scheduler = self.pipe.scheduler
        said = (scheduler.config.get(name, value) for name, value in self.shifts.items())
        shift = calculate_shift(grid.tokens, *said)
        return flow_schedule(scheduler, steps, sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift)

    @override
    def read(self, prompt: str) -> dict[str, Any]:
        found, mask, _, _ = self.pipe.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=self.words)
        return {"encoder_hidden_states": found, "encoder_attention_mask": mask}

    @override
    def predict(self, x: Tensor, at: At, said: dict[str, Any], seen: Seen) -> Tensor:
        network, shape = self.pipe.transformer, tuple(x.shape[2:])
        time = at.time if at.time.ndim == 1 else at.time.flatten(1)
        v = network(
            hidden_states=self.pipe._pack_latents(x, *self.patch).to(network.dtype), timestep=time, return_dict=False,
            **self.place(seen.grid), **said,
        )[0]
        found: Tensor = self.pipe._unpack_latents(v.float(), *shape, *self.patch)
        return found

    def place(self, grid: Grid) -> dict[str, Any]:
        """What the network is told of where its tokens are."""
        return {"num_frames": grid.steps, "height": grid.rows, "width": grid.columns,
                "rope_interpolation_scale": (grid.seconds_per_step, self.spans[1], self.spans[2])}


class LTXCondition(LTX):
    """Pipelines of the class LTXConditionPipeline: other noise levels, and times from where a step begins."""

    words = 256

    @override
    def schedule(self, steps: int, grid: Grid) -> Schedule:
        from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule

        return flow_schedule(self.pipe.scheduler, None, timesteps=linear_quadratic_schedule(steps) * 1000)

    @override
    def place(self, grid: Grid) -> dict[str, Any]:
        ids = self.pipe._prepare_video_ids(1, grid.steps, grid.rows, grid.columns, *self.patch, device=self.device)
        where = self.pipe._scale_video_ids(ids, self.spans[1], self.spans[0], device=self.device).float()
        where[:, 0] = where[:, 0] * (grid.seconds_per_step / self.spans[0])
        return {"video_coords": where}


class LTX2(LTX):
    """Pipelines of the classes LTX2Pipeline and LTX2ImageToVideoPipeline.

    The sound's latents lie after the picture's. They are needed, for the network looks at both, and left out of the
    clip. Guidance is the prompt's alone: the pipeline's other kinds (of skipped blocks, of silence) are not used.
    """

    words = 1024
    shifts: ClassVar[dict[str, float]] = {
        "base_image_seq_len": 1024, "max_image_seq_len": 4096, "base_shift": 0.95, "max_shift": 2.05}

    def __init__(self, pipe: Any, about: About) -> None:
        super().__init__(pipe, about)
        if pipe.transformer.config.audio_in_channels != self.channels:
            raise UserError(f"{about.name} has sound of another width than pictures", "which is not known here")

    @override
    def beside(self, grid: Grid) -> int:
        pipe = self.pipe
        a_second = pipe.audio_sampling_rate / pipe.audio_hop_length / float(pipe.audio_vae_temporal_compression_ratio)
        return round(self.frames(grid.steps) * (grid.seconds_per_step / self.spans[0]) * a_second)

    @override
    def read(self, prompt: str) -> dict[str, Any]:
        found, mask, _, _ = self.pipe.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=self.words)
        seen, heard, both = self.pipe.connectors(found, mask, padding_side=self.pipe.tokenizer.padding_side)
        return {"encoder_hidden_states": seen, "audio_encoder_hidden_states": heard, "encoder_attention_mask": both,
                "audio_encoder_attention_mask": both}

    @override
    def flat(self, x: Tensor, at: At, said: dict[str, Any], seen: Seen) -> Tensor:
        grid, network = seen.grid, self.pipe.transformer
        shape, rate = (grid.steps, grid.rows, grid.columns), self.spans[0] / grid.seconds_per_step
        picture, sound = x[:, : grid.tokens], x[:, grid.tokens :]
        level = torch.full((1,), at.sigma * 1000).to(x) if at.time.ndim > 1 else at.time
        packed = self.pipe._pack_latents(picture.unflatten(1, shape).permute(0, 4, 1, 2, 3), *self.patch)
        v, of_sound = network(
            hidden_states=packed.to(network.dtype), audio_hidden_states=sound.to(network.dtype),
            timestep=at.time if at.time.ndim == 1 else at.time[:, : grid.tokens], audio_timestep=level, sigma=level,
            num_frames=grid.steps, height=grid.rows, width=grid.columns, fps=rate, audio_num_frames=sound.shape[1],
            use_cross_timestep=True, return_dict=False, **said,
        )
        of_picture = self.pipe._unpack_latents(v.float(), *shape, *self.patch).permute(0, 2, 3, 4, 1).flatten(1, 3)
        return torch.cat([of_picture, of_sound.float()], 1)
