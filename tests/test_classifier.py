"""The classifier: its network in numpy and in torch, how scores are read, a run from shards to tables, its weight."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import scene, texture

from tenku import media
from tenku.cli import main
from tenku.data.shards import ShardWriter
from tenku.errors import UserError
from tenku.evaluation import classifying
from tenku.evaluation.attacks import ATTACKS
from tenku.evaluation.metrics import wilson
from tenku.model.checkpoint import read_header, write_tensors
from tenku.provenance import classifier, invisible, visible
from tenku.provenance.classifier import BUNDLED, MOMENTS, PLANES, WIDTHS, Classifier, Opinion, load, moments, planes
from tenku.provenance.lock import unlock
from tenku.provenance.manifest import Manifest, Signature
from tenku.provenance.verify import Verdict, judge
from tenku.training import classifier as training
from tenku.training import twins
from tenku.training.classifier import Network, read_scores, train_classifier
from tenku.training.twins import ClassifierTraining, shown
from tenku.types import Clip

READING = {"slope": 1.0, "offset": 0.0, "made": 2.0, "other": -2.0}


def network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(WIDTHS["tiny"])


def test_numpy_gives_what_torch_gives():
    net = network()
    net(torch.from_numpy(planes(moments(scene(9)))))  # the norms learn from it
    net.eval()
    shipped = Classifier({name: tensor.float().numpy() for name, tensor in net.tensors().items()}, READING)
    for frames in (scene(9), scene(5, width=50, height=37), texture(1, 64, 48)):
        seen = planes(moments(frames))
        with torch.inference_mode():
            wanted = net(torch.from_numpy(seen)).numpy()
        assert np.allclose(shipped.scores(frames), wanted, rtol=5e-3, atol=5e-3)  # it ships as float16


def test_moments_are_three_frames_in_a_row_and_no_more_than_there_are():
    counted = np.broadcast_to(np.arange(33, dtype=np.uint8)[:, None, None, None], (33, 30, 30, 3))
    seen = moments(counted)[..., 0, 0, 0]
    assert len(seen) == MOMENTS
    assert (np.diff(seen, axis=1) == 1).all()
    assert (seen[0, 0], seen[-1, -1]) == (0, 32)
    assert moments(counted[:1])[..., 0, 0, 0].tolist() == [[0, 0, 0]]
    assert moments(counted[:2])[..., 0, 0, 0].tolist() == [[0, 1, 1]]
    assert moments(np.zeros((3, 720, 1280, 3), np.uint8)).shape[2:4] == (76, 135)
    assert moments(np.zeros((3, 100, 128, 3), np.uint8)).shape[2:4] == (100, 128)


def test_planes_are_colours_changes_and_what_is_fine():
    seen = np.full((1, 3, 8, 8, 3), 100, np.uint8)
    seen[0, 2] = 110
    seen[0, :, 4, 4] += 9
    x = planes(seen)
    assert x.shape == (1, 8, 8, PLANES)
    assert x[0, 0, 0, :3] == pytest.approx(100 / 127.5 - 1)
    assert x[0, 0, 0, 3:6] == pytest.approx(0)
    assert x[0, 0, 0, 6:9] == pytest.approx(4 * 10 / 127.5)
    assert x[0, 4, 4, 9:] == pytest.approx(4 * 8 / 127.5, abs=1e-5)  # eight neighbours and itself: 9 less 1


def test_a_score_is_read_as_a_probability_and_in_three_words():
    some = Classifier({}, READING)
    says = [some.read(score) for score in (-3.0, 0.0, 3.0)]
    assert [one.says for one in says] == ["other", "cannot tell", "made"]
    assert [one.probability for one in says] == sorted(one.probability for one in says)
    assert says[1].probability == 0.5
    assert some.look(np.zeros((5, 64, 64, 3), np.uint8)) == classifier.UNSEEN  # nothing to look at
    assert some.look(scene(1, 20, 20)).says == "cannot tell"
    json.dumps(classifier.UNSEEN.to_json(), allow_nan=False)


def test_how_scores_are_to_be_read_is_fitted():
    draw = np.random.Generator(np.random.Philox(1))
    truth = draw.random(40_000) < 0.3
    scores = np.where(truth, 1.0, -1.0) * 2 + draw.standard_normal(len(truth))
    fit = read_scores(scores, truth)
    assert fit["slope"] == pytest.approx(4, rel=0.1)  # of two normal ones, 4 apart
    assert fit["offset"] == pytest.approx(0, abs=0.3)  # as if either were as likely
    assert (scores[~truth] > fit["made"]).mean() == pytest.approx(training.STRAY, rel=0.2)
    assert (scores[truth] <= fit["other"]).mean() == pytest.approx(training.MISSED, rel=0.2)
    apart = read_scores(np.array([-1.0, 1.0]), np.array([False, True]))
    assert apart["other"] <= apart["made"]
    assert np.isfinite(list(apart.values())).all()


def test_auc_counts_pairs_and_trivial_features_are_seen_where_they_tell():
    ours, others = np.array([1.0, 2.0, 2.0]), np.array([0.0, 2.0])
    assert classifying.auc(ours, others) == pytest.approx(4 / 6)
    draw = np.random.Generator(np.random.Philox(2))
    rows = [{"clip": str(n // 4), "kind": n % 4, "way": "matched", "model": "", "score": 0.0,
             "bytes": int(draw.integers(1000, 9000)), "shape": [33, 80, 128]} for n in range(400)]
    assert 0.4 < classifying.trivial(rows)["auc"] < 0.6
    assert wilson(0.0, 1000) == pytest.approx((0, 0.0038), abs=1e-4)
    assert wilson(0.95, 100) == pytest.approx((0.888, 0.978), abs=1e-3)
    larger = [{**row, "bytes": row["bytes"] + 20_000 * (row["kind"] == 0)} for row in rows]
    assert classifying.trivial(larger)["auc"] > 0.99


def test_examples_have_one_size_whatever_the_clip():
    for frames in (scene(1, 30, 20), scene(9, 128, 80), scene(4, 60, 200)):
        draw = np.random.Generator(np.random.Philox(3))
        assert shown(frames, draw).shape == (twins.OF_EACH, 3, twins.SIDE, twins.SIDE, 3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of two clips, and two real ones."""
    folder = tmp_path_factory.mktemp("world")
    for number in range(2):
        with ShardWriter(folder / f"{number:06d}.tar") as shard:
            for clip in range(2):
                said = dict.fromkeys(("few", "sentence", "everything"), "a red ball on a beach")
                shard.add(f"{2 * number + clip:08d}", Clip(scene(9, 64, 48, seed=clip), 16.0), {"captions": said})
    (folder / "real").mkdir()
    for clip in range(2):
        (folder / "real" / f"{clip}.mp4").write_bytes(media.write_lossless(texture(9, 64, 48, seed=clip), 16.0))
    return folder


