"""Files and batches: many videos from one JSONL file, made when nobody else is waiting.

A batch's jobs are ordinary jobs of a lower priority. Its results are written once, by the housekeeping, when the last
of them is over.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Path, Query
from sqlalchemy import Connection, Table, and_, delete, func, insert, select, update
from starlette.datastructures import UploadFile
from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response

from tenku.serving import jobs
from tenku.serving.access import Caller
from tenku.serving.asked import read_json, refuse_unknown, understand
from tenku.serving.db import Database, batches, files
from tenku.serving.db import jobs as table
from tenku.serving.errors import ApiError, full, missing
from tenku.serving.jobs import New
from tenku.serving.quota import check_bytes
from tenku.serving.service import Fields, Service, service_of
from tenku.serving.store import Store
from tenku.serving.videos import new_job, video

LINES = 50_000  # of one batch, at most
PURPOSES = ("batch", "vision", "user_data")
Id = Annotated[str, Path(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100)]
Row = Mapping[str, Any]


# -- files ----------------------------------------------------------------------------------------------------


def upload_file(call: Call, fields: Fields) -> Response:
    """Keep a file: multipart, `file` and `purpose`: batch (JSONL), vision or user_data (to make videos from)."""
    service, caller = service_of(call)
    refuse_unknown(fields, ("file", "purpose"))
    upload = fields.get("file")
    if not isinstance(upload, UploadFile):
        raise ApiError(400, "Send a file in the field `file`", code="invalid_value", param="file")
    purpose = fields.get("purpose")
    if purpose not in PURPOSES:
        raise ApiError(400, f"The purpose must be one of {', '.join(PURPOSES)}", code="invalid_value", param="purpose")
    name = "".join(c for c in upload.filename or "" if c.isprintable())[-200:] or "file"
    data = upload.file.read()
    with service.db.read() as connection:
        check_bytes(connection, caller.tenant, caller.most_bytes, len(data))
    row = _keep(service.db, service.store, caller.tenant, name, purpose, data)
    return JSONResponse(_file(row))


def list_files(
    call: Call, after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
) -> Response:
    """Your files, newest first."""
    service, caller = service_of(call)
    before = None if after is None else _file_row(service.db, caller, after)["seq"]
    return _page(service.db, files, caller, before, limit, _file)


def _page(
    db: Database, rows: Table, caller: Caller, before: int | None, limit: int, show: Callable[[Row], dict[str, Any]]
) -> Response:
    """The newest rows of a table that are the caller's, before a given one."""
    query = select(rows).where(rows.c.tenant == caller.tenant)
    if before is not None:
        query = query.where(rows.c.seq < before)
    with db.read() as connection:
        found = connection.execute(query.order_by(rows.c.seq.desc()).limit(limit + 1)).mappings().all()
    data = [show(dict(row)) for row in found[:limit]]
    return JSONResponse({"object": "list", "data": data, "has_more": len(found) > limit,
                         "first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None})


def retrieve_file(call: Call, id: Id) -> Response:
    """One of them."""
    service, caller = service_of(call)
    return JSONResponse(_file(_file_row(service.db, caller, id)))


def file_content(call: Call, id: Id) -> Response:
    """What is in it."""
    service, caller = service_of(call)
    row = _file_row(service.db, caller, id)
    kind = "application/jsonl" if row["purpose"].startswith("batch") else "application/octet-stream"
    return Response(service.store.load(f"files/{id}"), media_type=kind, headers={"content-disposition": "attachment"})


def delete_file(call: Call, id: Id) -> Response:
    """Forget it."""
    service, caller = service_of(call)
    _file_row(service.db, caller, id)
    with service.db.write() as connection:
        connection.execute(delete(files).where(files.c.id == id))
    service.store.remove(f"files/{id}")
    return JSONResponse({"id": id, "object": "file", "deleted": True})


def _keep(db: Database, store: Store, tenant: str, name: str, purpose: str, data: bytes) -> Row:
    key = f"file-{secrets.token_hex(12)}"
    store.save(data, f"files/{key}")  # first the file: a row without one would be a lie
    with db.write() as connection:
        return dict(connection.execute(insert(files).values(
            id=key, tenant=tenant, name=name, purpose=purpose, bytes=len(data), created_at=db.clock).returning(
                files)).mappings().one())


def _file_row(db: Database, caller: Caller, name: str) -> Row:
    with db.read() as connection:
        row = connection.execute(select(files).where(
            files.c.id == name, files.c.tenant == caller.tenant)).mappings().first()
    if row is None:
        raise missing("file", name)
    return dict(row)


def _file(row: Row) -> dict[str, Any]:
    return {"id": row["id"], "object": "file", "bytes": row["bytes"], "created_at": int(row["created_at"]),
            "filename": row["name"], "purpose": row["purpose"], "status": "processed"}


# -- batches --------------------------------------------------------------------------------------------------


def create_batch(call: Call, fields: Fields) -> Response:
    """Make a video of every line of a file: {"custom_id", "method": "POST", "url": "/v1/videos", "body": {...}}."""
    service, caller = service_of(call)
    refuse_unknown(fields, ("input_file_id", "endpoint", "completion_window", "metadata"))
    if fields.get("endpoint") != "/v1/videos":
        raise ApiError(400, "The endpoint must be '/v1/videos'", code="invalid_value", param="endpoint")
    if fields.get("completion_window") != "24h":
        raise ApiError(400, "The completion_window must be '24h'", code="invalid_value", param="completion_window")
    source = str(fields.get("input_file_id", ""))
    _file_row(service.db, caller, source)
    name = f"batch_{secrets.token_hex(12)}"
    rows: list[list[Any]] = []  # custom_id, None, error
    new: list[New] = []
    for number, (custom, job) in enumerate(_lines(service, caller, source)):
        if isinstance(job, ApiError):
            rows.append([custom, job.body()["error"]])
            continue
        rows.append([custom, None])
        new.append(replace(job, priority=-1, batch=name, line=number))
    with service.db.write() as connection:
        _allow(service.db, connection, caller, len(new))
        added = sum(file["bytes"] for one in new for file in (one.inputs or {}).values())
        check_bytes(connection, caller.tenant, caller.most_bytes, added)
        jobs.submit_all(service.db, connection, new, caller.share)
        connection.execute(insert(batches).values(
            id=name, tenant=caller.tenant, input=source, status="in_progress", rows=rows,
            metadata=fields.get("metadata"), created_at=service.db.clock))
    return JSONResponse(_batch(service.db, _batch_row(service.db, caller, name)))


def _lines(service: Service, caller: Caller, source: str) -> Iterator[tuple[Any, New | ApiError]]:
    """Each line's custom_id, and what it asks for or why it cannot."""
    lines = [line for line in service.store.load(f"files/{source}").splitlines() if line.strip()]
    if not 1 <= len(lines) <= LINES:
        raise ApiError(400, f"A batch has 1 to {LINES} lines", code="invalid_file", param="input_file_id")
    for line in lines:
        custom = None
        try:
            said = read_json(line)
            custom = said.get("custom_id")
            asks = said.get("method") == "POST" and said.get("url") == "/v1/videos"
            if not asks or not isinstance(said.get("body"), dict):
                raise ApiError(400, "A line needs method POST, url /v1/videos and a body", code="invalid_line")
            with service.sources(caller) as sources:
                job = new_job(understand(said["body"], service, sources, "batch"), caller.tenant, sources)
            yield custom, job
        except ApiError as error:
            yield custom, error


def _allow(db: Database, connection: Connection, caller: Caller, count: int) -> None:
    if caller.most_daily is None:
        return
    today = connection.execute(select(func.count()).select_from(table).where(
        table.c.tenant == caller.tenant, table.c.created_at > db.clock - 86_400)).scalar_one()
    if today + count > caller.most_daily:
        raise full(f"{count} videos and today's {today} are more than your {caller.most_daily} in 24 hours",
                   "quota_exceeded", 86_400)


def list_batches(call: Call, after: Annotated[str | None, Query(max_length=100)] = None, limit: Limit = 20) -> Response:
    """Your batches, newest first."""
    service, caller = service_of(call)
    before = None if after is None else _batch_row(service.db, caller, after)["seq"]
    return _page(service.db, batches, caller, before, limit, lambda row: _batch(service.db, row))


def retrieve_batch(call: Call, id: Id) -> Response:
    """One of them, with how many are done."""
    service, caller = service_of(call)
    return JSONResponse(_batch(service.db, _batch_row(service.db, caller, id)))


def cancel_batch(call: Call, id: Id) -> Response:
    """Stop what is not made yet."""
    service, caller = service_of(call)
    row = _batch_row(service.db, caller, id)
    if row["status"] == "in_progress":
        with service.db.write() as connection:
            connection.execute(update(batches).where(batches.c.id == id, batches.c.status == "in_progress").values(
                status="cancelling"))
        with service.db.read() as connection:
            active = connection.execute(select(table.c.id).where(
                table.c.batch == id, table.c.status.in_(jobs.ACTIVE))).scalars().all()
        for job in active:
            jobs.cancel(service.db, caller.tenant, job)
    return JSONResponse(_batch(service.db, _batch_row(service.db, caller, id)))


def settle_batches(db: Database, store: Store) -> None:
    """Writes the results of batches whose jobs are all over."""
    with db.read() as connection:
        open_ones = connection.execute(select(batches).where(
            batches.c.status.in_(("in_progress", "cancelling")))).mappings().all()
        over = [dict(row) for row in open_ones if not connection.execute(select(table.c.seq).where(
            table.c.batch == row["id"], table.c.status.in_(jobs.ACTIVE)).limit(1)).first()]
    for row in over:
        good, bad = _results(db, row)
        written = {name: _keep(db, store, row["tenant"], f"{row['id']}-{name}.jsonl", "batch_output", data)["id"]
                   for name, data in (("output", good), ("errors", bad)) if data}
        state = "cancelled" if row["status"] == "cancelling" else "completed"
        with db.write() as connection:
            first = connection.execute(update(batches).where(and_(
                batches.c.id == row["id"], batches.c.status == row["status"])).values(
                status=state, completed_at=db.clock, **written)).rowcount
            if not first:  # another server was faster: its files count
                connection.execute(delete(files).where(files.c.id.in_(list(written.values()))))
        if not first:
            for name in written.values():
                store.remove(f"files/{name}")


def _results(db: Database, row: Row) -> tuple[bytes, bytes]:
    with db.read() as connection:
        made = {job["line"]: dict(job) for job in connection.execute(select(table).where(
            table.c.batch == row["id"])).mappings()}
    good: list[str] = []
    bad: list[str] = []
    for number, (custom, refused) in enumerate(row["rows"]):
        job = made.get(number)
        error = refused or (job["error"] if job else {"code": "deleted", "message": "The video was deleted"})
        line: dict[str, Any] = {"id": f"batch_req_{row['id'][6:]}_{number}", "custom_id": custom, "error": error}
        if job and job["status"] == "completed":
            line["response"] = {"status_code": 200, "request_id": None, "body": video(job)}
        else:
            line["response"] = {"status_code": 400, "request_id": None, "body": {"error": error}} if refused else None
        (good if line["error"] is None else bad).append(json.dumps(line) + "\n")
    return "".join(good).encode(), "".join(bad).encode()


def _batch_row(db: Database, caller: Caller, name: str) -> Row:
    with db.read() as connection:
        row = connection.execute(select(batches).where(
            batches.c.id == name, batches.c.tenant == caller.tenant)).mappings().first()
    if row is None:
        raise missing("batch", name)
    return dict(row)


def _batch(db: Database, row: Row) -> dict[str, Any]:
    with db.read() as connection:
        counts: dict[str, int] = {state: number for state, number in connection.execute(select(
            table.c.status, func.count()).where(table.c.batch == row["id"]).group_by(table.c.status))}
    total, active = len(row["rows"]), sum(counts.get(state, 0) for state in jobs.ACTIVE)
    done, created = counts.get("completed", 0), int(row["created_at"])
    ended = None if row["completed_at"] is None else int(row["completed_at"])
    return {
        "id": row["id"], "object": "batch", "endpoint": "/v1/videos", "errors": None, "input_file_id": row["input"],
        "completion_window": "24h", "status": row["status"], "output_file_id": row["output"],
        "error_file_id": row["errors"], "created_at": created, "in_progress_at": created, "expires_at": None,
        "completed_at": ended if row["status"] == "completed" else None,
        "cancelled_at": ended if row["status"] == "cancelled" else None,
        "request_counts": {"total": total, "completed": done, "failed": total - done - active},
        "metadata": row["metadata"],
    }
