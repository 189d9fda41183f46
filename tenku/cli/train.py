"""`tenku train`: codec, light field, video transformer, network of motion, probe, classifier."""

from __future__ import annotations

import argparse
import os
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from tenku.errors import UserError

HELP = "train the codec, the light field, the video transformer, the network of motion, the probe or the classifier"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand per script; the same command again resumes the run."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="codec|lightfield|video|motion|probe|classifier")
    for kind, text in (("codec", "the video compression network"), ("lightfield", "the network that draws sketches"),
                       ("video", "the diffusion transformer"),
                       ("motion", "the network that dreams motion"),
                       ("probe", "the network that evaluation reads clips with"),
                       ("classifier", "the network that says whether a Tenku model made a clip")):
        sub = kinds.add_parser(kind, help=text, description=f"Trains {text}. The same command again resumes.")
        sub.add_argument("--data", type=Path, required=True, help="folder of world shards")
        sub.add_argument("--out", type=Path, required=True, help="folder of the run")
        sub.add_argument("--preset", default="nano", help="size: tiny or nano (video: also small, base, large)")
        sub.add_argument("--steps", type=int, help="optimiser steps in all")
        sub.add_argument("--seed", type=int, default=0, help="of weights and batches")
        sub.add_argument("--rate", type=float, help="peak learning rate")
        sub.add_argument("--dry-run", action="store_true", help="print the run's settings and stop")
        if kind == "codec":
            sub.add_argument("--batch", type=int, help="pieces of clips a step")
            sub.add_argument("--crop", type=int, help="pixels, longest side of a piece")
            sub.add_argument("--frames", type=int, help="frames of a piece, 1 + 8k")
            sub.add_argument("--clips", type=int, help="clips kept in memory")
            sub.add_argument("--start", type=Path, help="codec.safetensors to start from; its encoder is kept")
        elif kind == "lightfield":
            sub.add_argument("--pictures", type=int, help="pictures a step, of which some pixels are taken")
            sub.add_argument("--start", type=Path, help="lightfield.safetensors to start from")
        elif kind in ("video", "motion"):
            sub.add_argument("--codec", type=Path, required=True, help="codec.safetensors")
            if kind == "motion":
                sub.add_argument("--extra", type=Path, nargs="+", metavar="DIR", help="more folders of shards")
            sub.add_argument("--tokens", type=int, help="tokens a step, context included")
            sub.add_argument("--groups", type=int, help="groups of one shape a step, each on a core of its own")
            sub.add_argument("--start", type=Path, help=f"{'transformer' if kind == 'video' else kind}.safetensors "
                             "to start from")
            _add_ways(sub)
            if kind == "video":
                sub.add_argument("--field", type=Path, help="lightfield.safetensors, for worlds; footage has none")
        elif kind == "classifier":
            sub.add_argument("--real", type=Path, metavar="DIR", help="folder of real clips, cut as the world's are")
            sub.add_argument("--model", help="whose clips are to be known (default: nano)")
            sub.add_argument("--batch", type=int, help="moments a step")
            sub.add_argument("--clips", type=int, help="clips of the world, each with a dreamt twin")
            sub.add_argument("--others", type=int, help="more clips of the world, without")
            sub.add_argument("--versions", type=int, help="of each clip, each damaged otherwise")
        else:
            sub.add_argument("--extra", type=Path, nargs="+", metavar="DIR", help="more folders of shards")
            sub.add_argument("--codec", type=Path, help="codec.safetensors that clips are also seen through")
            sub.add_argument("--batch", type=int, help="clips a step")
            sub.add_argument("--clips", type=int, help="clips kept in memory")
            sub.add_argument("--start", type=Path,
                             help="probe.safetensors whose backbone is taken (default: the bundled one)")
            sub.add_argument("--through", type=int, help="clips that are also seen through the codec")


def _add_ways(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--compile", action="store_true", help="torch.compile; wants a C++ compiler")
    sub.add_argument("--recompute", action="store_true",
                     help="work activations out again in the backward pass: less memory, a third more work")
    sub.add_argument("--workers", type=int, help="threads that draw groups ahead")
    sub.add_argument("--shard", action="store_true", help="divide weights and state among torchrun's ranks (FSDP2)")
    sub.add_argument("--split", type=int, metavar="RANKS",
                     help="ranks that share the tokens of each group (context parallelism)")


def run(args: argparse.Namespace) -> int:
    """Runs one script. Every number that makes no sense is refused before any work."""
    for name in ("steps", "batch", "crop", "frames", "clips", "tokens", "groups", "pictures", "through",
                 "versions", "split"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            raise UserError(f"--{name} cannot be {value}", "give a positive whole number")
    if (getattr(args, "workers", None) or 0) < 0:
        raise UserError(f"--workers cannot be {args.workers}", "0, or how many threads")
    if args.kind not in ("video", "motion") and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"tenku train {args.kind} works in one process", "the same command without torchrun")
    if args.rate is not None and not 0 < args.rate < 1:
        raise UserError(f"--rate cannot be {args.rate}", "a learning rate such as 1e-3")
    if args.kind == "codec":
        from tenku.training.codec import CodecTraining, train_codec

        return _go(args, CodecTraining, train_codec)
    if args.kind == "lightfield":
        from tenku.training.lightfield import LightFieldTraining, train_light_field

        return _go(args, LightFieldTraining, train_light_field)
    if args.kind == "video":
        from tenku.training.video import VideoTraining, train_video

        return _go(args, VideoTraining, train_video)
    if args.kind == "motion":
        from tenku.training.motion import MotionTraining, train_motion

        return _go(args, MotionTraining, train_motion)
    if args.kind == "classifier":
        from tenku.training.classifier import train_classifier
        from tenku.training.twins import ClassifierTraining

        return _go(args, ClassifierTraining, train_classifier)
    from tenku.training.probe import ProbeTraining, train_probe

    return _go(args, ProbeTraining, train_probe)


def _go(args: argparse.Namespace, settings: Any, script: Any) -> int:
    given = {f.name: getattr(args, f.name, None) for f in fields(settings)}
    needed = {f.name for f in fields(settings) if f.default is MISSING}
    chosen = settings(**{k: v for k, v in given.items() if v is not None or k in needed})
    if args.dry_run:
        for field in fields(settings):
            default = "" if field.default is MISSING or getattr(chosen, field.name) == field.default else "  (given)"
            print(f"{field.name:10} {getattr(chosen, field.name)}{default}")
        return 0
    path = script(chosen)
    if os.environ.get("RANK", "0") == "0":
        print(path)
    return 0
