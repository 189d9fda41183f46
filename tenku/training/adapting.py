"""What fine-tuning of our networks shares: which weights learn, a loop that resumes, and what is kept of it.

With a rank, small matrices beside the frozen ones learn (LoRA, arXiv:2106.09685, by `peft`); with rank 0, all weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tenku.errors import UserError
from tenku.training.run import Ema, Optimizer, Run, learning_rate

DECAY = 0.5  # of the steps: the rate's own noise is most of what a short run leaves wrong
Loss = Callable[[int], tuple[Tensor, float]]  # step -> loss, FLOPs


def open_up(network: nn.Module, rank: int, alpha: int, modules: str, seed: int) -> nn.Module:
    """Lets a network learn: matrices of `rank` beside the modules that the expression names, or with rank 0 all of
    these. Raises UserError where peft is missing."""
    network.requires_grad_(False)
    if rank == 0:
        import re

        for name, module in network.named_modules():
            if re.fullmatch(modules, name):
                module.requires_grad_(True)
        return network
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError("LoRA needs peft", "pip install -c constraints.txt '.[tune]'") from None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=modules)
        network = inject_adapter_in_model(config, network)
    return network


def learnt(part: str, average: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An adapter's tensors of a part, from the averaged parameters of a network with small matrices."""
    return {f"{part}.{name.replace('.default', '')}": value.clone() for name, value in average.items()
            if ".lora_" in name}


def fit(
    folder: Path, network: nn.Module, loss: Loss, steps: int, rate: float, settings: Mapping[str, object],
    on_save: Callable[[int, Ema, float], None], saves: int = 1,
) -> Ema:
    """Fits what is open of a network, or goes on fitting it; returns the averaged weights.

    settings: what must be equal for a folder's run to be continued. `on_save(step, average, flops)` after each
    checkpoint, of which there are at least so many.
    """
    run, identity = Run(folder, steps), json.dumps({**settings, "rate": rate})
    full = not any(".lora_" in name for name, _ in network.named_parameters())
    optimizer = Optimizer(network, rate, muon=("blocks.",) if full else ())
    average = Ema(network)
    step = run.resume(network, optimizer, average, identity)
    while step < steps:
        value, flops = loss(step)
        value.backward()
        if step == 0 and not torch.isfinite(value):
            raise UserError("the first loss is not finite", "see whether the clips can be seen, and the rate is small")
        norm = optimizer.step(learning_rate(step, steps, rate, warmup=min(100, steps // 10 + 1), decay=DECAY))
        average.update(step)
        run.log(step, flops, {"loss": float(value.detach()), "norm": norm})
        step += 1
        if run.due() or step == steps or step % max(1, steps // saves) == 0:
            run.save(step, network, optimizer, average, identity)
            on_save(step, average, run.flops)
            run.leave_if_asked()
    run.close()
    return average
