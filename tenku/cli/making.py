"""What all verbs that make clips share: flags, the checks before torch is loaded, progress, sealing, the report."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenku.errors import UserError

if TYPE_CHECKING:
    from tenku.request import Request
    from tenku.sampling.generate import Result, Saved, Step

PREVIEWS = 8  # pictures over the whole work

# flag -> (field of the Request, what it stands for, what it does); the Request holds the defaults
FLAGS: dict[str, tuple[str, str, str]] = {
    "--negative": ("negative_prompt", "TEXT", "what to steer away from"),
    "--size": ("size", "WxH", "width x height in pixels, 32 to 1920 a side"),
    "--seconds": ("seconds", "S", "how long, up to 60; 0 makes an image"),
    "--fps": ("fps", "N", "frames per second, 1 to 60"),
    "--seed": ("seed", "N", "another number is another take; sample i has seed N + i"),
    "--steps": ("steps", "N", "denoising steps, 1 to 200: more is slower and cleaner"),
    "--guidance": ("guidance", "G", "how hard the prompt pulls, 0 to 20; 1: half the work, and 3 beside --negative"),
    "--samples": ("samples", "N", "takes made together, up to 16; they are numbered: out-1.mp4, out-2.mp4"),
    "--model": ("model", "NAME", "the bundled model, an open one (docs/engines.md), or a folder of weights"),
    "--motion": ("motion", "N", "how strongly everything moves, 0 to 3"),
}
# Lists, and what is read by itself.
CAPTION = ("S:TEXT", "what is to be seen from second S on; repeat it for more")
CAMERA = ("MOVES|FILE", 'how the camera goes: "dolly in 1.5, pan left 20", or a file of poses (docs/modes.md)')
TRACK = ("POINTS", 'where the first thing goes: "0.2,0.6 0.8,0.6", parts of the picture; repeat it for the second')

LORA = ("FILE[:STRENGTH]", "what the model learnt afterwards (docs/tuning.md), and how much of it; repeat it for more")


def add_arguments(parser: argparse.ArgumentParser, **instead: str) -> None:
    """The flags of all verbs that make clips; numbers stay text here, because the Request reads them.

    instead: what a field means to this verb, and its default, in place of what FLAGS says.
    """
    from dataclasses import fields

    from tenku.request import Request

    defaults = {field.name: field.default for field in fields(Request)}
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="where to: .mp4, .webm, .webp, .gif or .png (an image); replaced if it exists"
        " (default: tenku.mp4, or the first of tenku-2.mp4, tenku-3.mp4 ... that is free)",
    )
    for flag, (field, metavar, does) in FLAGS.items():
        default = defaults[field]
        said = f"{default:g}" if isinstance(default, float) else "none" if default == "" else str(default)
        parser.add_argument(flag, dest=field, metavar=metavar,
                            help=instead.get(field, f"{does} (default: {said})"))
    parser.add_argument("--caption", dest="captions", action="append", metavar=CAPTION[0], help=CAPTION[1])
    parser.add_argument("--camera", metavar=CAMERA[0], help=CAMERA[1])
    parser.add_argument("--track", dest="tracks", action="append", metavar=TRACK[0], help=TRACK[1])
    parser.add_argument("--lora", action="append", metavar=LORA[0], help=LORA[1])
    parser.add_argument("--preview", type=Path, metavar="FILE", help="a .png to watch while the work goes on")
    parser.add_argument("--json", action="store_true", help="say what was made as JSON on stdout")


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The Request's fields that the shared flags say; what was not said is None."""
    values: dict[str, Any] = {field: getattr(arguments, field) for field, _, _ in FLAGS.values()}
    values["tracks"], values["lora"] = arguments.tracks, arguments.lora
    values["captions"] = None if arguments.captions is None else [_caption(text) for text in arguments.captions]
    values["camera"] = _camera(arguments.camera)
    return values


