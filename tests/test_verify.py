"""tenku verify: one verdict for each file, by all three layers, in words, in JSON and as an exit code."""

from __future__ import annotations

import io
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenes import scene

from tenku import media, untrusted
from tenku.cli import main
from tenku.provenance import embedding, geometry, invisible, manifest, verify, visible
from tenku.provenance.code import Payload
from tenku.provenance.manifest import Manifest, Signature
from tenku.provenance.seal import Model, seal
from tenku.provenance.verify import Verdict, examine, judge
from tenku.types import Clip

MODEL = Model("tenku-tiny", "c0ffee", ())
RECORD = {"prompt": "a red ball", "seed": 7}


@pytest.fixture(scope="module", autouse=True)
def _a_store_of_its_own(tmp_path_factory):
    """In which no other test's clip looks the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENKU_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def sealed(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "a.mp4"
    return seal(Clip(scene(17), 12.0), RECORD, path, model=MODEL).path


def recoded(frames: np.ndarray, path: Path, crf: int = 23) -> Path:
    media.encode_video(frames, 12.0, path, container="mp4", codec="libx264", pixel_format="yuv420p",
                       options={"crf": str(crf)})
    return path


# -- real files ----------------------------------------------------------------------------------------------------


def test_a_sealed_file_is_made_by_tenku(sealed, capsys):
    assert main(["verify", str(sealed)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{sealed}: made by Tenku"
    layers = [line.split(":")[0].strip() for line in said[1:]]
    assert layers == ["signature", "invisible mark", "source", "visible mark"]
    assert "intact and trusted" in said[1]


@pytest.mark.parametrize("ending", [".webm", ".webp", ".gif", ".png"])
def test_so_are_the_other_formats(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    seal(Clip(scene(1 if ending == ".png" else 9), 12.0), RECORD, path, model=MODEL)
    report = examine(path)
    assert report.verdict is Verdict.MADE
    assert report.manifest.signature is Signature.TRUSTED
    assert report.mark.found
    assert report.plate.found


def test_on_another_machine_the_mark_speaks_for_an_unknown_signer(sealed, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TENKU_HOME", str(tmp_path / "another"))
    assert main(["verify", str(sealed)]) == 0
    assert "intact, signer unknown here" in capsys.readouterr().out


def test_a_converted_copy_is_known_by_its_mark(sealed, tmp_path, capsys):
    copy = recoded(media.read_clip(sealed).frames, tmp_path / "copy.mp4")
    assert main(["verify", str(copy)]) == 0
    said = capsys.readouterr().out
    assert "signature: none" in said
    assert "without its signature" in said


@pytest.mark.parametrize("damage", ["flip", "append", "cut"])
def test_a_changed_file_was_ours(damage, sealed, tmp_path, capsys):
    data = bytearray(sealed.read_bytes())
    if damage == "flip":
        data[-200] ^= 4
    changed = {"flip": data, "append": data + b"x", "cut": data[:-300]}[damage]
    path = tmp_path / "changed.mp4"
    path.write_bytes(bytes(changed))
    assert main(["verify", str(path)]) == 1
    said = capsys.readouterr().out
    assert "made by Tenku and changed since" in said
    assert "bmffHash.mismatch" in said


def test_pictures_of_others_are_not_ours(tmp_path, capsys):
    assert main(["verify", str(recoded(scene(9, seed=3), tmp_path / "a.mp4"))]) == 1
    assert "no sign of Tenku" in capsys.readouterr().out


def test_a_drawn_plate_proves_nothing(tmp_path, capsys):
    assert main(["verify", str(recoded(visible.draw(scene(9, seed=4), 12), tmp_path / "a.mp4"))]) == 1
    said = capsys.readouterr().out
    assert "without proof" in said
    assert "anybody can draw" in said


def test_a_manifest_moved_to_other_pictures_does_not_fit(sealed, tmp_path, monkeypatch):
    other = tmp_path / "b.webm"
    other.write_bytes(media.encode(Clip(scene(9, seed=5), 12.0), ".webm"))
    mine = seal(Clip(scene(9), 12.0), RECORD, tmp_path / "a.webm", model=MODEL)
    assert mine.sidecar is not None
    manifest.sidecar(other).write_bytes(mine.sidecar.read_bytes())
    assert examine(other).verdict is Verdict.TAMPERED


def test_the_mark_of_one_clip_under_the_signature_of_another(tmp_path):
    """Whoever signs again under the name of another clip is found out by the mark."""
    frames = embedding.embed(scene(9), Payload(0xC0, 0x1111111111111))
    data = media.encode(Clip(frames, 12.0), ".mp4")
    data, _ = manifest.sign(data, "mp4", manifest.describe("2222222222222222", {}, "2c02222222222222"))
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    report = examine(path)
    assert report.verdict is Verdict.CONTRADICTORY
    assert report.evidence[-1] == "the signature and the invisible mark name different clips"


def test_the_mark_of_what_a_clip_was_made_from_is_no_contradiction(sealed, tmp_path):
    """Pictures that were given may keep their own mark, and be read before what is laid over them."""
    middle, made = tmp_path / "middle.mp4", tmp_path / "made.mp4"
    for path, given, seed in ((middle, sealed, 21), (made, middle, 22)):
        seal(Clip(scene(9, seed=seed), 12.0), {"seed": seed}, path, model=MODEL, ingredients=[given])
    report = examine(made)
    ids = [examine(path).manifest.clip_id for path in (sealed, middle)]
    assert set(report.manifest.made_of) == set(ids)
    for clip_id in ids:
        mark = replace(report.mark, payload=Payload.of(clip_id, "c0" * 32))
        assert judge(report.manifest, mark, report.plate).verdict is Verdict.MADE
    other = replace(report.mark, payload=Payload.of("7" * 16, "c0" * 32))
    assert judge(report.manifest, other, report.plate).verdict is Verdict.CONTRADICTORY


# -- without its manifest -------------------------------------------------------------------------------------------


def test_the_store_finds_the_request_of_a_stripped_copy(sealed, tmp_path):
    report = examine(recoded(media.read_clip(sealed).frames[3:14, 4:76, 6:122], tmp_path / "crop.mp4"))
    assert report.verdict is Verdict.MADE
    [source] = report.sources
    assert source.agrees
    assert source.request["request"] == RECORD
    assert "cropped to" in str(report.mark.place)


def test_without_the_store_a_mark_alone_is_not_ours(sealed, tmp_path, monkeypatch, capsys):
    copy = recoded(media.read_clip(sealed).frames, tmp_path / "copy.mp4")
    monkeypatch.setenv("TENKU_HOME", str(tmp_path / "another"))
    assert main(["verify", str(copy)]) == 1
    assert "carries Tenku's mark, which nothing here confirms" in capsys.readouterr().out


def test_a_mark_moved_to_other_pictures_is_refused(sealed, tmp_path):
    """Whoever knows the public key can write another clip's payload; the fingerprint does not agree."""
    payload = examine(sealed).mark.payload
    report = examine(recoded(embedding.embed(scene(9, seed=5), payload), tmp_path / "forged.mp4"))
    assert report.mark.payload == payload
    assert report.verdict is Verdict.CONTRADICTORY
    assert "looks otherwise" in "\n".join(report.evidence)


