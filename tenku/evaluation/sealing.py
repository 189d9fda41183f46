"""What the seal survives: `tenku eval seal`.

Each clip is sealed, written as .mp4, damaged in every way of `attacks.py`, and read as `tenku verify` reads a file that
lost its signature, beside a store with many other clips. Its unmarked twin goes the same ways, for false hits. One row
for each clip, appended to `rows.jsonl` when it is whole: the same command again continues. No picture is kept.
"""

from __future__ import annotations

import concurrent.futures
import io
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tenku import media
from tenku.evaluation import theft
from tenku.evaluation.attacks import ATTACKS
from tenku.evaluation.metrics import psnr
from tenku.evaluation.sealing_page import write
from tenku.media import Frames
from tenku.provenance import embedding, fingerprint, invisible, parts, store, verify, visible
from tenku.provenance.code import Payload
from tenku.provenance.manifest import Manifest, Signature
from tenku.rng import stream
from tenku.types import Clip

Say = Callable[[str], None]
KINDS = ("as dreamt", "dark", "as dreamt", "flat or still")  # of every four clips
LARGE = (256, 144)  # pixels of every fifth clip
FRAMES, FPS = 33, 16.0
COINS = 64  # other keys that each unmarked picture is read with, at one place
KEYS = 19  # other keys that its best place is ranked among
_WEIGHTS = "5a" + "0" * 62
_STORED = 500  # entries written at once


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    out: Path  # folder of rows.jsonl, seal.json, index.html and the store
    limit: int = 200  # clips
    unmarked: int = 100  # damaged unmarked twins of each clip
    entries: int = 100_000  # other clips in the store
    model: str = "nano"
    steps: int = 12
    workers: int = 1  # processes


def evaluate(settings: Settings, say: Say) -> dict[str, Any]:
    """All tables, as plain JSON values; also written to `seal.json` and `index.html`."""
    from tqdm import tqdm

    settings.out.mkdir(parents=True, exist_ok=True)
    os.environ["TENKU_HOME"] = str(settings.out)  # a store and an identity of this evaluation's own
    fill(settings, say)
    rows_file = settings.out / "rows.jsonl"
    rows = _rows(rows_file, settings)
    left = [n for n in range(settings.limit) if n not in rows]
    bar = tqdm(total=settings.limit, initial=settings.limit - len(left), desc="clips", unit="clip", disable=None)
    with bar, rows_file.open("a") as file:
        for row in _measured(settings, left):
            rows[row["n"]] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
            bar.update()
    thefts = _thefts(settings, say)
    report = {"settings": asdict(settings) | {"out": ""}, "thefts": thefts,
              "rows": [rows[n] for n in sorted(rows) if n < settings.limit]}
    write(report, settings.out)
    return report


def _thefts(settings: Settings, say: Say) -> dict[str, Any]:
    file, wanted = settings.out / "thefts.json", [settings.model, settings.steps, settings.limit * 5]
    if file.exists() and (kept := json.loads(file.read_text()))["of"] == wanted:
        return dict(kept)
    say("averaging, pasting, moving manifests")
    found = theft.measure(settings.limit * 5, settings.model, settings.steps, settings.out) | {"of": wanted}
    file.write_text(json.dumps(found))
    return found


def _rows(file: Path, settings: Settings) -> dict[int, dict[str, Any]]:
    """Rows that are there, of the same settings; a line that was cut off is measured again."""
    rows = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["of"] == _of(settings):
            rows[int(row["n"])] = row
    return rows


def _of(settings: Settings) -> list[Any]:
    return [settings.model, settings.steps, settings.unmarked, settings.entries]


def _measured(settings: Settings, numbers: list[int]) -> Iterator[dict[str, Any]]:
    if settings.workers == 1:
        yield from (measure(settings, n) for n in numbers)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(settings.workers, context) as pool:
        yield from (done.result() for done in concurrent.futures.as_completed(
            [pool.submit(measure, settings, n) for n in numbers]))


# -- one clip -------------------------------------------------------------------------------------------------


