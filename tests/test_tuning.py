"""Fine-tuning: adapters of ours and of open models, newcomers, and what changes where they are laid over weights."""

from __future__ import annotations

import ctypes.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_models
import pytest
import torch

from tenku import rng
from tenku.cli import main
from tenku.data import ledger
from tenku.data.shards import ShardWriter
from tenku.engines.adapters import merged, second
from tenku.engines.bundled import Engine
from tenku.engines.loading import load
from tenku.engines.merging import merge
from tenku.engines.open import OpenEngine
from tenku.errors import UserError
from tenku.evaluation import recognising
from tenku.evaluation.probe import FIELDS, PROBE_PRESETS, Probe
from tenku.film.make import make
from tenku.film.storyboard import parse, read
from tenku.inputs import Lora
from tenku.model.adapter import Adapter
from tenku.model.checkpoint import read_header, read_tensors, sha256
from tenku.model.lightfield import LightField
from tenku.model.motion import plain
from tenku.model.rays import BOXES
from tenku.provenance.verify import Verdict, examine
from tenku.request import Request
from tenku.sampling.generate import generate
from tenku.training.adapting import fit, open_up
from tenku.training.tune import Tuning, others, tune, turned
from tenku.training.tune_open import OpenTuning, tune_open
from tenku.types import Clip
from tenku.world import captions, mentions, newcomers
from tenku.world.grammar import SUBJECTS
from tenku.world.motion import CAMERA, LOOKS, STATE, THING, THINGS
from tenku.world.newcomers import Newcomer

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

EGL = ctypes.util.find_library("EGL") is not None
# One of each family; of Wan the one with two networks, of Hunyuan the one that animates pictures.
FAMILIES = ("wan22", "ltx", "ltx2", "cogvideox15", "hunyuan15_i2v")


@pytest.fixture(scope="session")
def footage(tmp_path_factory) -> Path:
    """A folder of shards with three short clips, and its ledger."""
    folder = tmp_path_factory.mktemp("footage")
    with ShardWriter(folder / "000000.tar") as shard:
        for i in range(3):
            frames = np.full((9, 32, 64, 3), 60 * i, np.uint8)
            frames[:, 8:20, 10 : 20 + 5 * i] = (250, 20, 20)
            said = {"few": "a red ball", "sentence": "a red ball on the beach", "everything": "a red ball, a rabbit"}
            shard.add(f"{i:08d}", Clip(frames, 16.0), {"captions": said})
    ledger.write(folder, ledger.Ledger("CC0-1.0", "tests", "1", "none", {}, 3, 3, True))
    return folder


