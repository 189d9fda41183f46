"""Open models through `diffusers`: each a maker of a velocity, with its own codec, text encoder and schedule.

What all of them share is here; what one family does otherwise is in its own file. The networks, the codecs and the
reading of prompts are the library's. Modes are not: they come from what a plan says is known (sampling/plain.py).

Legend: F frames, H W pixels; S latent steps, R rows, Q columns, C channels; N = S R Q tokens in that order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tenku.engines.schedules import Schedule, Solver, flow_schedule, solver_of
from tenku.model.patches import Grid
from tenku.sampling.canvas import FIRM, Canvas
from tenku.sampling.held import eased
from tenku.sampling.solvers import Velocity


@dataclass(frozen=True)
class About:
    """Which weights these are."""

    name: str  # as users know them, "wan2.1-1.3b" or a folder's name
    weights_sha256: str  # of all weight files together
    licence: str  # SPDX id or the licence's own name; "not stated"
    options: dict[str, str] = field(default_factory=dict)  # how they are run, where that changes the pictures

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the manifest."""
        return asdict(self)


@dataclass(frozen=True)
class At:
    """Where on its way a sample is."""

    sigma: float  # noise level
    time: Tensor  # what the network is told of it: 1, or 1 N (1 S R Q) where each latent has its own
    after: float  # what it will be told at the next step; 0 after the last


@dataclass(frozen=True)
class Seen:
    """A window, and what is known of it, as the network takes it."""

    grid: Grid
    latents: Tensor | None  # 1 N C of all that is given; None: nothing is
    weight: Tensor  # 1 N, 0..1: how firmly each is to be held from outside
    native: dict[str, Any]  # what the network itself takes as its condition