def measure(settings: Settings, n: int) -> dict[str, Any]:
    """The row of clip n."""
    started = time.process_time()
    plain = material(settings, n)
    clip_id = f"{stream(n, 'eval seal', 'clip').integers(1 << 62):016x}"
    payload = Payload.of(clip_id, _WEIGHTS)
    plated = visible.draw(plain, FPS)
    marked = embedding.embed(plated, payload)
    sealed = _written(marked)
    found = invisible.detect(sealed, search=False)
    look = fingerprint.take(sealed)
    entry = store.entry_of(clip_id, str(payload) if found.payload == payload else "", found.shift, {}, b"", look)
    store.keep(entry, look.words)
    damaged = {name: _read(attack.do(sealed), clip_id) for name, attack in ATTACKS.items()}
    return {"n": n, "of": _of(settings), "kind": KINDS[n % len(KINDS)], "size": f"{plain.shape[2]}x{plain.shape[1]}",
            "psnr": round(psnr(plated, marked), 2), "damaged": damaged, "spliced": _spliced(plain, sealed, payload),
            "unmarked": _unmarked(plain, n, settings.unmarked), "seconds": round(time.process_time() - started, 1)}


def material(settings: Settings, n: int) -> Frames:
    """Clip n [33, H, W, 3] before it is sealed: dreamt by the model, half of them dark, flat or still."""
    from PIL import Image

    from tenku.evaluation.prompts import load
    from tenku.sampling.generate import generate

    draw = stream(n, "eval seal", "material")
    kind = KINDS[n % len(KINDS)]
    if kind == "flat or still" and n % 8 == 3:
        frames = _flat(draw)
    else:
        text = load()[n % len(load())].text
        if kind == "dark":
            text = f"{text.rstrip('.')}, at night."
        still = kind == "flat or still"
        [result] = generate(text, seconds=0 if still else 2, seed=50_000 + n, steps=settings.steps,
                            model=settings.model)
        frames = np.repeat(result.clip.frames, FRAMES, 0) if still else result.clip.frames
    if n % 5 == 4:
        frames = np.stack([np.asarray(Image.fromarray(f).resize(LARGE, Image.Resampling.LANCZOS)) for f in frames])
    return frames


def _flat(draw: np.random.Generator) -> Frames:
    """Two colours that run into each other, and nothing else."""
    one, other = draw.integers(0, 256, (2, 3))
    share = np.linspace(0, 1, 80)[:, None, None] * draw.random()
    picture = np.rint((1 - share) * one + share * other).astype(np.uint8)
    return np.repeat(np.repeat(picture, 128, 1)[None], FRAMES, 0)


def _written(frames: Frames) -> Frames:
    """As the file holds them."""
    return media.decode(io.BytesIO(media.encode(Clip(frames, FPS), ".mp4")), "mp4").frames


def _read(frames: Frames, clip_id: str) -> dict[str, Any]:
    """What `verify` says of a copy without its signature."""
    started = time.process_time()
    sources, mark = verify.trace(frames, FPS, Manifest(Signature.MISSING))
    right = mark.payload is not None and clip_id.startswith(mark.payload.clip_digits)
    led = [source.clip for source in sources if source.agrees]
    return {"found": mark.found, "payload": right, "wrong": mark.payload is not None and not right,
            "score": round(mark.score, 2), "led": int(clip_id in led) - int(any(clip != clip_id for clip in led)),
            "seconds": round(time.process_time() - started, 3), "looked_up": look_up_seconds(frames)}


def look_up_seconds(frames: Frames) -> float:
    """Of processor time, for others work beside it: how long the store takes to say what looks like these pictures."""
    look = fingerprint.take(frames)
    assert look.thumb is not None
    started = time.process_time()
    store.by_look(look.words)
    store.by_thumb(look.thumb)
    return round(time.process_time() - started, 4)


def _spliced(plain: Frames, sealed: Frames, payload: Payload) -> dict[str, bool]:
    """Of 2, 3 and 4 clips cut together, re-encoded: whether each one's payload is read and no other."""
    others = [plain[:, :, ::-1], plain[::-1], plain[::-1, ::-1]]
    clips, payloads = [sealed], {payload}
    for number, other in enumerate(others, 1):
        payloads_of = Payload(payload.model, (payload.clip + number) % 2**52)
        clips.append(_written(embedding.embed(other, payloads_of)))
        payloads.add(payloads_of)
    found = {}
    for count in (2, 3, 4):
        cut = _written(np.concatenate([clip[:16] for clip in clips[:count]]))
        read = {p.finding.payload for p in parts.find(invisible.planes(cut), (cut.shape[1], cut.shape[2]))}
        wanted = {payload} | {Payload(payload.model, (payload.clip + n) % 2**52) for n in range(1, count)}
        found[str(count)] = read == wanted
    return found


