"""What a text says under its disguise, and that plain words say nothing else."""

from __future__ import annotations

import base64
import codecs
import time
from urllib.parse import quote

import pytest

from tenku.disguise import latin, readings

FULL = {c: chr(ord(c) + 0xFEE0) for c in "abcdefghijklmnopqrstuvwxyz"}
BOLD = {c: chr(0x1D41A + i) for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
SCRIPT = {c: chr(0x1D4EA + i) for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
BOXED = {c: chr(0x1F170 + i) for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
ROUND = {c: chr(0x24D0 + i) for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
FLAGS = {c: chr(0x1F1E6 + i) for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
TAGS = {c: chr(0xE0000 + ord(c)) for c in "abcdefghijklmnopqrstuvwxyz "}
CYRILLIC = dict(zip("aeopcyxiskhbmt", "аеорсухіѕкһьмт", strict=True))
GREEK = dict(zip("aeoknvtx", "αεοκηντχ", strict=True))
CAPS = dict(zip("abcdeghijklmnoprtuvwz", "ᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡᴢ", strict=True))
LEET = dict(zip("aeiostg", "4310579", strict=True))
SIGNS = dict(zip("ais", "@!$", strict=True))


def swapped(table: dict[str, str]):
    return lambda text: "".join(table.get(c, c) for c in text)


# Every way to hide the letters of a phrase that is looked for here; also used by the policy's tests.
DISGUISES = {
    "plain": str, "capitals": str.upper, "mixed": lambda t: "".join(c.upper() if i % 2 else c for i, c in enumerate(t)),
    "full width": swapped(FULL), "bold": swapped(BOLD), "script": swapped(SCRIPT), "boxed": swapped(BOXED),
    "round": swapped(ROUND), "flags": swapped(FLAGS), "tags": swapped(TAGS), "Cyrillic": swapped(CYRILLIC),
    "Greek": swapped(GREEK), "small capitals": swapped(CAPS), "figures": swapped(LEET), "signs": swapped(SIGNS),
    "accents": lambda t: "".join(c + "\u0301\u0323" if c != " " else c for c in t),
    "zero width": lambda t: "\u200b".join(t), "soft hyphens": lambda t: "\u00ad".join(t),
    "joiners": lambda t: "\u2060".join(t), "spaced": lambda t: " ".join(t.replace(" ", "")),
    "dotted": lambda t: " ".join(".".join(word) for word in t.split()),
    "hyphens": lambda t: " ".join("-".join(word) for word in t.split()),
    "underlined": lambda t: " ".join("_".join(word) for word in t.split()),
    "one hyphen": lambda t: " ".join(f"{w[:2]}-{w[2:]}" if len(w) > 4 else w for w in t.split()),
    "torn": lambda t: " ".join(f"{w[:3]} {w[3:]}" if len(w) > 4 else w for w in t.split()),
    "masked": lambda t: " ".join(f"{w[0]}*{w[2:]}" if len(w) > 3 else w for w in t.split()),
    "drawn out": lambda t: " ".join(w.replace(w[1], w[1] * 4, 1) for w in t.split()),
    "one word": lambda t: t.replace(" ", ""), "camel": lambda t: "".join(w.capitalize() for w in t.split()),
    "base64": lambda t: base64.b64encode(t.encode()).decode(),
    "base64 twice": lambda t: base64.b64encode(base64.b64encode(t.encode())).decode(),
    "base64 for addresses": lambda t: base64.urlsafe_b64encode(t.encode()).decode().rstrip("="),
    "percent": lambda t: "".join(f"%{ord(c):02x}" for c in t), "percent twice": lambda t: quote(quote(f"{t}?")),
    "entities": lambda t: "".join(f"&#{ord(c)};" for c in t),
    "escapes": lambda t: "".join(f"\\u{ord(c):04x}" for c in t),
    "bytes": lambda t: t.encode().hex(), "bytes apart": lambda t: t.encode().hex(" "),
    "bits": lambda t: " ".join(f"{ord(c):08b}" for c in t), "ROT13": lambda t: codecs.encode(t, "rot13"),
    "backwards": lambda t: t[::-1], "words backwards": lambda t: " ".join(w[::-1] for w in t.split()),
    "punctuated": lambda t: f"({t})!!!", "quoted": lambda t: f"«{t}»,",
    "figures, zero width": lambda t: "\u200b".join(swapped(LEET)(t)),
    "Cyrillic, dotted": lambda t: " ".join(".".join(swapped(CYRILLIC)(w)) for w in t.split()),
}  # fmt: skip


def words(text: str) -> set[str]:
    return {form for way in readings(text) for forms in way.forms.values() for _, form in forms}


@pytest.mark.parametrize("name", [name for name in DISGUISES if name not in ("masked", "drawn out", "tags")])
def test_a_word_is_read_under_its_disguise(name):
    assert "lighthouse" in words(DISGUISES[name]("lighthouse"))
    assert "lighthouse" in words(f"a red {DISGUISES[name]('lighthouse')} on a beach")


def test_look_alikes_become_latin_letters():
    assert latin("Ｔеｎｋｕ ℮ ß ﬁ é") == "tenku e ss fi e"
    assert latin("天空 \U0001f600") == "天空 \U0001f600"


@pytest.mark.parametrize("text", ["the pen is red", "der Rap ist gut", "He has a pen. Is it red?",
                                  "10 000 red balls", "a man, an ox", "it is as it is"])
def test_plain_words_are_not_joined(text):
    plain = {w.strip(".,?").lower() for w in text.split()}
    [first, *_] = readings(text)
    assert {form for forms in first.forms.values() for _, form in forms} <= plain | {"10000"}


def test_long_and_hostile_texts_take_no_time():
    started = time.process_time()
    for text in ("a " * 1000, "%25" * 660, "ab" * 1000, "YWJj" * 500, "0" * 2000, "a*" * 1000, "&#97;" * 400,
                 "a.b-" * 500, "\\u0061" * 330, "𝓪" * 2000, "1!|" * 600, "@" * 2000, "a" * 1999 + "!"):
        for _ in readings(text):
            pass
    assert time.process_time() - started < 5