def test_too_worn_to_be_read_it_is_known_by_its_look_and_its_faint_mark(sealed, tmp_path):
    report = examine(recoded(media.read_clip(sealed).frames, tmp_path / "worn.mp4", crf=36))
    assert invisible.detect(media.read_clip(tmp_path / "worn.mp4").frames, search=False).payload is None
    assert report.sources[0].request["request"] == RECORD
    assert report.verdict in (Verdict.MADE, Verdict.UNPROVEN)


def test_what_is_cut_together_says_which_parts_are_whose(sealed, tmp_path, capsys):
    other = seal(Clip(scene(17, seed=8), 12.0), {"prompt": "a blue ball", "seed": 8}, tmp_path / "b.mp4", model=MODEL)
    mine, blue = media.read_clip(sealed).frames, media.read_clip(other.path).frames
    report = examine(recoded(np.concatenate([mine, blue[:9]]), tmp_path / "two.mp4", crf=20))
    assert report.verdict is Verdict.MADE
    assert [s.request["request"]["seed"] for s in report.sources] == [7, 8]
    assert report.sources[1].start == pytest.approx(17 / 12, abs=0.2)
    mixed = recoded(np.concatenate([scene(17, seed=9), blue]), tmp_path / "half.mp4", crf=20)
    assert main(["verify", str(mixed)]) == 1
    said = capsys.readouterr().out
    assert "parts of it were made by Tenku" in said
    assert 'source 1.4 to 2.8 s: clip' in said
    assert '"a blue ball"' in said


