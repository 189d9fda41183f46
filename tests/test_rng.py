"""Random streams: named, independent, the same everywhere."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenku import rng

NAMES = st.lists(st.integers(0, 9) | st.text("ab1", max_size=3), max_size=3).map(tuple)


def test_the_numbers_are_pinned():
    """A clip made today is made again in ten years: these must never change."""
    assert rng.stream(7, "noise", 3).integers(0, 1000, 4).tolist() == [264, 1, 193, 937]
    assert rng.stream(0).random() == 0.7754824367364659


@given(st.integers(0, 2**63 - 1), NAMES, NAMES)
def test_streams_differ_by_their_names_and_only_by_them(seed, a, b):
    first, second = rng.stream(seed, *a).integers(0, 2**62, 4), rng.stream(seed, *b).integers(0, 2**62, 4)
    assert (a == b) == np.array_equal(first, second)


def test_a_number_is_not_its_text_and_joints_do_not_blur():
    draws = [rng.stream(1, *names).random() for names in [(1,), ("1",), ("a", "b"), ("ab",), ("a:b",), ()]]
    assert len(set(draws)) == len(draws)
    assert rng.stream(1, 2).random() != rng.stream(12).random()


def test_what_was_drawn_before_changes_nothing():
    alone = rng.stream(3, "x").random(5)
    other = rng.stream(3, "y")
    other.random(1000)
    assert np.array_equal(alone, rng.stream(3, "x").random(5))


def test_normal_is_float32_noise_from_the_same_stream():
    noise = rng.normal((4, 1000), 5, "noise", 0)
    assert noise.dtype == torch.float32
    assert noise.shape == (4, 1000)
    assert torch.equal(noise, rng.normal((4, 1000), 5, "noise", 0))
    assert abs(noise.mean().item()) < 0.05
    assert abs(noise.std().item() - 1) < 0.05


def test_drawing_leaves_the_global_generators_alone():
    before = torch.random.get_rng_state()
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002
    rng.normal((8,), 1, "a")
    rng.stream(1).random(3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(legacy, np.random.get_state()[1])  # noqa: NPY002
