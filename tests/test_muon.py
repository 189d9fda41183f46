"""Muon's update: orthogonal, and the one that torch.optim.Muon makes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tenku import rng
from tenku.training import muon
from tenku.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(64, 64), (192, 64), (64, 176)])
@pytest.mark.parametrize("format", [torch.float32, torch.bfloat16])
def test_singular_values_end_near_one(
    shape: tuple[int, int], format: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "fastest", lambda device: format)
    made = orthogonal(rng.normal((3, *shape), 0, "matrices") * torch.tensor([1e-3, 1.0, 1e3])[:, None, None])
    values = torch.linalg.svdvals(made.float())
    assert made.shape == (3, *shape)
    # the smallest of a square matrix may start too near zero to arrive
    assert (values.sort(1).values[:, 3:] > 0.6).all()
    assert (values < 1.25).all()


def test_the_zero_matrix_stays() -> None:
    assert torch.equal(orthogonal(torch.zeros(1, 4, 8)), torch.zeros(1, 4, 8))


def test_steps_go_where_those_of_torch_go() -> None:
    torch.manual_seed(0)
    ours = nn.ModuleList([nn.Linear(64, 64, bias=False), nn.Linear(64, 160, bias=False), nn.Linear(64, 64, bias=False)])
    theirs = copy.deepcopy(ours)
    start = [p.detach().clone() for p in ours.parameters()]
    a = Muon(ours.parameters(), 1e-2)
    b = torch.optim.Muon(theirs.parameters(), 1e-2, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = rng.normal(tuple(p.shape), step, "gradient")
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q, s in zip(ours.parameters(), theirs.parameters(), start, strict=True):
        assert (p - q).norm() < 0.05 * (q - s).norm()  # theirs rounds to bfloat16


def test_a_kernel_is_a_matrix_with_a_row_per_output() -> None:
    kernel, matrix = nn.Parameter(torch.zeros(8, 4, 3, 3)), nn.Parameter(torch.zeros(8, 36))
    matrix.grad = rng.normal((8, 36), 0, "gradient")
    kernel.grad = matrix.grad.view(8, 4, 3, 3)
    optimizer = Muon([kernel, matrix], 1e-2)
    optimizer.step()
    assert torch.equal(kernel.flatten(1), matrix)
    assert float(matrix.detach().square().mean().sqrt()) == pytest.approx(0.2e-2, rel=0.2)
