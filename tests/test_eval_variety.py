"""`tenku eval variety` on an untrained model and a few training clips, one of which is a copy of a truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tenku.data.shards import ShardWriter
from tenku.errors import UserError
from tenku.evaluation import prompts, variety
from tenku.evaluation.truth import film
from tenku.evaluation.variety import Settings


def test_variety_is_measured_and_copies_are_seen(tiny_model: Path, tmp_path: Path) -> None:
    scene = prompts.load()[0].scene
    (tmp_path / "data").mkdir()
    with ShardWriter(tmp_path / "data" / "000000.tar") as shard:
        for k, seed in enumerate((prompts.TRUTH_SEED + 1_000_000, 5)):  # the first is the second take of the truth
            shard.add(f"{k:08d}", film(replace(scene, seed=seed)), {"captions": {}})
    settings = Settings(tmp_path / "out", tmp_path / "data", str(tiny_model), takes=2, limit=1, steps=1)
    report = variety.evaluate(settings, lambda _: None)
    assert report == json.loads((tmp_path / "out" / "variety.json").read_text())
    assert report["training_clips"] == 2
    assert report["least"]["truth"] < 0.01 < report["least"]["dreamt"]
    assert all(one["value"] > 0 for row in report["figures"].values() for one in row.values())
    assert (tmp_path / "out" / "nearest.png").stat().st_size > 1000
    assert "nearest" in variety.table(report)
    with pytest.raises(UserError, match="at least 2"):
        Settings(tmp_path, tmp_path, takes=1)
