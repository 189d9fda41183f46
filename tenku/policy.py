"""What may be asked: rules over the words and the reference pictures of a Request, in a file that an operator writes.

`api` asks for commands and Python, `serving.allowed` for the server, before any work: `Policy.find().check(...)`.
The format of the file, and what the rules that come with Tenku catch and leave alone, is in docs/policy.md.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tenku.disguise import Reading, latin, readings
from tenku.errors import UserError
from tenku.moderation import Moderation
from tenku.provenance.identity import home
from tenku.request import Request
from tenku.world.reading import read

VARIABLE = "TENKU_POLICY"
OWN = Path(__file__).with_suffix(".toml")  # the rules that come with Tenku
FIXED = frozenset({"minors"})  # rules that no operator switches off
MAX_BYTES = 1 << 20
NEGATIVE = "negative_prompt"
IMAGES, CHARACTERS = ("any", "sealed", "none"), ("any", "consent", "none")

Term = tuple[str, ...]  # of lowercase words; "*" at a word's end is any ending
Span = tuple[int, int]  # pieces of a reading


class Refused(UserError):
    """A rule forbids it. The message names the rule and the field, and repeats nothing of what was asked."""

    def __init__(self, rule: str, field: str, says: str) -> None:
        super().__init__(f"{field} is refused by the rule {rule}: {says}",
                         "ask for something else; who runs this Tenku sets its rules")
        self.rule, self.field, self.says = rule, field, says


@dataclass(frozen=True)
class Rule:
    """One rule over words. It holds where a term of `any` is said, or one of each group of `all`."""

    name: str
    says: str = "not allowed here"  # the reason that whoever asked is given
    any: tuple[Term, ...] = ()
    all: tuple[tuple[Term, ...], ...] = ()
    unless: tuple[Term, ...] = ()  # phrases inside which a term means nothing
    negative: bool = False  # holds in the negative prompt too; there a word names what is not to be seen
    fields: tuple[str, ...] = ()  # only these; () is all
    keys: tuple[str, ...] = ("*",)  # the names of server keys that it is for; the command line has the name ""
    not_keys: tuple[str, ...] = ()

    def about(self, name: str, key: str) -> bool:
        """Whether it looks at a field of a request that came with a key."""
        if self.fields:
            looked = name in self.fields
        else:
            looked = self.negative or name != NEGATIVE
        return looked and _named(key, self.keys) and not _named(key, self.not_keys)


@dataclass(frozen=True)
class References:
    """What pictures, clips and characters may be made from."""

    images: str = "any"  # any; sealed: only what a Tenku made; none
    characters: str = "consent"  # any; consent: who makes one says that who is shown agreed, or is nobody; none
    unlike: tuple[Path, ...] = ()  # pictures, or folders of them, that no reference may look like


@dataclass(frozen=True)
class Policy:
    """All rules of an installation."""

    rules: tuple[Rule, ...]
    references: References = field(default_factory=References)
    moderation: Moderation | None = None

    @classmethod
    def find(cls) -> Policy:
        """The file that TENKU_POLICY names, else policy.toml beside the identity, else what comes with Tenku.

        Raises UserError for a file that is named and cannot be used.
        """
        named = os.environ.get(VARIABLE)
        if named:
            return cls.load(Path(named))
        own = home() / "policy.toml"
        return cls.load(own if own.is_file() else OWN)

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Reads a policy file (docs/policy.md). Raises UserError that names the file and what is wrong in it."""
        return _load(path, path.stat().st_mtime_ns if path.is_file() else 0)

    def check(self, request: Request, key: str = "") -> None:
        """Raises Refused for a request that a rule forbids, UserError where a moderation that must answer does not.

        key: the name of the server's key that asked. Pictures are opened only where a rule is about them.
        """
        self.check_words(said(request), key)
        paths = [Path(given.source) for given in request.inputs if not given.source.startswith("sha256:")]
        self.check_pictures([*paths, *([Path(request.mask)] if request.mask else [])])
        if self.moderation:
            words = [text for _, text in said(request)]
            self._moderate(words, paths)

    def check_words(self, texts: Sequence[tuple[str, str]], key: str = "") -> None:
        """Raises Refused for (field, text) pairs; a rule's groups may be met in different fields."""
        read = [(name, list(readings(text))) for name, text in texts if text]
        for rule in self.rules:
            met: set[int] = set()
            for name, ways in read:
                if not rule.about(name, key):
                    continue
                for way in ways:
                    excused = [span for term in rule.unless for span in _find(term, way)]
                    if _first(rule.any, way, excused):
                        raise Refused(rule.name, name, rule.says)
                    met |= {n for n, group in enumerate(rule.all) if _first(group, way, excused)}
                if rule.all and len(met) == len(rule.all):
                    raise Refused(rule.name, name, rule.says)

    def check_pictures(self, paths: Sequence[Path]) -> None:
        """Raises Refused for a reference picture or clip that may not be used, UserError for what cannot be read."""
        if paths and self.references.images == "none":
            raise Refused("references.images", "inputs", "nothing is made from pictures here")
        for path in paths:
            if self.references.images == "sealed" and not _ours(path):
                raise Refused("references.images", "inputs", "only what was made and sealed here may be used")
            if self.references.unlike and _like(path, self.references.unlike):
                raise Refused("references.unlike", "inputs", "this picture is one of those that may not be used")

    def check_character(self, name: str, pictures: Sequence[Path] = (), *, consent: bool = False,
                        key: str = "") -> None:
        """Raises Refused for a character that may not be made. consent: its maker said that who is shown agreed."""
        kind = self.references.characters
        if kind == "none":
            raise Refused("references.characters", "characters", "no characters are made here")
        if kind == "consent" and not consent:
            raise Refused("references.characters", "consent", "say that who is shown agreed, or is nobody")
        self.check_words([("name", name)], key)
        self.check_pictures(pictures)
        if self.moderation:
            self._moderate([name], pictures)

    def _moderate(self, words: Sequence[str], pictures: Sequence[Path]) -> None:
        assert self.moderation is not None
        flagged = self.moderation.ask(words, pictures)
        if flagged:
            raise Refused(f"moderation.{flagged}", "request", "the operator's moderation service refuses it")


