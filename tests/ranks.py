"""What torchrun starts for tests/test_distributed.py: `ranks.py cli ARGUMENTS...`, or `ranks.py checks FOLDER`.

Starting a process costs more than what it does here, so one start serves many checks. What they find is written to
`FOLDER/found.json` by the first rank.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from tenku import rng
from tenku.config import TRANSFORMER_PRESETS, TransformerConfig
from tenku.errors import UserError
from tenku.model import precision
from tenku.model.transformer import Transformer
from tenku.training import matching, muon, run, samples
from tenku.training.muon import orthogonal
from tenku.training.ranks import Ranks, Ways
from tenku.training.video import VideoTraining, train_video

samples.PROMPTS = samples.PROMPTS[:1]
run.SHOWN_SECONDS = 0.0  # every step's loss is kept
STEPS, KILLED = 5, 3
WIDE = TransformerConfig(width=128, depth=2, channels=8, text_depth=1, motion=6)  # two heads, for two ranks


PRESETS = {"wide": dataclasses.replace(TRANSFORMER_PRESETS["tiny"], width=128)}  # the same, to be trained


def precise(device: str = "cpu") -> torch.dtype:
    """In place of the fastest format: in bfloat16 sums in another order are another loss in the fifth digit."""
    return torch.float32


def settings(folder: Path, out: str, preset: str = "tiny", **given: Any) -> VideoTraining:
    """The run that all of these are: four groups a step, at rates that make a difference soon."""
    return VideoTraining(folder / "footage", folder / "codec.safetensors", None, folder / out, preset, steps=STEPS,
                         tokens=512, groups=4, rate=0.03, **given)


def digests(out: Path, identity: str, ways: Ways) -> dict[str, str]:
    """SHA-256 of the weights, and of all else, that a run's folder is resumed with."""
    ranks = Ranks(ways)
    model = matching.fresh(TRANSFORMER_PRESETS["tiny"], 99, None)  # other weights than the run's
    matching.hands_for(model, ranks, 1)
    optimizer, ema = run.Optimizer(model, 1e-3, muon=("blocks.",)), run.Ema(model)
    step = run.Run(out, STEPS, ranks=ranks, tensorboard=False).resume(model, optimizer, ema, identity)
    found = {"step": str(step)}
    for name, tensors in (("model", dict(model.named_parameters())), ("optimizer", optimizer.state()),
                          ("ema", ema.average)):
        digest = hashlib.sha256()
        for key in sorted(tensors):
            tensor = tensors[key].detach()
            whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            digest.update(key.encode() + whole.float().reshape(-1).numpy().tobytes())
        found[name] = digest.hexdigest()
    return found


def look(model: Transformer, runs: int, length: int, known: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Velocity of `runs` x `length` tokens beside `known` ones, and a loss of it."""
    draw = rng.stream(0, "look", runs, length, known)
    tokens, told = runs * length, WIDE.motion + WIDE.channels

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(draw.standard_normal(shape)).float()

    words = torch.from_numpy(draw.integers(1, 400, (2, 16)))
    context = model.context(words, normal(2, known, WIDE.channels), normal(2, known, 3), normal(2),
                            model.see(normal(2, known, told)))
    v = model.velocity(normal(2, tokens, WIDE.channels), normal(2, runs).sigmoid(), normal(2, tokens, 3), context,
                       normal(2), model.see(normal(2, tokens, told)))
    return v, (v - normal(2, tokens, WIDE.channels)).square().mean()


def wide() -> Transformer:
    """A transformer of which every part has a say."""
    torch.manual_seed(0)
    model = Transformer(WIDE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def split_against_whole() -> list[float]:
    """The largest difference of output and gradients, by their largest, with tokens divided among the ranks."""
    import torch.distributed as dist

    worst = []
    for runs, length, known in ((1, 9, 4), (3, 5, 0), (4, 1, 7)):  # even, odd, fewer tokens a run than ranks
        for again in (False, True):
            whole, parts = wide(), wide()
            matching.hands_for(parts, Ranks(Ways(split=2, recompute=again)), 1)
            outputs = []
            for model in (whole, parts):
                v, loss = look(model, runs, length, known)
                loss.backward()
                outputs.append(v.detach())
            worst.append(float((outputs[0] - outputs[1]).abs().max()))
            for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
                if p.grad is None:
                    assert q.grad is None
                    continue
                dist.all_reduce(q.grad)
                worst.append(float((p.grad - q.grad).abs().max() / p.grad.abs().max().clamp(min=1e-6)))
    return worst


def muon_in_pieces() -> float:
    """The largest difference of updates made from rows on two ranks and from whole matrices."""
    from tenku.training.sharding import orthogonal_pieces

    index = Ranks(Ways()).index
    worst = 0.0
    for count, rows in ((1, 6), (3, 5)):  # one rank has no matrix; uneven rows
        whole = torch.from_numpy(rng.stream(0, "muon", count).standard_normal((count, rows, 4))).float()
        mine = [list(matrix.chunk(2))[index] for matrix in whole]
        wanted = [list(matrix.chunk(2))[index] for matrix in orthogonal(whole)]
        found = orthogonal_pieces(mine, rows)
        worst = max(worst, *(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True)))
    return worst


def refused(**ways: Any) -> str:
    """What a user is told who asks for what cannot be."""
    try:
        ranks = Ranks(Ways(**ways))
        ranks.check(TRANSFORMER_PRESETS["tiny"])
        ranks.parts(3)
    except UserError as error:
        return f"{error}; {error.hint}"
    return ""


def disturbed(folder: Path) -> None:
    """A run with a checkpoint every second step, whose second rank kills itself in its first life."""
    first_life = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"

    def on_step(step: int) -> None:
        run.CHECKPOINT_SECONDS = 0.0 if step % 2 else 1e9  # looked at in the next step
        if first_life and step == KILLED and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)

    on_step(0)
    train_video(settings(folder, "killed", shard=True), on_step)


def checks(folder: Path) -> None:
    """All that two ranks have to show."""
    precision.fastest = muon.fastest = precise
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        train_video(settings(folder, "replicated", workers=2))
        train_video(settings(folder, "sharded", shard=True, recompute=True))
        TRANSFORMER_PRESETS.update(PRESETS)
        train_video(settings(folder, "split", "wide", shard=True, split=2))
        header = json.loads(Path(folder, "four", "checkpoints", "00000002", "run.json").read_text())
        four, identity = folder / "four", header["identity"]
        found = {"split": split_against_whole(), "muon": muon_in_pieces(),
                 "four": [digests(four, identity, Ways()), digests(four, identity, Ways(shard=True))],
                 "alone": digests(folder / "alone", header["identity"].replace("0.001", "0.03"), Ways(shard=True)),
                 "refused": [refused(split=3), refused(split=2), refused()],
                 "first": Ranks(Ways()).first(lambda: [os.environ["RANK"]])}
        if os.environ["RANK"] == "0":
            (folder / "found.json").write_text(json.dumps(found))
    disturbed(folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "cli":
        from tenku.cli import main

        sys.exit(main(sys.argv[2:]))
    checks(Path(sys.argv[2]))
