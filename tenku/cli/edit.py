"""`tenku edit`: a clip again, otherwise: by prompt, in or around a mask, on a larger canvas, between what is kept."""

from __future__ import annotations

import argparse

from tenku.cli import making
from tenku.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it is made from, and the flags that all making shares."""
    parser.add_argument("clip", metavar="FILE", help="the clip to change")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what is to be seen (default: the clip's prompt)")
    parser.add_argument("--strength", metavar="N", help="how far it may go from the clip, 0.05 to 1 (default: 0.9)")
    parser.add_argument("--mask", metavar="FILE", help="a picture or a video, white where it may change")
    parser.add_argument("--outside", action="store_true", help="change what is outside of the mask's white instead")
    parser.add_argument("--around", action="store_true", help="keep the whole clip, dream what is around it, to --size")
    parser.add_argument("--keep", action="append", metavar="A-B",
                        help="re-cut: keep seconds A to B and dream the rest again; repeat it for more")
    making.add_arguments(parser, seconds="not for edits: the clip says")


def run(arguments: argparse.Namespace) -> int:
    """Reads the request and makes it."""
    from tenku.request import Request

    values = making.from_clips(arguments, arguments.clip)
    way = "around" if arguments.around else "outside" if arguments.outside else "inside" if arguments.mask else None
    if arguments.around and arguments.size is None:
        raise UserError("--around needs a size to grow to", "--size 192x80")
    values |= {"mode": "edit", "way": way, "mask": arguments.mask, "strength": arguments.strength,
               "keep": [_span(text) for text in arguments.keep or []]}
    return making.make(Request.parse(values), arguments)


def _span(text: str) -> tuple[str, str]:
    begin, dash, end = text.partition("-")
    if not dash:
        raise UserError(f"keep cannot be {text[:40]!r}", "seconds from and to: --keep 0-0.5")
    return begin, end
