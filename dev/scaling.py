"""Writes what commands print into docs/scaling.md: `python dev/scaling.py`. tests/test_planning.py checks it."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
BLOCK = re.compile(r"(```sh skip\ntenku (plan [^\n]*)\n```\n\n)(.*?)(\n\n(?!\|))", re.DOTALL)


def printed(command: str) -> str:
    """What `tenku` prints, in this process."""
    from tenku.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(command.split()) == 0
    return out.getvalue().strip()


def filled(page: str, most: int | None = None) -> str:
    """The page with the tables of its commands as they are now; of the first `most` of them."""
    return BLOCK.sub(lambda m: m[1] + printed(m[2]) + m[4], page, count=most or 0)


if __name__ == "__main__":
    TARGET.write_text(filled(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(TARGET.parent.parent)}")
