"""Captions from facts alone, hence true: what the facts do not prove is not said.

Three registers: "few" words, a "sentence", "everything". Prompts for evaluation come from `prompt`.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tenku.errors import UserError
from tenku.world import lexicon as lex
from tenku.world.grammar import CAMERAS, FLYERS, HITS, LIGHTS, MOVES, PLACES, RELATIONS

REGISTERS = ("few", "sentence", "everything")
LEXICON: dict[str, tuple[str, ...]] = {k: tuple(v) for table in lex.TABLES for k, v in table.items()}
_CANONICAL = 0.6  # how often the canonical phrase is said

_PLACE = dict(zip(PLACES, lex.PLACE, strict=True))
_ABOVE = dict(zip(PLACES, lex.PLACE_ABOVE, strict=True))
_LIGHT = dict(zip(LIGHTS, lex.LIGHT, strict=True))
_CAMERA = dict(zip(CAMERAS, lex.CAMERA, strict=True))
_SHORT = dict(zip(CAMERAS, lex.CAMERA_SHORT, strict=True))
_RELATION = dict(zip(RELATIONS, lex.RELATION, strict=True))
_WAY = dict(zip(("left", "right", "away", "near"), lex.WAY, strict=True))
_MOVING = {"ball": "rolls/rolling", "car": "drives/driving", "truck": "drives/driving", "sailing boat": "sails/sailing",
           "fish": "swims/swimming", "robot": "walks/walking", **dict.fromkeys(FLYERS, "flies/flying")}  # fmt: skip
_DEED = {
    "rests": "rests/resting",
    "bounces": "drops and bounces/dropping and bouncing",
    "falls": "falls/falling",
    "jumps": "jumps/jumping",
    "spins": "spins/spinning",
    "swings": "swings on a rope/swinging on a rope",
    "is hit": "is hit by/hit by",
    "topples": "topples over/toppling over",
    "floats": "floats on the waves/floating on the waves",
    "takes off": "takes off/taking off",
    "in the air": "is in the air/in the air",
}


class _Voice:
    """Chooses words; without a generator it always says the canonical phrase."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self.rng = rng

    def say(self, table: dict[str, tuple[str, ...]], canonical: str) -> str:
        if self.rng is None or not table.get(canonical) or self.rng.random() < _CANONICAL:
            return canonical  # a newcomer has no other name
        return table[canonical][int(self.rng.integers(len(table[canonical])))]

    def chance(self, p: float) -> bool:
        return self.rng is not None and bool(self.rng.random() < p)


