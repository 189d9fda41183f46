"""Open models by name: what they are asked for by themselves, how they are run, fetched, commanded and served."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_models
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from tenku import media
from tenku.catalogue import LISTED, listed
from tenku.cli import main
from tenku.engines import loading
from tenku.engines.settings import Settings
from tenku.errors import UserError
from tenku.provenance.manifest import read
from tenku.request import Request, size_like
from tenku.sampling.generate import generate
from tenku.serving import app, jobs
from tenku.serving.db import Database
from tenku.serving.service import Service
from tenku.serving.store import Store
from tenku.serving.worker import Worker
from tenku.types import Size

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
# One of each kind: told by words alone, by levels of its own, by a first frame.
ENGINES = pytest.mark.parametrize("name", ["wan21", "wan22", "wan22_i2v", "wan22_5b", "ltx", "ltx2", "cogvideox15",
                                           "hunyuan15"])
SMALL = ["--size", "64x32", "--seconds", "0.5", "--fps", "16", "--steps", "2", "--guidance", "1"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Folders of tiny models with cards that state a licence, written when they are asked for."""

    class Written(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            self[name] = open_models.write(name, tmp_path_factory.mktemp("open") / f"little-{name}")
            (self[name] / "README.md").write_text("---\nlicense: apache-2.0\n---\nA toy.\n")
            return self[name]

    return Written()


@pytest.fixture(scope="module")
def folder(written: Mapping[str, Path]) -> Path:
    """Wan 2.1, tiny."""
    return written["wan21"]


def test_what_is_left_open_is_as_the_model_means_it(folder):
    asked = Request.parse({"prompt": "x", "model": "wan2.2-5b", "steps": 7})
    assert (str(asked.size), asked.seconds, asked.fps, asked.steps, asked.guidance) == ("1280x704", 5, 24, 7, 5)
    assert str(Request.parse({"prompt": "x", "model": str(folder)}).size) == "832x480"
    assert str(Request.parse({"prompt": "x"}).size) == "128x80"
    assert Request.from_json(asked.to_json()) == asked
    assert size_like(1000, 1000, "wan2.1-1.3b") == Size(624, 624)
    for name in LISTED:
        assert Request.parse({"prompt": "x", "model": name}).frames % 8 == 1


def test_every_listed_model_has_a_family_and_a_licence():
    assert {listed(name) for name in LISTED} == set(LISTED.values())
    for known in LISTED.values():
        licence, url, says = known.licence
        assert licence
        assert says
        assert url.startswith("https://")
        assert len(known.repository.split("/")) == 2


def test_how_it_is_run_is_said_by_the_machine(monkeypatch, folder):
    monkeypatch.setenv("TENKU_ENGINE", "device=cpu dtype=bfloat16,cache=first_block")
    assert Settings.find().told() == {"dtype": "bfloat16", "cache": "first_block"}
    assert Settings.find().precision() == torch.bfloat16
    for wrong in ("speed=high", "dtype=int3", "tiling", "offload=moon"):
        monkeypatch.setenv("TENKU_ENGINE", wrong)
        with pytest.raises(UserError, match="cannot"):
            Settings.find()
    monkeypatch.setenv("TENKU_ENGINE", "device=cuda:77")
    with pytest.raises(UserError, match="device cannot be 'cuda:77'"):
        loading._load.__wrapped__(str(folder), ())
    monkeypatch.setenv("TENKU_ENGINE", "device=cpu offload=model")
    with pytest.raises(UserError, match="without an accelerator"):
        loading._load.__wrapped__(str(folder), ())
    monkeypatch.setenv("TENKU_ENGINE", "device=cpu attention=telepathy")
    with pytest.raises(UserError, match="attention cannot be 'telepathy'"):
        loading._load.__wrapped__(str(folder), ())


@pytest.mark.parametrize("said", ["dtype=bfloat16", "cache=first_block", "cache=taylor", "attention=_native_math",
                                  "tiling=on"])
def test_options_run_and_are_recorded(monkeypatch, folder, said):
    monkeypatch.setenv("TENKU_ENGINE", said)
    loading._load.cache_clear()
    try:
        [result] = generate("a red ball", model=str(folder), size="64x48", seconds=0.5, fps=16, steps=6, guidance=3)
    finally:
        loading._load.cache_clear()
    name, _, value = said.partition("=")
    assert result.record["model"]["options"][name] == value
    assert result.clip.frames.std() > 1


@ENGINES
def test_commands_make_extend_blend_and_loop_with_an_open_model(name, written, tmp_path, capsys):
    folder = written[name]
    out = {name: str(tmp_path / f"{name}.mp4") for name in ("made", "longer", "blended", "circle", "moved")}
    how = ["--model", str(folder), *SMALL]
    assert main(["generate", "a red ball on the beach", *how, "-o", out["made"]]) == 0
    assert main(["extend", out["made"], *how, "-o", out["longer"]]) == 0
    assert main(["blend", out["made"], out["longer"], *how, "-o", out["blended"]]) == 0
    assert main(["generate", "a blue ball", "--loop", *how, "-o", out["circle"]]) == 0
    assert main(["generate", "a blue ball", "--image", out["made"], *how, "-o", out["moved"]]) == 0
    assert [len(media.read_clip(Path(path)).frames) for path in out.values()] == [9, 17, 41, 8, 9]
    capsys.readouterr()
    assert main(["verify", out["blended"]]) == 0
    record = read(Path(out["blended"])).request["request"]
    assert record["model"]["licence"] == "apache-2.0"
    assert record["model"]["name"] == folder.name
    assert record["model"]["weights_sha256"] == loading.weights(folder)


@ENGINES
def test_the_api_makes_extends_blends_and_loops_with_an_open_model(name, written, tmp_path):
    db, store = Database(f"sqlite:///{tmp_path / 'tenku.db'}"), Store(str(tmp_path / "files"))
    models = {name: str(written[name])}
    service = Service(db, store, (name,), False, models=models)
    client = TestClient(app.build(service, frozenset({"127.0.0.1"})), base_url="http://127.0.0.1")
    worker = Worker(db, store, models, name="w")

    def made(path: str, **fields: Any) -> dict[str, Any]:
        answer = client.post(f"/v1{path}", json={"seconds": "0.5", "fps": 16, "steps": 2, "guidance": 1, **fields})
        assert answer.status_code == 200, answer.text
        job = jobs.claim(db, "w", [name])
        assert job is not None
        worker._do(job)
        found = dict(client.get(f"/v1/videos/{answer.json()['id']}").json())
        assert found["status"] == "completed", found["error"]
        return found

    drawn = io.BytesIO()
    Image.fromarray(np.full((32, 64, 3), (200, 40, 40), np.uint8)).save(drawn, "PNG")
    picture = f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"
    first = made("/videos", prompt="a red ball", size="64x32")
    longer = made("/videos/extensions", prompt="a red ball", video={"id": first["id"]}, size="64x32")
    made("/videos", prompt="a red ball", size="64x32", input_reference={"image_url": picture})
    made("/videos", prompt="a red ball", mode="blend", inputs=[first["id"], longer["id"]], size="64x32")
    made("/videos", prompt="a red ball", mode="loop", size="64x32")
    db.close()


def test_the_api_serves_an_open_model_at_its_own_size(folder, tmp_path):
    db, store = Database(f"sqlite:///{tmp_path / 'tenku.db'}"), Store(str(tmp_path / "files"))
    service = Service(db, store, ("wan",), False, models={"wan": str(folder)})
    client = TestClient(app.build(service, frozenset({"127.0.0.1"})), base_url="http://127.0.0.1")
    wide = client.post("/v1/videos", json={"prompt": "a red ball", "size": "1280x720"}).json()
    assert jobs.get(db, "local", wide["id"])["request"]["size"] == "1280x720"  # not what our own model would make of it
    assert jobs.get(db, "local", wide["id"])["request"]["steps"] == 50
    db.close()


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as fetching a snapshot takes."""

    folder: Path
    asked: list[str]
    commit = "c" * 40

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, whole: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        files = [p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()]
        if path.startswith("/api/models/"):
            said: Any = {"id": "toys/wan", "sha": self.commit, "siblings": [{"rfilename": name} for name in files]}
            if "/tree/" in path:
                said = [{"type": "file", "path": name, "oid": "0" * 40, "size": (self.folder / name).stat().st_size}
                        for name in files]
            body, etag = json.dumps(said).encode(), ""
        else:
            name = path.partition(f"/resolve/{self.commit}/")[2] or path.partition("/resolve/main/")[2]
            body = (self.folder / name).read_bytes()
            etag = hashlib.sha256(body).hexdigest()
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if not etag else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.end_headers()
        if whole:
            self.wfile.write(body)


@pytest.fixture
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub that has the tiny model: its address, and what it was asked for."""
    handler = type("TinyHub", (Hub,), {"folder": folder, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()


FETCH = """
import sys
from tenku.engines import loading
from tenku.catalogue import LISTED, Listed
known = Listed("toys/wan", ("Toy License", "https://example.org/toy", "not to be swallowed"))
folder = loading.fetched("wan-toy", known)
print(loading.weights(folder))
"""


def test_a_listed_model_is_fetched_once_after_its_licence_was_shown(hub, folder, tmp_path):
    address, asked = hub
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}

    def fetch(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", FETCH], capture_output=True, text=True, timeout=300, check=False,
                              env={**environment, **more})

    first = fetch()
    assert first.returncode == 0, first.stderr
    assert "under the Toy License" in first.stderr
    assert "not to be swallowed" in first.stderr
    assert first.stdout.strip() == loading.weights(folder)
    count = len(asked)
    assert count > 5
    again = fetch()
    assert again.stdout == first.stdout
    assert "License" not in again.stderr
    assert len(asked) == count  # nobody was asked again
