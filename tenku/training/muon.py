"""Muon: momentum made orthogonal (kellerjordan.github.io/posts/muon), in the number format that is fast here.

torch.optim.Muon always works in bfloat16, which a CPU without instructions for it emulates ten times slower.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tenku.model.precision import fastest

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic; 5 steps bring singular values near 1, not to it


def orthogonal(x: Tensor) -> Tensor:
    """Matrices N rows columns with singular values brought to 0.7..1.2, by five Newton-Schulz steps."""
    wide = x if x.shape[1] <= x.shape[2] else x.mT  # the Gram matrix is over the shorter side
    wide = (wide / wide.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)).to(fastest(x.device.type))
    wide = _precise(wide) if wide.dtype == torch.float32 else _rough(wide)
    return (wide if x.shape[1] <= x.shape[2] else wide.mT).to(x.dtype)


def _rough(wide: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    for _ in range(5):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide


def _precise(wide: Tensor) -> Tensor:
    """The same on the Gram matrix alone, 1.6 to 2.7 times as fast; bfloat16 would lose its small eigenvalues."""
    a, b, c = COEFFICIENTS
    gram = wide @ wide.mT
    one = torch.eye(gram.shape[1], dtype=wide.dtype, device=wide.device)
    product = one.expand_as(gram)
    for _ in range(5):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * one
        product = factor @ product
        gram = factor @ gram @ factor
    return product @ wide


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, of the size that AdamW's update has (arXiv:2502.16982)."""

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step. Matrices of one shape are worked on together; a kernel is a matrix with a row per output."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[len(p), p.numel() // len(p)].append((p, p.grad))
            for shape, pairs in alike.items():
                wanted = []
                for p, grad in pairs:
                    if not self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                    moving = self.state[p]["momentum_buffer"]
                    moving.lerp_(grad, 1 - group["momentum"])
                    wanted.append(grad.add(moving - grad, alpha=group["momentum"]).flatten(1))  # Nesterov
                size = 0.2 * max(shape) ** 0.5  # root mean square of AdamW's update, Sec. 2.2 of arXiv:2502.16982
                if hasattr(wanted[0], "to_local"):  # in pieces
                    from tenku.training.sharding import local, orthogonal_pieces

                    updates = orthogonal_pieces([local(x) for x in wanted], shape[0])
                    pairs = [(local(p), grad) for p, grad in pairs]
                else:
                    updates = list(orthogonal(torch.stack(wanted)))
                for (p, _), update in zip(pairs, updates, strict=True):
                    p.sub_(update.view(p.shape), alpha=group["lr"] * size)
