"""Plans are data: rounds cover the clip once, in windows that the model was trained for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenku.request import Request
from tenku.sampling.plan import Plan, plan, rounds


@given(steps=st.integers(1, 300), longest=st.integers(2, 20))
def test_rounds_dream_every_step_once_and_see_the_past(steps: int, longest: int) -> None:
    found = rounds(steps, longest)
    assert [s for r in found for s in range(r.start, r.stop)] == list(range(steps))
    for i, r in enumerate(found):
        assert r.stop - r.known <= longest
        assert r.known <= r.start < r.stop
        assert (r.known < r.start) == (i > 0)


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
