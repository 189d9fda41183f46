"""Films over HTTP: a storyboard becomes a job whose shots are kept as they are made.

Its keyframes are the caller's own videos and uploads; it names no files.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request as Call
from starlette.responses import Response

from tenku import untrusted
from tenku.errors import UserError
from tenku.film.storyboard import Storyboard, parse
from tenku.inputs import Given
from tenku.request import MAX_PIXELS
from tenku.serving import jobs
from tenku.serving.allowed import allow, allow_words
from tenku.serving.asked import Asked, fingerprint, model_of, read_json, refuse_unknown
from tenku.serving.errors import ApiError
from tenku.serving.service import Fields, Service, service_of
from tenku.serving.sources import Sources
from tenku.serving.videos import submit

if TYPE_CHECKING:
    from tenku.film.make import Film, Held, Piece

MAX_TEXT = 256 << 10  # characters of a storyboard


def create_film(call: Call, fields: Fields) -> Response:
    """Make a film of a storyboard: JSON, or YAML as text. `parent`: a film of yours whose unchanged shots are kept."""
    service, caller = service_of(call)
    refuse_unknown(fields, ("storyboard", "parent", "model"))
    parent = fields.get("parent")
    if parent is not None and not jobs.get(service.db, caller.tenant, str(parent))["film"]:
        raise ApiError(400, "The parent is no film", code="invalid_value", param="parent")
    with service.sources(caller) as sources:
        asked = _understood(fields, service, sources)
        return submit(call, asked, sources, parent=parent)


def _understood(fields: Mapping[str, Any], service: Service, sources: Sources) -> Asked:
    """A storyboard as a job. Raises ApiError."""
    said = fields.get("storyboard")
    if isinstance(said, str) and said.lstrip().startswith("{"):  # JSON; YAML reads its escapes otherwise
        said = read_json(said.encode())
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, indent=1)
    if not isinstance(said, str | dict) or len(text) > MAX_TEXT:
        raise ApiError(400, f"The storyboard must be an object, or text of at most {MAX_TEXT >> 10} KiB",
                       code="invalid_value", param="storyboard")
    asked_model = fields.get("model", service.served[0])
    model, _ = model_of(asked_model, service.served)
    inputs: dict[str, Any] = {}

    def keyframe(spec: Any) -> Any:
        one = Given.parse(spec).to_json() if isinstance(spec, str) and not spec.startswith("data:") else spec
        one = one if isinstance(one, dict) and "source" in one else {"source": one}
        inputs[_key(spec)] = {**one, "source": sources.take(one["source"], "storyboard")}
        return inputs[_key(spec)]

    board = _board(text, keyframe)
    frames = sum(shot.request.frames + round(shot.transition_seconds * shot.request.fps) for shot in board.shots)
    first = board.shots[0].request
    if any(shot.request.model not in ("nano", model) or shot.request.size != first.size for shot in board.shots):
        raise ApiError(400, "All shots have one size, and the model is said beside the storyboard",
                       code="invalid_value", param="storyboard")
    if frames * first.size.width * first.size.height > MAX_PIXELS:
        raise ApiError(400, f"{frames} frames of {first.size} are more than fits", code="invalid_value",
                       param="storyboard")
    if any("\ud800" <= c <= "\udfff" for c in board.title + "".join(shot.text for shot in board.shots)):
        raise ApiError(400, "The storyboard holds halves of characters", code="invalid_value", param="storyboard")
    allow_words([("title", board.title), *(("text", shot.text) for shot in board.shots)], sources.key)
    for shot in board.shots:
        allow(shot.request, sources)
        for one in shot.request.inputs:
            sources.measure(one.source, shot.request.fps, "storyboard")
    film = {"title": board.title, "storyboard": text, "inputs": inputs, "parent": fields.get("parent"),
            "words": " ".join([board.title, *(shot.request.prompt for shot in board.shots)]).strip(),
            "shots": [{"prompt": shot.request.prompt, "seconds": shot.request.seconds} for shot in board.shots],
            "making": "", "made": 0, "kept": 0}
    request = first.parse({**first.to_json(), "model": model})
    return Asked(model, request, {"model": asked_model, "seconds": None, "size": None}, fingerprint("film", fields),
                 frames, film, sources.videos())


def _key(spec: Any) -> str:
    """A keyframe of a storyboard by what is said of it."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def _board(text: str, keyframe: Callable[[Any], Any]) -> Storyboard:
    try:
        return parse(text, "storyboard", None, keyframe)
    except UserError as error:
        raise ApiError(400, f"{error}" + (f": {error.hint}" if error.hint else ""), code="invalid_value",
                       param="storyboard") from None


class Filming:
    """A film's job in a worker: how far it is, and its shots put where the next worker finds them."""

    def __init__(self, service: tuple[Any, Any], job: jobs.Job, stepped: Callable[[int, int], None]) -> None:
        """service: database and store; stepped: is told of steps done and of how many, and raises to end the work."""
        (self.db, self.store), self.job, self.stepped = service, job, stepped
        self.film = dict(job["film"])
        saved = job["saved"] or {}
        self.keys: list[str] = list(saved.get("keys", []))
        self.bytes: int = saved.get("bytes", 0)  # of the shots that are kept
        self.parts = len(self.film["shots"]) + self.film["storyboard"].count("dream")  # at most
        self.done = 0

    def make(self, path: Path, given: Mapping[str, Path], model: str) -> Film:
        """Makes the film at a path; shots that are kept are not dreamt again."""
        from dataclasses import replace

        from tenku.film.make import make

        board = _board(self.film["storyboard"], lambda spec: self.film["inputs"][_key(spec)])
        board = replace(board, shots=tuple(replace(shot, request=replace(shot.request, model=model))
                                           for shot in board.shots))
        first = board.shots[0].request
        size = (first.size.width, first.size.height)
        held: dict[str, Held] = {name: (file, untrusted.read_at(file, first.fps, size)) for name, file in given.items()}
        with tempfile.TemporaryDirectory(prefix="tenku-shots-") as folder:
            self._fetch(Path(folder))
            return make(board, path, self._step, shots_in=Path(folder), given=held, on_part=self._part)

    def _fetch(self, folder: Path) -> None:
        """Shots of an earlier attempt, and of the film that this one changes."""
        parent = self.film["parent"] and jobs.find(self.db, self.job["tenant"], self.film["parent"])
        for key in [*((parent or {}).get("saved") or {}).get("keys", []), *self.keys]:
            target = folder / key.rpartition("/")[2]
            try:
                if not target.exists():
                    target.write_bytes(self.store.load(key))
            except FileNotFoundError:
                continue

    def _step(self, name: str, step: Any) -> None:
        if name != self.film["making"]:
            self.film["making"] = name
            jobs.keep(self.db, self.job, self.bytes, film=self.film)
        self.stepped(min(100 * self.parts - 1, 100 * self.done + 100 * step.index // step.total), 100 * self.parts)

    def _part(self, piece: Piece) -> None:
        self.done += 1
        self.film["made" if piece.fresh else "kept"] += 1
        prefix = f"{self.job['id']}/shots-{self.job['token']}"
        keys = [f"{prefix}/{path.name}" for path in (piece.pictures, piece.file)]
        names = {key.rpartition("/")[2] for key in self.keys}
        for path, key in zip((piece.pictures, piece.file), keys, strict=True):
            if path.name not in names:
                self.store.put(path, key)
                self.keys.append(key)
                self.bytes += path.stat().st_size
        jobs.keep(self.db, self.job, self.bytes, film=self.film, saved={"keys": self.keys, "bytes": self.bytes})
