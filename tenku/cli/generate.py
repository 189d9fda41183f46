"""`tenku generate`: a prompt becomes a sealed file, with pictures at any times if they are given."""

from __future__ import annotations

import argparse
import sys

from tenku.cli import making


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The prompt, what is known at which time, and the flags that all making shares."""
    parser.add_argument("prompt", metavar="PROMPT", help="what to show, in quotes")
    parser.add_argument("--direct", choices=("grammar", "chat"),
                        help="complete the prompt: in the model's own words, or by your chat endpoint (docs/modes.md)")
    parser.add_argument("--image", metavar="FILE", help="the first frame: a picture to animate")
    parser.add_argument("--keyframe", action="append", metavar="FILE@S",
                        help="a picture or a clip at second S; FILE@S:0.5 holds it half as firmly; repeat it for more")
    parser.add_argument("--loop", action="store_true", help="make a clip that repeats without a seam")
    parser.add_argument("--stream", action="store_true",
                        help="what is finished can be watched as FILE.growing.mp4 while the rest is made")
    parser.add_argument("--server", metavar="URL", help="have a `tenku serve` make it (key: $TENKU_API_KEY)")
    making.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reads the request and makes it."""
    from tenku.request import Request

    values = making.given(arguments)
    if values["seconds"] is None and arguments.output and arguments.output.suffix.lower() == ".png":
        values["seconds"] = 0
    inputs = [*([arguments.image] if arguments.image else []), *(arguments.keyframe or [])]
    if inputs and values["size"] is None:
        values["size"] = making.size_of(inputs[0], values["model"])
    values |= {"inputs": inputs or None, "mode": "loop" if arguments.loop else None}
    request = Request.parse({"prompt": arguments.prompt, **values})
    if arguments.direct:
        from tenku.director import asked, direct

        made = asked(request.prompt) if arguments.direct == "chat" else direct(request.prompt, request.seed)
        if made.added:
            print(f"note: the director added: {'; '.join(made.added)}", file=sys.stderr)
        request = Request.parse({"prompt": made.prompt, **values})
    if arguments.server:
        from tenku.cli.jobs import ask

        return ask(arguments, request, making.targets(arguments.output, request))
    return making.make(request, arguments)
