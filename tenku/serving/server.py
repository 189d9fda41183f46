"""One server: the application, the workers that it supervises, and the housekeeping beside them."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError

from tenku.catalogue import LISTED
from tenku.errors import UserError
from tenku.policy import Policy
from tenku.serving import jobs
from tenku.serving.access import add_key, all_keys
from tenku.serving.app import build
from tenku.serving.batches import settle_batches
from tenku.serving.db import Database, requests
from tenku.serving.db import jobs as jobs_table
from tenku.serving.hooks import deliver
from tenku.serving.service import Service
from tenku.serving.store import Store
from tenku.serving.supervisor import Supervisor

log = logging.getLogger("tenku.server")

BUNDLED = Path(__file__).parent.parent / "weights"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
TICK = 0.5  # seconds between looks for leases that ran out
PATIENCE = 2.0  # seconds that each of the threads beside the server has to end
LAST = 30.0  # seconds from being told to stop to the end, whatever is still being done
SWEEP = 60.0  # seconds between looks for files that nobody's row names


@dataclass(frozen=True)
class Settings:
    """What `tenku serve` was told."""

    host: str
    port: int
    db: str  # URL
    files: str  # a folder or a URL
    models: dict[str, str]  # served name -> Request.model
    workers: int = 1
    keep_days: float | None = None
    most_queued: int = 1000
    names: tuple[str, ...] = ()  # by which others reach it, besides loopback's own
    require_key: bool = False

    @property
    def needs_key(self) -> bool:
        """Whoever can be reached from elsewhere needs keys; behind a proxy that is who has a name."""
        return self.require_key or bool(self.names) or not _loopback(self.host)

    @property
    def hosts(self) -> frozenset[str]:
        """Names in a Host header that are ours."""
        return LOOPBACK | {self.host.lower()} | {name.lower() for name in self.names}


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def models_of(given: Sequence[str]) -> dict[str, str]:
    """ "nano", a listed open model, or "mine=FOLDER" to served names. Raises UserError for one that is not there."""
    found = {}
    for text in given or ("nano",):
        name, said, folder = text.partition("=")
        source = folder if said else name
        bundled = "/" not in source and (BUNDLED / source).is_dir()
        known = bundled or source in LISTED
        if not name or not source or not (known or (said and Path(source).is_dir())):
            raise UserError(f"no such model: {text[:80]!r}", "nano, an open one of docs/engines.md, or NAME=FOLDER")
        found[f"tenku-{name}" if bundled and not said else name] = source
    return found


def serve(settings: Settings) -> None:
    """Serves until told to stop; then lets the workers put their jobs back. Raises UserError where it cannot start."""
    Policy.find()  # one that cannot be read is said before anybody asks
    db, store = Database(settings.db), Store(settings.files)
    service = Service(db, store, tuple(settings.models), settings.needs_key, settings.most_queued,
                      models=settings.models)
    listening = _listen(settings.host, settings.port)
    if settings.needs_key and not any(key["revoked_at"] is None for key in all_keys(db)):
        _, secret = add_key(db, "first", scopes=("read", "write", "admin"))
        print(f"first key, shown only now: {secret}", flush=True)
    arguments = [f"--model={name}={folder}" for name, folder in settings.models.items()]
    if settings.keep_days is not None:
        arguments.append(f"--keep={settings.keep_days:g}")
    workers = Supervisor(arguments, {"TENKU_DB": settings.db, "TENKU_FILES": settings.files}, settings.workers,
                         lambda name: _abandon(db, name))
    service.wake = workers.wake
    over = threading.Event()
    keeping = [threading.Thread(target=each, args=(db, store, over), daemon=True) for each in (_keep_house, _tell)]
    server = _Server(uvicorn.Config(build(service, settings.hosts), log_level="warning", server_header=False,
                                    lifespan="off", timeout_graceful_shutdown=3, proxy_headers=False), service)
    for number in (signal.SIGINT, signal.SIGTERM):  # one that comes before uvicorn takes them over counts too
        signal.signal(number, server.handle_exit)
    workers.start()
    for thread in keeping:
        thread.start()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"Tenku listens on http://{host}:{listening.getsockname()[1]}", flush=True)
    try:
        server.run([listening])
    finally:
        over.set()
        workers.stop()
        for thread in keeping:
            thread.join(PATIENCE)
        db.close()
        server.last.cancel()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self.last = threading.Timer(LAST, _let_go)
        self.last.daemon = True

    def handle_exit(self, sig: int, frame: Any) -> None:
        if not self.service.stopping.is_set():
            self.service.stopping.set()  # who follows a job is let go
            self.last.start()
        super().handle_exit(sig, frame)


def _let_go() -> None:
    """Ends the process: what runs in a thread, such as a file being examined, can neither be cancelled nor waited for.

    Jobs bear it, and so do workers: the end of their stdin tells them to stop.
    """
    log.warning("what is still being answered is let go")
    os._exit(0)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}", "another --host or --port") from None
    return listening


def _abandon(db: Database, worker: str) -> None:
    try:
        jobs.abandon(db, worker)
    except SQLAlchemyError as error:  # its leases run out by themselves
        log.warning("the database does not answer: %s", type(error).__name__)


def _keep_house(db: Database, store: Store, over: threading.Event) -> None:
    """Leases, batches, what expired, and files that nobody's row names."""
    ticks, unborn = 0, set[str]()
    while not over.wait(TICK):
        try:
            with db.write() as connection:
                jobs.reap(db, connection)
            settle_batches(db, store)
            if ticks % round(SWEEP / TICK) == 0:
                expire(db, store)
                unborn = sweep(db, store, unborn)
        except Exception:  # whatever it was, the next round tries again
            log.exception("housekeeping failed")
        ticks += 1


