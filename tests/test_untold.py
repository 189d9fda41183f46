"""Training on footage, of which nothing is known but pictures and words; and what its models say they learnt from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from scenes import scene, texture

from tenku import rng
from tenku.cli import main
from tenku.data import ledger
from tenku.data.encoding import encode_shards
from tenku.data.latents import Latents
from tenku.data.ledger import Ledger, Source
from tenku.data.shards import ShardWriter
from tenku.errors import UserError
from tenku.model.checkpoint import read_tensors
from tenku.model.codec import Codec
from tenku.model.lightfield import LightField
from tenku.model.transformer import Transformer
from tenku.sampling.generate import generate
from tenku.training import samples
from tenku.training.lightfield import LightFieldTraining, train_light_field
from tenku.training.matching import group_loss
from tenku.training.motion import MotionTraining, train_motion
from tenku.training.origin import learnt
from tenku.training.video import VideoTraining, train_video
from tenku.types import Clip
from tenku.world.captions import REGISTERS


@pytest.fixture(scope="module", autouse=True)
def _one_sample():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "PROMPTS", samples.PROMPTS[:1])
        yield


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips and a picture, as `tenku data ingest` leaves them."""
    folder = tmp_path_factory.mktemp("footage")
    sources = []
    with ShardWriter(folder / "000000.tar") as shard:
        for i in range(5):
            frames = texture(17, 64, 48, seed=i) if i % 2 else scene(1 if i == 4 else 17, 64, 48, seed=i)
            key, said = f"{i:016x}", f"a red ball rolls, number {i}"
            shard.add(key, Clip(frames, 16.0), {"captions": dict.fromkeys(REGISTERS, said), "frames": len(frames)})
            sources.append(Source(f"{i}.mp4", f"{i:064x}", "here", "Ada", "CC0-1.0", "2026-11-28", "", {key: "0"}))
    ledger.write(folder, Ledger("CC0-1.0", "tenku.ingest", "0", "", {}, 5, 5, True, sources))
    return folder


