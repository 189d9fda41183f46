"""`tenku jobs`: look after the videos of a server."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tenku.errors import UserError

if TYPE_CHECKING:
    from tenku.request import Request
    from tenku.serving.client import Client, Video

HERE = "http://127.0.0.1:8000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """list, show, watch, cancel, delete, download."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|show|watch|cancel|delete|download")
    does = {"list": "the newest videos", "show": "all that is known of one, as JSON",
            "watch": "a bar until it is over", "cancel": "stop it within a step", "delete": "delete it and its files",
            "download": "save it"}
    for name, text in does.items():
        verb = verbs.add_parser(name, help=text, allow_abbrev=False)
        verb.add_argument("--server", default=HERE, metavar="URL", help=f"(default: {HERE})")
        if name == "list":
            verb.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default: 20)")
            verb.add_argument("--json", action="store_true", help="as JSON")
        else:
            verb.add_argument("id", metavar="ID", help="video_..., as listed")
        if name == "download":
            verb.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to (default: ID.mp4)")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1: the video that was watched failed."""
    from tenku.serving.client import Client

    client = Client(arguments.server)
    if arguments.verb == "list":
        videos = list(itertools.islice(client.videos(), max(0, arguments.limit)))
        if arguments.json:
            print(json.dumps({"videos": [video.raw for video in videos]}, indent=2, ensure_ascii=False))
            return 0
        for video in videos:
            print(f"{video.id}  {_state(video):<12} {video.size:<9} {video.seconds:>4g} s  {video.prompt[:60]}")
    elif arguments.verb == "show":
        print(json.dumps(client.retrieve(arguments.id).raw, indent=2, ensure_ascii=False))
    elif arguments.verb == "watch":
        return 0 if follow(client, arguments.id).status == "completed" else 1
    elif arguments.verb == "cancel":
        print(_state(client.cancel(arguments.id)))
    elif arguments.verb == "delete":
        client.delete(arguments.id)
    else:
        path = arguments.output or Path(f"{arguments.id}.mp4")
        client.download(arguments.id, path)
        print(path)
    return 0


def _state(video: Video) -> str:
    if video.status == "in_progress" and video.steps_total:
        return f"{100 * video.steps_done // video.steps_total} %"
    return "cancelled" if video.raw["error"] and video.raw["error"]["code"] == "cancelled" else video.status


def follow(client: Client, name: str) -> Video:
    """A bar on a terminal until the video is over; returns it."""
    from tqdm import tqdm

    with tqdm(total=1, desc="waiting", unit="step", disable=None, leave=False) as bar:
        for video in client.watch(name):
            if video.steps_total:
                bar.set_description("dreaming", refresh=False)
                bar.total = video.steps_total
                bar.update(video.steps_done - bar.n)
    return video


def ask(arguments: argparse.Namespace, request: Request, targets: Sequence[Path]) -> int:
    """`tenku generate --server`: one job a take, and their files here when they are done."""
    from tenku.serving.client import Client

    ending = ".png" if request.frames == 1 else ".mp4"
    for path in targets:
        if path.suffix.lower() != ending:
            raise UserError(f"a server does not make {path.name}", f"end the name with {ending}")
        if not path.parent.is_dir():
            raise UserError(f"there is no folder {path.parent}", "make it first")
    if arguments.preview:
        raise UserError("--preview cannot be with --server", "the studio shows previews")
    if request.lora:
        raise UserError("--lora cannot be with --server", "merge it, and have the server serve that (docs/tuning.md)")
    client = Client(arguments.server)
    usual = type(request)(request.prompt).to_json()
    kept = {name: value for name, value in request.to_json().items()
            if value != usual[name] and name not in ("samples", "seed")}
    if request.inputs:
        kept["inputs"] = [{**one.to_json(), "source": client.upload(Path(one.source))} for one in request.inputs]
    asked = [client.create(request.prompt, **{**kept, "seed": take.seed}) for take in request.each()]
    made = []
    for video, path in zip(asked, targets, strict=True):
        done = follow(client, video.id)
        if done.status != "completed":
            raise UserError(f"{video.id} was not made: {done.error}", "")
        client.download(video.id, path)
        made.append({"path": str(path), "id": video.id, **done.raw["tenku"]["facts"]})
        for note in done.raw["tenku"]["facts"]["notes"]:
            print(f"note: {note}", file=sys.stderr)
        if not arguments.json:
            print(f"{path}  {done.size}  {done.seconds:g} s  seed {done.raw['tenku']['seed']}  {video.id}")
    if arguments.json:
        print(json.dumps({"files": made, "request": request.to_json()}, indent=2, ensure_ascii=False))
    return 0
