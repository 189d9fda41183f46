"""Which files go in, and what is said of each: where it comes from, by whom, under which licence.

It is said by flags for all files, by a table beside them (`sources.csv` or `sources.json` in a folder, whose `file`
may be a pattern), and by a text of the same name for what is to be seen. What is said later and closer wins.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tenku.errors import UserError

ENDINGS = frozenset((".mp4", ".m4v", ".mov", ".webm", ".mkv", ".gif", ".png", ".jpg", ".jpeg", ".webp"))
TABLES = ("sources.csv", "sources.json")
SAID = ("source", "author", "license", "fetched", "consent", "caption")  # columns of a table, next to `file`
Row = Mapping[str, str]


@dataclass(frozen=True)
class Given:
    """A file that is to go in."""

    path: Path
    file: str  # its name below the folder that was given
    source: str = ""  # an address, a package
    author: str = ""
    license: str = ""  # SPDX identifier or expression, or a URL
    fetched: str = ""  # ISO 8601
    consent: str = ""
    caption: str = ""  # what is to be seen, if somebody wrote it down


def find(inputs: Sequence[Path], said: Row, table: Path | None = None) -> list[Given]:
    """The files of folders, lists (.txt, .csv, .json) and single names, in order of their names.

    said: of SAID what holds for all files where nothing closer says otherwise; table: one for all inputs. Raises
    UserError for what is not there, for a table that is none, and where nothing is found.
    """
    rows = rows_of(table) if table else []
    found: dict[Path, Given] = {}
    for path in inputs:
        for one in _of(path):
            whole = {**said, **_matching(rows, one.file), **{k: v for k in SAID if (v := getattr(one, k))}}
            found.setdefault(one.path.resolve(), _dated(replace(one, **whole)))
    if not found:
        raise UserError("there is no video or picture to take in", f"names that end with {', '.join(sorted(ENDINGS))}")
    return sorted(found.values(), key=lambda one: (one.file, str(one.path)))


def _of(path: Path) -> Iterator[Given]:
    if path.is_dir():
        rows = [row for name in TABLES if (path / name).exists() for row in rows_of(path / name)]
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path)
            hidden = any(part.startswith(".") for part in name.parts)
            if file.suffix.lower() in ENDINGS and not hidden and not file.is_symlink() and file.is_file():
                yield _given(file, name.as_posix(), _matching(rows, name.as_posix()))
    elif not path.is_file():
        raise UserError(f"there is no {path}", "give folders, files, or a list of files (.txt, .csv, .json)")
    elif path.suffix.lower() == ".txt":
        for line in filter(None, map(str.strip, _text(path).splitlines())):
            yield _listed(path, line, {})
    elif path.suffix.lower() in (".csv", ".json"):
        for row in rows_of(path):
            yield _listed(path, row["file"], row)
    else:
        yield _given(path, path.name, {})


def _listed(table: Path, name: str, row: Row) -> Given:
    file = table.parent / name
    if not file.is_file():
        raise UserError(f"{table.name} lists {name[:80]!r}, which is not there", "paths are relative to the list")
    return _given(file, name, row)


def _given(path: Path, file: str, row: Row) -> Given:
    beside = path.with_suffix(".txt")
    caption = {"caption": " ".join(_text(beside).split())} if beside.is_file() else {}
    return Given(path, file, **{k: v for k, v in {**row, **caption}.items() if k in SAID})


def _dated(one: Given) -> Given:
    """A file of which nothing else is said came here when it was written."""
    when = datetime.fromtimestamp(int(one.path.stat().st_mtime), UTC).isoformat().replace("+00:00", "Z")
    return one if one.fetched else replace(one, fetched=when)


def _matching(rows: Sequence[Row], file: str) -> dict[str, str]:
    """What the rows say of a file; a later one wins."""
    merged: dict[str, str] = {}
    for row in rows:
        if fnmatchcase(file, row["file"]):
            merged |= {k: v for k, v in row.items() if k in SAID and v}
    return merged


def rows_of(table: Path) -> list[Row]:
    """The rows of a CSV or JSON table. Raises UserError for one that is none, or names unknown columns."""
    text = _text(table)
    try:
        rows: Any = json.loads(text) if table.suffix.lower() == ".json" else list(csv.DictReader(text.splitlines()))
    except (ValueError, RecursionError, csv.Error) as error:
        raise UserError(f"{table.name} cannot be read: {error}", "a JSON list of objects, or CSV with a head") from None
    found: list[Row] = []
    for number, row in enumerate(rows if isinstance(rows, list) else [None], 1):
        row = {("license" if k == "licence" else k): v for k, v in row.items()} if isinstance(row, dict) else {}
        if not row.get("file") or not all(isinstance(v, str) for v in row.values() if v is not None):
            raise UserError(f"row {number} of {table.name} names no file", f"columns: file, {', '.join(SAID)}")
        if unknown := set(row) - {"file", *SAID}:
            raise UserError(f"{table.name} has the column {min(map(str, unknown))[:40]!r}",
                            f"columns: file, {', '.join(SAID)}")
        found.append({k: v.strip() for k, v in row.items() if v})
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path.name} is no text in UTF-8", "save it as UTF-8") from None


def hashed(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
