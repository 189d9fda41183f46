"""How much data a model of a size is worth, by laws that others fitted. They disagree by orders of magnitude.

Each law says which size is best for a budget; read backwards, it says for which budget a size is best. N parameters,
D tokens, C FLOP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

EPOCHS = 4  # that data can be shown with hardly a loss against fresh data; fitted on text (arXiv:2305.16264)


@dataclass(frozen=True)
class Law:
    """A law, its source, and what it was fitted on."""

    tokens: Callable[[float, float], float]  # of N and of FLOP a token, forward and backward: D
    says: str
    source: str
    fitted: str


LAWS: dict[str, Law] = {
    "image": Law(
        lambda n, each: 186.85 * (n / 0.0009) ** (0.4319 / 0.5681),
        "N = 0.0009 C^0.5681, D = 186.85 C^0.4319", "arXiv:2410.08184",
        "diffusion transformers of 1 M to 1 B on images of 256 pixels, 1e17 to 6e18 FLOP; held at 1 B and 1e21"),
    "text": Law(
        lambda n, each: 20 * n,
        "D = 20 N", "arXiv:2203.15556",
        "language models of 70 M to 16 B, 6e18 to 3e21 FLOP: about twenty tokens a parameter"),
    "video": Law(
        lambda n, each: 1e12 * (n / 1e6 / 1.5787) ** (1 / 0.4146) / each,
        "N / 1e6 = 1.5787 (C / 1e12)^0.4146", "arXiv:2411.17470",
        "video diffusion transformers of 17 M to 0.26 B, 2 to 12 B tokens; the units are our reading of it"),
}


def tokens_a_step(parameters: float, tokens: float) -> float:
    """Best tokens of a step, by the video law (arXiv:2411.17470); N and D in 1e9."""
    return 2.18e4 * (tokens / 1e9) ** 0.81 * (parameters / 1e9) ** 0.19


def learning_rate(parameters: float, tokens: float) -> float:
    """Best peak rate of AdamW, by the same; Muon's updates have AdamW's size (training/muon.py)."""
    return 2e-4 * (tokens / 1e9) ** -0.045 * (parameters / 1e9) ** -0.162
