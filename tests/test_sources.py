"""What videos are made from, over HTTP: every way to give it, every refusal, and what becomes of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from tenku import media
from tenku.provenance import manifest, visible
from tenku.provenance.seal import Model, seal
from tenku.serving import app, jobs, sources
from tenku.serving.db import Database
from tenku.serving.db import jobs as table
from tenku.serving.films import Filming
from tenku.serving.server import sweep
from tenku.serving.service import Service
from tenku.serving.store import Store
from tenku.serving.worker import Worker, _Rounds
from tenku.types import Clip

HOSTS = frozenset({"127.0.0.1"})
SMALL = {"size": "64x48", "seconds": "0.5", "steps": 1, "seed": 3}


class Server:
    """The application and a worker with the tiny model, in this process."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.service = Service(Database(f"sqlite:///{folder / 'tenku.db'}"), Store(str(folder / "files")), ("tiny",),
                               False)
        self.client = TestClient(app.build(self.service, HOSTS), base_url="http://127.0.0.1")
        self.worker = Worker(self.service.db, self.service.store, {"tiny": str(model)}, name="w")

    def post(self, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """A call that is accepted."""
        answer = self.client.post(f"/v1{path}", json=body, **more)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def made(self, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """A video, made."""
        name = self.post(path, body, **more)["id"]
        while job := jobs.claim(self.service.db, "w", ["tiny"]):
            self.worker._do(job)
        video = dict(self.client.get(f"/v1/videos/{name}").json())
        assert video["status"] == "completed", video["error"]
        return video

    def file(self, video: dict[str, Any]) -> Path:
        """A video's file."""
        path = self.folder / f"{video['id']}.mp4"
        path.write_bytes(self.client.get(f"/v1/videos/{video['id']}/content").content)
        return path

    def counted(self, name: str) -> bool:
        """Whether a video's row counts all bytes of its files, as a key's limit of storage does."""
        lies = sum(path.stat().st_size for path in (self.folder / "files" / name).rglob("*") if path.is_file())
        return lies > 0 and jobs.get(self.service.db, "local", name)["bytes"] == lies

    def refused(self, path: str, body: Any = None, **more: Any) -> tuple[int, str, str]:
        """Status, code and param of a refusal."""
        answer = self.client.post(f"/v1{path}", json=body, **more)
        assert answer.status_code >= 400, answer.text
        error = answer.json()["error"]
        assert str(self.folder) not in answer.text
        return answer.status_code, error["code"], error["param"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("sources"), tiny_model)
    yield made
    made.service.db.close()


@pytest.fixture(scope="module")
def ball(server: Server) -> dict[str, Any]:
    return server.made("/videos", {"prompt": "a red ball", **SMALL})


@pytest.fixture(scope="module")
def picture() -> bytes:
    frames = np.random.Generator(np.random.PCG64(0)).integers(0, 255, (1, 96, 128, 3), np.uint8)
    return media.encode(Clip(frames, 1.0), ".png")


@pytest.fixture(scope="module")
def clip() -> bytes:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)[None, None, :, None]
    return media.encode(Clip(np.broadcast_to(ramp, (12, 48, 64, 3)).copy(), 24.0), ".mp4")


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def test_a_picture_is_given_in_every_way(server, ball, picture):
    kept = server.post("/files", data={"purpose": "vision"}, files={"file": ("a.png", picture)})["id"]
    name = hashlib.sha256(picture).hexdigest()
    for value in (data_url(picture), {"image_url": data_url(picture)}, kept, {"file_id": kept}):
        for fields in ({"input_reference": value}, {"inputs": [value]}, {"inputs": [{"source": value, "at": 0}]}):
            video = server.post("/videos", {"prompt": "x", **SMALL, **fields})
            assert [one["sha256"] for one in video["tenku"]["inputs"]] == [name]
            assert server.client.get(f"/v1/videos/{video['id']}/inputs/{name}").content == picture
            server.client.delete(f"/v1/videos/{video['id']}")
            assert server.client.get(f"/v1/videos/{video['id']}/inputs/{name}").status_code == 404
    form = {"prompt": "x", "size": "64x48", "inputs[][at]": "0.25"}
    video = server.post("/videos", data=form, files={"inputs[][source]": ("a.png", picture)})
    assert video["tenku"]["inputs"] == [{"role": "input", "sha256": name, "at": 0.25, "strength": 1.0,
                                         "type": "image/png", "video": None}]
    video = server.made("/videos", data={"prompt": "x", **SMALL}, files={"input_reference": ("a.png", picture)})
    assert manifest.read(server.file(video)).ingredients == ("ingredient 1 (componentOf), without a manifest",)


MODES: dict[str, tuple[str, dict[str, Any], int]] = {  # path, fields, frames; the ball has 9
    "keyframe": ("/videos", {"prompt": "x", "inputs": [{"source": "BALL", "at": 0.25, "strength": 0.5}]}, 9),
    "extend": ("/videos/extensions", {"seconds": "0.5", "video": "BALL"}, 17),
    "backwards": ("/videos/extensions", {"seconds": "0.5", "way": "backwards", "video": {"id": "BALL"}}, 17),
    "transition": ("/videos", {"prompt": "x", "mode": "blend", "inputs": ["BALL", "BALL"]}, 33),
    "morph": ("/videos", {"prompt": "x", "mode": "blend", "way": "morph", "inputs": ["BALL", "BALL"]}, 9),
    "loop": ("/videos", {"prompt": "x", "mode": "loop"}, 8),
    "loop back": ("/videos", {"mode": "loop", "inputs": ["BALL"]}, 17),
    "edit": ("/videos/edits", {"prompt": "x", "video": {"id": "BALL"}}, 9),
    "mask": ("/videos/edits", {"prompt": "x", "video": "BALL", "way": "inside", "mask": "PICTURE"}, 9),
    "around": ("/videos/edits", {"video": "BALL", "way": "around", "size": "96x48"}, 9),
    "keep": ("/videos/edits", {"video": "BALL", "keep": [[0, 0.2]]}, 9),
    "paths": ("/videos", {"prompt": "x", "camera": [[0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 5, 0]], "motion": 0.5,
                          "tracks": [[[0, 0.2, 0.5], [1, 0.8, 0.5]]], "captions": [[0.2, "a blue ball"]]}, 9),
}


@pytest.mark.parametrize("case", MODES)
def test_a_mode_is_made_and_its_answer_was_true_from_the_first(server, ball, picture, case):
    path, fields, frames = MODES[case]
    text = json.dumps(fields).replace("BALL", ball["id"]).replace("PICTURE", data_url(picture))
    size = {} if "video" in fields or "size" in fields else {"size": "64x48"}
    body = {"steps": 1, "seconds": "0.5", **size, **json.loads(text)}
    body = body if case != "transition" else {**body, "seconds": "0.9"}
    said = server.post(path, body, headers={"Idempotency-Key": case})
    video = server.made(path, body, headers={"Idempotency-Key": case})
    assert said["id"] == video["id"]
    for name in ("size", "seconds", "prompt"):
        assert said[name] == video[name]
    assert said["tenku"]["frames"] == video["tenku"]["facts"]["frames"] == frames
    assert video["size"] == ("96x48" if case == "around" else "64x48")
    kept = [one["video"] for one in video["tenku"]["inputs"]]
    assert video["tenku"]["made_from"] == ([ball["id"]] if ball["id"] in kept else [])
    if kept:
        assert manifest.read(server.file(video)).ingredients[0].endswith("its manifest intact")
        listed = server.client.get(f"/v1/videos?parent={ball['id']}").json()["data"]
        assert video["id"] in [one["id"] for one in listed]


def test_a_remix_has_the_same_inputs_even_when_their_video_is_gone(server, picture):
    first = server.made("/videos", {"prompt": "x", **SMALL})
    longer = server.made("/videos/extensions", {"seconds": "0.5", "video": first["id"], "steps": 1})
    server.client.delete(f"/v1/videos/{first['id']}")
    other = server.made(f"/videos/{longer['id']}/remix", {"prompt": "y"})
    assert [one["sha256"] for one in other["tenku"]["inputs"]] == [one["sha256"] for one in longer["tenku"]["inputs"]]
    assert (other["remixed_from_video_id"], other["seconds"]) == (longer["id"], longer["seconds"])


def test_a_clip_of_a_stranger_is_used_and_its_size_and_length_are_its_own(server, clip):
    video = server.made("/videos/extensions", data={"prompt": "x", "seconds": "0.5", "steps": "1"},
                        files={"video": ("a.mp4", clip)})
    assert (video["size"], video["tenku"]["facts"]["frames"]) == ("64x48", 17)  # 8 at 16 per second, and 8


REFUSED: dict[str, tuple[str, dict[str, Any], tuple[int, str, str]]] = {
    "address": ("/videos", {"input_reference": {"image_url": "http://127.0.0.1/a.png"}},
                (400, "unsupported_url", "input_reference")),
    "file": ("/videos", {"input_reference": "file:///etc/passwd"}, (400, "unsupported_url", "input_reference")),
    "path": ("/videos", {"inputs": ["/etc/passwd"]}, (400, "invalid_value", "inputs")),
    "hash": ("/videos", {"inputs": [{"source": "sha256:" + "0" * 64}]}, (400, "invalid_value", "inputs")),
    "path in a mask": ("/videos", {"mode": "edit", "way": "inside", "mask": "../x"}, (400, "invalid_value", "mask")),
    "broken data": ("/videos", {"inputs": ["data:image/png;base64,###"]}, (400, "invalid_value", "inputs")),
    "no picture": ("/videos", {"inputs": [data_url(b"#EXTM3U\n/etc/passwd")]}, (400, "unsupported_file", "inputs")),
    "broken picture": ("/videos", {"inputs": [data_url(b"\x89PNG\r\n\x1a\n" + bytes(60))]},
                       (400, "unreadable_file", "inputs")),
    "nobody's": ("/videos", {"inputs": ["video_" + "0" * 24]}, (404, "not_found", "inputs")),
    "no file": ("/videos", {"inputs": ["file-" + "0" * 24]}, (404, "not_found", "inputs")),
    "no video": ("/videos/edits", {}, (400, "invalid_value", "video")),
    "another mode": ("/videos/edits", {"video": "BALL", "mode": "loop"}, (400, "invalid_value", "mode")),
    "too many": ("/videos", {"inputs": ["BALL"] * 17}, (400, "invalid_value", "inputs")),
    "too late": ("/videos", {"inputs": [{"source": "BALL", "at": 3}]}, (400, "invalid_value", "inputs")),
    "no inputs": ("/videos", {"mode": "blend"}, (400, "invalid_value", "inputs")),
    "a mask alone": ("/videos", {"mask": "BALL"}, (400, "invalid_value", "mask")),
    "a camera's file": ("/videos", {"camera": "/etc/poses.json"}, (400, "invalid_value", "camera")),
    "a character's": ("/videos", {"characters": [{"id": "char_1"}]}, (404, "not_found", "characters")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_the_field(server, ball, case):
    path, fields, said = REFUSED[case]
    body = json.loads(json.dumps({"prompt": "x", **fields}).replace("BALL", ball["id"]))
    assert server.refused(path, body) == said


def test_large_and_long_files_and_unfinished_videos_are_refused(server, clip, monkeypatch):
    monkeypatch.setattr(sources, "MAX_SECONDS", 0.2)
    files = {"video": ("a.mp4", clip)}
    assert server.refused("/videos/edits", data={"prompt": "x"}, files=files) == (400, "file_too_large", "inputs")
    monkeypatch.setattr(sources, "MAX_BYTES", 100)
    assert server.refused("/videos/edits", data={"prompt": "x"}, files=files) == (400, "file_too_large", "video")
    waiting = server.post("/videos", {"prompt": "x"})["id"]
    assert server.refused("/videos/edits", {"prompt": "x", "video": waiting}) == (400, "video_not_ready", "video")
    server.client.delete(f"/v1/videos/{waiting}")


def test_a_character_is_a_name_for_words(server, ball, clip, tmp_path):
    said = server.post("/videos/characters", {"name": "Mossy", "description": "a large red ball"})
    video = server.post("/videos", {"prompt": "mossy bounces", "characters": [{"id": said["id"]}]})
    assert video["prompt"] == "a large red ball bounces"
    assert server.client.get(f"/v1/videos/characters/{said['id']}").json() == said
    assert server.refused("/videos", {"prompt": "x", "characters": [said["id"]]}) == (400, "invalid_value", "prompt")
    assert server.post("/videos/characters", {"name": "B", "video": {"id": ball["id"]}})["description"] == "a red ball"
    with server.file(ball).open("rb") as file:
        upload = server.post("/videos/characters", data={"name": "C"}, files={"video": file})
    assert upload["description"] == "a red ball"
    stranger = server.refused("/videos/characters", data={"name": "D"}, files={"video": ("a.mp4", clip)})
    assert stranger == (400, "unsupported_mode", "video")
    for wrong in ({"name": ""}, {"name": "x", "description": ""}, {"name": "x" * 81, "description": "y"}):
        assert server.refused("/videos/characters", wrong)[0] == 400


def test_the_policy_is_asked_wherever_words_come_in(server, ball, monkeypatch, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rules]]\nname = "brand"\nany = ["acme"]\n[references]\nimages = "none"\n')
    said = (400, "policy_violation", "prompt")
    monkeypatch.setenv("TENKU_POLICY", str(policy))
    assert server.refused("/videos", {"prompt": "an a c m e phone"}) == said
    assert server.refused(f"/videos/{ball['id']}/remix", {"prompt": "acme"}) == said
    later = server.refused("/videos", {"prompt": "x", "captions": [[0.1, "acme"]]})
    assert later[1:] == ("policy_violation", "captions")
    assert server.refused("/videos/edits", {"video": ball["id"]})[1:] == ("policy_violation", "inputs")
    assert server.refused("/videos/characters", {"name": "A", "description": "acme"})[1:] == (
        "policy_violation", "description")
    policy.write_text("nonsense")
    assert server.refused("/videos", {"prompt": "x"})[:2] == (503, "policy_unavailable")


def claimed(server: Server, name: str) -> jobs.Job:
    """The job of that name, handed to a worker; what other tests left waiting before it is done first."""
    while job := jobs.claim(server.service.db, "w", ["tiny"]):
        if job["id"] == name:
            return job
        server.worker._do(job)
    raise AssertionError(f"{name} does not wait")


STORY: dict[str, Any] = {
    "title": "Balls 😀", "size": "64x48", "steps": 1, "cast": {"hero": "a red ball"},
    "shots": [{"prompt": "{hero} on a beach", "seconds": 0.5, "keyframes": ["BALL@0.25:0.5"]},
              {"prompt": "{hero} in the snow", "seconds": 0.5, "transition": "dream 0.5", "text": "Later"}]}


def test_a_film_is_a_video_whose_shots_outlive_its_worker_and_are_kept_when_it_changes(server, ball, monkeypatch):
    board = json.loads(json.dumps(STORY).replace("BALL", ball["id"]))
    name = server.post("/films", {"storyboard": board})["id"]
    job = claimed(server, name)

    def die(self: Filming, name: str, step: Any) -> None:
        if name == "shot 2":
            raise KeyboardInterrupt  # as kill -9 would, nothing of ours catches it
        step_of(self, name, step)

    step_of = Filming._step
    monkeypatch.setattr(Filming, "_step", die)
    with pytest.raises(KeyboardInterrupt):
        server.worker._do(job)
    monkeypatch.setattr(Filming, "_step", step_of)
    jobs.abandon(server.service.db, "w")
    sweep(server.service.db, server.service.store)
    assert server.counted(name)  # a shot
    while job := jobs.claim(server.service.db, "w", ["tiny"]):
        server.worker._do(job)
    film = server.client.get(f"/v1/videos/{name}").json()
    assert (film["status"], film["prompt"], film["size"]) == ("completed", "Balls 😀", "64x48")
    assert film["tenku"]["film"]["kept"] == 1
    sweep(server.service.db, server.service.store)
    assert server.counted(name)  # the film with its shots
    assert film["tenku"]["made_from"] == [ball["id"]]
    assert len(manifest.read(server.file(film)).ingredients) == 3
    for variant in ("thumbnail", "spritesheet"):
        assert server.client.get(f"/v1/videos/{name}/content?variant={variant}").status_code == 200
    alone = server.made("/films", {"storyboard": board})
    assert alone["tenku"]["facts"]["pictures_sha256"] == film["tenku"]["facts"]["pictures_sha256"]
    board["shots"][1]["text"] = "Much later"
    changed = server.made("/films", {"storyboard": json.dumps(board), "parent": name})
    assert (changed["tenku"]["film"]["made"], changed["tenku"]["film"]["kept"]) == (0, 3)
    assert changed["tenku"]["facts"]["pictures_sha256"] != film["tenku"]["facts"]["pictures_sha256"]


@pytest.mark.parametrize(("board", "says"), [
    ({"shots": []}, "no shots"), ("- a", "no mapping"), ("shots: &a [*a]", "aliases"), (7, "must be"),
    ({"shots": [{"prompt": "x"}], "sound": "x.wav"}, "sound"),
    ({**STORY, "shots": [{"prompt": "x", "camera": "/etc/a.json"}]}, "camera"),
    ({"shots": [{"prompt": "x", "keyframes": ["/etc/passwd"]}]}, "storyboard cannot be so"),
    ({"shots": [{"prompt": "x", "model": "/etc"}]}, "no such field"),
    ({"model": "/etc", "shots": [{"prompt": "x"}]}, "All shots"), ("x" * 300_000, "at most")])
def test_storyboards_that_cannot_be_are_refused(server, board, says):
    answer = server.client.post("/v1/films", json={"storyboard": board})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "storyboard"
    assert says in answer.json()["error"]["message"]


def test_a_long_clip_goes_on_from_its_last_round_and_grows_while_it_is_watched(server, monkeypatch):
    body = {"prompt": "a red ball", **SMALL, "seconds": "4"}
    alone = server.made("/videos", body)
    name = server.post("/videos", body)["id"]
    job = claimed(server, name)
    jobs.watch(server.service.db, name)
    save = _Rounds._save

    def die(self: _Rounds, saved: Any) -> None:
        save(self, saved)
        raise KeyboardInterrupt

    monkeypatch.setattr(_Rounds, "_save", die)
    with pytest.raises(KeyboardInterrupt):
        server.worker._do(job)
    monkeypatch.setattr(_Rounds, "_save", save)
    jobs.abandon(server.service.db, "w")
    sweep(server.service.db, server.service.store)
    assert server.counted(name)  # a round, and a piece of the stream
    seen: list[int] = []
    step = jobs.step
    monkeypatch.setattr(jobs, "step", lambda db, job, done, *more: seen.append(done) or step(db, job, done, *more))
    server.worker._do(jobs.claim(server.service.db, "w", ["tiny"]))
    again = server.client.get(f"/v1/videos/{name}").json()
    assert seen == [2]  # of two rounds of one step
    assert again["tenku"]["facts"]["pictures_sha256"] == alone["tenku"]["facts"]["pictures_sha256"]
    with server.service.db.write() as connection:  # the pieces go a minute later
        connection.execute(update(table).where(table.c.id == alone["id"]).values(completed_at=0))
    sweep(server.service.db, server.service.store)
    assert server.counted(alone["id"])
    row = jobs.get(server.service.db, "local", name)
    assert [part["frames"] for part in row["parts"]] == [33, 32]
    grown = b"".join(server.service.store.load(part["key"]) for part in row["parts"])
    path = server.folder / "grown.mp4"
    path.write_bytes(grown)
    pictures, whole = media.read_clip(path).frames, media.read_clip(server.file(again)).frames
    assert pictures.shape == whole.shape
    assert np.abs(pictures[:33].astype(int) - whole[:33]).mean() < 8  # the same, but for marks of their own
    assert visible.detect(pictures[:33], 16.0).found
    ink = visible.stamp(64)[1]  # and the visible one does not begin anew with a piece: it is where the whole has it
    for t in (33, 48, 64):
        x, y = visible.place(t / 16, (64, 48), ink.shape[::-1])
        spot = np.s_[t, y : y + ink.shape[0], x : x + ink.shape[1]]
        there = np.corrcoef(pictures[spot].astype(float).ravel(), whole[spot].astype(float).ravel())[0, 1]
        assert there > 0.9, (t, there)


def test_files_of_nobody_are_swept_but_not_those_of_a_job_to_be(server, picture):
    store, db = server.service.store, server.service.db
    store.save(picture, "video_" + "1" * 24 + "/inputs/x.png")
    unborn = sweep(db, store)
    assert store.exists("video_" + "1" * 24 + "/inputs/x.png")
    sweep(db, store, unborn)
    assert not store.exists("video_" + "1" * 24 + "/inputs/x.png")


def test_a_source_whose_manifest_is_broken_is_named_by_its_hash_only(server, tmp_path):
    path = tmp_path / "a.mp4"
    frames = np.full((9, 48, 64, 3), 90, np.uint8)
    seal(Clip(frames, 16.0), {"request": {}}, path, model=Model("x", "0" * 64, ()))
    data = bytearray(path.read_bytes())
    at = data.index(b"c2pa", 200)
    data[at + 40 : at + 400] = bytes(360)
    video = server.made("/videos/edits", data={"prompt": "x", "steps": "1"}, files={"video": ("a.mp4", bytes(data))})
    assert manifest.read(server.file(video)).signature is not manifest.Signature.TAMPERED
