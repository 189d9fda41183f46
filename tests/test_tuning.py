"""Fine-tuning: adapters of ours and of open models, newcomers, and what changes where they are laid over weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_models
import pytest
import torch

from tenku.data import ledger
from tenku.data.shards import ShardWriter
from tenku.engines.adapters import merged, second
from tenku.engines.loading import load
from tenku.engines.open import OpenEngine
from tenku.inputs import Lora
from tenku.model.checkpoint import read_header
from tenku.training.tune_open import OpenTuning, tune_open
from tenku.types import Clip

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

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
            said = {"few": "a red ball", "sentence": "a red ball on the beach", "everything": "a red ball"}
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
