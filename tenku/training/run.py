"""What every training run shares: a folder, checkpoints that resume to the same bits, progress, curves.

A run draws nothing from hidden state: each step's randomness comes from `rng.stream(seed, ..., step)`, so model,
optimiser, EMA and step number are all there is to save.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenku.errors import UserError
from tenku.model.checkpoint import read_header, read_tensors, write_tensors
from tenku.training.muon import Muon
from tenku.training.ranks import Ranks, Ways

CHECKPOINT_SECONDS = 600.0
SHOWN_SECONDS = 10.0  # between lines of progress


def learning_rate(step: int, steps: int, peak: float, *, warmup: int = 100, decay: float = 0.2) -> float:
    """Warm-up, stable, then linear decay to zero over the last part of the run (WSD, arXiv:2404.06395)."""
    left = (steps - step) / max(1.0, decay * steps)
    return peak * min(1.0, (step + 1) / warmup, left)


class Optimizer:
    """Muon for the weights of the parts named in `muon`, AdamW for everything else."""

    def __init__(self, module: nn.Module, peak: float, *, muon: tuple[str, ...], decay: float = 0.0) -> None:
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        is_matrix = {n: any(part in n for part in muon) and p.ndim > 1 and n.endswith("weight") for n, p in named}
        rest = [p for n, p in named if not is_matrix[n]]
        matrices = [p for n, p in named if is_matrix[n]]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=peak, betas=(0.9, 0.95), weight_decay=decay, foreach=True)
        ]
        if matrices:
            # Muon's update has AdamW's size, so one learning rate serves both (arXiv:2502.16982)
            self.parts.append(Muon(matrices, peak))
        self.parameters = [p for _, p in named]

    def step(self, rate: float, clip: float = 1.0) -> float:
        """Clips the gradient's norm, steps at that learning rate, clears the gradient. Returns the norm."""
        total = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None], foreach=True)
        total = total.full_tensor() if hasattr(total, "full_tensor") else total  # of all pieces
        nn.utils.clip_grads_with_norm_(self.parameters, clip, total, foreach=True)
        norm = float(total)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            if math.isfinite(norm):
                part.step()
            part.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Tensor]:
        """All state as named tensors."""
        found: dict[str, Tensor] = {}
        for i, part in enumerate(self.parts):
            for j, values in part.state_dict()["state"].items():
                for name, value in values.items():
                    found[f"{i}.{j}.{name}"] = torch.as_tensor(value)
        return found

    def blank(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Zeros of the shapes that `state` will have under these names: whole, or in pieces as its parameters are."""
        found = {}
        for key in names:
            i, j, name = key.split(".", 2)
            parameter = self.parts[int(i)].param_groups[0]["params"][int(j)]
            found[key] = torch.zeros(()) if name == "step" else torch.zeros_like(parameter)
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self.parts]
        for key, value in tensors.items():
            i, j, name = key.split(".", 2)
            states[int(i)].setdefault(int(j), {})[name] = value
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


class Ema:
    """A power-function average of the weights over the whole run so far (arXiv:2312.02696, Eq. 124).

    Its horizon is a fixed share of the steps behind it, so it suits a run of any length; exponent 6.94 gives a
    relative width of 0.10.
    """

    def __init__(self, module: nn.Module, exponent: float = 6.94) -> None:
        self.exponent = exponent
        self.source = dict(module.named_parameters())
        self.average = {n: p.detach().clone() for n, p in self.source.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after step number `step` (from 0)."""
        keep = (1 - 1 / (step + 1)) ** (self.exponent + 1)
        names = list(self.average)
        torch._foreach_lerp_([self.average[n] for n in names], [self.source[n] for n in names], 1 - keep)

    def copy_to(self, module: nn.Module) -> None:
        """Writes the average into a module of the same shape."""
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                average = self.average[name]
                parameter.copy_(average.full_tensor() if hasattr(average, "full_tensor") else average)


class Run:
    """A folder with `state.safetensors` (to resume), `log.jsonl` and TensorBoard files, and a line of progress.

    Of several ranks each keeps its piece of the state, in `checkpoints/`, and the first shows how they get on. Either
    kind of state is resumed by any number of ranks.
    """

    def __init__(self, folder: Path, steps: int, *, ranks: Ranks | None = None, tensorboard: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.steps = folder, steps
        self.ranks = ranks or Ranks(Ways())
        self.state_path, self.pieces = folder / "state.safetensors", folder / "checkpoints"
        self.started = self.shown = self.saved = time.monotonic()
        self.first_step = 0
        self.flops = self.session_flops = 0.0
        self._recent: list[float] = []
        self._asked_to_stop = self._due = self._signalled = False  # the first two: all ranks know them alike
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._stop)
        self._board: Any = None
        if tensorboard and self.ranks.leads:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._board = SummaryWriter(str(folder / "tensorboard"))
            except ImportError:
                print("note: no TensorBoard files: pip install tensorboard", file=sys.stderr)

    def resume(self, module: nn.Module, optimizer: Optimizer, ema: Ema, identity: str) -> int:
        """Loads the run's state if there is one; returns the step to go on from.

        Raises UserError if the folder holds a run of another identity (other preset, seed, data or rate).
        """
        header = self.ranks.first(self._newest)
        if not header:
            return 0
        if header.get("identity") != identity:
            raise UserError(f"{self.folder} holds another run: {header.get('identity')}",
                            "give another --out, or the same arguments as then")
        if "path" in header:
            self._resume_pieces(Path(header["path"]), module, optimizer, ema)
        else:
            self._resume_file(module, optimizer, ema)
        self.flops = float(header["flops"])
        self.first_step = int(header["step"])
        return self.first_step

    def _newest(self) -> dict[str, str]:
        """The header of the state that has come furthest, with the path of pieces; {} if there is none."""
        found: list[dict[str, str]] = [{}]
        if (self.pieces / "latest").exists():
            from tenku.training.sharding import header_of

            found.append(header_of(self.pieces))
        if self.state_path.exists():
            found.append(read_header(self.state_path))
        return max(found, key=lambda header: int(header.get("step", -1)))

    def _resume_file(self, module: nn.Module, optimizer: Optimizer, ema: Ema) -> None:
        tensors, _ = read_tensors(self.state_path)
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "ema": {}}
        for key, value in tensors.items():
            part, name = key.split("/", 1)
            parts[part][name] = value
        if not self.ranks.launched:
            module.load_state_dict(parts["model"], strict=True)
            optimizer.load(parts["optimizer"])
            ema.average = {n: parts["ema"][n] for n in ema.average}
            return
        from tenku.training.sharding import fill

        state = optimizer.blank(parts["optimizer"])
        for part, places in (("model", module.state_dict()), ("optimizer", state), ("ema", ema.average)):
            for name, place in places.items():
                fill(place, parts[part][name])
        optimizer.load(state)

    def _resume_pieces(self, path: Path, module: nn.Module, optimizer: Optimizer, ema: Ema) -> None:
        from tenku.training.sharding import load, names_in

        kept = [name.split("/", 1)[1] for name in names_in(path) if name.startswith("optimizer/")]
        state = optimizer.blank(kept)
        load(path, _state(module, state, ema))
        optimizer.load(state)

    def save(self, step: int, module: nn.Module, optimizer: Optimizer, ema: Ema, identity: str) -> None:
        """Writes the state after `step` steps; all ranks call it at once."""
        tensors = _state(module, optimizer.state(), ema)
        header = {"identity": identity, "step": str(step), "flops": repr(self.flops)}
        if self.ranks.launched:
            from tenku.training.sharding import save

            save(self.pieces, tensors, header)
        else:
            write_tensors(self.state_path, {k: v.clone() for k, v in tensors.items()}, header)
        self.saved = time.monotonic()

    def _stop(self, number: int, _frame: object) -> None:
        self._signalled = True
        signal.signal(number, signal.SIG_DFL)  # asked twice, it ends at once
        if self.ranks.leads:
            print("stopping after this step; the same command again goes on", file=sys.stderr, flush=True)

    def due(self) -> bool:
        """Whether it is time for a checkpoint: every ten minutes, and when asked to stop. All ranks say the same."""
        return self._asked_to_stop or self._due

    def leave_if_asked(self) -> None:
        """Raises KeyboardInterrupt after a SIGINT or SIGTERM to any rank; call it when everything is saved."""
        if self._asked_to_stop:
            self.close()
            raise KeyboardInterrupt

    def log(self, step: int, flops: float, values: dict[str, float]) -> None:
        """Counts a step's FLOPs, and every SHOWN_SECONDS shows and keeps the averaged values.

        FLOPs and loss are this rank's part of the step's; those of all ranks are added up. Those that share a group
        each know all of its loss.
        """
        mine = [values["loss"], flops, self.ranks.peak_bytes(), float(self._signalled),
                float(time.monotonic() - self.saved > CHECKPOINT_SECONDS)]
        losses, each, peaks, asked, due = zip(*self.ranks.everyone(mine), strict=True)
        split = self.ranks.ways.split
        values = {**values, "loss": sum(losses[::split]), "peak_bytes": max(peaks)}
        flops = sum(each[::split])
        self._asked_to_stop, self._due = any(asked), any(due)
        self.flops += flops
        self.session_flops += flops
        if not self.ranks.leads:
            return
        self._recent.append(values["loss"])
        now = time.monotonic()
        if now - self.shown < SHOWN_SECONDS and step + 1 < self.steps:
            return
        self.shown = now
        loss = sum(self._recent) / len(self._recent)
        self._recent.clear()
        spent = now - self.started
        pace = spent / (step + 1 - self.first_step)
        left = pace * (self.steps - step - 1)
        row = {"step": step + 1, "loss": loss, "flops": self.flops, "flop_per_s": self.session_flops / spent,
               **{k: v for k, v in values.items() if k != "loss"}}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step + 1)
        print(f"step {step + 1}/{self.steps}  loss {loss:.4f}  {1 / pace:.2f} steps/s  "
              f"{self.session_flops / spent / 1e9:.0f} GFLOP/s  {self.flops:.2e} FLOP  "
              f"{max(peaks) / 2**30:.2f} GiB  "
              f"ETA {int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Closes the curve files, gives the signals back."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._board is not None:
            self._board.close()


def _state(module: nn.Module, optimizer: dict[str, Tensor], ema: Ema) -> dict[str, Tensor]:
    """All that a run remembers, by name."""
    tensors = {f"model/{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"optimizer/{k}": v for k, v in optimizer.items()}
    return tensors | {f"ema/{k}": v for k, v in ema.average.items()}
