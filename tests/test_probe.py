"""The probe and its training: real rendered clips, a tiny network, formulas against small cases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tenku import rng
from tenku.data import ledger
from tenku.data.ledger import Ledger
from tenku.data.shards import ShardWriter
from tenku.errors import UserError
from tenku.evaluation.probe import (
    BUNDLED,
    FIELDS,
    MOVES,
    PROBE_PRESETS,
    TIMES,
    Probe,
    agree,
    bundled,
    expected,
    read,
)
from tenku.evaluation.sight import (
    COLUMNS,
    FRAMES,
    HEIGHT,
    MOVEMENT,
    PAIR,
    PARTS,
    ROWS,
    STILLS,
    WIDTH,
    Same,
    Sight,
    colours,
    look,
    movement,
    sight,
)
from tenku.evaluation.sight import mirror as mirror_sight
from tenku.evaluation.truth import through
from tenku.model.checkpoint import read_header, read_tensors, write_tensors
from tenku.model.codec import Codec
from tenku.training import examples as examples_module
from tenku.training import run
from tenku.training.examples import MIRROR, Examples, answers, cover, example, mirror, seen_through, unambiguous
from tenku.training.probe import ProbeTraining, accuracy, disturb, probe_loss, train_probe
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
            take = render(scene, Format(64, 40, FRAMES, 8.0))
            shard.add(f"{number:08d}", take.clip, take.facts)
    count = len(scenes)
    ledger.write(folder, Ledger("CC0-1.0", "tenku.world", "0", "", {}, count, count, True))
    return folder


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("probe")
    return train_probe(ProbeTraining(world, out, preset="tiny", steps=120, batch=16, rate=3e-3))


def noise(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH, fps: float = 8.0) -> Clip:
    return Clip(rng.stream(0, "clip").integers(0, 256, (frames, height, width, 3), dtype=np.uint8), fps)


def untrained(seed: int = 0) -> Probe:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Probe(PROBE_PRESETS["tiny"]).eval()


def test_a_tiny_probe_learns_from_rendered_clips(trained: Path, scenes: list[grammar.Scene]) -> None:
    probe = Probe.load(trained)
    unseen = [replace(scene, seed=99) for scene in scenes[: len(LOOKS)]]
    readings = read(probe, [render(scene, Format(64, 40, FRAMES, 8.0)).clip for scene in unseen])
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


def shifted(x: float, y: float) -> torch.Tensor:
    """A smooth pattern that moves by so many pixels a frame."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT) * 1.0, torch.arange(WIDTH) * 1.0, indexing="ij")
    times = torch.arange(FRAMES)[:, None, None]
    rows, columns = rows - y * times, columns - x * times
    waves = [torch.sin(rows / a + columns / b + a) for a, b in ((3, 7), (-5, 4), (6, -9), (2.5, 30), (20, 3.5))]
    return (128 + 24 * torch.stack(waves).sum(0)).clamp(0, 255).byte()[..., None].expand(-1, -1, -1, 3)


def test_what_the_probe_looks_at() -> None:
    clip = noise(frames=33, fps=16.0)
    assert np.array_equal(look(clip), clip.frames[::2])
    assert np.array_equal(look(noise()), noise().frames)
    longer = noise(frames=65, fps=16.0)
    assert np.array_equal(look(longer), longer.frames[:33:2])  # the first two seconds
    assert look(noise(frames=1)).shape == (FRAMES, HEIGHT, WIDTH, 3)
    flat = Clip(np.full((33, 256, 320, 3), 77, np.uint8), 16.0)
    assert np.array_equal(look(flat), np.full((FRAMES, HEIGHT, WIDTH, 3), 77))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, -0.5), (4, 0), (-8, 4), (2, -6)])
def test_movement_is_found_where_it_is(x: float, y: float) -> None:
    found = movement(shifted(x, y))
    assert found.shape == (ROWS * COLUMNS, PARTS, MOVEMENT)
    assert bool(found.isfinite().all())
    pairs = found[..., : PAIR * (FRAMES - 1)].unflatten(-1, (-1, PAIR))
    u, v, least, here, du, dv = pairs.flatten(0, 2).median(0).values.tolist()
    assert (2 * u, 2 * v) == pytest.approx((x, y), abs=0.5)  # it is measured in the halved picture
    assert least <= here + 1e-6
    if max(abs(x), abs(y)) <= 1:
        assert (2 * du, 2 * dv) == pytest.approx((x, y), abs=0.15)


