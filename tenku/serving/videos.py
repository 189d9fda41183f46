"""The Videos API: what the official client's `videos.*` calls, and what Tenku has beyond it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import Path, Query
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response, StreamingResponse

from tenku.serving import jobs
from tenku.serving.access import Caller, still
from tenku.serving.allowed import allow, allow_character
from tenku.serving.asked import Asked, fingerprint, parse, refuse_unknown, understand
from tenku.serving.characters import add_character, find_character, show, words_of
from tenku.serving.db import history
from tenku.serving.errors import ApiError
from tenku.serving.jobs import Job, New
from tenku.serving.pace import eta
from tenku.serving.service import Fields, Service, service_of
from tenku.serving.sources import Sources
from tenku.serving.store import Store
from tenku.serving.verifying import examine

VARIANTS = ("video", "thumbnail", "spritesheet", "preview")
SHOWN = ("mode", "way", "negative_prompt", "fps", "seed", "steps", "guidance", "motion", "strength", "camera", "tracks",
         "captions", "keep")
FILM = ("title", "shots", "making", "made", "kept")
LOOK = 0.25  # seconds between looks at a job that somebody follows
HOLD = 10.0  # seconds that an answer may wait for the end of a job
VideoId = Annotated[str, Path(pattern=r"^video_[0-9a-f]{24}$", examples=["video_0123456789abcdef01234567"])]


# -- making ---------------------------------------------------------------------------------------------------


def create_video(call: Call, fields: Fields) -> Response:
    """Make a video. Multipart or JSON. Beside OpenAI's fields all that a Request has: docs/serve.md."""
    return make(call, fields, "create")


def edit_video(call: Call, fields: Fields) -> Response:
    """Make a video again, otherwise: `prompt` and `video`, an upload or one of your own; strength, mask, keep, ..."""
    return make(call, fields, "edits", {"mode": "edit"})


def extend_video(call: Call, fields: Fields) -> Response:
    """Make a video longer by `seconds`: `prompt` and `video`, an upload or one of your own; way."""
    return make(call, fields, "extensions", {"mode": "extend"})


def make(call: Call, fields: Mapping[str, Any], route: str, base: dict[str, Any] | None = None) -> Response:
    """Understands a call and accepts its job. base: what the route says; it then takes the field `video`."""
    service, caller = service_of(call)
    with service.sources(caller) as sources:
        if base is not None:
            if fields.get("video") is None:
                raise ApiError(400, "The video is missing", code="invalid_value", param="video")
            base = {**base, "inputs": [{"source": sources.take(fields["video"], "video")}]}
            fields = {name: value for name, value in fields.items() if name != "video"}
        return submit(call, understand(fields, service, sources, route, base), sources)


def remix_video(call: Call, id: VideoId, fields: Fields) -> Response:
    """The same video under another prompt: same seed, so the same noise, size, length and inputs."""
    service, caller = service_of(call)
    parent = jobs.get(service.db, caller.tenant, id)
    refuse_unknown(fields, ("prompt", "seed"))
    changes = {name: value for name, value in fields.items() if value is not None}
    if "prompt" not in changes:
        raise ApiError(400, "The prompt is missing", code="invalid_value", param="prompt")
    if parent["film"]:
        raise ApiError(400, "A film is made again by its storyboard", code="unsupported_mode", param="id")
    with service.sources(caller) as sources:
        sources.adopt(parent)
        request = parse({**parent["request"], **changes})
        allow(request, sources)
        asked = Asked(parent["model"], request, parent["asked"], fingerprint(f"remix {id}", fields),
                      parent["frames"] or request.frames, made_from=sources.videos())
        return submit(call, asked, sources, parent=id)


def submit(call: Call, asked: Asked, sources: Sources, parent: str | None = None) -> Response:
    """Accepts a job, its sources kept first: a row without its files would be a lie."""
    service, caller = service_of(call)
    if asked.request.samples != 1:
        raise ApiError(400, "A video is one take: ask again with another seed for another", code="invalid_value",
                       param="samples")
    key = call.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise ApiError(400, "An Idempotency-Key has 1 to 255 characters", param="Idempotency-Key",
                       code="invalid_value")
    retried = call.headers.get("x-stainless-retry-count", "0") not in ("", "0")
    new = new_job(asked, caller.tenant, sources, parent)
    try:
        job = jobs.submit(service.db, new, key=key, repeat=retried, limits=caller.limits(service.most_queued))
    except BaseException:
        service.store.remove(new.id)
        raise
    service.wake()
    if job["id"] != new.id and new.inputs:
        service.store.remove(new.id)
    return _accepted(service, job)


