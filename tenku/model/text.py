"""Prompts to words: a table of the words that captions can contain, and the way there from free English.

A word that no caption contains is not an error: it takes the nearest meaning (a phrase of the lexicon, a base
form, the word that a typing slip hides), or it is left out and said so in a note.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

PAD = 0  # row 0 of the word table: no word
BUCKET = 16  # prompts are padded to a multiple of it, so that few shapes occur

# Words that carry no meaning which the bundled model could show.
_SILENT = frozenset((
    "a an the some any this that these those there here it its is are was were be being been am do does "
    "did has have had of to for from by as at and or but so then than please show shows showing make "
    "makes making video clip image picture photo scene footage film shot camera very really quite just "
    "only also her his their my your our i you he she we they me us them who which what when where while "
    "with without into onto over under near upon about beautiful nice lovely amazing stunning cinematic "
    "realistic detailed high quality hd 4k view seen can will would should could one single lone little "
    "bit kind sort type style rendered render "
).split())


def _letters(text: str) -> list[str]:
    """Lower-case words of a text, accents dropped."""
    plain = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return re.findall(r"[^\W_]+", plain)


def _bases(word: str) -> list[str]:
    """Base forms that a word may be an inflection of, likeliest first."""
    found = []
    for ending, replacements in (
        ("ies", ("y",)), ("es", ("", "e")), ("s", ("",)), ("ing", ("", "e", "s", "es")),
        ("ed", ("", "e", "s", "ing")), ("ly", ("",)), ("y", ("",)), ("ish", ("", "e")),
    ):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word[: -len(ending)]
            found += [stem + r for r in replacements]
            if len(stem) > 2 and stem[-1] == stem[-2]:
                found.append(stem[:-1])  # running -> run
    return [*found, word + "s", word + "ing", word + "es"]


@dataclass(frozen=True)
class Words:
    """The word table of a model and the lexicon that leads to it."""

    words: tuple[str, ...]  # row 1 onwards of the table
    lexicon: Mapping[str, str] = field(default_factory=dict)  # synonym phrase -> phrase of known words
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {w: i + 1 for i, w in enumerate(self.words)})

    def encode(self, text: str, most: int) -> tuple[list[int], tuple[str, ...]]:
        """Rows of at most `most` words, and notes on what was understood otherwise or not at all."""
        rows: list[int] = []
        notes: list[str] = []
        todo = _letters(text)
        longest = max((p.count(" ") + 1 for p in self.lexicon), default=1)
        at = 0
        while at < len(todo):
            used, means, note = self._nearest(todo, at, longest)
            rows += [self._rows[w] for w in means]
            if note and note not in notes:
                notes.append(note)
            at += used
        if len(rows) > most:
            notes.append(f"the prompt is longer than {most} words; the rest was not read")
        return rows[:most], tuple(notes)

    def with_words_of(self, texts: Iterable[str], room: int) -> Words:
        """The same table, and behind it the commonest words of texts that it reads otherwise or not at all.

        room: how many at most.
        """
        counts = Counter(word for text in texts for word in _letters(text))
        by_share = sorted(counts, key=lambda word: (-counts[word], word))
        strange = [word for word in by_share if self.encode(word, 1)[1]]
        return Words((*self.words, *strange[:max(0, room)]), self.lexicon)

    def _nearest(self, todo: Sequence[str], at: int, longest: int) -> tuple[int, list[str], str]:
        """How many words were used, what they mean in known words, and a note."""
        for length in range(min(longest, len(todo) - at), 0, -1):
            phrase = " ".join(todo[at : at + length])
            if length == 1 and phrase in self._rows:
                return 1, [phrase], ""
            if phrase in self.lexicon:
                return length, self.lexicon[phrase].split(), ""
        word = todo[at]
        for base in _bases(word):
            if base in self._rows:
                return 1, [base], ""
            if base in self.lexicon:
                return 1, self.lexicon[base].split(), ""
        if word in _SILENT or len(word) == 1:
            return 1, [], ""
        if len(word) > 4:
            close = difflib.get_close_matches(word, [w for w in self.words if len(w) > 3], 1, 0.83)
            if close:
                return 1, close, f"read {word[:40]!r} as {close[0]!r}"
        return 1, [], f"the bundled model's world holds no {word[:40]!r}; it was left out"


def padded(rows: Sequence[Sequence[int]], bucket: int = BUCKET) -> list[list[int]]:
    """Rows filled with PAD to the longest, to a multiple of `bucket`, at least one bucket."""
    length = max(bucket, -(-max(map(len, rows)) // bucket) * bucket)
    return [[*row, *[PAD] * (length - len(row))] for row in rows]
