"""What OpenAPI says of the routes: the fields of each body, the answers, and that a key may be needed.

The schemas hold at least all that is accepted: `tenku.request` decides, and says what is wrong in words.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

Schema = dict[str, Any]

_TEXT: Schema = {"type": ["string", "null"]}
_ANY_NUMBER: Schema = {"type": ["number", "string", "null"]}
_LIST: Schema = {"type": ["array", "string", "null"], "description": "a list; in a form, JSON text"}
_MEDIA: Schema = {
    "type": ["string", "object", "null"],
    "description": "a file, a data URL, or the id of a video or a file: docs/serve.md, MEDIA"}
_MODES: dict[str, Schema] = {
    "prompt": {**_TEXT, "description": "1 to 2000 characters"}, "model": {**_TEXT, "description": "of GET /v1/models"},
    "seconds": _ANY_NUMBER, "size": {**_TEXT, "description": "WIDTHxHEIGHT"}, "negative_prompt": _TEXT,
    "fps": _ANY_NUMBER, "seed": _ANY_NUMBER, "steps": _ANY_NUMBER, "guidance": _ANY_NUMBER, "motion": _ANY_NUMBER,
    "strength": _ANY_NUMBER, "mode": {**_TEXT, "description": "generate, extend, blend, loop or edit"}, "way": _TEXT,
    "inputs": _LIST, "input_reference": _MEDIA, "mask": _MEDIA, "keep": _LIST, "captions": _LIST, "tracks": _LIST,
    "camera": {**_LIST, "description": "named moves, or rows of poses"}, "characters": _LIST}
_FLAG: Schema = {"type": ["boolean", "null"]}
# what a body may hold, by the name of the function that answers, and what of it must be there
BODIES: dict[str, tuple[dict[str, Schema], tuple[str, ...]]] = {
    "create_video": (_MODES, ("prompt",)),
    "edit_video": ({**_MODES, "video": _MEDIA}, ("video",)),
    "extend_video": ({**_MODES, "video": _MEDIA}, ("video",)),
    "create_character": ({"name": {"type": "string"}, "description": _TEXT, "video": _MEDIA}, ("name",)),
    "remix_video": ({"prompt": {"type": "string"}, "seed": _ANY_NUMBER}, ("prompt",)),
    "create_film": ({"storyboard": {"type": ["object", "string"]}, "parent": _TEXT, "model": _TEXT}, ("storyboard",)),
    "direct_prompt": ({"prompt": {"type": "string"}, "seed": _ANY_NUMBER}, ("prompt",)),
    "create_key": ({"name": {"type": "string"}, "scopes": {"type": "array"}, "most_waiting": _ANY_NUMBER,
                    "most_daily": _ANY_NUMBER, "most_bytes": _ANY_NUMBER, "share": _ANY_NUMBER}, ("name",)),
    "open_session": ({"key": {"type": "string"}}, ("key",)),
    "verify_file": ({"file": {"type": "string", "format": "binary"}}, ("file",)),
    "upload_file": ({"file": {"type": "string", "format": "binary"},
                     "purpose": {"enum": ["batch", "vision", "user_data"]}}, ("file", "purpose")),
    "create_batch": ({"input_file_id": {"type": "string"}, "endpoint": {"enum": ["/v1/videos"]},
                      "completion_window": {"enum": ["24h"]}, "metadata": {"type": ["object", "null"]}},
                     ("input_file_id", "endpoint", "completion_window")),
    "give_feedback": ({"rating": {"enum": [-1, 0, 1]}, "reasons": {"type": "array"}, "words": {"type": "string"},
                       "harmful": {"type": "boolean"}, "consent": {"type": "boolean"}, "better_than": _TEXT}, ()),
}
FORMS = ("verify_file", "upload_file")  # take files, so no JSON
JSON_ONLY = ("give_feedback",)
# what an answer is where it is not JSON
TYPES = {
    "metrics": ("text/plain",), "follow_video": ("text/event-stream",), "stream_video": ("video/mp4", "image/png"),
    "video_content": ("video/mp4", "image/png", "image/webp"), "file_content": ("application/jsonl",
                                                                              "application/octet-stream"),
    "video_input": ("video/mp4", "video/x-matroska", "image/gif", "image/png", "image/jpeg", "image/webp"),
    "export_feedback": ("application/jsonl", "application/vnd.apache.parquet")}
ERROR: Schema = {
    "type": "object", "required": ["error"], "properties": {"error": {
        "type": "object", "required": ["message", "type", "param", "code"], "properties": {
            "message": {"type": "string"}, "type": {"type": "string"}, "param": _TEXT, "code": _TEXT}}}}
_SAID = {"304": "Not changed", "206": "A part", "400": "The request cannot be", "401": "No key, or a wrong one",
         "403": "Not with this key", "404": "There is none of yours", "405": "Not with this method",
         "413": "Too large", "416": "There are no such bytes", "421": "Another server's name",
         "429": "Too much; Retry-After says when", "501": "Not on this server", "503": "Not now"}


def body_of(name: str, example: dict[str, Any] | None) -> dict[str, Any] | None:
    """The request body of a route, for FastAPI's openapi_extra."""
    if name not in BODIES:
        return None
    properties, required = BODIES[name]
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    kinds = (("multipart/form-data",) if name in FORMS else ("application/json",) if name in JSON_ONLY
             else ("application/json", "multipart/form-data"))
    return {"requestBody": {"required": True, "content": {
        kind: {"schema": schema, **({"example": example} if example else {})} for kind in kinds}}}


class Described(FastAPI):
    """FastAPI's own description with our answers in the place of its guesses."""

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            _describe(super().openapi())
        return super().openapi()


def _describe(said: dict[str, Any]) -> None:
    """Puts our answers, errors and keys into a description."""
    for path, methods in said["paths"].items():
        for method, operation in methods.items():
            name = operation["summary"].replace(" ", "_")
            whole = {"description": "What was asked for", "content": {
                kind: {"schema": {}} for kind in TYPES.get(name, ("application/json",))}}
            error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
            bare = {"206": whole, "304": {"description": _SAID["304"]}}
            operation["responses"] = {"200": {"description": "All is well"} if method == "head" else whole} | {
                code: bare.get(code) or {"description": text, **({} if method == "head" else {"content": error})}
                for code, text in _SAID.items()}
            operation["security"] = [] if path in ("/health", "/v1/session") else [{"key": []}]
    said["components"] = {"schemas": {"Error": ERROR}, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
