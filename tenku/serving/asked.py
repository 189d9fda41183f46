"""From what a client sends to a Request: bodies of both kinds, OpenAI's names for models and sizes, and refusals.

What the model cannot do is mapped where the Videos API has a name for it and reported as it will be, and refused where
it would be another thing.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request as Call

from tenku.errors import UserError
from tenku.request import Request
from tenku.serving.errors import ApiError

MAX_JSON = 22 << 20  # bytes: an image as a data URL has up to 20 MiB
# fields beside prompt, model, seconds and size that any client may set; none of them names a file of the server's
OPEN = ("negative_prompt", "fps", "seed", "steps", "guidance")
# what the Videos API and its users know, and this server does not do
NOT_YET = {
    "input_reference": "start from an image", "image": "start from an image", "characters": "use characters",
    "video": "start from a video", "keyframes": "take keyframes", "mask": "take a mask",
    "camera": "follow a camera path",
    "loop": "make a loop", "storyboard": "take a storyboard", "blend": "blend two videos", "tracks": "follow tracks",
}
# OpenAI's names for models: what they stand for here. Their own defaults come with the name.
OPENAI = {"seconds": "4", "size": "720x1280"}
ALIASES: dict[str, dict[str, Any]] = {
    "sora-2": OPENAI, "sora-2-pro": {**OPENAI, "steps": 60}, "sora-2-2025-10-06": OPENAI, "sora-2-2025-12-08": OPENAI,
    "sora-2-pro-2025-10-06": {**OPENAI, "steps": 60},
}
# OpenAI's sizes in the same aspect at the size that the bundled model was trained for
SIZES = {
    "1280x720": "144x80", "1920x1080": "144x80", "1792x1024": "112x64",
    "720x1280": "80x144", "1080x1920": "80x144", "1024x1792": "64x112",
}


@dataclass(frozen=True)
class Asked:
    """A call, understood."""

    model: str  # the served name
    request: Request
    words: dict[str, Any]  # model, size and seconds as the client wrote them
    fingerprint: str  # of all that was sent

    @property
    def work(self) -> float:
        """Pixels times steps: what the time it takes grows with."""
        size = self.request.size
        guided = 1 if self.request.guidance == 1 else 2
        return float(self.request.frames * size.width * size.height * self.request.steps * guided)


async def read_fields(call: Call) -> AsyncIterator[dict[str, Any]]:
    """The fields of a JSON object or a form, files as UploadFile. Raises ApiError for what is neither."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        try:
            form = await call.form(max_files=4, max_fields=200, max_part_size=MAX_JSON)
        except (HTTPException, ValueError):
            raise ApiError(400, "The form cannot be read", code="invalid_form") from None
        try:
            yield nested([(name, value) for name, value in form.multi_items()])
        finally:
            await form.close()
        return
    body = await call.body()
    if kind not in ("", "application/json") or len(body) > MAX_JSON:
        raise ApiError(400, "Send JSON or multipart/form-data", code="invalid_content_type")
    yield read_json(body)


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises ApiError for anything else, NaN and nesting without end included."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        values = json.loads(body or b"{}", parse_constant=refuse)
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is not JSON", code="invalid_json") from None
    if not isinstance(values, dict):
        raise ApiError(400, "The body must be a JSON object", code="invalid_json")
    return values


def nested(items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Form fields with the client's brackets: "characters[][id]" is a list of objects. Raises ApiError."""
    found: dict[str, Any] = {}
    for name, value in items:
        parts = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]*\]){0,4})", name)
        if parts is None:
            raise ApiError(400, f"The field {name[:60]!r} cannot be read", code="invalid_form")
        _put(found, [parts[1], *re.findall(r"\[([^\[\]]*)\]", parts[2])], value, name)
    return found


def _put(into: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    key, rest = path[0], path[1:]
    if not rest:
        if key in into:
            raise ApiError(400, f"The field {name[:60]!r} is there twice", code="duplicate_field", param=key[:60])
        into[key] = value
    elif rest[0] == "":
        items = into.setdefault(key, [])
        if not isinstance(items, list):
            raise ApiError(400, f"The field {name[:60]!r} cannot be read", code="invalid_form")
        if len(rest) == 1:
            items.append(value)
        else:  # objects are told apart by a key that comes again
            if not items or not isinstance(items[-1], dict) or rest[1] in items[-1]:
                items.append({})
            _put(items[-1], rest[1:], value, name)
    else:
        inner = into.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ApiError(400, f"The field {name[:60]!r} cannot be read", code="invalid_form")
        _put(inner, rest, value, name)


def understand(fields: Mapping[str, Any], served: Sequence[str], route: str) -> Asked:
    """Fields to a Request. served: the models' names, the default first. Raises ApiError for what cannot be."""
    refuse_unknown(fields, ("prompt", "model", "seconds", "size", *OPEN))
    given = {name: value for name, value in fields.items() if value is not None}
    asked_model = given.get("model", served[0])
    model, defaults = model_of(asked_model, served)
    values: dict[str, Any] = {"seed": secrets.randbelow(1_000_000), **defaults, **given}
    words = {"model": asked_model, "seconds": values.get("seconds"), "size": values.get("size")}
    if isinstance(values.get("size"), str):
        values["size"] = SIZES.get(values["size"].strip().lower(), values["size"])
    return Asked(model, parse(values | {"model": model}), words, fingerprint(route, fields))


def parse(values: Mapping[str, Any]) -> Request:
    """`Request.parse`, with its refusal in the client's terms. Raises ApiError."""
    try:
        return Request.parse(values)
    except UserError as error:
        said = str(error)
        param = next((name for name in values if said.startswith(name)), None)
        if "prompt is missing" in said:
            param = "prompt"
        message = said[:1].upper() + said[1:] + (f": {error.hint}" if error.hint else "")
        raise ApiError(400, message, code="invalid_value", param=param) from None


def refuse_unknown(fields: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ApiError for a field that is not known, and says so where it is one that cannot be had yet."""
    for name in fields:
        if name in known:
            continue
        if name in NOT_YET:
            raise ApiError(400, f"This server cannot {NOT_YET[name]} yet", code="unsupported_parameter", param=name)
        raise ApiError(400, f"Unknown parameter: {name[:60]!r}", code="unknown_parameter", param=name[:60])


def model_of(name: Any, served: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The served model that a name stands for, and the defaults that come with it. Raises ApiError."""
    if isinstance(name, str):
        if name in served:
            return name, {}
        if name in ALIASES:
            return served[0], ALIASES[name]
    said = name[:60] if isinstance(name, str) else type(name).__name__
    raise ApiError(400, f"The model {said!r} does not exist: one of {', '.join((*served, *ALIASES))}",
                   code="model_not_found", param="model")


def fingerprint(route: str, fields: Mapping[str, Any]) -> str:
    """SHA-256 of a call's content, however it was sent."""

    def plain(value: Any) -> Any:
        if isinstance(value, UploadFile):
            value.file.seek(0)
            digest = hashlib.file_digest(value.file, "sha256").hexdigest()  # type: ignore[arg-type]
            value.file.seek(0)
            return {"file": digest}
        return str(value)

    text = json.dumps([route, fields], sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()
