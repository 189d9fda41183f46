"""A probe that knows newcomers: one more answer to the question which subject a clip shows.

The answer is one row beside those of the probe's own subjects, learnt from rendered truth alone, as rendered and
through the codec; all else of the probe stays as it is. So it says something else than before only where it says the
newcomer. How often it is right about truth that it has not seen, and how often it says the newcomer where there is
none, is its floor.

Legend: B clips, D width.
"""

from __future__ import annotations

import json
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

STEPS, RATE, DECAY = 400, 0.02, 1e-3


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
    """The probe's scores of a clip, and what its last layer is given for the question of the subject: D."""
    kept: list[Tensor] = []
    hook = probe.heads[list(FIELDS).index("subject")].register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    try:
        scores = probe(sight(probe.backbone, clip))
    finally:
        hook.remove()
    return scores, kept[0][0].clone()


def learn(probe: Probe, name: str, shown: Sequence[Tensor], others: Sequence[Tensor]) -> Recogniser:
    """Learns the row from what `look` gives for clips of the newcomer and of others: a step is all of them.

    Cross entropy over all answers, of which only the new row moves; both kinds count the same.
    """
    seen = torch.stack([*shown, *others]).clone()
    head = probe.heads[list(FIELDS).index("subject")]
    assert isinstance(head, torch.nn.Linear)
    known = (seen @ head.weight.T + head.bias).detach()
    target = torch.zeros(len(seen))
    target[: len(shown)] = 1.0
    weight = torch.where(target > 0, 0.5 / len(shown), 0.5 / len(others))
    middle, spread = seen.mean(0), seen.std(0) + 1e-6
    seen = (seen - middle) / spread
    row = torch.zeros(seen.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.AdamW([row, bias], lr=RATE, weight_decay=DECAY)
    rest = known.logsumexp(1)
    for _ in range(STEPS):
        # log odds of the new answer against all others together
        loss = (F.binary_cross_entropy_with_logits(seen @ row + bias - rest, target, reduction="none") * weight).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    row = row.detach() / spread
    return Recogniser(probe, name, row, bias.detach() - middle @ row)


def floor(recogniser: Recogniser, shown: Sequence[Clip], others: Sequence[Clip]) -> dict[str, float]:
    """Shares of clips that it takes for the newcomer, of its own and of others, neither seen before."""
    return {"recognised": _share(recogniser, shown), "taken for it": _share(recogniser, others)}


def _share(recogniser: Recogniser, clips: Sequence[Clip]) -> float:
    return sum(recogniser.read(clip)["subject"] == recogniser.name for clip in clips) / max(1, len(clips))


def said(values: dict[str, float]) -> dict[str, str]:
    """Figures as a header keeps them."""
    return {"floor": json.dumps(values)}
