"""`tenku verify`: where did this file come from?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tenku.errors import UserError

SCHEMA = 1  # of --json; rises when a field changes its meaning or goes away


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, and whether the answer is for a program."""
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path,
                        help="mp4, mov, webm, mkv, gif, png, jpg or webp")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")
    parser.epilog = "exit codes: 0 all made by Tenku; 1 one is not, or was changed; 2 one cannot be read"


def run(args: argparse.Namespace) -> int:
    """Examines every file, also after one that cannot be read. Returns the highest exit code among them."""
    worst, records = 0, []
    for path in args.files:
        code, record, text = _one(path)
        worst = max(worst, code)
        records.append(record)
        if not args.json:
            print(text, file=sys.stderr if code == 2 else sys.stdout)
    if args.json:
        print(json.dumps({"schema": SCHEMA, "files": records}, indent=2))
    return worst


def _one(path: Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON record and text for one file."""
    from tenku.provenance.verify import examine

    name = _printable(path)
    try:
        report = examine(path)
    except UserError as error:
        said = _printable(error) if path.name in str(error) else f"{name}: {error}"
        hint = f"\nhint: {error.hint}" if error.hint else ""
        return 2, {"file": name, "error": said, "hint": error.hint}, f"error: {said}{hint}"
    lines = [f"{name}: {report.verdict.value}", *(f"  {line}" for line in report.evidence)]
    return report.verdict.exit_code, {"file": name, **report.to_json()}, "\n".join(lines)


def _printable(text: object) -> str:
    """A file's name must not steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(text))
