"""How fast clips are made, as measured, and when one is likely to be done.

Whoever waits asks again and again, so the statements are built once and each answer takes one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, func, or_, select

from tenku.serving.db import Clock, jobs, speeds

ACTIVE = ("queued", "in_progress")

_SPEED = select(speeds.c.per_work).where(speeds.c.model == bindparam("model"))
_spent = Clock() - jobs.c.started_at
_by_speed = jobs.c.work * _SPEED.scalar_subquery() - _spent
# Seconds that a job in progress has left: by its own steps, before the first by the speed of its model.
_left = case((and_(jobs.c.done > 0, jobs.c.total > 0), _spent / jobs.c.done * (jobs.c.total - jobs.c.done)),
             (_by_speed < 0, 0.0), else_=_by_speed)
_LEFT = select(_left).where(jobs.c.seq == bindparam("seq"))
_running = select(func.count().label("number"), func.coalesce(func.sum(_left), 0.0).label("left")).where(
    jobs.c.status == "in_progress").subquery()
_before = or_(jobs.c.priority > bindparam("priority"), and_(
    jobs.c.priority == bindparam("priority"), or_(jobs.c.turn < bindparam("turn"), and_(
        jobs.c.turn == bindparam("turn"), jobs.c.seq < bindparam("seq")))))
_ahead = select(func.coalesce(func.sum(jobs.c.work), 0.0)).where(jobs.c.status == "queued", _before)
_QUEUE = select(_SPEED.scalar_subquery().label("speed"), _running.c.number, _running.c.left,
                _ahead.scalar_subquery().label("ahead"))


def speed_of(connection: Connection, model: str) -> float | None:
    """Seconds a unit of work, as measured; None before the first clip."""
    return connection.execute(_SPEED, {"model": model}).scalar()


def eta(connection: Connection, job: Mapping[str, Any]) -> float | None:
    """Seconds until a job is likely to be done, from measured speed; None where nothing is known yet."""
    if job["status"] not in ACTIVE:
        return None
    if job["status"] == "in_progress":
        return connection.execute(_LEFT, {"model": job["model"], "seq": job["seq"]}).scalar()
    queue = connection.execute(_QUEUE, {name: job[name] for name in ("model", "priority", "turn", "seq")}).one()
    if queue.speed is None:
        return None
    return float((queue.left + queue.ahead * queue.speed) / max(1, queue.number) + job["work"] * queue.speed)
