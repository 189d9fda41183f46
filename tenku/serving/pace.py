"""How fast clips are made, as measured, and when one is likely to be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from tenku.serving.db import Database, jobs, speeds

ACTIVE = ("queued", "in_progress")


def speed_of(connection: Connection, model: str) -> float | None:
    """Seconds a unit of work, as measured; None before the first clip."""
    return connection.execute(select(speeds.c.per_work).where(speeds.c.model == model)).scalar()


def eta(db: Database, job: Mapping[str, Any]) -> float | None:
    """Seconds until a job is likely to be done, from measured speed; None where nothing is known yet."""
    if job["status"] not in ACTIVE:
        return None
    with db.read() as connection:
        now, speed = db.now(connection), speed_of(connection, job["model"])
        if job["status"] == "in_progress":
            return _remaining(job, now, speed)
        columns = (jobs.c.done, jobs.c.total, jobs.c.started_at, jobs.c.work)
        running = [dict(r) for r in connection.execute(select(*columns).where(
            jobs.c.status == "in_progress")).mappings()]
        ahead = connection.execute(select(func.coalesce(func.sum(jobs.c.work), 0.0)).where(
            jobs.c.status == "queued", or_(jobs.c.priority > job["priority"], and_(
                jobs.c.priority == job["priority"], or_(jobs.c.turn < job["turn"], and_(
                    jobs.c.turn == job["turn"], jobs.c.seq < job["seq"])))))).scalar_one()
    if speed is None:
        return None
    current = sum(_remaining(r, now, speed) or 0.0 for r in running)
    return (current + ahead * speed) / max(1, len(running)) + job["work"] * speed


def _remaining(job: Mapping[str, Any], now: float, speed: float | None) -> float | None:
    if job["done"] and job["total"]:
        return (now - job["started_at"]) / job["done"] * (job["total"] - job["done"])
    return None if speed is None else max(0.0, job["work"] * speed - (now - job["started_at"]))