def article(noun: str) -> str:
    """The noun phrase with a or an."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def caption(facts: dict[str, Any], register: str, rng: np.random.Generator) -> str:
    """A true description of a clip from its facts, in words drawn with `rng`.

    Raises UserError for an unknown register.
    """
    if register not in REGISTERS:
        raise UserError(f"unknown register {register!r}", f"one of: {', '.join(REGISTERS)}")
    voice = _Voice(rng)
    return {"few": _few, "sentence": _sentence, "everything": _everything}[register](facts, voice)


def prompt(
    subject: str, colour: str, size: str | None, action: str, place: str, light: str, camera: str
) -> str:
    """One canonical full sentence for a scene of one subject, as in evaluation prompts; None says no size."""
    voice = _Voice(None)
    done = [action, "falls"] if action == "bounces" else [action]
    thing = {"subject": subject, "colour": colour, "size": size, "action": action, "done": done}
    facts = {"scene": {"place": place, "light": light, "camera": camera}, "things": [thing], "frames": 33,
             "relations": []}  # fmt: skip
    deed = _deed(facts, 0, voice)
    act = f" {deed[0]}" if deed else ""
    noun = article(_noun(thing, voice, size=size is not None))
    text = f"{noun}{act} {_place(facts, voice)} {_LIGHT[light]}, {_CAMERA[camera]}."
    return text[0].upper() + text[1:]


def deed(subject: str, done: list[str]) -> str:
    """The canonical finite words of what a subject has done, such as "rolls to the left" for "moves left"."""
    found = _deed({"things": [{"subject": subject, "done": done}], "frames": 33}, 0, _Voice(None))
    return found[0] if found else ""


def moving(subject: str) -> str:
    """The canonical finite verb of a subject that moves, wherever it goes."""
    return _MOVING.get(subject, "slides/sliding").partition("/")[0]


def vocabulary() -> tuple[str, ...]:
    """All lowercase words that a caption or a prompt can contain, sorted."""
    phrases = [phrase for key, synonyms in LEXICON.items() for phrase in (key, *synonyms)]
    return tuple(sorted({word for phrase in phrases for word in words(phrase)}))


def words(text: str) -> list[str]:
    """The lowercase words of a text, punctuation dropped."""
    return re.findall(r"[a-z]+", text.lower())


def _noun(thing: dict[str, Any], voice: _Voice, size: bool) -> str:
    colour, subject = voice.say(lex.COLOUR, thing["colour"]), voice.say(lex.SUBJECT, thing["subject"])
    return f"{voice.say(lex.SIZE, thing['size'])} {colour} {subject}" if size else f"{colour} {subject}"


def _moves(facts: dict[str, Any]) -> bool:
    return bool(facts["frames"] > 1)


def _deed(facts: dict[str, Any], k: int, voice: _Voice) -> tuple[str, str] | None:
    """What thing k provably does as (finite, participle), or None."""
    thing = facts["things"][k]
    done, subject = thing["done"], thing["subject"]
    for action in done:
        if action in MOVES:
            verb = voice.say(lex.VERB, _MOVING.get(subject, "slides/sliding"))
            way = voice.say(lex.WAY, _WAY[action.split()[1]])
            finite, participle = verb.split("/")
            return f"{finite} {way}", f"{participle} {way}"
    if "flies across" in done:
        key = "flies across in an arc/flying across in an arc" if subject == "ball" else "flies across/flying across"
        finite, participle = voice.say(lex.DEED, key).split("/")
        way = next((voice.say(lex.WAY, _WAY[d.split()[-1]]) for d in done if d.startswith("to the ")), "")
        return f"{finite} {way}".strip(), f"{participle} {way}".strip()
    for action in (
        "bounces",
        "falls",
        "jumps",
        "spins",
        "swings",
        "topples",
        "floats",
        "takes off",
        "in the air",
        "rests",
    ):
        if action in done:
            finite, participle = voice.say(lex.DEED, _special(action, subject, facts)).split("/")
            return finite, participle
    if "is hit" in done:
        other = next((j for j, t in enumerate(facts["things"]) if j != k and HITS in t["done"]), None)
        if other is not None:
            finite, participle = voice.say(lex.DEED, _DEED["is hit"]).split("/")
            by = article(_noun(facts["things"][other], voice, size=False))
            after = f" {voice.say(lex.AFTER, 'and tumbles')}" if "tumbles" in done and voice.chance(0.6) else ""
            return f"{finite} {by}{after}", f"{participle} {by}"
    return None


def _special(action: str, subject: str, facts: dict[str, Any]) -> str:
    if action == "jumps" and subject == "fish":
        return "jumps out of the water/jumping out of the water"
    if action == "rests" and subject == "fish":
        return "hovers/hovering"
    if action == "takes off" and subject == "rocket":
        return "launches/launching"
    return _DEED[action]


def _place(facts: dict[str, Any], voice: _Voice) -> str:
    place, main = facts["scene"]["place"], facts["things"][0]
    flying = main["subject"] in FLYERS and any(d in (*MOVES, "flies across") for d in main["done"])
    if flying:
        return voice.say(lex.PLACE_ABOVE, _ABOVE[place])
    return voice.say(lex.PLACE, _PLACE[place])


def _light(facts: dict[str, Any], voice: _Voice) -> str:
    return voice.say(lex.LIGHT, _LIGHT[facts["scene"]["light"]])


def _related(facts: dict[str, Any], voice: _Voice, size: bool) -> str:
    """The true relations of the main subject as one phrase: "to the left of a green cube"."""
    said = []
    for relation in facts["relations"]:
        if relation["a"] == 0:
            other = article(_noun(facts["things"][relation["b"]], voice, size))
            said.append(f"{voice.say(lex.RELATION, _RELATION[relation['kind']])} {other}")
    return " and ".join(said)


def _few(facts: dict[str, Any], voice: _Voice) -> str:
    main = facts["things"][0]
    parts = [article(_noun(main, voice, size=voice.chance(0.2)))]
    deed = _deed(facts, 0, voice)
    if deed and ("rests" not in main["done"] or voice.chance(0.25)):
        parts.append(deed[1])
    related = _related(facts, voice, size=False)
    if related and voice.chance(0.85):
        parts.append(related)
    if voice.chance(0.85):
        parts.append(_place(facts, voice))
    if voice.chance(0.5):
        parts.append(_light(facts, voice))
    text = " ".join(parts)
    if _moves(facts) and voice.chance(0.25 if facts["scene"]["camera"] == "static" else 0.45):
        text += f", {voice.say(lex.CAMERA_SHORT, _SHORT[facts['scene']['camera']])}"
    return text


def _sentence(facts: dict[str, Any], voice: _Voice) -> str:
    main = facts["things"][0]
    noun, deed = article(_noun(main, voice, size=voice.chance(0.6))), _deed(facts, 0, voice)
    related = _related(facts, voice, size=voice.chance(0.3))
    place = _place(facts, voice)
    light = _light(facts, voice) if voice.chance(0.8) else ""
    if deed is None:
        body = " ".join(p for p in (f"there is {noun}", related, place, light) if p)
    elif voice.chance(0.2):
        opening = voice.say(lex.FRAME, "there is")
        body = " ".join(p for p in (opening, noun, deed[1], related, place, light) if p)
    elif voice.chance(0.2):
        where = " ".join(p for p in (place, light) if p)
        body = " ".join(p for p in (f"{where},", noun, deed[0], related) if p)
    elif light and voice.chance(0.15):
        body = " ".join(p for p in (f"{light},", noun, deed[0], related, place) if p)
    else:
        body = " ".join(p for p in (noun, deed[0], related, place, light) if p)
    if _moves(facts) and voice.chance(0.4 if facts["scene"]["camera"] == "static" else 0.75):
        joint = ", " if voice.chance(0.6) else " while "
        body += joint + voice.say(lex.CAMERA, _CAMERA[facts["scene"]["camera"]])
    return body[0].upper() + body[1:] + "."


def _everything(facts: dict[str, Any], voice: _Voice) -> str:
    main = facts["things"][0]
    noun, deed = article(_noun(main, voice, size=True)), _deed(facts, 0, voice)
    related = _related(facts, voice, size=True)
    place, light = _place(facts, voice), _light(facts, voice)
    if deed is None:
        body = " ".join(p for p in (f"there is {noun}", related, place, light) if p)
    elif voice.chance(0.3):
        body = " ".join(p for p in (f"{place} {light},", noun, deed[0], related) if p)
    else:
        body = " ".join(p for p in (noun, deed[0], related, place, light) if p)
    sentences = [body]
    for k, thing in enumerate(facts["things"][1:], start=1):
        other = _deed(facts, k, voice)
        if other and HITS not in thing["done"]:
            sentences.append(
                f"the {voice.say(lex.COLOUR, thing['colour'])} {voice.say(lex.SUBJECT, thing['subject'])} {other[0]}"
            )
    if _moves(facts):
        sentences.append(voice.say(lex.CAMERA, _CAMERA[facts["scene"]["camera"]]))
    return " ".join(s[0].upper() + s[1:] + "." for s in sentences)
