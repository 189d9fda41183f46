"""A worker: takes jobs from the database, makes their clips, seals them, and says how far it is.

The only module of the server that loads a model, in a process of its own. Whatever happens to that process, the job's
lease runs out and another worker makes the same clip.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from tenku import untrusted
from tenku.errors import UserError
from tenku.request import Request
from tenku.serving import jobs
from tenku.serving.db import Database
from tenku.serving.films import Filming
from tenku.serving.store import Store
from tenku.types import Clip

if TYPE_CHECKING:
    from tenku.engines.bundled import Engine
    from tenku.engines.open import OpenEngine
    from tenku.sampling.generate import Result, Saved, Step

log = logging.getLogger("tenku.worker")

IDLE = 0.2  # seconds between looks for work, where the server that has some does not say so
BEAT = 1.5  # seconds between renewals of a lease
STALL = 900.0  # seconds without a step after which a lease is no longer renewed
WATCHED = 10.0  # seconds since somebody last watched, within which previews are made
PREVIEW_EVERY = 0.8  # seconds between previews, at least
PREVIEW_SHARE = 0.15  # of the time, at most
SHEET = 4  # pictures in a row of a spritesheet, and rows
TYPES = {".mp4": "video/mp4", ".webp": "image/webp", ".png": "image/png"}


class Stopped(Exception):
    """The worker was told to end."""


@dataclass(frozen=True)
class Worker:
    """One process's work. `models` maps the names that are served to what `Request.model` says."""

    db: Database
    store: Store
    models: Mapping[str, str]
    keep: float | None = None  # seconds until a finished clip expires; None: never
    name: str = ""  # unique among all workers
    stop: threading.Event = field(default_factory=threading.Event)
    called: threading.Event = field(default_factory=threading.Event)  # there may be work

    def run(self) -> None:
        """Works until told to stop. A database that is away is waited for."""
        log.info("%s works on %s", self.name, ", ".join(self.models))
        while not self.stop.is_set():
            try:
                self.called.clear()
                job = jobs.claim(self.db, self.name, list(self.models))
                if job is None:
                    self.called.wait(IDLE)
                else:
                    self._do(job)
            except SQLAlchemyError as error:
                log.warning("the database does not answer: %s", type(error).__name__)
                self.stop.wait(1)

    def _do(self, job: jobs.Job) -> None:
        """One job, to whatever end. Nothing of it stays on the disk but what its row names."""
        started = time.monotonic()
        kept = False  # what the row may name
        try:
            with self._lease(job), self.store.attempt(job["id"], job["token"]) as folder:
                artifacts, facts = self._make(job, folder)
                facts["seconds_taken"] = round(time.monotonic() - started, 3)
                jobs.complete(self.db, job, artifacts, facts, self.keep)
                kept = True
            if not job["film"]:  # a film that is changed keeps its shots
                self.store.remove_named(job["id"], "saved-")
            log.info("%s made in %.1f s", job["id"], time.monotonic() - started)
        except Stopped:
            jobs.release(self.db, job)
        except jobs.Lost:
            log.info("%s is no longer mine", job["id"])
        except UserError as error:
            self._fail(job, "invalid_request", f"{error}" + (f" ({error.hint})" if error.hint else ""))
        except MemoryError:
            self._fail(job, "out_of_memory", "There is not enough memory for a video of this size")
        except SQLAlchemyError:
            kept = True  # nobody knows whether the row was written; what it does not name is swept
            raise
        except Exception:
            log.exception("%s failed", job["id"])
            self._fail(job, "internal_error", "The video could not be made; the server's log says why")
        finally:
            if not kept:
                self.store.remove(f"{job['id']}/{job['token']}")

    def _fail(self, job: jobs.Job, code: str, message: str) -> None:
        with contextlib.suppress(jobs.Lost):
            jobs.fail(self.db, job, code, message)

    @contextlib.contextmanager
    def _lease(self, job: jobs.Job) -> Iterator[None]:
        """Renews the lease beside the work, for loading and sealing take no steps."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT):
                try:
                    if not jobs.renew(self.db, job, STALL):
                        return
                except SQLAlchemyError as error:
                    log.warning("the lease of %s was not renewed: %s", job["id"], type(error).__name__)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _make(self, job: jobs.Job, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Dreams and seals: the artifacts by variant, and what is known of the clip."""
        from tenku.provenance.lineage import shown
        from tenku.sampling.generate import generate

        if job["film"]:
            return self._film(job, folder)
        request = replace(Request.from_json(job["request"]), model=self.models[job["model"]])
        if self.stop.is_set():
            raise Stopped
        progress = _Progress(self, job, folder)
        with self._given(job) as given:
            size = (request.size.width, request.size.height)
            clips = {name: untrusted.read_at(path, request.fps, size) for name, path in given.items()}
            rounds = _Rounds(self, job, progress)
            before = rounds.before()
            seen = {one.source: shown(given[one.source]) for one in request.inputs}
            [result] = generate(request, on_step=progress, clips=clips, shown=seen, on_round=rounds, saved=before)
            return self._sealed(job, folder, progress, result, list(given.values()))

    def _film(self, job: jobs.Job, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Films, and seals what is shown of the film."""
        from tenku.sampling.generate import Result

        progress = _Progress(self, job, folder)
        with self._given(job) as given:
            filming = Filming((self.db, self.store), job, progress.count)
            film = filming.make(folder / "video.mp4", given, self.models[job["model"]])
        engine = progress.engine()
        result = Result(film.clip, film.record, (), engine.name, engine.weights_sha256, engine.ledgers)
        return self._sealed(job, folder, progress, result, [])

    @contextlib.contextmanager
    def _given(self, job: jobs.Job) -> Iterator[dict[str, Path]]:
        """Local files of what a job is made from, by the name that its Request knows them by."""
        with tempfile.TemporaryDirectory(prefix="tenku-given-") as folder:
            yield {f"sha256:{sha256}": self.store.fetch(entry["key"], Path(folder))
                   for sha256, entry in (job["inputs"] or {}).items()}

    def _sealed(
        self, job: jobs.Job, folder: Path, progress: _Progress, result: Result, made_of: list[Path]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The artifacts by variant, and what is known of the clip."""
        artifacts, name = {}, ""
        for variant, clip, ending in variants(result.clip):
            path = folder / f"{variant}{ending}"
            if path.exists():  # a film is sealed already, with its shots
                artifacts[variant], name = self.publish(job, path), sealed_name(result)
                continue
            record = result.record if variant == "video" else {**result.record, "variant": variant, "shown": None}
            sealed = _seal(clip, record, path, result, made_of)
            artifacts[variant] = self.publish(job, path)
            name = name or sealed
        for key in progress.previews:
            self.store.remove(key)
        facts = {
            "frames": len(result.clip.frames), "fps": result.clip.fps, "size": "{}x{}".format(*result.clip.size),
            "clip_id": name, "notes": list(result.notes), "weights_sha256": result.weights_sha256,
            "pictures_sha256": hashlib.sha256(result.clip.frames.tobytes()).hexdigest(),
        }
        return artifacts, facts

    def publish(self, job: jobs.Job, path: Path) -> dict[str, Any]:
        """Makes a file of an attempt an artifact: key, type, bytes."""
        key = f"{job['id']}/{job['token']}/{path.name}"
        return {"key": key, "type": TYPES[path.suffix], "bytes": self.store.publish(path, key)}


class _Progress:
    """Called after every step: records it, ends what was cancelled, and shows the picture to who watches."""

    def __init__(self, worker: Worker, job: jobs.Job, folder: Path) -> None:
        self.worker, self.job, self.folder = worker, job, folder
        self.started = self.last = time.monotonic()
        self.spent = 0.0  # seconds on previews
        self.previews: list[str] = []  # keys of their files
        self.watched = False

    def count(self, done: int, total: int) -> None:
        """So many steps are done. Raises what ends the work."""
        if self.worker.stop.is_set():
            raise Stopped
        self.watched = jobs.step(self.worker.db, self.job, done, total) < WATCHED

    def __call__(self, step: Step) -> None:
        self.count(step.index, step.total)
        now = time.monotonic()
        due = now - self.last > PREVIEW_EVERY and self.spent < PREVIEW_SHARE * (now - self.started)
        if self.watched and due and step.index < step.total:
            preview = self._preview(step)
            jobs.step(self.worker.db, self.job, step.index, step.total, preview)
            self.last = time.monotonic()
            self.spent += self.last - now

    def _preview(self, step: Step) -> dict[str, Any]:
        """The middle frame so far, sealed like all that was dreamt."""
        clip = step.preview()
        middle = len(clip.frames) // 2
        path = self.folder / f"preview-{step.index}.webp"
        self.seal(Clip(clip.frames[middle : middle + 1], clip.fps), {"preview": {"step": step.index, "frame": middle}},
                  path)
        published = self.worker.publish(self.job, path)
        self.previews.append(published["key"])
        return {**published, "step": step.index}

    def seal(self, clip: Clip, about: dict[str, Any], path: Path, first: int = 0) -> None:
        """Writes pictures of a clip that is not finished; first: how many of its frames went before them."""
        from tenku.provenance.seal import Model, seal

        engine = self.engine()
        seal(clip, {"request": self.job["request"], **about}, path,
             model=Model(engine.name, engine.weights_sha256, engine.ledgers), first=first)

    def engine(self) -> Engine | OpenEngine:
        """The job's model."""
        from tenku.engines.loading import load

        return load(self.worker.models[self.job["model"]])


class _Rounds:
    """Called after every round: keeps it for whoever goes on should this process end, and streams it to who watches.

    Files lie in folders of their own, which the job's row names, so that they outlive the attempt that made them.
    """

    def __init__(self, worker: Worker, job: jobs.Job, progress: _Progress) -> None:
        self.worker, self.job, self.progress = worker, job, progress
        self.parts: list[dict[str, Any]] = list(job["parts"] or [])
        self.saved = 0  # bytes of the round that is kept

    def before(self) -> Saved | None:
        """What an earlier attempt left, if this program with these weights made it."""
        from safetensors.torch import load

        from tenku.provenance.lock import unlock
        from tenku.sampling.generate import Saved

        kept, parts = self.job["saved"], self.parts
        self.parts = []
        if not kept or "rounds" not in kept or kept["made_by"] != self._made_by():
            return None
        with tempfile.TemporaryDirectory(prefix="tenku-saved-") as folder:
            try:
                held = self.worker.store.fetch(kept["keys"][0], Path(folder)).read_bytes()
            except FileNotFoundError:
                return None
        opened = unlock(held, kept["keys"][0])  # None for what another installation's worker left
        if opened is None:
            return None
        tensors = load(opened)
        self.parts, self.saved = parts, len(held)
        log.info("%s goes on after round %d of %d", self.job["id"], kept["rounds"], kept["total"])
        return Saved(kept["rounds"], kept["total"], tensors["latents"], tensors["rows"], tensors["drawn"], _nothing)

    def __call__(self, saved: Saved) -> None:
        if saved.total == 1:
            return
        if self.progress.watched or self.parts:  # a stream that has begun is brought to its end
            self._stream(saved)
        if saved.rounds < saved.total:
            self._save(saved)

    def _save(self, saved: Saved) -> None:
        from safetensors.torch import save

        from tenku.provenance.lock import lock

        key = f"{self.job['id']}/saved-{self.job['token']}/{saved.rounds}.locked"
        path = self.progress.folder / "round.locked"
        tensors = {"latents": saved.latents.contiguous(), "rows": saved.rows.contiguous(), "drawn": saved.drawn}
        path.write_bytes(lock(save(tensors), key))
        self.saved = path.stat().st_size
        self._name(path, key, saved={"keys": [key], "bytes": self.saved, "rounds": saved.rounds, "total": saved.total,
                                     "made_by": self._made_by()})
        self.worker.store.remove(key.replace(f"/{saved.rounds}.", f"/{saved.rounds - 1}."))

    def _stream(self, saved: Saved) -> None:
        """What became finished since the last piece, sealed like all that was dreamt, and joined to it."""
        from tenku import growing

        clip, first = saved.finished(), sum(part["frames"] for part in self.parts)
        if len(clip.frames) <= first:
            return
        key = f"{self.job['id']}/parts-{self.job['token']}/{saved.rounds}.mp4"
        path = self.progress.folder / "part.mp4"
        self.progress.seal(Clip(clip.frames[first:], clip.fps), {"part": {"first": first}}, path, first)
        path.write_bytes(growing.fragment(path.read_bytes(), first))
        self.parts.append({"key": key, "bytes": path.stat().st_size, "frames": len(clip.frames) - first})
        self._name(path, key, parts=self.parts)

    def _name(self, path: Path, key: str, **values: Any) -> None:
        """Puts a file where it outlives the attempt, and has the row name it; nothing of a job that is lost stays."""
        self.worker.store.put(path, key)
        path.unlink()
        try:
            jobs.keep(self.worker.db, self.job, self.saved + sum(part["bytes"] for part in self.parts), **values)
        except jobs.Lost:
            self.worker.store.remove(key)
            raise

    def _made_by(self) -> str:
        from tenku import __version__

        return f"{__version__} {self.progress.engine().weights_sha256}"


def _nothing() -> Clip:
    raise AssertionError("of a round that was read back nothing is shown")


def variants(clip: Clip) -> list[tuple[str, Clip, str]]:
    """What is kept of a clip: the name it is asked for by, its pictures, the file's ending."""
    if len(clip.frames) == 1:
        return [("video", clip, ".png"), ("thumbnail", clip, ".webp")]
    middle = len(clip.frames) // 2
    return [("video", clip, ".mp4"), ("thumbnail", Clip(clip.frames[middle : middle + 1], clip.fps), ".webp"),
            ("spritesheet", _sheet(clip), ".webp")]


def _sheet(clip: Clip) -> Clip:
    """Frames from first to last in rows, as one picture."""
    chosen = clip.frames[np.linspace(0, len(clip.frames) - 1, SHEET * SHEET).round().astype(int)]
    rows = [np.concatenate(list(chosen[i : i + SHEET]), axis=1) for i in range(0, SHEET * SHEET, SHEET)]
    return Clip(np.concatenate(rows)[None], clip.fps)


def _seal(clip: Clip, record: dict[str, Any], path: Path, result: Result, made_of: list[Path]) -> str:
    from tenku.provenance.seal import Model, seal

    model = Model(result.model, result.weights_sha256, result.ledgers)
    return seal(clip, record, path, model=model, ingredients=made_of).clip_id


def sealed_name(result: Result) -> str:
    """The id of a clip that is sealed already."""
    from tenku.provenance.seal import Model, clip_id

    return clip_id(result.record, Model(result.model, result.weights_sha256, result.ledgers))


def unique_name() -> str:
    """A name for this process among all workers, on all machines."""
    return f"{socket.gethostname()[:40]}/{os.getpid()}/{os.urandom(3).hex()}"


def watch_parent(worker: Worker, read: Callable[[int], bytes]) -> None:
    """Hears from the server that started us, through our stdin: a byte says that there is work; when it has gone, by
    whatever death, the pipe closes, and we stop."""

    def wait() -> None:
        while read(1 << 10):
            worker.called.set()
        worker.stop.set()

    threading.Thread(target=wait, daemon=True).start()


def warm(models: Mapping[str, str]) -> None:
    """Loads the first model, so that the first job need not wait for it."""
    from tenku.engines.loading import load

    load(next(iter(models.values())))