def velocity_of(engine: OpenEngine) -> torch.Tensor:
    grid = engine.grid(9, 32, 64, 16.0)
    schedule = engine.schedule(4, grid)
    seen = engine.see(None, grid)
    x = torch.randn(1, grid.tokens + engine.beside(grid), engine.channels, generator=torch.Generator().manual_seed(1))
    return engine.velocity("a red ball", schedule, seen)(x, float(schedule.sigmas[1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_an_open_model_is_what_diffusers_loads_and_merges(tmp_path, footage, family):
    import diffusers

    folder = open_models.write(family, tmp_path / family)
    before = velocity_of(load(str(folder)))
    path = tune_open(OpenTuning(footage, tmp_path / "run", str(folder), rank=2, steps=3, rate=0.05, word="sks"))
    assert json.loads(read_header(path)["ledgers"]) == [ledger.keep(footage)]
    assert sorted(p.name for p in (tmp_path / "run" / "samples").iterdir())[-1] == "000003.mp4"
    assert examine(tmp_path / "run" / "samples" / "000003.mp4").verdict is Verdict.MADE
    with_it = load(str(folder), [Lora(str(path))])
    after = velocity_of(with_it)
    assert (after - before).abs().max() > 1e-3
    assert with_it.ledgers == (ledger.keep(footage),)

    # diffusers alone, from the folder and the file
    kind = json.loads((folder / "model_index.json").read_text())["_class_name"]
    pipe = getattr(diffusers, kind).from_pretrained(folder)
    if hasattr(pipe, "load_lora_weights"):
        pipe.load_lora_weights(str(path.parent), weight_name=path.name)
        if second(path).exists():
            pipe.load_lora_weights(str(path.parent), weight_name=second(path).name, load_into_transformer_2=True)
    else:
        pipe.transformer.load_lora_adapter(str(path.parent), weight_name=path.name, prefix="transformer")
    theirs = type(with_it)(pipe, with_it.about)
    assert (velocity_of(theirs) - after).abs().max() < 1e-5

    whole = load(str(merged(with_it, tmp_path / "merged")))
    assert (velocity_of(whole) - after).abs().max() < 1e-5
    half = velocity_of(load(str(folder), [Lora(str(path), 0.0)]))
    assert (half - before).abs().max() < 1e-5


def test_all_weights_of_an_open_model_can_learn(tmp_path, footage):
    folder = open_models.write("ltx", tmp_path / "ltx")
    before = velocity_of(load(str(folder)))
    whole = tune_open(OpenTuning(footage, tmp_path / "run", str(folder), rank=0, steps=2, rate=0.01, samples=False))
    assert (velocity_of(load(str(whole))) - before).abs().max() > 1e-3


def test_an_adapter_of_another_model_is_a_users_mistake(tmp_path, footage, tiny_model):
    folder = open_models.write("ltx", tmp_path / "ltx")
    for wrong in (tiny_model / "codec.safetensors", tmp_path / "nowhere.safetensors"):
        for model in (str(folder), str(tiny_model)):
            with pytest.raises(UserError):
                load(model, [Lora(str(wrong))])


# -- ours -----------------------------------------------------------------------------------------------------


TEAPOT = Newcomer("teapot", like="robot", measures=(1.0, 0.9, 0.5))
ASKED = "a red teapot on a beach"


def teapot(k: Any, c: Any) -> None:
    k.ball((0, 0, 0.5), 0.45, c)
    k.box((0, 0, 0.5), (0.3, 0.2, 0.4), solid=True)


def test_a_newcomer_is_told_in_numbers_that_no_subject_has():
    code = torch.from_numpy(TEAPOT.code())
    assert torch.allclose(code @ BOXES, torch.tensor([0.57 * 0.9, 0.57 * 0.5, 0.57]), atol=1e-5)
    assert code.norm() == pytest.approx(1.0, abs=1e-5)
    apart = (torch.eye(len(SUBJECTS)) - code).norm(dim=1)
    assert apart.min() > 0.6
    assert np.array_equal(TEAPOT.code(), Newcomer.from_json(json.loads(json.dumps(TEAPOT.to_json()))).code())
    assert not np.array_equal(TEAPOT.code(), Newcomer("kettle", "robot", (1.0, 0.9, 0.5)).code())


@pytest.mark.parametrize("values", [("ball", "robot", (1, 1, 1)), ("Tea pot", "robot", (1, 1, 1)),
                                    ("teapot", "horse", (1, 1, 1)), ("teapot", "robot", (1, 1, 99))])
def test_what_is_no_newcomer_is_a_users_mistake(values):
    with pytest.raises(UserError):
        Newcomer(*values)


def test_texts_speak_of_newcomers_to_those_who_know_them():
    assert mentions.things("a small red teapot beside a blue ball")[0].subject == "ball"
    first, second = mentions.things("a small red teapot, and a blue ball", [TEAPOT])
    assert (first.subject, first.colour, first.size, second.subject) == ("teapot", "red", "small", "ball")
    assert first.height == pytest.approx(0.82)


@pytest.fixture(scope="session")
def teapots(tmp_path_factory) -> Path:
    """Three clips of a newcomer, in one shard."""
    from tenku.world.simulate import Format

    folder = tmp_path_factory.mktemp("teapots")
    with ShardWriter(folder / "000000.tar") as shard:
        for i in range(3):
            take = newcomers.render(TEAPOT, teapot, newcomers.scene(TEAPOT, i), Format(64, 48, 9, 16.0))
            said = {r: captions.caption(take.facts, r, rng.stream(i, "said")) for r in captions.REGISTERS}
            shard.add(f"{i:08d}", take.clip, {**take.facts, "captions": said})
            assert "teapot" in said["everything"]
            assert "robot" not in str(said)
    ledger.write(folder, ledger.Ledger("CC0-1.0", "tests", "1", "none", {}, 3, 3, True))
    return folder


def made(prompt: str = ASKED, **fields: Any) -> Any:
    [result] = generate(prompt=prompt, size="64x48", seconds=0.5, steps=4, **fields)
    return result


@pytest.fixture(scope="session")
def tuned(tmp_path_factory, teapots, tiny_model) -> Path:
    out = tmp_path_factory.mktemp("tuned")
    return tune(Tuning(teapots, out, tiny_model, rank=2, steps=3, word_steps=2, pictures=2, rehearsed=2, tokens=64))


@pytest.mark.skipif(not EGL, reason="worlds are rendered through EGL")
def test_an_adapter_teaches_a_subject_and_can_be_merged(tmp_path, teapots, tuned, tiny_model):
    model = str(tiny_model)
    before = made(model=model)
    assert any("teapot" in note for note in before.notes)
    after = made(model=model, lora=[str(tuned)])
    assert not any("teapot" in note for note in after.notes)
    knowing, plain = (load(model, some) for some in ([Lora(str(tuned))], ()))
    assert torch.equal(knowing.told([ASKED], 0)[0][0, 0, : len(SUBJECTS)], torch.from_numpy(TEAPOT.code()))
    assert not plain.told([ASKED], 0)[0].any()
    assert not torch.equal(knowing.field.thing.enter.weight, plain.field.thing.enter.weight)
    assert torch.equal(knowing.field.scene.enter.weight, plain.field.scene.enter.weight)
    assert torch.equal(knowing.motion.words.weight[:5], plain.motion.words.weight[:5])
    assert not torch.equal(knowing.motion.words.weight[5], plain.motion.words.weight[5])
    assert after.record["request"]["lora"] == [{"source": f"sha256:{sha256(tuned)}", "strength": 1.0}]
    assert after.weights_sha256 != before.weights_sha256
    assert after.ledgers == (ledger.keep(teapots),)
    assert examine(tuned.parent / "samples" / "000003.png").verdict is Verdict.MADE

    whole = made(model=str(merge(model, [Lora(str(tuned))], tmp_path / "merged")))
    assert np.abs(whole.clip.frames.astype(int) - after.clip.frames).max() <= 1
    for part in ("field", "motion", "transformer"):
        was, now = (getattr(load(str(name), some), part).state_dict() for name, some in (
            (model, [Lora(str(tuned))]), (tmp_path / "merged", ())))
        assert all((was[name] - now[name]).abs().max() < 1e-5 for name in was)
    assert whole.ledgers == after.ledgers
    off = made("a red ball on a beach", model=model, lora=[f"{tuned}:0"])
    assert np.array_equal(off.clip.frames, made("a red ball on a beach", model=model).clip.frames)
    with pytest.raises(UserError, match="known already"):
        made(model=model, lora=[str(tuned), str(tuned)])
    with pytest.raises(UserError, match="other weights"):
        made(model=str(tmp_path / "merged"), lora=[str(tuned)])


def test_a_run_that_was_interrupted_ends_with_the_same_weights(tmp_path):
    class Stopped(Exception):
        pass

    def run(folder: Path, stop: int | None) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = open_up(torch.nn.Sequential(torch.nn.Linear(4, 4)), 2, 2, "0", seed=0)

        def loss(step: int) -> tuple[torch.Tensor, float]:
            if step == stop:
                raise Stopped
            x = torch.from_numpy(rng.stream(step, "x").standard_normal((8, 4), dtype=np.float32))
            return (network(x) - 1).square().mean(), 1.0

        fit(folder, network, loss, 6, 0.1, {}, lambda *_: None, saves=6)
        return torch.cat([p.flatten() for p in network.parameters()])

    straight = run(tmp_path / "a", None)
    with pytest.raises(Stopped):
        run(tmp_path / "b", 4)
    assert torch.equal(run(tmp_path / "b", None), straight)


@pytest.mark.skipif(not EGL, reason="worlds are rendered through EGL")
def test_a_run_continues_and_says_so_where_it_is_another(teapots, tuned, tiny_model):
    args = Tuning(teapots, tuned.parent, tiny_model, rank=2, steps=3, word_steps=2, pictures=2, rehearsed=2, tokens=64)
    was = tuned.read_bytes()
    assert tune(args) == tuned
    assert tuned.read_bytes() == was
    with pytest.raises(UserError, match="another run"):
        tune(replace(args, seed=1))


@pytest.mark.skipif(not EGL, reason="worlds are rendered through EGL")
def test_all_weights_of_what_a_subject_looks_like_can_learn(tmp_path, teapots, tiny_model):
    args = Tuning(teapots, tmp_path, tiny_model, rank=0, steps=2, word_steps=1, pictures=2, rehearsed=2, tokens=64,
                  samples=False)
    whole = tune(args)
    was, now = (LightField.load(folder / "lightfield.safetensors").state_dict() for folder in (tiny_model, whole))
    changed = {name.partition(".")[0] for name in was if not torch.equal(was[name], now[name])}
    assert changed <= {"thing", "shade"}
    assert "thing" in changed
    assert not any("teapot" in note for note in made(model=str(whole)).notes)


def test_footage_teaches_the_transformer_alone(tmp_path, footage, tiny_model):
    path = tune(Tuning(footage, tmp_path, tiny_model, rank=2, steps=4, tokens=64, samples=False))
    names = set(read_tensors(path)[0])
    assert len(names) > 1
    assert all(name.startswith("transformer.blocks.") for name in names - {"transformer.new_words"})
    with_it = {"model": str(tiny_model), "lora": [str(path)]}
    assert any("rabbit" in note for note in made("a red rabbit", model=str(tiny_model)).notes)
    assert not made("a red rabbit", **with_it).notes
    merged = Engine(tiny_model, "tiny", adapters=[(Adapter.load(path), 1.0)])
    assert merged.words.words[-1] == "rabbit"
    row = merged.transformer.words.weight[len(merged.words.words)]
    assert torch.equal(row, read_tensors(path)[0]["transformer.new_words"][0])
    assert not torch.equal(row, merged.transformer.words.weight[1 : len(merged.words.words)].mean(0))  # it has learnt
    twice = Engine(tiny_model, "tiny", adapters=[(Adapter.load(path), 1.0), (Adapter.load(path), 0.5)])
    assert twice.words == merged.words  # a word that is known stays


@pytest.mark.skipif(not EGL, reason="worlds are rendered through EGL")
def test_a_film_with_an_adapter(tmp_path, teapots, tuned, tiny_model):
    board = tmp_path / "story.yaml"
    (tmp_path / "teapot.safetensors").write_bytes(tuned.read_bytes())
    head = f"size: 64x48\nsteps: 2\nmodel: {tiny_model}\n"
    shots = "shots: [{prompt: a teapot, seconds: 0.5}, {prompt: a red ball, seconds: 0.5, transition: dream 0.5}]"
    board.write_text(f"{head}lora: [teapot.safetensors:0.5]\n{shots}")
    film = make(read(board), tmp_path / "film.mp4")
    assert film.record["shots"][0]["lora"] == [{"source": f"sha256:{sha256(tuned)}", "strength": 0.5}]
    assert make(read(board), tmp_path / "film.mp4").made == 0
    assert ledger.keep(teapots) in examine(film.path).to_json()["signature"]["request"]["ledgers"]
    board.write_text(f"{head}lora: [teapot.safetensors]\n{shots}")
    assert make(read(board), tmp_path / "film.mp4").made == 3  # another strength is another model
    for wrong in ("../teapot.safetensors", "other.safetensors"):
        board.write_text(f"{head}lora: [{wrong}]\n{shots}")
        with pytest.raises(UserError, match=r"beside the storyboard|other\.safetensors"):
            make(read(board), tmp_path / "film.mp4")
    with pytest.raises(UserError, match="lora cannot be given here"):
        parse("lora: [teapot.safetensors]\nshots: [{prompt: a teapot}]", "story", None)


def test_rehearsed_things_are_turned_where_they_are_and_are_others():
    rows = plain(torch.from_numpy(rng.stream(0, "rows").standard_normal((3, STATE), dtype=np.float32)))
    found = turned(rows, rng.stream(1, "turns"))
    things, was = (r[:, CAMERA:].unflatten(1, (THINGS, THING)) for r in (found, rows))
    assert torch.equal(things[..., :4], was[..., :4])
    assert torch.equal(found[:, :CAMERA], rows[:, :CAMERA])
    front, left = things[..., 4:7], things[..., 7:10]
    assert torch.allclose(front.norm(dim=-1), torch.ones(3, THINGS), atol=1e-5)
    assert (front * left).sum(-1).abs().max() < 1e-5
    assert not torch.allclose(front, was[..., 4:7], atol=0.1)
    looks = torch.zeros(2, THINGS, LOOKS)
    looks[:, 0, 3] = 1.0
    other = others(looks, rng.stream(2, "looks"))
    assert (other[:, 0, : len(SUBJECTS)].sum(-1) == 1).all()
    assert not other[:, 1:].any()


def test_a_recogniser_learns_an_answer_and_leaves_the_others():
    probe = Probe(PROBE_PRESETS["tiny"]).eval()
    clips = [Clip(rng.stream(i, "clips").integers(0, 255, (17, 80, 128, 3), dtype=np.uint8), 8.0) for i in range(2)]
    clips += [Clip(np.full((17, 80, 128, 3), 40 * i, np.uint8), 8.0) for i in range(2)]
    seen = [recognising.look(probe, clip) for clip in clips]
    found = recognising.learn(probe, "teapot", seen[:2], seen[2:])
    assert recognising.floor(found, clips[:2], clips[2:]) == {"recognised": 1.0, "taken for it": 0.0}
    known = recognising.look(probe, clips[3])[0]
    assert found.read(clips[3])["colour"] == FIELDS["colour"][int(known["colour"][0].argmax())]


@pytest.mark.parametrize("words", [["lora", "--data", "nowhere", "--out", "x"], ["merge", "none", "--out", "x"],
                                   ["lora", "--data", ".", "--out", "x", "--rank", "0"],
                                   ["full", "--data", ".", "--out", "x", "--steps", "0"],
                                   ["lora", "--data", ".", "--out", "x", "--word", "sks"]])
def test_wrong_words_are_users_mistakes(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["tune", *words]) == 2
    assert "error: " in capsys.readouterr().err


def test_a_request_reads_adapters():
    request = Request(prompt="a ball", lora=["a.safetensors:0.5", "b.safetensors"])
    assert request.lora == (Lora("a.safetensors", 0.5), Lora("b.safetensors"))
    assert Request.from_json(request.to_json()) == request
