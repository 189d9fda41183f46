"""The director: completes a short prompt in the words that the model learnt from, and reads prompts of named fields.

What a prompt says is kept word for word; what it leaves open (colour, action, place, light, camera) is drawn from the
grammar of the world so that it goes together, the same for the same seed. Instead of the grammar, any chat endpoint
that speaks OpenAI's protocol can be asked, if the user names one; nothing is sent anywhere otherwise.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass

from tenku.errors import UserError
from tenku.rng import stream
from tenku.world import captions, grammar
from tenku.world import lexicon as lex
from tenku.world.reading import read

FIELDS = ("subject", "colour", "size", "action", "place", "light", "camera")
ADDRESS, MODEL, KEY = "TENKU_DIRECTOR_URL", "TENKU_DIRECTOR_MODEL", "TENKU_DIRECTOR_KEY"
SECONDS = 30.0  # that an endpoint may take
MOST = 2000  # characters of its answer
ORDER = (
    "You complete prompts for a small text-to-video model. Answer with one or two plain English sentences, and nothing "
    "else. Keep all that the prompt says. Say size, colour, subject, what it does, place, light, camera, using only: "
    f"subjects {', '.join(grammar.SUBJECTS)}; colours {', '.join(grammar.COLOURS)}; places {', '.join(lex.PLACE)}; "
    f"lights {', '.join(lex.LIGHT)}; cameras {', '.join(lex.CAMERA)}."
)

_TABLES: dict[str, tuple[tuple[str, ...], lex.Table]] = {  # field -> the grammar's words, and their phrases in order
    "subject": (grammar.SUBJECTS, lex.SUBJECT), "colour": (tuple(grammar.COLOURS), lex.COLOUR),
    "size": (tuple(grammar.SIZES), lex.SIZE), "place": (grammar.PLACES, lex.PLACE),
    "light": (grammar.LIGHTS, lex.LIGHT), "camera": (grammar.CAMERAS, lex.CAMERA),
}
_ALSO: dict[str, tuple[lex.Table, ...]] = {"place": (lex.PLACE_ABOVE,), "camera": (lex.CAMERA_SHORT,)}


@dataclass(frozen=True)
class Directed:
    """A prompt as it is dreamt."""

    prompt: str
    added: tuple[str, ...]  # what the director put in, phrase by phrase; () for nothing


def heard(prompt: str) -> dict[str, str]:
    """What of FIELDS a prompt says, in the grammar's words; an action is only known to be said ("said") or not."""
    found = {}
    for field, (names, table) in _TABLES.items():
        tables = (table, *_ALSO.get(field, ()))
        options = [(phrase, name) for t in tables for name, (key, more) in zip(names, t.items(), strict=True)
                   for phrase in (key, name, *more)]
        options.sort(key=lambda option: -len(option[0]))  # "sailing boat" before "boat"
        match = next((name for phrase, name in options if _says(prompt, phrase)), None)
        if match is not None:
            found[field] = match
    verbs = [form for t in (lex.DEED, lex.VERB) for key, more in t.items() for pair in (key, *more)
             for form in pair.split("/") if form not in ("is", "placed")]
    if any(_says(prompt, verb) for verb in verbs):
        found["action"] = "said"
    return found


