"""Plans are data: rounds cover the clip once, in windows that the model was trained for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenku.request import Request
from tenku.sampling.plan import Plan, Round, plan, rounds


@given(steps=st.integers(1, 300), longest=st.integers(2, 20))
def test_rounds_dream_every_step_once_and_see_the_past(steps: int, longest: int) -> None:
    found = rounds(steps, longest)
    assert [s for r in found for s in range(r.start, r.stop)] == list(range(steps))
    for i, r in enumerate(found):
        assert r.stop - r.known <= longest
        assert r.known <= r.start < r.stop
        assert (r.known < r.start) == (i > 0)


@given(known=st.lists(st.booleans(), min_size=1, max_size=40), longest=st.integers(4, 9))
def test_rounds_fill_every_gap_once_and_see_only_what_is_there(known: list[bool], longest: int) -> None:
    done = list(known)
    for r in rounds(len(known), longest, known):
        assert 0 <= r.known <= r.start < r.stop <= r.end <= len(known)
        assert r.end - r.known <= longest
        assert not any(done[r.start : r.stop])
        assert all(done[r.stop : r.end])
        assert all(done[r.known + 1 : r.start])  # the first one seen may be a still that is dreamt and left out
        done[r.start : r.stop] = [True] * (r.stop - r.start)
    assert all(done)


def test_a_gap_that_fits_is_dreamt_with_both_ends_in_view() -> None:
    known = [True] * 5 + [False] * 2 + [True] * 5
    assert rounds(12, 5, known) == (Round(3, 5, 7, 8),)
    assert rounds(13, 5, [True] * 5 + [False] * 3 + [True] * 5) == (Round(4, 5, 8, 9),)
    assert rounds(9, 5, [False] * 4 + [True] * 5) == (Round(1, 2, 4, 6), Round(0, 0, 2, 4))


@pytest.mark.parametrize(("seconds", "expected"), [(0, 1), (2, 1), (8, 5)])
def test_a_plan_is_json_and_says_everything(seconds: float, expected: int) -> None:
    request = Request(prompt="a red ball", seconds=seconds, seed=7, negative_prompt="blue")
    made = plan(request, 1 + (request.frames - 1) // 8, 5)
    assert isinstance(made, Plan)
    assert len(made.rounds) == expected
    values = json.loads(json.dumps(made.to_dict()))
    assert values["seed"] == 7
    assert values["negative_prompt"] == "blue"
    assert values["frames"] == request.frames


def test_a_negative_prompt_is_heard_without_being_asked_to() -> None:
    assert plan(Request("a ball"), 5, 5).guidance == 1
    assert plan(Request("a ball", negative_prompt="night"), 5, 5).guidance == 3
    assert plan(Request("a ball", negative_prompt="night", guidance=2), 5, 5).guidance == 2
