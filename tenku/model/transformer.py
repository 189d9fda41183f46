"""The diffusion transformer on spacetime patches: known tokens are context, unknown tokens are canvas.

Context (words and known latents) is read-only: it attends to itself alone, at noise level 0, so its keys and
values are computed once per plan and serve every denoising step. Canvas tokens carry noise and attend to the
context and to each other: `attention(q_canvas, kv_context + kv_canvas)`. There are no mask tensors.

Legend: B batch, L words, K known tokens, N canvas tokens, S noise slots (each a run of N / S tokens),
M = L + K context tokens, D width, H heads, C latent channels, F what a token is told of the
motion; behind that stands its sketch, the latents of what it looks like as far as that follows (model/lightfield.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenku.config import TransformerConfig
from tenku.model.checkpoint import load_module, save_module

if TYPE_CHECKING:
    from tenku.model.spread import Division, Spread

HEAD = 64  # dimensions of a head: 16 for time, 24 for rows, 24 for columns
AXES = (16, 24, 24)
SDPA_FROM = 700  # keys; below it, on CPU, plain bf16 softmax(q k) v is faster forward and backward (dev/LOG.md)

KeyValue = tuple[Tensor, Tensor]  # each B H M 64
Rotary = tuple[Tensor, Tensor]  # cosines and sines, B|1 N 32


def rotary(positions: Tensor) -> Rotary:
    """Axial rotary embedding (arXiv:2104.09864) of physical positions B|1 N 3: cosines and sines, B|1 N 32 each."""
    angles = []
    for axis, size in enumerate(AXES):
        # wavelengths from one latent position to a hundred: a picture spans eight, a minute a hundred and twenty
        speed = 100 ** (-torch.arange(size // 2, device=positions.device) / (size // 2))
        angles.append(positions[..., axis, None] * speed)
    angle = torch.cat(angles, -1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, turn: Rotary) -> Tensor:
    """Turns the halves of each head, B N H 64, by the angles B|1 N 32."""
    cos, sin = (t[:, :, None, :] for t in turn)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(64)) v for B H N 64; whichever of two equal ways is faster at this length."""
    if q.device.type == "cpu" and k.shape[2] < SDPA_FROM and q.dtype == torch.bfloat16:
        scores = torch.matmul(q * HEAD**-0.5, k.transpose(-1, -2))
        return torch.matmul(torch.softmax(scores, -1), v)
    return F.scaled_dot_product_attention(q, k, v)


