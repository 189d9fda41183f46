"""The application: routes, errors, metrics and the studio's files, behind the guard."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.exceptions import RequestValidationError
from sqlalchemy import func, select
from starlette.exceptions import HTTPException
from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from tenku import __version__
from tenku.serving import batches, directing, films, jobs, keyring, opinions, videos
from tenku.serving.access import COOKIE, FORGET, Guard, find_caller
from tenku.serving.asked import ALIASES
from tenku.serving.db import jobs as jobs_table
from tenku.serving.errors import ApiError, missing
from tenku.serving.quota import kept
from tenku.serving.service import Fields, Service, service_of
from tenku.serving.spec import Described, body_of
from tenku.serving.verifying import verify_file
from tenku.world.lexicon import CAMERA, COLOUR, LIGHT, PLACE, SUBJECT

log = logging.getLogger("tenku.server")
STUDIO = Path(__file__).parent / "studio"



def health() -> Response:
    """Whether the server answers. Needs no key."""
    return JSONResponse({"status": "ok"})


def list_models(call: Call) -> Response:
    """The models that are served, and the names that stand for the first of them."""
    service, _ = service_of(call)
    data = [_model(name) for name in (*service.served, *ALIASES)]
    return JSONResponse({"object": "list", "data": data})


def retrieve_model(call: Call, model: str) -> Response:
    """One of them."""
    service, _ = service_of(call)
    if model not in (*service.served, *ALIASES):
        raise missing("model", model)
    return JSONResponse(_model(model))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_763_856_000, "owned_by": "tenku"}


def status(call: Call) -> Response:
    """What the studio needs to know: models, who asks, what waits (an admin's: of all), the bytes they keep and may."""
    service, caller = service_of(call)
    active = select(jobs_table.c.status, func.count()).where(jobs_table.c.status.in_(jobs.ACTIVE))
    if "admin" not in caller.scopes:
        active = active.where(jobs_table.c.tenant == caller.tenant)
    with service.db.read() as connection:
        counts = {state: number for state, number in connection.execute(active.group_by(jobs_table.c.status))}
        keeps = kept(connection, caller.tenant)
    words = {"subject": SUBJECT, "colour": COLOUR, "place": PLACE, "light": LIGHT, "camera": CAMERA}
    return JSONResponse({
        "words": {kind: list(table) for kind, table in words.items()}, "version": __version__,
        "models": list(service.served), "needs_key": service.needs_key,
        "tenant": caller.tenant, "scopes": list(caller.scopes), "kept": keeps, "most_bytes": caller.most_bytes,
        "queued": counts.get("queued", 0), "in_progress": counts.get("in_progress", 0), "reasons": opinions.REASONS})


def open_session(call: Call, fields: Fields) -> Response:
    """Keeps a key in a cookie that scripts cannot read, so that the studio's pictures and events carry it."""
    service: Service = call.app.state.service
    key = fields.get("key")
    if not isinstance(key, str) or find_caller(service.db, key) is None:
        raise ApiError(401, "Incorrect API key provided", code="invalid_api_key")
    answer = JSONResponse({"ok": True})
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=call.url.scheme == "https", path="/v1")
    return answer


def close_session(call: Call) -> Response:
    """Forgets the key."""
    return JSONResponse({"ok": True}, headers={"set-cookie": FORGET})