@pytest.fixture
def run(world: Path, tmp_path: Path, tiny_model: Path) -> ClassifierTraining:
    return ClassifierTraining(world, tmp_path / "run", world / "real", str(tiny_model), "tiny", steps=240, batch=8,
                              rate=1e-2, clips=1, others=1, versions=2)


def test_a_run_from_shards_to_tables(run, world, monkeypatch, tmp_path):
    """An untrained model's clips are noise, which is soon told from pictures."""
    path = train_classifier(run)
    assert {"reading", "flops", "read_on"} <= set(read_header(path))
    kept = [p for p in run.out.rglob("*") if p.is_file() and p.suffix not in (".safetensors", ".jsonl")]
    kept = [p for p in kept if "tensorboard" not in p.parts]
    assert {p.suffix for p in kept} == {".locked"}  # no picture
    assert all(unlock(p.read_bytes(), p.stem) for p in kept)
    before = {p: p.read_bytes() for p in kept}
    train_classifier(replace(run, steps=241))  # goes on, with the examples that are there
    assert {p: p.read_bytes() for p in kept} == before
    quick = {name: ATTACKS[name] for name in ("mirrored", "one frame")}
    monkeypatch.setattr(classifying, "ATTACKS", quick)
    settings = classifying.Settings(tmp_path / "eval", world, world / "real", run.model, (run.model,), 2, 1, path)
    report = classifying.evaluate(settings, lambda _: None)
    assert report["matched"]["ours"] == report["again"]["ours"] == 2
    assert report["matched"]["others"] == 2 * 4 + 2
    assert report["matched"]["auc"] > 0.9
    assert set(report["ways"]) == {"both marks", *quick}
    text = classifying.markdown(report)
    assert "mirrored" in text
    lines = (settings.out / "rows.jsonl").read_text()
    (settings.out / "rows.jsonl").write_text(lines + '{"clip": "cut')
    again = classifying.evaluate(settings, lambda _: None)
    assert again["matched"] == report["matched"]
    assert {p.suffix for p in settings.out.rglob("*")} == {".json", ".jsonl"}


