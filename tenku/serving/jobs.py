"""The queue: what is asked for, who works on it, and what became of it. All of it in the database.

A job is queued, in progress, completed or failed. A worker that takes one gets a lease and a token; the token rises
whenever the job changes hands, and every write of a worker names its token, so one that was frozen and wakes up finds
that its writes match nothing. A lease that ran out puts the job back.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from tenku.serving import quota
from tenku.serving.db import Database, deliveries, history, hooks, jobs, lineage, requests, speeds
from tenku.serving.errors import ApiError, missing
from tenku.serving.pace import ACTIVE, eta
from tenku.serving.quota import Limits

LEASE = 8.0  # seconds; a worker renews it well within
ATTEMPTS = 3  # workers that may die over one job
REPEAT = 300.0  # seconds in which the client's own retry is recognised
REMEMBER = 86_400.0  # seconds that an Idempotency-Key is remembered

Job = Mapping[str, Any]  # a row of `jobs`
_ONE = select(jobs).where(jobs.c.id == bindparam("id"), jobs.c.tenant == bindparam("tenant"))


class Lost(Exception):
    """The job is no longer this worker's: cancelled, deleted, or given to another."""


@dataclass(frozen=True)
class New:
    """A job to be."""

    tenant: str
    model: str  # the served name
    request: dict[str, Any]  # Request.to_json
    asked: dict[str, Any]  # model, size and seconds in the client's words
    work: float  # pixels times steps
    fingerprint: str  # of what the client sent
    parent: str | None = None
    priority: int = 0
    batch: str | None = None
    line: int | None = None
    id: str = ""  # where its inputs already lie; "": one is made up
    inputs: dict[str, Any] | None = None  # what it is made from: Sources.keep
    frames: int | None = None  # of the clip that leaves
    film: dict[str, Any] | None = None
    made_from: tuple[str, ...] = ()  # ids of videos


def submit(
    db: Database, new: New, *, key: str | None = None, repeat: bool = False, limits: Limits | None = None
) -> Job:
    """Accepts a job, or returns the one that this call repeats.

    key: an Idempotency-Key; repeat: the client says that it sends the same call again. Raises ApiError for a key that
    stands for another call, and for what is too much.
    """
    try:
        return _submit(db, new, key, repeat, limits or Limits())
    except IntegrityError:  # the same key at the same moment: the other was first
        return _submit(db, new, key, repeat, limits or Limits())


def _submit(db: Database, new: New, key: str | None, repeat: bool, limits: Limits) -> Job:
    with db.write() as connection:
        if found := _repeated(db, connection, new, key, repeat):
            return found
        quota.check(db, connection, new.tenant, limits, _bytes(new.inputs))
        row = _insert(db, connection, new, limits.share)
        if key:
            connection.execute(insert(requests).values(tenant=new.tenant, key=key, fingerprint=new.fingerprint,
                                                       job=row["id"], at=row["created_at"]))
        return row


def submit_all(db: Database, connection: Connection, new: Sequence[New], share: int = 1) -> list[Job]:
    """Accepts the jobs of a batch inside somebody's transaction; a batch may wait without limit."""
    return [_insert(db, connection, one, share) for one in new]


def _repeated(db: Database, connection: Connection, new: New, key: str | None, repeat: bool) -> Job | None:
    mine = jobs.c.tenant == new.tenant
    if key:
        seen = connection.execute(select(requests).where(
            requests.c.tenant == new.tenant, requests.c.key == key,
            requests.c.at > db.clock - REMEMBER)).mappings().first()
        if seen is None:
            connection.execute(delete(requests).where(  # a forgotten one, never another's of this very moment
                requests.c.tenant == new.tenant, requests.c.key == key, requests.c.at <= db.clock - REMEMBER))
            return None
        if seen["fingerprint"] != new.fingerprint:
            raise ApiError(400, "This Idempotency-Key was used for another request", code="idempotency_key_reused",
                           param="Idempotency-Key")
        query = select(jobs).where(mine, jobs.c.id == seen["job"])
    elif repeat:
        query = select(jobs).where(mine, jobs.c.fingerprint == new.fingerprint, jobs.c.batch.is_(None),
                                   jobs.c.created_at > db.clock - REPEAT).order_by(jobs.c.seq.desc()).limit(1)
    else:
        return None
    row = connection.execute(query).mappings().first()
    return dict(row) if row else None


