"""Evaluation: figures against known values, the fixed prompts, a whole small run, its resumption and its page."""

from __future__ import annotations

import json
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from tenku import rng
from tenku.cli import main
from tenku.errors import UserError
from tenku.evaluation import metrics, prompts, truth
from tenku.evaluation.benchmark import Reading, Report, Settings
from tenku.evaluation.metrics import Figure
from tenku.evaluation.page import page
from tenku.evaluation.probe import BUNDLED, FIELDS, PROBE_PRESETS, Probe, expected
from tenku.evaluation.report import table
from tenku.evaluation.sheet import strip
from tenku.model.checkpoint import sha256
from tenku.types import Clip
from tenku.world import grammar

# -- figures --------------------------------------------------------------------------------------------------


def test_wilson_gives_the_textbook_intervals() -> None:
    assert metrics.wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert metrics.wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert metrics.wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_wilson_covers_what_it_promises() -> None:
    draw = rng.stream(0, "coverage")
    for share in (0.1, 0.5, 0.9):
        counts = draw.binomial(50, share, 2000)
        held = [low <= share <= high for low, high in (metrics.wilson(c / 50, 50) for c in counts)]
        assert 0.93 < np.mean(held) < 0.98


def test_agreement_counts_prompts_and_averages_takes() -> None:
    figure = metrics.agreement([[True, False], [True, True], [False, False], [True, True]])
    assert figure is not None
    assert (figure.value, figure.count) == (0.625, 4)
    assert (figure.low, figure.high) == metrics.wilson(0.625, 4)
    assert metrics.agreement([]) is None


def test_mean_and_its_interval() -> None:
    figure = metrics.mean([1.0, 2.0, 3.0, 4.0])
    assert figure is not None
    half = 1.959964 * np.std([1, 2, 3, 4], ddof=1) / 2
    assert (figure.value, figure.low, figure.high) == pytest.approx((2.5, 2.5 - half, 2.5 + half))
    assert metrics.mean([]) is None
    assert metrics.mean([3.0]) == Figure(3.0, 3.0, 3.0, 1)


def test_psnr_of_a_known_error() -> None:
    a = np.zeros((2, 4, 4, 3), np.uint8)
    assert metrics.psnr(a, a + 5) == pytest.approx(10 * np.log10(255**2 / 25))
    assert metrics.psnr(a, a) == 100.0


def test_figures_survive_json() -> None:
    figure = Figure(0.5, 0.25, 0.75, 8)
    assert Figure.from_json(json.loads(json.dumps(figure.to_json()))) == figure
    floor = truth.Floor({"light": figure}, {"light": figure}, "eight scenes")
    assert truth.Floor.from_json(json.loads(json.dumps(floor.to_json()))) == floor


def test_all_six_is_the_share_of_clips_without_a_miss() -> None:
    good, bad = dict.fromkeys(FIELDS, True), {**dict.fromkeys(FIELDS, True), "light": False}
    found = truth.figures([[good, bad], [bad, bad]])
    assert found["all six"].value == 0.25
    assert found["light"].value == 0.25
    assert found["subject"].value == 1.0


# -- prompts --------------------------------------------------------------------------------------------------


def test_the_committed_prompts_are_those_of_the_grammar() -> None:
    assert prompts.PATH.read_text() == prompts.dump(prompts.compose())


def test_prompts_are_balanced_possible_and_a_quarter_held_out() -> None:
    chosen = prompts.load()
    assert len(chosen) == len({p.text for p in chosen}) == 400
    assert sum(bool(p.held_out) for p in chosen) == 100
    assert sum(bool(p.held_out) for p in chosen[:20]) == 5  # a first part holds its share
    for field, answers in FIELDS.items():
        counts = Counter(expected(p.scene)[field] for p in chosen)
        assert set(counts) == set(answers)
        assert max(counts.values()) <= 1.25 * min(counts.values())
    for p in chosen:
        main_thing = p.scene.things[0]
        assert main_thing.action in grammar.actions(main_thing.subject, p.scene.place)
        assert p.scene.camera in grammar.cameras(main_thing.action)
        assert p.held_out == grammar.held_out(p.scene)
        assert len(p.scene.things) == (2 if main_thing.action == "is hit" else 1)
        assert main_thing.subject in p.text
        assert main_thing.colour in p.text


