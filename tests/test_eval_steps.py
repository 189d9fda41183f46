"""`tenku eval steps` on an untrained model, and its arithmetic on readings that are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tenku.evaluation import prompts, steps
from tenku.evaluation.benchmark import Reading, Report, Settings
from tenku.evaluation.probe import expected


def test_steps_are_compared(tiny_model: Path, tmp_path: Path) -> None:
    settings = Settings(tmp_path, str(tiny_model), takes=1, limit=2)
    report = steps.compare(settings, lambda _: None, (1, 2))
    assert report == json.loads((tmp_path / "steps.json").read_text())
    assert set(report["score"]) == {"1", "2"}
    difference = report["score"]["2"]["value"] - report["score"]["1"]["value"]
    assert report["change"]["2"]["value"] == pytest.approx(difference, abs=1e-3)
    assert "<svg" in (tmp_path / "index.html").read_text()
    assert "keep" in steps.table(report)
    made = (tmp_path / "1" / "clips" / "000-0.mp4").stat().st_mtime_ns
    assert steps.compare(settings, lambda _: None, (1, 2)) == report
    assert (tmp_path / "1" / "clips" / "000-0.mp4").stat().st_mtime_ns == made


def test_a_score_is_the_share_of_fields_that_are_right() -> None:
    chosen = prompts.load()[:1]
    right = {field: (word, 1.0) for field, word in expected(chosen[0].scene).items()}
    wrong = {**right, "light": ("", 1.0), "colour": ("", 1.0), "camera": ("", 1.0)}
    readings = [Reading(0, take, answers, 1.0, "") for take, answers in enumerate((right, wrong))]
    assert steps.prompt_scores(Report({}, chosen, readings, None, None, [])) == [0.75]
