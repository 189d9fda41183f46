"""What a client sends: forms with brackets, JSON, and all that is neither."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenku.serving.access import Caller
from tenku.serving.asked import ALIASES, MEDIA, OPEN, SIZES, Asked, nested, read_json, unfolded
from tenku.serving.asked import understand as understood
from tenku.serving.db import Database
from tenku.serving.errors import ApiError
from tenku.serving.service import Service
from tenku.serving.store import Store

SERVED = ("tenku-nano", "mine")


@pytest.fixture(scope="module")
def understand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[dict[str, Any]], Asked]]:
    folder = tmp_path_factory.mktemp("asked")
    service = Service(Database(f"sqlite:///{folder / 'tenku.db'}"), Store(str(folder / "files")), SERVED, False)

    def call(fields: dict[str, Any]) -> Asked:
        with service.sources(Caller("ann", ())) as sources:
            return understood(fields, service, sources, "create")

    yield call
    service.db.close()


def test_form_fields_with_the_clients_brackets_are_objects_and_lists():
    assert nested([("prompt", "x"), ("characters[][id]", "a"), ("characters[][id]", "b"), ("video[id]", "v"),
                   ("tags[]", "1"), ("tags[]", "2")]) == {
        "prompt": "x", "characters": [{"id": "a"}, {"id": "b"}], "video": {"id": "v"}, "tags": ["1", "2"]}


@pytest.mark.parametrize("items", [
    [("a", "1"), ("a", "2")], [("a", "1"), ("a[b]", "2")], [("a[]", "1"), ("a[b]", "2")], [("a[b]", "1"), ("a[]", "2")],
    [("a]b", "1")], [("[a]", "1")], [("a[[b]]", "1")], [("", "1")], [("a[b][c][d][e][f]", "1")]])
def test_forms_that_contradict_themselves_are_refused(items):
    with pytest.raises(ApiError) as caught:
        nested(items)
    assert caught.value.status == 400


def test_a_form_says_lists_of_lists_as_json_text():
    assert unfolded({"keep": " [[0, 1]]", "prompt": "[x]"}) == {"keep": [[0, 1]], "prompt": "[x]"}
    for fields in ({"keep": "[[0, 1"}, nested([("keep[][]", "0"), ("keep[][]", "1")])):
        with pytest.raises(ApiError) as caught:
            unfolded(fields)
        assert caught.value.code in ("invalid_form", "invalid_json")


@pytest.mark.parametrize("body", [b"[1]", b"{", b'"x"', b"\xff", b'{"a": NaN}',
                                  b'{"a": "\\uD800"}', b"[" * 100_000, b'{"a":' * 100_000])
def test_json_that_is_no_object_is_refused(body):
    with pytest.raises(ApiError) as caught:
        read_json(body)
    assert caught.value.code == "invalid_json"


@given(st.lists(st.tuples(st.text("ab[]", max_size=8), st.text(max_size=3)), max_size=6))
def test_any_form_is_read_or_refused(items):
    said = 400
    try:
        json.dumps(nested(items))
    except ApiError as error:
        said = error.status
    assert said == 400


ANYTHING = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
                        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner,
                                                                                    max_size=3), max_leaves=5)


@given(st.dictionaries(st.sampled_from(["prompt", "model", "seconds", "size", *OPEN, *MEDIA]) | st.text(max_size=6),
                       ANYTHING, max_size=6))
def test_any_fields_are_understood_or_refused_in_the_envelope(understand, fields):
    asked = refused = None
    try:
        asked = understand(fields)
    except ApiError as error:
        refused = error
    if refused:
        assert refused.status in (400, 404)  # 404: no such character
        assert set(refused.body()["error"]) == {"message", "type", "param", "code"}
    else:
        assert asked.model in SERVED
        assert asked.work > 0


def test_every_name_of_openais_stands_for_something_that_can_be_made(understand):
    for model in (*ALIASES, *SERVED):
        for size in SIZES:
            for seconds in ("4", "8", "12", "16", "20"):
                asked = understand({"prompt": "x", "model": model, "size": size, "seconds": seconds})
                assert str(asked.request.size) == SIZES[size]
                assert asked.request.seconds == float(seconds)
                assert asked.words == {"model": model, "size": size, "seconds": seconds}


def test_without_a_seed_every_video_is_another(understand):
    seeds = {understand({"prompt": "x"}).request.seed for _ in range(4)}
    assert len(seeds) > 1
    assert understand({"prompt": "x", "seed": 0}).request.seed == 0


def test_a_model_is_a_name_and_never_a_path(understand):
    for name in ("nano", "/etc", "../x", "", 7, ["tenku-nano"]):
        with pytest.raises(ApiError) as caught:
            understand({"prompt": "x", "model": name})
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_the_fingerprint_is_of_what_was_meant_and_not_of_how_it_was_sent(understand):
    one = understand({"prompt": "x", "seed": "7"})
    same = understand({"seed": "7", "prompt": "x"})
    other = understand({"prompt": "x", "seed": "8"})
    assert one.fingerprint == same.fingerprint != other.fingerprint