@pytest.fixture(scope="module")
def model(footage: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned")
    start = tiny_model / "transformer.safetensors"
    return train_video(VideoTraining(footage, tiny_model / "codec.safetensors", None, out, "tiny", steps=6, tokens=512,
                                     start=start))


def test_tokens_of_footage_are_told_nothing(footage: Path, tiny_model: Path) -> None:
    latents = Latents(footage, Codec.load(tiny_model / "codec.safetensors"), None)
    assert latents.count == 5
    places = set()
    for i in range(40):
        group = latents.draw(rng.stream(i, "group"), 256)
        assert group.motion is not None
        assert not group.motion.any()
        assert all(text.startswith("a red ball rolls, number") for text in group.captions)
        if group.positions.ndim == 3:
            places |= {tuple(p.tolist()) for p in group.positions.flatten(0, 1)}
    assert len(places) == len({(t, y, x) for t, y, x in places})
    steps = {t for t, _, _ in places}
    assert len(places) == len(steps) * 12  # parts are taken everywhere: of 3 rows and 4 columns none is left out


def test_what_is_untold_is_what_a_model_without_motion_says_when_it_dreams(tiny_model: Path) -> None:
    """Zeros leave the network as if it had never been told: neither added, nor drawn, nor shifted."""
    transformer = Transformer.load(tiny_model / "transformer.safetensors")
    seen = transformer.see(torch.zeros(1, 6, transformer.config.motion + transformer.config.channels))
    assert not seen.added.any()
    assert not seen.sketch.any()
    assert not seen.shift.any()


def test_it_learns_from_pictures_and_words_alone(footage: Path, tiny_model: Path, tmp_path: Path) -> None:
    codec = tiny_model / "codec.safetensors"
    path = train_video(VideoTraining(footage, codec, None, tmp_path, "tiny", steps=80, tokens=384))
    latents = Latents(footage, Codec.load(codec), None)

    def loss(model: Transformer) -> float:
        total = 0.0
        for i in range(8):
            draw = rng.stream(i, "look")
            group = latents.draw(draw, 512)
            rows = torch.tensor([[1] * 16] * len(group.captions))
            total += float(group_loss(model, group, rows, draw).detach())
        return total / 8

    fresh = loss(Transformer(Transformer.load(path).config))
    assert loss(Transformer.load(path)) < 0.8 * fresh


def test_a_run_that_is_stopped_and_goes_on_ends_with_the_same_weights(
    footage: Path, tiny_model: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    settings = VideoTraining(footage, tiny_model / "codec.safetensors", None, tmp_path, "tiny", steps=6, tokens=512,
                             start=tiny_model / "transformer.safetensors")
    monkeypatch.setattr("tenku.training.run.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_video(settings, stop)
    again, whole = (read_tensors(path)[0] for path in (train_video(settings), model))
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_worlds_and_footage_mix_in_one_folder(footage: Path, tiny_model: Path, tmp_path: Path) -> None:
    world = tmp_path / "world"
    assert main(["world", "make", "--out", str(world), "--clips", "2", "--workers", "1", "--mix", "64x48x17"]) == 0
    shutil.copy(footage / "000000.tar", world / "footage.tar")
    codec, field = (tiny_model / f"{name}.safetensors" for name in ("codec", "lightfield"))
    with pytest.raises(UserError, match="clips of worlds"):
        encode_shards(world, Codec.load(codec), None)
    latents = Latents(world, Codec.load(codec), LightField.load(field))
    assert latents.count == 7
    told = [bool(rows.any()) for i in range(30) for rows in latents.draw(rng.stream(i, "g"), 512).motion]  # type: ignore[union-attr]
    assert 0 < sum(told) < len(told)


def test_what_learns_from_facts_says_that_footage_has_none(footage: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no clip of a world"):
        train_motion(MotionTraining(footage, tiny_model / "codec.safetensors", tmp_path / "m", preset="tiny"))
    with pytest.raises(UserError, match="no clip of a world"):
        train_light_field(LightFieldTraining(footage, tmp_path / "f"))


def test_the_tuned_folder_dreams_from_words_and_its_clips_name_the_ledger(
    footage: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = ledger.keep(footage)
    assert learnt(model) == [digest]
    assert generate("a red ball", size="64x48", seconds=0.5, steps=2, model=str(model.parent))[0].ledgers == (digest,)
    file = tmp_path / "ball.mp4"
    assert main(["generate", "a red ball", "--size", "64x48", "--seconds", "0.5", "--steps", "2", "--model",
                 str(model.parent), "-o", str(file)]) == 0
    capsys.readouterr()
    assert main(["verify", "--json", str(file)]) == 0
    said = json.loads(capsys.readouterr().out)["files"][0]["signature"]["request"]
    assert said["ledgers"] == [digest]
    [touched] = [one for one in ledger.models(footage) if one.path == str(model)]
    assert touched.ledgers == (digest,)


def test_what_starts_from_weights_has_learnt_what_they_learnt(
    footage: Path, model: Path, tiny_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(footage / "000000.tar", other / "000000.tar")
    ledger.write(other, Ledger("CC0-1.0", "tenku.ingest", "0", "other", {}, 5, 5, True, [
        Source("x.mp4", "f" * 64, "there", "Bob", "CC0-1.0", "2026-11-28", "", {})]))
    path = train_video(VideoTraining(other, tiny_model / "codec.safetensors", None, tmp_path / "out", "tiny", steps=1,
                                     tokens=256, start=model))
    assert learnt(path) == [ledger.keep(footage), ledger.keep(other)]


def test_nothing_is_learnt_from_a_folder_without_a_ledger(footage: Path, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copy(footage / "000000.tar", tmp_path / "000000.tar")
    with pytest.raises(UserError, match=r"no ledger\.json"):
        train_video(VideoTraining(tmp_path, tiny_model / "codec.safetensors", None, tmp_path / "out", "tiny", steps=1,
                                  tokens=256))