def test_a_picture_without_anything_does_not_move() -> None:
    found = movement(torch.full((FRAMES, HEIGHT, WIDTH, 3), 90, dtype=torch.uint8)).unflatten(0, (ROWS, COLUMNS))
    assert float(found[1:-1, 1:-1, :, :-1].abs().max()) < 0.05  # at the border fewer displacements are to be had


def test_colours_are_the_means_of_blocks() -> None:
    stills = torch.from_numpy(noise().frames[:2])
    found = colours(stills)
    cell, block = 1 * COLUMNS + 3, 2 * 4 + 1  # the second row's fourth cell, its third row's second block
    part = stills[1, 16 + 8 : 16 + 12, 48 + 4 : 48 + 8].float().mean((0, 1))
    assert found[1, cell, block].tolist() == part.round().byte().tolist()


def test_the_padding_is_that_of_tensorflow() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[..., 0, 0] = 1
    with torch.no_grad():
        for kernel, stride, first in ((3, 1, 1), (3, 2, 0), (5, 2, 1)):
            layer = Same(1, 1, kernel, stride)
            layer.weight.copy_(torch.arange(kernel**2).view_as(layer.weight))
            layer.bias.zero_()  # type: ignore[union-attr]
            out = layer(x)
            assert out.shape[-1] == 8 // stride
            assert out[0, 0, 0, 0] == first * kernel + first  # the weight that meets the first pixel


def test_a_mirrored_clip_is_seen_mirrored() -> None:
    probe = untrained()
    clip = Clip(shifted(2, 1).numpy(), 8.0)
    seen = mirror_sight(sight(probe.backbone, clip))
    really = sight(probe.backbone, Clip(clip.frames[:, :, ::-1].copy(), 8.0))
    assert torch.equal(seen.colours, really.colours)
    assert torch.allclose(seen.movement.float(), really.movement.float(), atol=2e-2)


def test_a_reading_does_not_depend_on_its_company() -> None:
    probe, clip = untrained(), noise()
    other = Clip(255 - clip.frames, 8.0)
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


def some(count: int, seed: int = 0) -> Examples:
    """Examples of nothing."""
    draw = rng.stream(seed, "examples")
    cells, channels = ROWS * COLUMNS, 1280 // PROBE_PRESETS["tiny"].thin
    seen = Sight(torch.from_numpy(draw.integers(0, 256, (count, len(STILLS), cells, channels), dtype=np.uint8)),
                 torch.from_numpy(draw.integers(0, 256, (count, len(STILLS), cells, 16, 3), dtype=np.uint8)),
                 torch.from_numpy(draw.standard_normal((count, cells, PARTS, MOVEMENT), dtype=np.float32)).half())
    right = torch.stack([torch.from_numpy(draw.integers(0, len(words), count)) for words in FIELDS.values()], 1)
    return Examples(seen, right, torch.zeros(count, len(STILLS), cells).half(), torch.ones(count, TIMES, MOVES))


def test_mirroring_exchanges_left_and_right() -> None:
    left = some(1)
    left.answers[0, 4:] = torch.tensor([grammar.ACTIONS.index("moves left"), grammar.CAMERAS.index("orbit right")])
    left.cover[0, 0, 1] = 1
    seen = mirror(left)
    assert FIELDS["action"][seen.answers[0, 4]] == "moves right"
    assert FIELDS["camera"][seen.answers[0, 5]] == "orbit left"
    assert seen.cover[0, 0].nonzero().tolist() == [[COLUMNS - 2]]
    assert seen.motion[0, 0, :7].tolist() == [-1, 1, 1, -1, 1, -1, 1]  # x and yaw of the camera, x of the thing
    both = mirror(seen)
    assert all(torch.equal(value, both.tensors()[name]) for name, value in left.tensors().items())
    words = {word for choices in FIELDS.values() for word in choices if "left" in word or "right" in word}
    assert words == set(MIRROR)


