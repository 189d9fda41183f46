"""The database: tables, migrations, and the two ways to use it. SQLite by default, PostgreSQL by URL, the same code.

Times are seconds since 1970. They come from the database (`clock`), so that the leases of workers on several machines
are measured by one clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from tenku.errors import UserError

FROZEN = 60_000  # milliseconds after which PostgreSQL lets go of who stopped in the middle of a transaction
WAIT = 10.0  # seconds that a writer waits for another one

meta = MetaData()


class Clock(FunctionElement[float]):
    """SQL for the time now, in seconds since 1970; one for every database, so that statements can be built once."""

    type = Float()
    inherit_cache = True


def _row_id() -> tuple[Column[Any], Column[Any], Column[Any]]:
    """Of what a tenant has many of, in pages: order of arrival, a name that is given away, and whose it is."""
    return (Column("seq", Integer, primary_key=True, autoincrement=True),
            Column("id", String(40), nullable=False, unique=True), Column("tenant", String(40), nullable=False))


def _event() -> tuple[Column[Any], Column[Any]]:
    """Of what belongs to a job, in the order in which it happened."""
    return (Column("seq", Integer, primary_key=True, autoincrement=True),
            Column("job", String(40), nullable=False, index=True))


def _created() -> Column[Any]:
    return Column("created_at", Float, nullable=False)


jobs = Table(
    "jobs", meta,
    *_row_id(),  # "video_" and 24 hex digits
    Column("model", String(80), nullable=False),  # the served name
    Column("request", JSON, nullable=False),  # Request.to_json, whose model is the served name
    Column("prompt", String(2000), nullable=False),  # to search in
    Column("asked", JSON, nullable=False),  # model, size and seconds in the client's words
    Column("parent", String(40)),  # the video that it is a remix of
    Column("status", String(20), nullable=False),  # queued, in_progress, completed, failed
    Column("done", Integer, nullable=False, default=0),  # denoising steps
    Column("total", Integer, nullable=False, default=0),  # denoising steps, 0 before they are known
    Column("attempt", Integer, nullable=False, default=0),  # how often a worker took it
    Column("token", Integer, nullable=False, default=0),  # fencing: rises whenever somebody else becomes its owner
    Column("worker", String(80)),
    Column("lease_until", Float),
    Column("stepped_at", Float),  # of the last step
    Column("watched_at", Float),  # somebody follows it: previews are worth their time
    Column("priority", Integer, nullable=False, default=0),  # higher first
    Column("turn", Float, nullable=False),  # virtual start time: lower first (`jobs.submit`)
    Column("work", Float, nullable=False),  # pixels times steps
    _created(),
    Column("started_at", Float),  # of the last attempt
    Column("completed_at", Float),
    Column("expires_at", Float),
    Column("error", JSON(none_as_null=True)),  # {"code", "message"} of what failed
    Column("artifacts", JSON(none_as_null=True)),  # variant -> {"key", "type", "bytes"}
    Column("facts", JSON(none_as_null=True)),  # what is known of the finished clip
    Column("fingerprint", String(64), nullable=False),  # of what the client sent
    Column("batch", String(40)),
    Column("line", Integer),  # of the batch's file
    Column("inputs", JSON(none_as_null=True)),  # SHA-256 -> {"key", "type", "bytes", "video"} of what it is made from
    Column("frames", Integer),  # of the clip that leaves
    Column("film", JSON(none_as_null=True)),  # {"title", "shots", "storyboard", ...} where it is one
    Column("saved", JSON(none_as_null=True)),  # {"keys": [...], "bytes", ...}: what the next worker goes on from
    Column("bytes", Integer, nullable=False, default=0, server_default="0"),  # of all its files
    Column("parts", JSON(none_as_null=True)),  # [{"key", "bytes", "frames"}] of the stream
    Index("jobs_next", "status", "priority", "turn"),
    Index("jobs_mine", "tenant", "seq"),
    Index("jobs_batch", "batch"),
)

lineage = Table(
    "lineage", meta,
    Column("parent", String(40), primary_key=True),  # a job, which may be gone
    Column("job", String(40), primary_key=True, index=True),  # that was made from it
)

characters = Table(
    "characters", meta,
    *_row_id(),
    Column("name", String(80), nullable=False),
    Column("description", String(300), nullable=False),  # the words that its name stands for
    _created(),
)

history = Table(
    "history", meta,
    *_event(),
    Column("at", Float, nullable=False),
    Column("state", String(20), nullable=False),
    Column("detail", String(200), nullable=False, default=""),
)

requests = Table(  # answers to repeat
    "requests", meta,
    Column("tenant", String(40), primary_key=True),
    Column("key", String(255), primary_key=True),  # the Idempotency-Key
    Column("fingerprint", String(64), nullable=False),
    Column("job", String(40), nullable=False),
    Column("at", Float, nullable=False),
)

keys = Table(
    "keys", meta,
    Column("id", String(20), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the secret, which is 256 random bits
    Column("tenant", String(40), nullable=False),
    Column("name", String(80), nullable=False),
    Column("scopes", JSON, nullable=False),  # of access.SCOPES
    Column("most_waiting", Integer),  # jobs that may wait or run at once; null: no limit
    Column("most_daily", Integer),  # jobs a day; null: no limit
    Column("most_bytes", BigInteger),  # that are kept; null: no limit
    Column("share", Integer, nullable=False, default=1, server_default="1"),  # turns for one of another's
    _created(),
    Column("revoked_at", Float),
)

speeds = Table(
    "speeds", meta,
    Column("model", String(80), primary_key=True),
    Column("per_work", Float, nullable=False),  # seconds a unit of work, a moving average
)

feedback = Table(
    "feedback", meta,
    *_event(),
    Column("other", String(40)),  # of a comparison: the clip that was not preferred
    Column("tenant", String(40), nullable=False),
    Column("at", Float, nullable=False),
    Column("rating", Integer, nullable=False),  # 1 good, -1 bad, 0 neither
    Column("reasons", JSON, nullable=False),
    Column("words", String(2000), nullable=False),
    Column("harmful", Integer, nullable=False),  # 1: flagged
    Column("consent", Integer, nullable=False),  # 1: may be used for training
    Column("request", JSON, nullable=False),  # kept with the clip's hash, so that it outlives the job
    Column("clip", JSON, nullable=False),
)

hooks = Table(
    "hooks", meta,
    Column("id", String(20), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("url", String(2000), nullable=False),
    Column("secret", String(80), nullable=False),  # signs, so it is kept as it is
    _created(),
)

deliveries = Table(
    "deliveries", meta,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False),  # the event's: "evt_..."
    Column("hook", String(20), nullable=False),
    Column("body", String(4000), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("due_at", Float, nullable=False),
    Column("done_at", Float),
    Column("status", Integer),  # the last answer's
)

files = Table(
    "files", meta,
    *_row_id(),
    Column("name", String(200), nullable=False),
    Column("purpose", String(40), nullable=False),
    Column("bytes", Integer, nullable=False),
    _created(),
)

batches = Table(
    "batches", meta,
    *_row_id(),
    Column("input", String(40), nullable=False),
    Column("output", String(40)),
    Column("errors", String(40)),
    Column("status", String(20), nullable=False),
    Column("rows", JSON, nullable=False),  # one [custom_id, error or null] a line of the input
    Column("metadata", JSON),
    _created(),
    Column("completed_at", Float),
)

version = Table("tenku_version", meta, Column("number", Integer, primary_key=True))


def _two(connection: Connection) -> None:
    """Version 2: what a video is made from, films, streams, and what a later worker goes on from."""
    for name, kind in (("inputs", "JSON"), ("frames", "INTEGER"), ("film", "JSON"), ("saved", "JSON"),
                       ("parts", "JSON")):
        connection.exec_driver_sql(f"ALTER TABLE jobs ADD COLUMN {name} {kind}")
    meta.create_all(connection, [lineage, characters])
    connection.execute(insert(lineage).from_select(
        ["parent", "job"], select(jobs.c.parent, jobs.c.id).where(jobs.c.parent.is_not(None))))


def _three(connection: Connection) -> None:
    """Version 3: bytes that are kept, and a limit of them; images of the first version are known as such."""
    connection.exec_driver_sql("ALTER TABLE jobs ADD COLUMN bytes INTEGER DEFAULT 0 NOT NULL")
    connection.exec_driver_sql("ALTER TABLE keys ADD COLUMN most_bytes BIGINT")
    for row in connection.execute(select(jobs.c.seq, jobs.c.inputs, jobs.c.artifacts)).all():
        kept = [file["bytes"] for files in (row.inputs, row.artifacts) for file in (files or {}).values()]
        if kept:
            connection.execute(update(jobs).where(jobs.c.seq == row.seq).values(bytes=sum(kept)))
    connection.execute(update(jobs).where(jobs.c.frames.is_(None), jobs.c.request["seconds"].as_float() == 0).values(
        frames=1))


def _four(connection: Connection) -> None:
    """Version 4: keys with a share of the workers."""
    connection.exec_driver_sql("ALTER TABLE keys ADD COLUMN share INTEGER DEFAULT 1 NOT NULL")


# What brings an older database up to date, one function a version: MIGRATIONS[0] leads from version 1 to 2.
MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_two, _three, _four)
VERSION = 1 + len(MIGRATIONS)


class Database:
    """A pool of connections, with `read` and `write` for transactions."""

    clock: Any = Clock()

    def __init__(self, url: str, *, durable: bool = True) -> None:
        """url: "sqlite:////folder/tenku.db" or "postgresql+psycopg://...". Tables are made or brought up to date.

        durable: commits survive a loss of power and not only the end of a process. Raises UserError for a database that
        cannot be used.
        """
        try:
            self.url = make_url(url)
            self.lite = self.url.get_backend_name() == "sqlite"
            if self.lite and self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.engine = _connectable(self.url, self.lite, durable)
            try:
                self._migrate()
            except BaseException:
                self.engine.dispose()
                raise
        except (ArgumentError, ModuleNotFoundError):
            raise UserError("the database's URL cannot be used",
                            "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME (pip install 'tenku[postgres]')"
                            ) from None
        except SQLAlchemyError as error:
            raise UserError(f"cannot open the database: {type(error).__name__}",
                            "is it there, and may it be written?") from None

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; it waits for nobody."""
        with self.engine.connect() as connection:
            yield connection
            connection.rollback()

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes. In SQLite one at a time: others wait for it."""
        with self.engine.connect().execution_options(tenku_write=True) as connection, connection.begin():
            yield connection

    def now(self, connection: Connection) -> float:
        """The database's time now."""
        return float(connection.execute(select(self.clock)).scalar_one())

    def close(self) -> None:
        """Gives all connections back."""
        self.engine.dispose()

    def _migrate(self) -> None:
        with self.write() as connection:
            if not self.lite:  # two servers may start at once
                connection.exec_driver_sql("select pg_advisory_xact_lock(7310)")
            if not inspect(connection).has_table(version.name):
                meta.create_all(connection)
                connection.execute(insert(version).values(number=VERSION))
            number = connection.execute(select(version.c.number)).scalar_one()
            if number > VERSION:
                raise UserError(f"the database is of a later version ({number})", "upgrade tenku")
            for step in MIGRATIONS[number - 1 :]:
                step(connection)
            connection.execute(update(version).values(number=VERSION))


def _connectable(url: Any, lite: bool, durable: bool) -> Engine:
    now = ("((julianday('now') - 2440587.5) * 86400.0)" if lite
           else "extract(epoch from clock_timestamp())::double precision")
    compiles(Clock, url.get_backend_name())(lambda *_, **__: now)
    if not lite:
        engine = create_engine(url, pool_size=10, max_overflow=40, pool_pre_ping=True,
                               connect_args={"options": f"-c idle_in_transaction_session_timeout={FROZEN}"})
        if not durable:
            event.listen(engine, "connect", _forgetful)
        return engine
    engine = create_engine(url, connect_args={"timeout": WAIT, "check_same_thread": False}, pool_size=10,
                           max_overflow=40)

    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("journal_mode=WAL", f"synchronous={'FULL' if durable else 'NORMAL'}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        # A transaction that begins by reading could not become a writing one while others write.
        writes = connection.get_execution_options().get("tenku_write")
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)
    return engine


def _forgetful(connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO OFF")
    connection.commit()