def _insert(db: Database, connection: Connection, new: New, share: int) -> Job:
    """Start-time fair queueing (Goyal, Vin, Cheng 1996): a tenant's next job begins, in virtual time, where its last
    one ends, so tenants take turns in proportion to the work and to their share, not to how much they ask for."""
    running, first = connection.execute(select(
        func.max(case((jobs.c.status == "in_progress", jobs.c.turn))),
        func.min(case((jobs.c.status == "queued", jobs.c.turn)))).where(jobs.c.status.in_(ACTIVE))).one()
    last = connection.execute(select(func.max(jobs.c.turn + jobs.c.work / share)).where(
        jobs.c.tenant == new.tenant, jobs.c.status.in_(ACTIVE))).scalar_one()
    virtual = running if running is not None else first if first is not None else 0.0
    row = connection.execute(insert(jobs).values(
        id=new.id or new_id(), tenant=new.tenant, model=new.model, request=new.request,
        prompt=(new.film or {}).get("words", new.request["prompt"])[:2000], asked=new.asked,
        inputs=new.inputs, bytes=_bytes(new.inputs), frames=new.frames, film=new.film,
        parent=new.parent, status="queued", priority=new.priority, turn=max(virtual, last or 0.0), work=new.work,
        created_at=db.clock, fingerprint=new.fingerprint, batch=new.batch, line=new.line,
        done=0, total=0, attempt=0, token=0).returning(jobs)).mappings().one()
    for parent in dict.fromkeys((*new.made_from, *([new.parent] if new.parent else []))):
        connection.execute(insert(lineage).values(parent=parent, job=row["id"]))
    _note(db, connection, row["id"], "queued")
    return dict(row)


def _bytes(files: Mapping[str, Any] | None) -> int:
    return sum(file.get("bytes", 0) for file in (files or {}).values())


def new_id() -> str:
    """A name for a job."""
    return f"video_{secrets.token_hex(12)}"


def _note(db: Database, connection: Connection, job: str, state: str, detail: str = "") -> None:
    connection.execute(insert(history).values(job=job, at=db.clock, state=state, detail=detail))


# -- what a worker does ---------------------------------------------------------------------------------------


def claim(db: Database, worker: str, models: Sequence[str]) -> Job | None:
    """The next job for a worker that has these models, now its own; None when there is none."""
    claimable = and_(jobs.c.status == "queued", jobs.c.model.in_(models))
    with db.read() as connection:  # cheap, and most often the answer
        lapsed = and_(jobs.c.status == "in_progress", jobs.c.lease_until < db.clock)
        if not connection.execute(select(jobs.c.seq).where(or_(claimable, lapsed)).limit(1)).first():
            return None
    with db.write() as connection:
        reap(db, connection)
        first = connection.execute(select(jobs.c.id).where(claimable).order_by(
            jobs.c.priority.desc(), jobs.c.turn, jobs.c.seq).limit(1).with_for_update(skip_locked=True)).scalar()
        if first is None:
            return None
        row = connection.execute(update(jobs).where(jobs.c.id == first).values(
            status="in_progress", worker=worker, token=jobs.c.token + 1, attempt=jobs.c.attempt + 1,
            lease_until=db.clock + LEASE, started_at=db.clock, stepped_at=db.clock, done=0,
            artifacts=None).returning(jobs)).mappings().one()
        _note(db, connection, first, "in_progress", worker)
        return dict(row)


def reap(db: Database, connection: Connection) -> None:
    """Puts jobs back whose lease ran out, and gives up those that outlived too many workers."""
    lapsed = connection.execute(select(jobs).where(
        jobs.c.status == "in_progress", jobs.c.lease_until < db.clock).with_for_update(
            skip_locked=True)).mappings().all()
    for row in lapsed:
        if row["attempt"] >= ATTEMPTS:
            error = {"code": "worker_lost", "message": f"{ATTEMPTS} workers ended while making this video"}
            _settle(db, connection, row["id"], status="failed", error=error)
        else:
            connection.execute(update(jobs).where(jobs.c.id == row["id"]).values(
                status="queued", token=jobs.c.token + 1, lease_until=None, worker=None))
            _note(db, connection, row["id"], "queued", f"lost by {row['worker']}"[:200])


def abandon(db: Database, worker: str) -> None:
    """Ends the leases of a worker that is known to be dead, so that nobody waits for them to run out."""
    with db.write() as connection:
        connection.execute(update(jobs).where(jobs.c.status == "in_progress", jobs.c.worker == worker).values(
            lease_until=0.0))
        reap(db, connection)