def from_clips(arguments: argparse.Namespace, *clips: str) -> dict[str, Any]:
    """Fields of a request that begins with clips: their size, and their prompt where none is said."""
    from tenku.provenance.lineage import asked

    values = given(arguments) | {"inputs": list(clips), "prompt": arguments.prompt}
    if values["size"] is None:
        values["size"] = size_of(clips[0], values["model"])
    source = asked(Path(clips[0]))
    if not values["prompt"]:
        if not source.get("prompt"):
            raise UserError(f"the prompt of {Path(clips[0]).name} is not known", "say what is to be seen")
        values["prompt"] = source["prompt"]
    return values


def size_of(source: str, model: str | None) -> str:
    """The size of a clip made from another: its own where the model knows such sizes, else of its aspect."""
    from tenku import untrusted
    from tenku.inputs import Given
    from tenku.request import size_like

    return str(size_like(*untrusted.measure(Path(Given.parse(source).source), 0.1)[1], model or "nano"))


def _caption(text: str) -> tuple[str, str]:
    at, colon, said = text.partition(":")
    if not colon:
        raise UserError(f"caption cannot be {text[:40]!r}", 'seconds, a colon, and what is to be seen: "1.5:a dog"')
    return at, said


def _camera(said: str | None) -> Any:
    from tenku.inputs import camera_file

    if said is not None and Path(said).suffix.lower() in (".json", ".csv", ".txt"):
        return camera_file(Path(said))
    return said


def make(request: Request, arguments: argparse.Namespace) -> int:
    """Checks, makes, seals and says so. An interrupted run leaves no file."""
    from tenku.api import generate

    started = time.monotonic()
    files = targets(arguments.output, request)
    _check(request, files, arguments.preview)
    grows = getattr(arguments, "stream", False)
    with _Progress(request, arguments.preview) as progress, contextlib.ExitStack() as held:
        growing = held.enter_context(_Growing(request, files[0])) if grows else None
        results = generate(request, on_step=progress, on_round=growing)
        _write(results, files, [Path(given.source) for given in request.inputs])
    _report(request, results, files, time.monotonic() - started, as_json=arguments.json)
    return 0


def targets(output: Path | None, request: Request) -> list[Path]:
    """The files to write, one per sample: the name itself, or numbered names."""

    def numbered(path: Path) -> list[Path]:
        if request.samples == 1:
            return [path]
        return [path.with_name(f"{path.stem}-{i + 1}{path.suffix}") for i in range(request.samples)]

    if output is not None:
        if not output.name:
            raise UserError(f"cannot write {output}", "give the name of a file")
        return numbered(output)
    ending = ".png" if request.frames == 1 else ".mp4"
    names = itertools.chain(["tenku"], (f"tenku-{n}" for n in itertools.count(2)))
    candidates = (numbered(Path(name + ending)) for name in names)
    return next(paths for paths in candidates if not any(path.exists() for path in paths))


def _check(request: Request, targets: Sequence[Path], preview: Path | None) -> None:
    from tenku.provenance.seal import check_path

    for path in targets:
        check_path(path, request.frames)
    if preview is not None:
        check_path(preview, 1)
        if preview.suffix.lower() != ".png" or preview.resolve() in [path.resolve() for path in targets]:
            raise UserError(f"the preview cannot be {preview}", "a .png of its own name")
    for folder in {path.parent for path in (*targets, *([preview] if preview else []))}:
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"cannot write in {folder}: {error.strerror}", "choose another folder") from None


