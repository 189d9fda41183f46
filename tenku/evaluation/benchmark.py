"""The benchmark: every prompt is generated, read by the probe, and set beside what the probe reads in truth.

A clip that was read is not made again: its reading lies beside it in the folder, keyed by request, weights and
probe. The probe sees the frames that `generate` returns; what is written to disk has passed the seal.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenku.errors import UserError
from tenku.evaluation import metrics, prompts, truth
from tenku.evaluation.metrics import Figure
from tenku.evaluation.probe import BUNDLED, FIELDS, Probe, bundled, expected, read
from tenku.evaluation.prompts import Prompt
from tenku.evaluation.truth import Floor
from tenku.evaluation.words import spoken
from tenku.request import Request
from tenku.types import Size

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    out: Path  # folder of the report, its page and its clips
    model: str = "nano"  # bundled weights, or a folder of `tenku train`
    takes: int = 2  # clips per prompt, of different seeds
    limit: int = 200  # of prompts; any first part is balanced
    steps: int = Request.steps
    guidance: float = Request.guidance
    probe: Path = BUNDLED
    codec_clips: int = truth.CODEC_CLIPS  # clips that the codec is measured on; 0: not measured
    language: str = ""  # of speaking.LANGUAGES, that the prompts are said in; "" for English

    def __post_init__(self) -> None:
        for name, value, least in (("seeds", self.takes, 1), ("limit", self.limit, 1),
                                   ("codec-clips", self.codec_clips, 0)):
            if value < least:
                raise UserError(f"--{name} cannot be {value}", f"a whole number from {least}")

    def request(self, prompt: Prompt, number: int, take: int) -> Request:
        """The request of a prompt's take: two seconds at the truth's size; every clip has noise of its own."""
        return Request(prompt.text, size=Size(truth.WIDTH, truth.HEIGHT), seconds=2.0, fps=truth.FPS,
                       seed=10_000 * take + number, steps=self.steps, guidance=self.guidance, model=self.model)


@dataclass(frozen=True)
class Reading:
    """A clip that was made and read."""

    number: int  # of the prompt
    take: int
    answers: dict[str, tuple[str, float]]  # field -> what the probe reads, and how sure it is
    seconds: float  # that `generate` took
    file: str  # the sealed clip, relative to the report's folder


@dataclass
class Report:
    """Everything that the table, the page and report.json say."""

    facts: dict[str, Any]  # model, hashes, settings
    prompts: list[Prompt]
    readings: list[Reading]
    floor: Floor | None
    codec_psnr: Figure | None
    notes: list[str]

    def hits(self, *, held_out: bool = False) -> list[truth.Hits]:
        """Per prompt (only those with a held-out combination, if asked) and take, the agreement of every field."""
        found: dict[int, truth.Hits] = {}
        for reading in self.readings:
            prompt = self.prompts[reading.number]
            if prompt.held_out or not held_out:
                wanted = expected(prompt.scene)
                found.setdefault(reading.number, []).append({f: reading.answers[f][0] == wanted[f] for f in FIELDS})
        return [found[number] for number in sorted(found)]

    def figures(self) -> dict[str, dict[str, Figure]]:
        """Column -> field -> figure; columns that were not measured are absent."""
        found = {"all": truth.figures(self.hits()), "held out": truth.figures(self.hits(held_out=True))}
        if self.floor:
            found |= {"truth": self.floor.plain, "truth through codec": self.floor.coded}
        return {column: rows for column, rows in found.items() if rows}

    def seconds(self) -> Figure | None:
        """Seconds that a clip took to generate."""
        return metrics.mean([reading.seconds for reading in self.readings])

    def confusions(self) -> dict[str, list[tuple[str, str, int]]]:
        """Per field the ten most frequent misreadings: wanted, read, how often."""
        counts: dict[str, Counter[tuple[str, str]]] = {field: Counter() for field in FIELDS}
        for reading in self.readings:
            for field, right in expected(self.prompts[reading.number].scene).items():
                if reading.answers[field][0] != right:
                    counts[field][right, reading.answers[field][0]] += 1
        return {field: [(*pair, n) for pair, n in counter.most_common(10)] for field, counter in counts.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        seconds = self.seconds()
        return {
            **self.facts,
            "figures": {c: {f: v.to_json() for f, v in rows.items()} for c, rows in self.figures().items()},
            "floor_measured": self.floor.measured if self.floor else None,
            "codec_psnr_db": self.codec_psnr.to_json() if self.codec_psnr else None,
            "seconds_per_clip": seconds.to_json() if seconds else None,
            "confusions": self.confusions(),
            "notes": self.notes,
            "clips": [
                {"prompt": self.prompts[r.number].text, "held_out": list(self.prompts[r.number].held_out),
                 "take": r.take, "file": r.file, "seconds": round(r.seconds, 3),
                 "wanted": expected(self.prompts[r.number].scene), "read": {f: a for f, (a, _) in r.answers.items()}}
                for r in self.readings
            ],
        }  # fmt: skip


def evaluate(settings: Settings, say: Say) -> Report:
    """Makes and reads all clips, writes report.json, returns the report.

    `say` gets lines of progress. A killed run continues with what is there. Raises UserError for a model or probe
    that cannot be read.
    """
    from tenku import __version__
    from tenku.engines.bundled import load

    engine = load(settings.model)
    probe, probe_sha256 = bundled(settings.probe)
    chosen = prompts.load()[: settings.limit]
    if settings.language:
        chosen = spoken(chosen, settings.language)
    (settings.out / "clips").mkdir(parents=True, exist_ok=True)
    facts = {"model": engine.name, "weights_sha256": engine.weights_sha256, "probe_sha256": probe_sha256,
             "codec": truth.fingerprint(engine.codec), "tenku": __version__, "prompts": len(chosen),
             "takes": settings.takes, "steps": settings.steps, "guidance": settings.guidance,
             "language": settings.language or "en"}
    report = Report(facts, chosen, [], None, None, [])
    _measure_truth(settings, report, engine.codec, probe, say)
    # a take of all prompts before the next, so that an unfinished run is balanced
    jobs = [_Job(settings, report, number, take) for take in range(settings.takes) for number in range(len(chosen))]
    found: dict[_Job, Reading | None] = {job: job.kept() for job in jobs}
    missing = [job for job in jobs if found[job] is None]
    clock = _Clock("clip", say)
    for done, job in enumerate(missing):
        found[job] = job.make(probe)
        clock(done + 1, len(missing))
    report.readings = [reading for reading in found.values() if reading]
    report.readings.sort(key=lambda reading: (reading.number, reading.take))
    replace_text(settings.out / "report.json", json.dumps(report.to_json(), indent=1))
    return report


class _Job:
    """One take of one prompt."""

    def __init__(self, settings: Settings, report: Report, number: int, take: int) -> None:
        self.number, self.take = number, take
        self.request = settings.request(report.prompts[number], number, take)
        self.file = f"clips/{number:03d}-{take}.mp4"
        self.path = settings.out / self.file
        self.identity = {"request": self.request.to_json(), "weights": report.facts["weights_sha256"],
                         "codec": report.facts["codec"], "probe": report.facts["probe_sha256"]}

    def kept(self) -> Reading | None:
        """The reading of an earlier run, if it is of the same request, weights and probe."""
        data = _kept(self.path.with_suffix(".json"), self.identity)
        if data is None or not self.path.exists():
            return None
        answers = {field: (str(word), float(share)) for field, (word, share) in data["answers"].items()}
        return Reading(self.number, self.take, answers, float(data["seconds"]), self.file)

    def make(self, probe: Probe) -> Reading:
        """Generates, reads, seals, and keeps the reading."""
        from tenku.provenance.seal import Model, seal
        from tenku.sampling.generate import generate

        started = time.perf_counter()
        result = generate(self.request)[0]
        seconds = time.perf_counter() - started
        answers = read(probe, [result.clip])[0]
        seal(result.clip, result.record, self.path, model=Model(result.model, result.weights_sha256, result.ledgers))
        facts = {"identity": self.identity, "answers": answers, "seconds": seconds}
        replace_text(self.path.with_suffix(".json"), json.dumps(facts))
        return Reading(self.number, self.take, answers, seconds, self.file)


def _measure_truth(settings: Settings, report: Report, codec: Any, probe: Probe, say: Say) -> None:
    """Fills in the floor and the codec's PSNR, from the folder if they were measured there before."""
    path = settings.out / "truth.json"
    texts = hashlib.sha256("\n".join(p.text for p in report.prompts).encode()).hexdigest()
    identity = {"probe": report.facts["probe_sha256"], "codec": report.facts["codec"], "prompts": texts,
                "takes": settings.takes, "codec_clips": settings.codec_clips}
    kept = _kept(path, identity)
    if kept is not None:
        report.floor = Floor.from_json(kept["floor"])
        report.codec_psnr = Figure.from_json(kept["psnr"]) if kept["psnr"] else None
        return
    try:
        report.floor = measure_floor(probe, codec, report.prompts, settings.takes, say)
        report.codec_psnr = truth.fidelity(codec, settings.codec_clips, _Clock("codec clip", say))
    except UserError as error:
        report.floor = truth.committed(report.facts["probe_sha256"])
        kind = "the committed floor is shown" if report.floor else "there is no floor for this probe"
        report.notes.append(f"{error}; {kind}, and the codec's PSNR was not measured")
        return
    psnr = report.codec_psnr.to_json() if report.codec_psnr else None
    replace_text(path, json.dumps({"identity": identity, "floor": report.floor.to_json(), "psnr": psnr}))


