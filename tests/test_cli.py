"""The command: what it answers, what it writes, and what it refuses before any work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tenku import __version__, media
from tenku.cli import VERBS, main, making

COMMAND = [sys.executable, "-m", "tenku"]


def generate(tmp_path: Path, *flags: str, prompt: str = "a red ball") -> int:
    return main(["generate", prompt, "--steps", "2", "--size", "64x48", "--seconds", "0.5", *flags])


# -- the frame ---------------------------------------------------------------------------------------------


def test_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {verb} " in said for verb in VERBS)
    assert main([]) == 2
    assert main(["--version"]) == 0
    assert f"tenku {__version__}" in capsys.readouterr().out


def test_a_wrong_verb_is_one_line_and_a_hint(capsys):
    assert main(["dream"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[0] == "error: no such verb: 'dream'"
    assert error[1].startswith("hint: one of generate, ")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert f"usage: tenku {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_an_unknown_flag(verb, capsys):
    assert main([verb, "--no-such-flag"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("arguments", ["--help", "generate --help"])
def test_a_closed_pipe_is_no_traceback(arguments):
    shell = f"{sys.executable} -m tenku {arguments} | true; exit ${{PIPESTATUS[0]}}"
    for _ in range(5):  # who is first, the writer or the end of the reader, is chance
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == ""
        assert done.returncode in (0, 1)


def test_a_missing_extra_is_said_in_one_line(tmp_path):
    program = "import sys; sys.modules['mujoco'] = None; from tenku.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", program, "world", "clip", "--out", str(tmp_path / "clip.mp4")],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert error == "error: worlds need MuJoCo, which is not installed"
    assert "tenku[world]" in hint


# -- refusals ----------------------------------------------------------------------------------------------

BAD: dict[str, list[str]] = {
    "empty prompt": [""],
    "blank prompt": [" \n\t"],
    "100 kB prompt": ["a" * 100_000],
    "size 0": ["x", "--size", "0"],
    "size 7x100000": ["x", "--size", "7x100000"],
    "seconds -1": ["x", "--seconds", "-1"],
    "seconds nan": ["x", "--seconds", "nan"],
    "too long": ["x", "--seconds", "61"],
    "no steps": ["x", "--steps", "0"],
    "half a step": ["x", "--steps", "1.5"],
    "seed": ["x", "--seed", "-3"],
    "samples": ["x", "--samples", "17"],
    "guidance": ["x", "--guidance", "inf"],
    "unknown flag": ["x", "--sise", "64x64"],
    "abbreviated flag": ["x", "--sec", "1"],
    "no prompt": [],
    "two prompts": ["x", "y"],
    "missing folder": ["x", "-o", "nowhere/out.mp4"],
    "a folder": ["x", "-o", "folder.mp4"],
    "no name": ["x", "-o", ""],
    "ending": ["x", "-o", "out.avi"],
    "no ending": ["x", "-o", "out"],
    "many frames in a png": ["x", "-o", "out.png", "--seconds", "2"],
    "preview over output": ["x", "-o", "out.png", "--preview", "out.png"],
    "preview ending": ["x", "--preview", "out.mp4"],
    "model": ["x", "--model", "no-such-model"],
    "control characters": ["a\x1b[2Jb"],
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_a_hint_and_exit_code_2(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("folder.mp4").mkdir()
    assert main(["generate", *BAD[case]]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    error, hint = said.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.mp4"]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "pickle", "swapped", "missing"])
def test_corrupt_weights_are_a_user_error(damage, tiny_model, tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    codec = (tiny_model / "codec.safetensors").read_bytes()
    transformer = (tiny_model / "transformer.safetensors").read_bytes()
    damaged = {"truncated": transformer[:-100], "garbage": b"\xff" * 4096, "empty": b"",
               "pickle": b"\x80\x04N.", "swapped": codec, "missing": None}[damage]
    (model / "codec.safetensors").write_bytes(codec)
    if damaged is not None:
        (model / "transformer.safetensors").write_bytes(damaged)
    assert main(["generate", "x", "--model", str(model), "-o", str(tmp_path / "out.mp4")]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert not (tmp_path / "out.mp4").exists()


def test_bad_input_is_refused_before_torch_is_loaded(tmp_path):
    program = "import sys; from tenku.cli import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    for arguments in (["x", "--size", "7x100000"], ["x", "-o", "nowhere/x.mp4"], [""], ["x", "-o", "x.avi"]):
        done = subprocess.run([sys.executable, "-c", program, "generate", *arguments], cwd=tmp_path,
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.split() == ["2", "False"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_said_before_the_work(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["generate", "x", "-o", str(tmp_path / "out.mp4")]) == 2
    assert "cannot write in" in capsys.readouterr().err


# -- generating --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["mp4", "webm", "webp", "gif", "png"])
def test_a_file_of_every_kind(ending, tiny_model, tmp_path, capsys):
    out = tmp_path / f"out.{ending}"
    flags = [] if ending == "png" else ["--seconds", "0.5"]
    asked = ["generate", "a red ball", "--steps", "2", "--size", "64x48", "--model", str(tiny_model)]
    assert main([*asked, *flags, "-o", str(out)]) == 0
    clip = media.read_clip(out)
    assert clip.size == (64, 48)
    assert len(clip.frames) == (1 if ending == "png" else 9)
    assert str(out) in capsys.readouterr().out
    left = {p.name for p in tmp_path.iterdir()} - {out.name}
    assert all(name.startswith(out.stem) for name in left)  # a manifest beside it


def test_json_says_what_was_made_and_notes_go_to_stderr_only_as_notes(tiny_model, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    flags = ["--json", "--seed", "7", "--samples", "2", "--model", str(tiny_model), "-o", str(out)]
    assert generate(tmp_path, *flags, prompt="a crimson zeppelin") == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert [Path(file["path"]).name for file in report["files"]] == ["out-1.mp4", "out-2.mp4"]
    assert [file["seed"] for file in report["files"]] == [7, 8]
    assert report["files"][0] | {"path": "", "seed": 0} == {
        "path": "", "seed": 0, "size": "64x48", "frames": 9, "fps": 16.0}
    assert report["request"]["prompt"] == "a crimson zeppelin"
    assert report["seconds_taken"] > 0
    assert any("zeppelin" in note for note in report["notes"])
    assert all(line.startswith("note: ") for line in said.err.splitlines())
    assert {p.name for p in tmp_path.iterdir()} == {"out-1.mp4", "out-2.mp4"}


def test_the_same_request_gives_the_same_pictures_alone_or_among_others(tiny_model, tmp_path):
    model = ["--model", str(tiny_model)]
    seeds = {"a": ["--seed", "8"], "b": ["--seed", "8"], "c": ["--seed", "7", "--samples", "2"]}
    for name, flags in seeds.items():
        assert generate(tmp_path, *flags, *model, "-o", str(tmp_path / f"{name}.gif")) == 0
    first, again, among = (media.read_clip(tmp_path / f"{n}.gif").frames for n in ("a", "b", "c-2"))
    other = media.read_clip(tmp_path / "c-1.gif").frames
    assert np.array_equal(first, again)
    assert np.array_equal(first, among)
    assert not np.array_equal(first, other)


def test_without_a_name_nothing_is_overwritten(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tenku-2.mp4").write_bytes(b"mine")
    for _ in range(3):
        assert generate(tmp_path, "--model", str(tiny_model)) == 0
    assert generate(tmp_path, "--model", str(tiny_model), "--seconds", "0") == 0
    assert {p.name for p in tmp_path.iterdir()} == {
        "tenku.mp4", "tenku-2.mp4", "tenku-3.mp4", "tenku-4.mp4", "tenku.png"}
    assert Path("tenku-2.mp4").read_bytes() == b"mine"


def test_a_named_file_is_replaced(tiny_model, tmp_path):
    out = tmp_path / "out.gif"
    out.write_bytes(b"old")
    assert generate(tmp_path, "--model", str(tiny_model), "-o", str(out)) == 0
    assert out.read_bytes()[:3] == b"GIF"


def test_a_preview_is_a_sealed_picture(tiny_model, tmp_path):
    preview = tmp_path / "preview.png"
    flags = ["--model", str(tiny_model), "-o", str(tmp_path / "out.mp4"), "--preview", str(preview)]
    assert generate(tmp_path, *flags) == 0
    assert media.read_clip(preview).size == (64, 48)


def test_a_clip_can_be_watched_while_it_is_made(tiny_model, tmp_path, monkeypatch, capsys):
    """Piece by piece, marked like all that leaves; in the end only the clip is there."""
    seen, write = [], making._write

    def watched(*made):
        seen.append(media.read_clip(tmp_path / "out.growing.mp4").frames)
        write(*made)

    monkeypatch.setattr(making, "_write", watched)
    asked = ["generate", "a red ball", "--model", str(tiny_model), "--steps", "1", "--size", "64x48", "--stream"]
    assert main([*asked, "--seconds", "4", "-o", str(tmp_path / "out.mp4")]) == 0
    made = media.read_clip(tmp_path / "out.mp4").frames
    assert seen[0].shape == made.shape
    assert np.abs(seen[0].astype(float) - made).mean() < 6  # both are marked and compressed, the pieces by themselves
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert main([*asked, "-o", str(tmp_path / "out.gif")]) == 2
    assert "--stream is for one clip, as .mp4" in capsys.readouterr().err


def test_an_interrupted_run_leaves_nothing_behind(tiny_model, tmp_path):
    asked = ["generate", "a red ball", "--steps", "200", "--samples", "16", "--model", str(tiny_model)]
    files = ["-o", str(tmp_path / "out.mp4"), "--preview", str(tmp_path / "now.png")]
    process = subprocess.Popen([*COMMAND, *asked, *files], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "now.png").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "interrupted"
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_generating_opens_no_connection_and_loads_no_compiler(tiny_model, tmp_path):
    """torch's compiler costs 2 s at every start, and a single wrong call on the way loads it."""
    program = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("socket.") else None)
