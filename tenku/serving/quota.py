"""What a tenant, and everybody together, may have: videos that wait, videos a day, bytes that are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select

from tenku.serving.db import Database, files, jobs
from tenku.serving.errors import ApiError, full
from tenku.serving.pace import ACTIVE, speed_of

_OF_VIDEOS = select(func.coalesce(func.sum(jobs.c.bytes), 0)).where(
    jobs.c.tenant == bindparam("tenant"), jobs.c.status != "failed")  # whose files are swept
_OF_FILES = select(func.coalesce(func.sum(files.c.bytes), 0)).where(files.c.tenant == bindparam("tenant"))
_KEPT = select(_OF_VIDEOS.scalar_subquery() + _OF_FILES.scalar_subquery())


@dataclass(frozen=True)
class Limits:
    """What a tenant, and everybody together, may have waiting."""

    most_waiting: int | None = None  # of the tenant
    most_daily: int | None = None  # of the tenant, in 24 hours
    most_bytes: int | None = None  # of the tenant, kept
    most_queued: int = 1000  # of all tenants
    share: int = 1  # of the workers, against that of others who wait


def check(db: Database, connection: Connection, tenant: str, limits: Limits, adds: int) -> None:
    """Raises ApiError for one video too many. adds: bytes of what it is made from."""
    waiting = jobs.c.status.in_(ACTIVE)
    mine = jobs.c.tenant == tenant
    count = select(func.count()).select_from(jobs)
    if limits.most_waiting is not None:
        have = connection.execute(count.where(mine, waiting)).scalar_one()
        if have >= limits.most_waiting:
            raise full(f"You have {have} videos waiting, which is your limit", "too_many_waiting",
                       _wait(connection, mine))
    if limits.most_daily is not None:
        today = and_(mine, jobs.c.created_at > db.clock - 86_400)
        if connection.execute(count.where(today)).scalar_one() >= limits.most_daily:
            first = connection.execute(select(func.min(jobs.c.created_at)).where(today)).scalar_one()
            raise full(f"You have asked for {limits.most_daily} videos in 24 hours, which is your limit",
                       "quota_exceeded", first + 86_400 - db.now(connection))
    if connection.execute(count.where(jobs.c.status == "queued")).scalar_one() >= limits.most_queued:
        raise full("The queue is full", "queue_full", _wait(connection, jobs.c.seq > 0))
    check_bytes(connection, tenant, limits.most_bytes, adds)


def _wait(connection: Connection, which: Any) -> float:
    """Seconds until the next of these jobs is likely to be done."""
    active = connection.execute(select(jobs).where(which, jobs.c.status.in_(ACTIVE)).order_by(
        jobs.c.status, jobs.c.turn).limit(1)).mappings().first()
    speed = speed_of(connection, active["model"]) if active else None
    return active["work"] * speed if active and speed else 10.0


def kept(connection: Connection, tenant: str) -> int:
    """Bytes of a tenant's videos, of what they are made from, and of its files."""
    return int(connection.execute(_KEPT, {"tenant": tenant}).scalar_one())


def check_bytes(connection: Connection, tenant: str, most: int | None, adds: int) -> None:
    """Raises ApiError where a tenant keeps as much as it may, or would with so many bytes more. most: None for all."""
    if most is None:
        return
    have = kept(connection, tenant)
    if have >= most or have + adds > most:
        more = f" and bring {adds / 1e6:.1f} MB" if adds else ""
        raise ApiError(429, f"You keep {have / 1e6:.1f} MB of videos and files{more}; your limit is {most / 1e6:.1f}"
                            " MB: delete some by DELETE /v1/videos/ID or DELETE /v1/files/ID",
                       code="storage_full", headers={"x-should-retry": "false"})  # waiting alone does not help
