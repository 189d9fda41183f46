"""Prompts of other languages in the grammar's own English: what they say, in the words that the model learnt from.

Arabic and Chinese are known by their script, German, Spanish and French by their words. What a prompt says of things,
deeds, place, light and camera is said again as captions say it; what the world does not hold is named, and left out.
English stays as it is, letter by letter, and so does what is of no language that is known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import chain, pairwise

from tenku.world import captions
from tenku.world import lexicon as lex
from tenku.world.grammar import CAMERAS, FLYERS, LIGHTS, PLACES, RELATIONS
from tenku.world.languages import LATIN, MEANINGS, Event, Language, Text, language, plain

SAID = 40  # letters of an unknown word that a note repeats
LEAST = 1 / 3  # of the words that must be known before a text counts as a language's
# English words without a meaning to draw, so that English is known as such; captions' own are known anyway.
_ENGLISH = frozenset((
    "a an the some any this that these those there here it its is are was were be been am do does did has have had of "
    "to for from by as at and or but so then than in on with without into onto over under near upon about i you he she "
    "we they me us them his her my your our who which what when where while not no all one two three very please make "
    "show shows video clip picture image photo scene film movie shot slowly fast quickly man woman dog cat").split())
_CAMERAS = dict(zip(CAMERAS, lex.CAMERA, strict=True))
_PLACES = dict(zip(PLACES, lex.PLACE, strict=True))
_ABOVE = dict(zip(PLACES, lex.PLACE_ABOVE, strict=True))
_LIGHTS = dict(zip(LIGHTS, lex.LIGHT, strict=True))
_RELATIONS = dict(zip(RELATIONS, lex.RELATION, strict=True))
_PLURALS = {"butterfly": "butterflies", "fish": "fish", "snowman": "snowmen"}
_DONE = {"rest": "rests", "bounce": "bounces", "fall": "falls", "jump": "jumps", "spin": "spins",
         "cross": "flies across", "swing": "swings", "topple": "topples", "float": "floats", "takeoff": "takes off",
         "air": "in the air", "hover": "rests"}
_WAYS = dict(zip(("left", "right", "away", "near"), lex.WAY, strict=True))
_LOUDEST = ("hit", "topple", "swing", "bounce", "cross", "takeoff", "float", "jump", "spin", "fall", "swim", "fly",
            "move", "air", "rest", "hover")


@dataclass(frozen=True)
class Reading:
    """A text as the bundled model reads it."""

    text: str
    language: str = ""  # its name; "" where the text stays as it is
    left_out: tuple[str, ...] = ()  # words that the world does not hold

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said about it."""
        if not self.language:
            return ()
        lost = (f"the bundled model's world holds no {word[:SAID]!r}; it was left out" for word in self.left_out)
        return (f"read from {self.language} as: {self.text}", *dict.fromkeys(lost))


@lru_cache(maxsize=256)
def read(text: str) -> Reading:
    """A prompt in English; itself where it is English, or of a language that is not known here."""
    best = _language(text)
    if best is None:
        return Reading(text)
    said, events = _parsed(text, best)
    if not said:
        return Reading(text)
    return Reading(said, best.name, tuple(event.value for event in events if event.kind == "unknown"))


def _language(text: str) -> Language | None:
    """The language of a text by its script, or by how many of its words are known."""
    letters = [letter for letter in text if letter.isalpha()]
    arabic = sum("\u0600" <= letter <= "\u06ff" for letter in letters)
    chinese = sum("\u4e00" <= letter <= "\u9fff" for letter in letters)
    japanese = any("\u3040" <= letter <= "\u30ff" for letter in letters)
    if 2 * arabic > len(letters):
        return language("ar")
    if 2 * chinese > len(letters) and not japanese:
        return language("zh")
    words = re.findall(r"[^\W\d_]+", text.lower())
    known = sum(word in _english() for word in words)
    if not words or known == len(words):
        return None
    best, most = None, max(known, int(len(words) * LEAST))
    for code in LATIN:
        one = language(code)
        if sum(plain(word).plain in one.words for word in words) * 2 < known:
            continue  # far from it: its phrases need not be looked for
        seen = one.read(text)
        events = one.tagged(seen)
        unknown = [event.value.lower() for event in events if event.kind == "unknown"]
        means = [seen.original(event.start, event.end).lower() for event in events if event.kind in MEANINGS]
        own = not unknown or any(word not in _english() for word in means)
        found = len(words) - len(unknown)
        mixed = any(word in _english() for word in unknown)  # English would say more of it
        if means and own and found > most and not (mixed and found < 2 * known):
            best, most = one, found
    return best


