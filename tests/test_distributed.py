"""Several ranks learn what one process does: gloo on this machine's cores, started by torchrun, at tiny size."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import ranks
import torch
from scenes import scene, texture

from tenku.cli import main
from tenku.config import TransformerConfig
from tenku.data import ledger
from tenku.data.latents import Latents
from tenku.data.ledger import Ledger, Source
from tenku.data.shards import ShardWriter
from tenku.errors import UserError
from tenku.model import precision
from tenku.model.checkpoint import read_header, read_tensors, write_tensors
from tenku.model.codec import Codec
from tenku.training import muon, run
from tenku.training.deal import Deal
from tenku.training.matching import Fit, drawing, hands_for, vocabulary, words_for
from tenku.training.origin import Origin
from tenku.training.ranks import Ranks, Ways
from tenku.training.video import train_video
from tenku.types import Clip
from tenku.world.captions import REGISTERS

REPO = Path(__file__).resolve().parent.parent


def launch(count: int, *arguments: str, restarts: int = 0) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}",
               f"--max-restarts={restarts}", "--monitor-interval=0.1", str(REPO / "tests" / "ranks.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Footage in two shards, and a codec."""
    out = tmp_path_factory.mktemp("ranks")
    sources = []
    (out / "footage").mkdir()
    for part in range(2):
        with ShardWriter(out / "footage" / f"{part:06d}.tar") as shard:
            for i in range(3 * part, 3 * part + 3):
                frames = texture(17, 64, 48, seed=i) if i % 2 else scene(1 if i == 4 else 17, 64, 48, seed=i)
                key, said = f"{i:016x}", f"a red ball rolls, number {i}"
                shard.add(key, Clip(frames, 16.0), {"captions": dict.fromkeys(REGISTERS, said), "frames": len(frames)})
                sources.append(Source(f"{i}.mp4", f"{i:064x}", "here", "Ada", "CC0-1.0", "2026-11-28", "", {key: "0"}))
    ledger.write(out / "footage", Ledger("CC0-1.0", "tenku.ingest", "0", "", {}, 6, 6, True, sources))
    shutil.copy(tiny_model / "codec.safetensors", out)
    return out


@pytest.fixture(scope="module")
def trained(folder: Path) -> dict[str, Any]:
    """One process, four ranks (the command itself), then two: what they found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "SHOWN_SECONDS", 0.0)
        patch.setattr(precision, "fastest", ranks.precise)
        patch.setattr(muon, "fastest", ranks.precise)
        for name, preset in ranks.PRESETS.items():
            patch.setitem(ranks.TRANSFORMER_PRESETS, name, preset)
        train_video(ranks.settings(folder, "alone"))
        train_video(ranks.settings(folder, "alone-wide", "wide"))
    launch(4, "cli", "train", "video", "--data", str(folder / "footage"), "--codec", str(folder / "codec.safetensors"),
           "--out", str(folder / "four"), "--preset", "tiny", "--steps", "2", "--tokens", "512", "--groups", "4",
           "--shard")
    launch(2, "checks", str(folder), restarts=1)
    return json.loads((folder / "found.json").read_text())


def losses(out: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert all(row["peak_bytes"] > 1e8 and row["flops"] > 0 for row in rows)
    return [(row["step"], row["loss"]) for row in rows]


@pytest.mark.parametrize(("how", "one"), [("replicated", "alone"), ("sharded", "alone"), ("split", "alone-wide")])
def test_two_ranks_have_the_loss_of_one_process(folder: Path, trained: dict[str, Any], how: str, one: str) -> None:
    alone, two = losses(folder / one), losses(folder / how)
    assert [step for step, _ in two] == [step for step, _ in alone] == [1, 2, 3, 4, 5]
    assert abs(alone[0][1] - alone[-1][1]) > 1e-2  # it learns, so what is compared has moved
    assert max(abs(a - b) for (_, a), (_, b) in zip(alone, two, strict=True)) < 1e-6
    counted = [float(read_header(folder / out / "transformer.safetensors")["flops"]) for out in (one, how)]
    assert counted[0] == counted[1]


def test_a_checkpoint_of_four_ranks_is_read_by_one_and_by_two(folder: Path, trained: dict[str, Any]) -> None:
    place = folder / "four" / "checkpoints" / "00000002"
    assert len(list(place.glob("*.safetensors"))) == 4
    identity = json.loads((place / "run.json").read_text())["identity"]
    one = ranks.digests(folder / "four", identity, Ways())
    assert one["step"] == "2"
    assert trained["four"] == [one, one]  # whole on each of two ranks, and divided among them
    published, _ = read_tensors(folder / "four" / "transformer.safetensors")
    state = torch.cat([published[name].flatten() for name in sorted(published)])
    assert torch.equal(state, averaged(folder / "four", identity))


def averaged(out: Path, identity: str) -> torch.Tensor:
    """The averaged weights that a run's folder is resumed with by one process."""
    model = ranks.matching.fresh(ranks.TRANSFORMER_PRESETS["tiny"], 99, None)
    optimizer, ema = run.Optimizer(model, 1e-3, muon=("blocks.",)), run.Ema(model)
    run.Run(out, 2, tensorboard=False).resume(model, optimizer, ema, identity)
    return torch.cat([ema.average[name].flatten() for name in sorted(ema.average)])


