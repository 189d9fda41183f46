"""`tenku film`: a storyboard becomes a sealed film."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tenku.errors import UserError


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
    from tenku.api import allow_film, film
    from tenku.film.storyboard import SCHEMA, read

    if arguments.schema:
        print(SCHEMA.read_text(), end="")
        return 0
    if arguments.storyboard is None:
        raise UserError("no storyboard is given", "tenku film story.yaml -o film.mp4; docs/film.md has an example")
    started = time.monotonic()
    board = read(arguments.storyboard)
    if arguments.check:
        allow_film(board, arguments.storyboard.name)
        print(f"{arguments.storyboard}: {len(board.shots)} shots, "
              f"{sum(shot.request.seconds for shot in board.shots):g} s, all well")
        return 0
    path = arguments.output or arguments.storyboard.with_suffix(".mp4")

    with _Progress() as progress:
        made = film(board, path, progress, name=arguments.storyboard.name)

    from tenku.film.timeline import write

    timeline = path.with_suffix(".otio") if write(made, path.with_suffix(".otio")) else None
    seconds = made.frames / made.fps
    if arguments.json:
        print(json.dumps({
            "path": str(path), "seconds": round(seconds, 3), "frames": made.frames, "made": made.made,
            "kept": made.kept, "timeline": str(timeline) if timeline else None,
            "cuts": [{"name": c.name, "file": str(c.file), "frames": c.frames} for c in made.cuts],
            "seconds_taken": round(time.monotonic() - started, 3),
        }, indent=2))  # fmt: skip
        return 0
    print(f"{path}  {seconds:.2f} s  {made.made} parts made, {made.kept} kept")
    if timeline is None:
        print('note: no timeline for editors: pip install "tenku[film]"', file=sys.stderr)
    return 0


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
