"""Training for real at tiny size: world shards in, a model out, killed and resumed to the same bits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tenku import rng
from tenku.cli import main
from tenku.config import MOTION_PRESETS, TRANSFORMER_PRESETS, LightFieldConfig
from tenku.data.latents import KNOWN, Group, Latents, Motions, caption_batch, known_set, mirrored
from tenku.data.shards import iter_clips, iter_facts
from tenku.errors import UserError
from tenku.model.checkpoint import read_tensors
from tenku.model.codec import Codec
from tenku.model.lightfield import LightField
from tenku.model.motion import FEATURES, nearness
from tenku.model.patches import Grid
from tenku.model.transformer import Transformer
from tenku.request import Request
from tenku.sampling.generate import generate
from tenku.training import samples
from tenku.training.codec import CodecTraining, Crops, codec_loss, train_codec
from tenku.training.lightfield import LightFieldTraining, Shots, batch, train_light_field
from tenku.training.matching import Hands, group_loss, vocabulary
from tenku.training.motion import MotionTraining, train_motion
from tenku.training.run import Ema, Optimizer, learning_rate
from tenku.training.video import VideoTraining, train_video

ALL = samples.PROMPTS


@pytest.fixture(scope="module", autouse=True)
def _one_sample() -> Iterator[None]:
    """A run's sheet shows one prompt, for the eight took longer than most of these runs; one test makes them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "PROMPTS", ALL[:1])
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    assert main(["world", "make", "--out", str(folder), "--clips", "12", "--seed", "1", "--workers", "1",
                 "--mix", "64x48x17:3,48x48x9:1"]) == 0
    return folder


