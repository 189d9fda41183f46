"""The probe and its training: real rendered clips, a tiny network, formulas against small cases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tenku import rng
from tenku.data.shards import ShardWriter
from tenku.errors import UserError
from tenku.evaluation.probe import (
    BUNDLED,
    FIELDS,
    FRAMES,
    HEIGHT,
    PROBE_PRESETS,
    WIDTH,
    Probe,
    agree,
    bundled,
    expected,
    look,
    read,
)
from tenku.evaluation.truth import through
from tenku.model.checkpoint import read_header, read_tensors, write_tensors
from tenku.model.codec import Codec
from tenku.training import run
from tenku.training.probe import (
    MIRROR,
    Examples,
    ProbeTraining,
    accuracy,
    answers,
    disturb,
    mirror,
    probe_loss,
    seen_through,
    train_probe,
    unambiguous,
)
from tenku.types import Clip
from tenku.world import grammar
from tenku.world.simulate import Format, render

LOOKS = (("ball", "red", "rests", "meadow", "day"), ("truck", "blue", "moves left", "desert", "sunset"),
         ("fish", "yellow", "rests", "coral reef", "day"), ("snowman", "white", "spins", "snow", "night"))


@pytest.fixture(scope="module")
def scenes() -> list[grammar.Scene]:
    """Four looks, each staged five times."""
    base = grammar.draw(3, "train")
    found = []
    for seed in range(5):
        for subject, colour, action, place, light in LOOKS:
            thing = grammar.Thing(subject, colour, "large", action)
            found.append(replace(base, seed=seed, place=place, light=light, camera="static", things=(thing,),
                                 relations=()))
    return found


@pytest.fixture(scope="module")
def world(scenes: list[grammar.Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    with ShardWriter(folder / "000000.tar") as shard:
        for number, scene in enumerate(scenes):
            take = render(scene, Format(64, 40, FRAMES, 4.0))
            shard.add(f"{number:08d}", take.clip, take.facts)
    return folder


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("probe")
    return train_probe(ProbeTraining(world, out, preset="tiny", steps=40, batch=8, rate=1e-2))


def noise(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH, fps: float = 4.0) -> Clip:
    return Clip(rng.stream(0, "clip").integers(0, 256, (frames, height, width, 3), dtype=np.uint8), fps)


def untrained(seed: int = 0) -> Probe:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Probe(PROBE_PRESETS["tiny"]).eval()


def test_a_tiny_probe_learns_from_rendered_clips(trained: Path, scenes: list[grammar.Scene]) -> None:
    probe = Probe.load(trained)
    unseen = [replace(scene, seed=99) for scene in scenes[: len(LOOKS)]]
    readings = read(probe, [render(scene, Format(64, 40, FRAMES, 4.0)).clip for scene in unseen])
    hits = [agree(reading, expected(scene)) for reading, scene in zip(readings, unseen, strict=True)]
    assert sum(hit["place"] for hit in hits) >= 3
    assert sum(sum(hit.values()) for hit in hits) >= 16  # of 24; guessing gives 4


def test_the_file_says_what_the_probe_reaches(trained: Path) -> None:
    header = read_header(trained)
    assert set(FIELDS) >= set(json.loads(header["figures"])) >= {"place", "light", "camera"}
    assert int(header["unseen_clips"]) > 0
    tensors, _ = read_tensors(trained)
    assert {t.dtype for t in tensors.values()} == {torch.bfloat16}


def test_a_run_resumes_to_the_same_bits(world: Path, tmp_path: Path) -> None:
    args = ProbeTraining(world, tmp_path / "whole", preset="tiny", steps=4, batch=2)
    whole = read_tensors(train_probe(args))[0]

    class Killed(Exception):
        pass

    def kill(step: int) -> None:
        if step == 2:
            raise Killed

    parts = replace(args, out=tmp_path / "parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "CHECKPOINT_SECONDS", -1.0)  # a checkpoint after every step
        with pytest.raises(Killed):
            train_probe(parts, kill)
    again = read_tensors(train_probe(parts))[0]
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    with pytest.raises(UserError, match="holds another run"):
        train_probe(replace(parts, seed=1))


def test_training_says_what_is_missing(tmp_path: Path, world: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        train_probe(ProbeTraining(tmp_path / "none", tmp_path / "out", preset="tiny"))
    with pytest.raises(UserError, match="no such preset"):
        train_probe(ProbeTraining(world, tmp_path / "out", preset="huge"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="too few clips"):
        train_probe(ProbeTraining(tmp_path / "empty", tmp_path / "out", preset="tiny"))


def test_what_the_probe_sees_of_a_clip() -> None:
    clip = noise(frames=33, fps=16.0)
    assert np.array_equal(look(clip), clip.frames[::4])
    assert np.array_equal(look(noise()), noise().frames)
    longer = noise(frames=65, fps=16.0)
    assert np.array_equal(look(longer), longer.frames[:33:4])  # the first two seconds
    assert look(noise(frames=1)).shape == (FRAMES, HEIGHT, WIDTH, 3)
    flat = Clip(np.full((33, 256, 320, 3), 77, np.uint8), 16.0)
    assert np.array_equal(look(flat), np.full((FRAMES, HEIGHT, WIDTH, 3), 77))


def test_a_reading_does_not_depend_on_its_company() -> None:
    probe, clip = untrained(), noise()
    other = Clip(255 - clip.frames, 4.0)
    assert read(probe, [clip, other])[0] == read(probe, [clip])[0]
    for word, share in read(probe, [clip])[0].values():
        assert any(word in words for words in FIELDS.values())
        assert 0 < share <= 1


def test_what_is_right_about_a_scene() -> None:
    scenes = [grammar.draw(i, "any") for i in range(300)]
    for scene in scenes:
        assert [FIELDS[f][i] for f, i in zip(FIELDS, answers(scene), strict=True)] == list(expected(scene).values())
    plain = [s for s in scenes if unambiguous(s)]
    assert any(len(s.things) == 2 for s in plain)
    assert all(len(s.things) == 1 or s.things[0].action == "is hit" for s in plain)
    assert any(s.relations for s in scenes)
    assert not any(s.relations for s in plain)


def test_mirroring_exchanges_left_and_right() -> None:
    left = [0, 0, 0, 0, grammar.ACTIONS.index("moves left"), grammar.CAMERAS.index("orbit right")]
    frames = torch.arange(WIDTH, dtype=torch.uint8).view(1, 1, 1, WIDTH, 1).expand(2, FRAMES, HEIGHT, WIDTH, 3)
    examples = Examples(frames.contiguous(), torch.tensor([left, left]))
    seen = mirror(examples, torch.tensor([True, False]))
    assert torch.equal(seen.frames[0], frames[0].flip(2))
    assert torch.equal(seen.frames[1], frames[1])
    assert FIELDS["action"][seen.answers[0, 4]] == "moves right"
    assert FIELDS["camera"][seen.answers[0, 5]] == "orbit left"
    assert seen.answers[1].tolist() == left
    both = mirror(mirror(examples, torch.tensor([True, True])), torch.tensor([True, True]))
    assert torch.equal(both.frames, examples.frames)
    assert torch.equal(both.answers, examples.answers)
    words = {word for choices in FIELDS.values() for word in choices if "left" in word or "right" in word}
    assert words == set(MIRROR)


def test_disturbing_keeps_the_picture_and_repeats() -> None:
    frames = torch.from_numpy(np.stack([look(Clip(np.full((9, 80, 128, 3), 120, np.uint8), 4.0))] * 8))
    examples = Examples(frames, torch.zeros(8, 6, dtype=torch.long))
    one, two = (disturb(examples, rng.stream(5, "d")).frames for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == frames.shape
    assert float((one.float() - 120).abs().mean()) < 15
    assert len({int(clip.float().mean()) for clip in one}) > 2  # each in its own way


def test_the_loss_is_the_sum_of_the_fields_cross_entropies() -> None:
    even = {field: torch.zeros(2, len(words)) for field, words in FIELDS.items()}
    right = torch.tensor([[0] * 6, [1] * 6])
    assert float(probe_loss(even, right)) == pytest.approx(sum(np.log(len(words)) for words in FIELDS.values()))
    sure = {field: 50.0 * torch.eye(len(words))[:2] for field, words in FIELDS.items()}
    smoothed = sum(0.05 * 50.0 * (1 - 1 / len(words)) for words in FIELDS.values())
    assert float(probe_loss(sure, right)) == pytest.approx(smoothed)


def test_accuracy_is_the_share_of_right_answers() -> None:
    probe = untrained()
    frames = torch.from_numpy(np.stack([noise().frames] * 2))
    said = [FIELDS[field].index(word) for field, (word, _) in read(probe, [noise()])[0].items()]
    right = torch.tensor([said, said])
    right[1, 2] = (right[1, 2] + 1) % len(FIELDS["place"])
    assert accuracy(probe, Examples(frames, right)) == {**dict.fromkeys(FIELDS, 1.0), "place": 0.5}


def test_through_the_codec_keeps_size_and_rate(tiny_model: Path) -> None:
    clip = noise(frames=17, height=40, width=56, fps=16.0)
    codec = Codec.load(tiny_model / "codec.safetensors")
    for whole in (True, False):
        seen = seen_through(codec, clip, whole=whole)
        assert seen.frames.shape == clip.frames.shape
        assert seen.fps == clip.fps
    rough = np.abs(seen.frames.astype(int) - through(codec, clip).frames)
    assert rough.max() <= 1  # this codec's network is untrained, and adds nothing


def test_foreign_probes_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        Probe.load(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="another world's words"):
        Probe.load(tiny_model / "codec.safetensors")
    path = tmp_path / "probe.safetensors"
    untrained().save(path)
    tensors, header = read_tensors(path)
    tensors.pop("norm.weight")
    write_tensors(path, tensors, header)
    with pytest.raises(UserError, match="another kind or version"):
        Probe.load(path)


def test_flops_are_those_of_the_layers() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for preset in PROBE_PRESETS.values():
        probe = Probe(preset).eval()
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            probe(torch.zeros(1, FRAMES, HEIGHT, WIDTH, 3, dtype=torch.uint8))
        assert probe.flops() == pytest.approx(counter.get_total_flops(), rel=0.05)


@pytest.mark.skipif(not BUNDLED.exists(), reason="the probe is not bundled yet")
def test_the_bundled_probe_reads_truth() -> None:
    probe, digest = bundled()
    assert len(digest) == 64
    assert BUNDLED.stat().st_size < 5e6
    scenes = [s for s in (grammar.draw(5_000_000 + i, "any") for i in range(14)) if len(s.things) == 1]
    readings = read(probe, [render(scene, Format(WIDTH, HEIGHT, FRAMES, 4.0)).clip for scene in scenes])
    hits = [agree(r, expected(s)) for r, s in zip(readings, scenes, strict=True)]
    assert np.mean([list(hit.values()) for hit in hits]) > 0.75