def test_facts_become_targets(scenes: list[grammar.Scene]) -> None:
    take = render(scenes[1], Format(64, 40, FRAMES, 8.0))  # a truck that moves left
    found = example(untrained().backbone, take.clip, take.facts)
    assert found.motion.shape == (1, TIMES, MOVES)
    assert found.motion[0, 0, :5].tolist() == [0.0] * 5  # the camera, less where it was
    assert float(found.motion[0, -1, 5]) < float(found.motion[0, 0, 5])  # the truck goes left
    assert found.answers[0].tolist() == answers(scenes[1])
    facts = {"width": 64, "height": 40, "things": [{"boxes": [[8.0, 8.0, 20.0, 16.0], None]}]}
    covered = torch.from_numpy(cover(facts, 0)).view(ROWS, COLUMNS)  # cells of 8 pixels here
    assert covered[1].tolist() == [0, 1, 0.5, 0, 0, 0, 0, 0]
    assert float(covered.sum()) == 1.5
    assert not cover(facts, 1).any()


def test_disturbing_keeps_what_is_seen_and_repeats() -> None:
    one, two = (disturb(some(8), rng.stream(5, "d")) for _ in range(2))
    assert all(torch.equal(value, two.tensors()[name]) for name, value in one.tensors().items())
    before, after = (x.sight.movement[..., 2].float().mean((1, 2)).sort().values for x in (some(8), one))
    assert float((after - before).abs().max()) < 0.05
    assert len(one) == 8


def test_the_loss_is_the_sum_of_the_fields_cross_entropies() -> None:
    examples = some(2)
    even = {field: torch.zeros(2, len(words)) for field, words in FIELDS.items()}
    rest = {"cover": torch.full(examples.cover.shape, -50.0), "motion": examples.motion}  # both right
    right = float(probe_loss({**even, **rest}, examples))
    assert right == pytest.approx(sum(np.log(len(words)) for words in FIELDS.values()), rel=1e-5)
    wrong = {"cover": torch.zeros(examples.cover.shape), "motion": examples.motion + 1}
    assert float(probe_loss({**even, **wrong}, examples)) == pytest.approx(right + 0.3 * np.log(2) + 0.5 * 0.5)


def test_accuracy_is_the_share_of_right_answers() -> None:
    probe, examples = untrained(), some(2)
    found = probe(examples.sight)
    examples.answers[:] = torch.stack([found[field].argmax(1) for field in FIELDS], 1)
    examples.answers[1, 2] = (examples.answers[1, 2] + 1) % len(FIELDS["place"])
    assert accuracy(probe, examples) == {**dict.fromkeys(FIELDS, 1.0), "place": 0.5}


def test_clips_are_measured_once(world: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples_module, "sight", None)  # would fail if anything were measured again
    args = ProbeTraining(world, trained.parent, preset="tiny", steps=120, batch=16, rate=3e-3)
    assert train_probe(args) == trained
    with pytest.raises(TypeError):
        train_probe(replace(args, out=trained.parent / "elsewhere"))


def test_through_the_codec_keeps_size_and_rate(tiny_model: Path) -> None:
    clip = noise(frames=17, height=40, width=56, fps=16.0)
    codec = Codec.load(tiny_model / "codec.safetensors")
    seen = seen_through(codec, clip)
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

    probe, examples = untrained(), some(1)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        probe(examples.sight)
    assert probe.flops() == pytest.approx(counter.get_total_flops(), rel=0.05)


@pytest.mark.skipif(not BUNDLED.exists(), reason="the probe is not bundled yet")
def test_the_bundled_probe_reads_truth() -> None:
    probe, digest = bundled()
    assert len(digest) == 64
    assert BUNDLED.stat().st_size < 12e6
    scenes = [s for s in (grammar.draw(5_000_000 + i, "any") for i in range(14)) if len(s.things) == 1]
    readings = read(probe, [render(scene, Format(WIDTH, HEIGHT, FRAMES, 8.0)).clip for scene in scenes])
    hits = [agree(r, expected(s)) for r, s in zip(readings, scenes, strict=True)]
    assert np.mean([list(hit.values()) for hit in hits]) > 0.85
