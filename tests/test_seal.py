"""The seal: whole or not at all, repeatable, with all three layers in every format."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import c2pa
import numpy as np
import pytest
from scenes import scene, texture

from tenku import media
from tenku.errors import UserError
from tenku.provenance import invisible, manifest, visible
from tenku.provenance.manifest import Signature
from tenku.provenance.seal import FORMATS, Model, check_path, clip_id, seal
from tenku.types import Clip

MODEL = Model("tenku-tiny", "c0ffee" + "0" * 58, ())
RECORD = {"prompt": "a red ball", "seed": 7, "size": "128x80"}


def clip_for(ending: str) -> Clip:
    return Clip(scene(1 if ending == ".png" else 9), 12.0)


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_carries_all_three_layers(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    sealed = seal(clip_for(ending), RECORD, path, model=MODEL)
    assert sealed.path == path
    assert sealed.sidecar == (tmp_path / "a.webm.c2pa" if ending == ".webm" else None)
    assert sorted(os.listdir(tmp_path)) == sorted({path.name, *([sealed.sidecar.name] if sealed.sidecar else [])})
    found = manifest.read(path)
    assert found.signature is Signature.TRUSTED
    assert found.clip_id == sealed.clip_id == clip_id(RECORD, MODEL)
    assert found.request["request"] == RECORD
    assert (found.request["model"], found.request["weights_sha256"]) == (MODEL.name, MODEL.weights_sha256)
    clip = media.read_clip(path)
    assert clip.frames.shape == clip_for(ending).frames.shape
    mark = invisible.detect(clip.frames, search=False)
    assert sealed.mark_readable
    assert sealed.mark_score == pytest.approx(mark.score, abs=3)
    assert mark.payload.clip_digits == sealed.clip_id[:13]
    assert mark.payload.model == 0xC0
    assert found.soft_binding == str(mark.payload)
    assert visible.detect(clip.frames, clip.fps).found


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_seal_gives_the_same_pictures(ending, tmp_path):
    once, again = (seal(clip_for(ending), RECORD, tmp_path / f"{n}{ending}", model=MODEL) for n in "ab")
    assert np.array_equal(media.read_clip(once.path).frames, media.read_clip(again.path).frames)
    assert once.clip_id == again.clip_id


def test_the_name_of_a_clip_follows_all_that_made_it():
    names = {clip_id(RECORD, MODEL), clip_id({**RECORD, "seed": 8}, MODEL), clip_id(RECORD, Model("b", "c0", ()))}
    assert len(names) == 3
    assert clip_id(dict(reversed(RECORD.items())), MODEL) == clip_id(RECORD, MODEL)
    assert all(len(n) == 16 and int(n, 16) >= 0 for n in names)


def test_it_is_fast_enough(tmp_path):
    clip = Clip(scene(33), 12.0)
    seal(clip, RECORD, tmp_path / "a.mp4", model=MODEL)
    start = time.process_time()
    seal(clip, RECORD, tmp_path / "a.mp4", model=MODEL)
    assert time.process_time() - start < 2  # seconds; 0.22 on an idle machine


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 79, 127), (2, 2, 2), (1, 5, 300)])
@pytest.mark.parametrize("ending", [".mp4", ".png"])
def test_odd_and_tiny_pictures_are_sealed_and_promise_only_what_they_hold(shape, ending, tmp_path):
    frames = np.resize(texture(1, 64, 64), (1 if ending == ".png" else shape[0], *shape[1:], 3))
    sealed = seal(Clip(frames, 24.0), RECORD, tmp_path / f"a{ending}", model=MODEL)
    found = manifest.read(sealed.path)
    assert found.signature is Signature.TRUSTED
    assert bool(found.soft_binding) == sealed.mark_readable


def test_a_new_clip_replaces_the_old_one_and_its_sidecar(tmp_path):
    path = tmp_path / "a.mp4"
    manifest.sidecar(path).write_bytes(b"of another file")
    path.write_bytes(b"old")
    seal(clip_for(".mp4"), RECORD, path, model=MODEL)
    assert manifest.read(path).signature is Signature.TRUSTED
    assert os.listdir(tmp_path) == ["a.mp4"]


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "frames", "said"), [
    ("a.avi", 3, "cannot write a.avi"), ("a", 3, "cannot write a"), ("a.png", 3, "one picture, not 3"),
    ("a.jpg", 1, "cannot write"), ("名" * 90 + ".mp4", 3, "cannot be written"), ("a\0b.mp4", 3, "cannot be written"),
     ("none/a.mp4", 3, "no folder"), ("folder.mp4", 3, "not a file")])
def test_paths_that_cannot_hold_the_clip(name, frames, said, tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=said) as caught:
        check_path(tmp_path / name, frames)
    assert caught.value.hint
    with pytest.raises(UserError, match=said):
        seal(Clip(scene(frames, 32, 32), 12.0), RECORD, tmp_path / name, model=MODEL)
    assert os.listdir(tmp_path) == ["folder.mp4"]


@pytest.mark.parametrize("record", [{"x": float("nan")}, {"path": Path("/a")}, {"x": {1, 2}}])
def test_a_record_that_is_no_json_leaves_nothing(record, tmp_path):
    with pytest.raises((ValueError, TypeError)):
        seal(clip_for(".png"), record, tmp_path / "a.png", model=MODEL)
    assert os.listdir(tmp_path) == []


def test_without_an_identity_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setenv("TENKU_SIGNING_CERT", str(tmp_path / "none.pem"))
    with pytest.raises(UserError, match="TENKU_SIGNING_KEY"):
        check_path(tmp_path / "a.mp4", 3)


def test_a_long_name_is_a_name(tmp_path):
    path = tmp_path / ("名" * 78 + ".webm")
    assert seal(clip_for(".webm"), RECORD, path, model=MODEL).sidecar.exists()


def test_endings_in_capitals_are_endings(tmp_path):
    assert manifest.read(seal(clip_for(".png"), RECORD, tmp_path / "A.PNG", model=MODEL).path).clip_id


# -- all or nothing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_full_disk_leaves_the_old_file(call, ending, tmp_path, monkeypatch):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, full)
    with pytest.raises(OSError, match="No space"):
        seal(clip_for(ending), RECORD, path, model=MODEL)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == b"old"


SEALS_FOR_EVER = """
import sys
from pathlib import Path
from tenku.provenance.seal import Model, seal
from tenku.types import Clip
import numpy as np
clip = Clip(np.random.Generator(np.random.Philox(1)).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8), 12.0)
print("ready", flush=True)
while True:
    seal(clip, {"seed": 1}, Path(sys.argv[1]), model=Model("m", "00", ()))
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_command_leaves_a_whole_file_or_none(blow, tmp_path):
    path = tmp_path / "a.mp4"
    process = subprocess.Popen([sys.executable, "-c", SEALS_FOR_EVER, str(path)], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.0)
    process.send_signal(blow)
    try:
        process.wait(timeout=30)
    finally:
        process.kill()
        process.stdout.close()
    left = [name for name in os.listdir(tmp_path) if not name.endswith(".tmp") or blow == signal.SIGINT]
    assert left in ([], ["a.mp4"])
    if left:
        assert manifest.read(path).signature is Signature.TRUSTED