def measure_floor(probe: Probe, codec: Any, chosen: Sequence[Prompt], takes: int, say: Say) -> Floor:
    """Renders the prompts' scenes and has the probe read them. Raises UserError where nothing can be rendered."""
    hits = truth.floor_hits(probe, codec, chosen, takes, _Clock("truth", say))
    words = f"{len(chosen)} scenes of the prompts, each rendered {takes} times with seeds of its own"
    return Floor(truth.figures(hits["plain"]), truth.figures(hits["coded"]), words)


def keep_floor(settings: Settings, path: Path, say: Say) -> Floor:
    """Measures the floor of a probe and writes it to `path`, to be shown where nothing can be rendered."""
    from tenku.engines.bundled import load

    probe, probe_sha256 = bundled(settings.probe)
    chosen = prompts.load()[: settings.limit]
    floor = measure_floor(probe, load(settings.model).codec, chosen, settings.takes, say)
    replace_text(path, json.dumps({"probe_sha256": probe_sha256, **floor.to_json()}, indent=1) + "\n")
    return floor


def _kept(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What an earlier run wrote, if it was about the same thing."""
    try:
        data = json.loads(path.read_text())
        return data if data["identity"] == json.loads(json.dumps(identity)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def replace_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class _Clock:
    """A line of progress every ten seconds and at the end, with the time left."""

    def __init__(self, what: str, say: Say) -> None:
        self.what, self.say = what, say
        self.started = self.shown = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self.shown < 10:
            return
        self.shown = now
        left = int((now - self.started) / done * (total - done))
        self.say(f"{self.what} {done}/{total}  ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}")
