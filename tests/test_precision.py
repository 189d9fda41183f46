"""The format is the fastest one there is, whatever the machine."""

from __future__ import annotations

import pytest
import torch

from tenku.model.precision import autocast, fastest


@pytest.mark.parametrize(("able", "expected"), [
    ({}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16),
    ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
])
def test_products_on_a_cpu_run_in_what_it_has(
    able: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    x = torch.ones(4, 4)
    assert fastest() == expected
    with autocast():
        assert (x @ x).dtype == expected
    assert fastest("cuda") == torch.bfloat16
