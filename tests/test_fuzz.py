"""What schemathesis says of a real server. dev/bench/fuzz.py does the same at length."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dev" / "bench"))


def test_schemathesis_finds_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENKU_HOME", str(tmp_path))
    import fuzz

    assert fuzz.main(200, "examples,fuzzing") == 0