def _says(prompt: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", prompt, re.IGNORECASE) is not None


def direct(prompt: str, seed: int) -> Directed:
    """The prompt completed from the grammar; the same seed adds the same. What it says stays as it is, in English."""
    prompt = read(prompt).text
    said = heard(prompt)
    draw = stream(seed, "director")
    numbers = {field: int(draw.integers(2**31)) for field in FIELDS}  # so that what is said changes nothing else

    def pick(field: str, options: tuple[str, ...]) -> str:
        return options[numbers[field] % len(options)]

    text, added = prompt.strip().rstrip("."), []
    subject = said.get("subject", "")
    places = tuple(p for p in grammar.PLACES if not subject or grammar.actions(subject, p))
    place = said.get("place") or pick("place", places)
    action = "rests" if not subject else pick("action", grammar.actions(subject, place) or ("rests",))
    camera = said.get("camera") or pick("camera", grammar.cameras(action))
    scene = {"subject": subject or "ball", "colour": said.get("colour") or pick("colour", tuple(grammar.COLOURS)),
             "size": said.get("size", "large"), "action": "rests" if action == "is hit" else action, "place": place,
             "light": said.get("light") or pick("light", grammar.LIGHTS), "camera": camera}
    whole = captions.prompt(**scene).rstrip(".")  # the model's own sentence, of which the missing parts are taken
    where = next((match for phrase in sorted((subject, *lex.SUBJECT.get(subject, ())), key=len, reverse=True) if subject
                  and (match := re.search(rf"\b{re.escape(phrase)}\b", text, re.IGNORECASE))), None)
    if where is not None and "action" not in said:
        deed = re.split(rf" (?:{'|'.join(map(re.escape, (*lex.PLACE, *lex.PLACE_ABOVE)))})",
                        whole.split(f" {subject} ", 1)[1], maxsplit=1)[0]
        text = f"{text[: where.end()]} {deed}{text[where.end() :]}"
        added.append(deed)
    if where is not None and "colour" not in said:
        text = f"{text[: where.start()]}{scene['colour']} {text[where.start() :]}"
        text = re.sub(rf"\b(an?) {scene['colour']}\b", captions.article(scene["colour"]), text, count=1, flags=re.I)
        added.append(scene["colour"])
    light = list(lex.LIGHT)[grammar.LIGHTS.index(scene["light"])]
    above = next((phrase for phrase in (*lex.PLACE, *lex.PLACE_ABOVE) if _says(whole, phrase)), "")
    move = list(lex.CAMERA)[grammar.CAMERAS.index(camera)]
    for field, phrase, joint in (("place", above, " "), ("light", light, " "), ("camera", move, ", ")):
        if field not in said:
            text += f"{joint}{phrase}"
            added.append(phrase)
    return Directed(text, tuple(added))


def spelt(prompt: str) -> str:
    """A prompt of named fields, "subject=ball, place=beach", as the model's own sentence; prose as it is.

    Raises UserError for a field or a word that the grammar does not know, and for what does not go together.
    """
    if not re.match(r"\s*\w+\s*=", prompt):
        return prompt
    fields: dict[str, str] = {}
    for part in prompt.split(","):
        name, sign, value = (text.strip().lower() for text in part.partition("="))
        if not sign or name not in FIELDS or name in fields:
            raise UserError(f"prompt cannot have the field {part.strip()[:40]!r}", f"{', '.join(FIELDS)}, each once")
        fields[name] = value
    if "subject" not in fields:
        raise UserError("prompt names no subject", "subject=ball, place=beach, camera=dolly in")
    scene = grammar.variant(grammar.draw(0), **{"size": "large", "light": "day", "camera": "static", **fields})
    if "colour" not in fields:
        scene = grammar.variant(scene, colour="red")
    main = scene.things[0]
    return captions.prompt(subject=main.subject, colour=main.colour, size=main.size, action=main.action,
                           place=scene.place, light=scene.light, camera=scene.camera)


def asked(prompt: str) -> Directed:
    """The prompt as the user's own chat endpoint completes it (TENKU_DIRECTOR_URL, _MODEL, _KEY).

    Raises UserError when none is named or it does not answer.
    """
    address = os.environ.get(ADDRESS, "").rstrip("/")
    if not re.match(r"https?://", address):
        raise UserError(f"no chat endpoint is named in {ADDRESS}", "such as http://127.0.0.1:8080/v1")
    body = {"model": os.environ.get(MODEL, "default"), "temperature": 0, "seed": 0,
            "messages": [{"role": "system", "content": ORDER}, {"role": "user", "content": prompt}]}
    headers = {"Content-Type": "application/json"}
    if os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {os.environ[KEY]}"
    call = urllib.request.Request(f"{address}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(call, timeout=SECONDS) as answer:
            text = json.loads(answer.read(1 << 20))["choices"][0]["message"]["content"]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        raise UserError(f"the director's endpoint gave no answer ({reason})", "leave --direct out") from None
    text = " ".join(str(text).split())[:MOST]
    if not text:
        raise UserError("the director's endpoint answered nothing", "leave --direct out")
    return Directed(text, (text,))
