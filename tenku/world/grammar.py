"""What the world can say: subjects, colours, sizes, places, lights, actions, cameras, and which go together.

A seed draws a `Scene` (`draw(seed, split)`): plain frozen data that travels as JSON. Everything random that is
not in the Scene's fields (where a cactus stands, how fast a ball rolls) comes from `Scene.seed`, so a Scene is
the whole truth about a clip except its size, frame rate and length.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np

from tenku.errors import UserError
from tenku.rng import stream

T = TypeVar("T")

SUBJECTS = (
    "ball", "cube", "cylinder", "cone", "car", "truck", "house", "tree", "sailing boat", "rocket", "aeroplane",
    "drone", "butterfly", "fish", "robot", "snowman", "lighthouse", "coffee cup",
)  # fmt: skip
MEASURES = {  # metres at unit size: height, length along its front axis, width
    "ball": (0.84, 0.84, 0.84), "cube": (0.76, 0.76, 0.76), "cylinder": (0.95, 0.64, 0.64), "cone": (1.0, 0.84, 0.84),
    "car": (0.85, 1.56, 0.76), "truck": (1.06, 1.56, 0.76), "house": (1.10, 1.08, 0.92), "tree": (1.16, 0.98, 0.90),
    "sailing boat": (1.22, 1.16, 0.44), "rocket": (1.16, 0.70, 0.70), "aeroplane": (0.72, 1.46, 1.60),
    "drone": (0.47, 1.40, 1.40), "butterfly": (0.80, 1.00, 1.40), "fish": (0.86, 1.30, 0.40),
    "robot": (1.32, 0.42, 0.90), "snowman": (1.38, 0.72, 0.96), "lighthouse": (1.30, 0.60, 0.60),
    "coffee cup": (0.68, 0.90, 0.72),
}  # fmt: skip
WINGS, TAIL = 2.5, 2.0  # Hz: how fast a butterfly's wings and a fish's tail beat
COLOURS = {  # name -> RGB, 0..1, before light
    "red": (0.86, 0.07, 0.07),
    "orange": (0.98, 0.47, 0.03),
    "yellow": (0.97, 0.85, 0.06),
    "green": (0.10, 0.62, 0.14),
    "blue": (0.08, 0.22, 0.88),
    "purple": (0.50, 0.12, 0.72),
    "pink": (0.98, 0.45, 0.68),
    "brown": (0.42, 0.22, 0.09),
    "black": (0.07, 0.07, 0.08),
    "white": (0.95, 0.95, 0.95),
}
SIZES = {"small": 0.82, "large": 1.30}  # name -> scale of a subject about one metre tall
PLACES = ("meadow", "desert", "snow", "beach", "open sea", "city street", "moon", "coral reef")
LIGHTS = ("day", "sunset", "night", "fog")
ACTIONS = (
    "rests", "moves left", "moves right", "moves away", "moves near", "bounces", "jumps", "spins", "flies across",
    "swings", "is hit", "topples", "floats", "takes off",
)  # fmt: skip
# A companion's own action, never drawn for the main subject: it runs into the one that "is hit".
HITS = "hits"
CAMERAS = (
    "static", "pan left", "pan right", "orbit left", "orbit right", "dolly in", "dolly out", "crane up", "follow",
)  # fmt: skip
RELATIONS = ("left of", "right of", "behind", "in front of", "on top of")

MOVES = ("moves left", "moves right", "moves away", "moves near")
# What a subject can do on dry land. Direction counts: four kinds of moving are four actions.
_LAND: dict[str, tuple[str, ...]] = {
    "ball": ("rests", *MOVES, "bounces", "jumps", "spins", "flies across", "swings", "is hit"),
    "cube": ("rests", *MOVES, "bounces", "jumps", "spins", "swings", "is hit"),
    "cylinder": ("rests", *MOVES, "bounces", "jumps", "swings", "is hit", "topples"),
    "cone": ("rests", *MOVES, "jumps", "swings", "is hit", "topples"),
    "car": ("rests", *MOVES, "bounces", "jumps", "spins", "is hit"),
    "truck": ("rests", *MOVES, "jumps", "spins", "is hit"),
    "house": ("rests", "bounces", "jumps", "spins", "is hit"),
    "tree": ("rests", "is hit", "topples"),
    "sailing boat": ("rests", "spins"),
    "rocket": ("rests", "flies across", "topples", "takes off"),
    "aeroplane": (*MOVES, "flies across", "rests"),
    "drone": (*MOVES, "flies across", "spins", "takes off", "rests"),
    "butterfly": (*MOVES, "flies across"),
    "fish": (),
    "robot": ("rests", *MOVES, "bounces", "jumps", "spins", "swings", "is hit", "topples"),
    "snowman": ("rests", "jumps", "spins", "is hit", "topples"),
    "lighthouse": ("rests", "topples"),
    "coffee cup": ("rests", *MOVES, "bounces", "jumps", "spins", "swings", "is hit", "topples"),
}
_SEA: dict[str, tuple[str, ...]] = {
    "sailing boat": ("floats", *MOVES),
    "ball": ("floats",),
    "cube": ("floats",),
    "cylinder": ("floats",),
    "fish": ("jumps",),
    "lighthouse": ("rests",),
    "rocket": ("flies across",),
    "aeroplane": (*MOVES, "flies across"),
    "drone": (*MOVES, "flies across", "spins"),
    "butterfly": (*MOVES, "flies across"),
}
_REEF: dict[str, tuple[str, ...]] = {
    "fish": (*MOVES, "rests", "spins"),
    "ball": ("rests", *MOVES, "spins"),
    "cube": ("rests", "spins"),
    "cylinder": ("rests", "topples"),
    "cone": ("rests", "topples"),
    "robot": ("rests", *MOVES, "spins", "topples"),
    "coffee cup": ("rests", "spins", "topples"),
    "car": ("rests", *MOVES),
}
# Who stays away from a land, and what does not work there.
_ABSENT = {"moon": ("butterfly", "sailing boat", "tree"), "city street": ("sailing boat",), "snow": ("sailing boat",),
           "meadow": ("sailing boat",), "desert": ("sailing boat",), "beach": ()}  # fmt: skip
_NOT_ON_MOON = ("swings", "topples")  # at 1.62 m/s2 neither happens within two seconds

# Combinations kept out of training, about 6 % of each kind, to measure composition of what was learnt apart.
HELD_OUT_SUBJECT_COLOUR = frozenset({
    ("ball", "pink"), ("cube", "green"), ("car", "yellow"), ("house", "purple"), ("tree", "orange"),
    ("sailing boat", "red"), ("aeroplane", "blue"), ("butterfly", "black"), ("robot", "brown"),
    ("snowman", "yellow"), ("coffee cup", "white"),
})  # fmt: skip
HELD_OUT_SUBJECT_ACTION = frozenset({
    ("cube", "jumps"), ("ball", "moves right"), ("car", "spins"), ("drone", "flies across"), ("robot", "moves away"),
    ("cone", "topples"), ("aeroplane", "moves near"), ("coffee cup", "swings"),
})  # fmt: skip
HELD_OUT_PLACE_LIGHT = frozenset({("beach", "night"), ("desert", "fog")})
HELD_OUT = {
    "subject x colour": HELD_OUT_SUBJECT_COLOUR,
    "subject x action": HELD_OUT_SUBJECT_ACTION,
    "place x light": HELD_OUT_PLACE_LIGHT,
}
SPLITS = ("train", "held_out", "any")

# Few subjects can do these, so those that can do them more often.
_WEIGHT = {"rests": 1.2, "takes off": 2.5, "swings": 1.8, "bounces": 1.8, "is hit": 1.3}
FLYERS = ("rocket", "aeroplane", "drone", "butterfly")
STACK_BASES = ("cube", "cylinder", "truck")  # flat tops
STACK_TOPS = ("cube", "cylinder", "cone", "robot", "snowman", "coffee cup", "ball")


@dataclass(frozen=True)
class Thing:
    """One subject of a scene."""

    subject: str  # of SUBJECTS
    colour: str  # of COLOURS
    size: str  # of SIZES
    action: str  # of ACTIONS, or HITS


@dataclass(frozen=True)
class Relation:
    """`things[a]` is `kind` `things[b]`, as the initial camera sees it."""

    a: int
    kind: str  # of RELATIONS
    b: int


@dataclass(frozen=True)
class Scene:
    """All that is said about a clip; the rest is drawn from `seed`."""

    seed: int
    place: str  # of PLACES
    light: str  # of LIGHTS
    camera: str  # of CAMERAS
    things: tuple[Thing, ...]  # 1 to 3, the main subject first
    relations: tuple[Relation, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Scene:
        """The inverse of `to_json`. Raises UserError for names that the grammar does not know."""
        try:
            scene = cls(
                seed=int(data["seed"]),
                place=data["place"],
                light=data["light"],
                camera=data["camera"],
                things=tuple(Thing(**thing) for thing in data["things"]),
                relations=tuple(Relation(**relation) for relation in data["relations"]),
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"not a scene: {error}") from None
        check(scene)
        return scene


def check(scene: Scene) -> None:
    """Raises UserError when a field is no word of the grammar or an index points nowhere."""

    def known(field: str, value: str, among: Iterable[str]) -> None:
        if value not in among:
            raise UserError(f"unknown {field} {value!r}", f"one of: {', '.join(among)}")

    known("place", scene.place, PLACES)
    known("light", scene.light, LIGHTS)
    known("camera", scene.camera, CAMERAS)
    if not 1 <= len(scene.things) <= 3:
        raise UserError(f"a scene has one to three things, not {len(scene.things)}")
    for thing in scene.things:
        known("subject", thing.subject, SUBJECTS)
        known("colour", thing.colour, COLOURS)
        known("size", thing.size, SIZES)
        known("action", thing.action, (*ACTIONS, HITS))
    for relation in scene.relations:
        known("relation", relation.kind, RELATIONS)
        if not {relation.a, relation.b} <= set(range(len(scene.things))) or relation.a == relation.b:
            raise UserError(f"a relation joins two things of the scene, not {relation.a} and {relation.b}")


def actions(subject: str, place: str) -> tuple[str, ...]:
    """What a subject can plausibly do in a place; empty when it does not belong there."""
    if place == "open sea":
        return _SEA.get(subject, ())
    if place == "coral reef":
        return _REEF.get(subject, ())
    if subject in _ABSENT.get(place, ()):
        return ()
    if place == "moon":
        return tuple(a for a in _LAND[subject] if a not in _NOT_ON_MOON)
    return _LAND[subject]


def cameras(action: str) -> tuple[str, ...]:
    """Cameras that keep an action in view: following needs something that travels, and so on."""
    away = {"moves away": ("dolly out",), "moves near": ("dolly in",)}.get(action, ())
    follow = () if action in MOVES or action in ("flies across", "takes off") else ("follow",)
    wide = ("pan left", "pan right") if action in ("flies across", "is hit", "topples") else ()
    return tuple(c for c in CAMERAS if c not in (*away, *follow, *wide))


def held_out(scene: Scene) -> tuple[str, ...]:
    """The held-out combinations that a scene holds, as readable words; empty for a scene fit for training."""
    found = [f"{t.subject} x {t.colour}" for t in scene.things if (t.subject, t.colour) in HELD_OUT_SUBJECT_COLOUR]
    found += [f"{t.subject} x {t.action}" for t in scene.things if (t.subject, t.action) in HELD_OUT_SUBJECT_ACTION]
    if (scene.place, scene.light) in HELD_OUT_PLACE_LIGHT:
        found.append(f"{scene.place} x {scene.light}")
    return tuple(found)


def draw(seed: int, split: str = "train") -> Scene:
    """The scene of a seed. "train" never holds a held-out combination, "held_out" always does, "any" may.

    Raises UserError for an unknown split.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}", f"one of: {', '.join(SPLITS)}")
    for attempt in range(10_000):
        scene = _draw(stream(seed, "scene", attempt), seed)
        if split == "any" or (split == "held_out") == bool(held_out(scene)):
            return scene
    raise AssertionError("the grammar has no scene for this split")


