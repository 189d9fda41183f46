"""The store: what was sealed here is found again, quickly, and never somebody else's clip."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scenes import scene, texture

from tenku import rng
from tenku.errors import UserError
from tenku.provenance import fingerprint, geometry, store
from tenku.provenance.store import Entry


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TENKU_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def entry(clip: str, look: bytes = b"", prompt: str = "") -> Entry:
    return Entry(clip, 1.0, "", (3.0, 4.5), {"request": {"prompt": prompt}}, b"manifest", look)


def kept(frames: np.ndarray, clip: str) -> Entry:
    look = fingerprint.take(frames)
    one = entry(clip, look.to_bytes(), f"of {clip}")
    store.keep(one, look.words)
    return one


def test_nothing_is_found_where_nothing_was_kept(home):
    assert store.by_mark("0" * 13) is None
    assert store.by_look(fingerprint.take(scene(3)).words) == []
    assert not home.exists()


def test_an_entry_comes_back_whole_by_mark_and_by_look(home):
    one = kept(scene(9), "00112233445566ff")
    assert store.by_mark("0011223344556") == one
    assert store.by_look(fingerprint.take(scene(9)).words) == [one]
    assert store.path().stat().st_mode & 0o777 == 0o600
    assert store.by_mark("1" * 13) is None


def test_the_same_clip_sealed_again_is_one_entry():
    kept(scene(9), "00112233445566ff")
    again = kept(scene(9, seed=2), "00112233445566ff")
    assert store.by_mark("0011223344556") == again
    assert store.by_look(fingerprint.take(scene(9)).words) == []


def test_sketches_survive_the_bytes():
    look = fingerprint.take(scene(9))
    assert np.array_equal(fingerprint.sketches_of(look.to_bytes()), look.sketches)
    assert set(np.unique(look.sketches)) <= {-1, 0, 1}


def test_likeness_tells_clips_apart_and_follows_crops():
    clips = [scene(9), *(texture(9, seed=s, speed=0) for s in range(4))]
    looks = [fingerprint.sketches_of(fingerprint.take(clip).to_bytes()) for clip in clips]
    for a, b in itertools.product(range(5), range(5)):
        likeness = fingerprint.agreement(clips[a], looks[b])
        assert likeness > 0.95 if a == b else likeness < fingerprint.SAME
    cropped = scene(9)[:, 8:72, 13:115]
    place = geometry.Place(0.8, made_with=1)
    assert fingerprint.agreement(cropped, looks[0], place) > fingerprint.SAME
    assert fingerprint.agreement(cropped[:, :, ::-1], looks[0], geometry.Place(0.8, 0, True)) > fingerprint.SAME
    assert fingerprint.agreement(np.zeros((2, 80, 128, 3), np.uint8), looks[0]) < 0.5


def test_a_hundred_thousand_entries_answer_in_fifty_milliseconds():
    """Filled in one go with fingerprints of noise; what is measured is the look-up, in processor time."""
    kept(scene(9, seed=1), "00112233445566ff")
    draw = rng.stream(5, "test store")
    count = 100_000
    words = draw.integers(0, 1 << 16, (count, 1, fingerprint.WORDS)) + (np.arange(fingerprint.WORDS) << 16)
    with sqlite3.connect(store.path()) as base:
        base.execute("PRAGMA synchronous = OFF")
        base.execute("DROP INDEX word_of")  # which serves replacing, not finding
        base.executemany("INSERT INTO clip VALUES (?, ?, ?, 1, '', 0, 0, '{}', x'00', ?)",
                         ((n + 10, f"{n:013x}", f"{n:016x}", bytes(256)) for n in range(1, count + 1)))
        flat = np.unique(np.stack([words.reshape(-1), np.repeat(np.arange(11, count + 11), fingerprint.WORDS)], 1),
                         axis=0)
        base.executemany("INSERT INTO word VALUES (?, ?)", flat.tolist())
    base.close()
    look = fingerprint.take(scene(9, seed=1)).words
    times = []
    for _ in range(5):
        start = time.process_time()
        found = store.by_look(look)[0]
        times.append(time.process_time() - start)
    assert found.clip_id == "00112233445566ff"
    assert sorted(times)[2] < 0.05
    start = time.process_time()
    assert store.by_mark(f"{777:013x}").clip_id == f"{777:016x}"
    assert time.process_time() - start < 0.05


def test_a_broken_store_is_a_users_error(home):
    home.mkdir()
    store.path().write_bytes(b"no database" * 100)
    for attempt in (lambda: store.by_mark("0" * 13), lambda: kept(scene(3), "0" * 16)):
        with pytest.raises(UserError, match="provenance store") as caught:
            attempt()
        assert caught.value.hint


KEEPS = """
import sys
sys.path.insert(0, sys.argv[1])
from scenes import scene, texture
from test_store import kept
for n in range(4):
    kept(scene(2, seed=n), f"{int(sys.argv[2]):08x}{n:08x}")
"""


def test_several_processes_keep_at_once():
    here = str(Path(__file__).parent)
    racers = [subprocess.Popen([sys.executable, "-c", KEEPS, here, str(n)]) for n in range(3)]
    assert [racer.wait(timeout=300) for racer in racers] == [0, 0, 0]
    assert all(store.by_mark(f"{n:08x}{k:08x}"[:13]) for n in range(3) for k in (0,))


@pytest.mark.parametrize("bars", [(20, 0), (0, 32), (12, 20)])
def test_bars_do_not_hide_what_a_clip_looks_like(bars):
    """Above and below, at the sides, all around: the mark says how much of the picture they are, and not where."""
    frames = scene(9)
    look, other = fingerprint.take(frames).sketches, fingerprint.take(scene(9, seed=7)).sketches
    high, wide = bars
    padded = np.pad(frames, ((0, 0), (high, high), (wide, wide), (0, 0)))
    place = geometry.Place(tiles=((80 + 2 * high) * (128 + 2 * wide) / (80 * 128)) ** 0.5)
    assert fingerprint.agreement(padded, look, place) > 0.6
    assert fingerprint.agreement(padded, other, place) < fingerprint.SAME
