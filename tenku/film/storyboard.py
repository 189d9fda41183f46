"""Storyboards: a YAML file of shots, read with errors that point at line and field.

Nothing in it is executed; every shot becomes a Request, which has its own checks. docs/film.md has an example.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenku.errors import UserError
from tenku.inputs import camera_file, number
from tenku.request import Request

SCHEMA = Path(__file__).with_name("storyboard.schema.json")  # the same fields for editors; a test compares them
MAX_BYTES = 1 << 20
MAX_SHOTS = 200
TRANSITIONS = ("cut", "dissolve", "dream")
SECONDS = {"cut": 0.0, "dissolve": 0.5, "dream": 1.0}  # of a transition where none are said
SETTINGS = ("size", "fps", "seed", "steps", "guidance", "negative", "model", "lora", "style", "cast", "sound", "shots",
            "title")  # fmt: skip
SHOT = ("prompt", "seconds", "seed", "steps", "guidance", "negative", "camera", "tracks", "keyframes", "captions",
        "motion", "transition", "text", "continues")  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """One shot: what is dreamt, and how it follows what was before."""

    request: Request
    line: int  # in the storyboard
    transition: str = "cut"  # from the shot before
    transition_seconds: float = 0.0
    text: str = ""  # shown at the bottom
    continues: bool = False  # goes on from the last frames of the shot before


@dataclass(frozen=True)
class Storyboard:
    """A whole film."""

    shots: tuple[Shot, ...]
    title: str = ""  # shown at the beginning, over black; "" for none
    sound: Path | None = None


@dataclass
class _At:
    """A place in the file, for errors."""

    name: str
    line: int
    field: str = ""

    def error(self, message: str, hint: str = "") -> UserError:
        where = f"{self.name}:{self.line}: " + (f"{self.field}: " if self.field else "")
        return UserError(where + message, hint)


@dataclass
class _Node:
    """A YAML value with its place; mappings hold nodes by key."""

    value: Any  # str, float, int, bool, None, list of _Node, or dict of str to _Node
    at: _At = field(repr=False)

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value


def read(path: Path) -> Storyboard:
    """The storyboard in a file. Raises UserError that names file, line and field."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "give the path of a storyboard") from None
    except UnicodeDecodeError:
        raise UserError(f"{path.name} is no text", "a storyboard is YAML in UTF-8") from None
    if len(data) > MAX_BYTES:
        raise UserError(f"{path.name} is too long", f"at most {MAX_BYTES >> 20} MiB")
    return parse(text, path.name, path.parent)


Keyframe = Callable[[Any], Any]  # what a storyboard says of one -> an input of a Request


def parse(text: str, name: str, folder: Path | None, keyframe: Keyframe | None = None) -> Storyboard:
    """The storyboard in a text. Raises UserError that gives `name`, line and field.

    folder: where its files lie; None where it can have none, which leaves keyframes to `keyframe`.
    """
    root = _parse(text, name)
    _known(root, SETTINGS)
    shots = root.value.get("shots")
    if shots is None or not isinstance(shots.value, list) or not 1 <= len(shots.value) <= MAX_SHOTS:
        raise (shots or root).at.error("the film has no shots", f"shots: a list of 1 to {MAX_SHOTS}")
    files = _Files(folder, keyframe)
    made = tuple(_shot(node, i, root, files) for i, node in enumerate(shots.value))
    sound = _text(root, "sound")
    if sound and folder is None:
        raise root.value["sound"].at.error("cannot be given here", "put sound under the film yourself")
    where = folder / sound if sound and folder else None
    if where is not None and not where.is_file():
        raise root.value["sound"].at.error(f"there is no file {sound}", "a sound file beside the storyboard")
    return Storyboard(made, _text(root, "title"), where)


def _parse(text: str, name: str) -> _Node:
    try:
        import yaml
    except ImportError:
        raise UserError("films need PyYAML, which is not installed", 'pip install "tenku[film]"') from None
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise UserError(f"{name} uses YAML aliases", "write it out")  # they can grow without end
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise UserError(f"{where}: {getattr(error, 'problem', None) or 'no YAML'}", "see docs/film.md") from None
    except RecursionError:
        raise UserError(f"{name} is nested too deep", "see docs/film.md") from None
    at = _At(name, 1)
    if node is None or not isinstance(node, yaml.MappingNode):
        raise at.error("the storyboard is no mapping", "see docs/film.md")
    scalar = yaml.SafeLoader("").construct_object

    def walk(node: Any, field: str) -> _Node:
        at = _At(name, node.start_mark.line + 1, field)
        if isinstance(node, yaml.SequenceNode):
            return _Node([walk(item, f"{field}[{i}]") for i, item in enumerate(node.value, 1)], at)
        if isinstance(node, yaml.MappingNode):
            found: dict[str, _Node] = {}
            for key, value in node.value:
                here = f"{field}.{key.value}" if field else str(key.value)
                if key.value in found:
                    raise _At(name, key.start_mark.line + 1, here).error("is there twice", "leave one out")
                found[str(key.value)] = walk(value, here)
            return _Node(found, at)
        try:
            return _Node(scalar(node), at)
        except yaml.YAMLError:
            raise at.error("no plain value", "text, a number, a list or a mapping") from None

    return walk(node, "")


def _known(node: _Node, names: tuple[str, ...]) -> None:
    if not isinstance(node.value, dict):
        raise node.at.error("is no mapping", f"fields are {', '.join(names)}")
    for key, value in node.value.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            raise value.at.error("no such field", f"do you mean {near[0]}?" if near else f"one of {', '.join(names)}")