@pytest.fixture(scope="module")
def codec(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("codec")
    return train_codec(CodecTraining(world, out, "tiny", steps=6, batch=2, crop=32, frames=9))


@pytest.fixture(scope="module")
def field(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("field") / "lightfield.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LightField(LightFieldConfig(width=16)).save(path)  # that it learns has a test of its own
    return path


def video(world: Path, codec: Path, field: Path, out: Path, steps: int = 5) -> VideoTraining:
    return VideoTraining(world, codec, field, out, "tiny", steps=steps, tokens=512)


@pytest.fixture(scope="module")
def model(world: Path, codec: Path, field: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = train_video(video(world, codec, field, tmp_path_factory.mktemp("video")))
    moves = train_motion(MotionTraining(world, codec, tmp_path_factory.mktemp("motion"), preset="tiny", steps=8,
                                        tokens=512))
    shutil.copy(moves, path.parent)
    return path


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_tensors(path)[0]


def same(a: Path, b: Path) -> bool:
    x, y = weights(a), weights(b)
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def test_the_codec_learns(world: Path, tmp_path: Path) -> None:
    path = train_codec(CodecTraining(world, tmp_path, "tiny", steps=60, batch=4, crop=32, frames=9, rate=5e-3))
    trained = Codec.load(path)
    clips = [item.clip for item in iter_clips(world)]
    truth = Crops(clips, 12, 9, 32).batch(rng.stream(0, "look"), 16)
    latents = trained.encode(truth)
    with torch.no_grad():
        learned = codec_loss(trained.decode(latents), truth)
        linear = codec_loss(trained.decode_linear(latents), truth)
    assert learned < linear - 0.01  # 0.09 dB in the first term
    figures = json.loads(read_tensors(path)[1]["figures"])
    assert figures["psnr"] > figures["linear_psnr"] - 0.5
    assert list((tmp_path / "tensorboard").iterdir())


@torch.no_grad()
def loss(model: Transformer, pool: Latents | Motions) -> float:
    words, found = vocabulary(), []
    for i in range(8):
        draw = rng.stream(9, "look", i)
        group = pool.draw(draw, 256)
        rows = caption_batch([words.encode(c, 96)[0] for c in group.captions], 16)
        found.append(float(group_loss(model, group, rows, draw)))
    return float(np.mean(found))


def test_motion_is_learnt(world: Path, codec: Path, tmp_path: Path) -> None:
    settings = MotionTraining(world, codec, tmp_path, preset="tiny", steps=200, tokens=384)
    trained = Transformer.load(train_motion(settings))
    fresh = Transformer(MOTION_PRESETS["tiny"])
    motions = Motions((world,), Codec.load(codec))
    assert motions.count == 12
    with pytest.raises(UserError, match="another size"):
        train_motion(MotionTraining(world, codec, tmp_path / "other", start=tmp_path / "motion.safetensors"))
    assert loss(trained, motions) < 0.75 * loss(fresh, motions)


def test_what_cameras_and_things_do_rarely_is_learnt_oftener(world: Path, codec: Path) -> None:
    motions = Motions((world,), Codec.load(codec))
    bucket = max(motions.clips, key=lambda bucket: len(motions.clips[bucket]))  # 64x48x17
    told = [facts for _, facts in iter_facts(world) if facts["width"] == 64]
    draw = np.random.default_rng(0)
    picked = Counter(motions.pick(bucket, draw) for _ in range(4000))
    assert set(picked) == set(range(len(told)))
    cameras = Counter(facts["scene"]["camera"] for _, facts in iter_facts(world))
    actions = Counter(facts["things"][0]["action"] for _, facts in iter_facts(world))
    often = [cameras[facts["scene"]["camera"]] * actions[facts["things"][0]["action"]] for facts in told]
    assert max(often) > 2 * min(often)
    expected = np.array(often) ** -0.5
    found = np.array([picked[i] for i in range(len(told))]) / 4000
    assert np.allclose(found, expected / expected.sum(), atol=0.03)


def test_groups_side_by_side_add_up_to_the_same_gradient(world: Path, codec: Path, field: Path) -> None:
    latents, words = Latents(world, Codec.load(codec), LightField.load(field)), vocabulary()
    torch.manual_seed(0)
    model = Transformer(TRANSFORMER_PRESETS["tiny"])
    torch.nn.init.normal_(model.leave.weight)

    def work(twin: Transformer, part: int) -> tuple[float, float]:
        draw = rng.stream(3, "group", part)
        group: Group = latents.draw(draw, 256)
        rows = caption_batch([words.encode(c, 96)[0] for c in group.captions], 16)
        found = group_loss(twin, group, rows, draw)
        found.backward()
        return float(found.detach()), 0.0

    alone = [work(model, part)[0] for part in range(3)]
    wanted = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    assert [value for value, _ in Hands(model, 3).gather(work)] == alone
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[n], wanted[n]) for n in wanted)


def test_a_codec_run_from_another_keeps_its_encoder(world: Path, codec: Path, tmp_path: Path) -> None:
    path = train_codec(CodecTraining(world, tmp_path, "tiny", steps=2, batch=2, frames=9, seed=5, start=codec))
    before, after = weights(codec), weights(path)
    assert all(torch.equal(before[k], after[k]) for k in ("basis", "mean", "scale"))
    assert not torch.equal(before["enter.weight"], after["enter.weight"])
    with pytest.raises(UserError, match="another size"):
        train_codec(CodecTraining(world, tmp_path / "nano", "nano", steps=2, start=codec))


def test_pieces_are_whole_pictures_of_one_size_where_they_are_small(world: Path) -> None:
    clips = [item.clip for item in iter_clips(world)]
    crops = Crops(clips, 12, 9, 56)
    shapes = {tuple(crops.batch(rng.stream(i, "pieces"), 2).shape) for i in range(30)}
    assert shapes == {(2, 9, 48, 56, 3), (2, 9, 48, 48, 3)}


def test_the_codecs_loss_counts_decibels() -> None:
    truth = rng.normal((2, 3, 4, 4, 3), 0, "truth")
    near = codec_loss(truth + 0.1, truth)  # a shift has no edges: what is left is its Charbonnier distance
    far = codec_loss(truth + 0.2, truth)
    assert float(far - near) == pytest.approx(np.log(2) + 0.1, abs=1e-2)


def test_the_transformer_learns(
    world: Path, codec: Path, field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "PROMPTS", ALL)
    trained = Transformer.load(train_video(video(world, codec, field, tmp_path, 150)))
    fresh = Transformer(TRANSFORMER_PRESETS["tiny"])  # predicts nothing: costs the variance of noise and data
    latents = Latents(world, Codec.load(codec), LightField.load(field))
    assert loss(trained, latents) < 0.75 * loss(fresh, latents)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 150
    assert rows[-1]["flops"] > 0
    assert (tmp_path / "samples" / "000150.png").exists()


@pytest.mark.parametrize("stop", [3])
def test_a_run_killed_and_started_again_ends_where_it_would_have(
    world: Path, codec: Path, field: Path, model: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Killed without a word by the system at a step that the clock chooses, in a process of its own, whose
    # checkpoints come at every step; what it had not saved is lost, and made again.
    script = (
        "import sys, tenku.training.run as r, tenku.training.samples as s, torch\n"
        "from pathlib import Path\n"
        "from tenku.training.video import VideoTraining, train_video\n"
        "torch.set_num_threads(1)\n"
        "r.CHECKPOINT_SECONDS = 0.0\n"
        "s.PROMPTS = s.PROMPTS[:1]\n"
        "w, c, f, o = map(Path, sys.argv[1:])\n"
        "train_video(VideoTraining(w, c, f, o, 'tiny', steps=5, tokens=512), lambda s: print(s, flush=True))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(world), str(codec), str(field), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == str(stop):
            break
    time.sleep(float(rng.stream(int(time.time() * 1e6), "kill").random()) * 0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    header = read_tensors(tmp_path / "state.safetensors")[1]
    assert int(header["step"]) >= stop - 1
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-2:] != []
    assert same(tmp_path / "transformer.safetensors", model)


def test_another_run_in_the_same_folder_is_refused(world: Path, codec: Path, field: Path, model: Path) -> None:
    with pytest.raises(UserError, match="holds another run"):
        train_video(VideoTraining(world, codec, field, model.parent, "tiny", steps=9, tokens=256))


def test_the_trained_folder_generates(model: Path) -> None:
    asked = {"size": "64x48", "steps": 3, "seed": 5, "model": str(model.parent)}
    a = generate("a red ball bounces", seconds=1, **asked)[0]
    again = generate("a red ball bounces", seconds=1, **asked)[0]
    other = generate("a red ball bounces", seconds=1, **{**asked, "seed": 6})[0]
    assert a.clip.frames.shape == (17, 48, 64, 3)
    assert np.array_equal(a.clip.frames, again.clip.frames)
    assert not np.array_equal(a.clip.frames, other.clip.frames)


def test_a_sample_is_the_same_alone_and_among_others(model: Path) -> None:
    asked = {"size": "64x48", "steps": 3, "seconds": 1, "model": str(model.parent)}
    batch = generate("a red ball bounces", seed=5, samples=3, **asked)
    alone = generate("a red ball bounces", seed=7, **asked)[0]
    difference = np.abs(batch[2].clip.frames.astype(int) - alone.clip.frames.astype(int))
    assert difference.max() <= 1


def test_images_odd_sizes_long_clips_and_previews(model: Path) -> None:
    seen = []
    asked = {"steps": 2, "model": str(model.parent)}
    image = generate("a cube", size="50x70", seconds=0, **asked)[0]
    assert image.clip.frames.shape == (1, 70, 50, 3)
    long = generate("a dragon and a cube", on_step=seen.append, size="48x32", seconds=4, **asked)[0]
    assert len(long.clip.frames) == 65
    assert [s.index for s in seen] == list(range(1, seen[-1].total + 1))
    assert seen[0].preview().frames.shape[1:] == (32, 48, 3)
    assert any("dragon" in note for note in long.notes)


def test_what_is_recorded_makes_the_clip_again(model: Path) -> None:
    made = generate("a cube", size="48x32", seconds=1, steps=2, seed=3, model=str(model.parent))[0]
    record = json.loads(json.dumps(made.record))
    assert record["request"]["model"] == model.parent.name  # a file that is given away names no path
    again = generate(Request.from_json(record["request"] | {"model": str(model.parent)}))[0]
    assert np.array_equal(made.clip.frames, again.clip.frames)


def test_known_sets_divide_the_grid_and_all_kinds_occur() -> None:
    grid = Grid(5, 4, 6)
    seen = set()
    for i in range(300):
        canvas, known, runs = known_set(rng.stream(i, "known"), grid)
        assert sorted([*canvas.tolist(), *known.tolist()]) == list(range(grid.tokens))
        assert len(canvas) > 0
        assert len(canvas) % runs == 0
        steps = canvas.view(runs, -1) // grid.tokens_per_step
        assert (steps == steps[:, :1]).all()  # a run of noise lies within one latent step
        seen.add((len(known) > 0, runs))
    assert len(seen) >= 6
    assert sum(KNOWN.values()) == pytest.approx(1)


def test_groups_are_full_and_mixed(world: Path, codec: Path, field: Path) -> None:
    latents = Latents(world, Codec.load(codec), LightField.load(field))
    shapes, lengths = set(), set()
    for i in range(60):
        group = latents.draw(rng.stream(i, "group"), 512)
        batch, canvas, _ = group.data.shape
        lengths.add(canvas + group.known.shape[1])
        shapes.add(tuple(group.scale.tolist()))
        assert len(group.captions) == batch
        assert all(group.captions)
    assert len(shapes) == 2  # two sizes
    assert len(lengths) >= 4  # images, halves and whole clips


def test_a_light_field_is_learnt_from_pixels_and_resumes_to_the_same_bits(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = train_light_field(LightFieldTraining(world, tmp_path / "whole", steps=80, pictures=8))
    trained, fresh = LightField.load(field), LightField(LightFieldConfig())
    told, colours = batch(Shots(world, 0).at(0), 24, rng.stream(1, "look"))
    mean = (colours - colours.mean((0, 1))).square().mean()
    with torch.no_grad():
        known, unknown = ((model(*told) - colours).square().mean() for model in (trained, fresh))
    assert known < 0.7 * mean
    assert known < unknown
    def stop(step: int) -> None:
        if step == 30:
            raise KeyboardInterrupt

    settings = LightFieldTraining(world, tmp_path / "stopped", steps=80, pictures=8)
    monkeypatch.setattr("tenku.training.run.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_light_field(settings, stop)
    assert same(train_light_field(settings), field)


def test_close_groups_hold_the_tokens_around_a_thing(world: Path, codec: Path, field: Path) -> None:
    latents = Latents(world, Codec.load(codec), LightField.load(field))
    close, whole = [], []
    for i in range(60):
        group = latents.draw(rng.stream(i, "group"), 256)
        assert group.motion is not None
        near = nearness(group.motion[..., :FEATURES]).mean()
        (whole if group.positions.ndim == 2 else close).append(float(near))
        if group.positions.ndim == 2 or group.known.shape[1]:
            continue
        steps = round(float(group.positions[0, -1, 0])) + 1
        clips = [clip[0, :steps] for many in latents.clips.values() for clip in many]
        for data, positions in zip(group.data, group.positions, strict=True):
            found = False
            for clip in clips:
                rows = Grid(steps, *clip.shape[1:3], 0.5).positions()
                same = (rows[None] - positions[:, None]).abs().amax(-1) < 1e-4
                found |= bool(same.any(1).all()) and torch.equal(clip.flatten(0, 2).float()[same.int().argmax(1)], data)
            assert found
    assert len(close) > 10
    assert np.nanmean(close) > np.nanmean(whole) + 0.02


def test_mirrored_captions_change_sides_and_back() -> None:
    text = "a red ball moves left, right of a cube; the camera pans right."
    assert mirrored(text) == "a red ball moves right, left of a cube; the camera pans left."
    assert mirrored(mirrored(text)) == text


def test_optimizer_state_round_trip_continues_to_the_same_bits() -> None:
    def made() -> tuple[torch.nn.Module, Optimizer]:
        torch.manual_seed(1)
        blocks = torch.nn.ModuleList([torch.nn.Linear(8, 8)])
        module = torch.nn.ModuleDict({"blocks": blocks, "out": torch.nn.Linear(8, 2)})
        return module, Optimizer(module, 1e-2, muon=("blocks.",))

    def step(module: torch.nn.Module, optimizer: Optimizer, i: int) -> None:
        x = rng.normal((4, 8), 0, "x", i)
        module["out"](module["blocks"][0](x)).square().mean().backward()  # type: ignore[index]
        optimizer.step(1e-2)

    a, first = made()
    for i in range(3):
        step(a, first, i)
    b, second = made()
    b.load_state_dict(a.state_dict())
    second.load({k: v.clone() for k, v in first.state().items()})
    assert len(first.parts) == 2  # Muon has the matrix, AdamW the rest
    for i in range(3, 6):
        step(a, first, i)
        step(b, second, i)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    rates = [learning_rate(s, 1000, 1.0) for s in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100] == rates[799] == 1
    assert 0.4 < rates[900] < 0.6
    assert rates[1000] == 0


def test_ema_horizon_grows_with_the_run() -> None:
    module = torch.nn.Linear(1, 1)
    ema = Ema(module)
    for step in range(1000):
        with torch.no_grad():
            module.weight.fill_(step / 1000)
        ema.update(step)
    # the mean of a power function of exponent 6.94 over [0, 1] is 7.94 / 8.94
    assert float(ema.average["weight"]) == pytest.approx(7.94 / 8.94, abs=0.002)


def test_wrong_settings_are_users_mistakes(world: Path, codec: Path, field: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="preset"):
        train_codec(CodecTraining(world, tmp_path, "huge"))
    with pytest.raises(UserError, match="no such folder"):
        train_video(video(tmp_path / "none", codec, field, tmp_path))
    with pytest.raises(UserError, match="no finished shard"):
        train_video(video(tmp_path, codec, field, tmp_path / "out"))