def test_the_state_of_one_process_is_read_by_two_ranks(folder: Path, trained: dict[str, Any]) -> None:
    identity = read_header(folder / "alone" / "state.safetensors")["identity"]
    assert trained["alone"] == ranks.digests(folder / "alone", identity, Ways())


def test_a_killed_rank_costs_no_sample(folder: Path, trained: dict[str, Any]) -> None:
    whole, killed = dict(losses(folder / "sharded")), losses(folder / "killed")
    assert [step for step, _ in killed] == [1, 2, 3, 3, 4, 5]  # the step that was lost is made again
    assert all(loss == whole[step] for step, loss in killed)
    ended, undisturbed = (read_tensors(folder / out / "transformer.safetensors")[0] for out in ("killed", "sharded"))
    assert all(torch.equal(ended[name], undisturbed[name]) for name in undisturbed)
    assert (folder / "killed" / "checkpoints" / "latest").read_text() == "00000005"
    assert not list((folder / "killed" / "checkpoints").glob(".*"))


def test_tokens_divided_among_ranks_give_the_same_output_and_gradients(trained: dict[str, Any]) -> None:
    assert len(trained["split"]) > 100
    assert max(trained["split"]) < 1e-5


def test_muon_makes_the_same_of_matrices_in_pieces(trained: dict[str, Any]) -> None:
    assert trained["muon"] < 1e-5


def test_what_ranks_cannot_do_is_said(folder: Path, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    three, heads, groups = trained["refused"]
    assert "does not divide 2 ranks" in three
    assert "does not divide the 1 heads" in heads
    assert "--groups 4" in groups
    assert trained["first"] == ["0"]
    with pytest.raises(UserError, match="there is one"):
        train_video(ranks.settings(folder, "never", shard=True))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "codec", "--data", str(folder / "footage"), "--out", str(folder / "never")]) == 2


