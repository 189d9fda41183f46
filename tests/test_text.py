"""From free English to known words."""

from __future__ import annotations

import pytest

from tenku.model.text import BUCKET, Words, padded

TABLE = Words(("ball", "beach", "bounces", "butterfly", "car", "drives", "lighthouse", "on", "red", "sunset"),
              {"automobile": "car", "scarlet": "red", "golden hour": "sunset"})


def said(text: str) -> tuple[str, tuple[str, ...]]:
    rows, notes = TABLE.encode(text, 20)
    return " ".join(TABLE.words[r - 1] for r in rows), notes


@pytest.mark.parametrize(("text", "means"), [
    ("A red ball, on the BEACH!", "red ball on beach"),
    ("a scarlet automobile at golden hour", "red car sunset"),
    ("red balls bouncing", "red ball bounces"),
    ("automobiles driving on beaches", "car drives on beach"),
    ("", ""),
    ("the of a", ""),
    ("réd bâll", "red ball"),
])
def test_what_is_known_is_read_without_notes(text: str, means: str) -> None:
    assert said(text) == (means, ())


def test_a_slip_is_read_and_said() -> None:
    words, notes = said("a red buterfly")
    assert words == "red butterfly"
    assert notes == ("read 'buterfly' as 'butterfly'",)


def test_what_the_world_does_not_hold_is_said_once_and_left_out() -> None:
    words, notes = said("a dragon and a dragon on the beach")
    assert words == "on beach"
    assert len(notes) == 1
    assert "dragon" in notes[0]


@pytest.mark.parametrize("text", ["日本の空", "красный шар", "🚗🚗", "a" * 5000, "\u202e ball", "1234 5678"])
def test_anything_is_read_without_an_error(text: str) -> None:
    TABLE.encode(text, 20)


def test_too_long_a_prompt_is_cut_and_said() -> None:
    rows, notes = TABLE.encode("red " * 30, 20)
    assert len(rows) == 20
    assert "longer than 20 words" in notes[0]


def test_rows_are_padded_to_buckets() -> None:
    assert padded([[]]) == [[0] * BUCKET]
    assert padded([[1] * 17, [2]]) == [[1] * 17 + [0] * (2 * BUCKET - 17), [2] + [0] * (2 * BUCKET - 1)]


def test_a_table_takes_in_the_commonest_strange_words_of_captions() -> None:
    texts = ["a rabbit beside the red ball", "rabbits by a scarlet balll", "a rabbit and a hedgehog"]
    wider = TABLE.with_words_of(texts, 2)
    assert wider.words == (*TABLE.words, "rabbit", "balll")  # a slip that captions make is a word of theirs
    assert wider.lexicon == TABLE.lexicon
    assert wider.encode("the scarlet rabbits", 9) == ([9, 11], ())
    assert TABLE.with_words_of(texts, 4).words[-4:] == ("rabbit", "balll", "beside", "hedgehog")
    assert TABLE.with_words_of(texts, 0) == TABLE.with_words_of(["red balls on a beach"], 9) == TABLE