@cache
def _english() -> frozenset[str]:
    return _ENGLISH | frozenset(captions.vocabulary())


# -- from events to a scene -----------------------------------------------------------------------------------


@dataclass
class _Thing:
    """A thing as far as a text says what it is and does."""

    subject: str | None
    at: int  # where its noun begins
    end: int
    colour: str | None = None
    size: str | None = None
    number: str | None = None
    deeds: list[str] = field(default_factory=list)
    way: str | None = None
    relations: list[tuple[str, _Thing]] = field(default_factory=list)
    hit_by: _Thing | None = None
    object: bool = False  # of another thing's relation or blow


class _Scene:
    """What the events of a text say together."""

    def __init__(self, tongue: Language, text: Text) -> None:
        self.tongue, self.text = tongue, text
        events = tongue.tagged(text)
        self.scopes: list[tuple[int, int]] = []
        self.camera = ""
        for scope in self._scopes(events):
            spoken = tongue.tagged(text, [scope])
            camera = _filmed([e for e in spoken if scope[0] <= e.start < scope[1]])
            if camera:
                self.scopes.append(scope)
                self.camera = self.camera or camera
        self.events = tongue.tagged(text, self.scopes)
        self.ends = tongue.boundaries(text, self.events)
        self.things = [_Thing(e.value, e.start, e.end) for e in self.events if e.kind == "subject"]
        self._describe()
        self._relate()
        self._act()
        self.things = _merged(self.things)

    def _scopes(self, events: Sequence[Event]) -> list[tuple[int, int]]:
        """Clauses that speak of the camera: with its name, or with a move of it and no thing."""
        ends = self.tongue.boundaries(self.text, events)
        found = []
        for a, b in pairwise(ends):
            kinds = {event.kind for event in events if a <= event.start < b}
            if "film" in kinds or ("camera" in kinds and "subject" not in kinds):
                found.append((a, b))
        for event in events:
            if event.kind == "camera" and not any(a <= event.start < b for a, b in found):
                found.append((event.start, event.end))
        return found

    def clause(self, at: int) -> tuple[int, int]:
        """The clause that holds a place of the text."""
        return max(e for e in self.ends if e <= at), min(e for e in self.ends if e > at)

    def sentence(self, at: int) -> int:
        """The number of the sentence that holds a place of the text."""
        return len(re.findall(r"[.!?\u061f\u3002\uff01\uff1f]", self.text.plain[:at]))

    def _describe(self) -> None:
        """Gives colours, sizes and numbers to the things that they are said of."""
        table = self.tongue.table
        for event in self.events:
            if event.kind not in ("colour", "size", "number"):
                continue
            usual = "before" if event.kind == "number" else table["adjectives"]
            usual = table.get("sizes", usual) if event.kind == "size" else usual
            after = next((t for t in self.things if t.at >= event.end and self._beside(event.end, t.at)), None)
            before = next((t for t in reversed(self.things) if t.end <= event.start), None)
            before = before if before and self._beside(before.end, event.start) else None
            options = [after, before] if usual == "before" else [before, after]
            here = self.sentence(event.start)
            near = [t for t in self.things if self.sentence(t.at) == here]
            options += [t for t in reversed(near) if t.end <= event.start]
            options += [t for t in near if t.at >= event.end]
            options += [t for t in reversed(self.things) if t.end <= event.start]  # "it is red"
            thing = next((t for t in options if t and getattr(t, event.kind) is None), None)
            if thing is None and not self.things:
                thing = _Thing(None, event.start, event.end)
                self.things.append(thing)
            if thing is not None:
                setattr(thing, event.kind, event.value)

    def _beside(self, start: int, end: int) -> bool:
        """Whether only what describes, or nothing, stands between two places."""
        between = [e for e in self.events if start <= e.start < end]
        if any(start <= stop < end for stop in self.ends if self.text.plain[stop : stop + 1] in tuple(".!?;,،，。；؛")):
            return False
        return all(e.kind in ("colour", "size", "number", "link", "unknown", "break") for e in between)

    def _relate(self) -> None:
        behind = self.tongue.table.get("relations") == "behind"
        for event in self.events:
            if event.kind != "relation":
                continue
            after = [t for t in self.things if t.at >= event.end]
            before = [t for t in self.things if t.end <= event.start and not t.object]
            if behind:
                other = before[-1] if before and self._near(before[-1].end, event.start) else None
                main = next(iter(before[-2:-1] or after), None)
            else:
                other = after[0] if after and self._near(event.end, after[0].at) else None
                main = next((t for t in reversed(before)), None) or next(iter(after[1:]), None)
            if other and main and not other.object and other is not main:
                other.object = True
                main.relations.append((event.value, other))

    def _near(self, start: int, end: int) -> bool:
        """Whether nothing but what belongs to a noun stands between two places."""
        between = [e for e in self.events if start <= e.start < end]
        return all(e.kind in ("colour", "size", "number", "link", "silent", "unknown") for e in between) and not any(
            start <= stop < end for stop in self.ends)

    def _act(self) -> None:
        """Gives deeds and ways to the things that do and go so."""
        for event in self.events:
            if event.kind not in ("deed", "way") or any(a <= event.start < b for a, b in self.scopes):
                continue
            if event.kind == "deed" and event.value in ("hit", "hits"):
                self._hit(event)
                continue
            thing = self._who(event)
            if thing is None:
                thing = _Thing(None, event.start, event.end)
                self.things.append(thing)
            if event.kind == "deed":
                thing.deeds.append(event.value)
            else:
                thing.way = thing.way or event.value

    def _who(self, event: Event) -> _Thing | None:
        """Who does something: who is named before it in its clause, else after it, else in the clauses before."""
        a, b = self.clause(event.start)
        free = [t for t in self.things if not t.object]
        here = [t for t in free if a <= t.at < b]
        before = [t for t in here if t.at <= event.start]
        earlier = [t for t in free if t.at < event.start]
        return next(chain(reversed(before), here, reversed(earlier), free), None)

    def _by(self, thing: _Thing) -> bool:
        """Whether a word that names who does it to another stands before a thing."""
        last = max((t.end for t in self.things if t.end <= thing.at), default=0)
        text = self.text.plain[last : thing.at]
        found = [re.escape(plain(word).plain) for word in self.tongue.table.get("agents", ())]
        return re.search("|".join(found) if not self.tongue.spaced else rf"\b(?:{'|'.join(found)})\b", text) is not None

    def _hit(self, event: Event) -> None:
        same = [t for t in self.things if not t.object and self.sentence(t.at) == self.sentence(event.start)]
        after = [t for t in same if t.at >= event.start]
        before = [t for t in same if t.at < event.start]
        if not before:
            before = [t for t in self.things if t.at < event.start and not t.object][-1:]
        hitter: _Thing | None
        target: _Thing | None
        if by := next((t for t in reversed(same) if self._by(t)), None):
            hitter, target = by, next((t for t in [*before, *after] if t is not by), None)
        elif event.value == "hits":
            hitter, target = next(reversed(before), None), next(iter(after), None)
        elif before and after:
            target, hitter = before[-1], after[0]
        else:  # both before the verb, or both behind it
            target, hitter = (*(before or after)[:2], None, None)[:2]
        if target and hitter:
            hitter.object, target.hit_by = True, hitter
        if target:
            target.deeds.append("hit")


