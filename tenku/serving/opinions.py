"""What people think of videos, where they work, and the preference dataset that it becomes."""

from __future__ import annotations

import io
import json
from typing import Annotated, Any

from fastapi import Body, Query
from sqlalchemy import insert, select
from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response

from tenku.serving import jobs
from tenku.serving.asked import refuse_unknown
from tenku.serving.db import feedback
from tenku.serving.errors import ApiError
from tenku.serving.service import service_of
from tenku.serving.videos import VideoId

REASONS = {"good": ("beautiful", "true to the prompt", "good motion", "surprising"),
           "bad": ("wrong thing", "wrong place", "wrong colour", "wrong action", "wrong camera", "ugly", "flickers",
                   "impossible")}


def give_feedback(call: Call, id: VideoId, fields: Annotated[dict[str, Any], Body(embed=False)]) -> Response:
    """What somebody thinks of a video: rating 1, 0 or -1, reasons, words, harmful, better_than, consent."""
    service, caller = service_of(call)
    job = jobs.get(service.db, caller.tenant, id)
    refuse_unknown(fields, ("rating", "reasons", "words", "harmful", "better_than", "consent"))
    other = fields.get("better_than")
    if other is not None:
        worse = jobs.get(service.db, caller.tenant, str(other))
    rating, reasons, words = fields.get("rating", 1 if other else 0), fields.get("reasons", []), fields.get("words", "")
    known = [reason for reasons in REASONS.values() for reason in reasons]
    flags = [fields.get(name, False) for name in ("harmful", "consent")]
    for param, fine in (("rating", rating in (-1, 0, 1) and not isinstance(rating, bool)),
                        ("reasons", isinstance(reasons, list) and all(reason in known for reason in reasons)),
                        ("words", isinstance(words, str) and len(words) <= 2000),
                        ("harmful", all(isinstance(flag, bool) for flag in flags))):
        if not fine:
            raise ApiError(400, f"{param} cannot be so", code="invalid_value", param=param)
    clip = {"chosen": job["facts"], **({"rejected": worse["facts"], "rejected_request": worse["request"]}
                                       if other is not None else {})}
    with service.db.write() as connection:
        connection.execute(insert(feedback).values(
            job=id, other=other, tenant=caller.tenant, at=service.db.clock, rating=rating, reasons=reasons,
            words=words, harmful=int(flags[0]), consent=int(flags[1]), request=job["request"], clip=clip))
    return JSONResponse({"object": "video.feedback", "id": id, "recorded": True})


def export_feedback(
    call: Call, format: Annotated[str, Query(pattern="^(jsonl|parquet)$")] = "jsonl"
) -> Response:
    """All feedback: a preference dataset, one JSON object a line or a Parquet table whose nested columns are JSON text.

    `consent` says what may be learnt from.
    """
    service, _ = service_of(call)
    with service.db.read() as connection:
        found = connection.execute(select(feedback).order_by(feedback.c.seq)).mappings().all()
    rows = [{**row, "harmful": bool(row["harmful"]), "consent": bool(row["consent"])} for row in found]
    if format == "jsonl":
        return Response("".join(json.dumps(row) + "\n" for row in rows), media_type="application/jsonl")
    return Response(_parquet(rows), media_type="application/vnd.apache.parquet",
                    headers={"content-disposition": 'attachment; filename="feedback.parquet"'})


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    """One column a field; columns of changing shape as JSON text, so that every export has one schema."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ApiError(501, "Parquet needs pyarrow on the server: pip install 'tenku[parquet]'",
                       code="unsupported_format", param="format") from None
    text, whole, real, flag = pyarrow.string(), pyarrow.int64(), pyarrow.float64(), pyarrow.bool_()
    schema = pyarrow.schema([
        ("seq", whole), ("job", text), ("other", text), ("tenant", text), ("at", real), ("rating", whole),
        ("reasons", pyarrow.list_(text)), ("words", text), ("harmful", flag), ("consent", flag), ("request", text),
        ("clip", text)])
    flat = [{**row, "request": json.dumps(row["request"]), "clip": json.dumps(row["clip"])} for row in rows]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(flat, schema), buffer)
    return buffer.getvalue()
