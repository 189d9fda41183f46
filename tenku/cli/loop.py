"""`tenku loop`: a clip is led back to its beginning."""

from __future__ import annotations

import argparse

from tenku.cli import making


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it is made from, and the flags that all making shares."""
    parser.add_argument("clip", metavar="FILE", help="the clip to repeat without a seam")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what is to be seen (default: the clip's prompt)")
    making.add_arguments(parser, seconds="how long the way back is (default: 0.5)")


def run(arguments: argparse.Namespace) -> int:
    """Reads the request and makes it."""
    from tenku.request import Request

    values = making.from_clips(arguments, arguments.clip)
    values["mode"] = "loop"
    values["seconds"] = 0.5 if values["seconds"] is None else values["seconds"]
    return making.make(Request.parse(values), arguments)
