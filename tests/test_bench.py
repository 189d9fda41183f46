"""`tenku bench` runs whole on an untrained model, and its arithmetic is right."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from pathlib import Path

import pytest
import torch

from tenku.cli import main
from tenku.config import TRANSFORMER_PRESETS
from tenku.evaluation.bench import PARTS, machine, packing, page, race, timing
from tenku.evaluation.bench.course import shards
from tenku.evaluation.bench.packing import Sample
from tenku.evaluation.bench.peers import KINDS, build, size
from tenku.evaluation.bench.race import Entry, Point
from tenku.model.patches import Grid
from tenku.rng import normal, stream

TINY = TRANSFORMER_PRESETS["tiny"]
GRID = Grid(3, 2, 4)
quiet = pytest.mark.filterwarnings("ignore")  # diffusers' own, which the command silences too


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    assert main(["world", "make", "--out", str(folder), "--clips", "6", "--seed", "1", "--workers", "1",
                 "--mix", "64x48x17:3,48x48x9:1"]) == 0
    return folder


@quiet
def test_everything_is_measured_on_a_tiny_model(tiny_model, world, tmp_path, capsys):
    out = tmp_path / "bench"
    assert main(["bench", "--quick", "--rounds", "1", "--flops", "1", "--busy", "--json", "--model", str(tiny_model),
                 "--data", str(world), "--out", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((out / "bench.json").read_text())
    assert set(report) >= {*PARTS, "machine", "others", "seconds", "notes"}
    racers = report["training"]["racers"]
    assert set(racers) == {"ours", "ours, Muon", "ours, as trained", *KINDS}
    for row in racers.values():
        assert row["tokens_per_s"]["value"] > 0
        assert 0 < row["of_gemm"]["fp32"] < 10
        assert row["curve"][-1]["flops"] >= row["flops_a_step"]
    assert racers["ours, Muon"]["flops_a_step"] > racers["ours"]["flops_a_step"]  # Muon's own products count
    assert set(racers["ours"]["against"]) == set(KINDS)
    assert report["packing"]["ways"]["packed"]["waste_pictures"] == 0
    [clips] = report["making"]["clips"].values()
    assert clips["encoded"]["seconds"]["value"] > clips["dreamt"]["seconds"]["value"] > 0
    assert report["start"]["import and load"]["value"] > report["start"]["tenku --help"]["value"]
    html = (out / "index.html").read_text()
    assert html.count("<svg") >= 8
    assert not re.search(r'(src|href)=|url\(|@import|<script|https?://', html)  # it loads nothing


def test_a_busy_machine_is_refused_and_a_flag_goes_on(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(os, "getloadavg", lambda: (2.25, 0.0, 0.0))
    assert main(["bench", "--out", str(tmp_path / "bench")]) == 2
    assert capsys.readouterr().err == ("error: the machine is busy: load average 2.2 in the last minute, timings would "
                                       "mean little\nhint: wait until it is below 0.5, or measure all the same: "
                                       "--busy\n")
    assert not (tmp_path / "bench").exists()
    assert "2.2" in machine.need_idle(True)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 9.0, 9.0))
    assert machine.need_idle(False) == ""


@pytest.mark.parametrize("words", [["nothing"], ["--flops", "-1"], ["--rounds", "0"], ["--flops", "nan"],
                                   ["training", "--busy", "--data", "nowhere"]])
def test_wrong_words_are_users_mistakes(words, capsys, tmp_path, tiny_model):
    assert main(["bench", "--model", str(tiny_model), "--out", str(tmp_path), *words]) == 2
    assert "hint: " in capsys.readouterr().err


def test_medians_intervals_hold_as_often_as_they_say():
    for n in (6, 9, 25):
        figure = timing.median(range(n))
        assert figure.value == (n - 1) / 2
        assert figure.count == n
        # the true median lies below the interval if at most `low` values do, and so above: binomial tails
        missed = 2 * sum(math.comb(n, k) for k in range(int(figure.low) + 1)) / 2**n
        wider = missed + 2 * math.comb(n, int(figure.low) + 1) / 2**n
        assert missed <= 0.05 < wider
        assert figure.high == n - 1 - figure.low
    assert (timing.median([3.0]).low, timing.median([2.0, 1.0]).high) == (3.0, 2.0)


def test_turns_begin_with_another_each_time_and_ratios_are_of_neighbours():
    order: list[str] = []
    times = timing.in_turns({name: lambda name=name: order.append(name) for name in "abc"}, 3)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {len(values) for values in times.values()} == {3}
    # each round is slower than the one before: medians of either alone say nothing of this
    assert timing.ratio({"a": [1.0, 2.0, 4.0], "b": [3.0, 6.0, 12.0]}, "a", "b").low == 3.0


def test_what_others_use_is_what_is_not_ours(monkeypatch):
    readings = iter([(0.0, 100.0, 7.0), (10.0, 115.0, 12.0)])
    monkeypatch.setattr(machine, "_used", lambda: next(readings))
    assert machine.Watch().others() == pytest.approx(1.0)


@quiet
def test_peers_are_as_large_as_ours():
    with torch.device("meta"):
        ours = size(build("ours", TRANSFORMER_PRESETS["nano"]))
        for name in KINDS:
            assert size(build(name, TRANSFORMER_PRESETS["nano"])) == pytest.approx(ours, rel=0.13), name


@quiet
@pytest.mark.parametrize("name", ["ours", "ours, told", *KINDS])
def test_everybody_sees_noise_level_words_and_all_latents(name):
    racer = build(name, TINY)
    with torch.no_grad():  # what begins as nothing is given something
        for number, parameter in enumerate(racer.parameters()):
            parameter += 0.05 * normal(tuple(parameter.shape), number, "test")
    x = normal((2, 3, 2, 4, 32), 0, "test", "x")
    told = normal((2, 24, TINY.motion + 32), 0, "test", "told")
    words, sigma = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([0.2, 0.8])

    def v(x=x, sigma=sigma, words=words, told=told):
        with torch.no_grad():
            return racer(x, sigma, words, GRID, told)

    plain = v()
    assert plain.shape == x.shape
    assert not torch.allclose(plain, v(sigma=sigma.flip(0)), atol=1e-4)
    assert not torch.allclose(plain, v(words=words.flip(1)), atol=1e-6)
    assert torch.allclose(plain, v(told=told + 1), atol=1e-6) == (name != "ours, told")
    moved = x.clone()
    moved[0, 2, 1, 3] += 1
    change = (v(moved) - plain).abs().amax(-1)
    assert (change[0] > 0).all()  # of the farthest latent, everywhere
    assert change[1].max() < 1e-5  # and of no other clip
    swapped = v(x.flip(1)).flip(1)
    assert not torch.allclose(plain, swapped, atol=1e-6)  # positions count


def test_flops_are_those_of_the_formula():
    racer = build("ours", TINY)
    x, sigma, words = torch.zeros(1, 3, 2, 4, 32), torch.zeros(1), torch.zeros(1, 16, dtype=torch.int64)
    read = racer.read(words, GRID, None)
    counted = race.count(lambda: racer.velocity(x, sigma, GRID, read))
    assert counted == pytest.approx(24 * racer.core.config.flops_per_token(24, 16), rel=0.12)  # and the modulation


def entry(*points: tuple[float, float]) -> Entry:
    made = race.enter("ours", TINY, 0, 1e-3)
    made.curve = [Point(flops, 0.0, [loss]) for flops, loss in points]
    return made


def test_a_loss_is_reached_between_two_points():
    one = entry((100.0, 2.0), (400.0, 1.0))
    assert race.reaches(one, 1.5) == pytest.approx(200.0)
    assert race.reaches(one, 3.0) == 100.0
    assert race.reaches(one, 0.5) is None


def test_times_are_compared_in_rounds_that_all_had():
    one, other = entry((1.0, 1.0)), entry((1.0, 1.0))
    other.name = "other"
    one.seconds, one.rounds = [1.0, 2.0, 3.0], [1, 2, 3]
    other.seconds, other.rounds = [20.0, 30.0, 40.0], [2, 3, 4]
    assert race.times([one, other]) == {"ours": [2.0, 3.0], "other": [20.0, 30.0]}


def test_padded_batches_hold_every_clip_and_keep_to_the_budget():
    draw = stream(0, "test", "padding")
    clips = []
    for _ in range(40):
        canvas, known, words = (int(draw.integers(1, n)) for n in (40, 20, 30))
        parts = [tuple(torch.zeros(n, width) for width in (4, 3, 5)) for n in (canvas, known)]
        clips.append(Sample(parts[0], parts[1], [1] * words, torch.zeros(2)))
    batches = packing.padded(clips, 256)
    assert sorted(map(id, itertools.chain(*batches))) == sorted(map(id, clips))
    assert all(packing._tokens(batch) <= 256 for batch in batches)
    real = sum(sum(sample.sizes) for sample in clips)
    assert real < sum(map(packing._tokens, batches))


def test_shards_are_linked_with_their_latents(tiny_model, world, tmp_path):
    from tenku.data.latents import Latents
    from tenku.engines.bundled import load

    engine = load(str(tiny_model))
    held = Latents(world, engine.codec, engine.field).count
    folder = shards(world, tmp_path, engine, 5, print)
    [latents] = [path for path in folder.iterdir() if path.is_dir()]
    assert all(path.is_symlink() for path in latents.iterdir())
    assert Latents(folder, engine.codec, engine.field).count == held == 6


def test_plots_say_names_as_they_are():
    svg = page.bars({"<a> & b": {"value": 1.0, "low": 0.5, "high": 2.0}}, "x")
    assert "&lt;a&gt; &amp; b" in svg
    assert page.curves({"ours": []}, "FLOP") == ""
    assert page.curves({"ours": [(1.0, 2.0)]}, "FLOP").count("<polyline") == 1
