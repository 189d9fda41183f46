"""What every test stands on: one thread, a home of its own, and whether worlds can be rendered here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before numpy or torch are imported: two workers share two cores, and sums depend on the number of threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
# Keys, caches and libraries of the tests, and of the commands they start, never land in somebody's home.
os.environ["TENKU_HOME"] = tempfile.mkdtemp(prefix="tenku-test-home-")

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).resolve().parent.parent

# The same examples on every run, and no clock: a shared machine is slow at times.
settings.register_profile("tenku", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tenku")


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