def step(db: Database, job: Job, done: int, total: int, preview: dict[str, Any] | None = None) -> float:
    """Records progress and renews the lease. Returns for how many seconds nobody has watched.

    Raises Lost when the job is no longer this worker's.
    """
    values: dict[str, Any] = {"done": done, "total": total, "stepped_at": db.clock, "lease_until": db.clock + LEASE}
    if preview is not None:
        values["artifacts"] = {"preview": preview}
    return _step(db, job, values)


def keep(db: Database, job: Job, beside: int, **values: Any) -> None:
    """Records what a later worker goes on from (`saved`), what of the stream is there (`parts`), or how a film goes.

    beside: bytes of all of that. Raises Lost like `step`.
    """
    _step(db, job, {**values, "bytes": _bytes(job["inputs"]) + beside, "lease_until": db.clock + LEASE})


def _step(db: Database, job: Job, values: Mapping[str, Any]) -> float:
    with db.write() as connection:
        row = connection.execute(update(jobs).where(_held(job)).values(**values).returning(
            db.clock - func.coalesce(jobs.c.watched_at, 0.0))).first()
    if row is None:
        raise Lost
    return float(row[0])


def renew(db: Database, job: Job, stall: float) -> bool:
    """Renews the lease of work that still moves: a step within `stall` seconds. False when it is lost."""
    with db.write() as connection:
        return connection.execute(update(jobs).where(_held(job), jobs.c.stepped_at > db.clock - stall).values(
            lease_until=db.clock + LEASE)).rowcount == 1


def release(db: Database, job: Job) -> None:
    """Puts a job back that its worker, told to stop, will not finish. Counts as no attempt."""
    with db.write() as connection:
        if connection.execute(update(jobs).where(_held(job)).values(
                status="queued", token=jobs.c.token + 1, attempt=jobs.c.attempt - 1, lease_until=None,
                worker=None)).rowcount:
            _note(db, connection, job["id"], "queued", f"given back by {job['worker']}"[:200])


def complete(
    db: Database, job: Job, artifacts: dict[str, Any], facts: dict[str, Any], keep: float | None
) -> None:
    """The clip is there. keep: seconds until it expires. Raises Lost."""
    shots = func.coalesce(jobs.c.saved["bytes"].as_integer(), 0)  # rounds and the stream's pieces go, shots stay
    with db.write() as connection:
        if not _settle(db, connection, job["id"], token=job["token"], status="completed", artifacts=artifacts,
                       facts=facts, bytes=_bytes(job["inputs"]) + _bytes(artifacts) + (shots if job["film"] else 0),
                       expires_at=None if keep is None else db.clock + keep):
            raise Lost
        took = connection.execute(select(jobs.c.completed_at - jobs.c.started_at).where(
            jobs.c.id == job["id"])).scalar_one()
        rate = took / job["work"]
        dialect = sqlite if db.lite else postgresql
        connection.execute(dialect.insert(speeds).values(model=job["model"], per_work=rate).on_conflict_do_update(
            index_elements=["model"], set_={"per_work": 0.7 * speeds.c.per_work + 0.3 * rate}))


def fail(db: Database, job: Job, code: str, message: str) -> None:
    """The job cannot be done. Raises Lost."""
    with db.write() as connection:
        if not _settle(db, connection, job["id"], token=job["token"], status="failed",
                       error={"code": code, "message": message}):
            raise Lost


def _held(job: Job) -> Any:
    return and_(jobs.c.id == job["id"], jobs.c.token == job["token"], jobs.c.status == "in_progress")


def _settle(db: Database, connection: Connection, job: str, *, token: int | None = None, **values: Any) -> bool:
    """The one way into a final state: once, with its history and its webhooks, in one transaction."""
    held = and_(jobs.c.id == job, jobs.c.status.in_(ACTIVE))
    if token is not None:
        held = and_(held, jobs.c.token == token, jobs.c.status == "in_progress")
    else:
        values["token"] = jobs.c.token + 1  # whoever works on it loses it
    row = connection.execute(update(jobs).where(held).values(
        completed_at=db.clock, lease_until=None, **values).returning(jobs.c.tenant, jobs.c.completed_at)).first()
    if row is None:
        return False
    error = values.get("error") or {}
    _note(db, connection, job, values["status"], str(error.get("code", "")))
    body = json.dumps({"id": f"evt_{secrets.token_hex(12)}", "object": "event", "created_at": int(row.completed_at),
                       "type": f"video.{values['status']}", "data": {"id": job}})
    for hook in connection.execute(select(hooks.c.id).where(hooks.c.tenant == row.tenant)).scalars().all():
        connection.execute(insert(deliveries).values(id=json.loads(body)["id"], hook=hook, body=body, tries=0,
                                                     due_at=row.completed_at))
    return True