# -- every combination ----------------------------------------------------------------------------------------------

MARK = invisible.Finding(True, 20.0, 1e-50, Payload(1, 0xAAAAAAAAAAAAA), geometry.Place())
NO_MARK = invisible.Finding(False, 1.0, 1.0)
CLIP = "aaaaaaaaaaaaa000"


def weighed(signature: Signature, generator: str, clip: str, mark: bool, plate: bool) -> Verdict:
    found = Manifest(signature, generator=generator, clip_id=clip)
    return judge(found, MARK if mark else NO_MARK, visible.Finding(plate, 0.9 if plate else 0.0)).verdict


@pytest.mark.parametrize(("signature", "generator", "clip", "mark", "plate", "verdict"), [
    (Signature.TRUSTED, "tenku 1", CLIP, True, True, Verdict.MADE),
    (Signature.TRUSTED, "tenku 1", CLIP, False, False, Verdict.MADE),
    (Signature.TRUSTED, "tenku 1", "b" * 16, True, True, Verdict.CONTRADICTORY),
    (Signature.TRUSTED, "other 1", "", False, False, Verdict.UNKNOWN),
    (Signature.TRUSTED, "other 1", "", True, True, Verdict.CHANGED),
    (Signature.UNKNOWN, "tenku 1", CLIP, True, False, Verdict.MADE),
    (Signature.UNKNOWN, "tenku 1", CLIP, False, True, Verdict.UNPROVEN),
    (Signature.UNKNOWN, "tenku 1", "", True, True, Verdict.CONTRADICTORY),
    (Signature.UNKNOWN, "other 1", "", False, False, Verdict.UNKNOWN),
    (Signature.UNKNOWN, "tenkuish 1", CLIP, False, False, Verdict.UNKNOWN),
    (Signature.TAMPERED, "tenku 1", CLIP, True, True, Verdict.CHANGED),
    (Signature.TAMPERED, "tenku 1", CLIP, False, True, Verdict.TAMPERED),
    (Signature.MISSING, "", "", True, False, Verdict.MARKED),
    (Signature.MISSING, "", "", False, True, Verdict.UNPROVEN),
    (Signature.MISSING, "", "", False, False, Verdict.UNKNOWN),
])
def test_how_the_layers_weigh(signature, generator, clip, mark, plate, verdict):
    assert weighed(signature, generator, clip, mark, plate) is verdict


def test_made_by_tenku_needs_a_strong_layer_and_no_contradiction():
    for signature, generator, mark, plate in itertools.product(
            Signature, ("tenku 1", "other 1"), (True, False), (True, False)):
        verdict = weighed(signature, generator, CLIP, mark, plate)
        strong = mark or (signature is Signature.TRUSTED and generator == "tenku 1")
        assert verdict is not Verdict.MADE or strong
        assert verdict is not Verdict.MADE or signature is not Signature.TAMPERED
        assert verdict.exit_code == (verdict is not Verdict.MADE)


def test_every_verdict_and_layer_has_its_words():
    for signature, mark, plate in itertools.product(Signature, (MARK, NO_MARK), (True, False)):
        report = judge(Manifest(signature), mark, visible.Finding(plate, 0.0))
        assert 3 <= len(report.evidence) <= 4
        json.dumps(report.to_json(), allow_nan=False)


# -- JSON and exit codes ----------------------------------------------------------------------------------------------


