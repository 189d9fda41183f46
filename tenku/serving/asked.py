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
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request as Call

from tenku import catalogue
from tenku.errors import UserError
from tenku.inputs import MAX_INPUTS
from tenku.request import MAX_PIXELS, Request, size_like
from tenku.serving.allowed import allow
from tenku.serving.characters import described
from tenku.serving.errors import ApiError
from tenku.serving.sources import Sources

if TYPE_CHECKING:
    from tenku.serving.service import Service

MAX_JSON = 22 << 20  # bytes: an image as a data URL has up to 20 MiB
# fields that any client may set, as `Request` reads them; none of them names a file of the server's
OPEN = ("negative_prompt", "fps", "seed", "steps", "guidance", "mode", "way", "strength", "motion", "keep", "captions",
        "camera", "tracks")
MEDIA = ("inputs", "input_reference", "mask", "characters")  # what those look at that are read here
NESTED = ("inputs", "input_reference", "video", "mask", "characters", "keep", "captions", "camera", "tracks",
          "storyboard", "metadata")  # in a form they may be JSON text
MOST_CHARACTERS = 2
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
    frames: int  # of the clip that leaves
    film: dict[str, Any] | None = None  # where it is one
    made_from: tuple[str, ...] = ()  # videos of the caller's

    @property
    def work(self) -> float:
        """Pixels times steps: what the time it takes grows with."""
        size = self.request.size
        guided = 2 if self.request.guidance != 1 or self.request.negative_prompt else 1
        return float(self.frames * size.width * size.height * self.request.steps * guided)


async def read_fields(call: Call) -> AsyncIterator[dict[str, Any]]:
    """The fields of a JSON object or a form, files as UploadFile. Raises ApiError for what is neither."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        try:
            form = await call.form(max_files=20, max_fields=400, max_part_size=MAX_JSON)
        except (HTTPException, ValueError):
            raise ApiError(400, "The form cannot be read", code="invalid_form") from None
        try:
            yield unfolded(nested([(name, value) for name, value in form.multi_items()]))
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
        if b"\\ud" in body.lower():  # half of a character, which no database keeps
            json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is not JSON", code="invalid_json") from None
    if not isinstance(values, dict):
        raise ApiError(400, "The body must be a JSON object", code="invalid_json")
    return values


def unfolded(fields: dict[str, Any]) -> dict[str, Any]:
    """A form's fields with those read that hold JSON text. Raises ApiError."""
    for name in NESTED:
        value = fields.get(name)
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            fields[name] = read_json(f'{{"it": {value}}}'.encode())["it"]
        elif isinstance(value, list) and any(isinstance(item, dict) and "" in item for item in value):
            raise ApiError(400, f"{name} is a list of lists, which a form cannot say: send it as JSON text",
                           code="invalid_form", param=name)
    return fields


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


