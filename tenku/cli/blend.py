"""`tenku blend`: two clips become one."""

from __future__ import annotations

import argparse

from tenku.cli import making


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it is made from, and the flags that all making shares."""
    parser.add_argument("before", metavar="FILE", help="the clip that it begins with")
    parser.add_argument("after", metavar="FILE", help="the clip that it ends with")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="the way between (default: the first's prompt)")
    parser.add_argument("--morph", action="store_true", help="one turns into the other all the while, not after it")
    parser.add_argument("--strength", metavar="N", help="of a morph: how far it may go from both, to 1 (default: 0.9)")
    making.add_arguments(parser, seconds="how long the way between is (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Reads the request and makes it."""
    from tenku.request import Request

    values = making.from_clips(arguments, arguments.before, arguments.after)
    values |= {"mode": "blend", "way": "morph" if arguments.morph else None, "strength": arguments.strength}
    values["seconds"] = 1 if values["seconds"] is None else values["seconds"]
    return making.make(Request.parse(values), arguments)
