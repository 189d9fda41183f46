"""`tenku extend`: a clip goes on, or comes to its beginning: the same clip, longer."""

from __future__ import annotations

import argparse

from tenku.cli import making


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it is made from, and the flags that all making shares."""
    parser.add_argument("clip", metavar="FILE", help="the clip to make longer")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what is to be seen (default: the clip's prompt)")
    parser.add_argument("--backwards", action="store_true", help="dream what was before it")
    making.add_arguments(parser, seconds="how much longer (default: 2)")


def run(arguments: argparse.Namespace) -> int:
    """Reads the request and makes it."""
    from tenku.request import Request

    values = making.from_clips(arguments, arguments.clip)
    values |= {"mode": "extend", "way": "backwards" if arguments.backwards else None}
    return making.make(Request.parse(values), arguments)
