"""The door to dreaming for whoever asks on this machine: `tenku.generate`, films and the commands.

Nothing is made before the operator's policy was asked. The server asks it for each call, by the name of the key
(`serving.allowed`), and its workers dream what was allowed then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenku.policy import Policy, Refused
from tenku.request import Request

if TYPE_CHECKING:
    from tenku.film.make import Film, OnStep
    from tenku.film.storyboard import Storyboard
    from tenku.sampling.generate import Result, Saved, Step
    from tenku.types import Clip


def generate(
    request: Request | str | None = None, *, on_step: Callable[[Step], None] | None = None,
    clips: Mapping[str, Clip] | None = None, shown: Mapping[str, Any] | None = None,
    on_round: Callable[[Saved], None] | None = None, **fields: Any,
) -> list[Result]:
    """Makes the clips of a request: `generate("a red ball bouncing on a beach", seconds=2, seed=7)`.

    clips: inputs that are in memory, by the "sha256:..." that the request names them by (`modes.name_of`); shown: what
    they show, by the same names (`Result.record["shown"]`); files of ours say it themselves. on_round: called with what
    is finished of one sample. Returns one Result per sample; every sample is the same alone or among others. Raises
    UserError for a request that cannot be, Refused, which is one and names the rule, for one that the policy forbids.
    """
    if not isinstance(request, Request):
        request = Request.parse(fields if request is None else {"prompt": request, **fields})
    Policy.find().check(request)
    from tenku.provenance.lineage import shown as shown_by
    from tenku.sampling.generate import generate

    files = [one.source for one in request.inputs if Path(one.source).is_file()]
    seen = {source: shown_by(Path(source)) for source in files} | dict(shown or {})
    return generate(request, on_step=on_step, clips=clips, shown=seen, on_round=on_round)


def stream(request: Request | str | None = None, **fields: Any) -> Iterator[Clip]:
    """The clip of words alone in pieces, as soon as each is finished: `for piece in tenku.stream("...", seconds=60)`.

    Together they are what `generate` makes, and memory does not grow with their number. Raises UserError and Refused
    like `generate`, and UserError where inputs are given.
    """
    if not isinstance(request, Request):
        request = Request.parse(fields if request is None else {"prompt": request, **fields})
    Policy.find().check(request)
    from tenku.sampling.generate import stream

    return stream(request)


def film(board: Storyboard, path: Path, on_step: OnStep | None = None, *, name: str = "storyboard") -> Film:
    """Makes the film of a storyboard (`film.storyboard.read`) at `path`, sealed. name: what errors call it.

    Raises UserError like `film.make.make`, and Refused like `generate`, with the line of the shot.
    """
    allow_film(board, name)
    from tenku.film.make import make

    return make(board, path, on_step)


def allow_film(board: Storyboard, name: str) -> None:
    """Raises Refused for a film that the policy forbids. What is written over pictures counts as said."""
    policy = Policy.find()
    policy.check_words([("title", board.title)])
    for shot in board.shots:
        try:
            policy.check(shot.request)
            policy.check_words([("prompt", shot.request.prompt), ("text", shot.text)])
        except Refused as no:
            raise Refused(no.rule, f"{name}:{shot.line}: {no.field}", no.says) from None