def metrics(call: Call) -> Response:
    """Prometheus' text format, counted from the database: the same from every server on it."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

    service, _ = service_of(call)
    registry = CollectorRegistry()
    count = Gauge("tenku_jobs", "Jobs by state", ["state"], registry=registry)
    age = Gauge("tenku_oldest_queued_seconds", "Age of the oldest job that waits", registry=registry)
    spent = Gauge("tenku_work_seconds", "Seconds from start to end of the completed jobs that are kept",
                  registry=registry)
    with service.db.read() as connection:
        rows = connection.execute(select(jobs_table.c.status, func.count(), func.min(jobs_table.c.created_at), func.sum(
            jobs_table.c.completed_at - jobs_table.c.started_at)).group_by(jobs_table.c.status)).all()
        now = service.db.now(connection)
    for state in ("queued", "in_progress", "completed", "failed"):
        count.labels(state).set(0)
    for state, number, oldest, seconds in rows:
        count.labels(state).set(number)
        if state == "queued":
            age.set(max(0.0, now - oldest))
        if state == "completed":
            spent.set(seconds or 0)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


_CREATE = {"prompt": "a red ball bouncing on a beach", "model": "tenku-nano", "seconds": "2", "size": "128x80",
           "seed": 7}
# method, path, what answers, an example of the body
ROUTES: tuple[tuple[str, str, Callable[..., Any], dict[str, Any] | None], ...] = (
    ("GET", "/health", health, None),
    ("GET", "/metrics", metrics, None),
    ("GET", "/v1/status", status, None),
    ("POST", "/v1/session", open_session, {"key": "tk_..."}),
    ("DELETE", "/v1/session", close_session, None),
    ("GET", "/v1/models", list_models, None),
    ("GET", "/v1/models/{model}", retrieve_model, None),
    ("POST", "/v1/verify", verify_file, {"file": "(the file's bytes)"}),
    ("GET", "/v1/feedback", opinions.export_feedback, None),
    ("POST", "/v1/videos", videos.create_video, _CREATE),
    ("POST", "/v1/direct", directing.direct_prompt, {"prompt": "a red ball", "seed": 7}),
    ("GET", "/v1/keys", keyring.list_keys, None),
    ("POST", "/v1/keys", keyring.create_key, {"name": "Ann", "scopes": ["read", "write"]}),
    ("DELETE", "/v1/keys/{id}", keyring.revoke, None),
    ("GET", "/v1/videos", videos.list_videos, None),
    ("POST", "/v1/videos/edits", videos.edit_video, {"prompt": "at night", "video": {"id": "video_..."}}),
    ("POST", "/v1/videos/extensions", videos.extend_video,
     {"prompt": "", "seconds": "4", "video": {"id": "video_..."}}),
    ("POST", "/v1/videos/characters", videos.create_character, {"name": "Mossy", "description": "a large red ball"}),
    ("GET", "/v1/videos/characters/{id}", videos.get_character, None),
    ("GET", "/v1/videos/{id}", videos.retrieve_video, None),
    ("DELETE", "/v1/videos/{id}", videos.delete_video, None),
    ("GET", "/v1/videos/{id}/content", videos.video_content, None),
    ("HEAD", "/v1/videos/{id}/content", videos.video_content, None),
    ("GET", "/v1/videos/{id}/inputs/{sha256}", videos.video_input, None),
    ("POST", "/v1/videos/{id}/remix", videos.remix_video, {"prompt": "the same at night"}),
    ("POST", "/v1/films", films.create_film,
     {"storyboard": {"title": "", "shots": [{"prompt": "a red ball rests on a beach", "seconds": 2}]}}),
    ("POST", "/v1/videos/{id}/cancel", videos.cancel_video, None),
    ("GET", "/v1/videos/{id}/events", videos.follow_video, None),
    ("GET", "/v1/videos/{id}/stream", videos.stream_video, None),
    ("GET", "/v1/videos/{id}/history", videos.video_history, None),
    ("POST", "/v1/files", batches.upload_file, {"purpose": "batch", "file": "(the file's bytes)"}),
    ("GET", "/v1/files", batches.list_files, None),
    ("GET", "/v1/files/{id}", batches.retrieve_file, None),
    ("DELETE", "/v1/files/{id}", batches.delete_file, None),
    ("GET", "/v1/files/{id}/content", batches.file_content, None),
    ("POST", "/v1/batches", batches.create_batch,
     {"input_file_id": "file-...", "endpoint": "/v1/videos", "completion_window": "24h"}),
    ("GET", "/v1/batches", batches.list_batches, None),
    ("GET", "/v1/batches/{id}", batches.retrieve_batch, None),
    ("POST", "/v1/batches/{id}/cancel", batches.cancel_batch, None),
    ("POST", "/v1/videos/{id}/feedback", opinions.give_feedback, {"rating": 1, "reasons": ["beautiful"]}),
)


def build(service: Service, hosts: frozenset[str]) -> Guard:
    """The ASGI application of a service. hosts: the names it answers to."""
    app = Described(title="Tenku", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json",
                    description="OpenAI's Videos API, answered by models of one's own.", redirect_slashes=False)
    app.state.service = service
    for method, path, answer, example in ROUTES:
        app.add_api_route(path, answer, methods=[method], response_model=None,
                          summary=answer.__name__.replace("_", " "),
                          operation_id=f"{method.lower()}_{answer.__name__}_{path.rpartition('/')[2].strip('{}')}",
                          openapi_extra=body_of(answer.__name__, example))
    app.add_exception_handler(ApiError, _said)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
    app.mount("/", StaticFiles(directory=STUDIO, html=True))
    return Guard(app, db=service.db, hosts=hosts, needs_key=service.needs_key)


def _said(_: Call, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status, headers=error.headers)


def methods_of(path: str) -> list[str]:
    """What may be done at an address: by the route that is exactly so, else by those that fit it."""
    exact = {method for method, route, _, _ in ROUTES if route == path}
    fits = {method for method, route, _, _ in ROUTES if re.fullmatch(re.sub(r"{\w+}", "[^/]+", route), path)}
    return sorted(exact or fits)


def _framework(call: Call, error: Exception) -> Response:
    """Errors of the framework's own: no such route, no such method, a body that broke off."""
    assert isinstance(error, HTTPException)
    methods = methods_of(call.url.path)
    if error.status_code in (404, 405) and methods and call.method not in methods:
        error = HTTPException(405, headers={"Allow": ", ".join(methods)})
    known = {404: ("There is nothing here", "not_found"), 405: ("This cannot be done here", "method_not_allowed")}
    message, code = known.get(error.status_code, ("The request cannot be read", "invalid_request"))
    return _said(call, ApiError(error.status_code, message, code=code, headers=dict(error.headers or {})))


def _invalid(call: Call, error: Exception) -> Response:
    """A parameter of the path or the query; an id of another form is nobody's id."""
    assert isinstance(error, RequestValidationError)
    where, *name = error.errors()[0]["loc"]
    if call.method not in methods_of(call.url.path):  # "edits" is no video's id
        return _framework(call, HTTPException(405))
    if where == "path":
        return _said(call, missing("video", str(call.path_params.get("id", ""))))
    param = str(name[0]) if name else None
    return _said(call, ApiError(400, f"{param or 'The body'} cannot be so", code="invalid_value", param=param))


def _unexpected(call: Call, error: Exception) -> Response:
    log.error("%s %s failed", call.method, call.url.path, exc_info=error)
    return _said(call, ApiError(500, "The server failed; its log says why", code="internal_error"))
