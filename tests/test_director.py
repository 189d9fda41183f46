"""The director keeps what is said, adds what is not, the same for the same seed; fields are read strictly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenku.director import FIELDS, asked, direct, heard, spelt
from tenku.errors import UserError
from tenku.world import captions, grammar


def test_what_a_canonical_sentence_says_is_heard():
    for seed in range(40):
        scene = grammar.variant(grammar.draw(seed), size="large")
        main = scene.things[0]
        text = captions.prompt(subject=main.subject, colour=main.colour, size=main.size, action=main.action,
                               place=scene.place, light=scene.light, camera=scene.camera)
        said = heard(text)
        assert said.get("subject") == main.subject
        assert (said["place"], said["light"], said["camera"]) == (scene.place, scene.light, scene.camera)
        if main.action != "is hit":
            assert direct(text, 1).added == ()


def test_a_short_prompt_is_completed_so_that_everything_is_said():
    made = direct("a ball", 7)
    said = heard(made.prompt)
    assert set(said) >= {"subject", "colour", "action", "place", "light", "camera"}
    assert len(made.added) == 5
    assert all(part in made.prompt for part in made.added)
    assert direct("a ball", 7) == made
    assert len({direct("a ball", seed).prompt for seed in range(10)}) > 5


def test_what_is_said_stays_word_for_word():
    made = direct("A crimson sphere that is rolling by the sea", 3)
    assert made.prompt.startswith("A crimson sphere that is rolling by the sea ")
    assert not any(part in made.prompt for part in ("beach", "blue", "green"))
    assert "an orange" in direct("a fish", 5).prompt or "orange" not in direct("a fish", 5).prompt


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60), st.integers(0, 1000))
def test_any_prompt_can_be_directed(prompt: str, seed: int) -> None:
    made = direct(prompt, seed)
    assert isinstance(made.prompt, str)
    assert len(made.prompt) >= len(prompt.strip().rstrip("."))


def test_named_fields_are_the_models_own_sentence():
    assert spelt("subject=ball, colour=blue, action=jumps, place=beach, light=night, camera=dolly in") == (
        "A large blue ball jumps on a beach at night, the camera dollies in.")
    assert spelt("subject = house").startswith("A large red house ")
    assert spelt("a ball = a sphere") == "a ball = a sphere"


@pytest.mark.parametrize("text", [
    "subject=dog", "subject=ball, planet=moon", "subject=ball, subject=cube", "place=beach",
    "subject=fish, place=desert", "subject=tree, action=jumps", "subject=ball, red",
])  # fmt: skip
def test_fields_that_cannot_be_are_said(text):
    with pytest.raises(UserError) as caught:
        spelt(text)
    assert caught.value.hint


class Endpoint(BaseHTTPRequestHandler):
    """A chat endpoint that answers with what it was asked, or badly."""

    seen: ClassVar[list[dict]] = []
    status = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        said = json.dumps({"choices": [{"message": {"content": f"  {body['messages'][1]['content']}\n on a beach "}}]})
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(said.encode() if self.status == 200 else b"no")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Endpoint]]:
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("TENKU_DIRECTOR_URL", f"http://127.0.0.1:{server.server_port}/v1")
    Endpoint.seen, Endpoint.status = [], 200
    yield Endpoint
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_chat_endpoint_can_direct(endpoint, monkeypatch):
    monkeypatch.setenv("TENKU_DIRECTOR_KEY", "secret")
    assert asked("a red ball").prompt == "a red ball on a beach"
    [call] = endpoint.seen
    assert call["path"] == "/v1/chat/completions"
    assert call["key"] == "Bearer secret"
    endpoint.status = 500
    with pytest.raises(UserError, match="HTTP 500"):
        asked("a red ball")


def test_without_an_endpoint_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("TENKU_DIRECTOR_URL", raising=False)
    with pytest.raises(UserError, match="TENKU_DIRECTOR_URL"):
        asked("a red ball")
    monkeypatch.setenv("TENKU_DIRECTOR_URL", "file:///etc/passwd")
    with pytest.raises(UserError):
        asked("a red ball")


def test_every_field_is_known():
    assert set(FIELDS) == {"subject", "colour", "size", "action", "place", "light", "camera"}
