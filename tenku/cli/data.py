"""`tenku data`: footage becomes shards to train on, shards latents; the ledger of where they come from, audited."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tenku.errors import UserError

HELP = "make shards of anybody's footage, encode shards, and audit the ledger of licences"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-verbs ingest, encode and ledger."""
    verbs = parser.add_subparsers(dest="what", required=True, metavar="ingest|encode|ledger")
    take = verbs.add_parser("ingest", help="make shards of videos and pictures; the same command continues a run")
    take.add_argument("inputs", type=Path, nargs="+", metavar="INPUT",
                      help="folders, files, or lists of files (.txt, .csv, .json)")
    take.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the shards")
    take.add_argument("--sources", type=Path, metavar="FILE",
                      help="a table of source, author, licence ... (.csv, .json) for all inputs (docs/data.md)")
    for name, text in (("license", "SPDX identifier, or a URL"), ("author", "who made them"),
                       ("source", "where they come from"), ("fetched", "when, ISO 8601; else when it was written"),
                       ("consent", "what is known of the consent of those who are seen"),
                       ("caption", "what is to be seen")):
        take.add_argument(f"--{name}", default="", metavar="TEXT",
                          help=f"{text}, of all files of which nothing closer says it")
    take.add_argument("--allow", action="append", metavar="LICENSE",
                      help="take sources of this licence, too, though it is none of an open one; repeat it for more")
    take.add_argument("--captioner", default="given", metavar="NAME|DIR",
                      help="who says what is to be seen: given, worlds, endpoint, or the folder of a vision-language"
                           " model (default given)")
    take.add_argument("--size", default="128x80", metavar="WxH",
                      help="of clips of this aspect; others have about as many pixels (default 128x80)")
    take.add_argument("--fps", type=float, default=16.0, help="frames per second (default 16)")
    take.add_argument("--frames", type=int, default=33, metavar="N", help="of a clip at most, 1 + 8 k (default 33)")
    take.add_argument("--filter", action="append", metavar="NAME=LIMIT",
                      help="another limit for a filter, or off; repeat it for more (docs/data.md)")
    take.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    take.add_argument("--cluster", default="", metavar="ADDRESS",
                      help="of a Ray cluster that does the work instead; it sees all files at the same paths")
    take.add_argument("--json", action="store_true", help="print a summary as JSON")
    encode = verbs.add_parser("encode", help="encode shards for `tenku train video`, which else does it by itself")
    encode.add_argument("folder", type=Path, metavar="DIR", help="folder of shards")
    encode.add_argument("--codec", type=Path, metavar="FILE", help="codec.safetensors (default: the bundled one)")
    encode.add_argument("--field", type=Path, metavar="FILE",
                        help="lightfield.safetensors, for worlds (default: the bundled one); none for footage")
    encode.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    encode.add_argument("--cluster", default="", metavar="ADDRESS",
                        help="of a Ray cluster that does the work instead; it sees all files at the same paths")
    encode.add_argument("--json", action="store_true", help="print a summary as JSON")
    book = verbs.add_parser("ledger", help="hold the ledger against the shards; exit code 1 when something is wrong")
    book.add_argument("folder", type=Path, metavar="DIR", help="folder of shards")
    book.add_argument("--remove", metavar="SOURCE",
                      help="take a source out, by its file, its place or its hash; lists the models that it touched")
    book.add_argument("--why", default="", metavar="TEXT", help="kept with what is removed")
    book.add_argument("--models", type=Path, nargs="+", metavar="PATH",
                      help="weights, or folders of them, that may have learnt from it elsewhere")
    book.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Does what was asked for."""
    if getattr(args, "workers", 1) < 1:
        raise UserError(f"--workers cannot be {args.workers}", "at least one")
    if args.what in ("ingest", "encode"):
        return _ingest(args) if args.what == "ingest" else _encode(args)
    return _remove(args) if args.remove else _ledger(args)


def _ingest(args: argparse.Namespace) -> int:
    from tenku.ingest import page
    from tenku.ingest.make import ingest
    from tenku.ingest.prepare import Recipe, limits
    from tenku.ingest.sources import SAID, find
    from tenku.types import Size

    try:
        size = Size.parse(args.size)
    except ValueError as error:
        raise UserError(f"--size: {error}") from None
    if min(size.width, size.height) < 32 or max(size.width, size.height) > 1024:
        raise UserError(f"--size cannot be {size}", "32 to 1024 pixels a side")
    if args.frames < 1 or args.frames % 8 != 1:
        raise UserError(f"--frames cannot be {args.frames}", "1 + 8 k: 9, 17, 33 ...")
    if not 1 <= args.fps <= 60:
        raise UserError(f"--fps cannot be {args.fps:g}", "1 to 60")
    pairs = dict(text.partition("=")[::2] for text in args.filter or ())
    recipe = Recipe(str(size), args.fps, args.frames, limits(pairs), args.captioner)
    said = {name: value for name in SAID if (value := getattr(args, name))}
    named = [*(args.allow or ()), *([args.license] if args.license else [])]
    report = ingest(find(args.inputs, said, args.sources), args.out, recipe, named, args.workers, args.cluster)
    page.write(report, args.out / "report.html")
    refused = {file.source.file: file.refused for file in report.files if file.refused}
    found = page.counts(report)
    if args.json:
        print(json.dumps({"folder": str(args.out), "clips": found, "fresh": report.fresh, "without_caption":
                          report.silent, "refused": refused}, indent=2))
        return 0
    for file, why in refused.items():
        print(f"refused {file}: {why}", file=sys.stderr)
    left_out = ", ".join(f"{name} {count}" for name, count in found.items() if name != "kept")
    print(f"{found.get('kept', 0)} clips in {args.out}, {report.fresh} of them new"
          + (f"; left out: {left_out}" if left_out else ""))
    if report.silent:
        print(f"note: of {report.silent} clips nothing is said: --captioner, or a text beside each", file=sys.stderr)
    print(args.out / "report.html")
    return 0


def _encode(args: argparse.Namespace) -> int:
    from tenku.data.encoding import encode_in_parallel
    from tenku.engines.bundled import BUNDLED

    codec, field = (path and path.resolve() for path in (args.codec, args.field))
    field = None if str(args.field) == "none" else field or BUNDLED / "nano" / "lightfield.safetensors"
    found = encode_in_parallel(args.folder, codec or BUNDLED / "nano" / "codec.safetensors", field, args.workers,
                               args.cluster)
    print(json.dumps(found, indent=2) if args.json else f"{found['encoded_clips']} clips encoded, in {found['folder']}")
    return 0


def _ledger(args: argparse.Namespace) -> int:
    from tenku.cli.table import show
    from tenku.ingest.audit import audit

    found = audit(args.folder)
    if args.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print(f"{found.book.clips} clips by {found.book.producer}, {found.book.license}")
        if found.book.sources:
            show([("file", "clips", "licence", "author", "source", "sha256"),
                  *((one.file, str(len(one.clips)), one.license, one.author, one.source, one.sha256[:16])
                    for one in found.book.sources)])
        for gone in found.book.removed:
            print(f"removed {gone.when[:10]}: {gone.source.file}{f', {gone.why}' if gone.why else ''}")
        for model in found.models:
            print(f"learnt from it: {model.path}")
        for wrong in found.problems:
            print(f"wrong: {wrong}")
    return 1 if found.problems else 0


def _remove(args: argparse.Namespace) -> int:
    from tenku.ingest.audit import remove

    gone = remove(args.folder, args.remove, args.why, args.models or ())
    if args.json:
        print(json.dumps({"file": gone.source.file, "sha256": gone.source.sha256, "clips": len(gone.source.clips),
                          "models": gone.models}, indent=2))
        return 0
    print(f"removed {gone.source.file}: {len(gone.source.clips)} clips")
    for model in gone.models:
        print(f"learnt from it: {model}")
    return 0