from tenku.cli import main
code = main(sys.argv[1:]) or main(["verify", sys.argv[-1]])
print("SEEN", code, *seen, *{"torch._dynamo", "sympy"} & set(sys.modules))
"""
    out = tmp_path / "out.mp4"
    asked = ["generate", "a red ball", "--steps", "1", "--size", "64x48", "--seconds", "0.5"]
    done = subprocess.run([sys.executable, "-c", program, *asked, "--model", str(tiny_model), "-o", str(out)],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines()[-1] == "SEEN 0", done.stdout + done.stderr


def test_a_prompt_that_starts_with_a_dash_follows_two(tiny_model, tmp_path):
    out = tmp_path / "out.png"
    flags = ["--model", str(tiny_model), "--steps", "1", "--size", "32x32", "-o", str(out)]
    assert main(["generate", *flags, "--", "-- a red ball"]) == 0
    assert out.exists()


def test_no_unmarked_picture_lies_anywhere_at_any_moment(tiny_model, tmp_path, monkeypatch):
    """At every step of a run with a preview and two samples, and after it: each media file is sealed."""
    from tenku.cli.making import _Progress
    from tenku.provenance import manifest
    from tenku.provenance.manifest import Signature

    seen = set()

    def walk() -> None:
        for path in tmp_path.rglob("*"):
            if path.is_file() and path.suffix in (".png", ".mp4", ".webm", ".gif", ".webp", ".tmp", ""):
                seen.add(path.name)
                found = manifest.read(path)
                assert found.signature is Signature.TRUSTED, path
                assert found.ours

    step = _Progress.__call__

    def watched(self, *arguments):
        step(self, *arguments)
        walk()

    monkeypatch.setattr(_Progress, "__call__", watched)
    flags = ["--samples", "2", "--preview", str(tmp_path / "look.png"), "--model", str(tiny_model)]
    assert generate(tmp_path, *flags, "-o", str(tmp_path / "a.mp4")) == 0
    walk()
    assert {"a-1.mp4", "a-2.mp4", "look.png"} <= seen
