"""tenku world: draw, render and check captioned physical worlds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tenku.errors import UserError

HELP = "draw, render and check captioned physical worlds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-verbs make, clip, sheet and check."""
    verbs = parser.add_subparsers(dest="what", required=True, metavar="make|clip|sheet|check")
    make = verbs.add_parser("make", help="render many captioned clips into shards; the same command continues a run")
    make.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the shards")
    make.add_argument("--clips", type=int, default=1024, metavar="N", help="how many clips (default 1024)")
    make.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the whole folder (default 0)")
    make.add_argument("--mix", default="128x80x33", metavar="WxHxFRAMES:WEIGHT,...",
                      help="sizes and how often each (default 128x80x33)")  # fmt: skip
    make.add_argument("--fps", type=float, default=16.0, help="frames per second (default 16)")
    make.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    make.add_argument("--cluster", default="", metavar="ADDRESS",
                      help="of a Ray cluster that does the work instead; it sees all files at the same paths")
    make.add_argument("--split", default="train", choices=("train", "held_out", "any"),
                      help="which combinations may be drawn (default train)")  # fmt: skip
    make.add_argument("--arrays", action="store_true", help="store depth, masks and optical flow too")
    make.add_argument("--facts", action="store_true",
                      help="facts and captions without pictures, several times faster: for `tenku train motion`")
    make.add_argument("--json", action="store_true", help="print a summary as JSON")
    clip = verbs.add_parser("clip", help="render one scene to a video or a picture, with its facts beside it")
    clip.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .mp4 or .png file")
    clip.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the scene (default 0)")
    for name in ("subject", "colour", "size", "action", "place", "light", "camera"):
        clip.add_argument(f"--{name}", help=f"this {name} instead of the seed's")
    clip.add_argument("--format", default="256x160x33", metavar="WxHxFRAMES", help="default 256x160x33")
    clip.add_argument("--fps", type=float, default=16.0, help="frames per second (default 16)")
    clip.add_argument("--split", default="any", choices=("train", "held_out", "any"),
                      help="which combinations may be drawn (default any)")  # fmt: skip
    sheet = verbs.add_parser("sheet", help="draw a picture of what the grammar can say")
    sheet.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .png file")
    check = verbs.add_parser("check", help="verify shards and their ledger; exit code 1 when something is wrong")
    check.add_argument("folder", type=Path, metavar="DIR")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Does what was asked for. Raises UserError when the renderer is not installed."""
    try:
        return {"make": _make, "clip": _clip, "sheet": _sheet, "check": _check}[args.what](args)
    except ModuleNotFoundError as error:
        if error.name != "mujoco":
            raise
        raise UserError("worlds need MuJoCo, which is not installed", 'pip install "tenku[world]"') from None


def _make(args: argparse.Namespace) -> int:
    from tenku.world.make import Recipe, make, parse_mix, progress_line

    if args.facts and args.arrays:
        raise UserError("--facts has no pictures, and --arrays is about pictures", "give one of the two")
    recipe = Recipe(args.seed, args.clips, parse_mix(args.mix), args.fps, args.split, args.arrays, not args.facts)
    summary = make(recipe, args.out, args.workers, progress_line(), args.cluster)
    if args.json:
        print(json.dumps(summary))
    else:
        print(f"{summary['clips']} clips in {summary['shards']} shards at {args.out}, "
              f"{summary['frames_per_second']} frames/s", file=sys.stderr)  # fmt: skip
    return 0


def _clip(args: argparse.Namespace) -> int:
    from tenku.world.sheet import save_clip

    fields = ("subject", "colour", "size", "action", "place", "light", "camera")
    asked = {name: getattr(args, name) for name in fields if getattr(args, name)}
    print(save_clip(args.out, args.seed, asked, args.format, args.fps, args.split))
    return 0


def _sheet(args: argparse.Namespace) -> int:
    from tenku.world.sheet import save_sheet

    save_sheet(args.out)
    print(args.out)
    return 0


def _check(args: argparse.Namespace) -> int:
    from tenku.world.check import check_folder

    findings = check_folder(args.folder)
    if args.json:
        print(json.dumps(findings))
    else:
        for wrong in findings["problems"]:
            print(wrong)
        print(f"{findings['clips']} clips in {findings['shards']} shards, {len(findings['problems'])} problems",
              file=sys.stderr)  # fmt: skip
    return 1 if findings["problems"] else 0