def test_a_run_says_what_it_lacks(run, world, tmp_path, capsys):
    with pytest.raises(UserError, match="no such preset"):
        train_classifier(replace(run, preset="huge"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no footage"):
        train_classifier(replace(run, real=tmp_path / "empty"))
    assert main(["eval", "classifier"]) == 2
    assert "--data" in capsys.readouterr().err
    arguments = ["train", "classifier", "--data", str(world), "--out", str(tmp_path / "dry"), "--versions", "3"]
    assert main([*arguments, "--dry-run"]) == 0
    assert "versions" in capsys.readouterr().out
    write_tensors(tmp_path / "other.safetensors", {}, {})
    for name in ("other.safetensors", "none.safetensors"):
        with pytest.raises(UserError, match=name):
            load(tmp_path / name)


# -- what it weighs in verify -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("signature", "marked", "says", "verdict", "line"), [
    (Signature.MISSING, False, "made", Verdict.LIKELY, "pictures: look made by Tenku's model (95%)"),
    (Signature.MISSING, False, "cannot tell", Verdict.UNKNOWN, "pictures: cannot tell whether Tenku's model made them"),
    (Signature.MISSING, False, "other", Verdict.UNKNOWN, ""),
    (Signature.TAMPERED, False, "made", Verdict.TAMPERED, "pictures: look made by Tenku's model (95%)"),
    (Signature.MISSING, True, "other", Verdict.MARKED, ""),
])
def test_it_is_evidence_and_outweighs_nothing(signature, marked, says, verdict, line):
    mark = invisible.Finding(marked, 20.0 if marked else 1.0, 1e-50)
    looks = Opinion(says, 0.95, 3.0)
    report = judge(Manifest(signature), mark, visible.Finding(False, 0.0), looks=looks)
    assert report.verdict is verdict
    assert report.verdict.exit_code == 1
    said = [one for one in report.evidence if one.startswith("pictures: ")]
    assert said == ([line] if line else [])
    assert report.to_json()["looks"] == {"says": says, "probability": 0.95, "score": 3.0}


@pytest.mark.skipif(not BUNDLED.exists(), reason="none is bundled")
def test_the_bundled_one_knows_a_dreamt_clip_and_takes_drawn_ones_for_no_dream():
    from tenku.sampling.generate import generate

    assert BUNDLED.stat().st_size < 2 << 20
    [result] = generate("a red ball bounces on a beach at sunset", seconds=1, seed=5)
    assert load().look(result.clip.frames).says == "made"
    for frames in (scene(17), scene(1, 200, 120, seed=3), texture(17), texture(1, 128, 80, seed=2)):
        assert load().look(frames).says != "made"
