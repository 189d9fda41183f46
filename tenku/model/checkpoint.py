"""Checkpoints: safetensors with the config in the header, written atomically, loaded strictly."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tenku.errors import UserError

M = TypeVar("M", bound=nn.Module)
_HINT = "give a checkpoint that `tenku train` wrote, or reinstall tenku for the bundled one"


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Writes to a temporary name beside `path`, then renames: a killed run leaves the old file whole."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, metadata=header)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file. Raises UserError if it is missing or corrupt."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"no such checkpoint: {path.name}", _HINT) from None
    except (SafetensorError, OSError, ValueError):
        raise UserError(f"the checkpoint {path.name} is corrupt", _HINT) from None


def read_header(path: Path) -> dict[str, str]:
    """The header alone. Raises UserError like `read_tensors`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except FileNotFoundError:
        raise UserError(f"no such checkpoint: {path.name}", _HINT) from None
    except (SafetensorError, OSError, ValueError):
        raise UserError(f"the checkpoint {path.name} is corrupt", _HINT) from None


def save_module(
    module: nn.Module, path: Path, config: dict[str, Any], facts: dict[str, str] | None, *, half: bool
) -> None:
    """The module's state and config; `half` stores floating point tensors as bfloat16 (for bundling)."""
    state = module.state_dict()
    if half:
        state = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in state.items()}
    header = {"kind": type(module).__name__, "config": json.dumps(config), **(facts or {})}
    write_tensors(path, state, header)


class _Unfilled(TorchFunctionMode):
    """Within it modules begin without first values, for whoever brings all of them from a file.

    Not for the numbers' sake, which cost nothing on the device "meta": drawing normal ones there makes torch import its
    compiler, 2 s at every start.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def load_module(path: Path, build: Callable[[dict[str, Any]], M]) -> M:
    """Builds the module from the header's config and loads it strictly, in float32."""
    state, header = read_tensors(path)
    try:
        with torch.device("meta"), _Unfilled():
            module = build(json.loads(header["config"]))
        if header["kind"] != type(module).__name__:
            raise ValueError(header["kind"])
        state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        module.load_state_dict(state, strict=True, assign=True)
    except (KeyError, ValueError, TypeError, RuntimeError, AssertionError):
        raise UserError(f"the checkpoint {path.name} is of another kind or version", _HINT) from None
    return module.eval().requires_grad_(False)


def sha256(path: Path) -> str:
    """The file's SHA-256, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