def sinusoids(x: Tensor, size: int, longest: float) -> Tensor:
    """Sines and cosines of x (...,) at `size` / 2 frequencies from pi down to pi / longest: (..., size)."""
    speed = math.pi * longest ** (-torch.arange(size // 2, device=x.device) / max(1, size // 2 - 1))
    angle = x[..., None].float() * speed
    return torch.cat([angle.cos(), angle.sin()], -1)


@dataclass(frozen=True)
class Seen:
    """What a transformer makes of what tokens are told: the same at every noise level, so it is worked out once."""

    added: Tensor  # B N D, to the tokens
    sketch: Tensor  # B N C
    shift: Tensor  # B N 2, of positions on screen

    def __getitem__(self, tokens: slice) -> Seen:  # some of the tokens
        return Seen(self.added[:, tokens], self.sketch[:, tokens], self.shift[:, tokens])


class Block(nn.Module):
    """Pre-norm attention and SwiGLU, modulated by the noise level (adaLN-single, arXiv:2310.00426)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d, hidden = config.width, config.hidden
        self.heads = config.heads
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.gate_up = nn.Linear(d, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, d, bias=False)
        self.qk_scale = nn.Parameter(torch.ones(2, HEAD))
        self.modulation = nn.Parameter(torch.zeros(6, d))  # added to the shared one
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(
        self, x: Tensor, shared: Tensor, turn: Rotary, context: KeyValue | None, among: Division | None = None
    ) -> tuple[Tensor, KeyValue]:
        """x B N D, shared modulation B|1 S 6 D (N a multiple of S). Returns the new x, and its keys and values.

        Where tokens are divided among ranks, x is this rank's, and keys and values are of all tokens and its heads.
        """
        mod = (shared + self.modulation)[:, :, None].unbind(3)  # six of B S 1 D
        h = _modulate(x, mod[0], mod[1])
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, HEAD)).unbind(2)  # B N H 64
        q = rotate(F.rms_norm(q, (HEAD,)) * self.qk_scale[0], turn).to(v.dtype).transpose(1, 2)
        k = rotate(F.rms_norm(k, (HEAD,)) * self.qk_scale[1], turn).to(v.dtype).transpose(1, 2)
        v = v.transpose(1, 2)
        if among is not None:
            q, k, v = among.heads(q, k, v)
        if context is None:
            seen = attention(q, k, v)
        else:
            seen = attention(q, torch.cat([context[0], k], 2), torch.cat([context[1], v], 2))
        if among is not None:
            seen = among.tokens(seen)
        x = x + _gate(self.out(seen.transpose(1, 2).flatten(2)), mod[2])
        gate, up = self.gate_up(_modulate(x, mod[3], mod[4])).chunk(2, -1)
        return x + _gate(self.down(F.silu(gate) * up), mod[5]), (k, v)


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """RMS norm, then shift and scale (B S 1 D) each of S equal runs of the tokens."""
    h = F.rms_norm(x, x.shape[-1:]).unflatten(1, (shift.shape[1], x.shape[1] // shift.shape[1]))
    return (h * (1 + scale) + shift).flatten(1, 2)


def _gate(x: Tensor, gate: Tensor) -> Tensor:
    return (x.unflatten(1, (gate.shape[1], x.shape[1] // gate.shape[1])) * gate).flatten(1, 2)


class Transformer(nn.Module):
    """Velocity of canvas tokens, given their noise levels and the context."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.spread: Spread | None = None  # among ranks, where tokens are divided
        d = config.width
        self.words = nn.Embedding(config.vocabulary, d)
        self.word_order = nn.Parameter(torch.zeros(config.max_words, d))
        self.text_blocks = nn.ModuleList(Block(config) for _ in range(config.text_depth))
        self.kind = nn.Parameter(torch.zeros(3, 6, d))  # modulation of: prompt alone, words, known tokens
        self.enter = nn.Linear(config.channels, d)
        if config.motion:  # where things and camera are, seen from a token (model/motion.py); starts as nothing
            last = nn.Linear(2 * d, d, bias=False)
            nn.init.zeros_(last.weight)
            self.told = nn.Sequential(nn.Linear(config.motion, 2 * d, bias=False), nn.SiLU(), last)
            self.sketched = nn.Linear(config.channels, d, bias=False)
            self.lines = nn.Linear(d, config.channels, bias=False)  # how much of the sketch stands in the velocity
            nn.init.zeros_(self.sketched.weight)
            nn.init.zeros_(self.lines.weight)
        self.place = nn.Linear(48, d, bias=False)  # absolute position, 16 sinusoids an axis
        self.level = nn.Sequential(nn.Linear(64, d), nn.SiLU(), nn.Linear(d, d))  # noise level
        self.scale = nn.Linear(32, d)  # seconds per latent step, tokens per step
        self.modulate = nn.Linear(d, 6 * d)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.leave_mod = nn.Linear(d, 2 * d)
        self.leave = nn.Linear(d, config.channels)
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.word_order, std=0.02)
        for linear in (self.leave, self.leave_mod):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        with torch.no_grad():  # gates start open because the branches behind them start at zero
            self.modulate.weight.mul_(0.1)
            self.modulate.bias.zero_()
            self.modulate.bias.view(6, d)[[2, 5]] = 1.0
            self.kind[0, [2, 5]] = 1.0

    def forward(self, work: Callable[[Transformer], Tensor]) -> Tensor:
        """`work(self)`, inside whatever is hung on a module's call: FSDP2 brings the weights together there."""
        return work(self)

    def see(self, told: Tensor) -> Seen:
        """What to make of what tokens are told and of their sketch, B N F + C: given to `context` and `velocity`."""
        told, sketch = told.split([self.config.motion, self.config.channels], -1)
        return Seen(self.told(told).float() + self.sketched(sketch).float(), sketch, told[..., -2:])

    def _embed(self, tokens: Tensor, positions: Tensor, seen: Seen | None) -> Tensor:
        where = torch.cat([sinusoids(positions[..., a] / (1, 4, 4)[a], 16, 32.0) for a in range(3)], -1)
        x = self.enter(tokens).float() + self.place(where).float()
        return x if seen is None else x + seen.added

    def _turn(self, positions: Tensor, seen: Seen | None) -> Rotary:
        """Angles of tokens at positions, which what they are told shifts on screen."""
        if seen is not None:
            positions = positions + F.pad(seen.shift, (1, 0))
        return rotary(positions if positions.ndim == 3 else positions[None])

    def _condition(self, sigma: Tensor, scale: Tensor) -> Tensor:
        # sigma B S, scale 2 -> B S D
        size = self.scale(torch.cat([sinusoids(scale[0], 16, 16.0), sinusoids(scale[1], 16, 16.0)], -1))
        return F.silu(self.level(sinusoids(sigma * 16, 64, 64.0)) + size)

    def context(
        self, words: Tensor, known: Tensor | None, known_positions: Tensor | None, scale: Tensor,
        seen: Seen | None = None,
    ) -> list[KeyValue]:
        """Keys and values of every block for words B L and known latents B K C at positions K 3 or B K 3.

        scale: 2 numbers, log2 of seconds per latent step and log2 of tokens per latent step. seen: what the known
        tokens are told, B K.
        """
        length = words.shape[1]
        word_turn = rotary(torch.zeros(1, length, 3, device=words.device))  # at the centre of the first step
        x = self.words(words) + self.word_order[:length]
        for block in self.text_blocks:
            x, _ = block(x, self.kind[0].expand(1, 1, 6, -1), word_turn, None)
        level = self._condition(torch.zeros(1, 1, device=words.device), scale)
        base = self.modulate(level).float().unflatten(-1, (6, -1))
        shared = (base + self.kind[1]).expand(1, length, -1, -1)
        turn = word_turn
        if known is not None and known_positions is not None and known.shape[1]:
            x = torch.cat([x, self._embed(known, known_positions, seen)], 1)
            shared = torch.cat([shared, (base + self.kind[2]).expand(1, known.shape[1], -1, -1)], 1)
            cos, sin = self._turn(known_positions, seen)
            turn = (torch.cat([word_turn[0].expand(len(cos), -1, -1), cos], 1),
                    torch.cat([word_turn[1].expand(len(sin), -1, -1), sin], 1))
        among = None
        if self.spread is not None:
            among = self.spread.over(x.shape[1])
            x, shared, turn = among.part(x), among.part(shared), (among.part(turn[0]), among.part(turn[1]))
        cache = []
        for block in self.blocks:
            x, keyvalue = block(x, shared, turn, None, among)
            cache.append(keyvalue)
        return cache

    def velocity(
        self, x: Tensor, sigma: Tensor, positions: Tensor, context: list[KeyValue], scale: Tensor,
        seen: Seen | None = None,
    ) -> Tensor:
        """Velocity B N C of canvas tokens B N C at positions N 3 or B N 3.

        seen: what they are told, B N. sigma B S: noise levels of S equal runs of the tokens; S = 1, one per latent
        step, or one per token.
        """
        condition = self._condition(sigma, scale)
        shared = self.modulate(condition).float().unflatten(-1, (6, -1))  # B S 6 D
        among = None
        if self.spread is not None:
            among = self.spread.over(x.shape[1], sigma.shape[1])
            x, positions = among.part(x), among.part(positions, positions.ndim - 2)
            seen = seen and Seen(among.part(seen.added), among.part(seen.sketch), among.part(seen.shift))
        turn = self._turn(positions, seen)
        h = self._embed(x, positions, seen)
        for block, keyvalue in zip(self.blocks, context, strict=True):
            h, _ = block(h, shared, turn, keyvalue, among)
        shift, scaling = self.leave_mod(condition)[:, :, None].chunk(2, -1)  # B S 1 D
        v = self.leave(_modulate(h, shift, scaling)).float()
        if seen is not None:
            runs = condition.shape[1]
            sketch = seen.sketch.unflatten(1, (runs, v.shape[1] // runs))
            v = v + (self.lines(condition)[:, :, None] * sketch).flatten(1, 2)
        return v if among is None else among.whole(v)

    def save(self, path: Path, facts: dict[str, str] | None = None, *, half: bool = False) -> None:
        """Writes safetensors with the config in the header. `half` stores bfloat16."""
        save_module(self, path, self.config.to_dict(), facts, half=half)

    @classmethod
    def load(cls, path: Path) -> Transformer:
        """Reads what `save` wrote. Raises UserError for a missing, foreign or corrupt file."""
        return load_module(path, lambda values: cls(TransformerConfig.from_dict(values)))
