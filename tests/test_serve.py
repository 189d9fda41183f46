"""`tenku serve` as people use it: the unmodified `openai` client, the real weights at small size, and kill -9."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import random
import signal
import sqlite3
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import psycopg
import pytest
import servers
from servers import Served, until

from tenku import generate, media
from tenku.cli import main
from tenku.provenance.verify import Verdict, examine

SMALL = {"size": "64x48", "seconds": "0.5"}
FAST = {"steps": 4, "seed": 3}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the client says that the service was shut down


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("library")) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="nobody asks", timeout=120)


@pytest.fixture(scope="module")
def made(client: openai.OpenAI) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return client.videos.create_and_poll(prompt="a red ball on a beach", **SMALL, extra_body=FAST)


def test_create_and_poll_ends_with_a_video_that_says_the_truth(made):
    assert (made.status, made.progress, made.error) == ("completed", 100, None)
    assert (made.model, made.size, made.seconds, made.prompt) == ("tenku-nano", "64x48", "0.5", "a red ball on a beach")
    assert made.created_at <= made.completed_at <= time.time() + 1
    assert (made.tenku["seed"], made.tenku["steps"]) == (3, 4)
    assert made.tenku["facts"]["frames"] == 9


@pytest.mark.parametrize(("variant", "kind", "size"), [
    ("video", "video/mp4", (64, 48)), ("thumbnail", "image/webp", (64, 48)), ("spritesheet", "image/webp", (256, 192))])
def test_every_variant_is_sealed(client, made, tmp_path, variant, kind, size):
    content = client.videos.download_content(made.id, variant=variant)
    assert content.response.headers["content-type"] == kind
    path = tmp_path / "file"
    content.write_to_file(path)
    assert media.read_clip(path).size == size
    assert examine(path).verdict is Verdict.MADE


def test_the_same_request_at_the_command_line_gives_the_same_pictures(made):
    [result] = generate("a red ball on a beach", size="64x48", seconds=0.5, **FAST)
    assert hashlib.sha256(result.clip.frames.tobytes()).hexdigest() == made.tenku["facts"]["pictures_sha256"]


def test_parts_of_a_file(served, made):
    def get(**headers: str) -> tuple[int, bytes, Any]:
        call = urllib.request.Request(f"{served.url}/v1/videos/{made.id}/content", headers=headers)
        try:
            with urllib.request.urlopen(call, timeout=30) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    _, whole, headers = get()
    size = len(whole)
    assert headers["Accept-Ranges"] == "bytes"
    for asked, start, stop in (("0-9", 0, 10), ("5-", 5, size), ("-7", size - 7, size), (f"3-{size + 50}", 3, size)):
        status, part, said = get(Range=f"bytes={asked}")
        assert (status, part) == (206, whole[start:stop])
        assert said["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    assert get(Range=f"bytes={size}-")[0] == 416
    for ignored in ("bytes=5-3,7-9", "bytes=-", "lines=1-2", "bytes=x"):
        assert get(Range=ignored)[:2] == (200, whole)
    assert get(**{"If-None-Match": headers["ETag"]})[0] == 304
    assert get(Range="bytes=0-9", **{"If-Range": '"other"'})[0] == 200


def test_remix_keeps_all_but_the_prompt(client, made):
    remix = client.videos.remix(made.id, prompt="a blue ball on the moon")
    assert remix.remixed_from_video_id == made.id
    assert (remix.size, remix.seconds, remix.tenku["seed"]) == (made.size, made.seconds, 3)
    assert client.videos.poll(remix.id).status == "completed"


def test_names_of_sora_are_mapped_and_reported_as_they_will_be(client):
    video = client.videos.create(prompt="x", model="sora-2", seconds="8", size="1280x720", extra_body={"steps": 1})
    client.videos.delete(video.id)
    assert (video.model, video.size, video.seconds) == ("tenku-nano", "144x80", "8")
    assert video.tenku["asked"] == {"model": "sora-2", "seconds": "8", "size": "1280x720"}
    plain = client.videos.create(prompt="x", model="sora-2-pro")
    client.videos.delete(plain.id)
    assert (plain.size, plain.seconds, plain.tenku["steps"]) == ("80x144", "4", 60)


def test_pages_are_walked_to_the_end(client, made):
    extra = [client.videos.create(prompt=f"{i}", **SMALL, extra_body={"steps": 1}).id for i in range(4)]
    walked = [video.id for video in client.videos.list(limit=2)]
    assert walked[:4] == extra[::-1]
    assert walked[-1] == next(iter(client.videos.list(order="asc", limit=1))).id
    assert made.id in walked
    for name in extra:
        assert client.videos.delete(name).deleted is True
    assert set(extra) & {video.id for video in client.videos.list()} == set()


ERRORS: dict[str, tuple[type[openai.APIStatusError], str, str | None, dict[str, Any]]] = {
    "no prompt": (openai.BadRequestError, "invalid_value", "prompt", {"prompt": ""}),
    "size": (openai.BadRequestError, "invalid_value", "size", {"size": "7x100000"}),
    "seconds": (openai.BadRequestError, "invalid_value", "seconds", {"seconds": "-1"}),
    "model": (openai.BadRequestError, "model_not_found", "model", {"model": "../../etc"}),
    "steps": (openai.BadRequestError, "invalid_value", "steps", {"extra_body": {"steps": "many"}}),
    "samples": (openai.BadRequestError, "unknown_parameter", "samples", {"extra_body": {"samples": 4}}),
    "unknown": (openai.BadRequestError, "unknown_parameter", "flavour", {"extra_body": {"flavour": "x"}}),
    "image": (openai.BadRequestError, "unsupported_file", "input_reference", {"input_reference": b"#EXTM3U"}),
    "address": (openai.BadRequestError, "unsupported_url", "mask", {"extra_body": {
        "mode": "edit", "mask": {"image_url": "http://127.0.0.1/x.png"}}}),
    "mode": (openai.BadRequestError, "invalid_value", "inputs", {"extra_body": {"mode": "blend"}}),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_the_clients_own_exceptions(client, case):
    kind, code, param, fields = ERRORS[case]
    with pytest.raises(kind) as caught:
        client.videos.create(**{"prompt": "x", **fields})
    error = caught.value
    assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
    assert error.request_id.startswith("req_")
    assert str(error.body["message"])


def test_every_mode_of_the_client_is_made(client, made, tmp_path):
    client.videos.download_content(made.id).write_to_file(tmp_path / "ball.mp4")
    few = {"steps": 1}

    def finished(video: Any) -> Any:
        video = client.videos.poll(video.id)
        assert video.status == "completed", video.error
        return video

    edited = finished(client.videos.edit(prompt="a blue ball", video=tmp_path / "ball.mp4", extra_body=few))
    assert (edited.size, edited.seconds, edited.tenku["mode"]) == ("64x48", "0.56", "edit")
    longer = finished(client.videos.extend(prompt="a red ball", seconds="0.5", video=tmp_path / "ball.mp4",
                                           extra_body=few))
    assert (longer.seconds, longer.tenku["facts"]["frames"]) == ("1.06", 17)
    body = {"prompt": "at night", "video": {"id": made.id}, **few}
    by_id = finished(client.post("/videos/edits", body=body, cast_to=type(made)))
    assert by_id.tenku["made_from"] == [made.id]
    still = client.videos.download_content(made.id, variant="thumbnail").read()
    begun = finished(client.videos.create(prompt="x", input_reference=("a.webp", still), **SMALL, extra_body={
        **few, "camera": "dolly in 1", "captions": json.dumps([[0.2, "a dog"]]), "inputs": [made.id]}))
    assert [one["type"] for one in begun.tenku["inputs"]] == ["image/webp", "video/mp4"]
    assert (begun.tenku["camera"], begun.tenku["captions"]) == ("dolly in 1", [[0.2, "a dog"]])
    mossy = client.videos.create_character(name="Mossy", video=tmp_path / "ball.mp4")
    assert client.videos.get_character(mossy.id).name == "Mossy"
    named = client.videos.create(prompt="Mossy jumps", **SMALL, extra_body={**few, "characters": [{"id": mossy.id}]})
    assert named.prompt == "a red ball jumps"
    client.videos.delete(named.id)


def test_what_a_key_may_not_is_the_clients_own_exception(tmp_path):
    with Served(tmp_path / "library", "--require-key", "--workers", "0") as server:
        first = next(line.split()[-1] for line in server.lines if "first key" in line)

        def caller(secret: str) -> openai.OpenAI:
            return openai.OpenAI(base_url=f"{server.url}/v1", api_key=secret, max_retries=0)

        def made(**fields: Any) -> openai.OpenAI:
            answer: Any = caller(first).post("/keys", body={"name": "x", **fields}, cast_to=object)
            return caller(answer["key"])

        one = made(most_waiting=1)
        one.videos.create(prompt="x")
        cases = {
            "invalid_api_key": (openai.AuthenticationError, "authentication_error", caller("tk_wrong")),
            "insufficient_scope": (openai.PermissionDeniedError, "permission_error", made(scopes=["read"])),
            "too_many_waiting": (openai.RateLimitError, "rate_limit_error", one)}
        for code, (kind, type_, who) in cases.items():
            with pytest.raises(kind) as caught:
                who.videos.create(prompt="x")
            assert (caught.value.code, caught.value.type, caught.value.param) == (code, type_, None)
            assert caught.value.request_id.startswith("req_")
        assert int(caught.value.response.headers["retry-after"]) >= 1


def test_unknown_videos_are_not_found(client):
    for call in (lambda: client.videos.retrieve("video_zzz"), lambda: client.videos.delete("video_" + "0" * 24),
                 lambda: client.videos.download_content("nothing"), lambda: client.videos.get_character("ch_1"),
                 lambda: client.videos.remix("video_zzz", prompt="x"), lambda: client.models.retrieve("gpt"),
                 lambda: client.get("/nowhere", cast_to=object)):
        with pytest.raises(openai.NotFoundError) as missing:
            call()
        assert (missing.value.code, missing.value.type) == ("not_found", "not_found_error")


def test_a_failed_video_is_an_answer_and_no_exception(client):
    video = client.videos.create(prompt="x", **SMALL, extra_body={"steps": 200})
    client.post(f"/videos/{video.id}/cancel", cast_to=object)
    failed = client.videos.retrieve(video.id)
    assert (failed.status, failed.error.code) == ("failed", "cancelled")
    with pytest.raises(openai.NotFoundError) as caught:
        client.videos.download_content(video.id)
    assert caught.value.code == "video_not_ready"
    assert client.videos.poll(video.id).status == "failed"


def test_polling_is_told_how_long_to_wait(client):
    answer = client.videos.with_raw_response.create(prompt="x", **SMALL, extra_body={"steps": 1})
    assert 250 <= int(answer.headers["openai-poll-after-ms"]) <= 10_000
    video = answer.parse()
    client.videos.poll(video.id)
    assert "openai-poll-after-ms" not in client.videos.with_raw_response.retrieve(video.id).headers


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()][:2] == ["tenku-nano", "sora-2"]
    assert client.models.retrieve("sora-2").id == "sora-2"


def test_a_repeated_call_with_a_key_makes_one_video(client):
    headers = {"Idempotency-Key": "the same"}
    first = client.videos.create(prompt="once", **SMALL, extra_headers=headers)
    again = client.videos.create(prompt="once", **SMALL, extra_headers=headers)
    retried = client.videos.create(prompt="once", **SMALL, extra_headers={"x-stainless-retry-count": "1"})
    assert first.id == again.id == retried.id
    client.videos.delete(first.id)


def test_events_tell_the_progress_step_by_step_with_previews(served, client):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        video = client.videos.create(prompt="a red ball", size="64x48", seconds="1", extra_body={"steps": 200})
    seen, preview = [], None
    with urllib.request.urlopen(f"{served.url}/v1/videos/{video.id}/events", timeout=120) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream:
            if line.startswith(b"data: "):
                seen.append(json.loads(line[6:]))
                if preview is None and seen[-1]["tenku"]["preview"]:
                    preview = client.videos.with_raw_response.download_content(
                        video.id, variant="preview")  # type: ignore[arg-type]
    assert seen[-1]["status"] == "completed"
    done = [event["tenku"]["steps_done"] for event in seen]
    assert done == sorted(done)
    assert len(set(done)) >= 3
    assert preview is not None
    assert preview.headers["content-type"] == "image/webp"


def test_a_batch_makes_a_video_of_every_line(client):
    def line(custom: str, **body: Any) -> str:
        return json.dumps({"custom_id": custom, "method": "POST", "url": "/v1/videos", "body": body}) + "\n"

    good = {**SMALL, "steps": 1}
    text = line("a", prompt="one", **good) + line("b", prompt="", **good) + "nonsense\n"
    text += line("d", prompt="two", **good)
    source = client.files.create(file=("wishes.jsonl", text.encode()), purpose="batch")
    batch = client.batches.create(input_file_id=source.id, endpoint="/v1/videos", completion_window="24h")
    assert batch.request_counts.total == 4
    batch = until(lambda: (now := client.batches.retrieve(batch.id)).status == "completed" and now)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 2)
    made = [json.loads(row) for row in client.files.content(batch.output_file_id).text.splitlines()]
    assert [(row["custom_id"], row["response"]["body"]["status"]) for row in made] == [
        ("a", "completed"), ("d", "completed")]
    failed = [json.loads(row) for row in client.files.content(batch.error_file_id).text.splitlines()]
    assert [(row["custom_id"], row["error"]["code"]) for row in failed] == [
        ("b", "invalid_value"), (None, "invalid_json")]
    assert batch.id in [one.id for one in client.batches.list()]
    assert client.files.delete(source.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(source.id)


def test_a_cancelled_batch_stops(client):
    body = {**SMALL, "prompt": "x", "steps": 200}
    lines = "".join(json.dumps({"custom_id": str(i), "method": "POST", "url": "/v1/videos", "body": body}) + "\n"
                    for i in range(20))
    source = client.files.create(file=("wishes.jsonl", lines.encode()), purpose="batch")
    batch = client.batches.create(input_file_id=source.id, endpoint="/v1/videos", completion_window="24h")
    client.batches.cancel(batch.id)
    batch = until(lambda: (now := client.batches.retrieve(batch.id)).status == "cancelled" and now)
    assert batch.request_counts.failed >= 19


def test_metrics_and_health(served):
    for path, word in (("/health", b"ok"), ("/metrics", b'tenku_jobs{state="completed"}'), ("/", b"<html")):
        with urllib.request.urlopen(served.url + path, timeout=30) as answer:
            assert word in answer.read()


def test_openapi_describes_every_route_with_an_example(client):
    from tenku.serving.app import ROUTES

    schema: Any = client.get("/openapi.json", cast_to=object)
    for method, path, _, example in ROUTES:
        operation = schema["paths"][path][method.lower()]
        assert operation["description"]
        assert (example is None) == ("requestBody" not in operation), path


def test_delete_stops_the_work_within_a_step_and_leaves_nothing(served, client):
    video = client.videos.create(prompt="x", size="64x48", seconds="2", extra_body={"steps": 200})
    until(lambda: client.videos.retrieve(video.id).tenku["steps_done"] >= 2)
    client.videos.delete(video.id)
    after = client.videos.create(prompt="y", **SMALL, extra_body={"steps": 1})
    client.videos.poll(after.id)
    assert any(f"{video.id} is no longer mine" in line for line in served.lines)
    assert not (served.folder / video.id).exists()


# -- the command as a client ----------------------------------------------------------------------------------


def test_generate_with_a_server_writes_what_it_made(served, tmp_path, capsys):
    out = tmp_path / "ball.mp4"
    asked = ["generate", "a red ball", "--size", "64x48", "--seconds", "0.5", "--steps", "2", "--server", served.url]
    assert main([*asked, "--samples", "2", "--seed", "5", "--json", "-o", str(out)]) == 0
    made = json.loads(capsys.readouterr().out)["files"]
    assert [file["frames"] for file in made] == [9, 9]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ball-1.mp4", "ball-2.mp4"]
    assert examine(tmp_path / "ball-2.mp4").verdict is Verdict.MADE
    assert main(["jobs", "show", made[1]["id"], "--server", served.url]) == 0
    assert json.loads(capsys.readouterr().out)["tenku"]["seed"] == 6


def test_jobs_are_listed_watched_cancelled_downloaded_and_deleted(served, client, tmp_path, capsys):
    def jobs(*words: str) -> tuple[int, str]:
        code = main(["jobs", *words, "--server", served.url])
        return code, capsys.readouterr().out

    video = client.videos.create(prompt="a red ball, twice", **SMALL, extra_body={"steps": 2})
    assert jobs("watch", video.id)[0] == 0
    assert video.id in jobs("list", "--limit", "3")[1]
    assert jobs("download", video.id, "-o", str(tmp_path / "x.mp4"))[0] == 0
    assert media.read_clip(tmp_path / "x.mp4").size == (64, 48)
    assert jobs("delete", video.id)[0] == 0
    assert jobs("show", video.id)[0] == 2
    endless = client.videos.create(prompt="x", **SMALL, extra_body={"steps": 200})
    assert jobs("cancel", endless.id) == (0, "cancelled\n")
    assert jobs("watch", endless.id)[0] == 1


def test_what_a_server_cannot_do_is_one_line(served, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tenku.serving.client.RETRIES", 0)
    asked = ["generate", "x", "--server"]
    for words in ([*asked, "nonsense"], [*asked, "http://127.0.0.1:1", "-o", str(tmp_path / "x.mp4")],
                  [*asked, served.url, "-o", "x.webm"], [*asked, served.url, "--model", "other"],
                  ["jobs", "cancel", "video_x", "--server", served.url]):
        assert main(words) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


# -- kill -9 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_kill_9_at_random_moments_loses_and_repeats_nothing(kind, tmp_path, tiny_model):
    """A smaller number of kills than dev/bench/kills.py makes, on the tiny model."""
    if kind == "postgresql" and servers.postgres_programs() is None:
        pytest.skip("no PostgreSQL here")
    if kind == "sqlite":
        kills(Served(tmp_path / "lib", "--model", f"tiny={tiny_model}"), kills_wanted=3, seed=1)
    else:
        with servers.postgres() as url:
            kills(Served(tmp_path / "lib", "--model", f"tiny={tiny_model}", db=url), kills_wanted=2, seed=2)


def kills(server: Served, kills_wanted: int, seed: int, model: str = "tiny", patience: float = 120.0) -> list[float]:
    """Kills server, worker or both at random moments under load; the seconds until work went on, for each kill.

    patience: seconds after which what does not come is an error.
    """
    try:
        return _kills(server, kills_wanted, seed, model, functools.partial(until, seconds=patience))
    finally:
        server.stop()


def _kills(server: Served, kills_wanted: int, seed: int, model: str, until: Callable[..., object]) -> list[float]:
    chance = random.Random(seed)
    fields = {"model": model, "prompt": "a red ball", "size": "64x48", "seconds": 0.5}
    server.start()
    talk = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)
    same = talk.post("/videos", body={**fields, "steps": 40, "seed": 0}, cast_to=object)["id"]
    until(lambda: get(server, same)["status"] == "completed")
    truth = get(server, same)["tenku"]["facts"]["pictures_sha256"]
    # and one of two rounds, made from the first: it goes on between them
    more = {"model": model, "prompt": "a red ball", "seconds": "3", "steps": 20, "seed": 0, "video": same}
    longer = talk.post("/videos/extensions", body=more, cast_to=object)["id"]
    until(lambda: get(server, longer)["status"] == "completed")
    truths = {truth, get(server, longer)["tenku"]["facts"]["pictures_sha256"]}
    accepted, waits = [same, longer], []
    for number in range(kills_wanted):
        accepted += [talk.post("/videos", body={**fields, "steps": 40, "seed": 0}, cast_to=object)["id"],
                     talk.post("/videos/extensions", body=more, cast_to=object)["id"]]
        last = accepted[-2:]
        until(lambda last=last: any(get(server, name)["tenku"]["steps_done"] for name in last))
        time.sleep(chance.random() * 0.5)
        before = [taken(server, name) for name in last]
        what = ("worker", "server", "both")[number % 3]
        if what in ("worker", "both"):
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
        if what in ("server", "both"):
            server.kill()
            server.start()
            talk = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        started = time.monotonic()
        until(lambda last=last, before=before: [taken(server, name) for name in last] != before
              or all(get(server, name)["status"] == "completed" for name in last), every=0.02)
        waits.append(time.monotonic() - started)
        print(f"kill {number + 1}, {what}: work went on after {waits[-1]:.2f} s", flush=True)
    for name in accepted:
        until(lambda name=name: get(server, name)["status"] == "completed")
    facts = [get(server, name)["tenku"]["facts"] for name in accepted]
    assert {fact["pictures_sha256"] for fact in facts} == truths
    once = [state["state"] for name in accepted for state in get(server, f"{name}/history")["data"]]
    assert once.count("completed") == len(accepted)
    assert "failed" not in once
    server.stop()
    server.flags += ("--workers", "0")
    server.start()  # sweeps when it starts, with its own hands
    until(lambda: all(len([p for p in (server.folder / name).iterdir() if p.name != "inputs"]) == 1
                      for name in accepted))
    assert {path.name for path in server.folder.glob("video_*")} == set(accepted)
    files = {path.name for path in server.folder.glob("video_*/*/*") if path.parent.name != "inputs"}
    assert files == {"video.mp4", "thumbnail.webp", "spritesheet.webp"}
    assert all(len(list(path.iterdir())) == 1 for path in server.folder.glob("video_*/inputs"))
    return waits


def taken(server: Served, name: str) -> int:
    """How often a worker took a job; one that was given back in order counts, which no attempt does."""
    return [state["state"] for state in get(server, f"{name}/history")["data"]].count("in_progress")


def get(server: Served, name: str) -> Any:
    with urllib.request.urlopen(f"{server.url}/v1/videos/{name}", timeout=30) as answer:
        return json.load(answer)


def lapsed(server: Served) -> bool:
    """Ends the lease of what is being made; False where who made it was frozen while it wrote, and none can write."""
    over = "update jobs set lease_until = 0 where status = 'in_progress'"
    try:
        if server.db:
            with psycopg.connect(server.db.replace("+psycopg", ""), options="-c lock_timeout=500") as db:
                count = db.execute(over).rowcount
        else:
            with contextlib.closing(sqlite3.connect(server.folder / "tenku.db", timeout=0.5,
                                                    isolation_level=None)) as lite:
                count = lite.execute(over).rowcount
    except (sqlite3.OperationalError, psycopg.errors.LockNotAvailable) as error:
        if "lock" not in str(error):
            raise
        return False
    assert count == 1  # it was not made meanwhile
    return True


def frozen(server: Served) -> bool:
    """Freezes the workers and lets the lease of what they make run out; thaws them again where that must wait.

    SQLite has one writer at a time. Who is frozen as such keeps all others waiting until they give up, and no lease
    can end; PostgreSQL lets such a one go after a minute. So they are frozen while none of them writes.
    """
    workers = server.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T" for pid in workers),
          every=0.001)
    if not lapsed(server):
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        return False
    return True


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_frozen_worker_that_wakes_overwrites_nothing(kind, tmp_path, tiny_model):
    if kind == "postgresql" and servers.postgres_programs() is None:
        pytest.skip("no PostgreSQL here")
    fields = {"model": "tiny", "prompt": "a red ball", "size": "64x48", "seconds": 0.5, "steps": 120}
    with contextlib.ExitStack() as held:
        url = held.enter_context(servers.postgres()) if kind == "postgresql" else ""
        server = held.enter_context(
            Served(tmp_path / "lib", "--model", f"tiny={tiny_model}", "--workers", "2", db=url))
        until(lambda: sum("works on" in line for line in server.lines) == 2)
        talk = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        name = talk.post("/videos", body=fields, cast_to=object)["id"]
        until(lambda: get(server, name)["tenku"]["steps_done"])
        until(lambda: frozen(server), 60)  # whichever has it; the other one is thawed at once
        until(lambda: get(server, name)["status"] == "queued")
        asleep = server.workers()
        os.kill(asleep[0], signal.SIGCONT)
        taken = until(lambda: get(server, name)["tenku"]["attempt"] == 2 or get(server, name)["status"] == "completed")
        assert taken
        os.kill(asleep[1], signal.SIGCONT)
        until(lambda: get(server, name)["status"] == "completed")
        states = [state["state"] for state in get(server, f"{name}/history")["data"]]
        assert states.count("completed") == 1
        until(lambda: any(f"{name} is no longer mine" in line for line in server.lines))
        assert len(list((server.folder / name).iterdir())) == 1