def _filmed(events: Sequence[Event]) -> str:
    """The camera that the events of its clause tell of, of CAMERAS; "" for none."""
    values = {e.value for e in events if e.kind in ("filming", "camera")}
    side = next((e.value for e in events if e.kind in ("way", "filming") and e.value in ("left", "right")), None)
    ways = {e.value for e in events if e.kind == "way"}
    if "orbit" in values or "pan" in values:
        move = "orbit" if "orbit" in values else "pan"
        return f"{move} {side}" if side else ""
    for value, name in (("follow", "follow"), ("up", "crane up"), ("out", "dolly out"), ("in", "dolly in")):
        if value in values:
            return name
    for way, name in (("away", "dolly out"), ("near", "dolly in")):
        if way in ways:
            return name
    return "static" if "static" in values else ""


def _merged(things: Sequence[_Thing]) -> list[_Thing]:
    """Mentions of the same thing as one: of one subject, where no two colours tell them apart."""
    found: list[_Thing] = []
    for thing in sorted(things, key=lambda one: one.at):
        known = next((k for k in found if not thing.object and not k.object and k.subject == thing.subject
                      and (None in (k.colour, thing.colour) or k.colour == thing.colour)), None)
        if known is None:
            found.append(thing)
            continue
        known.colour, known.size = known.colour or thing.colour, known.size or thing.size
        known.number, known.way = known.number or thing.number, known.way or thing.way
        known.deeds += thing.deeds
        known.relations += thing.relations
        known.hit_by = known.hit_by or thing.hit_by
    return found


