"""`tenku eval seal`: its damages, its tables, and that it goes on where it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scenes import scene

from tenku.evaluation import sealing, sealing_page, theft
from tenku.evaluation.attacks import AIMS, ATTACKS

QUICK = ("as sealed (.mp4)", "crop to 71 % of the area", "one frame")


@pytest.mark.parametrize("name", ATTACKS)
def test_a_damage_gives_pictures_and_always_the_same(name):
    frames = scene(25)
    once, again = ATTACKS[name].do(frames), ATTACKS[name].do(frames)
    assert once.dtype == np.uint8
    assert once.ndim == 4
    assert once.shape[-1] == 3
    assert np.array_equal(once, again)
    assert ATTACKS[name].kind in AIMS
    assert np.array_equal(frames, scene(25))  # and leaves what it was given


def test_every_figure_is_there_and_a_second_run_only_adds(tmp_path, monkeypatch, tiny_model):
    monkeypatch.setenv("TENKU_HOME", str(tmp_path))
    monkeypatch.setattr(sealing, "ATTACKS", {name: ATTACKS[name] for name in QUICK})
    monkeypatch.setattr(sealing_page, "ATTACKS", {name: ATTACKS[name] for name in QUICK})
    monkeypatch.setattr(theft, "MOVED", 1)
    # the untrained model's noise is no picture: drawn ones
    monkeypatch.setattr(sealing, "material", lambda settings, n: scene(33, seed=n))
    settings = sealing.Settings(tmp_path, limit=1, unmarked=1, entries=9, model=str(tiny_model), steps=1)
    report = sealing.evaluate(settings, lambda _: None)
    [row] = report["rows"]
    assert row["damaged"]["as sealed (.mp4)"]["payload"]
    assert row["damaged"]["as sealed (.mp4)"]["led"] == 1
    assert not any(one["wrong"] or one["led"] < 0 for one in row["damaged"].values())
    assert row["unmarked"]["hits"] == []
    assert sum(row["unmarked"]["coins"]) == sealing.COINS
    assert row["psnr"] >= 42
    assert report["thefts"]["accepted"] == 0
    before = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(before + '{"n": 1, "cut')
    more = sealing.evaluate(sealing.Settings(tmp_path, 1, 1, 9, str(tiny_model), 1), lambda _: None)
    assert more["rows"] == report["rows"]
    for file in ("seal.md", "index.html"):
        assert "crop to 71 % of the area" in (tmp_path / file).read_text()
    assert json.loads((tmp_path / "seal.json").read_text())["rows"] == report["rows"]
    kept = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert kept <= {".jsonl", ".json", ".md", ".html", ".sqlite", ".pem"}  # no picture