def _tell(db: Database, _: Store, over: threading.Event) -> None:
    """Webhooks. Who answers them slowly keeps the house waiting for nothing."""
    while not over.wait(TICK):
        try:
            deliver(db)
        except Exception:
            log.exception("webhooks failed")


def expire(db: Database, store: Store) -> None:
    """Removes the files of clips whose time is over; their rows stay. Forgets old idempotency keys."""
    with db.read() as connection:
        over = connection.execute(select(jobs_table.c.id).where(
            jobs_table.c.expires_at < db.clock, jobs_table.c.artifacts.is_not(None))).scalars().all()
    for job in over:
        store.remove(job)
    with db.write() as connection:
        connection.execute(update(jobs_table).where(jobs_table.c.id.in_(over)).values(artifacts=None, bytes=0))
        connection.execute(delete(requests).where(requests.c.at < db.clock - jobs.REMEMBER))


def sweep(db: Database, store: Store, seen: Collection[str] = ()) -> set[str]:
    """Removes files of deleted jobs and of attempts that lost their lease.

    Inputs lie there before their job's row does, so they go only when they are nobody's a second time: seen are those
    of the sweep before, returned those of this one.
    """
    there = store.attempts()  # before the rows: an attempt seen here has its row by now
    kept: set[tuple[str, str]] = set()
    with db.read() as connection:
        t = jobs_table.c
        for name, token, status, fresh, inputs, saved, parts, film in connection.execute(select(
                t.id, t.token, t.status, t.completed_at > db.clock - SWEEP, t.inputs, t.saved, t.parts,
                t.film.is_not(None)).where(t.status != "failed")):
            kept |= {(name, str(token))} if status in ("in_progress", "completed") else set()
            kept |= {(name, "inputs")} if inputs else set()
            going_on = [*(saved or {}).get("keys", []), *(part["key"] for part in parts or [])]
            if status in jobs.ACTIVE or fresh or (film and status == "completed"):  # a changed film keeps its shots
                kept |= {(name, key.split("/")[1]) for key in going_on}
    unborn = {job for job, token in there if token == "inputs" and (job, token) not in kept}
    for job, token in there:
        if (job, token) not in kept and (token != "inputs" or job in seen):
            store.remove(f"{job}/{token}" if token else job)
    return unborn


def set_up_logs() -> None:
    """Server and workers log lines to stderr, with the time and the process."""
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("TENKU_LOG", "INFO").upper(),
                        format="%(asctime)s %(process)d %(name)s %(message)s")
