"""Our transformer and those of `diffusers` behind one interface, at about the same number of parameters.

All see the same latents, one token a latent position, and words through a table of their own that is learnt with
them; nobody is given a text encoder, nobody's padding is masked. Peers have our width, heads of 64, and as many layers
(for Wan also as wide an inside) as brings them nearest to our parameters. Latte's come in pairs.

Legend: B batch, T H W latent grid, N = T H W tokens, C channels, L words, D width, F what a token is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tenku.config import TransformerConfig
from tenku.errors import UserError
from tenku.model.patches import Grid, patchify, scale_of, unpatchify
from tenku.model.transformer import HEAD, Transformer

LONGEST = 64  # latent steps that Latte's table of times is made for


class Racer(nn.Module):
    """A transformer in the race. `read` is what a prompt costs once, `velocity` what every denoising step costs."""

    def read(self, words: Tensor, grid: Grid, told: Tensor | None) -> Any:
        """What the model makes of words B L, and of what tokens are told, B N F + C, where it can be told."""
        raise NotImplementedError

    def velocity(self, x: Tensor, sigma: Tensor, grid: Grid, read: Any) -> Tensor:
        """Velocity of latents B T H W C at noise levels B."""
        raise NotImplementedError

    def forward(self, x: Tensor, sigma: Tensor, words: Tensor, grid: Grid, told: Tensor | None) -> Tensor:
        return self.velocity(x, sigma, grid, self.read(words, grid, told))


class Ours(Racer):
    """The transformer of model/transformer.py, without known tokens."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.core = Transformer(config)

    def read(self, words: Tensor, grid: Grid, told: Tensor | None) -> Any:
        """Keys and values of the words; and what is told, worked out."""
        seen = self.core.see(told) if told is not None and self.core.config.motion else None
        return self.core.context(words, None, None, scale_of(grid)), seen

    def velocity(self, x: Tensor, sigma: Tensor, grid: Grid, read: Any) -> Tensor:
        """As `Transformer.velocity`, all tokens canvas."""
        context, seen = read
        v = self.core.velocity(patchify(x), sigma[:, None], grid.positions(), context, scale_of(grid), seen)
        return unpatchify(v, grid)


class Peer(Racer):
    """A transformer of diffusers: `call` brings latents into its shape and its answer back."""

    def __init__(self, config: TransformerConfig, core: nn.Module, call: Call) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.word_order = nn.Parameter(torch.zeros(config.max_words, config.width))
        self.core, self.call = core, call
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.word_order, std=0.02)

    def read(self, words: Tensor, grid: Grid, told: Tensor | None) -> Any:
        """The words' rows, as a text encoder would hand them over; a peer cannot be told more."""
        return self.words(words) + self.word_order[: words.shape[1]]

    def velocity(self, x: Tensor, sigma: Tensor, grid: Grid, read: Any) -> Tensor:
        """As the pipelines of diffusers call it: times from 0 to 1000."""
        return self.call(self.core, x, sigma * 1000, read, grid).float()


Call = Callable[[Any, Tensor, Tensor, Tensor, Grid], Tensor]  # core, x, times B, text B L D, grid -> v


def _first(x: Tensor) -> Tensor:
    return x.permute(0, 4, 1, 2, 3)  # B C T H W


def _wan(core: Any, x: Tensor, time: Tensor, text: Tensor, grid: Grid) -> Tensor:
    return core(_first(x), time, text, return_dict=False)[0].permute(0, 2, 3, 4, 1)


def _ltx(core: Any, x: Tensor, time: Tensor, text: Tensor, grid: Grid) -> Tensor:
    # seconds a step and pixels a latent, as its pipeline has them
    out = core(patchify(x), text, time, None, grid.steps, grid.rows, grid.columns,
               rope_interpolation_scale=(grid.seconds_per_step, 32, 32), return_dict=False)[0]
    return unpatchify(out, grid)


def _cogvideox(core: Any, x: Tensor, time: Tensor, text: Tensor, grid: Grid) -> Tensor:
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    size = (grid.rows, grid.columns)
    turn = get_3d_rotary_pos_embed(HEAD, ((0, 0), size), size, grid.steps)
    out = core(x.permute(0, 1, 4, 2, 3), text, time, image_rotary_emb=turn, return_dict=False)[0]
    return out.permute(0, 1, 3, 4, 2)


