"""The shared nouns refuse what they cannot mean."""

from __future__ import annotations

import numpy as np
import pytest

from tenku.errors import UserError
from tenku.types import Clip, Size


def test_a_clip_knows_its_size_and_length():
    clip = Clip(np.zeros((33, 80, 128, 3), np.uint8), 16.0)
    assert clip.size == (128, 80)
    assert clip.seconds == pytest.approx(2.0625)


@pytest.mark.parametrize(
    ("shape", "dtype", "fps"),
    [((3, 4, 4), np.uint8, 16), ((3, 4, 4, 4), np.uint8, 16), ((3, 4, 4, 3), np.float32, 16),
     ((3, 4, 4, 3), np.uint8, 0), ((3, 4, 4, 3), np.uint8, -1), ((3, 4, 4, 3), np.uint8, float("nan"))],
)
def test_a_clip_of_something_else_is_refused(shape, dtype, fps):
    with pytest.raises(ValueError, match="must be"):
        Clip(np.zeros(shape, dtype), fps)


@pytest.mark.parametrize("text", ["128x80", "1x1", "128X80", "0128x080"])
def test_sizes_are_read(text):
    size = Size.parse(text)
    width, height = text.lower().split("x")
    assert (size.width, size.height) == (int(width), int(height))
    assert Size.parse(str(size)) == size


NO_SIZES = ["", "x", "128", "128x", "x80", "12.8x80", "-1x80", "128 x80", "²x²", "٦٤x٦٤", "1x1x1"]


@pytest.mark.parametrize("text", NO_SIZES)
def test_other_text_is_no_size(text):
    with pytest.raises(ValueError, match="must look like 128x80"):
        Size.parse(text)


def test_a_user_error_is_a_value_error_with_a_way_out():
    error = UserError("steps cannot be 0", "a whole number")
    assert isinstance(error, ValueError)
    assert (str(error), error.hint, UserError("x").hint) == ("steps cannot be 0", "a whole number", "")
