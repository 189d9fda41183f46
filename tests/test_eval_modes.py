"""`tenku eval modes` runs whole on an untrained model, and says figures that can be."""

from __future__ import annotations

import json

import numpy as np

from tenku.cli import main
from tenku.engines.bundled import load
from tenku.evaluation.modes import Settings, told_cameras


def test_the_modes_are_measured(tiny_model, tmp_path, capsys):
    assert main(["eval", "modes", "--model", str(tiny_model), "--clips", "2", "--steps", "1", "--json", "--out",
                 str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "modes.json").read_text())
    assert all(0 <= value <= 1 for value in report["seams"].values())
    assert set(report["camera"]) >= {"prompt", "path"}
    assert report["edits"]["asked"]["count"] == 2
    assert 0 <= report["tracks"]["frames where nothing is seen"] <= 1


def test_what_the_painter_is_told_is_what_was_asked(tiny_model, tmp_path):
    settings = Settings(tmp_path, str(tiny_model), 1, 1)
    words = {"subject": "ball", "colour": "red", "size": "large", "action": "rests", "place": "beach", "light": "day",
             "camera": "dolly in"}
    told = told_cameras(load(str(tiny_model)), settings.request(words, 0, camera="dolly in 1.5"))
    assert abs(
        np.linalg.norm(told[-1, :3] - told[0, :3]) - 1.5) < 1e-3
