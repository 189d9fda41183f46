"""What a text says under its disguise: look-alike letters, invisible signs, spelling out, figures, encodings.

A text is read in several ways (`readings`), each a row of pieces. A *form* is what one piece, or several joined, may
say: "n4-k3d" may say "naked". Forms are made so that innocent words make few: pieces are joined only where they were
taken apart, and never where each of them is a word ("the pen is" stays three words).
"""

from __future__ import annotations

import base64
import binascii
import codecs
import functools
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

DEPTH = 3  # encodings inside each other
LONGEST = 24  # letters of a form that was spelt out
_JOINED = 5  # pieces that are tried together
_LEET = {"0": "o", "2": "z", "3": "e", "4": "a", "5": "s", "6": "g", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s",
         "€": "e", "£": "l", "¢": "c", "§": "s", "+": "t"}  # fmt: skip
_EITHER = "1!|"  # stand for i and for l
# What Unicode's table leaves out: letters that are read so, though they look a little different.
_LIKE = dict(zip("кпигнтмвяджзлбцшηκτβεωνπσ", "knurhtmbrdx3n6uwnktbewvno", strict=True))
_SIGNS = re.escape("".join(_LEET) + _EITHER)
_PIECE = re.compile(r"[^\W_]+")
_CHUNK = re.compile(r"\S+")
_CODED = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")  # what may be base64
_HARD = re.compile(r"[.,;:?()\[\]{}\"/&]")  # end a word or a sentence; what is left of the signs is soft: - _ ' * ~
# Short words that stand beside each other by rights. In several languages: "der Rap ist gut" says nothing else.
_WORDS = frozenset(
    "a about above ad after all also am an and any are arm art as ask at au bad ball bar bat be bed bee bei beim big "
    "bin bis bit boat book both bow box boy bug bus but buy by can cap car cat che co con cone cow cub cup cut da das "
    "day de deep del dem den der des die dig do dog don dot dry du each ear eat egg el elf en end er es et eye fake "
    "far fat few fin fit fly for fox from fun gas get go got gun gut ha had has hat have he her hey hi him hip his "
    "hit hot how i ice ich if ihr il im in ink into is ist it its jam jar je jet joy just key kid la lap las law le "
    "leg les let lie like lip log lot low mad man many map mat me men met mid mit mix mob mud my ne net new nil no "
    "nor not now nun nur nut oak of off oil old on one or os our out over own ox pan pen per pet pie pig pin pit pot "
    "pro put ran rap rat raw ray red rib ring rob rod room rot row rub rug run sad saw sea see set she sie sin sir "
    "sit six sky so son su sub sum sun swap tag tan tap te tea ten than that the them then they this tie tin tip to "
    "toe ton too top tour toy tu two un una und une up us use van very vom von war was wax way we web wet who why wig "
    "win wir with won yes yet you zu zum zur".split())


@dataclass(frozen=True)
class Reading:
    """One way to read a text: at which piece a form begins, and behind which it ends."""

    forms: dict[int, tuple[tuple[int, str], ...]]  # piece -> (piece after the form, what it may say)

    @functools.cached_property
    def starts(self) -> dict[str, tuple[int, ...]]:
        """Letter -> the pieces at which a form begins with it."""
        found: dict[str, list[int]] = {}
        for i, forms in self.forms.items():
            for letter in {form[0] for _, form in forms}:
                found.setdefault(letter, []).append(i)
        return {letter: tuple(pieces) for letter, pieces in found.items()}


def readings(text: str) -> Iterator[Reading]:
    """All ways to read a text. Forms are lowercase a to z where the text allows it; "*" in a form is any letter."""
    for plain in dict.fromkeys(_decoded(text, DEPTH)):
        letters = latin(plain)
        yield _read(letters)
        parted = latin(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain))
        if parted != letters:
            yield _read(parted)
        # Backwards and turned by thirteen letters: as they stand, for here joining would find words where none are.
        for turned in (codecs.encode(letters, "rot13"), letters[::-1],
                       " ".join(word[::-1] for word in letters.split())):
            yield Reading({i: ((i + 1, piece),) for i, piece in enumerate(_PIECE.findall(turned))})


def latin(text: str) -> str:
    """The text in plain lowercase letters, as the eye reads it; what looks like none of them stays."""
    hidden = "".join(chr(ord(c) - 0xE0000) for c in text if 0xE0020 <= ord(c) < 0xE007F)  # tags: an invisible alphabet
    shown = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) not in ("Cf", "Cc", "Co"))
    if hidden:
        shown += f" {hidden}"
    seen = "".join(c if c.isascii() else _letter(c) for c in shown)
    bare = "".join(c for c in unicodedata.normalize("NFKD", seen) if unicodedata.category(c) not in ("Mn", "Me"))
    return "".join(c if c.isascii() else _letter(c) for c in bare).casefold()


