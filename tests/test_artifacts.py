"""Files in a folder and in S3: the same calls, the same bytes, nothing left over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenku.errors import UserError
from tenku.serving.store import Store

JOB = "video_" + "a" * 24


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    for name, value in (("AWS_ENDPOINT_URL", f"http://{host}:{port}"), ("AWS_ACCESS_KEY_ID", "test"),
                        ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_DEFAULT_REGION", "us-east-1")):
        patch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem().mkdir("library")
    yield "s3://library/tenku"
    patch.undo()
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = Store(str(tmp_path / "files") if request.param == "folder" else request.getfixturevalue("bucket"))
    yield made
    for job, _ in made.attempts():
        made.remove(job)


def put(store: Store, token: int, data: bytes) -> str:
    key = f"{JOB}/{token}/video.mp4"
    with store.attempt(JOB, token) as folder:
        (folder / "video.mp4").write_bytes(data)
        assert store.publish(folder / "video.mp4", key) == len(data)
    return key


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_published_can_be_read_in_parts_and_removed(store):
    data = bytes(range(256)) * 4096
    key = put(store, 1, data)
    assert b"".join(store.read(key, 0, len(data))) == data
    assert b"".join(store.read(key, 1000, 600_001)) == data[1000:600_001]
    assert store.exists(key)
    put(store, 2, b"other")
    assert store.attempts() == [(JOB, "1"), (JOB, "2")]
    store.remove(f"{JOB}/1")
    assert not store.exists(key)
    assert store.attempts() == [(JOB, "2")]
    store.remove(JOB)
    store.remove(JOB)
    assert store.attempts() == []
    with pytest.raises(FileNotFoundError):
        list(store.read(key, 0, 1))


def test_a_place_that_cannot_be_is_one_line():
    with pytest.raises(UserError, match="cannot be kept"):
        Store("nowhere://x")