# -- from a scene to English ----------------------------------------------------------------------------------


def _parsed(text: str, tongue: Language) -> tuple[str, list[Event]]:
    """A text in English, "" where it says nothing that the world holds; and its events."""
    scene = _Scene(tongue, tongue.read(text))
    first = {kind: next((e.value for e in scene.events if e.kind == kind), None) for kind in ("place", "light")}
    mains = [thing for thing in scene.things if not thing.object]
    flying = bool(mains) and mains[0].subject in FLYERS and _loudest(mains[0]) in ("fly", "cross")
    where = (_ABOVE if flying else _PLACES)[first["place"]] if first["place"] else ""
    when = _LIGHTS[first["light"]] if first["light"] else ""
    body = " ".join(part for part in (_clause(mains[0]) if mains else "", where, when) if part)
    more = [_clause(thing) for thing in mains[1:]]
    quiet = [said for said, thing in zip(more, mains[1:], strict=True) if not thing.deeds]
    if quiet:
        body += " with " + " and ".join(quiet)
    moving = ", ".join(part for part in (body, _CAMERAS.get(scene.camera, "")) if part)
    parts = [moving, *(said for said, thing in zip(more, mains[1:], strict=True) if thing.deeds)]
    said = " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)
    return said, scene.events


def _clause(thing: _Thing) -> str:
    """What a thing is, does, and where it is beside others."""
    if not thing.deeds and thing.way:
        thing.deeds.append("move")
    said = [_noun(thing, size=True), _deed(thing)]
    if thing.hit_by:
        said.append(_noun(thing.hit_by, size=False))
    others = [f"{_RELATIONS[kind]} {_noun(other, size=True)}" for kind, other in thing.relations]
    return " ".join(part for part in (*said, " and ".join(others)) if part)


def _noun(thing: _Thing, *, size: bool) -> str:
    if thing.subject is None and thing.colour is None:
        return "it"
    subject = thing.subject or ""
    words = [thing.size if size else None, thing.colour, subject]
    said = " ".join(word for word in words if word)
    if thing.number and subject:
        return f"{thing.number} {said.removesuffix(subject)}{_PLURALS.get(subject, subject + 's')}"
    return captions.article(said)


def _loudest(thing: _Thing) -> str | None:
    deeds = set(thing.deeds)
    if "fall" in deeds and "bounce" in deeds:
        deeds.discard("fall")
    return next((deed for deed in _LOUDEST if deed in deeds), None)


def _deed(thing: _Thing) -> str:
    """The finite words of what a thing does, "" where nothing is said."""
    deed, way, subject = _loudest(thing), thing.way, thing.subject or ""
    if deed is None:
        return ""
    if deed == "hit":
        return "is hit by" if thing.hit_by else "is hit"
    if deed == "swim":
        deed = "move" if subject == "fish" else "float"
    if deed == "fly" and subject not in FLYERS and subject:
        deed = "cross"
    if deed in ("move", "fly"):
        return captions.deed(subject, [f"moves {way}"]) if way else captions.moving(subject)
    if deed in ("rest", "hover", "float") and subject == "fish":
        deed = "rest"
    done = captions.deed(subject, [_DONE[deed], *([f"to the {way}"] if way in ("left", "right") else [])])
    if way and deed not in ("rest", "hover", "float") and _WAYS[way] not in done:
        done += f" {_WAYS[way]}"
    return done