def understand(
    fields: Mapping[str, Any], service: Service, sources: Sources, route: str, base: Mapping[str, Any] | None = None
) -> Asked:
    """Fields to a Request, and its sources taken. Raises ApiError for what cannot be.

    base: what the route itself says: its mode, and the names of its inputs.
    """
    refuse_unknown(fields, ("prompt", "model", "seconds", "size", *OPEN, *MEDIA))
    given = {name: value for name, value in fields.items() if value is not None}
    asked_model = given.get("model", service.served[0])
    model, defaults = model_of(asked_model, service.served)
    source = service.models.get(model, model)
    values: dict[str, Any] = {"seed": secrets.randbelow(1_000_000), **catalogue.defaults(source), **defaults, **given}
    words = {"model": asked_model, "seconds": values.get("seconds"), "size": values.get("size")}
    for name, value in (base or {}).items():
        if values.setdefault(name, value) != value:
            raise ApiError(400, f"{name} is said by the address already", code="invalid_value", param=name)
    values["inputs"] = given_inputs(values, sources)
    if "mask" in values:
        values["mask"] = sources.take(values["mask"], "mask")
    if isinstance(values.get("size"), str) and catalogue.listed(source) is None:
        values["size"] = SIZES.get(values["size"].strip().lower(), values["size"])
    made = values.get("mode", "generate") != "generate"
    values["prompt"] = _named(values, sources)
    _inherit(values, sources)
    request = parse(values | {"model": model, **({"size": None} if made and "size" not in given else {})})
    shapes = [sources.measure(one.source, request.fps, "inputs") for one in request.inputs]
    if request.mask:
        sources.measure(request.mask, request.fps, "mask")
    if shapes and "size" not in given and (made or "size" not in defaults):
        request = parse({**request.to_json(), "size": size_like(*shapes[0][1], source)})
    frames = request.length([count for count, _ in shapes])
    if request.way == "morph" and frames == 1:
        raise ApiError(400, "A morph needs two clips of more than 8 frames", code="invalid_value", param="inputs")
    if frames * request.size.width * request.size.height > MAX_PIXELS:
        raise ApiError(400, f"{frames} frames of {request.size} are more than fits", code="invalid_value",
                       param="seconds")
    allow(request, sources)
    return Asked(model, request, words, fingerprint(route, fields), frames, made_from=sources.videos())


def given_inputs(values: dict[str, Any], sources: Sources) -> list[dict[str, Any]]:
    """`inputs` and `input_reference` as a Request holds them, their sources taken. Raises ApiError."""
    listed = values.pop("inputs", [])
    if not isinstance(listed, list) or len(listed) > MAX_INPUTS:
        raise ApiError(400, f"inputs must be a list of at most {MAX_INPUTS}", code="invalid_value", param="inputs")
    found: list[dict[str, Any]] = []
    for one in listed:
        if isinstance(one, Mapping) and str(one.get("source", "")) in sources.found:  # taken already
            found.append(dict(one))
        elif isinstance(one, Mapping) and "source" in one:
            refuse_unknown(one, ("source", "at", "strength"), "inputs")
            found.append({**one, "source": sources.take(one["source"], "inputs")})
        else:
            found.append({"source": sources.take(one, "inputs")})
    if (first := values.pop("input_reference", None)) is not None:
        found.insert(0, {"source": sources.take(first, "input_reference")})
    return found


def _named(values: dict[str, Any], sources: Sources) -> Any:
    """The prompt with the names of characters replaced by what they stand for. Raises ApiError."""
    prompt, asked = values.get("prompt"), values.pop("characters", [])
    if not isinstance(asked, list) or len(asked) > MOST_CHARACTERS:
        raise ApiError(400, f"characters must be a list of at most {MOST_CHARACTERS}", code="invalid_value",
                       param="characters")
    for one in asked:
        name, description = described(sources, one.get("id") if isinstance(one, Mapping) else one)
        found = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
        if not isinstance(prompt, str) or not found.search(prompt):
            raise ApiError(400, f"The prompt must hold the character's name, {name!r}", code="invalid_value",
                           param="prompt")
        prompt = description.join(found.split(prompt))
    return prompt


def _inherit(values: dict[str, Any], sources: Sources) -> None:
    """A video made from one of the caller's own has its prompt, where none is said."""
    first = sources.found.get(values["inputs"][0]["source"]) if values["inputs"] else None
    if first is None or first.job is None or values.get("mode", "generate") == "generate" or first.job["film"]:
        return
    source = first.job["request"]
    if not values.get("prompt"):
        values["prompt"] = source["prompt"]


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


def refuse_unknown(fields: Mapping[str, Any], known: Sequence[str], inside: str = "") -> None:
    """Raises ApiError for a field that is not known."""
    for name in fields:
        if name not in known:
            raise ApiError(400, f"Unknown parameter: {str(name)[:60]!r}", code="unknown_parameter",
                           param=inside or str(name)[:60])


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