# -- what clients do ------------------------------------------------------------------------------------------


def get(db: Database, tenant: str, job: str) -> Job:
    """One job of a tenant's. Raises ApiError when there is none."""
    row = find(db, tenant, job)
    if row is None:
        raise missing("video", job)
    return row


def find(db: Database, tenant: str, job: str) -> Job | None:
    """One job of a tenant's, if there is one."""
    with db.read() as connection:
        return _find(connection, tenant, job)


def look(db: Database, tenant: str, job: str) -> tuple[Job, float | None]:
    """One job of a tenant's, and in how many seconds it is likely to be done. Raises ApiError when there is none."""
    with db.read() as connection:
        row = _find(connection, tenant, job)
        if row is None:
            raise missing("video", job)
        return row, eta(connection, row)


def _find(connection: Connection, tenant: str, job: str) -> Job | None:
    row = connection.execute(_ONE, {"id": job, "tenant": tenant}).mappings().first()
    return None if row is None else dict(row)


KINDS = {"clips": and_(jobs.c.film.is_(None), func.coalesce(jobs.c.frames, 0) != 1), "images": jobs.c.frames == 1,
         "films": jobs.c.film.is_not(None), "made": jobs.c.id.in_(select(lineage.c.job))}  # made: from other videos


@dataclass(frozen=True)
class Filter:
    """Which jobs of a tenant's; None: all of them."""

    status: str | None = None
    parent: str | None = None  # made from this one
    words: str | None = None  # in the prompt, in any case
    kind: str | None = None  # of KINDS


def page(
    db: Database, tenant: str, after: str | None, limit: int, *, newest_first: bool, only: Filter | None = None
) -> tuple[list[Job], bool]:
    """Jobs of a tenant's after a given one, and whether more follow. Raises ApiError for an unknown `after`."""
    query, only = select(jobs).where(jobs.c.tenant == tenant), only or Filter()
    if only.status is not None:
        query = query.where(jobs.c.status == only.status)
    if only.kind is not None:
        query = query.where(KINDS[only.kind])
    if only.parent is not None:
        query = query.where(jobs.c.id.in_(select(lineage.c.job).where(lineage.c.parent == only.parent)))
    for word in (only.words or "").split():
        query = query.where(jobs.c.prompt.icontains(word, autoescape=True))
    if after is not None:
        seq = get(db, tenant, after)["seq"]
        query = query.where(jobs.c.seq < seq if newest_first else jobs.c.seq > seq)
    query = query.order_by(jobs.c.seq.desc() if newest_first else jobs.c.seq.asc()).limit(limit + 1)
    with db.read() as connection:
        rows: list[Job] = [dict(row) for row in connection.execute(query).mappings()]
    return rows[:limit], len(rows) > limit


def cancel(db: Database, tenant: str, job: str) -> Job:
    """Ends a job that waits or runs; one that is finished stays as it is. Raises ApiError when there is none."""
    row = get(db, tenant, job)
    if row["status"] in ACTIVE:
        with db.write() as connection:
            _settle(db, connection, job, status="failed", artifacts=None,
                    error={"code": "cancelled", "message": "The video was cancelled"})
        row = get(db, tenant, job)
    return row


def remove(db: Database, tenant: str, job: str) -> None:
    """Forgets a job in whatever state; its worker notices at the next step. Raises ApiError when there is none."""
    with db.write() as connection:
        if not connection.execute(delete(jobs).where(jobs.c.id == job, jobs.c.tenant == tenant)).rowcount:
            raise missing("video", job)
        connection.execute(delete(history).where(history.c.job == job))
        connection.execute(delete(requests).where(requests.c.job == job))
        connection.execute(delete(lineage).where(lineage.c.job == job))


def watch(db: Database, job: str) -> None:
    """Notes that somebody follows a job, so that previews are worth making."""
    with db.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(watched_at=db.clock))
