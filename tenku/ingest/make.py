"""Footage to shards: files are looked at in parallel, doubles left out, clips captioned, packed, written down.

The same command goes on where a killed run stopped, and ends with the same shards; files that came since are added
behind what is there. Nothing is changed in place.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from tenku import __version__, media
from tenku.data import ledger
from tenku.data.ledger import Ledger, Source
from tenku.data.pool import spread
from tenku.data.shards import ShardWriter, iter_parts, keys, shard_paths, sweep
from tenku.errors import UserError
from tenku.ingest.captions import Captioner, captioner, registers
from tenku.ingest.doubles import without_doubles
from tenku.ingest.prepare import Candidate, Job, Recipe, prepare, record, stem
from tenku.ingest.sources import Given, hashed

SHARD = 32  # clips of a shard
LOOKED_AT = "looked-at"  # folder of records, and of clips that are not packed yet


@dataclass(frozen=True)
class File:
    """A file, and what became of it."""

    source: Source  # without its clips
    path: Path | None  # None where it was not given this time
    caption: str = ""  # that somebody wrote
    refused: str = ""  # why nothing of it is used
    clips: tuple[Candidate, ...] = ()  # all that was looked at


@dataclass
class Report:
    """What became of everything."""

    files: list[File] = field(default_factory=list)
    fresh: int = 0  # clips that were packed this time
    silent: int = 0  # of them, clips of which nothing is said


def ingest(given: Sequence[Given], out: Path, recipe: Recipe, named: Sequence[str], workers: int,
           cluster: str = "") -> Report:
    """Brings files into a folder of shards. named: licences that the user vouches for; cluster: `pool.spread`.

    Raises UserError where the folder was begun with another recipe, where nothing may be used, and where a captioner
    does not answer; what was done by then stays.
    """
    if find_spec("scenedetect") is None:
        raise UserError("cutting needs PySceneDetect, which is not installed", 'pip install "tenku[ingest]"')
    speaker = captioner(recipe.captioner)
    folder = out / LOOKED_AT
    folder.mkdir(parents=True, exist_ok=True)
    for place in (out, folder):
        sweep(place)
    book = _begun(out, recipe, named)
    files = _admitted(given, book)
    good = [file for file in files if not file.refused]
    if not good:
        raise UserError("no file may be used: " + "; ".join(sorted({file.refused for file in files})),
                        "say its licence in sources.csv or with --license (docs/data.md)")
    packed = _packed(out, book)
    # What could not be decoded is tried again: a machine may have been too busy.
    unseen = [file for file in good if (record(folder, file.source.sha256) or ("new",))[0]]
    _look_at(unseen, recipe, folder, workers, cluster)
    good = without_doubles([_known(file, folder) for file in good], dict(recipe.limits).get("alike"))
    fresh = [(file, clip) for file in good for clip in file.clips if not clip.reason and clip.key not in packed]
    lost = {file.source.sha256: file for file, _ in fresh  # left out before, for what is gone now
            if not stem(folder, file.source.sha256).with_suffix(".tar").exists()}
    _look_at(list(lost.values()), recipe, folder, workers, cluster)
    report = Report([*good, *(file for file in files if file.refused)], len(fresh))
    stream, number, planned = _pictures(fresh, folder), _next(out), len(packed) + len(fresh)
    while some := list(islice(stream, SHARD)):
        _write(out, book, good, packed, planned)
        report.silent += _pack(some, out / f"{number:06d}.tar", speaker, recipe, packed)
        number += 1
    _write(out, book, good, packed, len(packed))
    for path in folder.glob("*.tar"):
        path.unlink()
    return report


def _begun(out: Path, recipe: Recipe, named: Sequence[str]) -> Ledger:
    """The folder's ledger, or one that begins it."""
    wanted = recipe.to_json()
    if (out / ledger.NAME).exists():
        book = ledger.read(out)
        if book.producer != "tenku.ingest":
            raise UserError(f"{out} holds clips of {book.producer}", "choose another folder")
        different = [name for name, value in json.loads(json.dumps(wanted)).items() if book.recipe.get(name) != value]
        if different:
            raise UserError(f"{out} was begun with another {' and '.join(different)}", "choose another folder")
    elif shard_paths(out):
        raise UserError(f"{out} holds shards but no {ledger.NAME}", "choose an empty folder")
    else:
        book = Ledger("NONE", "tenku.ingest", __version__, "", {}, 0, 0, False)
    vouched = sorted({*book.recipe.get("named", ()), *named})
    limits = " ".join(f"--filter {name}={limit:g}" for name, limit in recipe.limits)
    command = (f"tenku data ingest --size {recipe.size} --fps {recipe.fps:g} --frames {recipe.frames} "
               f"--captioner {Path(recipe.captioner).name} {limits}")  # fmt: skip
    return replace(book, command=command, recipe={**wanted, "named": vouched})


