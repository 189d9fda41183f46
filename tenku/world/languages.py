"""What the words of a text mean, by a table a language (tongues/*.toml): a text to events in the order of its words.

A table's phrases are words between spaces. Each may have the language's own beginnings and endings, a word that ends in
"-" those of verbs; ".." stands for up to twelve words of the same clause. Where phrases overlap the longest is read.
Texts and tables are compared without case, accents and vowel signs. What no phrase holds is given back as unknown.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from tenku.world import lexicon as lex

FOLDER = Path(__file__).parent / "tongues"
LATIN = ("de", "es", "fr")
MEANINGS = ("number", "subject", "colour", "size", "place", "light", "film", "camera", "filming", "deed", "way",
            "relation")
_STOPS = ".!?;:,\n()\u060c\u061b\u061f\u3001\u3002\uff0c\uff0e\uff01\uff1f\uff1b\uff1a"
_IN_SET = re.escape(_STOPS)
_CLAUSE = rf"[^{_IN_SET}]"


Spans = tuple[tuple[int, int], ...]  # of a phrase's words


@dataclass(frozen=True)
class Event:
    """A phrase of a text that means something."""

    start: int  # letters of the text as it is compared
    end: int
    kind: str  # of MEANINGS; or "silent", "link", "break"
    value: str
    weight: int  # letters of the phrase


@dataclass(frozen=True)
class Text:
    """A text as it is compared, and where each of its letters comes from."""

    plain: str
    origin: tuple[int, ...]
    source: str

    def original(self, start: int, end: int) -> str:
        """What was written where the plain text has these letters."""
        return unicodedata.normalize("NFC", self.source[self.origin[start] : self.origin[end - 1] + 1])


def plain(text: str, same: dict[str, str] | None = None) -> Text:
    """A text without case, accents and vowel signs; letters that `same` holds are those that it says."""
    letters, origin = [], []
    for i, one in enumerate(unicodedata.normalize("NFC", text)):
        for letter in unicodedata.normalize("NFKD", one.casefold()):
            if not unicodedata.combining(letter) and letter != "\u0640":  # the stroke that stretches Arabic words
                letters.append((same or {}).get(letter, letter))
                origin.append(i)
    return Text("".join(letters), tuple(origin), unicodedata.normalize("NFC", text))


@dataclass(frozen=True)
class Pattern:
    """A phrase of a table."""

    rule: str  # a regular expression
    kind: str
    value: str
    weight: int
    needs: tuple[str, ...]  # letters without which it is not in a text, so that few rules are tried

    def spans(self, text: str) -> Iterator[Spans]:
        """Where the phrase stands, word by word."""
        if all(part in text for part in self.needs):
            yield from (match.regs[1:] for match in _rule(self.rule).finditer(text))


@cache
def _rule(rule: str) -> re.Pattern[str]:
    return re.compile(rule)


class Language:
    """A table: `tagged` reads a text by it."""

    def __init__(self, code: str) -> None:
        self.table: dict[str, Any] = tomllib.loads((FOLDER / f"{code}.toml").read_text(encoding="utf-8"))
        self.code, self.name = code, str(self.table["name"])
        self.spaced = bool(self.table.get("spaced", True))
        self.same = {pair[0]: pair[1] for pair in self.table.get("same", "").split()}
        if code == "ar":
            self.same |= {"\u0649": "\u064a", "\u0629": "\u0647"}  # written either way at a word's end
        if not self.spaced:
            self.same |= {" ": ""}

    @cached_property
    def words(self) -> frozenset[str]:
        """The plain words of all phrases, as they stand in the table."""
        listed = [phrase for _, _, phrase in self._phrases()]
        return frozenset(word for phrase in listed for word in re.findall(r"\w+", plain(phrase).plain))

    def _phrases(self) -> Iterator[tuple[str, str, str]]:
        apart = self.table.get("apart", ())
        for kind in MEANINGS:
            for value, phrases in self.table.get(kind, {}).items():
                for phrase in phrases:
                    yield kind, value, phrase
                    first, _, last = phrase.rpartition(" ")
                    if first and last in apart:  # "hebt .. ab" is "ab hebt" where the verb comes last
                        yield kind, value, f"{last} {first.removesuffix(' ..')}"
        for kind, name in (("silent", "silent"), ("link", "links"), ("break", "breaks")):
            yield from ((kind, "", phrase) for phrase in self.table.get(name, ()))

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """All phrases, the longest first; what compounds end in, and English, comes last."""
        found = []
        shades = "|".join(plain(shade).plain for shade in self.table.get("shades", ()))
        for kind, value, phrase in self._phrases():
            found.append(self._pattern(kind, value, phrase))
            if kind == "colour" and shades:
                found.append(self._pattern(kind, value, phrase, rf"(?:{shades})e?n?"))
        if self.table.get("compounds"):
            ends = [(value, phrase) for value, phrases in self.table["subject"].items() for phrase in phrases]
            found += [replace(self._pattern("subject", value, phrase, r"\w{3,}"), weight=0)
                      for value, phrase in sorted(ends, key=lambda end: -len(end[1])) if len(phrase) > 3]
        # English inside: the description of a character, or a word that is the same everywhere
        english = [(kind, value, phrase) for kind, table in (("subject", lex.SUBJECT), ("colour", lex.COLOUR),
                                                             ("size", lex.SIZE))
                   for value, others in table.items() for phrase in (value, *others)]
        english += [("silent", "", "a"), ("silent", "", "an"), ("silent", "", "the")]
        found += [replace(self._pattern(kind, value, phrase), weight=-len(english) + len(phrase))
                  for kind, value, phrase in english]
        order = {kind: i for i, kind in enumerate(("filming", *MEANINGS))}
        return tuple(sorted(found, key=lambda one: (-one.weight, order.get(one.kind, len(order)))))

    def _pattern(self, kind: str, value: str, phrase: str, compound: str = "") -> Pattern:
        rule, needs = "", []
        if not self.spaced:
            needs = [plain(piece, self.same).plain for piece in phrase.split("..")]
            rule = (_CLAUSE + "{0,12}?").join(f"({re.escape(piece)})" for piece in needs)
            return Pattern(rule, kind, value, sum(map(len, needs)), tuple(needs))
        for word in re.split(r"[\s'\u2019]+|-(?=\w)", phrase):
            if word == "..":
                rule += rf"(?:[^\w{_IN_SET}]+[^\s{_IN_SET}]+){{0,12}}?"
                continue
            joint = r"[\s'\u2019-]+" if rule else ""
            letters, need = self._word(word, compound)
            rule += f"{joint}({letters})"
            needs.append(need)
        return Pattern(rf"(?<!\w){rule}(?!\w)", kind, value, sum(map(len, needs)), tuple(needs))

    def _word(self, word: str, compound: str = "") -> tuple[str, str]:
        """The rule of a word with all its beginnings and endings, and the letters that it always has."""
        kind = "stem_" if word.endswith("-") else ""
        bare = plain(word, self.same).plain.rstrip("-")
        before = [plain(one, self.same).plain for one in self.table.get(f"{kind}before", ())]
        after = self.table.get(f"{kind}after", ()) if kind or len(bare) > 3 else self.table.get("short", ("s",))
        ends = {plain(one, self.same).plain for one in after} | ({""} if not kind else set())
        swaps = {} if kind or len(bare) < 4 else self.table.get("swaps", {})
        if bare[-1:] in swaps:
            bare, ends = bare[:-1], set(swaps[bare[-1]])
        letters, need = re.escape(bare), bare
        for letter, spelt in self.table.get("spelt", {}).items():
            if letter in word.lower():
                base = plain(letter).plain
                letters, need = letters.replace(base, f"(?:{base}|{spelt})"), max(need.split(base), key=len)
        start = f"(?:{'|'.join({*before, ''})})" if before else ""
        return f"{start}{compound}{letters}(?:{'|'.join(sorted(ends, key=len, reverse=True))})", need

    def read(self, text: str) -> Text:
        """A text as this language's phrases are looked for in it."""
        seen = plain(text, self.same)
        if "apart" in self.table:
            seen = self._apart(seen)
        return seen

    def _apart(self, text: Text) -> Text:
        """Verbs that are written together with what else stands apart from them: "wegrollt" as "weg rollt"."""
        letters, at = "", 0
        origin: tuple[int, ...] = ()
        for match in self._joined.finditer(text.plain):
            if re.match(r"\w+", text.plain[match.start() :])[0] in self.words:  # type: ignore[index]
                continue
            letters += text.plain[at : match.end(1)] + " "
            origin += (*text.origin[at : match.end(1)], text.origin[match.end(1)])
            at = match.end(1)
        return Text(letters + text.plain[at:], origin + text.origin[at:], text.source)

    @cached_property
    def _joined(self) -> re.Pattern[str]:
        single = {phrase for kind, _, phrase in self._phrases()
                  if kind in ("deed", "filming") and re.fullmatch(r"\w{4,}-?", phrase)}
        verbs = "|".join(self._word(phrase)[0] for phrase in sorted(single))
        firsts = "|".join(sorted(self.table["apart"], key=len, reverse=True))
        return re.compile(rf"(?<!\w)({firsts})(?=(?:zu|ge)?(?:{verbs})(?!\w))")

    def tagged(self, text: Text, scopes: Sequence[tuple[int, int]] = ()) -> list[Event]:
        """The events of a text, in its order. In scopes the camera is spoken of: what moves there is the camera."""
        taken = bytearray(len(text.plain))
        found: list[Event] = []
        spare: list[tuple[Pattern, Spans]] = []

        def claim(pattern: Pattern, spans: Spans, kind: str) -> None:
            if not any(any(taken[a:b]) for a, b in spans):
                for a, b in spans:
                    taken[a:b] = b"\1" * (b - a)
                found.append(Event(spans[0][0], spans[-1][1], kind, pattern.value, pattern.weight))

        for pattern, spans in _matches(self.code, text.plain):
            inside = any(a <= spans[0][0] and spans[-1][1] <= b for a, b in scopes)
            if inside and pattern.kind in ("deed", "relation"):
                spare.append((pattern, spans))
            elif inside or pattern.kind != "filming":
                claim(pattern, spans, pattern.kind)
        for pattern, spans in spare:  # verbs that help to say what the camera does
            claim(pattern, spans, "silent")
        found += [Event(a, b, "unknown", text.original(a, b), 0) for a, b in self._unknown(text, taken)]
        return sorted(found, key=lambda event: (event.start, event.end))

    def _unknown(self, text: Text, taken: bytearray) -> Iterator[tuple[int, int]]:
        rule = r"[^\W\d_]+" if self.spaced else r"[^\W_]+"
        for match in re.finditer(rule, text.plain):
            if self.spaced:
                if not any(taken[match.start() : match.end()]):
                    yield match.span()
                continue
            free = "".join(" " if taken[i] else "x" for i in range(*match.span()))
            yield from ((match.start() + part.start(), match.start() + part.end()) for part in re.finditer("x+", free))

    def boundaries(self, text: Text, events: Sequence[Event]) -> list[int]:
        """Where clauses end: at stops, at words that join clauses, and at a verb that such a word is written with."""
        ends = [i for i, letter in enumerate(text.plain) if letter in _STOPS]
        ends += [event.start for event in events if event.kind == "break"]
        for event in events:
            joined = any(text.plain.startswith(one, event.start) for one in self.table.get("joined", ()))
            if joined and event.kind in ("deed", "film", "filming"):
                ends.append(event.start)
        return sorted(chain({-1, len(text.plain)}, ends))


@lru_cache(maxsize=64)
def _matches(code: str, text: str) -> tuple[tuple[Pattern, Spans], ...]:
    """Every phrase of a language that stands in a plain text, also where longer ones cover it; the longest first."""
    return tuple((pattern, spans) for pattern in language(code).patterns for spans in pattern.spans(text))


@cache
def language(code: str) -> Language:
    """The language of a code, such as "de"."""
    return Language(code)