def variant(scene: Scene, **fields: str) -> Scene:
    """The scene with fields of it (place, light, camera) or of its main subject replaced.

    Actions and cameras that the new words make impossible fall back to the first possible one unless they were
    asked for. Raises UserError for unknown words, or for a subject and action that do not go with the place.
    """
    if any(name in fields for name in ("subject", "colour", "size", "action", "place")):
        scene = replace(scene, things=scene.things[:1], relations=())
    main = replace(scene.things[0], **{k: v for k, v in fields.items() if k in ("subject", "colour", "size", "action")})
    scene = replace(scene, place=fields.get("place", scene.place), light=fields.get("light", scene.light),
                    camera=fields.get("camera", scene.camera))  # fmt: skip
    scene = replace(scene, things=(main, *scene.things[1:]))
    check(scene)
    possible = (*actions(main.subject, scene.place), *((HITS,) if main.action == HITS else ()))
    if not possible:
        homes = [place for place in PLACES if actions(main.subject, place)]
        if "place" in fields:
            raise UserError(
                f"a {main.subject} does not belong in the place {scene.place!r}", f"try: {', '.join(homes)}"
            )
        scene, possible = replace(scene, place=homes[0]), actions(main.subject, homes[0])
    if main.action not in possible:
        if "action" in fields:
            raise UserError(f"a {main.subject} cannot {main.action!r} there", f"it can: {', '.join(possible)}")
        main = replace(main, action=possible[0])
    things = (main, *scene.things[1:])
    if main.action == "is hit" and len(things) == 1:
        things = (main, _hitter(stream(scene.seed, "hitter"), main))
    scene = replace(scene, things=things)
    if scene.camera not in cameras(main.action):
        if "camera" in fields:
            raise UserError(f"the camera {scene.camera!r} would lose a subject that {main.action}",
                            f"it can be: {', '.join(cameras(main.action))}")  # fmt: skip
        scene = replace(scene, camera="static")
    return scene


