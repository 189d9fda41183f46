"""Tenku, the open Sora: captioned physical worlds, a video transformer trained on them, marks on all that leaves.

`import tenku` loads no torch and touches no disk; the heavy parts are imported where they are used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "generate", "stream"]

if TYPE_CHECKING:
    from tenku.api import generate, stream


def calm_threads() -> None:
    """Has threads that wait sleep instead of spin: beside other work, spinning made a clip of 2 s take ten minutes.

    Read when torch loads OpenMP, so to be called before its import. A setting of the user's wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def __getattr__(name: str) -> Any:
    if name in ("generate", "stream"):  # PEP 562: the Python API without paying for it at import
        calm_threads()
        from tenku import api

        return getattr(api, name)
    raise AttributeError(f"module 'tenku' has no attribute {name!r}")
