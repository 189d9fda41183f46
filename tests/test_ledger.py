"""The ledger: which licences may be used, and which models learnt from what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tenku.data import ledger
from tenku.data.ledger import Ledger, Removed, Source, Touched
from tenku.errors import UserError


def source(name: str, license: str = "CC-BY-4.0") -> Source:
    where = f"https://example.org/{name}"
    return Source(name, name * 64, where, "Ada", license, "2026-11-28T00:00:00Z", "", {name: "0"})


def book(*sources: Source, removed: tuple[Removed, ...] = ()) -> Ledger:
    return Ledger("CC-BY-4.0", "tenku.ingest", "0", "tenku data ingest", {}, len(sources), len(sources), True,
                  list(sources), list(removed))


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    whole = book(source("a"), removed=(Removed(source("b"), "2026-11-28", "asked", ["m"]),))
    ledger.write(tmp_path, whole)
    assert ledger.read(tmp_path) == whole
    assert [p.name for p in tmp_path.iterdir()] == ["ledger.json"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"license": 1}', '{"sources": [1]}'])
def test_what_is_no_ledger_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(UserError, match="is not a ledger"):
        ledger.read(tmp_path)


@pytest.mark.parametrize(("license", "free"), [
    ("CC0-1.0", True), ("CC-BY-3.0", True), ("LGPL-3.0-or-later OR CC-BY-SA-3.0", True), ("MIT AND CC-BY-4.0", True),
    ("LicenseRef-x OR MIT", True), ("MIT AND LicenseRef-x", False), ("CC-BY-NC-4.0", False), ("CC-BY-ND-4.0", False),
    ("(MIT OR LicenseRef-x) AND LicenseRef-y", False), ("https://example.org/terms", False), ("", False), (" ", False),
])  # fmt: skip
def test_only_what_is_open_or_named_by_the_user_may_be_used(license: str, free: bool) -> None:
    assert (ledger.refused(license, ()) == "") == free
    if license.strip():
        assert ledger.refused(license, (license,)) == ""
    else:
        assert ledger.refused(license, (license,)) == "no licence is given"


def test_one_expression_says_all_licences() -> None:
    assert ledger.together(["MIT", "CC0-1.0", "MIT"]) == "CC0-1.0 AND MIT"
    assert ledger.together(["MIT OR ISC"]) == "MIT OR ISC"
    assert ledger.together(["MIT OR ISC", "CC0-1.0"]) == "CC0-1.0 AND (MIT OR ISC)"
    assert ledger.together([]) == "NONE"


def test_models_are_found_by_the_sources_that_they_learnt_from_also_after_these_are_gone(tmp_path: Path) -> None:
    ledger.write(tmp_path, book(source("a"), source("b")))
    first = ledger.keep(tmp_path)
    assert ledger.keep(tmp_path) == first  # the same ledger is kept once
    ledger.note(tmp_path, Touched("x", "1", (first,)))
    ledger.write(tmp_path, book(source("b")))
    second = ledger.keep(tmp_path)
    ledger.note(tmp_path, Touched("x", "2", (second,)))  # it went on without a, and yet has learnt from it
    ledger.note(tmp_path, Touched("y", "3", (second,)))
    assert ledger.having(tmp_path, source("a").sha256) == {first}
    assert ledger.having(tmp_path, source("b").sha256) == {first, second}
    assert list(ledger.models(tmp_path)) == [Touched("x", "2", (first, second)), Touched("y", "3", (second,))]


def test_a_ledger_that_only_grew_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    digests = []
    for some in ((source("a"),), (source("a"), source("b")), (source("b"),)):
        ledger.write(tmp_path, book(*some))
        digests.append(ledger.keep(tmp_path))
    assert ledger.newest(tmp_path, digests[:2]) == digests[1:2]
    assert ledger.newest(tmp_path, digests) == digests[1:]  # of what was taken out something was learnt
    assert ledger.newest(tmp_path, ["elsewhere", *digests[:2]]) == ["elsewhere", digests[1]]


def test_a_ledger_from_before_there_were_sources_is_read(tmp_path: Path) -> None:
    old = {"license": "CC0-1.0", "producer": "tenku.world", "version": "0", "command": "c", "recipe": {}, "clips": 1,
           "planned": 1, "complete": True}
    (tmp_path / "ledger.json").write_text(json.dumps(old))
    assert ledger.read(tmp_path).sources == []
