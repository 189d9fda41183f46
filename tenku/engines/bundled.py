"""Our own model: codec and transformer from a folder of two safetensors files.

Legend: N tokens of a grid, K known, C latent channels.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from tenku.errors import UserError
from tenku.model.checkpoint import read_header, sha256
from tenku.model.codec import Codec
from tenku.model.patches import Grid, scale_of
from tenku.model.text import Words, padded
from tenku.model.transformer import Transformer
from tenku.sampling.solvers import Velocity

BUNDLED = Path(__file__).parent.parent / "weights"  # weights/<name>/codec.safetensors, transformer.safetensors


class Engine:
    """A loaded model. `name` and `weights_sha256` say which."""

    def __init__(self, folder: Path, name: str, device: str = "cpu") -> None:
        transformer_path = folder / "transformer.safetensors"
        header = read_header(transformer_path)
        self.name = name
        self.device = torch.device(device)
        self.codec = Codec.load(folder / "codec.safetensors").to(self.device)
        self.transformer = Transformer.load(transformer_path).to(self.device)
        try:
            self.words = Words(tuple(json.loads(header["words"])), json.loads(header["lexicon"]))
            self.longest = int(header["longest"])  # latent steps that the model was trained for
        except (KeyError, ValueError):
            raise UserError(f"{transformer_path.name} lacks its word table", "train it with this version") from None
        if self.codec.config.channels != self.transformer.config.channels:
            raise UserError(f"codec and transformer in {folder.name} do not belong together",
                            "put the codec that the transformer was trained on beside it")
        self.weights_sha256 = sha256(transformer_path)

    def context(self, prompt: str, grid: Grid, known: Tensor | None = None,
                known_positions: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of a prompt and of known latents 1 K C at positions K 3."""
        rows, _ = self.words.encode(prompt, self.transformer.config.max_words)
        words = torch.tensor([padded(rows)], device=self.device)
        return self.transformer.context(words, known, known_positions, scale_of(grid).to(self.device))

    def velocity(self, context: list[tuple[Tensor, Tensor]], positions: Tensor, grid: Grid) -> Velocity:
        """dx/dsigma of canvas tokens 1 N C, under that context."""
        scale = scale_of(grid).to(self.device)

        def velocity(x: Tensor, sigma: float) -> Tensor:
            level = torch.full((1, 1), sigma, device=self.device)
            return self.transformer.velocity(x, level, positions, context, scale)

        return velocity

    def notes(self, prompt: str) -> tuple[str, ...]:
        """What of a prompt is read otherwise than written, or not at all."""
        return self.words.encode(prompt, self.transformer.config.max_words)[1]


@lru_cache(maxsize=1)
def load(model: str, device: str = "cpu") -> Engine:
    """The bundled model of that name, or the one in that folder. Raises UserError if there is none."""
    for folder in (BUNDLED / model, Path(model)):
        if folder.is_dir() and (folder == Path(model) or "/" not in model):
            return Engine(folder, f"tenku-{folder.name}", device)
    names = ", ".join(sorted(p.name for p in BUNDLED.iterdir())) if BUNDLED.is_dir() else "none"
    raise UserError(f"no such model: {model[:80]!r}", f"bundled: {names}; or a folder that `tenku train` wrote")
