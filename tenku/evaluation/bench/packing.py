"""Our packing against padding: the same clips of mixed sizes, lengths and known sets, in groups of one shape or padded.

Padding is flattered: it is timed without the mask that it would need, and a batch is filled up to the budget of
tokens that a group has.

Legend: B clips, N canvas tokens, K known tokens, L words, C channels, F what a token is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tenku.data.latents import Latents, caption_batch
from tenku.evaluation.bench.timing import in_turns, median, rate, ratio
from tenku.model import flow
from tenku.model.precision import autocast
from tenku.model.text import BUCKET, Words
from tenku.model.transformer import Transformer
from tenku.rng import stream


@dataclass(frozen=True)
class Sample:
    """One clip of a group, or what is around a thing of it."""

    canvas: tuple[Tensor, Tensor, Tensor]  # N C latents, N 3 positions, N F + C told
    known: tuple[Tensor, Tensor, Tensor]  # the same of K
    words: list[int]
    scale: Tensor  # 2

    @property
    def sizes(self) -> tuple[int, int, int]:
        return len(self.canvas[0]), len(self.known[0]), len(self.words)


def samples(pool: Latents, words: Words, groups: int, budget: int, most: int) -> list[list[Sample]]:
    """Groups as training draws them, taken apart."""
    found = []
    for number in range(groups):
        draw = stream(0, "bench", "packing", number)
        group = pool.draw(draw, budget)
        assert group.motion is not None
        assert group.known_motion is not None
        count = len(group.data)
        places, known = (p.expand(count, *p.shape[-2:]) for p in (group.positions, group.known_positions))
        rows = [words.encode(text, most)[0] for text in group.captions]
        found.append([Sample((group.data[i], places[i], group.motion[i]), (group.known[i], known[i],
                             group.known_motion[i]), rows[i], group.scale) for i in range(count)])
    return found


def padded(clips: Sequence[Sample], budget: int) -> list[list[Sample]]:
    """The clips in an order that knows no sizes, in batches of at most `budget` tokens, padding and all."""
    order = stream(0, "bench", "padding").permutation(len(clips))
    batches: list[list[Sample]] = [[]]
    for sample in (clips[i] for i in order):
        if batches[-1] and _tokens([*batches[-1], sample]) > budget:
            batches.append([])
        batches[-1].append(sample)
    return batches


def _tokens(batch: Sequence[Sample]) -> int:
    """Tokens of a batch, padding and all."""
    longest = [max(sizes) for sizes in zip(*(sample.sizes for sample in batch), strict=True)]
    return len(batch) * (longest[0] + longest[1] + _bucket(longest[2]))


def _bucket(words: int) -> int:
    return max(BUCKET, -(-words // BUCKET) * BUCKET)


def work(model: Transformer, batch: Sequence[Sample]) -> None:
    """Forward and backward of a batch, what is shorter filled with zeros."""
    def stack(parts: Sequence[Tensor]) -> Tensor:
        longest = max(map(len, parts))
        return torch.stack([F.pad(part, (0, 0, 0, longest - len(part))) for part in parts])

    data, positions, told = (stack(parts) for parts in zip(*(sample.canvas for sample in batch), strict=True))
    known, places, known_told = (stack(parts) for parts in zip(*(sample.known for sample in batch), strict=True))
    sigma = torch.full((len(batch), 1), 0.5)
    x = flow.interpolate(data, torch.zeros_like(data), sigma)
    with autocast():
        context = model.context(caption_batch([s.words for s in batch], BUCKET), known, places, batch[0].scale,
                                model.see(known_told))
        v = model.velocity(x, sigma, positions, context, batch[0].scale, model.see(told))
    v.square().mean().backward()
    model.zero_grad(set_to_none=True)


def _all(model: Transformer, batches: Sequence[Sequence[Sample]]) -> None:
    for batch in batches:
        work(model, batch)


def measure(pool: Latents, words: Words, model: Transformer, groups: int, budget: int, rounds: int) -> dict[str, Any]:
    """Waste and real tokens a second of both, in JSON values."""
    packed = samples(pool, words, groups, budget, model.config.max_words)
    clips = [sample for group in packed for sample in group]
    ways = {"packed": packed, "padded": padded(clips, budget)}
    canvas, known, said = (sum(sizes) for sizes in zip(*(sample.sizes for sample in clips), strict=True))
    taken = in_turns({way: partial(_all, model, batches) for way, batches in ways.items()}, rounds)
    found: dict[str, Any] = {"clips": len(clips), "tokens": canvas + known + said, "ways": {}}
    for way, batches in ways.items():
        pictures = sum(len(b) * (max(s.sizes[0] for s in b) + max(s.sizes[1] for s in b)) for b in batches)
        found["ways"][way] = {
            "batches": len(batches),
            "waste_pictures": 1 - (canvas + known) / pictures,
            "waste": 1 - (canvas + known + said) / sum(map(_tokens, batches)),
            "tokens_per_s": rate(canvas + known + said, taken[way]).to_json(),
            "seconds": median(taken[way]).to_json(),
        }
    found["speed"] = ratio(taken, "packed", "padded").to_json()
    return found
