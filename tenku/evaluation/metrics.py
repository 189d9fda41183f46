"""Figures with their intervals. Every figure says of how many it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z = 1.959963984540054  # standard normal quantile of a two-sided 95 % interval


@dataclass(frozen=True)
class Figure:
    """A mean and its 95 % interval."""

    value: float
    low: float
    high: float
    count: int  # independent observations: prompts, scenes, clips

    def to_json(self) -> dict[str, float | int]:
        """Rounded for reading."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4),
                "count": self.count}

    @classmethod
    def from_json(cls, data: dict[str, float | int]) -> Figure:
        """The inverse of `to_json`, up to rounding."""
        return cls(float(data["value"]), float(data["low"]), float(data["high"]), int(data["count"]))


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion (E. B. Wilson, JASA 22, 1927); also right at 0 and 1.

    share in [0, 1], of `count` >= 1 independent observations.
    """
    z2 = Z * Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def agreement(hits: Sequence[Sequence[bool]]) -> Figure | None:
    """The share of agreements over prompts, each with its takes; None for no prompts.

    Takes of one prompt are not independent, so the interval counts prompts, not clips: a prompt's mean lies
    in [0, 1], where no variable varies more than a coin of the same mean, so it is never too narrow.
    """
    means = [sum(takes) / len(takes) for takes in hits if takes]
    if not means:
        return None
    share = sum(means) / len(means)
    return Figure(share, *wilson(share, len(means)), len(means))


def mean(values: Sequence[float]) -> Figure | None:
    """The mean and its normal 95 % interval; None for no values."""
    if not values:
        return None
    data = np.asarray(values, dtype=np.float64)
    half = Z * float(data.std(ddof=1)) / math.sqrt(len(data)) if len(data) > 1 else 0.0
    return Figure(float(data.mean()), float(data.mean()) - half, float(data.mean()) + half, len(data))


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays of one shape; 100 where they are equal."""
    error = float(np.square(a.astype(np.float64) - b).mean())
    return 10 * math.log10(255**2 / error) if error > 0 else 100.0
