"""Scenes said in other languages, as people who speak them may: prompts for evaluation and tests.

One table a language (tongues/*.toml). They were written apart from those that read prompts (world/tongues), with other
word orders, cases, pronouns and synonyms, so that what is measured is reading and not a table against itself.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tenku.errors import UserError
from tenku.world.grammar import FLYERS, MOVES, Scene

FOLDER = Path(__file__).parent / "tongues"
LANGUAGES = ("ar", "de", "es", "fr", "zh")


@cache
def _tables(language: str) -> dict[str, Any]:
    if language not in LANGUAGES:
        raise UserError(f"no scene can be said in {language[:20]!r}", f"one of {', '.join(LANGUAGES)}")
    return tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


def say(scene: Scene, language: str, draw: np.random.Generator) -> str:
    """A scene of one subject, and of what runs into it where it "is hit", in one to three sentences of a language.

    All is said: size, colour, subject, action, place, light, camera. Raises UserError for a language without a table.
    """
    tables = _tables(language)
    main = scene.things[0]

    def pick(options: list[str]) -> str:
        return options[int(draw.integers(len(options)))]

    gender, noun = pick(tables["nouns"][main.subject]).split(" ", 1)
    said = {"noun": noun, "measure": gender, "size": pick(tables["sizes"][main.size]),
            "colour": pick(tables["colours"][main.colour])}
    verb, _, rest = pick(_deeds(tables, main.subject, main.action)).partition("|")
    if main.action in MOVES:
        rest = pick(tables["ways"][main.action.split()[1]])
    if main.action == "is hit":
        other = scene.things[1]
        other_gender, other_noun = pick(tables["nouns"][other.subject]).split(" ", 1)
        words = {"noun": other_noun, "measure": other_gender, "colour": pick(tables["colours"][other.colour])}
        by = _filled(tables["words"]["by"], other_gender, words)
        verb, rest = verb.replace("{by}", by), rest.replace("{by}", by)
    verb, rest = _form(verb, gender), _form(rest, gender)
    flying = main.subject in FLYERS and (main.action in MOVES or main.action == "flies across")
    finite, _, clitic = verb.partition(" ") if " sich" in verb else (verb, "", "")
    last = f"{rest[:-1]}{finite}" if rest.endswith("-") else f"{rest} {finite}"
    slots = {"verb": verb, "rest": rest.removesuffix("-"), "clitic": clitic, "last": last,
             "place": pick(tables["above" if flying else "places"][scene.place]),
             "light": pick(tables["lights"][scene.light]),
             "camera": _form(pick(tables["cameras"][scene.camera]), gender)}
    slots |= {name: _filled(forms, gender, said) for name, forms in tables["words"].items() if name != "by"}
    text = re.sub(r"\{([\w.]+)\}", lambda slot: slots[slot[1]], pick(tables["sentences"]))
    if language == "zh":
        return text.replace(" ", "")
    text = re.sub(r"\s+(?=[.,،؛])", "", " ".join(text.split()))
    return re.sub(r"(?:^|(?<=[.!?] ))\w", lambda letter: letter[0].upper(), text)


def _deeds(tables: dict[str, Any], subject: str, action: str) -> list[str]:
    if action in MOVES:
        moves: list[str] = tables["moves"].get(subject, tables["moves"]["other"])
        return moves
    deeds: list[str] = tables["deeds"].get(f"{subject} {action}", tables["deeds"][action])
    return deeds


def _form(text: str, gender: str) -> str:
    """Of a pair "masculine/feminine" the one for a gender."""
    first, _, second = text.partition("/")
    return second if second and gender == "f" else first


def _filled(forms: dict[str, str], gender: str, words: dict[str, str]) -> str:
    text = forms.get(gender, forms["m"])
    return re.sub(r"\{(\w+)\}", lambda slot: _form(words[slot[1]], gender), text)