def test_samples_come_in_one_order_for_any_ranks_and_workers(folder: Path) -> None:
    latents = Latents(folder / "footage", Codec.load(folder / "codec.safetensors"), None)
    args = Fit(folder / "x.safetensors", Origin((folder / "footage",)), "", 5, 256, 4, 1e-3, 3, Ranks(Ways()), 2)
    words = vocabulary()

    def order(count: int, workers: int, start: int) -> dict[tuple[int, int], tuple[Any, ...]]:
        found = {}
        for index in range(count):
            mine = Ranks(Ways())
            mine.shares, mine.share = count, index
            deal = Deal(drawing(args, latents, words, 96), mine.parts(4), args.steps, workers, args.refresh)
            for step in range(start, args.steps):
                deal.ahead(step)
                assert all(s < (step // 2 + 1) * 2 for s, _ in deal.waiting)  # not across a look for new shards
                for part in deal.parts:
                    drawn = deal.take(step, part)
                    found[step, part] = (drawn.group.captions, drawn.group.data.double().sum().item(),
                                         drawn.words.tolist(), drawn.draw.random())  # what the noise begins with
            deal.close()
        return found

    whole = order(1, 0, 0)
    assert len(whole) == 20
    assert len({str(group) for group in whole.values()}) == 20
    for count, workers, start in product((1, 2, 4), (0, 2), range(5)):
        assert order(count, workers, start) == {key: group for key, group in whole.items() if key[0] >= start}


def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    from tenku.training.sharding import header_of, load, names_in

    assert header_of(tmp_path) == {}
    (tmp_path / "latest").write_text("00000007")
    with pytest.raises(UserError, match="not whole"):
        header_of(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        names_in(tmp_path / "00000007")
    write_tensors(tmp_path / "00000008" / "a.safetensors", {"model/x": torch.ones(3)}, {})
    found = {"model/x": torch.zeros(3)}
    load(tmp_path / "00000008", found)
    assert found["model/x"].tolist() == [1, 1, 1]
    for wrong in ({"model/x": torch.zeros(4)}, {"model/y": torch.zeros(3)}):
        with pytest.raises(UserError, match="cannot be read"):
            load(tmp_path / "00000008", wrong)


def test_one_process_needs_nothing_of_torch_distributed() -> None:
    """Only what ranks load in their functions imports it, so that a laptop's run starts as before."""
    paths = [path for part in ("training", "model", "data") for path in (REPO / "tenku" / part).glob("*.py")]
    for path in paths:
        if path.name in ("sharding.py", "spread.py"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                said = ast.unparse(node)
                assert "torch.distributed" not in said
                assert "training.sharding" not in said
                assert "model.spread" not in said


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # torch's own
def test_what_is_compiled_and_worked_out_again_says_the_same() -> None:
    """Where the compiler found the checkpoint around a block it gave up, and said nothing."""
    from torch._dynamo.utils import counters

    config = TransformerConfig(width=64, depth=1, channels=8, text_depth=0)
    found = []
    counters.clear()
    for ways in (Ways(), Ways(compile=True, recompute=True)):
        model = ranks.matching.fresh(config, 3, None)
        torch.nn.init.eye_(model.leave.weight)  # it begins as zeros, and so would what is said
        hands_for(model, Ranks(ways), 1)
        draw = torch.Generator().manual_seed(0)
        x, at = torch.randn(2, 8, 8, generator=draw), torch.rand(2, 8, 3, generator=draw)
        context = model.context(torch.tensor([[1, 2, 0], [3, 0, 0]]), None, None, torch.ones(2))
        said = model.velocity(x, torch.full((2, 1), 0.5), at, context, torch.ones(2))
        said.square().mean().backward()
        found.append([said, *(p.grad for p in model.blocks.parameters())])
    assert counters["frames"]["ok"] > 0
    assert found[0][0].abs().max() > 0.1
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))


def test_the_words_of_captions_become_rows_and_stay_the_same_ones(folder: Path, trained: dict[str, Any]) -> None:
    known = vocabulary().words
    tables = [json.loads(read_header(folder / out / "transformer.safetensors")["words"])
              for out in ("alone", "sharded", "killed", "four")]
    assert tables == [[*known, "number"]] * 4
    pool = Latents(folder / "footage", Codec.load(folder / "codec.safetensors"), None)
    pool.captions[next(iter(pool.captions))].append({"few": ["a rabbit, a rabbit, a number"]})

    def words(out: str, start: Path | None) -> tuple[str, ...]:
        fit = Fit(folder / out / "transformer.safetensors", Origin((folder / "footage",), start), "", 1, 64, 1, 1e-3, 0,
                  Ranks(Ways()))
        return words_for(fit, pool, len(known) + 3).words[len(known):]

    assert words("none", None) == ("number", "rabbit")  # room for two
    assert words("none", folder / "alone" / "transformer.safetensors") == words("alone", None) == ("number", "rabbit")
    write_tensors(folder / "other.safetensors", {}, {"words": json.dumps([*known, "hat"]), "lexicon": "{}"})
    assert words("none", folder / "other.safetensors") == ("hat", "number")