def _pick(rng: np.random.Generator, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
    if weights is None:
        return options[int(rng.integers(len(options)))]
    cumulative = list(accumulate(weights))  # of a handful of numbers lists are ten times faster than arrays
    return options[bisect_right(cumulative, rng.random() * cumulative[-1])]


def _thing(rng: np.random.Generator, subject: str, action: str, size: str | None = None) -> Thing:
    return Thing(subject, _pick(rng, tuple(COLOURS)), size or _pick(rng, tuple(SIZES)), action)


def _hitter(rng: np.random.Generator, target: Thing) -> Thing:
    """What runs into the target: a ball, a cube or a car of another colour."""
    subject = _pick(rng, ("ball", "ball", "cube", "car"))
    colour = _pick(rng, tuple(c for c in COLOURS if c != target.colour))
    return Thing(subject, colour, "small", HITS)


def _draw(rng: np.random.Generator, seed: int) -> Scene:
    subject = _pick(rng, SUBJECTS)
    places = tuple(place for place in PLACES if actions(subject, place))
    # The fish and the boat would crowd the two water places otherwise empty of most subjects; others go
    # there a little more often than their share.
    place = _pick(rng, places, [1.6 if p in ("open sea", "coral reef") else 1.0 for p in places])
    light = _pick(rng, LIGHTS, (1.3, 0.9, 0.9, 0.9))
    options = actions(subject, place)
    action = _pick(rng, options, [_WEIGHT.get(a, 1.0) for a in options])
    main = _thing(rng, subject, action)
    count = _pick(rng, (1, 2, 3), (0.63, 0.26, 0.11))
    things: tuple[Thing, ...] = (main,)
    relations: tuple[Relation, ...] = ()
    if action == "is hit":
        things = (main, _hitter(rng, main))
    elif count > 1:
        things, relations = _company(rng, main, place, count)
    possible = cameras(things[0].action)
    camera = _pick(rng, possible, [3.5 if c == "static" else 1.0 for c in possible])
    return Scene(seed, place, light, camera, things, relations)


def _company(
    rng: np.random.Generator, main: Thing, place: str, count: int
) -> tuple[tuple[Thing, ...], tuple[Relation, ...]]:
    """One or two companions at rest beside the main subject, where its action cannot run into them."""
    still = "floats" if place == "open sea" else "rests"
    pool = [s for s in SUBJECTS if still in actions(s, place) or "rests" in actions(s, place)]
    stackable = main.action in ("rests", "spins") and main.subject in STACK_TOPS and place not in ("open sea",)
    if main.action in ("flies across", "swings", "topples", "floats") and count > 2:
        count = 2
    if stackable and rng.random() < 0.3:
        bases = [s for s in STACK_BASES if s in pool]
        if bases:
            main = replace(main, size="small", action="rests")
            base = _thing(rng, _pick(rng, bases), "rests", "large")
            return (main, base), (Relation(0, "on top of", 1),)
    kinds: tuple[str, ...] = ("left of", "right of")
    if main.action in ("moves left", "moves right", "flies across"):
        kinds = ("in front of", "behind")
    elif main.action in ("rests", "jumps", "bounces", "spins", "floats"):
        kinds = ("left of", "right of", "left of", "right of", "in front of", "behind")
    kind = _pick(rng, kinds)
    relations = [Relation(0, kind, 1)]
    others = []
    for k in range(count - 1):
        subject = _pick(rng, pool)
        action = "rests" if "rests" in actions(subject, place) else still
        other = _thing(rng, subject, action, "small" if kind == "in front of" or k else None)
        others.append(other)
    if count == 3:
        # The third stands on the other side, or beyond the second when that one stands behind or in front.
        relations.append(Relation(0, _pick(rng, ("left of", "right of")) if kind in ("in front of", "behind")
                                  else {"left of": "right of", "right of": "left of"}[kind], 2))  # fmt: skip
        if main.action in ("moves left", "moves right"):
            return (main, others[0]), (relations[0],)
    return (main, *others), tuple(relations)
