"""The tokens of a sequence divided among ranks (DeepSpeed-Ulysses, arXiv:2309.14509).

Everything but attention looks at each token for itself, so a rank works on its part of the tokens. For attention ranks
change what they hold: all tokens of some heads in place of some tokens of all heads. That is exact, needs no mask, and
lets context and canvas be divided each for itself.

Legend: B batch, N tokens, n those of this rank, S runs of tokens that share a noise level, R ranks, H heads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Spread:
    """How a sequence is divided among the ranks of a process group: of each run of tokens every rank has a part."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self.index, self.count = dist.get_rank(group), dist.get_world_size(group)

    def over(self, tokens: int, runs: int = 1) -> Division:
        """The division of so many tokens in so many equal runs."""
        length = tokens // runs
        return Division(self, runs, [len(part) for part in torch.arange(length).tensor_split(self.count)])


class Division:
    """One sequence's tokens among ranks. Parts differ by at most one token a run; some may be empty."""

    def __init__(self, spread: Spread, runs: int, lengths: list[int]) -> None:
        self.spread, self.runs, self.lengths = spread, runs, lengths
        self.sizes = [runs * length for length in lengths]  # tokens of each rank
        self.start = sum(lengths[: spread.index])
        self.length = lengths[spread.index]

    def part(self, x: Tensor, dim: int = 1) -> Tensor:
        """This rank's tokens of what all tokens have."""
        runs = x.unflatten(dim, (self.runs, sum(self.lengths)))
        return runs.narrow(dim + 1, self.start, self.length).flatten(dim, dim + 1)

    def whole(self, x: Tensor) -> Tensor:
        """What all tokens have, B N C, of this rank's, B n C. Every rank is to make the same of it."""
        return _Whole.apply(x, self)

    def heads(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All tokens of this rank's heads, B H/R N 64, of this rank's tokens of all heads, B H n 64."""
        ranks = self.spread.count
        x = torch.stack([q, k, v]).unflatten(2, (ranks, -1)).movedim(2, 0)  # R 3 B H/R n 64
        each = 3 * q.shape[0] * (q.shape[1] // ranks) * q.shape[3]
        got = _Exchange.apply(x.flatten(), [each * n for n in self.sizes], [each * q.shape[2]] * ranks, self.spread)
        pieces = got.split([each * n for n in self.sizes])
        shape = (3, q.shape[0], q.shape[1] // ranks, -1, q.shape[3])
        found = torch.cat([p.view(*shape[:3], n, shape[4]) for p, n in zip(pieces, self.sizes, strict=True)], 3)
        return found[0], found[1], found[2]

    def tokens(self, x: Tensor) -> Tensor:
        """The inverse of `heads` for one tensor."""
        ranks, mine = self.spread.count, self.sizes[self.spread.index]
        each = x.shape[0] * x.shape[1] * x.shape[3]
        flat = torch.cat([piece.flatten() for piece in x.split(self.sizes, 2)])
        got = _Exchange.apply(flat, [each * mine] * ranks, [each * n for n in self.sizes], self.spread)
        return got.view(ranks, x.shape[0], x.shape[1], mine, x.shape[3]).movedim(0, 1).flatten(1, 2)


class _Exchange(torch.autograd.Function):
    """Every rank sends each rank its slice; gradients go back the same way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, receive: list[int], send: list[int], spread: Spread) -> Tensor:
        ctx.receive, ctx.send, ctx.spread = receive, send, spread
        got = x.new_empty(sum(receive))
        dist.all_to_all_single(got, x.contiguous(), receive, send, group=spread.group)
        return got

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        got = grads[0].new_empty(sum(ctx.send))
        dist.all_to_all_single(got, grads[0].contiguous(), ctx.send, ctx.receive, group=ctx.spread.group)
        return got, None, None, None


class _Whole(torch.autograd.Function):
    """Every rank gets all tokens. All make the same of them, so the gradient of its own is all that a rank takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, division: Division) -> Tensor:
        ctx.division = division
        batch, _, channels = x.shape
        most = max(division.sizes)
        padded = torch.cat([x, x.new_zeros(batch, most - x.shape[1], channels)], 1)
        found = [torch.empty_like(padded) for _ in division.sizes]
        dist.all_gather(found, padded, group=division.spread.group)
        parts = [one[:, :size].unflatten(1, (division.runs, length))
                 for one, size, length in zip(found, division.sizes, division.lengths, strict=True)]
        return torch.cat(parts, 2).flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.division.part(grads[0]).contiguous(), None
