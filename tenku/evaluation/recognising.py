"""A probe that knows newcomers: one more answer to the question which subject a clip shows.

The answer is one row over what the probe sees of the main subject, learnt from rendered truth alone, as rendered and
through the codec; the probe stays as it is. So it says something else than before only where it says the newcomer. How
often it is right about truth that it has not seen, and how often it says the newcomer where there is none, is its
floor.

Legend: B clips, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tenku.evaluation.probe import FIELDS, Probe
from tenku.evaluation.sight import sight
from tenku.model.checkpoint import read_tensors, write_tensors
from tenku.types import Clip

STEPS = 200
SMALL = 1e-3  # how small the row is kept


@dataclass(frozen=True)
class Recogniser:
    """A probe and the row of a newcomer."""

    probe: Probe
    name: str
    row: Tensor  # D
    bias: Tensor  # 1

    def read(self, clip: Clip) -> dict[str, str]:
        """What a clip shows, per field; its subject may be the newcomer."""
        scores, seen = look(self.probe, clip)
        found = {field: FIELDS[field][int(scores[field][0].argmax())] for field in FIELDS}
        if float(seen @ self.row + self.bias) > float(scores["subject"].max()):
            found["subject"] = self.name
        return found

    def save(self, path: Path, facts: dict[str, str]) -> None:
        """Writes the row, with the name and facts in the header."""
        write_tensors(path, {"row": self.row, "bias": self.bias}, {"name": self.name, **facts})

    @classmethod
    def load(cls, probe: Probe, path: Path) -> Recogniser:
        """Reads what `save` wrote, for the same probe. Raises UserError for a missing or corrupt file."""
        tensors, header = read_tensors(path)
        return cls(probe, header["name"], tensors["row"], tensors["bias"])


@torch.inference_mode()
def look(probe: Probe, clip: Clip) -> tuple[dict[str, Tensor], Tensor]:
    """The probe's scores of a clip, and D numbers: what its last layer is given for the question of the subject, and
    the backbone's features where it sees the main subject, on average over the stills.

    The first alone keeps little but what tells the subjects that it knows from one another (dev/LOG.md).
    """
    kept: list[Tensor] = []
    head = probe.heads[list(FIELDS).index("subject")]
    hook = head.register_forward_pre_hook(lambda _, given: kept.append(given[0][0]))
    seen = sight(probe.backbone, clip)
    try:
        scores = probe(seen)
    finally:
        hook.remove()
    share = scores["cover"][0].sigmoid()[..., None]  # T N 1
    features = (share * seen.features[0].float()).sum(1) / share.sum(1).clamp(min=1e-3)
    return scores, torch.cat([kept[0], features.mean(0)])


def learn(probe: Probe, name: str, shown: Sequence[tuple[dict[str, Tensor], Tensor]],
          others: Sequence[tuple[dict[str, Tensor], Tensor]]) -> Recogniser:
    """Learns the row from what `look` gives for clips of the newcomer and of others.

    Logistic regression: the log odds of the new answer against all others together. The newcomer counts as one subject
    among those that the probe knows.
    """
    looks = [*shown, *others]
    seen = torch.stack([features for _, features in looks]).clone()
    rest = torch.stack([scores["subject"][0] for scores, _ in looks]).logsumexp(1).clone()
    target = torch.zeros(len(seen))
    target[: len(shown)] = 1.0
    part = 1 / (len(FIELDS["subject"]) + 1)
    weight = torch.where(target > 0, part / len(shown), (1 - part) / len(others))
    middle, spread = seen.mean(0), seen.std(0) + 1e-3 * seen.std()
    seen = (seen - middle) / spread
    row, bias = torch.zeros(seen.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    solver = torch.optim.LBFGS([row, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        wrong = F.binary_cross_entropy_with_logits(seen @ row + bias - rest, target, reduction="none")
        value = (wrong * weight).sum() + SMALL * row.square().sum()
        value.backward()
        return value

    solver.step(loss)
    found = row.detach() / spread
    return Recogniser(probe, name, found, bias.detach() - middle @ found)


def floor(recogniser: Recogniser, shown: Sequence[Clip], others: Sequence[Clip]) -> dict[str, float]:
    """Shares of clips that it takes for the newcomer, of its own and of others, neither seen before."""
    return {"recognised": _share(recogniser, shown), "taken for it": _share(recogniser, others)}


def _share(recogniser: Recogniser, clips: Sequence[Clip]) -> float:
    return sum(recogniser.read(clip)["subject"] == recogniser.name for clip in clips) / max(1, len(clips))