def test_importing_the_seal_is_light():
    program = ("import json, sys, tenku.provenance.seal; "
               "print(json.dumps(sorted({'torch', 'av', 'PIL', 'c2pa', 'cryptography'} & set(sys.modules))))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_what_a_clip_was_made_of_is_in_its_manifest(tmp_path):
    for name in ("a.mp4", "b.png", "c.webm"):
        seal(Clip(scene(1 if name == "b.png" else 9, 64, 48), 16.0), {"name": name}, tmp_path / name, model=MODEL)
    parts = [tmp_path / name for name in ("a.mp4", "b.png", "c.webm")]
    whole = seal(Clip(scene(9, 64, 48), 16.0), {"name": "whole"}, tmp_path / "whole.mp4", model=MODEL,
                 ingredients=parts).path
    assert manifest.read(whole).signature is manifest.Signature.TRUSTED
    with whole.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
        store = json.loads(reader.json())
    held = store["manifests"][store["active_manifest"]]["ingredients"]
    assert [i["title"] for i in held] == ["ingredient 1", "ingredient 2", "ingredient 3"]
    assert {i["relationship"] for i in held} == {"componentOf"}
    assert ["active_manifest" in i for i in held] == [True, True, False]  # C2PA cannot look beside a WebM
    assert str(tmp_path) not in json.dumps(store)