@functools.cache
def _letter(c: str) -> str:
    """The ASCII letter or digit that one sign looks like; else the sign itself."""
    from confusable_homoglyphs.confusables import confusables_data

    name = unicodedata.name(c, "")
    named = re.fullmatch(r"(?:.*\bLATIN .*|REGIONAL INDICATOR SYMBOL )?LETTER (?:SMALL CAPITAL )?([A-Z])(?: WITH .*)?",
                         name)
    if named and ("LATIN" in name or "REGIONAL" in name):
        return named[1].lower()
    if c.lower() in _LIKE:
        return _LIKE[c.lower()]
    for seen in (c, c.lower()):
        for like in confusables_data.get(seen, ()):
            plain = like["c"].strip("\u200e\u200f")
            if plain.isascii() and plain.isalnum():
                return str(plain)
    return c


def _decoded(text: str, depth: int) -> Iterator[str]:
    """The text, and what stands in it in an encoding."""
    yield text
    if depth == 0:
        return
    found = [html.unescape(text), unquote(text), re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,5})\}|x([0-9a-fA-F]{2}))",
        lambda m: chr(int(m[1] or m[2] or m[3], 16)), text)]
    for coded in _CODED.findall(text):
        bare = coded.rstrip("=").replace("-", "+").replace("_", "/")
        found += _bytes_of(base64.b64decode, bare + "=" * (-len(bare) % 4))
    for coded in re.findall(r"(?<![^\W_])(?:[0-9a-fA-F]{2}[\s:,]?){4,}(?![^\W_])", text):
        found += _bytes_of(bytes.fromhex, re.sub(r"[\s:,]", "", coded))
    for coded in re.findall(r"(?:[01]{8}\s?){4,}", text):
        found += ["".join(chr(int(byte, 2)) for byte in re.findall(r"[01]{8}", coded))]
    for other in found:
        if other != text:
            yield from _decoded(other, depth - 1)


def _bytes_of(decode: Callable[[str], bytes], coded: str) -> list[str]:
    """The text that an encoding holds, or nothing where it holds none."""
    try:
        said = decode(coded).decode("utf-8")
    except (binascii.Error, ValueError):
        return []
    prose = sum(c.isalpha() or c == " " for c in said) > 0.8 * len(said)
    return [said] if said.isprintable() and (prose or _CODED.fullmatch(said)) else []


def _read(text: str) -> Reading:
    """The forms of a text of plain letters."""
    forms: dict[int, set[tuple[int, str]]] = {}
    pieces: list[str] = []
    for chunk in _CHUNK.findall(text):
        first = len(pieces)
        inside = _PIECE.findall(chunk)
        pieces += inside
        for i, piece in enumerate(inside, first):
            forms.setdefault(i, set()).update((i + 1, form) for form in _leet(piece))
        if inside:
            forms[first].update((len(pieces), form) for form in _chunk(chunk, inside))
    for i, j, form in _apart(pieces):
        forms[i].update((j, said) for said in _leet(form))
    return Reading({i: tuple(sorted(found)) for i, found in forms.items()})


def _leet(piece: str) -> set[str]:
    """A piece, and what its figures may stand for; figures alone stand for themselves."""
    if piece.isalpha() or not any(c.isalpha() for c in piece):
        return {piece}
    table = str.maketrans(_LEET)
    return {piece} | {re.sub(f"[{re.escape(_EITHER)}]", one, piece).translate(table) for one in "il"}


def _chunk(chunk: str, inside: list[str]) -> Iterator[str]:
    """What stands between two spaces as one word: signs for letters, signs between letters, signs over letters."""
    if not any(c.isalpha() for c in chunk):
        return
    if re.search(f"[{_SIGNS}]", chunk) and re.fullmatch(rf"[\w{_SIGNS}.,;:?()'\"-]+", chunk):
        signs = re.sub(rf"^[^\w{_SIGNS}]+|[^\w{_SIGNS}]+$", "", chunk)
        if re.fullmatch(rf"[^\W_{_SIGNS}]*[\w{_SIGNS}]+", signs):
            yield from _leet(signs)
            yield from _leet(signs.rstrip("!|"))
    bare = re.sub(r"^\W+|\W+$", "", chunk)
    if "*" in bare or "#" in bare:
        yield re.sub(r"[*#]", "*", re.sub(r"[^\w*#]", "", bare))
    parted = [piece for piece in inside if len(piece) > 1]
    torn = not all(piece in _WORDS for piece in parted) and (max(map(len, inside)) <= 2 or not _HARD.search(bare))
    if len(inside) > 1 and torn if parted else len(inside) > 2:
        yield from _leet("".join(inside))


def _apart(pieces: list[str]) -> Iterator[tuple[int, int, str]]:
    """Words that were taken apart by spaces: (first piece, piece after, what they say together)."""
    for i in range(len(pieces)):
        end = i
        while end < len(pieces) and len(pieces[end]) == 1:
            end += 1
        for j in range(i + 3, min(end, i + LONGEST) + 1):
            alone = (i == 0 or len(pieces[i - 1]) > 1) and j == end
            if j - i > 3 or alone:  # three letters only where nothing else is spelt out around them
                yield i, j, "".join(pieces[i:j])
        for j in range(i + 2, min(i + _JOINED, len(pieces)) + 1):
            part = pieces[i:j]
            if any(len(p) > 8 or p in _WORDS or not p.isascii() for p in part) or all(len(p) == 1 for p in part):
                break
            yield i, j, "".join(part)