class OpenEngine:
    """A pipeline that `diffusers` loaded, behind the protocol: grid, encode, decode, see, velocity."""

    spans: tuple[int, int, int]  # frames, rows and columns of pixels that a latent position stands for
    multiple: int  # pixels that a picture's sides must be multiples of
    channels: int  # C
    longest: int  # latent steps that the model was trained for
    at_once: int = 1  # latent steps of one token
    precise: bool = False  # the codec is kept in float32, whatever the networks have
    by_token: bool = False  # each token may have a noise level of its own
    ledgers: tuple[str, ...] = ()  # of the data that it learnt from: nobody's that we have

    def __init__(self, pipe: Any, about: About) -> None:
        self.pipe, self.about = pipe, about
        self.name, self.weights_sha256 = about.name, about.weights_sha256
        self._said: dict[str, dict[str, Any]] = {}

    @property
    def device(self) -> torch.device:
        found: torch.device = self.pipe._execution_device
        return found

    @cached_property
    def solver(self) -> Solver:
        return solver_of(self.pipe.scheduler)

    # -- sizes ---------------------------------------------------------------------------------------------

    def frames(self, steps: int) -> int:
        """How many frames so many latent steps decode to: the first stands alone."""
        return 1 + self.spans[0] * (steps - 1)

    def steps(self, frames: int) -> int:
        """How many latent steps so many frames have."""
        return 1 + -(-(frames - 1) // self.spans[0])

    def ahead(self, steps: int) -> int:
        """Latent steps before the first that fill its token, and that nobody sees."""
        return -steps % self.at_once

    def grid(self, frames: int, height: int, width: int, fps: float) -> Grid:
        """The latent grid of a clip, with what is ahead of it."""
        steps = self.steps(frames)
        high, wide = (-(-side // self.multiple) * self.multiple for side in (height, width))
        return Grid(steps + self.ahead(steps), high // self.spans[1], wide // self.spans[2], self.spans[0] / fps)

    def beside(self, grid: Grid) -> int:
        """How many latents are dreamt beside those of the grid, after them, and not shown: sound."""
        return 0

    # -- the codec -----------------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, frames: np.ndarray) -> Tensor:
        """uint8 F H W 3 -> latents 1 S R Q C, S with what is ahead. The codec's mean, not a draw."""
        more = -(len(frames) - 1) % self.spans[0]
        video = torch.from_numpy(np.pad(frames, ((0, more), (0, 0), (0, 0), (0, 0)), mode="edge"))
        latents = self._latents(video.permute(3, 0, 1, 2)[None].float() / 127.5 - 1).permute(0, 2, 3, 4, 1)
        return torch.cat([latents[:, :1]] * self.ahead(latents.shape[1]) + [latents], 1)

    def _latents(self, video: Tensor) -> Tensor:
        """Pixels 1 3 F H W in [-1, 1] -> normalised latents 1 C S R Q, on the CPU, of sides that fit the network."""
        high, wide = (-side % self.multiple for side in video.shape[3:])
        if high or wide:
            video = F.pad(video, (0, wide, 0, high, 0, 0), mode="replicate")
        vae = self.pipe.vae
        coded = vae.encode(video.to(self.device, vae.dtype)).latent_dist.mode()
        return self.normalised(coded.float()).cpu()

    @torch.inference_mode()
    def decode(self, latents: Tensor, frames: int, height: int, width: int) -> np.ndarray:
        """Latents 1 S R Q C of so many frames, with what is ahead of them -> uint8 F H W 3."""
        latents = latents[:, latents.shape[1] - self.steps(frames) :].permute(0, 4, 1, 2, 3)
        vae = self.pipe.vae
        video = self._pixels(self.coded(latents.to(self.device).float()).to(vae.dtype))
        shown = (video[0].float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 3, 0)[:frames, :height, :width]
        return np.ascontiguousarray((shown * 255).round().to(torch.uint8).cpu().numpy())

    def _pixels(self, coded: Tensor) -> Tensor:
        video: Tensor = self.pipe.vae.decode(coded, return_dict=False)[0]
        return video

    def normalised(self, coded: Tensor) -> Tensor:
        """What the codec says, B C S R Q, as the network takes it."""
        raise NotImplementedError

    def coded(self, latents: Tensor) -> Tensor:
        """The inverse of `normalised`."""
        raise NotImplementedError

    # -- what is known -------------------------------------------------------------------------------------

    def firmness(self, weight: np.ndarray) -> Tensor:
        """Weights of pixels, uint8 F H W -> of latents, S R Q, 0..1: the mean over what each stands for."""
        span, rows, columns = self.spans
        more = -(len(weight) - 1) % span
        held = torch.from_numpy(np.pad(weight, ((0, more), (0, 0), (0, 0)), mode="edge"))[None, None].float() / FIRM
        high, wide = (-side % self.multiple for side in held.shape[3:])
        held = F.pad(held, (0, wide, 0, high, 0, 0), mode="replicate")
        first = F.avg_pool3d(held[:, :, :1], (1, rows, columns))
        rest = F.avg_pool3d(held[:, :, 1:], (span, rows, columns)) if len(weight) > 1 else first[:, :, :0]
        found = torch.cat([first, rest], 2)[0, 0]
        return torch.cat([found[:1]] * self.ahead(len(found)) + [found])

    @torch.inference_mode()
    def see(self, canvas: Canvas | None, grid: Grid) -> Seen:
        """What of a window's pixels is known, natively as far as the network can, the rest to be held from outside."""
        more = self.beside(grid)
        if canvas is None:
            return Seen(grid, None, torch.zeros(1, grid.tokens + more), self.condition(None, grid)[0])
        latents, weight = self.encode(canvas.frames), self.firmness(canvas.weight)
        native, taken = self.condition(canvas, grid)
        if taken is not None:
            weight = weight * ~taken[:, None, None]
        known, held = F.pad(latents.flatten(1, 3), (0, 0, 0, more)), F.pad(weight.flatten()[None], (0, more))
        return Seen(grid, known, held, native)

    def condition(self, canvas: Canvas | None, grid: Grid) -> tuple[dict[str, Any], Tensor | None]:
        """What the network takes as its own condition, and which latent steps, bool S, that says all of."""
        return {}, None

    # -- the network ---------------------------------------------------------------------------------------

    def schedule(self, steps: int, grid: Grid) -> Schedule:
        """The checkpoint's own noise levels for so many steps."""
        return flow_schedule(self.pipe.scheduler, steps)

    @torch.inference_mode()
    def said(self, prompt: str) -> dict[str, Any]:
        """A prompt as the network takes it; read once, for the text encoder may have left the device since."""
        if prompt not in self._said:
            self._said[prompt] = self.read(prompt)
        return self._said[prompt]

    def read(self, prompt: str) -> dict[str, Any]:
        """What the text encoder makes of a prompt: arguments of the network."""
        raise NotImplementedError

    def predict(self, x: Tensor, at: At, said: dict[str, Any], seen: Seen) -> Tensor:
        """The velocity of latents 1 C S R Q."""
        raise NotImplementedError

    def flat(self, x: Tensor, at: At, said: dict[str, Any], seen: Seen) -> Tensor:
        """The same of all latents 1 N C; at.time is 1, or 1 N."""
        shape = (seen.grid.steps, seen.grid.rows, seen.grid.columns)
        time = at.time if at.time.ndim == 1 else at.time.unflatten(1, shape)
        v = self.predict(x.unflatten(1, shape).permute(0, 4, 1, 2, 3), replace(at, time=time), said, seen)
        return v.permute(0, 2, 3, 4, 1).flatten(1, 3)

    def velocity(self, prompt: str, schedule: Schedule, seen: Seen) -> Velocity:
        """dx/dsigma of all latents 1 N C under a prompt and what is known."""
        said = self.said(prompt)
        known = None if seen.latents is None or not self.by_token else seen.latents.to(self.device)
        weight = seen.weight.to(self.device)
        for network in self.networks:
            if network.is_cache_enabled:
                network._reset_stateful_cache()

        @torch.inference_mode()
        def velocity(x: Tensor, sigma: float) -> Tensor:
            time = schedule.time(sigma)
            if known is not None:
                x, levels = eased(x, sigma, known, weight)
                time = schedule.time(levels)
            at = At(sigma, time.to(x.device), schedule.after(sigma))
            with self._cached(prompt):
                return self.flat(x, at, said, seen).float()

        return velocity

    @contextlib.contextmanager
    def _cached(self, prompt: str) -> Iterator[None]:
        """Caching hooks keep what they know of each prompt apart."""
        with contextlib.ExitStack() as stack:
            for network in self.networks:
                stack.enter_context(network.cache_context(prompt))
            yield

    @property
    def networks(self) -> list[Any]:
        """The transformers of the pipeline."""
        found = (getattr(self.pipe, name, None) for name in ("transformer", "transformer_2"))
        return [network for network in found if network is not None]