def _unmarked(plain: Frames, n: int, count: int) -> dict[str, Any]:
    """The same clip without a mark, damaged in `count` ways: hits, scores, and p-values under other keys."""
    hits, scores, ranks = [], [], []
    coins = np.zeros(20, int)
    draw = stream(n, "eval seal", "keys")
    for number in range(count):
        name, attack = list(ATTACKS.items())[number // 2 % len(ATTACKS)]
        frames = attack.do(plain[:, :, ::-1] if number % 2 else plain)
        _, mark = verify.trace(frames, FPS, Manifest(Signature.MISSING))
        scores.append(round(mark.score, 2))
        hits += [name] if mark.found else []
        rank, drawn = _null(frames, draw)
        ranks.append(rank)
        coins += drawn
    return {"count": count, "hits": hits, "highest": max(scores, default=0.0), "ranks": ranks, "coins": coins.tolist()}


def _null(frames: Frames, draw: np.random.Generator) -> tuple[int, np.ndarray]:
    """How many of KEYS other keys score better at their best shift, and a histogram of COINS keys' p-values at one.

    For pictures made without a key, the right key is one among equals: its rank is uniform whatever they show.
    """
    plane = invisible.mean(invisible.planes(frames))
    if not plane.any():
        return int(draw.integers(KEYS + 1)), np.zeros(20, int)
    chips = invisible.chips_of(invisible.PUBLIC_KEY)
    place = next(p for p in invisible.geometry.straight(*frames.shape[1:3]) if not (p.turned or p.mirrored))
    values = invisible.limited(invisible.spectrum(plane, place, chips), chips)
    best = []
    for number in range(KEYS + 1):
        signs = chips.signs if number == 0 else draw.choice([-1.0, 1.0], chips.signs.shape).astype(np.float32)
        some = replace(chips, signs=signs)
        best.append(float(invisible.correlated(values[None, chips.pilot], some).max()))
    ranks = sum(other > best[0] for other in best[1:])
    read = np.stack([values[chips.pilot].real, values[chips.pilot].imag], 1).ravel()
    scores = draw.choice([-1.0, 1.0], (COINS, len(read))) @ read / np.linalg.norm(read)
    return ranks, np.histogram(theft.normal(scores), 20, (0, 1))[0]


# -- the store ------------------------------------------------------------------------------------------------


def fill(settings: Settings, say: Say) -> None:
    """Other clips in the store: drawn skies, grounds and things, as many as are missing."""
    from tqdm import tqdm

    missing = settings.entries - store.count()
    if missing <= 0:
        return
    say(f"filling the store with {missing} other clips")
    done = settings.entries - missing
    with tqdm(total=settings.entries, initial=done, desc="entries", unit="clip", disable=None) as bar:
        for start in range(done, settings.entries, _STORED):
            numbers = range(start, min(start + _STORED, settings.entries))
            store.keep_all(_other(number) for number in numbers)
            bar.update(len(numbers))


def _other(number: int) -> tuple[store.Entry, np.ndarray]:
    draw = stream(number, "eval seal", "others")
    look = fingerprint.take(np.stack([_scene(draw)] * 2), 2)
    clip_id = f"{draw.integers(1 << 62):016x}"
    return store.entry_of(clip_id, "", (0.0, 0.0), {}, b"", look), look.words


def _scene(draw: np.random.Generator) -> Frames:
    """A drawn picture [80, 128, 3] of the world's kind: a sky, a ground, a few things."""
    from PIL import Image, ImageDraw

    def colour() -> tuple[int, ...]:
        return tuple(int(c) for c in draw.integers(0, 256, 3))

    image = Image.new("RGB", (128, 80), colour())
    pen = ImageDraw.Draw(image)
    horizon = int(draw.integers(20, 70))
    pen.rectangle((0, horizon, 128, 80), colour())
    for _ in range(int(draw.integers(2, 8))):
        x, y, wide, high = (int(v) for v in draw.integers((0, 0, 4, 4), (128, 80, 48, 40)))
        shape = pen.ellipse if draw.random() < 0.5 else pen.rectangle
        shape((x, y, x + wide, y + high), colour())
    return np.asarray(image)
