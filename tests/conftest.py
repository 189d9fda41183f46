"""What every test stands on: one thread, a home of its own, and whether worlds can be rendered here."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before numpy or torch are imported: workers share cores, and sums depend on the number of threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
# Keys, caches and libraries of the tests, and of the commands they start, never land in somebody's home.
os.environ["TENKU_HOME"] = tempfile.mkdtemp(prefix="tenku-test-home-")

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).resolve().parent.parent

# The same examples on every run, and no clock: a shared machine is slow at times.
SLOW = [HealthCheck.too_slow]
settings.register_profile("tenku", derandomize=True, deadline=None, suppress_health_check=SLOW)
settings.load_profile("tenku")


# Modules whose tests take longest. They begin, so that short ones are left to share at the end.
LONG_FIRST = ("test_serve", "test_training", "test_studio", "test_unmarked", "test_sources")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG_FIRST.index(item.path.stem) if item.path.stem in LONG_FIRST else len(LONG_FIRST))


@pytest.fixture(scope="session", autouse=True)
def _one_thread_and_no_home() -> Iterator[None]:
    import shutil

    import torch

    torch.set_num_threads(1)
    yield
    shutil.rmtree(os.environ["TENKU_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository."""
    return REPO


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole model of the tiny preset, untrained: its clips are noise, soon made."""
    import torch

    from tenku import rng
    from tenku.config import CODEC_PRESETS, MOTION_PRESETS, TRANSFORMER_PRESETS, LightFieldConfig
    from tenku.model.codec import Codec
    from tenku.model.lightfield import LightField
    from tenku.model.transformer import Transformer

    folder = tmp_path_factory.mktemp("tiny-model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec, transformer = Codec(CODEC_PRESETS["tiny"]), Transformer(TRANSFORMER_PRESETS["tiny"])
        motion, field = Transformer(MOTION_PRESETS["tiny"]), LightField(LightFieldConfig(width=16))
    numbers = codec.basis.shape[::-1]
    codec.basis.copy_(torch.linalg.qr(rng.normal((numbers[0], numbers[1]), 0, "test", "basis")).Q.T)
    codec.save(folder / "codec.safetensors")
    words = {"words": json.dumps(["red", "blue", "ball", "beach"]), "lexicon": json.dumps({"crimson": "red"})}
    transformer.save(folder / "transformer.safetensors", {**words, "longest": "5"})
    motion.save(folder / "motion.safetensors")
    field.save(folder / "lightfield.safetensors")
    return folder