class _Progress:
    """A bar with an ETA on a terminal, silence elsewhere, and the preview if one was asked for."""

    def __init__(self, request: Request, preview: Path | None) -> None:
        from tqdm import tqdm

        self.request, self.preview = request, preview
        self.bar = tqdm(total=request.steps, desc="loading", unit="step", disable=None, leave=False)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.bar.close()
        if kind is not None and self.preview is not None:
            self.preview.unlink(missing_ok=True)

    def __call__(self, step: Step) -> None:
        self.bar.set_description("dreaming", refresh=False)
        self.bar.total = step.total
        self.bar.update(step.index - self.bar.n)
        if self.preview is not None and step.index % max(1, step.total // PREVIEWS) == 0:
            self._show(self.preview, step)

    def _show(self, path: Path, step: Step) -> None:
        """The middle frame so far, sealed like everything that was dreamt."""
        from tenku.engines.loading import load
        from tenku.provenance.seal import Model, seal
        from tenku.types import Clip

        engine = load(self.request.model, self.request.lora)
        clip = step.preview()
        middle = len(clip.frames) // 2
        record = {"request": self.request.to_json(), "preview": {"step": step.index, "frame": middle}}
        frame = Clip(clip.frames[middle : middle + 1], clip.fps)
        seal(frame, record, path, model=Model(engine.name, engine.weights_sha256, engine.ledgers))


class _Growing:
    """What is finished of a clip, as `<name>.growing.mp4` beside where it will be: it plays while the rest is made."""

    def __init__(self, request: Request, target: Path) -> None:
        if target.suffix.lower() != ".mp4" or request.samples > 1:
            raise UserError(f"{target.name} cannot grow", "--stream is for one clip, as .mp4")
        self.request, self.path, self.frames = request, target.with_suffix(".growing.mp4"), 0

    def __enter__(self) -> _Growing:
        self.path.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def __call__(self, saved: Saved) -> None:
        from tenku import growing
        from tenku.engines.loading import load
        from tenku.provenance.seal import Model, seal
        from tenku.types import Clip

        clip, first = saved.finished(), self.frames
        if len(clip.frames) <= first:
            return
        engine = load(self.request.model, self.request.lora)
        with tempfile.TemporaryDirectory(prefix=".tenku-", dir=self.path.parent) as draft:
            piece = Path(draft) / "piece.mp4"
            record = {"request": self.request.to_json(), "part": {"first": first}}
            model = Model(engine.name, engine.weights_sha256, engine.ledgers)
            seal(Clip(clip.frames[first:], clip.fps), record, piece, model=model, first=first)
            with self.path.open("ab") as file:
                file.write(growing.fragment(piece.read_bytes(), first))
        self.frames = len(clip.frames)
        if not first:
            print(f"watch it grow: {self.path}", file=sys.stderr)


def _write(results: Sequence[Result], targets: Sequence[Path], made_of: Sequence[Path]) -> None:
    """Seals all clips beside their targets and moves them there together: a set is never left half made."""
    from tenku.provenance.seal import Model, seal

    folder = targets[0].parent
    with tempfile.TemporaryDirectory(prefix=".tenku-", dir=folder) as draft:
        for result, target in zip(results, targets, strict=True):
            model = Model(result.model, result.weights_sha256, result.ledgers)
            seal(result.clip, result.record, Path(draft) / target.name, model=model, ingredients=made_of)
        for file in sorted(Path(draft).iterdir()):  # the clips, and the manifests of formats that hold none
            os.replace(file, folder / file.name)


def _report(
    request: Request, results: Sequence[Result], targets: Sequence[Path], seconds: float, *, as_json: bool
) -> None:
    notes = list(dict.fromkeys(note for result in results for note in result.notes))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    files = [
        {"path": str(path), "seed": take.seed, "size": "{}x{}".format(*result.clip.size),
         "frames": len(result.clip.frames), "fps": result.clip.fps}
        for path, take, result in zip(targets, request.each(), results, strict=True)
    ]
    if as_json:
        taken = round(seconds, 3)
        said = {"files": files, "seconds_taken": taken, "notes": notes, "request": request.to_json()}
        print(json.dumps(said, indent=2, ensure_ascii=False))
        return
    for file, result in zip(files, results, strict=True):
        length = "an image" if file["frames"] == 1 else f"{result.clip.seconds:.2f} s"
        print(f"{file['path']}  {file['size']}  {length}  seed {file['seed']}")
    print(f"made in {seconds:.1f} s", file=sys.stderr)
