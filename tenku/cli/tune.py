"""`tenku tune`: teach a model a subject, a style or footage; merge what it learnt into its weights."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from tenku.errors import UserError

# flag -> (metavar, type, what it does); the settings of the run hold the defaults
NUMBERS: dict[str, tuple[str, Any, str]] = {
    "--steps": ("N", int, "optimiser steps in all (default: 1200; of open models 500)"),
    "--rate": ("R", float, "peak learning rate (default: 5e-3; of open models 1e-4)"),
    "--seed": ("S", int, "of matrices and batches (default: 0)"),
    "--word-steps": ("N", int, "of the bundled model: steps in which it learns a new word (default: 120)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to learn, and what to do with it."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="lora|full|merge")
    for kind, text in (("lora", "small matrices beside the weights learn: a file that --lora takes"),
                       ("full", "all weights learn: a folder that --model takes")):
        sub = kinds.add_parser(kind, help=text, description=f"{text}. The same command again resumes.")
        sub.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of shards, ten clips or more")
        sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
        sub.add_argument("--model", default="nano", metavar="NAME",
                         help="the bundled one, an open one (docs/engines.md), or a folder of weights (default: nano)")
        if kind == "lora":
            sub.add_argument("--rank", type=int, default=16, metavar="N", help="of the matrices (default: 16)")
        for flag, (metavar, reads, does) in NUMBERS.items():
            sub.add_argument(flag, type=reads, metavar=metavar, help=does)
        sub.add_argument("--word", metavar="WORD",
                         help="of open models: said before each caption, for what the clips show")
        sub.add_argument("--no-samples", dest="samples", action="store_false", help="make no samples as it goes")
    sub = kinds.add_parser("merge", help="add adapters to the weights: a folder that --model takes")
    sub.add_argument("lora", nargs="+", metavar="FILE[:STRENGTH]", help="what the model learnt afterwards")
    sub.add_argument("--model", default="nano", metavar="NAME", help="the model that learnt it (default: nano)")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")


def run(args: argparse.Namespace) -> int:
    """Tunes or merges. Numbers that make no sense are refused before any work."""
    from tenku.inputs import Lora

    if args.kind == "merge":
        from tenku.engines.merging import merge

        print(merge(args.model, [Lora.parse(text) for text in args.lora], args.out))
        return 0
    rank = getattr(args, "rank", 0)
    if args.kind == "lora" and not 1 <= rank <= 1024:
        raise UserError(f"--rank cannot be {rank}", "a whole number from 1 to 1024")
    for name in ("steps", "word_steps"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} cannot be {value}", "give a positive whole number")
    if args.rate is not None and not 0 < args.rate < 1:
        raise UserError(f"--rate cannot be {args.rate}", "a learning rate such as 1e-3")
    if not args.data.is_dir():
        raise UserError(f"no such folder: {args.data}", "tenku data ingest makes one (docs/tuning.md)")
    from tenku.engines.loading import folder_of

    folder = folder_of(args.model)
    settings: Any
    script: Any
    if folder is None:
        from tenku.training.tune_open import OpenTuning as settings
        from tenku.training.tune_open import tune_open as script
    else:
        from tenku.training.tune import Tuning as settings
        from tenku.training.tune import tune as script
    said = {**vars(args), "rank": rank, "model": folder or args.model}
    unknown = [name for name in ("word", "word_steps") if said.get(name) and name not in _names(settings)]
    if unknown:
        raise UserError(f"--{unknown[0].replace('_', '-')} is not for {args.model}", "leave it out")
    print(script(settings(**{name: value for name, value in said.items()
                             if name in _names(settings) and value is not None})))
    return 0


def _names(settings: Any) -> set[str]:
    return {field.name for field in fields(settings)}