def new_job(asked: Asked, tenant: str, sources: Sources, parent: str | None = None) -> New:
    """A job to be, its sources in its folder."""
    name = jobs.new_id()
    return New(tenant, asked.model, asked.request.to_json(), asked.words, asked.work, asked.fingerprint, parent,
               id=name, inputs=sources.keep(name), frames=asked.frames, film=asked.film, made_from=asked.made_from)


def create_character(call: Call, fields: Fields) -> Response:
    """A name for a thing: `name`, and a `description`, or a `video` that Tenku made."""
    service, caller = service_of(call)
    refuse_unknown(fields, ("name", "description", "video"))
    said, given = fields.get("description"), fields.get("video")
    if said is None and given is None:
        raise ApiError(400, "Give a description, or a video that Tenku made", code="invalid_value", param="description")
    with service.sources(caller) as sources:
        source = None if given is None else sources.found[sources.take(given, "video")]
        if said is None and source is not None:
            said = words_of(source.job["request"] if source.job else _asked_of(source.path))
    name = fields.get("name", "")
    allow_character(str(name), str(said), caller.name)
    return JSONResponse(show(add_character(service.db, caller.tenant, name, said or "")))


def _asked_of(path: FilePath) -> Mapping[str, Any]:
    """The Request that a file of a stranger's was made by, as far as its manifest holds."""
    signature = examine(path)["signature"]
    asked: Any = signature["request"] if signature["state"] in ("trusted", "unknown") else {}
    for _ in range(2):
        asked = asked.get("request") if isinstance(asked, Mapping) else None
    return asked if isinstance(asked, Mapping) else {}


def get_character(call: Call, id: Annotated[str, Path(max_length=100)]) -> Response:
    """One of yours."""
    service, caller = service_of(call)
    return JSONResponse(show(find_character(service.db, caller.tenant, id)))


# -- looking --------------------------------------------------------------------------------------------------


async def retrieve_video(call: Call, id: VideoId) -> Response:
    """One video, whatever became of it: a failed one is an answer and no error.

    The official client's `poll` keeps the first interval that it is told: it is answered when the video is done.
    """
    service, caller = service_of(call)
    job, left = await run_in_threadpool(jobs.look, service.db, caller.tenant, id)
    waits = "x-stainless-poll-helper" in call.headers and "x-stainless-custom-poll-interval" not in call.headers
    over = time.monotonic() + HOLD
    while waits and job["status"] in jobs.ACTIVE and time.monotonic() < over and not service.stopping.is_set():
        await asyncio.sleep(min(1.0, max(0.01, (1.0 if left is None else left) / 5)))
        job, left = await run_in_threadpool(_look, service, caller, id)
    answer = _answer(job, left)
    if waits and job["status"] in jobs.ACTIVE:
        answer.headers["openai-poll-after-ms"] = "250"
    return answer


def _look(service: Service, caller: Caller, id: str) -> tuple[Job, float | None]:
    """A job for who watches it, as long as they may. Raises ApiError."""
    still(service.db, caller)
    return jobs.look(service.db, caller.tenant, id)