def said(request: Request) -> list[tuple[str, str]]:
    """Every text of a request, with the name of its field: as it is written, and as the bundled model reads it."""
    texts = [("prompt", request.prompt), (NEGATIVE, request.negative_prompt)]
    texts += [("captions", text) for _, text in request.captions]
    return [(name, way) for name, text in texts for way in dict.fromkeys((text, read(text).text))]


# -- words ----------------------------------------------------------------------------------------------------


def _named(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _first(terms: Sequence[Term], way: Reading, excused: Sequence[Span]) -> bool:
    """Whether one of the terms is said outside of what is excused."""
    return any(not any(a <= i and j <= b for a, b in excused) for term in terms for i, j in _find(term, way))


def _find(term: Term, way: Reading) -> Iterator[Span]:
    """Where a term is said: word by word, or written as one word."""
    for start in way.starts.get(term[0][0], ()):
        ends = {start}
        for word in term:
            ends = {j for i in ends for j, form in way.forms.get(i, ()) if _says(form, word)}
        if len(term) > 1:
            ends |= {j for j, form in way.forms[start] if _says(form, "".join(term))}
        yield from ((start, end) for end in ends)


def _says(form: str, word: str) -> bool:
    """Whether a form says a word of a term: "naaaked" says "naked", and "n*ked" too."""
    stem = word.removesuffix("*")
    if form[0] != stem[0]:
        return False
    if form == stem or (stem != word and form.startswith(stem)):
        return True
    if "*" in form:
        shown = len(form) - form.count("*")
        return len(stem) > 3 and 2 * shown >= len(form) and re.fullmatch(
            re.escape(form).replace(r"\*", "[a-z]"), stem) is not None
    if re.search(r"(.)\1\1", form):  # three times the same letter is in no word
        short = [re.sub(r"(.)\1+", r"\1", text) for text in (form, stem)]
        return short[0] == short[1] or (stem != word and short[0].startswith(short[1]))
    return False


# -- pictures -------------------------------------------------------------------------------------------------


def _ours(path: Path) -> bool:
    from tenku.provenance.verify import Verdict, examine

    return examine(path).verdict in (Verdict.MADE, Verdict.CHANGED)


def _like(path: Path, kept: Sequence[Path]) -> bool:
    from tenku import untrusted
    from tenku.provenance import fingerprint

    frames = untrusted.read(path, 8).frames
    looks = [look for place in kept for look in _looks(place, place.stat().st_mtime_ns)]
    return any(fingerprint.agreement(seen, look.sketches) >= fingerprint.ALIKE
               for seen in (frames, frames[:, :, ::-1]) for look in looks)


@functools.cache
def _looks(place: Path, _: int) -> tuple[Any, ...]:
    """Fingerprints of a file, or of all files right in a folder."""
    from tenku import untrusted
    from tenku.provenance import fingerprint

    files = sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]
    return tuple(fingerprint.take(untrusted.read(file, 8).frames) for file in files)


