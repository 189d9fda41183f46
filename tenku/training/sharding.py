"""A model in pieces, one on each rank (FSDP2), and the state of a run in files that any number of ranks reads.

Legend: R ranks, M matrices, of rows x columns.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint import load as dcp_load
from torch.distributed.checkpoint import save as dcp_save
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tenku.errors import UserError
from tenku.training.muon import orthogonal

LATEST = "latest"  # names the newest whole checkpoint
KEPT = 2  # checkpoints: the newest, and one before it


def shard(model: nn.Module, device: str) -> None:
    """Divides a model's weights among all ranks, a block at a time. Gradients of the ranks are added, not averaged."""
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    for name in ("text_blocks", "blocks"):
        for block in getattr(model, name):
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other
    # Of keys and values, which are views; nothing works on them in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")


def local(x: Tensor) -> Tensor:
    """This rank's piece of a tensor; all of it, where it is in one."""
    return x.to_local() if isinstance(x, DTensor) else x


def full(x: Tensor) -> Tensor:
    """All of a tensor, on every rank; all ranks are to ask at once."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def fill(x: Tensor, value: Tensor) -> None:
    """Writes a whole tensor into one that may be in pieces."""
    if isinstance(x, DTensor):
        value = distribute_tensor(value.to(x.device), x.device_mesh, x.placements, src_data_rank=None)
    x.detach().copy_(value.view_as(x))


def orthogonal_pieces(pieces: list[Tensor], rows: int, group: Any = None) -> list[Tensor]:
    """Muon's update of M matrices of which this rank has some rows each: the same rows of them, made orthogonal.

    Newton-Schulz needs whole matrices. They are dealt to the ranks, so that none is worked on twice (as in
    arXiv:2502.16982, section 2.3, where each rank gathers its own): one exchange brings the rows, one takes them back.
    """
    ranks, me = dist.get_world_size(group), dist.get_rank(group)
    columns = pieces[0].shape[1]
    heights = [len(part) for part in torch.arange(rows).chunk(ranks)]
    heights += [0] * (ranks - len(heights))
    owned = [list(range(owner, len(pieces), ranks)) for owner in range(ranks)]
    order = [i for some in owned for i in some]
    send = [len(some) * pieces[0].numel() for some in owned]
    receive = [len(owned[me]) * height * columns for height in heights]

    got = pieces[0].new_empty(sum(receive))
    dist.all_to_all_single(got, torch.cat([pieces[i].flatten() for i in order]), receive, send, group=group)
    parts = [part.view(len(owned[me]), height, columns)
             for part, height in zip(got.split(receive), heights, strict=True)]
    whole = torch.cat(parts, 1)  # matrices rows columns
    done = orthogonal(whole) if len(whole) else whole

    back = torch.cat([part.flatten() for part in done.split(heights, 1)])
    updates = pieces[0].new_empty(sum(send))
    dist.all_to_all_single(updates, back, send, receive, group=group)
    found = updates.view(len(pieces), *pieces[0].shape)
    return [found[order.index(i)] for i in range(len(pieces))]


def save(folder: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Writes a checkpoint `folder/<step>`, each rank its pieces, as safetensors. All ranks call it at once.

    It is written under another name and renamed when it is whole; then `latest` is made to name it. So a run killed at
    any moment leaves what it had.
    """
    leads = not dist.is_initialized() or dist.get_rank() == 0
    name = header["step"].zfill(8)
    temporary, place = folder / f".{name}.tmp", folder / name
    if leads:
        for old in (place, *folder.glob(".*.tmp")):  # a run that was killed may have left some
            shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir(parents=True)
    _wait()
    # Numbers without a dimension have no slices to be read by.
    shaped = {key: value.detach().reshape(1) if value.ndim == 0 else value.detach() for key, value in tensors.items()}
    dcp_save(shaped, storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True))
    _wait()
    if leads:
        (temporary / "run.json").write_text(json.dumps(header))
        os.replace(temporary, place)
        pointer = folder / f".{LATEST}.tmp"
        pointer.write_text(name)
        os.replace(pointer, folder / LATEST)
        for old in sorted(p for p in folder.iterdir() if p.is_dir() and p.name.isdigit())[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    _wait()


def _wait() -> None:
    if dist.is_initialized():
        dist.barrier()


def header_of(folder: Path) -> dict[str, str]:
    """What a checkpoint says of itself, with `path`; {} where there is none yet. Raises UserError for a broken one."""
    pointer = folder / LATEST
    if not pointer.exists():
        return {}
    path = folder / pointer.read_text().strip()
    try:
        header = json.loads((path / "run.json").read_text())
    except (OSError, ValueError):
        raise UserError(f"the checkpoint {path} is not whole", f"write another one's name into {pointer}") from None
    return {**header, "path": str(path)}


def load(path: Path, tensors: dict[str, Tensor]) -> None:
    """Reads a checkpoint into tensors, each of which may be whole or this rank's piece, whoever wrote it.

    Raises UserError if one is missing or of another shape.
    """
    shaped = {key: value.detach().reshape(1) if value.ndim == 0 else value.detach() for key, value in tensors.items()}
    with _readable(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as it is in one process
        dcp_load(shaped, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=not dist.is_initialized())
    for key, value in tensors.items():
        if value.ndim == 0:
            value.copy_(shaped[key][0])


def names_in(path: Path) -> list[str]:
    """The tensors of a checkpoint. Raises UserError if it is damaged."""
    with _readable(path):
        return list(HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (CheckpointException, SafetensorError, RuntimeError, ValueError, OSError) as error:
        why = next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error
        raise UserError(f"the checkpoint {path} cannot be read: {why}",
                        f"give another --out, or write the name of one before it into {path.parent / LATEST}") from None
