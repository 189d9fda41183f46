"""Wan 2.1 and 2.2 (arXiv:2503.20314): text to video, image to video, and the 5B that does both.

The two experts of 2.2 share the noise levels between them. The 5B takes a noise level for each token; models that
animate pictures take frames that are known, with a mask, beside the latents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from tenku.engines.open import About, At, OpenEngine, Seen
from tenku.model.patches import Grid
from tenku.sampling.canvas import FIRM, Canvas

WORDS = 512  # tokens of a prompt


class Wan(OpenEngine):
    """Pipelines of the classes WanPipeline and WanImageToVideoPipeline."""

    longest = 21  # 81 frames
    precise = True

    def __init__(self, pipe: Any, about: About) -> None:
        super().__init__(pipe, about)
        codec, network = pipe.vae.config, self.networks[0].config
        self.spans = (codec.scale_factor_temporal, codec.scale_factor_spatial, codec.scale_factor_spatial)
        self.multiple = codec.scale_factor_spatial * network.patch_size[1]
        self.channels = codec.z_dim
        self.by_token = bool(pipe.config.get("expand_timesteps"))
        self.takes_frames = network.in_channels > self.channels
        self.mean = torch.tensor(codec.latents_mean).view(1, -1, 1, 1, 1)
        self.deviation = torch.tensor(codec.latents_std).view(1, -1, 1, 1, 1)

    @override
    def normalised(self, coded: Tensor) -> Tensor:
        return (coded - self.mean.to(coded)) / self.deviation.to(coded)

    @override
    def coded(self, latents: Tensor) -> Tensor:
        return latents * self.deviation.to(latents) + self.mean.to(latents)

    @override
    def read(self, prompt: str) -> dict[str, Any]:
        found, _ = self.pipe.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=WORDS)
        return {"encoder_hidden_states": found.to(self.networks[0].dtype)}

    @override
    def condition(self, canvas: Canvas | None, grid: Grid) -> tuple[dict[str, Any], Tensor | None]:
        """Known frames beside grey ones, and for each of a latent step's frames whether it is known.

        The first latent stands for the first frame alone, which counts as all of its step's frames.
        """
        if not self.takes_frames:
            return {}, None
        size = canvas.frames.shape[1:3] if canvas else (grid.rows * self.spans[1], grid.columns * self.spans[2])
        frames = torch.zeros(1, 3, self.frames(grid.steps), *size)
        known = torch.zeros(self.frames(grid.steps), dtype=torch.bool)
        native: dict[str, Any] = {}
        if canvas is not None:
            whole = torch.from_numpy((canvas.weight == FIRM).all((1, 2)))
            known[: len(whole)] = whole
            given = torch.from_numpy(canvas.frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
            frames[:, :, : len(whole)] = given * whole[:, None, None]
            native = self._pictures([canvas.frames[i] for i in (0, -1) if whole[i]])
        steps = torch.cat([known[:1].expand(self.spans[0]), known[1:]]).view(grid.steps, self.spans[0])
        mask = steps.T[None, :, :, None, None].expand(-1, -1, -1, grid.rows, grid.columns)
        native["beside"] = torch.cat([mask.float(), self._latents(frames)], 1)
        return native, steps.all(1)

    def _pictures(self, pictures: list[np.ndarray]) -> dict[str, Any]:
        """The first frame, and for networks that take two the last, as the image encoder of Wan 2.1 sees them."""
        network = self.networks[0].config
        if network.image_dim is None or not pictures:
            return {}
        both = network.pos_embed_seq_len is not None
        seen = self.pipe.encode_image([pictures[0], pictures[-1]] if both else pictures[0], self.device)
        return {"encoder_hidden_states_image": seen.reshape(1, -1, seen.shape[-1]).to(self.networks[0].dtype)}

    @override
    @override
    def predict(self, x: Tensor, at: At, said: dict[str, Any], seen: Seen) -> Tensor:
        whole, rest = self.pipe.transformer, self.pipe.transformer_2
        boundary = self.pipe.config.get("boundary_ratio")
        low = boundary is not None and float(at.time.max()) < boundary * self.pipe.scheduler.config.num_train_timesteps
        network = rest if low or whole is None else whole
        time = at.time
        if self.by_token:
            _, rows, columns = network.config.patch_size
            time = time.expand(1, *x.shape[2:])[:, :, ::rows, ::columns].flatten(1)
        native = dict(seen.native)
        if "beside" in native:
            x = torch.cat([x, native.pop("beside").to(x)], 1)
        v: Tensor = network(hidden_states=x.to(network.dtype), timestep=time, return_dict=False, **said, **native)[0]
        return v
