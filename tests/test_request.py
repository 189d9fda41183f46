"""The Request: what it accepts, what it refuses and how it says so."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenku.config import CodecConfig
from tenku.errors import UserError
from tenku.inputs import Given
from tenku.request import MAX_SEED, Request
from tenku.types import Size

PLAIN = st.characters(exclude_categories=("Cc", "Cs"))


@given(
    prompt=st.text(PLAIN, min_size=1, max_size=200).filter(str.strip),
    negative=st.text(PLAIN, max_size=50),
    size=st.builds(Size, st.integers(32, 256), st.integers(32, 256)),
    seconds=st.floats(0, 4),
    fps=st.floats(1, 30),
    seed=st.integers(0, MAX_SEED - 16),
    guidance=st.floats(0, 20),
    samples=st.integers(1, 4),
)
def test_json_round_trip_is_exact(prompt, negative, size, seconds, fps, seed, guidance, samples):
    request = Request(prompt, negative, size, seconds, fps, seed, 7, guidance, samples)
    again = Request.from_json(json.loads(json.dumps(request.to_json())))
    assert again == request
    assert again.to_json() == request.to_json()


def test_defaults_are_two_seconds_at_128x80():
    request = Request.parse({"prompt": "a red ball"})
    assert request == Request("a red ball")
    assert (str(request.size), request.frames, request.seed) == ("128x80", 33, 0)


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [(0, 16, 1), (2, 16, 33), (1, 16, 17), (0.001, 16, 9), (60, 16, 961), (2, 24, 49), (1.25, 16, 25)],
)
def test_frames_are_one_and_whole_groups(seconds, fps, frames):
    assert Request("x", seconds=seconds, fps=fps).frames == frames
    assert (frames - 1) % CodecConfig().stride[0] == 0


@given(st.floats(0.3, 60), st.floats(2, 60))
def test_the_clip_lasts_what_was_asked_for_within_half_a_group(seconds, fps):
    frames = Request("x", seconds=seconds, fps=fps, size=Size(64, 64)).frames
    assert abs(frames - 1 - seconds * fps) <= 4 or frames == 9


def test_text_from_a_form_is_read():
    request = Request.parse(
        {"prompt": "x", "size": " 64X48 ", "seconds": "1.5", "seed": str(MAX_SEED), "steps": 4.0}
    )
    assert (request.size, request.seconds, request.seed) == (Size(64, 48), 1.5, MAX_SEED)
    assert request.steps == 4


def test_none_means_the_default_and_spaces_are_tidied():
    assert Request.parse({"prompt": "  a\n\tball ", "seed": None, "steps": None}) == Request("a ball")


WRONG = {
    "prompt": ["", " \n", "a" * 2001, "a" * 100_000, 7, "a\x00b", "a\x1b[31m", "a\udcff"],
    "negative_prompt": ["b" * 2001, "\x07", 1.5],
    "size": ["0", "0x0", "7x100000", "128x", "128x80x3", "-64x64", "1" * 5000 + "x80", (128, 80), "٦٤x٦٤",
             Size(31, 64), Size(64, 1921)],
    "seconds": [-1, "-1", 60.01, "nan", math.inf, "two", True, [2], 10**400],
    "fps": [0, 1000, "", -16],
    "steps": [0, 201, 1.5, "3.5", True, "-4", {}],
    "guidance": [-0.1, 21, math.nan, "high"],
    "samples": [0, 17],
    "seed": [-1, 2**63, 10**5000, "9" * 5000, "1e3", ""],
    "model": ["", "a\x00", 3, "m" * 2000],
    "mode": ["", "dream", 3],
    "way": ["sideways", 1, "forwards"],  # of another mode
    "inputs": ["a.png", [""], [3], [{"source": "a", "att": 1}], [{"at": 1}], ["a"] * 17, [{"source": "a", "at": 61}],
               [{"source": "a", "strength": 0}]],
    "mask": ["m.png", 3, "a\0"],  # a mask without an edit
    "keep": [[[0, 1]], [[1, 0]], [[0, 2], [1, 3]], "0-1", [[0]], [[0, "x"]]],
    "strength": [0, 1.1, "much"],
    "captions": ["a dog", [[0]], [[1, "a"], [0, "b"]], [[0, ""]], [[61, "a"]]],
    "camera": ["fly", "pan left x", [[0, 1]], [], [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], 3, "pan left 999"],
    "lora": ["a.safetensors", [""], ["a:9"], [5], [{"source": "a", "at": 1}], ["a"] * 9],
    "tracks": ["0,0", [[]], ["a,b"], ["0:0,0 1,1"], ["5,5"], [[[0, 0, 0, 0, 0]]], ["0.5,0.5"] * 4],
    "motion": [-1, 3.5, "fast"],
}


@pytest.mark.parametrize("field", WRONG)
def test_what_cannot_be_is_refused_with_field_and_hint(field):
    for value in WRONG[field]:
        with pytest.raises(UserError) as caught:
            Request.parse({"prompt": "x", field: value})
        message = str(caught.value)
        assert message.startswith(f"{field} ")
        assert caught.value.hint
        assert len(message) < 160
        assert "\n" not in message + caught.value.hint


def test_every_field_has_its_wrong_values():
    assert set(WRONG) == {f.name for f in dataclasses.fields(Request)}


def test_unknown_and_missing_fields_are_refused():
    with pytest.raises(UserError, match="no such field: 'sead'") as caught:
        Request.parse({"prompt": "x", "sead": 3})
    assert "seed" in caught.value.hint
    with pytest.raises(UserError, match="prompt is missing"):
        Request.parse({"seed": 3})


def test_more_than_memory_holds_is_refused():
    with pytest.raises(UserError, match="million pixels"):
        Request("x", size=Size(1024, 1024), seconds=60)
    with pytest.raises(UserError, match="million pixels"):
        Request("x", size=Size(1024, 576), seconds=5, samples=16)


def test_a_request_cannot_be_made_wrong_behind_the_parsers_back():
    with pytest.raises(UserError):
        Request("x", steps=9999)
    with pytest.raises(UserError):
        dataclasses.replace(Request("x"), seconds=-1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Request("x").steps = 3  # type: ignore[misc]


def test_modes_take_their_inputs_and_ways():
    assert Request("x", mode="extend", inputs=("a.mp4",)).way == "forwards"
    assert Request("x", inputs=("a.png", "b.mp4@1.5:0.8")).inputs[1] == Given("b.mp4", 1.5, 0.8)
    for wrong in ({"mode": "extend"}, {"mode": "blend", "inputs": ["a"]}, {"mode": "loop", "inputs": ["a", "b"]},
                  {"mode": "edit", "inputs": ["a"], "way": "inside"}, {"mode": "loop", "way": "forwards"}):
        with pytest.raises(UserError) as caught:
            Request.parse({"prompt": "x", **wrong})
        assert caught.value.hint


def test_a_request_of_every_field_comes_back_from_json():
    request = Request(
        "x", mode="edit", way="inside", inputs=("a.mp4",), mask="m.png", keep=((0, 0.5), (1, 2)), strength=0.5,
        captions=((0.5, "a dog"), (1, "a cat")), camera=((0, 0, 0, 0, 0, 0), (1, 0.5, 0, 1, 20, 0)),
        tracks=("0.2,0.5 0.8,0.5", "0:0.1,0.1,0.3,0.4 1.5:0.5,0.5"), motion=0.5)
    again = Request.from_json(json.loads(json.dumps(request.to_json())))
    assert again == request
    assert request.tracks[0].points == ((0, 0.2, 0.5, 0), (-1, 0.8, 0.5, 0))
    assert request.tracks[1].points[0] == (0, 0.2, 0.25, pytest.approx(0.3))
    assert Request("x", camera="Pan left 20 and dolly in").camera == "pan left 20, dolly in 1.5"


def test_each_sample_is_a_request_of_its_own():
    takes = Request("x", seed=7, samples=3).each()
    assert takes == [Request("x", seed=seed) for seed in (7, 8, 9)]
    with pytest.raises(UserError, match="seed"):
        Request("x", seed=MAX_SEED, samples=2)


FIELDS = st.sampled_from([f.name for f in dataclasses.fields(Request)])
ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(FIELDS, ANYTHING))
def test_any_values_give_a_request_or_a_user_error(values):
    try:
        request = Request.parse(values)
    except UserError:
        return
    assert Request.from_json(request.to_json()) == request
