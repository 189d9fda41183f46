"""A client of one's own: `Client("http://127.0.0.1:8000").create("a red ball")`. Needs nothing but Python."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tenku.errors import UserError

RETRIES = 5  # of a call that got no answer, over half a minute; the key that goes with a create makes it one video
PATIENCE = 30.0  # seconds for one answer


@dataclass(frozen=True)
class Video:
    """A video of the server's; `raw` is all that it said."""

    id: str
    status: str  # queued, in_progress, completed, failed
    prompt: str
    size: str
    seconds: float
    steps_done: int
    steps_total: int
    eta: float | None  # seconds
    error: str  # "" while nothing went wrong
    raw: dict[str, Any]

    @property
    def over(self) -> bool:
        """Completed or failed."""
        return self.status in ("completed", "failed")

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Video:
        """Reads the API's Video object."""
        more = raw["tenku"]
        return cls(raw["id"], raw["status"], raw["prompt"], raw["size"], float(raw["seconds"]), more["steps_done"],
                   more["steps_total"], more["eta_seconds"], (raw["error"] or {}).get("message", ""), raw)


class Client:
    """Calls a server. Every method raises UserError for a refusal or a server that does not answer."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """key: else $TENKU_API_KEY, else none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"the server cannot be {url[:80]!r}", "http://HOST:PORT")
        self.base = url.rstrip("/").removesuffix("/v1") + "/v1"
        self.key = key if key is not None else os.environ.get("TENKU_API_KEY", "")

    def create(self, prompt: str, **fields: Any) -> Video:
        """Asks for a video; fields as in the API: size, seconds, seed, steps, ..."""
        return Video.of(self._json("POST", "/videos", {"prompt": prompt, **fields}))

    def edit(self, video: str, prompt: str | None = None, **fields: Any) -> Video:
        """Asks for a video made again; video: the id of one, or of an upload. Fields: strength, mask, keep, way, ..."""
        return Video.of(self._json("POST", "/videos/edits", {"video": video, "prompt": prompt, **fields}))

    def extend(self, video: str, seconds: float, prompt: str | None = None, **fields: Any) -> Video:
        """Asks for a video made longer; way="backwards" for what was before."""
        return Video.of(self._json("POST", "/videos/extensions",
                                   {"video": video, "seconds": str(seconds), "prompt": prompt, **fields}))

    def film(self, storyboard: dict[str, Any] | str, parent: str | None = None) -> Video:
        """Asks for the film of a storyboard; parent: the id of one whose unchanged shots are kept."""
        return Video.of(self._json("POST", "/films", {"storyboard": storyboard, "parent": parent}))

    def character(self, name: str, description: str) -> str:
        """A name that prompts may use for some words; its id, for `characters=[...]`."""
        return str(self._json("POST", "/videos/characters", {"name": name, "description": description})["id"])

    def upload(self, path: Path) -> str:
        """Sends a picture or a video to be used as `inputs`, `mask`, `video`; its id."""
        edge = secrets.token_hex(16)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}", "give the path of a picture or a video") from None
        head = (f'--{edge}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--{edge}\r\n'
                'content-disposition: form-data; name="file"; filename="input"\r\n\r\n')
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        with self._open("POST", "/files", body, f"multipart/form-data; boundary={edge}") as answer:
            return str(json.load(answer)["id"])

    def retrieve(self, video: str) -> Video:
        """One video as it is now."""
        return Video.of(self._json("GET", f"/videos/{video}"))

    def videos(self, **query: Any) -> Iterator[Video]:
        """All videos, newest first, asked for a page at a time."""
        after: dict[str, str] = {}
        while True:
            page = self._json("GET", "/videos?" + urlencode({"limit": 50, **query, **after}))
            yield from map(Video.of, page["data"])
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}

    def cancel(self, video: str) -> Video:
        """Stops it within a step."""
        return Video.of(self._json("POST", f"/videos/{video}/cancel"))

    def delete(self, video: str) -> None:
        """Deletes it and its files."""
        self._json("DELETE", f"/videos/{video}")

    def watch(self, video: str, every: float = 0.3) -> Iterator[Video]:
        """The video again and again, until it is over; waits through a restart of the server."""
        while True:
            now = self.retrieve(video)
            yield now
            if now.over:
                return
            time.sleep(every)

    def download(self, video: str, path: Path, variant: str = "video") -> None:
        """Writes a file, whole or not at all."""
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with self._open("GET", f"/videos/{video}/content?variant={variant}") as answer, draft.open("xb") as file:
                shutil.copyfileobj(answer, file)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        with self._open(method, path, None if body is None else json.dumps(body).encode()) as answer:
            return dict(json.load(answer))

    def _open(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        headers = {"user-agent": "tenku", "idempotency-key": secrets.token_hex(16)}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        if body is not None:
            headers["content-type"] = kind
        call = urllib.request.Request(self.base + path, body, headers, method=method)
        for attempt in range(RETRIES + 1):
            try:
                return urllib.request.urlopen(call, timeout=PATIENCE)
            except urllib.error.HTTPError as error:
                raise _refusal(error) from None
            except (OSError, ValueError):
                if attempt == RETRIES:
                    raise UserError(f"no answer from {self.base}", "is `tenku serve` running there?") from None
                time.sleep(2**attempt)
        raise AssertionError


def _refusal(error: urllib.error.HTTPError) -> UserError:
    with error:
        try:
            said = json.load(error)["error"]
        except (ValueError, KeyError, TypeError):
            said = {}
    message = str(said.get("message") or f"the server answered {error.code}")
    hint = "TENKU_API_KEY must be a key of this server's; on loopback it may be left out" if error.code == 401 else ""
    if wait := error.headers.get("Retry-After"):
        hint = f"again in {wait} s"
    return UserError(message[:1].lower() + message[1:], hint)
