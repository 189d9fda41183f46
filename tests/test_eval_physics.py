"""`tenku eval physics`: on an untrained model, on simulated truth, and its measures on motions that break laws."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tenku.cli import main
from tenku.engines.bundled import load
from tenku.errors import UserError
from tenku.evaluation import physics
from tenku.evaluation.mechanics import Bodies, measure, place_of, turns
from tenku.request import Request
from tenku.sampling.generate import generate
from tenku.sampling.moves import dreamt
from tenku.sampling.shown import Shown
from tenku.world.motion import CAMERA

EVERY = 0.125


@pytest.fixture(scope="module")
def cases(tiny_model: Path) -> list[physics.Case]:
    return list(islice(physics.cases(load(str(tiny_model)).codec), 10))


def bodies(case: physics.Case) -> Bodies:
    return Bodies(case.scene, 2.0, 1.6, 16.0)


def test_physics_is_measured(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "physics", "--model", str(tiny_model), "--limit", "2", "--seeds", "2", "--steps", "1",
                 "--json", "--out", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "physics.json").read_text())
    assert set(report["figures"]) == set(physics.WORDS)
    assert report["figures"]["speed"]["truth"]["value"] < 0.05 < report["figures"]["speed"]["dreamt"]["value"]
    assert report["figures"]["relation"]["dreamt"] is None  # the first scenes have no company
    assert "<svg" in (tmp_path / "index.html").read_text()
    assert "gravity" in physics.table(report)
    with pytest.raises(UserError, match="at least 1"):
        physics.Settings(tmp_path, takes=0)


def test_the_motion_that_is_measured_is_the_clips_own(tiny_model: Path) -> None:
    request = Request("a red ball bounces on a beach by day", seconds=1.0, steps=2, model=str(tiny_model))
    shown = Shown.from_json(generate(request)[0].record["shown"])
    assert shown is not None
    assert np.abs(shown.worlds[0] - dreamt(load(str(tiny_model)), request)).max() < 1e-3


def test_truth_obeys_its_laws(cases: list[physics.Case]) -> None:
    found = [measure(bodies(case), case.rows, EVERY) for case in cases]
    assert {name for one in found for name in one} >= {"gravity", "energy", "speed", "rest", "rope", "others", "deed"}
    for one in found:
        assert abs(one.get("fall", 1) - 1) < 0.02
        assert one.get("gravity", 0) < 0.02
        assert max(one.get("speed", 0), one.get("energy", 0)) < 0.1
        assert max(one.get("rest", 0), one.get("rope", 0), one["ground"]) < 0.03
        assert one.get("relation", 1) == 1


def test_broken_laws_are_seen(cases: list[physics.Case]) -> None:
    flies = next(case for case in cases if case.scene.things[0].action == "bounces")
    slow = flies.rows.copy()
    place_of(slow, 0)[:, 2] = place_of(slow, 0)[0, 2] - 0.25 * 9.81 * (np.arange(len(slow)) * EVERY) ** 2 / 4
    assert measure(bodies(flies), slow, EVERY)["fall"] == pytest.approx(0.125, abs=0.01)
    sunk = flies.rows.copy()
    place_of(sunk, 0)[:, 2] -= 0.3
    assert measure(bodies(flies), sunk, EVERY)["ground"] > 0.25
    goes = next(case for case in cases if case.scene.things[0].action.startswith("moves"))
    jerky = goes.rows.copy()
    place_of(jerky, 0)[5:] += 1.0
    assert measure(bodies(goes), jerky, EVERY)["speed"] > 0.3
    back = measure(bodies(goes), goes.rows[::-1], EVERY)
    assert back["deed"] == 0  # it goes the other way
    stands = next(case for case in cases if case.scene.things[0].action == "rests")
    drifts = stands.rows.copy()
    place_of(drifts, 0)[:, 0] += np.linspace(0, 0.4, len(drifts))
    assert measure(bodies(stands), drifts, EVERY)["rest"] == pytest.approx(0.4, abs=0.02)


def test_things_in_one_another_and_on_the_wrong_side_are_seen(cases: list[physics.Case]) -> None:
    case = next(case for case in cases if case.scene.relations)
    inside = case.rows.copy()
    place_of(inside, 1)[:] = place_of(inside, 0)
    found = measure(bodies(case), inside, EVERY)
    assert found["others"] > 0.1
    assert found["relation"] < 1


def test_turns_are_vectors() -> None:
    angle = np.linspace(0, 2, 5)
    rows = np.zeros((5, CAMERA + 10))
    rows[:, CAMERA + 4 : CAMERA + 6] = np.stack([np.cos(angle), np.sin(angle)], 1)
    rows[:, CAMERA + 7 : CAMERA + 9] = np.stack([-np.sin(angle), np.cos(angle)], 1)
    assert turns(rows, 0) == pytest.approx(np.array([[0, 0, 0.5]] * 4))
