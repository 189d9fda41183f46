"""Shards: whole or absent, the same bytes however they came to be, and checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest

from tenku.cli import main
from tenku.data import ledger
from tenku.data.shards import ShardWriter, iter_clips, iter_facts, read_clip, shard_paths, sweep
from tenku.errors import UserError
from tenku.types import Clip
from tenku.world import make as making
from tenku.world.captions import REGISTERS
from tenku.world.make import Recipe, clip_scene, make, parse_mix

MIX = "32x20x3:2,20x32x1:1"


def clip(value: int, frames: int = 2) -> Clip:
    return Clip(np.full((frames, 16, 24, 3), value, np.uint8), 8.0)


def silent(done: int, count: int, frames: int) -> None:
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards, the second not full, rendered by two workers."""
    path = tmp_path_factory.mktemp("world") / "shards"
    make(Recipe(7, 36, parse_mix(MIX), arrays=True), path, 2, silent)
    return path


def contents(folder):
    return {p.name: p.read_bytes() for p in shard_paths(folder)}


def test_a_clip_comes_back_as_it_went_in(tmp_path):
    depth = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    with ShardWriter(tmp_path / "0.tar") as shard:
        shard.add("a", clip(10), {"n": 1}, {"depth": depth})
        shard.add("b", clip(20), {"n": 2})
        assert not shard_paths(tmp_path)  # invisible until whole
    a, b = iter_clips(tmp_path, arrays=True)
    assert (a.key, a.facts, b.key, b.facts) == ("a", {"n": 1}, "b", {"n": 2})
    assert np.array_equal(a.clip.frames, clip(10).frames)
    assert np.array_equal(a.arrays["depth"], depth)
    assert not b.arrays
    assert [i.key for i in iter_clips(tmp_path, skip=lambda key: key == "a")] == ["b"]
    assert read_clip(tmp_path, "b").facts == {"n": 2}
    with pytest.raises(UserError, match="no clip"):
        read_clip(tmp_path, "c")


