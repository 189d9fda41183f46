"""`tenku film`: a storyboard becomes a sealed film."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tenku.errors import UserError

if TYPE_CHECKING:
    from tenku.film.storyboard import Storyboard
    from tenku.policy import Policy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The storyboard, and where the film goes."""
    parser.add_argument("storyboard", type=Path, metavar="FILE", nargs="?", help="the shots, as YAML (docs/film.md)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE",
                        help="where to: .mp4, .webm, .webp or .gif (default: the storyboard's name with .mp4)")
    parser.add_argument("--check", action="store_true", help="only read the storyboard and say what is wrong with it")
    parser.add_argument("--schema", action="store_true",
                        help="print the JSON Schema of storyboards, from which editors complete and check them")
    parser.add_argument("--json", action="store_true", help="say what was made as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Reads, makes what is not there yet, cuts, seals. An interrupted run keeps the shots that are done."""
    from tenku.film.storyboard import SCHEMA, read
    from tenku.policy import Policy

    if arguments.schema:
        print(SCHEMA.read_text(), end="")
        return 0
    if arguments.storyboard is None:
        raise UserError("no storyboard is given", "tenku film story.yaml -o film.mp4; docs/film.md has an example")
    started = time.monotonic()
    board = read(arguments.storyboard)
    _allowed(board, Policy.find(), arguments.storyboard.name)
    if arguments.check:
        print(f"{arguments.storyboard}: {len(board.shots)} shots, "
              f"{sum(shot.request.seconds for shot in board.shots):g} s, all well")
        return 0
    path = arguments.output or arguments.storyboard.with_suffix(".mp4")

    from tenku.film.make import make
    from tenku.film.timeline import write

    with _Progress() as progress:
        film = make(board, path, progress)
    timeline = path.with_suffix(".otio") if write(film, path.with_suffix(".otio")) else None
    seconds = film.frames / film.fps
    if arguments.json:
        print(json.dumps({
            "path": str(path), "seconds": round(seconds, 3), "frames": film.frames, "made": film.made,
            "kept": film.kept, "timeline": str(timeline) if timeline else None,
            "cuts": [{"name": c.name, "file": str(c.file), "frames": c.frames} for c in film.cuts],
            "seconds_taken": round(time.monotonic() - started, 3),
        }, indent=2))  # fmt: skip
        return 0
    print(f"{path}  {seconds:.2f} s  {film.made} parts made, {film.kept} kept")
    if timeline is None:
        print('note: no timeline for editors: pip install "tenku[film]"', file=sys.stderr)
    return 0


def _allowed(board: Storyboard, policy: Policy, name: str) -> None:
    """Raises Refused for a film, naming the line of the shot. What is written over pictures counts as said."""
    from tenku.policy import Refused

    policy.check_words([("title", board.title)])
    for shot in board.shots:
        try:
            policy.check(shot.request)
            policy.check_words([("prompt", shot.request.prompt), ("text", shot.text)])
        except Refused as no:
            raise Refused(no.rule, f"{name}:{shot.line}: {no.field}", no.says) from None


class _Progress:
    """A bar for each part on a terminal, silence elsewhere."""

    def __enter__(self) -> _Progress:
        from tqdm import tqdm

        self.name, self.bar = "", tqdm(desc="reading", unit="step", disable=None, leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __call__(self, name: str, step: object) -> None:
        from tenku.sampling.generate import Step

        assert isinstance(step, Step)
        if name != self.name:
            self.name = name
            self.bar.set_description(name, refresh=False)
            self.bar.reset(step.total)
        self.bar.update(step.index - self.bar.n)