def test_json_has_the_documented_fields(sealed, tmp_path, capsys):
    missing = tmp_path / "none.mp4"
    assert main(["verify", "--json", str(sealed), str(missing)]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == 2
    good, bad = answer["files"]
    assert set(good) == {"file", "verdict", "says", "signature", "invisible", "visible", "looks", "sources", "evidence"}
    assert set(good["signature"]) == {"state", "signer", "generator", "problems", "clip", "request", "ingredients",
                                      "time_stamp"}
    assert set(good["invisible"]) == {"found", "score", "chance", "payload", "clip", "weights", "place", "own_key"}
    assert set(good["visible"]) == {"found", "score"}
    assert [set(source) for source in good["sources"]] == [
        {"clip", "start", "end", "known", "likeness", "by_mark", "request"}]
    assert good["sources"][0]["request"]["request"] == RECORD
    assert good["verdict"] == "made"
    assert good["signature"]["request"]["request"] == RECORD
    assert good["signature"]["clip"].startswith(good["invisible"]["clip"])
    assert set(bad) == {"file", "error", "hint"}


def test_the_docs_name_every_field_verdict_and_exit_code(repo):
    text = (repo / "docs" / "provenance.md").read_text()
    report = judge(Manifest(Signature.MISSING), NO_MARK, visible.Finding(False, 0.0)).to_json()
    fields = [f"`{key}`" for key, value in report.items() if not isinstance(value, dict)]
    fields += [f"`{key}.{inner}`" for key, value in report.items() if isinstance(value, dict) for inner in value]
    words = [f"`{v.name.lower()}`" for v in Verdict] + [f"`{s.value}`" for s in Signature]
    assert not [name for name in fields + words if name not in text]


def test_the_highest_exit_code_wins_and_all_files_are_examined(sealed, tmp_path, capsys):
    foreign = recoded(scene(3, seed=4), tmp_path / "f.mp4")
    text = tmp_path / "t.mp4"
    text.write_text("words")
    assert main(["verify", str(sealed), str(foreign)]) == 1
    assert main(["verify", str(text), str(sealed), str(foreign)]) == 2
    out, err = capsys.readouterr()
    assert out.count("made by Tenku") == 2
    assert err.startswith("error: t.mp4 is no video")
    assert main(["verify"]) == 2


def test_a_folder_and_standard_input(sealed, tmp_path, capsys, monkeypatch):
    (tmp_path / "in" / ".hidden").mkdir(parents=True)
    for name in ("b.mp4", "in/a.MP4", ".hidden.mp4", "in/.hidden/c.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(sealed.read_bytes())
    (tmp_path / "link.mp4").symlink_to(sealed)
    assert main(["verify", "--json", str(tmp_path)]) == 0
    names = [record["file"] for record in json.loads(capsys.readouterr().out)["files"]]
    assert names == [str(tmp_path / "b.mp4"), str(tmp_path / "in/a.MP4")]
    assert main(["verify", str(tmp_path / "in" / ".hidden" / "..")]) == 0
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    assert main(["verify", str(tmp_path / "empty")]) == 2
    assert "holds no video or image" in capsys.readouterr().err
    with sealed.open("rb") as file:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": file}))
        assert main(["verify", "-"]) == 0
    assert capsys.readouterr().out.startswith("standard input: made by Tenku")


def test_hostile_files_get_one_line_and_a_hint(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, data in {"concat.mp4": b"ffconcat version 1.0\nfile x.mp4\n", "empty.gif": b"",
                       "noise.mp4": b"\0\0\0\x20ftypisom" + b"\xff" * 99, "bad.png": b"\x89PNG\r\n\x1a\n1234"}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "esc\x1b[31m.mp4").write_bytes(b"")
    for path in tmp_path.iterdir():
        assert main(["verify", str(path)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 2
        assert "\x1b" not in err


def test_a_long_video_is_sampled_not_swallowed(tmp_path):
    path = tmp_path / "long.mp4"
    path.write_bytes(media.encode(Clip(np.zeros((400, 16, 16, 3), np.uint8), 24.0), ".mp4"))
    clip = untrusted.read(path, verify._SAMPLE)
    assert len(clip.frames) < 2 * verify._SAMPLE
    assert clip.seconds == pytest.approx(400 / 24, rel=0.05)
    assert examine(path).verdict is Verdict.UNKNOWN


def test_reading_leaves_no_trace(sealed, tmp_path, monkeypatch):
    before = sealed.read_bytes()
    monkeypatch.setenv("TENKU_HOME", str(tmp_path / "home"))
    examine(sealed)
    assert sealed.read_bytes() == before
    assert not (tmp_path / "home").exists()
    assert os.listdir(sealed.parent) == ["a.mp4"]
    assert io.BytesIO(before).read(8)[4:] == b"ftyp"
