"""Tenku, the open Sora: captioned physical worlds, a video transformer trained on them, marks on all that leaves.

`import tenku` loads no torch and touches no disk; the heavy parts are imported where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "generate"]

if TYPE_CHECKING:
    from tenku.sampling.generate import generate


def __getattr__(name: str) -> Any:
    if name == "generate":  # PEP 562: the Python API without paying for torch at import
        from tenku.sampling.generate import generate

        return generate
    raise AttributeError(f"module 'tenku' has no attribute {name!r}")