def _latte(core: Any, x: Tensor, time: Tensor, text: Tensor, grid: Grid) -> Tensor:
    whole = core.temp_pos_embed  # of LONGEST steps; the model adds it as it is
    core.temp_pos_embed = whole[:, : grid.steps]
    try:
        return core(_first(x), time, text, return_dict=False)[0].permute(0, 2, 3, 4, 1)
    finally:
        core.temp_pos_embed = whole


@dataclass(frozen=True)
class Kind:
    """How a transformer of diffusers is made and called."""

    name: str  # its class
    call: Call
    settings: Callable[[TransformerConfig, int, int], dict[str, Any]]  # of our config, layers, width inside
    per_layer: int  # blocks of ours that one of its layers is about as large as, at least


KINDS: dict[str, Kind] = {
    "Wan": Kind("WanTransformer3DModel", _wan, lambda c, layers, inside: dict(
        patch_size=(1, 1, 1), num_attention_heads=c.heads, attention_head_dim=HEAD, in_channels=c.channels,
        out_channels=c.channels, text_dim=c.width, freq_dim=128, ffn_dim=inside, num_layers=layers), 1),
    "LTX-Video": Kind("LTXVideoTransformer3DModel", _ltx, lambda c, layers, inside: dict(
        in_channels=c.channels, out_channels=c.channels, num_attention_heads=c.heads, attention_head_dim=HEAD,
        cross_attention_dim=c.width, num_layers=layers, caption_channels=c.width), 1),
    "CogVideoX": Kind("CogVideoXTransformer3DModel", _cogvideox, lambda c, layers, inside: dict(
        num_attention_heads=c.heads, attention_head_dim=HEAD, in_channels=c.channels, out_channels=c.channels,
        time_embed_dim=128, text_embed_dim=c.width, num_layers=layers, patch_size=1,
        max_text_seq_length=c.max_words, use_rotary_positional_embeddings=True), 1),
    "Latte": Kind("LatteTransformer3DModel", _latte, lambda c, layers, inside: dict(
        num_attention_heads=c.heads, attention_head_dim=HEAD, in_channels=c.channels, out_channels=c.channels,
        num_layers=layers, cross_attention_dim=c.width, attention_bias=True, sample_size=64, patch_size=1,
        activation_fn="gelu-approximate", norm_type="ada_norm_single", norm_elementwise_affine=False,
        caption_channels=c.width, video_length=LONGEST), 2),
}


def need_diffusers() -> None:
    """Raises UserError where diffusers is not installed."""
    try:
        import diffusers  # noqa: F401
    except ImportError:
        raise UserError("the peers are in diffusers, which is not installed",
                        'pip install -c constraints.txt ".[models]"') from None


def size(module: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in module.parameters())


def build(name: str, config: TransformerConfig, seed: int = 0) -> Racer:
    """A racer with fresh weights: "ours", "ours, told" (of motion and sketch, as the bundled model is), or a peer.

    Peers are as large as "ours", which is told nothing, can be matched.
    """
    plain = replace(config, motion=0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name.startswith("ours"):
            return Ours(config if "told" in name else plain).train()
        return _peer(KINDS[name], plain, *_fit(name, plain)).train()


def _peer(kind: Kind, config: TransformerConfig, layers: int, inside: int) -> Peer:
    import diffusers

    return Peer(config, getattr(diffusers, kind.name)(**kind.settings(config, layers, inside)), kind.call)


def _fit(name: str, config: TransformerConfig) -> tuple[int, int]:
    """Layers and width inside (a multiple of 16; only Wan has it free) that come nearest to our parameters."""
    kind = KINDS[name]
    with torch.device("meta"):
        wanted = size(Ours(config))
        layers = max(1, config.depth // kind.per_layer)
        inside = 2 * config.width

        def count(layers: int, inside: int) -> int:
            return size(_peer(kind, config, layers, inside))

        now = count(layers, inside)
        if name == "Wan":
            each = (count(layers, inside + 16) - now) / 16
            return layers, max(16, inside + 16 * round((wanted - now) / each / 16))
        each = count(layers + 1, inside) - now
        return max(1, layers + round((wanted - now) / each)), inside
