"""What a text speaks of: subjects of the grammar with the colour and size that stand before them, place and light."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from tenku.rng import stream
from tenku.world import lexicon as lex
from tenku.world.grammar import COLOURS, LIGHTS, MEASURES, PLACES, SIZES, actions
from tenku.world.motion import THINGS
from tenku.world.newcomers import Newcomer

_ARTICLES = frozenset(("a", "an", "the", "one", "another", "this", "that", "by", "of", "and", "with", ","))


@dataclass(frozen=True)
class Mention:
    """A thing as far as a text says what it is."""

    subject: str  # of SUBJECTS, or a newcomer's name
    colour: str | None = None  # of COLOURS
    size: str | None = None  # of SIZES
    newcomer: Newcomer | None = None  # where it is one

    @property
    def height(self) -> float:
        """Metres; of a size between the two where none is said."""
        middle = (SIZES["small"] * SIZES["large"]) ** 0.5
        high = self.newcomer.measures[0] if self.newcomer else MEASURES[self.subject][0]
        return high * (SIZES[self.size] if self.size else middle)

    @property
    def like(self) -> str:
        """The subject of the grammar as which it acts."""
        return self.newcomer.like if self.newcomer else self.subject


def _phrases(table: lex.Table) -> dict[tuple[str, ...], str]:
    return {tuple(p.split()): name for name, others in table.items() for p in (name, *others)}


_SUBJECTS, _COLOURS, _SIZES = (_phrases(table) for table in (lex.SUBJECT, lex.COLOUR, lex.SIZE))
_LONGEST = 3  # words of a phrase
# Words that tell a place or a light by themselves, where no whole phrase of the lexicon does.
_PLACE_WORDS = ("meadow meadows grass grassy field lawn park grassland", "desert dune dunes cacti", "snow snowy winter",
                "beach shore seaside coast", "sea ocean waves", "city street town road downtown urban", "moon lunar",
                "reef coral corals underwater")
_LIGHT_WORDS = ("day daylight daytime noon sunny", "sunset dusk evening twilight", "night dark midnight nighttime",
                "fog foggy mist misty haze hazy")
_CAMERA_WORDS = "camera view shot pan pans zoom zooms orbit orbits dolly dollies crane cranes"


def _signs(names: Sequence[str], tables: Sequence[lex.Table], words: Sequence[str]) -> dict[str, str]:
    """What a text may say of a place or a light -> its name; the longest first, as whole words."""
    found = {f" {word} ": name for name, some in zip(names, words, strict=True) for word in some.split()}
    for table in tables:
        for name, (first, more) in zip(names, table.items(), strict=True):
            found |= {f" {phrase} ": name for phrase in (first, *more)}
    return dict(sorted(found.items(), key=lambda sign: -len(sign[0])))


_PLACE_SIGNS = _signs(PLACES, (lex.PLACE, lex.PLACE_ABOVE), _PLACE_WORDS)
_LIGHT_SIGNS = _signs(LIGHTS, (lex.LIGHT,), _LIGHT_WORDS)
_SHORT = (lex.CAMERA_SHORT, *lex.CAMERA_SHORT.values())
_FOLLOW_SIGNS = [f" {said} " for table in (lex.CAMERA, lex.CAMERA_SHORT) for name, others in table.items()
                 if "follow" in name for said in (name, *others)]
_CAMERA_SIGNS = [f" {said} " for said in chain(_CAMERA_WORDS.split(), *_SHORT)]


def setting(text: str) -> tuple[str | None, str | None]:
    """The place and the light of a text, of PLACES and LIGHTS, each None where it says none."""
    words = _words(text)
    return _first(words, _PLACE_SIGNS), _first(words, _LIGHT_SIGNS)


def _words(text: str) -> str:
    return " ".join(["", *re.findall(r"[^\W\d_]+", text.lower()), ""])


def _first(words: str, signs: Mapping[str, str]) -> str | None:
    return next((name for sign, name in signs.items() if sign in words), None)


def swings(text: str) -> bool:
    """Whether a text speaks of something that swings, and so of the frame that it hangs from."""
    return re.search(r"\bswing(s|ing)?\b", text.lower()) is not None


def stacked(text: str) -> bool:
    """Whether a text has a thing stand on another."""
    parts = re.split(rf" (?:{'|'.join(('on top of', *lex.RELATION['on top of']))}) ", _words(text))
    return any(things(" ".join(part.split()[:4])) for part in parts[1:])  # "on a large green cube", not "on a beach"


def followed(text: str) -> bool:
    """Whether a text has the camera go along with the first thing."""
    return any(sign in _words(text) for sign in _FOLLOW_SIGNS)


def filmed(text: str) -> str:
    """The text, with a camera that stands still where it speaks of none."""
    words = _words(text)
    if not words.strip() or any(sign in words for sign in _CAMERA_SIGNS):
        return text
    return f"{text.rstrip(' .,;')}, the camera is static"


_FORMS = [form for table in (lex.VERB, {n: o for n, o in lex.DEED.items() if "across" in n})
          for said in chain(table, *table.values()) for form in said.split("/")]
_WAY_WORDS = {word for said in chain(lex.WAY, *lex.WAY.values()) for word in said.split()}
_WAY_WORDS -= {"to", "the", "from", "camera", "us", "viewer", "into"}
# A verb of moving that is not part of a longer one ("flies up"), and the rest of its clause.
_MOVES = re.compile(rf"\b({'|'.join(sorted(_FORMS, key=len, reverse=True))})\b(?! (?:up|off|boats?)\b)"
                    r"((?:(?! while | and | camera | view |[,.;]).)*)", re.IGNORECASE)


def headed(text: str, seed: int) -> str:
    """The text, in which what moves goes to the left or to the right where it does not say where to.

    In all captions it does, so of a way that is not said a network knows only the mean: hardly any.
    """

    def to_a_side(found: re.Match[str]) -> str:
        verb, rest = found.groups()
        if filming.search(text[: found.start()]) or _WAY_WORDS & set(_words(rest).split()):
            return found[0]
        return f"{verb} to the {sides[int(stream(seed, 'way', found.start()).integers(2))]}{rest}"

    sides, filming = ("left", "right"), re.compile(r"\b(camera|view|shot|it)( \w+)?\s$", re.IGNORECASE)
    return _MOVES.sub(to_a_side, text)


@dataclass(frozen=True)
class Told:
    """What some texts say of a clip, and what was drawn where they say nothing."""

    things: tuple[Mention, ...]
    place: str | None
    light: str | None
    swing: bool


def told(texts: Sequence[str], seed: int | None, newcomers: Sequence[Newcomer] = ()) -> Told:
    """What the first text that speaks of each says of things, place and light; of newcomers, too, where a model knows.

    With a seed, colours and a place that none says are drawn from it, a place among those where the first thing
    belongs; and it is day.
    """
    found = next((some for some in (things(text, newcomers) for text in texts) if some), ())
    settings = [setting(text) for text in texts]
    place, light = (next((said[i] for said in settings if said[i]), None) for i in (0, 1))
    if seed is not None:
        draw = stream(seed, "unsaid")
        colours = [list(COLOURS)[int(draw.integers(len(COLOURS)))] for _ in range(THINGS)]
        homes = [home for home in PLACES if not found or actions(found[0].like, home)]
        found = tuple(replace(one, colour=one.colour or colour) for one, colour in zip(found, colours, strict=False))
        place, light = place or homes[int(draw.integers(len(homes)))], light or "day"
    return Told(found, place, light, any(map(swings, texts[:1])))


def things(text: str, newcomers: Sequence[Newcomer] = ()) -> tuple[Mention, ...]:
    """The things of a text in the order of their first mention, at most THINGS.

    A word counts as a subject behind an article, a colour or a size, or where a text or a clause begins: "you can see"
    holds no can. A second mention of the same subject is the same thing, unless it has another colour.
    """
    found: list[Mention] = []
    for mention in _mentions(re.findall(r"[^\W\d_]+|[,.;:]", text.lower()), {one.name: one for one in newcomers}):
        for i, known in enumerate(found):
            if known.subject == mention.subject and None in (known.colour, mention.colour):
                found[i] = replace(known, colour=known.colour or mention.colour, size=known.size or mention.size)
                break
            if (known.subject, known.colour) == (mention.subject, mention.colour):
                break
        else:
            found.append(mention)
    return tuple(found[:THINGS])


def _mentions(words: Sequence[str], newcomers: Mapping[str, Newcomer]) -> Iterator[Mention]:
    subjects = dict(_SUBJECTS)
    subjects |= {(name,): name for name in newcomers}
    at = 0
    while at < len(words):
        subject, used = _phrase(words, at, subjects)
        colour, length = _phrase(words, at, _COLOURS)
        if colour and length > used:  # "jet black" is no jet
            used = length
        elif subject:
            colour, size, before = _described(words, at)
            if colour or size or before < 0 or words[before] in _ARTICLES or not words[before].isalpha():
                yield Mention(subject, colour, size, newcomers.get(subject))
        at += max(1, used)


def _phrase(words: Sequence[str], at: int, table: dict[tuple[str, ...], str]) -> tuple[str | None, int]:
    """The longest phrase of the table that begins at a word, in the singular or the plural, and its words."""
    for length in range(_LONGEST, 0, -1):
        phrase = tuple(words[at : at + length])
        if len(phrase) == length:
            word = phrase[-1]
            for last in (word, word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word)):
                if (*phrase[:-1], last) in table:
                    return table[*phrase[:-1], last], length
    return None, 0


def _described(words: Sequence[str], at: int) -> tuple[str | None, str | None, int]:
    """Colour and size right before a word, in any order, and the number of the word before them."""
    colour = size = None
    while True:
        for length in range(min(_LONGEST, at), 0, -1):
            phrase = tuple(words[at - length : at])
            if phrase in _COLOURS and colour is None:
                colour = _COLOURS[phrase]
            elif phrase in _SIZES and size is None:
                size = _SIZES[phrase]
            else:
                continue
            at -= length
            break
        else:
            return colour, size, at - 1