def test_an_error_leaves_no_shard(tmp_path):
    shard = ShardWriter(tmp_path / "0.tar")
    with pytest.raises(ValueError, match="not JSON compliant"), shard:
        shard.add("a", clip(1), {"depth": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        next(iter_clips(tmp_path / "nowhere"))


def test_another_number_of_workers_gives_the_same_bytes(folder, tmp_path):
    recipe = Recipe(7, 36, parse_mix(MIX), arrays=True)
    making.make_shard(recipe, 1, tmp_path / "000001.tar")
    assert (tmp_path / "000001.tar").read_bytes() == contents(folder)["000001.tar"]


def test_a_damaged_or_lost_shard_is_made_again_and_a_longer_run_extends(folder, tmp_path):
    short = Recipe(7, 34, parse_mix(MIX), arrays=True)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "000000.tar").write_bytes(contents(folder)["000000.tar"])
    making._write_ledger(short, copy)
    summary = make(Recipe(7, 36, short.mix, arrays=True), copy, 1, silent)
    assert summary["rendered_shards"] == 1
    assert contents(copy) == contents(folder)


def test_half_written_files_are_swept_away_but_for_those_of_a_living_run(tmp_path):
    for name in ("ledger.json.1.tmp", "000001.tar.1.tmp"):
        (tmp_path / name).touch()
    with ShardWriter(tmp_path / "000000.tar"):
        sweep(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == [f"000000.tar.{os.getpid()}.tmp"]


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(folder, tmp_path):
    out = tmp_path / "killed"
    program = [sys.executable, "-c", "import sys; from tenku.cli import main; sys.exit(main())"]
    options = ["--clips", "36", "--seed", "7", "--mix", MIX, "--arrays", "--workers", "1", "--json"]
    command = [*program, "world", "make", "--out", str(out), *options]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out.exists() and any(out.glob("*.tmp"))) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()  # returns when the worker, which holds the pipe too, has noticed and ended as well
    assert len(shard_paths(out)) < 2
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["clips"] == 36
    assert contents(out) == contents(folder)
    assert not list(out.glob("*.tmp"))


def test_another_recipe_may_not_share_the_folder(folder):
    with pytest.raises(UserError, match="another seed"):
        make(Recipe(8, 36, parse_mix(MIX), arrays=True), folder, 1, silent)


def test_what_a_clip_carries(folder):
    items = list(iter_clips(folder, arrays=True))
    assert [i.key for i in items] == [f"{k:08d}" for k in range(36)]
    recipe = Recipe(7, 36, parse_mix(MIX), arrays=True)
    for index, item in enumerate(items):
        scene, size = clip_scene(recipe, index)
        assert item.facts["scene"]["seed"] == scene.seed
        assert item.clip.frames.shape == (size.frames, size.height, size.width, 3)
        assert set(item.facts["captions"]) == set(REGISTERS)
        assert item.arrays["mask"].max() >= 1 or not any(max(t["visible"]) for t in item.facts["things"])
    assert {i.clip.frames.shape[0] for i in items} == {1, 3}


def test_facts_alone_are_those_of_the_pictures(folder, tmp_path, capsys):
    args = ["world", "make", "--clips", "36", "--seed", "7", "--mix", MIX, "--workers", "1", "--out", str(tmp_path)]
    assert main([*args, "--facts"]) == 0
    assert list(iter_facts(tmp_path)) == list(iter_facts(folder))
    assert main(["world", "check", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(args) == 2  # the folder's clips have no pictures, and it is not made of two kinds
    assert "pictures" in capsys.readouterr().err
    with pytest.raises(UserError, match="no pictures"):
        next(iter_clips(tmp_path))
    shard = tmp_path / "000000.tar"
    shard.write_bytes(shard.read_bytes().replace(b'"frames":3', b'"frames":4'))
    assert main(["world", "check", str(tmp_path)]) == 1


def test_the_ledger_says_licence_origin_and_count(folder):
    book = ledger.read(folder)
    assert (book.license, book.producer, book.clips, book.planned, book.complete) == (
        "CC0-1.0",
        "tenku.world",
        36,
        36,
        True,
    )
    assert book.command.startswith("tenku world make --clips 36 --seed 7")


def test_check_finds_nothing_wrong_and_then_something(folder, tmp_path, capsys):
    assert main(["world", "check", str(folder)]) == 0
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "ledger.json").write_bytes((folder / "ledger.json").read_bytes())
    (broken / "000000.tar").write_bytes(contents(folder)["000000.tar"][:-60_000])
    assert main(["world", "check", str(broken)]) == 1
    assert "000000.tar" in capsys.readouterr().out
    (broken / "ledger.json").unlink()
    assert main(["world", "check", str(broken)]) == 2


def test_tar_headers_name_nobody_and_no_time(folder):
    for path in shard_paths(folder):
        with tarfile.open(path) as tar:
            assert {(m.mtime, m.uid, m.uname) for m in tar} == {(0, 0, "")}


@pytest.mark.parametrize("mix", ["", "128x80", "axbxc", "32x20x3:0", "32x20x3:-1", "32x20x3:inf"])
def test_a_bad_mix_is_refused(mix):
    with pytest.raises(UserError):
        parse_mix(mix)


def test_one_clip_from_the_command_line(tmp_path, capsys):
    arguments = ["--subject", "ball", "--colour", "red", "--place", "beach", "--action", "bounces", "--light", "day"]
    assert (
        main(["world", "clip", "--seed", "3", *arguments, "--format", "48x30x9", "--out", str(tmp_path / "a.mp4")]) == 0
    )
    facts = json.loads((tmp_path / "a.json").read_text())
    assert facts["things"][0]["subject"] == "ball"
    assert facts["captions"]["everything"] in capsys.readouterr().out
    assert (tmp_path / "a.mp4").stat().st_size > 500
    assert main(["world", "clip", "--format", "48x30x9", "--out", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["world", "clip", "--subject", "dragon", "--out", str(tmp_path / "b.png")]) == 2
    assert main(["world", "clip", "--out", str(tmp_path / "b.gif")]) == 2


def test_without_egl_the_error_says_what_to_install(tmp_path):
    command = [sys.executable, "-c", "import sys; from tenku.cli import main; sys.exit(main())", "world", "clip"]
    broken = {**os.environ, "__EGL_VENDOR_LIBRARY_DIRS": str(tmp_path)}
    done = subprocess.run([*command, "--out", str(tmp_path / "a.png")], env=broken, capture_output=True, text=True)
    assert done.returncode == 2
    assert "EGL" in done.stderr
    assert "libegl1 libegl-mesa0 libgl1-mesa-dri" in done.stderr
