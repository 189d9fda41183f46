"""The transformer's contracts: context is read-only, tokens carry their place, packing changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tenku import rng
from tenku.config import TRANSFORMER_PRESETS
from tenku.errors import UserError
from tenku.model.codec import Codec
from tenku.model.patches import Grid, patchify, scale_of, unpatchify
from tenku.model.transformer import Transformer, attention, rotary, rotate

GRID = Grid(3, 2, 4)


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    made = Transformer(TRANSFORMER_PRESETS["tiny"])
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made.eval()


def run(
    model: Transformer, words: torch.Tensor, x: torch.Tensor, known: int, sigma: torch.Tensor,
    told: torch.Tensor | None = None,
) -> torch.Tensor:
    positions = GRID.positions()
    seen = None if told is None else model.see(told)
    before, canvas = (None, None) if seen is None else (seen[:known], seen[known:])
    context = model.context(words, x[:, :known], positions[:known], scale_of(GRID), before)
    return model.velocity(x[:, known:], sigma, positions[known:], context, scale_of(GRID), canvas)


def test_patchify_round_trip() -> None:
    latents = rng.normal((2, 3, 2, 4, 5), 0, "latents")
    assert torch.equal(unpatchify(patchify(latents), GRID), latents)


def test_positions_mean_the_same_place_at_any_size() -> None:
    small, large = Grid(1, 4, 4).positions(), Grid(1, 8, 8).positions()
    assert small.shape == (16, 3)
    assert small[:, 1].abs().max() < 4
    assert torch.allclose(small[:, 1:].view(4, 4, 2), large[:, 1:].view(4, 2, 4, 2, 2).mean((1, 3)), atol=1e-5)
    assert Grid(5, 1, 1, 0.5).positions()[-1, 0] == 4  # two seconds


def test_rotary_attention_depends_on_differences_alone() -> None:
    q, k = rng.normal((1, 5, 1, 64), 0, "q"), rng.normal((1, 5, 1, 64), 0, "k")
    positions = rng.normal((5, 3), 0, "where")
    near = rotate(q, rotary(positions[None]))[0, :, 0] @ rotate(k, rotary(positions[None]))[0, :, 0].T
    moved = positions + torch.tensor([3.0, -2.0, 1.0])
    far = rotate(q, rotary(moved[None]))[0, :, 0] @ rotate(k, rotary(moved[None]))[0, :, 0].T
    assert torch.allclose(near, far, atol=1e-4)


def test_both_ways_of_attention_agree() -> None:
    q, k, v = (rng.normal((2, 3, 9, 64), 0, n) for n in "qkv")
    plain = attention(*(t.bfloat16() for t in (q, k, v))).float()
    assert torch.allclose(plain, F.scaled_dot_product_attention(q, k, v), atol=0.03)


def test_context_does_not_see_the_canvas_and_is_computed_once(model: Transformer) -> None:
    words = torch.randint(1, 50, (1, 16))
    x = rng.normal((1, GRID.tokens, 32), 0, "x")
    cached = model.context(words, x[:, :8], GRID.positions()[:8], scale_of(GRID))
    before = [(k.clone(), v.clone()) for k, v in cached]
    for level in (1.0, 0.3):
        out = model.velocity(x[:, 8:], torch.full((1, 1), level), GRID.positions()[8:], cached, scale_of(GRID))
        assert torch.allclose(out, run(model, words, x, 8, torch.full((1, 1), level)), atol=1e-5)
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(before, cached, strict=True))


def test_words_known_tokens_and_noise_level_all_matter(model: Transformer) -> None:
    words = torch.randint(1, 50, (1, 16))
    x = rng.normal((1, GRID.tokens, 32), 0, "x")
    base = run(model, words, x, 8, torch.full((1, 1), 0.5))
    other = x.clone()
    other[:, 0] += 1
    assert not torch.allclose(run(model, words.flip(1), x, 8, torch.full((1, 1), 0.5)), base, atol=1e-4)
    assert not torch.allclose(run(model, words, other, 8, torch.full((1, 1), 0.5)), base, atol=1e-4)
    assert not torch.allclose(run(model, words, x, 8, torch.full((1, 1), 0.9)), base, atol=1e-4)


def test_what_tokens_are_told_matters(model: Transformer) -> None:
    words = torch.randint(1, 50, (1, 16))
    x = rng.normal((1, GRID.tokens, 32), 0, "x")
    level = torch.full((1, 1), 0.5)
    told = torch.zeros(1, GRID.tokens, model.config.motion + model.config.channels)
    base = run(model, words, x, 8, level, told)
    for token in (0, 20):  # one that is known, one of the canvas
        other = told.clone()
        other[:, token] = 1
        assert not torch.allclose(run(model, words, x, 8, level, other), base, atol=1e-4)


def test_noise_levels_per_step_and_per_token_equal_one_level_when_equal(model: Transformer) -> None:
    words = torch.randint(1, 50, (2, 16))
    x = rng.normal((2, GRID.tokens, 32), 0, "x")
    level = torch.tensor([[0.3], [0.8]])
    base = run(model, words, x, 8, level)
    for slots in (2, 16):  # steps of the canvas, tokens of the canvas
        assert torch.allclose(run(model, words, x, 8, level.expand(2, slots)), base, atol=1e-5)
    mixed = torch.tensor([[0.3, 0.8], [0.8, 0.8]])
    assert not torch.allclose(run(model, words, x, 8, mixed)[0], base[0], atol=1e-4)


def test_a_sample_is_the_same_alone_and_in_a_batch(model: Transformer) -> None:
    words = torch.randint(1, 50, (4, 16))
    x = rng.normal((4, GRID.tokens, 32), 0, "x")
    level = torch.full((4, 1), 0.5)
    together = run(model, words, x, 8, level)
    alone = torch.cat([run(model, words[i : i + 1], x[i : i + 1], 8, level[:1]) for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    made = Transformer(TRANSFORMER_PRESETS["tiny"])
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    x = rng.normal((1, GRID.tokens, 32), 0, "x")
    told = rng.normal((1, GRID.tokens, made.config.motion + made.config.channels), 0, "told")
    run(made, torch.randint(0, 50, (1, 96)), x, 8, torch.full((1, 1), 0.5), told).square().mean().backward()
    dead = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_flops_are_those_of_the_matrix_products(model: Transformer) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    words = torch.randint(1, 50, (1, 16))
    x = rng.normal((1, 16, 32), 0, "x")
    positions = GRID.positions()[:16]
    context = model.context(words, None, None, scale_of(GRID))
    with FlopCounterMode(display=False) as counter:
        told = torch.ones(1, 16, model.config.motion + model.config.channels)
        model.velocity(x, torch.full((1, 1), 0.5), positions, context, scale_of(GRID), model.see(told))
    assert counter.get_total_flops() == pytest.approx(16 * model.config.flops_per_token(16, 16), rel=0.15)


def test_checkpoint_round_trip_and_wrong_kind(model: Transformer, tmp_path: Path) -> None:
    path = tmp_path / "transformer.safetensors"
    model.save(path, half=True)
    loaded = Transformer.load(path)
    assert loaded.config == model.config
    assert torch.equal(loaded.leave.weight, model.leave.weight.bfloat16().float())
    with pytest.raises(UserError, match="another kind"):
        Codec.load(path)
