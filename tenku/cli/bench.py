"""`tenku bench`: how fast everything is here, and our parts beside those of diffusers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    from tenku.evaluation.bench import PARTS

    parser.add_argument("parts", nargs="*", metavar="PART",
                        help=f"which of {', '.join(PARTS)} to measure (default: all)")
    parser.add_argument("--model", default="nano", metavar="NAME",
                        help="the bundled model, or a folder that `tenku train` wrote (default: nano)")
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="shards to train on; else runs/out/world, else a few are rendered")
    parser.add_argument("--quick", action="store_true", help="a look in under a minute, too short for figures")
    parser.add_argument("--flops", type=float, metavar="F",
                        help="FLOPs that each transformer trains for (default: 2e12, with --quick 1e11)")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="how often each timing is taken (default: 9, with --quick 2)")
    parser.add_argument("--rate", type=float, default=1e-3, metavar="R",
                        help="learning rate of everybody's training (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="of first weights and batches (default: 0)")
    parser.add_argument("--busy", action="store_true",
                        help="measure though the machine is busy; the report says so")
    parser.add_argument("--out", type=Path, default=Path("runs/out/bench"), metavar="DIR",
                        help="folder for bench.json and index.html (default: runs/out/bench)")
    parser.add_argument("--json", action="store_true", help="print bench.json on stdout instead of the tables")


def run(arguments: argparse.Namespace) -> int:
    """Measures, writes the report, prints the tables."""
    from dataclasses import replace

    from tenku.errors import UserError
    from tenku.evaluation.bench import PARTS
    from tenku.evaluation.bench.page import text
    from tenku.evaluation.bench.run import FULL, QUICK, Settings, bench

    scale = QUICK if arguments.quick else FULL
    for name, least in (("flops", 1.0), ("rounds", 1), ("rate", 1e-9)):
        value = getattr(arguments, name)
        if value is not None and not least <= value < float("inf"):
            raise UserError(f"--{name} cannot be {value:g}", f"a number from {least:g}")
    scale = replace(scale, flops=arguments.flops or scale.flops, rounds=arguments.rounds or scale.rounds)
    settings = Settings(arguments.out, scale, tuple(arguments.parts) or PARTS, arguments.model, arguments.data,
                        arguments.rate, arguments.seed, arguments.busy)
    report = bench(settings, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(report, indent=1) if arguments.json else text(report))
    print(f"report: {arguments.out / 'index.html'}", file=sys.stderr)
    return 0
