"""Trains the classifier that says whether a Tenku model made a clip (provenance/classifier.py), on twins.py's examples.

Legend: E examples of one moment, B examples of a batch, 3 frames, H W pixels, C channels.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenku import rng
from tenku.errors import UserError
from tenku.model.checkpoint import write_tensors
from tenku.model.precision import autocast
from tenku.provenance.classifier import PLANES, STRIDES, WIDTHS, Classifier, planes
from tenku.training.run import Ema, Optimizer, Run, learning_rate
from tenku.training.twins import KINDS, OURS, SIDE, ClassifierTraining, Examples, Library

SHARES = (0.36, 0.1, 0.2, 0.17, 0.17)  # of a batch
STRAY = 0.0005  # share of clips that others made, of which it may be wrong: half of what is promised of unseen ones
MISSED = 0.02  # share of ours that may be told to be others'
CUT = 64  # pixels of an example that a step looks at
DECAY = 0.02  # of the weights
SETTLING = 20  # batches from which norms take their means


class Network(nn.Module):
    """The network as it is trained: `planes` of moments, E H W C, to logits E. What it ships has no norms any more."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, width, 3, stride, 1, bias=False)
            for before, width, stride in zip((PLANES, *widths), widths, STRIDES, strict=False))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.last = nn.Linear(2 * widths[-1], 1)

    def layers(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Each convolution, and the norm behind it."""
        return cast(list[tuple[nn.Conv2d, nn.BatchNorm2d]], list(zip(self.convolutions, self.norms, strict=True)))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        for convolution, norm in self.layers():
            found = norm(convolution(x))
            x = F.relu(found + x if found.shape == x.shape else found)
        x = x.float()
        pooled = torch.cat([x.mean((2, 3)), (x.var((2, 3), correction=0) + 1e-8).sqrt()], 1)
        logits: Tensor = self.last(pooled)[:, 0]
        return logits

    def flops(self) -> float:
        """Forward FLOPs for one example."""
        total, side = 0.0, CUT
        for (convolution, _), stride in zip(self.layers(), STRIDES, strict=True):
            side = -(-side // stride)
            total += 2.0 * side * side * convolution.weight.numel()
        return total

    @torch.no_grad()
    def tensors(self) -> dict[str, Tensor]:
        """By the names that provenance/classifier.py knows, as float16.

        Norms have gone into the convolutions, and so has what goes around them (RepVGG; Ding et al., 2021).
        """
        found: dict[str, Tensor] = {f"last.{name}": p for name, p in self.last.named_parameters()}
        for number, (convolution, norm) in enumerate(self.layers()):
            mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            scale = norm.weight * (variance + norm.eps).rsqrt()
            weight = convolution.weight * scale[:, None, None, None]
            if STRIDES[number] == 1 and weight.shape[0] == weight.shape[1]:
                weight[:, :, 1, 1] += torch.eye(len(weight))
            found[f"{number}.weight"] = weight
            found[f"{number}.bias"] = norm.bias - mean * scale
        return {name: p.detach().half() for name, p in found.items()}


def batch(library: Examples, step: int, args: ClassifierTraining) -> tuple[Tensor, Tensor]:
    """`planes` of some examples, cut anew, B CUT CUT C, half of them mirrored; and which are ours, B."""
    draw = rng.stream(args.seed, "classifier", step)
    there = [kind for kind in range(len(KINDS)) if (library.kinds == kind).any()]
    shares = np.array([SHARES[kind] for kind in there])
    kinds = draw.choice(there, args.batch, p=shares / shares.sum())
    picks = np.array([draw.choice(np.flatnonzero(library.kinds == kind)) for kind in kinds])
    y, x = draw.integers(SIDE - CUT + 1, size=2)
    seen = library.seen[picks, :, y:y + CUT, x:x + CUT]
    turned = draw.random(args.batch) < 0.5
    seen[turned] = seen[turned, :, :, ::-1]
    return torch.from_numpy(planes(seen)), torch.from_numpy((kinds < OURS).astype(np.float32))


# -- training -------------------------------------------------------------------------------------------------


def train_classifier(args: ClassifierTraining, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or goes on training, the classifier. Returns the path of `classifier.safetensors`."""
    if args.preset not in WIDTHS:
        raise UserError(f"no such preset: {args.preset!r}", f"one of {', '.join(WIDTHS)}")
    with torch.random.fork_rng():  # module initialisers draw from torch's own stream
        torch.manual_seed(args.seed)
        network = Network(WIDTHS[args.preset]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    args.out.mkdir(parents=True, exist_ok=True)
    library = Library(args)
    parts = []
    for part in library.learnt_from():
        parts.append(part)
        print(f"{sum(len(p.kinds) for p in parts)} examples", file=sys.stderr, flush=True)
    examples = Examples(np.concatenate([p.seen for p in parts]), np.concatenate([p.kinds for p in parts]))
    del parts
    run = Run(args.out, args.steps)
    optimizer, ema = Optimizer(network, args.rate, muon=("convolutions",), decay=DECAY), Ema(network)
    step = run.resume(network, optimizer, ema, args.identity())
    while step < args.steps:
        x, ours = batch(examples, step, args)
        with autocast():
            found = network(x)
        loss = F.binary_cross_entropy_with_logits(found, ours)
        loss.backward()
        norm = optimizer.step(learning_rate(step, args.steps, args.rate))
        ema.update(step)
        right = float(((found > 0) == (ours > 0.5)).float().mean())
        run.log(step, 3 * network.flops() * args.batch, {"loss": float(loss.detach()), "norm": norm, "right": right})
        step += 1
        if run.due() or step == args.steps:
            run.save(step, network, optimizer, ema, args.identity())
            run.leave_if_asked()
        if on_step:
            on_step(step)
    run.close()
    ema.copy_to(network)
    settle(network, examples, args)
    return publish(network, library, run.flops)


@torch.no_grad()
def settle(network: Network, examples: Examples, args: ClassifierTraining) -> None:
    """The norms' means and deviations under the averaged weights."""
    for _, norm in network.layers():
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all that follows
    for number in range(SETTLING):
        network(batch(examples, args.steps + number, args)[0])


def publish(network: Network, library: Library, flops: float) -> Path:
    """Writes the averaged weights, and how their scores are to be read: found on clips that nothing was learnt from."""
    path = library.args.out / "classifier.safetensors"
    tensors = network.tensors()
    plain = Classifier({k: v.float().numpy() for k, v in tensors.items()},
                       {"slope": 1.0, "offset": 0.0, "made": 0.0, "other": 0.0})
    found = [(kind, float(plain.logits(planes(seen)).mean())) for kind, seen in library.read_on()]
    kinds, scores = np.array([kind for kind, _ in found]), np.array([score for _, score in found])
    again = kinds == KINDS.index("dreamt, through the codec")  # said to be others' only where that is sure, too
    reading = read_scores(scores[~again], kinds[~again] < OURS)
    reading["other"] = min(reading["other"], float(np.quantile(scores[again], MISSED)))
    facts = {"kind": "Classifier", "reading": json.dumps(reading), "flops": repr(flops), "model": library.args.model,
             "read_on": json.dumps({name: int((kinds == kind).sum()) for kind, name in enumerate(KINDS)})}
    write_tensors(path, tensors, facts)
    print(f"reading: {json.dumps(reading)}", file=sys.stderr, flush=True)
    return path


def read_scores(scores: np.ndarray, ours: np.ndarray) -> dict[str, float]:
    """How scores are to be read: log odds = slope * score + offset, as if either were as likely (Platt, 1999); and
    from which score on, and up to which one, the classifier says so."""
    weights = np.where(ours, 0.5 / max(1, ours.sum()), 0.5 / max(1, (~ours).sum()))
    center, spread = float(scores.mean()), float(scores.std()) + 1e-6
    x = np.stack([(scores - center) / spread, np.ones_like(scores)], 1)
    fit = np.zeros(2)
    for _ in range(50):  # Newton's method, held back a little so that it ends where the classes are apart
        p = 1 / (1 + np.exp(-np.clip(x @ fit, -50, 50)))
        slope = x.T @ (weights * (ours - p)) - 1e-4 * fit
        fit += np.linalg.solve((x.T * (weights * p * (1 - p))) @ x + 1e-4 * np.eye(2), slope)
    made = float(np.quantile(scores[~ours], 1 - STRAY)) if (~ours).any() else 0.0
    other = min(made, float(np.quantile(scores[ours], MISSED))) if ours.any() else made
    return {"slope": float(fit[0] / spread), "offset": float(fit[1] - fit[0] * center / spread), "made": made,
            "other": other}
