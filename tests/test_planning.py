"""Plans: what is foretold of a step is what a step takes, and what is printed is what was worked out."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tenku.cli import main
from tenku.config import TRANSFORMER_PRESETS
from tenku.errors import UserError
from tenku.model.precision import fastest, using
from tenku.planning import check
from tenku.planning.laws import LAWS, tokens_a_step
from tenku.planning.plan import Asked, count
from tenku.planning.simulate import Setting, simulate, simulate_all
from tenku.planning.step import GROUP, Batch, Stepper
from tenku.training.ranks import Ranks, Ways

TINY, SMALL_BATCH = TRANSFORMER_PRESETS["tiny"], Batch(2, 2, 4, 4)


def test_presets_are_counted_from_their_modules() -> None:
    assert {name: round(count(name) / 1e6, 1) for name in TRANSFORMER_PRESETS} == {
        "tiny": 0.4, "nano": 7.9, "small": 42.9, "base": 318.2, "large": 1277.6}


def test_flops_are_those_of_torchs_counter() -> None:
    """Of the real step, upon real tensors, in fp32, where attention is torch's own."""
    with using(torch.float32), sdpa_kernel(SDPBackend.MATH):
        told = simulate(TINY, SMALL_BATCH, Setting(torch.float32))
        stepper, found = Stepper(TINY, SMALL_BATCH, Ranks(Ways())), []
        stepper.step()
        with FlopCounterMode(display=False) as counter:
            stepper.step(lambda phase: found.append(counter.get_total_flops()))
        found.append(counter.get_total_flops())
    per_phase = [after - before for before, after in pairwise(found)]
    assert [phase.cost.flops for phase in told.phases.values()] == per_phase
    assert 1.2 * per_phase[0] < per_phase[1] < 2 * per_phase[0]  # what comes in needs no gradient


def test_blocks_that_are_left_out_are_added_to_the_byte() -> None:
    deep, how = replace(TINY, depth=6), Setting(torch.float32, Ways(recompute=True), groups=2)
    assert simulate(deep, SMALL_BATCH, how) == simulate_all(deep, SMALL_BATCH, how)


def test_a_real_step_takes_the_memory_that_was_foretold() -> None:
    """In a process of its own."""
    row = check.row(Asked("tiny", clips=16), "fp32", False)
    assert row["measured_peak"] > 100 * check.MIB
    assert row["peak"] == pytest.approx(row["measured_peak"], rel=0.15)


def test_pieces_are_small_where_ranks_are_many() -> None:
    config = replace(TINY, width=128, depth=1, text_depth=0)
    alone = simulate(config, SMALL_BATCH, Setting(groups=2)).phases["adamw"].alive
    many = simulate(config, SMALL_BATCH, Setting(ways=Ways(shard=True), ranks=4, groups=2))
    for kind in ("weights", "gradients", "optimizer", "average"):
        assert many.phases["adamw"].alive[kind] == pytest.approx(alone[kind] / 4, rel=0.1)
    weights = alone["weights"]
    sent = [many.phases[name].cost.sent for name in GROUP]
    assert weights < sent[0] < 2 * weights  # blocks are brought together twice, for context and for canvas
    assert 1.5 * weights < sent[1] < 3 * weights  # and again, and gradients added up
    long = Batch(1, 9, 8, 8)
    whole, half = (simulate(config, long, Setting(ways=Ways(split=n), ranks=n)) for n in (1, 2))
    assert half.kept < 0.75 * whole.kept  # what tokens are told is worked out by every rank
    assert half.phases["backward"].cost.flops < 0.75 * whole.phases["backward"].cost.flops


def test_what_is_worked_out_again_is_not_kept() -> None:
    plain, again = (simulate(TINY, SMALL_BATCH, Setting(ways=Ways(recompute=r))) for r in (False, True))
    assert again.kept < 0.5 * plain.kept
    assert again.phases["forward"].cost == plain.phases["forward"].cost
    assert again.phases["backward"].cost.flops > plain.phases["backward"].cost.flops


def test_laws_say_what_their_papers_say() -> None:
    image = LAWS["image"].tokens(0.0009 * 1e18**0.5681, 0)  # the size that is best for 1e18 FLOP
    assert image == pytest.approx(186.85 * 1e18**0.4319)
    product = 6 * 0.0009 * 186.85  # C = 6 N D
    assert product == pytest.approx(1, rel=0.01)
    each = 6 * 18.05e9
    budget = LAWS["video"].tokens(18.05e9, each) * each
    assert budget == pytest.approx(6.1e21, rel=0.05)  # the size it names in place of Movie Gen's 30 B
    assert tokens_a_step(1e9, 1e9) == pytest.approx(2.18e4)


def test_a_format_can_be_chosen_and_is_given_back() -> None:
    before = fastest()
    with using(torch.float32):
        assert fastest() == torch.float32
        with using(torch.bfloat16):
            assert fastest() == torch.bfloat16
    assert fastest() == before


def test_the_command_prints_what_was_planned(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--preset", "tiny", "--gpus", "16", "--gpu", "h200", "--clips", "2", "--size", "64x48"]
    assert main(["plan", *flags, "--json"]) == 0
    [made] = json.loads(capsys.readouterr().out)
    memory = made["memory"]
    parts = ("weights", "gradients", "optimizer", "average", "data", "activations", "workspace", "overhead")
    assert memory["total"] == sum(memory[part] for part in parts)
    assert memory["fits"]
    seen = made["training"]["steps"] * made["training"]["groups_a_step"] * 2 * made["model"]["tokens_a_clip"]
    assert seen == pytest.approx(made["training"]["tokens"], rel=0.01)


@pytest.mark.parametrize(("flags", "said"), [
    (["--preset", "huge"], "no such preset"), (["--gpu", "abacus"], "no such gpu"), (["--law", "moore"], "no such law"),
    (["--gpus", "6", "--split", "4"], "does not divide 6"), (["--gpus", "6", "--split", "3"], "heads"),
    (["--gpus", "1", "--shard"], "there is one"), (["--gpus", "0"], "--gpus"), (["--size", "big"], "--size"),
    (["--share", "1.5"], "--share"),
])
def test_what_cannot_be_planned_is_refused(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *flags]) == 2
    assert said in capsys.readouterr().err


def test_the_page_shows_what_the_command_prints(repo: Path) -> None:
    """Its first tables; all of them where TENKU_LONG=1 is set, as CI does."""
    spec = importlib.util.spec_from_file_location("dev_scaling", repo / "dev" / "scaling.py")
    assert spec is not None
    assert spec.loader is not None
    scaling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scaling)
    page = scaling.TARGET.read_text(encoding="utf-8")
    assert page.count("```sh skip\ntenku plan --preset") == len(scaling.BLOCK.findall(page)) >= 3
    most = None if os.environ.get("TENKU_LONG") == "1" else 1
    assert page == scaling.filled(page, most), "run: python dev/scaling.py"


def test_a_measured_step_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run
    broken = [sys.executable, "-c", "raise MemoryError"]
    monkeypatch.setattr(subprocess, "run", lambda words, **rest: real(broken, **rest))
    with pytest.raises(UserError, match="ended early"):
        check.row(Asked("tiny"), "fp32", False)