def list_videos(
    call: Call, after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20, order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
    status: Annotated[str | None, Query(pattern="^(queued|in_progress|completed|failed)$")] = None,
    parent: Annotated[str | None, Query(max_length=100)] = None,
    words: Annotated[str | None, Query(max_length=200)] = None,
    kind: Annotated[str | None, Query(pattern=f"^({'|'.join(jobs.KINDS)})$")] = None,
) -> Response:
    """Your videos, newest first, a page at a time: `after` is the last id of the page before.
    Beyond OpenAI's: only those of a status or a kind, made from a parent, or with all these words in the prompt.
    """
    service, caller = service_of(call)
    rows, more = jobs.page(service.db, caller.tenant, after, limit, newest_first=order == "desc",
                           only=jobs.Filter(status, parent, words, kind))
    data = [video(row) for row in rows]
    return JSONResponse({"object": "list", "data": data, "has_more": more,
                         "first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None})


def video_history(call: Call, id: VideoId) -> Response:
    """Every state that a video was in, and when."""
    service, caller = service_of(call)
    jobs.get(service.db, caller.tenant, id)
    with service.db.read() as connection:
        rows = connection.execute(select(history.c.at, history.c.state, history.c.detail).where(
            history.c.job == id).order_by(history.c.seq)).mappings().all()
    return JSONResponse({"object": "list", "data": [dict(row) for row in rows]})


async def follow_video(call: Call, id: VideoId) -> Response:
    """Server-sent events: `progress` with the video whenever something changed, `done` at the end."""
    service, caller = service_of(call)
    first = await run_in_threadpool(jobs.look, service.db, caller.tenant, id)

    async def events() -> AsyncIterator[str]:
        seen, ticks, (job, left) = "", 0, first
        while True:
            body = json.dumps(video(job, left))
            over = job["status"] not in jobs.ACTIVE
            state = json.dumps([job["status"], job["done"], job["artifacts"]])
            if over or state != seen:
                seen = state
                yield f"event: {'done' if over else 'progress'}\ndata: {body}\n\n"
            elif ticks % 40 == 39:
                yield ": still here\n\n"
            if over or service.stopping.is_set():
                return
            if ticks % 8 == 0:
                await run_in_threadpool(jobs.watch, service.db, id)
            ticks += 1
            await asyncio.sleep(LOOK)
            try:
                job, left = await run_in_threadpool(_look, service, caller, id)
            except ApiError as error:
                if error.status == 404:
                    yield f"event: deleted\ndata: {json.dumps({'id': id})}\n\n"
                return

    return StreamingResponse(events(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def stream_video(call: Call, id: VideoId) -> Response:
    """The video as a growing mp4 while it is being made: what is finished, and the rest as it comes.

    A finished one, or one that is dreamt all at once, comes whole.
    """
    service, caller = service_of(call)
    job = await run_in_threadpool(jobs.get, service.db, caller.tenant, id)
    if job["status"] in jobs.ACTIVE and job["request"]["seconds"] and not job["film"]:
        return StreamingResponse(_growing(service, caller, job), media_type="video/mp4",
                                 headers={"x-accel-buffering": "no"})
    return await run_in_threadpool(video_content, call, id)


async def _growing(service: Service, caller: Caller, job: Job) -> AsyncIterator[bytes]:
    """The pieces of a clip; all of its file where it had none when it was done. Ends early where nothing comes."""
    sent = ticks = 0
    while True:
        parts = job["parts"] or []
        for part in parts[sent:]:
            yield await run_in_threadpool(service.store.load, part["key"])
        sent = len(parts)
        if job["status"] not in jobs.ACTIVE or service.stopping.is_set():
            break
        if ticks % 8 == 0:
            await run_in_threadpool(jobs.watch, service.db, job["id"])
        ticks += 1
        await asyncio.sleep(LOOK)
        try:
            job, _ = await run_in_threadpool(_look, service, caller, job["id"])
        except ApiError:
            return
    if job["status"] == "completed" and not sent:
        yield await run_in_threadpool(service.store.load, job["artifacts"]["video"]["key"])


def video_content(
    call: Call, id: VideoId, variant: Annotated[str, Query(pattern=f"^({'|'.join(VARIANTS)})$")] = "video"
) -> Response:
    """The file, or a part of it by Range: video, thumbnail, spritesheet; preview while it is being made."""
    service, caller = service_of(call)
    job = jobs.get(service.db, caller.tenant, id)
    artifact = (job["artifacts"] or {}).get(variant)
    if artifact is None and job["status"] != "completed":
        raise ApiError(404, f"The video is {job['status'].replace('_', ' ')}: there is no {variant} of it",
                       code="video_not_ready", param="variant")
    if artifact is None or not service.store.exists(artifact["key"]):
        raise ApiError(404, f"There is no {variant} of this video any more" if job["expires_at"] else
                       f"There is no {variant} of this video", code="not_found", param="variant")
    return _file(call, service.store, artifact, f"{id}-{variant}{artifact['key'][artifact['key'].rindex('.'):]}")


def video_input(
    call: Call, id: VideoId, sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
) -> Response:
    """The bytes of something that a video is made from."""
    service, caller = service_of(call)
    entry = (jobs.get(service.db, caller.tenant, id)["inputs"] or {}).get(sha256)
    if entry is None or not service.store.exists(entry["key"]):
        raise ApiError(404, "There is no such input", code="not_found", param="sha256")
    return _file(call, service.store, entry, entry["key"].rpartition("/")[2])


def _file(call: Call, store: Store, artifact: Mapping[str, Any], name: str) -> Response:
    """RFC 9110, section 14: one range or all of it."""
    size, tag = artifact["bytes"], f'"{artifact["key"]}"'
    headers = {"accept-ranges": "bytes", "etag": tag, "content-disposition": f'inline; filename="{name}"',
               "cache-control": "private, max-age=600"}
    if call.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    start, stop, status = 0, size, 200
    asked = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", call.headers.get("range", ""))
    if asked and asked[0] != "bytes=-" and call.headers.get("if-range", tag) == tag:
        first, last = asked.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= stop:
            raise ApiError(416, "There are no such bytes", code="invalid_range",
                           headers={"Content-Range": f"bytes */{size}"})
        status = 206
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["content-length"] = str(stop - start)
    if call.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=artifact["type"])
    return StreamingResponse(store.read(artifact["key"], start, stop), status, headers, artifact["type"])


# -- ending ---------------------------------------------------------------------------------------------------


def cancel_video(call: Call, id: VideoId) -> Response:
    """Stops a video that waits or is being made, within a step. A finished one stays as it is."""
    service, caller = service_of(call)
    job = jobs.cancel(service.db, caller.tenant, id)
    if job["status"] == "failed":
        service.store.remove(id)
    return _accepted(service, job)


def delete_video(call: Call, id: VideoId) -> Response:
    """Deletes a video in whatever state, and its files."""
    service, caller = service_of(call)
    jobs.remove(service.db, caller.tenant, id)
    service.store.remove(id)
    return JSONResponse({"id": id, "object": "video.deleted", "deleted": True})


# -- how a job reads ------------------------------------------------------------------------------------------


def _accepted(service: Service, job: Job) -> Response:
    """A row that is just written."""
    with service.db.read() as connection:
        return _answer(job, eta(connection, job))


def _answer(job: Job, left: float | None) -> Response:
    headers = {}
    if job["status"] in jobs.ACTIVE:  # a fifth of what is left: few calls for long jobs, small delay for short ones
        headers["openai-poll-after-ms"] = str(round(min(10_000, max(250, 200 * (left if left is not None else 2.5)))))
    return JSONResponse(video(job, left), headers=headers)


def video(job: Job, left: float | None = None) -> dict[str, Any]:
    """The Video object: OpenAI's fields, truthful, and ours under `tenku`."""
    request, facts = job["request"], job["facts"] or {}
    progress = 100 if job["status"] == "completed" else min(99, 100 * job["done"] // max(1, job["total"]))
    preview = (job["artifacts"] or {}).get("preview") if job["status"] == "in_progress" else None
    frames, film = facts.get("frames") or job["frames"], job["film"]
    plain = request.get("mode", "generate") == "generate" and not film
    return {
        "id": job["id"], "object": "video", "created_at": int(job["created_at"]),
        "completed_at": None if job["completed_at"] is None else int(job["completed_at"]),
        "expires_at": None if job["expires_at"] is None else int(job["expires_at"]),
        "status": job["status"], "progress": progress, "model": job["model"],
        "prompt": film["title"] or request["prompt"] if film else request["prompt"],
        "seconds": f"{request['seconds'] if plain or not frames else round(frames / request['fps'], 2):g}",
        "size": request["size"], "remixed_from_video_id": job["parent"], "error": job["error"],
        "tenku": {
            **{name: request.get(name) for name in SHOWN}, "inputs": _inputs(job), "made_from": _made_from(job),
            "frames": frames, "film": film and {name: film.get(name) for name in FILM},
            "asked": job["asked"], "steps_done": job["done"], "steps_total": job["total"],
            "eta_seconds": None if left is None else round(left, 1), "preview": preview and preview["step"],
            "attempt": job["attempt"], "facts": facts,
        },
    }


def _inputs(job: Job) -> list[dict[str, Any]]:
    """What a job is made from, by what it is to it."""
    kept, request = job["inputs"] or {}, job["request"]
    listed = [("input", one) for one in request.get("inputs", [])]
    if request.get("mask"):
        listed.append(("mask", {"source": request["mask"], "at": 0.0, "strength": 1.0}))
    return [{"role": role, "sha256": (sha256 := one["source"].removeprefix("sha256:")), "at": one["at"],
             "strength": one["strength"], **{name: kept.get(sha256, {}).get(name) for name in ("type", "video")}}
            for role, one in listed]


def _made_from(job: Job) -> list[str]:
    found = [job["parent"], *(one["video"] for one in (job["inputs"] or {}).values())]
    return list(dict.fromkeys(video for video in found if video))