def _admitted(given: Sequence[Given], book: Ledger) -> list[File]:
    """Every file once, those first that are in the ledger; what may not be used says why.

    Raises UserError for a file that is in the ledger and may not be used any more.
    """
    with ThreadPoolExecutor(4) as pool:
        hashes = list(pool.map(hashed, [one.path for one in given]))
    gone = {one.source.sha256: f"it was removed on {one.when[:10]}: {one.why}" for one in book.removed}
    found = {one.sha256: File(replace(one, clips={}), None) for one in book.sources}
    refused = []
    for one, sha256 in zip(given, hashes, strict=True):
        source = Source(one.file, sha256, one.source, one.author, one.license, one.fetched, one.consent)
        why = gone.get(sha256) or ledger.refused(one.license, book.recipe["named"])
        before = found.get(sha256)
        if before and before.path:
            why = why or f"the same file as {before.source.file}"
        elif before and why:
            raise UserError(f"clips of {one.file} are in the shards, but {why}",
                            f"tenku data ledger DIR --remove {sha256[:16]}")
        if why:
            refused.append(File(source, one.path, refused=why))
        else:
            found[sha256] = File(source, one.path, one.caption)
    return [*found.values(), *refused]


def _look_at(files: Sequence[File], recipe: Recipe, folder: Path, workers: int, cluster: str) -> None:
    jobs = [Job(file.path.resolve(), file.source.sha256, recipe, folder.resolve()) for file in files if file.path]
    if jobs:
        with tqdm(total=len(jobs), desc="looking", unit="file", disable=None, leave=False) as bar:
            for _ in spread(prepare, jobs, workers, cluster):
                bar.update()


def _known(file: File, folder: Path) -> File:
    """The file with what its record says."""
    why, clips = record(folder, file.source.sha256) or ("it is not there to be looked at", [])
    return replace(file, refused=why, clips=tuple(clips))


def _packed(out: Path, book: Ledger) -> dict[str, str]:
    """What is in complete shards, also what a killed run did not write down: key -> SHA-256 of its pictures."""
    said = {key: sha256 for source in book.sources for key, sha256 in source.clips.items()}
    found: dict[str, str] = {}
    for path in shard_paths(out):
        there = keys(path)
        if all(key in said for key in there):
            found |= {key: said[key] for key in there}
        else:
            found |= {key: hashlib.sha256(parts["mp4"]).hexdigest() for key, parts in iter_parts(path)}
    return found


Picture = tuple[File, Candidate, bytes]  # and the mp4


def _pictures(fresh: Sequence[tuple[File, Candidate]], folder: Path) -> Iterator[Picture]:
    """The clips that are to be packed, in order, each file's shard read once."""
    wanted: dict[str, dict[str, Candidate]] = {}
    files = {}
    for file, clip in fresh:
        wanted.setdefault(file.source.sha256, {})[clip.key] = clip
        files[file.source.sha256] = file
    for sha256, clips in wanted.items():
        path = stem(folder, sha256).with_suffix(".tar")
        for key, parts in iter_parts(path) if path.exists() else ():
            if key in clips:
                yield files[sha256], clips[key], parts["mp4"]


def _pack(
    some: Sequence[Picture], path: Path, speaker: Captioner, recipe: Recipe, packed: dict[str, str]
) -> int:
    """Captions clips and writes their shard; notes them in `packed`. Returns of how many nothing is said."""
    silent = 0
    clips = [media.decode(io.BytesIO(pictures), "mp4") for _, _, pictures in some]
    texts = speaker.say(clips, [file.caption for file, _, _ in some])
    with ShardWriter(path) as shard:
        for (file, clip, pictures), text in zip(some, texts, strict=True):
            wide, _, high = clip.size.partition("x")
            said = {name: value for name, value in asdict(file.source).items() if name not in ("clips", "consent")}
            facts = {"frames": clip.frames, "width": int(wide), "height": int(high), "fps": recipe.fps,
                     "start": clip.start, "camera": clip.camera, "measured": clip.measured,
                     "captions": registers(text, clip.camera if clip.frames > 1 else ""), "captioner": speaker.name,
                     "made_of": said}
            shard.put(clip.key, pictures, facts)
            packed[clip.key] = hashlib.sha256(pictures).hexdigest()
            silent += not text
    return silent


def _next(out: Path) -> int:
    """The number of the next shard."""
    return 1 + max((int(path.stem) for path in shard_paths(out) if path.stem.isdigit()), default=-1)


def _write(out: Path, book: Ledger, files: Sequence[File], packed: dict[str, str], planned: int) -> None:
    """The ledger of what is packed."""
    of: dict[str, dict[str, str]] = {}
    for key, sha256 in sorted(packed.items()):
        of.setdefault(key[:12], {})[key] = sha256
    sources = [replace(file.source, clips=of[file.source.sha256[:12]]) for file in files
               if file.source.sha256[:12] in of]
    licenses = ledger.together(one.license for one in sources)
    ledger.write(out, replace(book, license=licenses, clips=len(packed), planned=planned,
                              complete=planned == len(packed), sources=sources))