def test_prompts_say_what_hits() -> None:
    hit = [p for p in prompts.load() if p.scene.things[0].action == "is hit"]
    for p in hit:
        assert f"is hit by a {p.scene.things[1].colour} {p.scene.things[1].subject}".replace(
            "a orange", "an orange") in p.text


def test_prompts_of_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        prompts.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('[{"text": "x"}]')
    with pytest.raises(UserError, match="no list of prompts"):
        prompts.load(tmp_path / "bad.json")


# -- a whole run ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = Probe(PROBE_PRESETS["tiny"])
    path = tmp_path_factory.mktemp("probe") / "probe.safetensors"
    untrained.save(path, half=True)
    return path


@pytest.fixture(scope="module")
def command(probe: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return ["eval", "--model", str(tiny_model), "--probe", str(probe), "--limit", "2", "--seeds", "2", "--steps", "1",
            "--guidance", "1", "--codec-clips", "2", "--out", str(tmp_path_factory.mktemp("eval"))]


@pytest.fixture(scope="module")
def evaluated(command: list[str]) -> Path:
    assert main(command) == 0
    return Path(command[-1])


def test_the_report_says_everything(evaluated: Path, probe: Path) -> None:
    report = json.loads((evaluated / "report.json").read_text())
    assert report["probe_sha256"] == sha256(probe)
    assert (report["prompts"], report["takes"], report["steps"]) == (2, 2, 1)
    assert set(report["figures"]) == {"all", "truth", "truth through codec"}  # the first two hold none that is held out
    for rows in report["figures"].values():
        assert set(rows) == {*FIELDS, "all six"}
        assert all(0 <= f["low"] <= f["value"] <= f["high"] <= 1 and f["count"] == 2 for f in rows.values())
    assert report["codec_psnr_db"]["count"] == 2
    assert report["seconds_per_clip"]["count"] == 4
    for clip in report["clips"]:
        assert (evaluated / clip["file"]).stat().st_size > 1000
        assert set(clip["read"]) == set(clip["wanted"]) == set(FIELDS)
    shares = [np.mean([c["read"][f] == c["wanted"][f] for c in report["clips"]]) for f in FIELDS]
    assert shares == pytest.approx([report["figures"]["all"][f]["value"] for f in FIELDS], abs=1e-4)


def test_the_clips_passed_the_seal(evaluated: Path) -> None:
    assert main(["verify", str(evaluated / "clips" / "000-0.mp4")]) == 0


def test_a_run_goes_on_where_it_was(
    command: list[str], evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in (evaluated / "clips").iterdir()}
    report = (evaluated / "report.json").read_text()
    (evaluated / "clips" / "001-0.json").unlink()  # killed before this one was read
    (evaluated / "report.json").unlink()
    assert main([*command, "--json"]) == 0
    after = {p.name: p.stat().st_mtime_ns for p in (evaluated / "clips").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"001-0.json", "001-0.mp4"}
    again, earlier = json.loads((evaluated / "report.json").read_text()), json.loads(report)
    assert again["figures"] == earlier["figures"]
    assert [c["read"] for c in again["clips"]] == [c["read"] for c in earlier["clips"]]
    assert json.loads(capsys.readouterr().out) == again


def test_without_mujoco_the_run_says_what_is_missing(
    command: list[str], evaluated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = (evaluated / "truth.json").read_text()
    (evaluated / "truth.json").unlink()
    monkeypatch.setitem(sys.modules, "tenku.world.simulate", None)
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "MuJoCo is missing" in said
    assert "no floor for this probe" in said
    assert "truth through codec" not in said
    (evaluated / "truth.json").write_text(kept)
    assert main(command) == 0


def test_a_floor_can_be_kept(
    command: list[str], evaluated: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--floor", str(tmp_path / "floor.json")]) == 0
    kept = truth.committed(sha256(probe), tmp_path / "floor.json")
    assert kept is not None
    assert kept.to_json() == json.loads((evaluated / "truth.json").read_text())["floor"]
    assert truth.committed("another probe", tmp_path / "floor.json") is None
    assert "truth through codec" in capsys.readouterr().out


def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flag, value in (("--seeds", "0"), ("--limit", "-1"), ("--limit", "many"), ("--codec-clips", "-1")):
        assert main(["eval", flag, value, "--out", str(tmp_path / "out")]) == 2
    assert main(["eval", "--model", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("hint:") >= 4
    assert not (tmp_path / "out").exists()


# -- the page and the table -----------------------------------------------------------------------------------


def report() -> Report:
    """Four prompts, the last held out; every first take right, every second wrong about the light."""
    chosen = prompts.load()[:4]
    readings = []
    for number, prompt in enumerate(chosen):
        right = {field: (word, 0.9) for field, word in expected(prompt.scene).items()}
        other = next(light for light in grammar.LIGHTS if light != prompt.scene.light)
        readings += [Reading(number, 0, right, 2.0, f"clips/{number}-0.mp4"),
                     Reading(number, 1, {**right, "light": (other, 0.6)}, 4.0, f"clips/{number}-1.mp4")]
    facts = {"model": "tenku-<nano>", "weights_sha256": "a" * 64, "probe_sha256": "b" * 64, "prompts": 4, "takes": 2,
             "steps": 30, "guidance": 4.0}
    return Report(facts, chosen, readings, None, None, ["codec & floor were not measured"])


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.cards: list[dict[str, str | None]] = []
        self.misses = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags[tag] += 1
        self.links += [v for k, v in attrs if k in ("src", "href") and v]
        self.misses += values.get("class") == "miss"
        if tag == "article":
            self.cards.append(values)


def test_the_page_has_every_clip_and_loads_nothing_else() -> None:
    text = page(report())
    reader = Reader()
    reader.feed(text)
    assert reader.tags["video"] == 8
    assert reader.links == [f"clips/{n}-{t}.mp4" for n in range(4) for t in range(2)]
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert reader.misses == 4
    assert [card["data-misses"] for card in reader.cards] == ["light"] * 4
    assert [card["data-held"] for card in reader.cards] == ["", "", "", "yes"]
    assert "tenku-&lt;nano&gt;" in text  # escaped
    assert "codec &amp; floor were not measured" in text
    for prompt in prompts.load()[:4]:
        assert prompt.text in text


def test_the_table_has_a_row_per_field_and_a_column_per_figure() -> None:
    lines = table(report()).splitlines()
    assert lines[0].split("  ")[0] == "field"
    assert [line.split("  ")[0].strip() for line in lines[1:8]] == [*FIELDS, "all six"]
    light = next(line for line in lines if line.startswith("light"))
    assert light.count("50.0%") == 2  # all, held out
    assert "3.00 s per clip" in table(report())
    assert "note: codec & floor were not measured" in lines


def test_confusions_name_what_was_read_instead() -> None:
    found = report().confusions()
    assert sum(n for _, _, n in found["light"]) == 4
    assert found["subject"] == []


def test_every_take_has_noise_of_its_own() -> None:
    chosen = prompts.load()
    settings = Settings(Path("out"))
    seeds = [settings.request(p, n, t).seed for n, p in enumerate(chosen) for t in range(3)]
    assert len(set(seeds)) == len(seeds)
    request = settings.request(chosen[0], 0, 0)
    assert (request.frames, str(request.size), request.fps) == (truth.FRAMES, "128x80", truth.FPS)


@pytest.mark.skipif(not truth.COMMITTED.exists(), reason="the floor is not committed yet")
def test_the_committed_floor_is_that_of_the_bundled_probe() -> None:
    floor = truth.committed(sha256(BUNDLED))
    assert floor is not None
    assert set(floor.plain) == set(floor.coded) == {*FIELDS, "all six"}


# -- contact sheets -------------------------------------------------------------------------------------------


def test_a_strip_has_a_row_per_clip() -> None:
    clips = [Clip(rng.stream(i, "strip").integers(0, 256, (n, 20, 30, 3), dtype=np.uint8), 8.0)
             for i, n in enumerate((9, 1))]
    sheet = strip(clips, ["nine frames", "one frame"], frames=3, scale=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 3 * 60 + 2 * 2
    assert np.array_equal(sheet[-40:, :60], clips[1].frames[0].repeat(2, 0).repeat(2, 1))
    label = sheet.shape[0] // 2 - 40
    assert np.array_equal(sheet[label : label + 40, -60:], clips[0].frames[8].repeat(2, 0).repeat(2, 1))
    assert sheet[:label].std() > 5  # letters
    narrow = strip(clips, ["a label of so many words that one line will not do", ""], frames=1, scale=1)
    assert narrow.shape[1] == 30
    with pytest.raises(ValueError, match="one label each"):
        strip(clips, ["one"])
    with pytest.raises(ValueError, match="1 or more"):
        strip(clips, ["one", "two"], frames=0)
