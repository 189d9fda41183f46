"""Batches without a worker: what is accepted, when it is over, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

from starlette.testclient import TestClient

from tenku.serving import app, jobs
from tenku.serving.batches import settle_batches
from tenku.serving.db import Database
from tenku.serving.service import Service
from tenku.serving.store import Store


def test_results_are_written_once_when_all_are_over(tmp_path: Path):
    db, store = Database(f"sqlite:///{tmp_path / 'tenku.db'}"), Store(str(tmp_path / "files"))
    client = TestClient(app.build(Service(db, store, ("tenku-nano",), needs_key=False), frozenset({"127.0.0.1"})),
                        base_url="http://127.0.0.1")
    rows = [{"custom_id": name, "method": "POST", "url": "/v1/videos", "body": {"prompt": prompt}}
            for name, prompt in (("a", "one"), ("b", ""), ("c", "two"))]
    text = "\n".join(map(json.dumps, rows)).encode()
    source = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("w.jsonl", text)}).json()["id"]
    asked = {"input_file_id": source, "endpoint": "/v1/videos", "completion_window": "24h"}
    batch = client.post("/v1/batches", json=asked).json()
    assert batch["request_counts"] == {"total": 3, "completed": 0, "failed": 1}
    plain = client.post("/v1/videos", json={"prompt": "now"}).json()["id"]
    order = []
    while job := jobs.claim(db, "w", ["tenku-nano"]):
        settle_batches(db, store)
        assert client.get(f"/v1/batches/{batch['id']}").json()["status"] == "in_progress"
        order.append(job["id"])
        jobs.complete(db, job, {}, {"frames": 1}, None)
    assert order[0] == plain  # who asks by hand goes first
    for _ in range(2):
        settle_batches(db, store)
    done = client.get(f"/v1/batches/{batch['id']}").json()
    assert (done["status"], done["request_counts"]) == ("completed", {"total": 3, "completed": 2, "failed": 1})
    made, failed = ([json.loads(line)["custom_id"] for line in client.get(f"/v1/files/{done[name]}/content").text.split(
        "\n") if line] for name in ("output_file_id", "error_file_id"))
    assert (made, failed) == (["a", "c"], ["b"])
    assert len(client.get("/v1/files").json()["data"]) == 3
    db.close()
