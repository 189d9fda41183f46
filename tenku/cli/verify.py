"""`tenku verify`: where did these files come from?"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tenku.errors import UserError

SCHEMA = 2  # of --json; rises when a field changes its meaning or goes away
ENDINGS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".gif", ".png", ".jpg", ".jpeg", ".webp")  # looked at in folders
MAX_STDIN = 2 << 30  # bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, and whether the answer is for a program."""
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path,
                        help="mp4, mov, webm, mkv, gif, png, jpg or webp; a folder, with all of these in it; - reads"
                             " one file from standard input")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")
    parser.epilog = "exit codes: 0 all made by Tenku; 1 one is not, or was changed; 2 one cannot be read"


def run(args: argparse.Namespace) -> int:
    """Examines every file, also after one that cannot be read. Returns the highest exit code among them."""
    from tqdm import tqdm

    worst, records = 0, []
    with contextlib.ExitStack() as stack:
        files = [file for given in args.files for file in _expand(given, stack)]
        bar = stack.enter_context(tqdm(files, desc="examining", unit="file", disable=None if len(files) > 1 else True,
                                       leave=False))
        for path, name in bar:
            code, record, text = _one(path, name)
            worst = max(worst, code)
            records.append(record)
            if not args.json:
                with tqdm.external_write_mode():
                    print(text, file=sys.stderr if code == 2 else sys.stdout)
    if args.json:
        print(json.dumps({"schema": SCHEMA, "files": records}, indent=2))
    return worst


def _expand(given: Path, stack: contextlib.ExitStack) -> Sequence[tuple[Path, str]]:
    """Files, each with the name to say: the one given, those of a folder, or standard input."""
    if str(given) == "-":
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tenku-")))
        return [(_from_stdin(folder), "standard input")]
    if given.is_dir() and not given.is_symlink():
        found = sorted(_inside(given))
        if not found:
            raise UserError(f"{_printable(given)} holds no video or image", f"names that end with {', '.join(ENDINGS)}")
        return [(path, _printable(path)) for path in found]
    return [(given, _printable(given))]


def _inside(folder: Path) -> Iterator[Path]:
    """Videos and images below a folder, by their ending; links and hidden names are left alone."""
    for here, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(here) / name
            if path.suffix.lower() in ENDINGS and not name.startswith(".") and not path.is_symlink():
                yield path


def _from_stdin(folder: Path) -> Path:
    path, left = folder / "input", MAX_STDIN
    with path.open("wb") as file:
        while block := sys.stdin.buffer.read(1 << 20):
            left -= len(block)
            if left < 0:
                raise UserError(f"standard input is longer than {MAX_STDIN >> 30} GiB", "cut it into parts")
            file.write(block)
    return path


def _one(path: Path, name: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON record and text for one file."""
    from tenku.provenance.verify import examine

    try:
        report = examine(path)
    except UserError as error:
        said = _printable(error)
        if path.name not in said or name == "standard input":
            said = f"{name}: {said}"
        hint = f"\nhint: {error.hint}" if error.hint else ""
        return 2, {"file": name, "error": said, "hint": error.hint}, f"error: {said}{hint}"
    lines = [f"{name}: {report.verdict.value}", *(f"  {line}" for line in report.evidence)]
    return report.verdict.exit_code, {"file": name, **report.to_json()}, "\n".join(lines)


def _printable(text: object) -> str:
    """A file's name must not steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(text))