def _shot(node: _Node, index: int, root: _Node, files: _Files) -> Shot:
    _known(node, SHOT)

    def value(name: str) -> Any:
        found = node.value.get(name) or root.value.get(name)
        return None if found is None else found.plain()

    words = _words(node, root)
    seconds = value("seconds")
    try:
        request = Request.parse({
            "prompt": words, "negative_prompt": value("negative"), "size": value("size"), "fps": value("fps"),
            "seconds": 2.0 if seconds is None else seconds, "steps": value("steps"), "guidance": value("guidance"),
            "model": value("model"), "lora": files.loras(value("lora")),
            "motion": value("motion"), "tracks": value("tracks"), "camera": files.camera(value("camera")),
            "captions": _captions(value("captions")),
            "inputs": [files.keyframe(spec) for spec in value("keyframes") or []] or None,
            "seed": value("seed") if "seed" in node.value else Request("x", seed=value("seed") or 0).seed + index,
        })  # fmt: skip
    except UserError as error:
        raise _blamed(node, root, str(error)).error(str(error), error.hint) from None
    kind, length = _transition(node, index)
    continues = node.value.get("continues", _Node(False, node.at))
    if not isinstance(continues.value, bool) or (continues.value and (index == 0 or request.inputs)):
        raise continues.at.error("cannot be so", "true or false; not for the first shot, nor beside keyframes")
    return Shot(request, node.at.line, kind, length, _text(node, "text"), continues.value)


def _blamed(node: _Node, root: _Node, message: str) -> _At:
    """The field of a shot, or of all, that an error of its Request is about: the first word names it."""
    first = message.split(" ", 1)[0]
    name = {"negative_prompt": "negative", "inputs": "keyframes"}.get(first, first)
    return next((one.value[name].at for one in (node, root) if name in one.value), node.at)


def _text(node: _Node, name: str) -> str:
    found = node.value.get(name)
    if found is None:
        return ""
    if not isinstance(found.value, str) or len(found.value) > 200:
        raise found.at.error("is no text of at most 200 characters", "put it in quotes")
    return " ".join(found.value.split())


def _words(node: _Node, root: _Node) -> str:
    """The prompt, with {names} of the cast filled in and the style behind."""
    prompt = node.value.get("prompt")
    if prompt is None or not isinstance(prompt.value, str):
        raise (prompt or node).at.error("the shot has no prompt", "say what to show")
    cast = root.value.get("cast", _Node({}, root.at))
    if not isinstance(cast.value, dict):
        raise cast.at.error("is no mapping", "names and what they look like: {hero: a red ball}")

    def fill(found: re.Match[str]) -> str:
        if found[1] not in cast.value:
            known = ", ".join(cast.value) or "nobody"
            raise prompt.at.error(f"{found[1]} is not in the cast", f"the cast has {known}")
        return str(cast.value[found[1]].value)

    words = re.sub(r"\{(\w+)\}", fill, prompt.value)
    style = _text(root, "style")
    return f"{words}, {style}" if style else words


def _transition(node: _Node, index: int) -> tuple[str, float]:
    found = node.value.get("transition")
    if found is None:
        return "cut", 0.0
    said = str(found.value).split()
    kind = said[0] if said else ""
    if kind not in TRANSITIONS or len(said) > 2 or index == 0:
        raise found.at.error(f"cannot be {str(found.value)[:40]!r}", "not for the first shot" if index == 0 else
                             'cut, "dissolve 0.5" or "dream 1", in seconds')
    try:
        return kind, number(said[1], "seconds", 0.1, 5) if len(said) > 1 else SECONDS[kind]
    except UserError as error:
        raise found.at.error(str(error), error.hint) from None


def _captions(said: Any) -> Any:
    """["1.5: a dog"] as pairs; YAML itself makes a mapping of what stands without quotes."""
    if not isinstance(said, list):
        return said
    pairs: list[Any] = []
    for item in said:
        if isinstance(item, dict) and len(item) == 1:
            pairs.append(next(iter(item.items())))
        else:
            pairs.append(item.split(":", 1) if isinstance(item, str) and ":" in item else item)
    return pairs


@dataclass(frozen=True)
class _Files:
    """What a storyboard may name besides words: files beside it, nothing elsewhere; or what `given` makes of it."""

    folder: Path | None
    given: Keyframe | None

    def camera(self, said: Any) -> Any:
        """A camera path, read from its file where it is one."""
        if not isinstance(said, str) or not said.endswith((".json", ".csv", ".txt")):
            return said
        if self.folder is None:
            raise UserError("camera cannot be a file here", "write its rows: [[t, x, y, z, yaw, pitch], ...]")
        return camera_file(self.folder / said)

    def keyframe(self, spec: Any) -> Any:
        """An input of a Request."""
        return self.given(spec) if self.given is not None else self._beside("keyframe", spec)

    def loras(self, said: Any) -> Any:
        """Adapters of a Request."""
        if said is not None and self.folder is None:
            raise UserError("lora cannot be given here", "merge it, and have the server serve that (docs/tuning.md)")
        return [self._beside("lora", spec) for spec in said] if isinstance(said, list) else said

    def _beside(self, what: str, spec: Any) -> Any:
        if not isinstance(spec, str) or self.folder is None:
            return spec
        if Path(spec).is_absolute() or ".." in Path(spec).parts:
            raise UserError(f"{what} {spec[:60]!r} is not beside the storyboard", "put it into the same folder")
        return str(self.folder / spec)
