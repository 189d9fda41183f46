"""Flow matching against closed forms."""

from __future__ import annotations

import pytest
import torch
from closed_form import Mixture

from tenku import rng
from tenku.model import flow
from tenku.sampling.guidance import guided
from tenku.sampling.solvers import SOLVERS, Velocity, euler, heun


def test_the_line_starts_at_data_and_ends_at_noise() -> None:
    data, noise = rng.normal((2, 3, 4), 1, "data"), rng.normal((2, 3, 4), 1, "noise")
    assert torch.equal(flow.interpolate(data, noise, torch.zeros(2, 3)), data)
    assert torch.allclose(flow.interpolate(data, noise, torch.ones(2, 3)), noise)


def test_velocity_is_the_derivative_of_the_line() -> None:
    data, noise = rng.normal((1, 3, 4), 1, "data").double(), rng.normal((1, 3, 4), 1, "noise").double()
    low, high = (flow.interpolate(data, noise, torch.full((1, 3), s, dtype=torch.float64)) for s in (0.4, 0.6))
    assert torch.allclose((high - low) / 0.2, flow.velocity(data, noise))


@pytest.mark.parametrize("sigma", [0.1, 0.7, 1.0])
def test_denoised_finds_the_data_from_the_true_velocity(sigma: float) -> None:
    data, noise = rng.normal((1, 3, 4), 1, "data").double(), rng.normal((1, 3, 4), 1, "noise").double()
    x = flow.interpolate(data, noise, torch.full((1, 3), sigma, dtype=torch.float64))
    assert torch.allclose(flow.denoised(x, flow.velocity(data, noise), sigma), data)


def test_shift_keeps_the_ends_and_the_order() -> None:
    sigma = torch.linspace(0, 1, 11)
    moved = flow.shift(sigma, 3.0)
    assert moved[0] == 0
    assert moved[-1] == 1
    assert (moved.diff() > 0).all()
    assert (moved[1:-1] > sigma[1:-1]).all()


def test_schedule_runs_from_noise_to_data() -> None:
    sigmas = flow.schedule(7, 200)
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert len(sigmas) == 8
    assert (sigmas.diff() < 0).all()


def test_drawn_levels_cover_the_line_and_lean_to_noise_for_more_tokens() -> None:
    few = flow.draw_sigmas(rng.stream(0, "few"), (4000,), 64)
    many = flow.draw_sigmas(rng.stream(0, "many"), (4000,), 1024)
    assert few.min() > 0
    assert many.max() < 1
    assert few.min() < 0.05
    assert few.max() > 0.95
    assert many.mean() > few.mean() + 0.15


def test_euler_is_first_order_and_heun_second() -> None:
    # Exact velocity of a Gaussian mixture, in float64; the error of a solver falls as its order says.
    mixture = Mixture(means=torch.tensor([-2.0, 1.0]), stds=torch.tensor([0.3, 0.5]), weights=torch.tensor([0.4, 0.6]))
    start = torch.linspace(-2, 2, 41, dtype=torch.float64)

    def final(solver: str, steps: int) -> torch.Tensor:
        sigmas = torch.linspace(1, 0.05, steps + 1, dtype=torch.float64)
        return SOLVERS[solver](mixture.velocity, start, sigmas)

    truth = final("heun", 4096)
    for solver, order in (("euler", 1), ("heun", 2)):
        coarse, fine = ((final(solver, n) - truth).abs().max() for n in (64, 128))
        assert 2**order * 0.75 < coarse / fine < 2**order * 1.35, solver


def test_sampling_a_mixture_gives_its_moments() -> None:
    mixture = Mixture(means=torch.tensor([-2.0, 1.0]), stds=torch.tensor([0.3, 0.5]), weights=torch.tensor([0.4, 0.6]))
    noise = rng.normal((20_000,), 3, "noise").double()
    sample = euler(mixture.velocity, noise, torch.linspace(1, 0, 101, dtype=torch.float64))
    mean = -2 * 0.4 + 1 * 0.6
    assert abs(sample.mean() - mean) < 0.03
    assert abs((sample < -0.8).double().mean() - 0.4) < 0.02


def test_callback_sees_every_step_and_the_state_before_it() -> None:
    seen: list[tuple[int, float]] = []
    heun(lambda x, s: -x, torch.ones(1), torch.tensor([1.0, 0.5, 0.0]), lambda i, x, v, s: seen.append((i, s)))
    assert seen == [(1, 1.0), (2, 0.5)]


def test_guidance_extrapolates_and_at_one_asks_only_once() -> None:
    def never() -> Velocity:
        raise AssertionError("not needed at scale 1")

    one, two = (lambda x, s: x + 1), (lambda x, s: x)
    assert guided(one, never, 1)(torch.zeros(1), 0.5) == 1
    assert guided(one, lambda: two, 3)(torch.zeros(1), 0.5) == 3
