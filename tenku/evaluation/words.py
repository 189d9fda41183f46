"""How well prompts of other languages are read: no clip is made, only what is read is set beside the English prompt.

A prompt that is read as the English one, letter by letter, gives the same clip, so its share bounds what the language
costs. Sentences are those of `speaking`, whose tables are not the reader's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from tenku.evaluation import metrics, speaking
from tenku.evaluation.prompts import Prompt
from tenku.rng import stream
from tenku.world import lexicon as lex
from tenku.world import mentions
from tenku.world.reading import read

COLUMNS = ("same text", "things", "place", "light", "camera", "all words")


def spoken(prompts: list[Prompt], language: str, take: int = 0) -> list[Prompt]:
    """The prompts said in a language; another take says them otherwise. Raises UserError for an unknown language."""
    return [replace(prompt, text=speaking.say(prompt.scene, language, stream(take, "spoken", language, number)))
            for number, prompt in enumerate(prompts)]


def measure(prompts: list[Prompt], language: str, takes: int = 1) -> dict[str, Any]:
    """Per column the share of prompts that are read right, as figures; and up to five that are not.

    "all words" is the share of which no word was left out.
    """
    hits: dict[str, list[list[bool]]] = {column: [] for column in COLUMNS}
    missed: list[dict[str, str]] = []
    lost: Counter[str] = Counter()
    versions = [spoken(prompts, language, take) for take in range(takes)]
    for number, prompt in enumerate(prompts):
        rows = []
        for version in versions:
            found = read(version[number].text)
            rows.append(_agree(found.text, prompt.text) | {"all words": not found.left_out})
            lost.update(found.left_out)
            if not rows[-1]["same text"]:
                missed.append({"said": version[number].text, "read": found.text, "wanted": prompt.text})
        for column in COLUMNS:
            hits[column].append([row[column] for row in rows])
    figures = {column: metrics.agreement(rows) for column, rows in hits.items()}
    return {"language": language, "prompts": len(prompts), "takes": takes,
            "figures": {column: figure.to_json() for column, figure in figures.items() if figure},
            "missed": missed[:5], "left out": dict(lost.most_common(10))}


def _agree(text: str, wanted: str) -> dict[str, bool]:
    place, light = mentions.setting(text)
    right_place, right_light = mentions.setting(wanted)
    return {"same text": text == wanted, "things": mentions.things(text) == mentions.things(wanted),
            "place": place == right_place, "light": light == right_light, "camera": _camera(text) == _camera(wanted)}


def _camera(text: str) -> str:
    return next((phrase for phrase in lex.CAMERA if phrase in text), "")
