"""`tenku eval modes` runs whole on an untrained model, and says figures that can be."""

from __future__ import annotations

import json

import numpy as np

from tenku.cli import main
from tenku.engines.bundled import load
from tenku.evaluation import modes
from tenku.evaluation.modes import Settings, told_motion
from tenku.evaluation.survey import Survey
from tenku.world import grammar


def test_the_modes_are_measured(tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(modes, "MOMENTS", 2)
    assert main(["eval", "modes", "--model", str(tiny_model), "--clips", "2", "--steps", "1", "--json", "--out",
                 str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "modes.json").read_text())
    assert all(0 <= value <= 1 for value in report["seams"].values())
    assert set(report["camera"]) == {"prompt", "path", "truth"}
    assert report["edits"]["asked"]["count"] == 2
    assert 0 <= report["tracks"]["frames where nothing is seen"] <= 1


def test_what_the_painter_is_told_is_what_was_asked(tiny_model, tmp_path):
    settings = Settings(tmp_path, str(tiny_model), 1, 1)
    words = {"subject": "ball", "colour": "red", "size": "large", "action": "rests", "place": "beach", "light": "day",
             "camera": "dolly in"}
    told = told_motion(load(str(tiny_model)), settings.request(words, 0, camera="dolly in 1.5"))
    assert abs(
        np.linalg.norm(told[-1, :3] - told[0, :3]) - 1.5) < 1e-3


def test_a_camera_is_found_from_its_pictures():
    words = {"subject": "house", "colour": "red", "size": "large", "action": "rests", "place": "beach", "light": "day"}
    row = np.zeros(35)
    row[:5] = [0.3, -4.5, 1.4, 0.05, -0.08]
    row[5:15] = [1, 0.2, 0.1, 0.55, 1, 0, 0, 0, 1, 0]
    rows = np.stack([row, row, row])
    rows[:, :5] += np.outer([0, 1, 2], [0.15, 0.1, 0.05, -0.03, -0.02])
    with Survey(grammar.variant(grammar.draw(0), **words), 128, 80) as survey:
        found = survey.cameras(survey.film(rows), rows, row[:5] + 0.02)
    assert np.abs(found[:, :3] - rows[:, :3]).max() < 0.03
    assert np.abs(found[:, 3:] - rows[:, 3:5]).max() < 0.005