# -- the file -------------------------------------------------------------------------------------------------


@functools.cache
def _load(path: Path, _: int) -> Policy:
    """Read once, and again when the file has another date."""
    values = _toml(path)
    own = () if path == OWN else _load(OWN, 0).rules
    off = _texts(path, "off", values.pop("off", []))
    rules = tuple(_rule(path, entry) for entry in _tables(path, values.pop("rules", [])))
    known = {rule.name for rule in (*own, *rules)}
    for name in off:
        if name not in known or name in FIXED:
            raise UserError(f"{path.name}: off cannot name {name[:40]!r}",
                            "that rule stays" if name in FIXED else f"one of {', '.join(sorted(known - FIXED))}")
    replaced = {rule.name for rule in rules}
    if replaced & FIXED and path != OWN:
        raise UserError(f"{path.name}: the rule {', '.join(replaced & FIXED)} is Tenku's own", "take another name")
    kept = tuple(rule for rule in own if rule.name not in replaced)
    made = tuple(rule for rule in (*kept, *rules) if rule.name not in off)
    references = _references(path, values.pop("references", {}))
    asked = values.pop("moderation", None)
    if values:
        raise UserError(f"{path.name}: no such setting: {next(iter(values))[:40]!r}",
                        "rules, off, references, moderation (docs/policy.md)")
    return Policy(made, references, Moderation.parse(path.name, asked) if asked is not None else None)


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UserError(f"{path.name} is too long for a policy", f"at most {MAX_BYTES >> 20} MiB")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the policy {path}: {error.strerror}", f"{VARIABLE} names it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is no TOML: {str(error)[:80]}", "see docs/policy.md") from None


def _rule(path: Path, entry: Mapping[str, Any]) -> Rule:
    name = entry.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,39}", name):
        raise UserError(f"{path.name}: a rule has the name {str(name)[:40]!r}", "lowercase letters, figures, hyphens")
    known = {f.name for f in fields(Rule)}
    here = f"{path.name}: rule {name}"
    for key in entry:
        if key not in known:
            raise UserError(f"{here}: no such field: {key[:40]!r}", f"one of {', '.join(sorted(known))}")
    groups = entry.get("all", [])
    if not isinstance(groups, list):
        raise UserError(f"{here}: all is no list", "lists of terms, one of each of which must be said")
    if not isinstance(entry.get("negative", False), bool) or not isinstance(entry.get("says", ""), str):
        raise UserError(f"{here}: negative or says is of the wrong kind", "true or false; a sentence")
    rule = Rule(name, entry.get("says", Rule.says), _terms(here, "any", entry.get("any", [])),
                tuple(_terms(here, "all", group) for group in groups), _terms(here, "unless", entry.get("unless", [])),
                entry.get("negative", False), _texts(here, "fields", entry.get("fields", [])),
                _texts(here, "keys", entry.get("keys", ["*"])), _texts(here, "not_keys", entry.get("not_keys", [])))
    if not rule.any and not rule.all:
        raise UserError(f"{here} forbids nothing", "any: a list of terms, or all: lists of terms")
    return rule


def _terms(where: object, name: str, value: Any) -> tuple[Term, ...]:
    found = tuple(tuple(re.findall(r"[^\W_]+\*?", latin(text))) for text in _texts(where, name, value))
    if not all(found):
        raise UserError(f"{where}: {name} holds a term without a letter", "words or phrases")
    return found


def _texts(where: object, name: str, value: Any) -> tuple[str, ...]:
    said = where.name if isinstance(where, Path) else where
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{said}: {name} is no list of texts", f'{name} = ["...", "..."]')
    return tuple(value)


def _tables(path: Path, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UserError(f"{path.name}: rules is no list of tables", "[[rules]] before each")
    return value


def _references(path: Path, value: Any) -> References:
    here = f"{path.name}: references"
    if not isinstance(value, dict) or set(value) - {"images", "characters", "unlike"}:
        raise UserError(f"{here} has other fields", "images, characters, unlike")
    for name, options in (("images", IMAGES), ("characters", CHARACTERS)):
        if value.get(name, options[0]) not in options:
            raise UserError(f"{here}.{name} cannot be {str(value[name])[:40]!r}", f"one of {', '.join(options)}")
    places = tuple(path.parent / text for text in _texts(here, "unlike", value.get("unlike", [])))
    for place in places:
        if not place.exists():
            raise UserError(f"{here}.unlike: there is no {place.name}", "a picture, or a folder of them")
    return replace(References(), **{k: value[k] for k in ("images", "characters") if k in value}, unlike=places)
