"""Where things begin and what the camera must hold: the staging of a scene before any body exists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tenku.rng import stream
from tenku.world import actions as act
from tenku.world.camera import FOV, Track
from tenku.world.grammar import FLYERS, HITS, MOVES, SIZES, Scene, Thing
from tenku.world.subjects import SPECS


@dataclass(frozen=True)
class Room:
    """What the camera will show at the stage's depth, known before anything is placed."""

    distance: float  # metres from the camera to its target
    half: float  # metres, half the width of the picture at that distance
    seconds: float  # the time in which an action is to be over
    look: float  # metres, height of the target


def size_of(thing: Thing) -> tuple[float, float, float]:
    """Length, width, height in metres."""
    s, spec = SIZES[thing.size], SPECS[thing.subject]
    return spec.length * s, spec.width * s, spec.height * s


def room_for(scene: Scene, seconds: float, aspect: float, rng: np.random.Generator) -> Room:
    """The room that a scene needs: farther back for company, for narrow pictures and for actions that reach high."""
    main = scene.things[0]
    height = size_of(main)[2]
    wide = {1: 1.0, 2: 1.22, 3: 1.42}[len(scene.things)]
    look = 0.5 * height + 0.08
    stretch = {"bounces": 1.16, "jumps": 1.14, "swings": 1.22, "flies across": 1.10, "is hit": 1.22, "takes off": 1.36,
               "topples": 1.08}.get(main.action, 1.0)  # fmt: skip
    if main.action in ("bounces", "jumps", "flies across", "takes off"):
        look = max(look, 1.12 if main.action == "takes off" else 0.85)
    if main.action == "swings":
        look = 1.05
    if main.subject in FLYERS and main.action in MOVES:
        look = 0.8
    if any(r.kind == "on top of" for r in scene.relations):
        look, wide = 0.95, 1.2
    narrow = max(1.0, 1.2 / aspect)
    distance = 3.35 * max(wide, stretch) * narrow * float(rng.uniform(0.95, 1.06))
    half = float(distance * np.tan(FOV / 2) * aspect)
    return Room(distance, half, max(seconds, 1.0), look)


def track_for(scene: Scene, room: Room, spots: list[np.ndarray], rng: np.random.Generator) -> Track:
    """The camera's track for a scene whose things begin at `spots`."""
    moving = scene.things[0].action in (*MOVES, "flies across")
    around = spots[:1] if scene.camera == "follow" else spots
    x = float(np.mean([spot[0] for spot in around]))
    if scene.things[0].action in ("is hit", "flies across", "topples") or (scene.camera != "follow" and moving):
        x = 0.0
    y = float(np.mean([spot[1] for spot in around]))
    if scene.camera != "follow":
        y = 0.4 if scene.things[0].action in ("moves away", "moves near") else float(np.clip(y, -0.6, 0.9))
    flat = 0.30 if scene.things[0].subject in FLYERS else 0.0  # wings are seen from above
    height = room.look + room.distance * float(rng.uniform(0.06, 0.15)) + flat
    swing = float(rng.uniform(0.40, 0.50)) if scene.camera.startswith("pan") else float(rng.uniform(0.95, 1.2))
    if scene.camera.startswith("pan"):
        swing *= min(1.0, room.half / 2.1)
    return Track(scene.camera, (x, y, room.look), room.distance, height, float(rng.uniform(-0.12, 0.12)), swing,
                 room.seconds)  # fmt: skip


def spots_for(scene: Scene, room: Room, rng: np.random.Generator) -> list[np.ndarray]:
    """Where each thing begins: x, y of its foot and z of what it stands on."""
    things = scene.things
    spots = [np.zeros(3) for _ in things]
    jitter = rng.uniform(-1, 1, (3, 2)) * (0.10, 0.12)
    lengths = [max(size_of(thing)[0], size_of(thing)[1]) for thing in things]
    for relation in scene.relations:
        a, b = relation.a, relation.b
        gap = (lengths[a] + lengths[b]) / 2 * 0.92 + 0.22
        if relation.kind in ("left of", "right of"):
            spots[b][0] = spots[a][0] + (gap if relation.kind == "left of" else -gap)
        elif relation.kind == "on top of":
            spots[a][2] = SPECS[things[b].subject].top * SIZES[things[b].size]
            if things[b].subject == "truck":
                spots[a][0] = -0.26 * SIZES[things[b].size]
        else:
            deep = 1.15 if relation.kind == "in front of" else -1.05
            # Aside by half a gap, so that nobody is hidden; what passes by hides and shows anyway.
            spots[b][:2] = (float(rng.choice((-1, 1))) * (0.45 if things[0].action in MOVES else 0.62) * gap, deep)
    if not any(r.kind == "on top of" for r in scene.relations):
        middle = (min(s[0] for s in spots) + max(s[0] for s in spots)) / 2
        for k, spot in enumerate(spots):
            spot[0] -= middle
            spot[:2] += jitter[k]
    _departure(scene, room, spots)
    return spots


def _departure(scene: Scene, room: Room, spots: list[np.ndarray]) -> None:
    """Moves the starting place of whatever travels back by half of its way."""
    action = scene.things[0].action
    if action in MOVES:
        way = travel(scene, room)
        word = action.split()[1]
        spots[0][0] -= act.TOWARDS[word][0] * way / 2
        spots[0][1] = {"away": -0.35, "near": way - 0.5}.get(word, spots[0][1])
    if action == "topples":
        spots[0][0] -= side_of(scene) * 0.35 * size_of(scene.things[0])[2]
    for k, thing in enumerate(scene.things):
        if thing.action == HITS:
            side = side_of(scene)
            spots[k][:] = (side * min(room.half * 0.88, 2.3), 0.0, 0.0)
            spots[0][:2] = (side * 0.25, 0.0)


def side_of(scene: Scene) -> float:
    """-1 or +1, a coin that belongs to the scene: where a blow comes from, where a tower falls."""
    return 1.0 if stream(scene.seed, "side").random() < 0.5 else -1.0


def travel(scene: Scene, room: Room) -> float:
    """Metres that a moving main subject covers within `room.seconds`."""
    action, camera = scene.things[0].action, scene.camera
    if action in ("moves away", "moves near"):
        return 3.4 if action == "moves away" else 3.0
    opposed = (action, camera) in (("moves left", "pan right"), ("moves right", "pan left"))
    return room.half * (0.72 if opposed else 0.85 if camera == "dolly in" else 1.02)
