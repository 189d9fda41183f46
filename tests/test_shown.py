"""What clips say that they show: kept in few characters, cut in time, and read from strangers without harm."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest

from tenku.sampling.shown import LONGEST, Said, Shown, shares
from tenku.world.motion import STATE


def shown(said: int = 1) -> Shown:
    way = np.cumsum(np.random.default_rng(3).normal(0, 0.01, (17, STATE)), 0)
    texts = tuple(Said(float(i), f"thing {i}", "a thing", 7) for i in range(said))
    return Shown(0.125, texts, (way, np.ones((17, STATE))))


def test_it_comes_back_from_json_to_the_millimetre() -> None:
    one = shown(2)
    again = Shown.from_json(json.loads(json.dumps(one.to_json())))
    assert again is not None
    assert (again.every, again.said) == (one.every, one.said)
    assert all(np.abs(a - b).max() <= 0.0005 for a, b in zip(again.worlds, one.worlds, strict=True))


def test_between_samples_it_is_between_and_outside_it_came_so_and_rests() -> None:
    one = shown()
    way = one.worlds[0]
    found = one.at(0, np.array([-0.125, 0, 0.0625, 2, 9]))
    assert np.allclose(found, [2 * way[0] - way[1], way[0], (way[0] + way[1]) / 2, way[16], way[16]])


def test_a_part_holds_what_is_seen_of_it() -> None:
    part = shown(3).part(1.5, 2.0)
    assert [one.text for one in part.said] == ["thing 1", "thing 2"]
    assert [one.start for one in part.said] == [-0.5, 0.5]
    assert np.allclose(part.worlds[0], shown().worlds[0][12:17])


def test_one_saying_gives_way_to_the_next_and_all_add_up() -> None:
    said = [Said(0, "a", "a"), Said(1, "b", "b", fade=1.0), Said(1.4, "c", "c", fade=2.0)]
    parts = shares(said, np.linspace(0, 4, 50))
    assert np.allclose(parts.sum(0), 1)
    assert parts.min() >= 0
    assert parts[0, 0] == parts[2, -1] == 1


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


GOOD = shown().to_json()
WRONG = [
    None, 3, "x", [], {}, {**GOOD, "every": 0}, {**GOOD, "every": "soon"}, {**GOOD, "said": []}, {**GOOD, "said": [3]},
    {**GOOD, "said": [{"start": 0}]}, {**GOOD, "said": [{**GOOD["said"][0], "world": 2}]},
    {**GOOD, "said": [{**GOOD["said"][0], "text": "x" * 2001}]},
    {**GOOD, "said": [{**GOOD["said"][0], "start": float("nan")}]},
    {**GOOD, "said": [{**GOOD["said"][0], "scenery": "7"}]}, {**GOOD, "said": GOOD["said"] * 17},
    {**GOOD, "motion": []}, {**GOOD, "motion": ["!"]}, {**GOOD, "motion": [packed(b"")]}, {**GOOD, "motion": [7]},
    {**GOOD, "motion": [packed(bytes(4 * STATE + 1))]}, {**GOOD, "motion": [base64.b64encode(b"no").decode()]},
    {**GOOD, "motion": [packed(bytes(4 * STATE * (LONGEST + 1)))]},
    {**GOOD, "motion": [packed(np.full(STATE, 2**31 - 1, "<i4").tobytes())]},
]  # fmt: skip


@pytest.mark.parametrize("values", WRONG, ids=range(len(WRONG)))
def test_what_is_none_is_none_whoever_wrote_it(values: object) -> None:
    assert Shown.from_json(values) is None
