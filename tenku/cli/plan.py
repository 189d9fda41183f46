"""`tenku plan`: what a training will need, before it is paid for."""

from __future__ import annotations

import argparse
import json

HELP = "what a training will need: memory, FLOPs, data, GPU hours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb; those that divide the work are `tenku train`'s."""
    parser.add_argument("--preset", nargs="+", default=["base"], metavar="SIZE",
                        help="tiny, nano, small, base or large; several stand side by side (default: base)")
    parser.add_argument("--gpu", default="h100", metavar="KIND",
                        help="rtx4090, a100, h100, h200 or b200 (default: h100)")
    parser.add_argument("--gpus", type=int, default=8, metavar="N", help="how many (default: 8)")
    parser.add_argument("--shard", action="store_true", help="divide weights and state among all GPUs (FSDP2)")
    parser.add_argument("--split", type=int, default=1, metavar="N",
                        help="GPUs that share the tokens of each group (default: 1)")
    parser.add_argument("--recompute", action="store_true", help="work activations out again in the backward pass")
    parser.add_argument("--clips", type=int, default=1, metavar="N", help="clips of a group (default: 1)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of a clip (default: 5)")
    parser.add_argument("--size", metavar="WxH", help="pixels of a clip (default: the preset's)")
    parser.add_argument("--law", default="image", metavar="LAW",
                        help="image, text or video: by which law the data are counted (default: image)")
    parser.add_argument("--share", type=float, default=0.4, metavar="R",
                        help="of the GPUs' peak that is reached (default: 0.4)")
    parser.add_argument("--check", action="store_true",
                        help="take steps here instead, on one thread, and hold them against what is foretold (Linux)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")


def run(arguments: argparse.Namespace) -> int:
    """Prints the plans, or the check."""
    from tenku.errors import UserError
    from tenku.planning.plan import Asked, plan
    from tenku.planning.text import text
    from tenku.training.ranks import Ways
    from tenku.types import Size

    for name in ("gpus", "split", "clips", "seconds"):
        if not 0 < getattr(arguments, name) < 1e6:
            raise UserError(f"--{name} cannot be {getattr(arguments, name)}", "a number above 0")
    if not 0 < arguments.share <= 1:
        raise UserError(f"--share cannot be {arguments.share}", "above 0, to 1")
    try:
        size = Size.parse(arguments.size) if arguments.size else None
    except ValueError:
        raise UserError(f"--size cannot be {arguments.size}", "width x height such as 640x352") from None
    ways = Ways(recompute=arguments.recompute, shard=arguments.shard, split=arguments.split)
    asked = [Asked(preset, arguments.gpu, arguments.gpus, ways, arguments.clips, arguments.seconds, size,
                   arguments.law, arguments.share) for preset in arguments.preset]
    if arguments.check:
        from tenku.planning.check import check
        from tenku.planning.check import text as checked

        found = [check(one) for one in asked]
        print(json.dumps(found, indent=1) if arguments.json else checked(found))
        return 0
    plans = [plan(one) for one in asked]
    print(json.dumps(plans, indent=1) if arguments.json else text(plans))
    return 0
