"""The fixed prompts: 400 scenes of one subject, balanced over everything that the probe reads.

`compose` makes them from a seed through the grammar and the captions' canonical sentence; the result is kept in
prompts.json, so that figures of different days speak of the same words (a test composes them again).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tenku.errors import UserError
from tenku.rng import stream
from tenku.world import captions, grammar
from tenku.world.grammar import Scene

PATH = Path(__file__).parent / "prompts.json"
COUNT = 400
HELD_OUT_EVERY = 4  # every fourth prompt holds a combination that training never showed
CANDIDATES = 80  # scenes drawn for each prompt, of which the one that balances best is kept
SEED = 20_260_000
TRUTH_SEED = 700_000_000  # scenes of the prompts are staged with seeds from here on, which nobody trains on


@dataclass(frozen=True)
class Prompt:
    """One prompt and what is to be seen."""

    text: str
    scene: Scene  # one subject, and what runs into it where it "is hit"
    held_out: tuple[str, ...]  # the held-out combinations in it, as "ball x pink"; empty for most

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"text": self.text, "held_out": list(self.held_out), "scene": self.scene.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Prompt:
        """The inverse of `to_json`. Raises UserError for words that the grammar does not know."""
        return cls(data["text"], Scene.from_json(data["scene"]), tuple(data["held_out"]))


def compose(seed: int = SEED, count: int = COUNT) -> list[Prompt]:
    """The prompts of a seed. Any first part of the list is balanced too, and holds its share of held-out ones."""
    seen: Counter[tuple[str, str]] = Counter()
    found: list[Prompt] = []
    used: set[tuple[str, ...]] = set()
    for number in range(count):
        split = "held_out" if number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "train"
        options = [scene for scene in _candidates(seed, number, split) if _traits(scene) not in used]
        scene = min(options, key=lambda scene: _crowding(scene, seen))
        used.add(_traits(scene))
        seen.update(_words(scene))
        scene = replace(scene, seed=TRUTH_SEED + number)
        found.append(Prompt(sentence(scene), scene, grammar.held_out(scene)))
    return found


def load(path: Path = PATH) -> list[Prompt]:
    """The prompts of a file, the bundled one by default. Raises UserError for a missing or foreign file."""
    try:
        return [Prompt.from_json(row) for row in json.loads(path.read_text())]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path.name} is no list of prompts") from None


def dump(prompts: list[Prompt]) -> str:
    """The file's text: one prompt a line."""
    rows = ",\n".join(json.dumps(prompt.to_json()) for prompt in prompts)
    return f"[\n{rows}\n]\n"


def sentence(scene: Scene) -> str:
    """The canonical sentence of a scene of one subject, and of what runs into it where it "is hit"."""
    main = scene.things[0]
    text = captions.prompt(**asdict(main), place=scene.place, light=scene.light, camera=scene.camera)
    if main.action == "is hit":  # a deed of two, which the sentence about one leaves out
        other = scene.things[1]
        noun = captions.article(f"{main.size} {main.colour} {main.subject}")[1:]
        text = text.replace(noun, f"{noun} is hit by {captions.article(f'{other.colour} {other.subject}')}", 1)
    return text


def _candidates(seed: int, number: int, split: str) -> list[Scene]:
    draw = stream(seed, "prompts", number)
    found = []
    for _ in range(CANDIDATES):
        scene = grammar.draw(int(draw.integers(2**31)), split)
        keep = 2 if scene.things[0].action == "is hit" else 1
        if any(relation.kind == "on top of" for relation in scene.relations):
            continue  # without what it stands on, its action would be another
        scene = replace(scene, things=scene.things[:keep], relations=())
        # the held-out combination must be that of the subject or the place, not of a bystander who has left
        main = replace(scene, things=scene.things[:1])
        if bool(grammar.held_out(main)) == (split == "held_out") and bool(grammar.held_out(scene)) == bool(
            grammar.held_out(main)
        ):
            found.append(scene)
    return found


def _traits(scene: Scene) -> tuple[str, ...]:
    main = scene.things[0]
    return (main.subject, main.colour, main.action, scene.place, scene.light, scene.camera)


def _words(scene: Scene) -> list[tuple[str, str]]:
    fields = ("subject", "colour", "action", "place", "light", "camera")
    found = [*zip(fields, _traits(scene), strict=True), ("size", scene.things[0].size)]
    return found + [("held out", combination) for combination in grammar.held_out(scene)]


_ANSWERS = {"subject": len(grammar.SUBJECTS), "colour": len(grammar.COLOURS), "action": len(grammar.ACTIONS),
            "place": len(grammar.PLACES), "light": len(grammar.LIGHTS), "camera": len(grammar.CAMERAS),
            "size": len(grammar.SIZES), "held out": sum(len(pairs) for pairs in grammar.HELD_OUT.values())}


def _crowding(scene: Scene, seen: Counter[tuple[str, str]]) -> float:
    """How often the scene's words were used already, each against its fair share."""
    return sum(((seen[word] + 1) * _ANSWERS[word[0]]) ** 2 for word in _words(scene))
