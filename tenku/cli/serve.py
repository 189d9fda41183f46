"""`tenku serve`: the Videos API, durable jobs, and the studio, on this machine."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tenku.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where it listens, what it keeps, who works."""
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                        help="where to listen; anything but loopback needs keys (default: 127.0.0.1)")
    parser.add_argument("--port", default="8000", metavar="N", help="0 picks a free one (default: 8000)")
    parser.add_argument("--name", action="append", default=[], metavar="HOST",
                        help="a name by which others reach it, behind a proxy for instance; needs keys")
    parser.add_argument("--require-key", action="store_true", help="ask for a key on loopback too")
    add_storage(parser)
    parser.add_argument("--workers", default="1", metavar="N",
                        help="processes that make clips, 0 to 64; 0 leaves it to `tenku worker` (default: 1)")
    parser.add_argument("--model", action="append", default=[], metavar="MODEL",
                        help="nano, or NAME=FOLDER that `tenku train` wrote; the first is what sora-2 stands for"
                        " (default: nano)")
    parser.add_argument("--keep", metavar="DAYS", help="how long finished clips are kept (default: for ever)")
    parser.add_argument("--queue", default="1000", metavar="N",
                        help="jobs that may wait before more are turned away (default: 1000)")


def add_storage(parser: argparse.ArgumentParser) -> None:
    """The flags that say where jobs and files are, shared by all verbs of the server."""
    parser.add_argument("--db", metavar="URL",
                        help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
                        " (default: $TENKU_DB, else tenku.db in the folder of files)")
    parser.add_argument("--files", metavar="PLACE",
                        help="a folder or s3://BUCKET/PREFIX (default: $TENKU_FILES, else $TENKU_HOME/library, else"
                        " ~/.local/share/tenku)")


def storage(arguments: argparse.Namespace) -> tuple[str, str]:
    """The database's URL and the place of files. Raises UserError for a bucket without a database."""
    files = arguments.files or os.environ.get("TENKU_FILES")
    db = arguments.db or os.environ.get("TENKU_DB")
    if not files:
        home, data = os.environ.get("TENKU_HOME"), os.environ.get("XDG_DATA_HOME")
        base = Path(data) if data else Path.home() / ".local" / "share"
        files = str(Path(home) / "library" if home else base / "tenku")
    if not db:
        if "://" in files:
            raise UserError("files elsewhere need a database of their own", "--db URL")
        db = f"sqlite:///{Path(files).resolve() / 'tenku.db'}"
    return db, files


def whole(name: str, text: str, least: int, most: int) -> int:
    """A whole number from a flag. Raises UserError."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
        raise UserError(f"--{name} cannot be {text[:40]!r}", f"a whole number from {least} to {most}")
    return int(text)


def days(text: str | None) -> float | None:
    """How long clips are kept. Raises UserError."""
    try:
        value = None if text is None else float(text)
    except ValueError:
        value = -1.0
    if value is not None and not 0 < value <= 36_500:
        raise UserError(f"--keep cannot be {str(text)[:40]!r}", "a number of days above 0")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Serves until interrupted."""
    from tenku.serving.server import Settings, models_of, serve, set_up_logs

    db, files = storage(arguments)
    settings = Settings(
        arguments.host, whole("port", arguments.port, 0, 65535), db, files, models_of(arguments.model),
        whole("workers", arguments.workers, 0, 64), days(arguments.keep), whole("queue", arguments.queue, 1, 1_000_000),
        tuple(arguments.name), arguments.require_key)
    set_up_logs()
    serve(settings)
    return 0
