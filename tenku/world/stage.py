"""From a Scene to something that can be simulated: a MuJoCo model, a law for each thing, and a camera track.

What the grammar leaves open (exact places, speeds, phases, where landmarks stand) is drawn here from the
scene's seed. Nothing here depends on the picture's size but the room that the camera needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from tenku.rng import stream
from tenku.world import actions as act
from tenku.world import places
from tenku.world.camera import FOV, Track
from tenku.world.grammar import COLOURS, FLYERS, HITS, MOVES, SIZES, Scene, Thing
from tenku.world.parts import SOLID_GROUP, Kit, attach
from tenku.world.placing import Room, room_for, side_of, size_of, spots_for, track_for, travel
from tenku.world.scenery import BEAM, CRESTS, EARTH_GRAVITY, GRAVITY, POSTS, WOOD, rope_of
from tenku.world.subjects import SPECS, Spec

STEP = 0.004  # seconds: the physics step is at most this
_LINE = "rope"  # hangs on its thing's body but is no part of it
ROPE = (0.55, 0.42, 0.26)
# How lively a thing comes back from the ground, as (stiffness 1/s2, damping 1/s) of its contact.
_SPRING = {"ball": (30000.0, 14.0), "coffee cup": (30000.0, 55.0), "house": (30000.0, 90.0)}
_SPRING_OTHER = (30000.0, 65.0)


@dataclass
class Actor:
    """A thing on the stage."""

    thing: Thing
    spec: Spec
    scale: float
    body: int  # MuJoCo body
    centre: float  # metres from the ground to the body's origin when it stands upright
    law: act.Law
    geoms: list[int] = field(default_factory=list)  # visible geoms, those of its flaps too


@dataclass
class Stage:
    """A scene ready to run."""

    scene: Scene
    model: Any
    actors: list[Actor]
    track: Track
    swell: list[tuple[int, float, float]]  # mocap index, y at the start, height of moving waves


def build(scene: Scene, seconds: float, aspect: float, buffer: tuple[int, int], fps: float) -> Stage:
    """Stages a scene for a clip of `seconds` (> 0) in pictures of `aspect` = width / height.

    `buffer` is the (width, height) in pixels that the renderer will draw into.
    """
    rng = stream(scene.seed, "stage")
    room = room_for(scene, seconds, aspect, rng)
    spec = _empty(buffer, fps, GRAVITY.get(scene.place, EARTH_GRAVITY))
    places.dress(spec, scene.place, scene.light, scene.seed)
    spots = spots_for(scene, room, rng)
    drafts = [_draft(spec, i, thing, spots[i], scene, room) for i, thing in enumerate(scene.things)]
    swell = _swell(spec, rng) if scene.place == "open sea" else []
    model = spec.compile()
    gravity = -float(model.opt.gravity[2])
    actors = [_actor(model, i, scene, spots[i], room, gravity, drafts[i]) for i in range(len(drafts))]
    waves = [(int(model.body(name).mocapid[0]), y, high) for name, y, high in swell]
    return Stage(scene, model, actors, track_for(scene, room, spots, rng), waves)


def _empty(buffer: tuple[int, int], fps: float, gravity: float) -> Any:
    spec = mujoco.MjSpec()
    spec.option.timestep = 1.0 / fps / int(np.ceil(1.0 / fps / STEP))
    spec.option.gravity = [0, 0, -gravity]
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC  # a contact's normal force is then one number
    spec.stat.extent, spec.stat.center = 1.0, [0, 0, 0.5]
    spec.visual.map.znear, spec.visual.map.zfar, spec.visual.map.shadowclip = 0.1, 220.0, 4.2
    spec.visual.global_.offwidth, spec.visual.global_.offheight = buffer
    spec.visual.global_.fovy = float(np.degrees(FOV))
    quality = spec.visual.quality
    quality.shadowsize, quality.offsamples = 512, 0
    quality.numslices, quality.numstacks, quality.numquads = 18, 12, 2
    return spec


def _kinematic(thing: Thing, place: str) -> bool:
    """Whether a thing follows a path instead of forces."""
    if place == "open sea":
        return thing.action != "rests"
    if thing.subject == "fish":
        return True
    if thing.action == "takes off" or (thing.subject in FLYERS and thing.action in (*MOVES, "flies across")):
        return True
    return thing.subject == "drone" and thing.action == "spins"


def _draft(spec: Any, index: int, thing: Thing, spot: np.ndarray, scene: Scene, room: Room) -> str:
    """Adds a thing's body (and gantry, rock or flame) to the spec. Returns how it is held: free, mocap or hinge."""
    scale, measures = SIZES[thing.size], SPECS[thing.subject]
    kit = Kit()
    measures.build(kit, COLOURS[thing.colour])
    if thing.action == "takes off" and thing.subject == "rocket":
        kit.cone(-0.34, 0.02, 0.13, 0.36, (1.0, 0.62, 0.12), glow=1.0)
        kit.cone(-0.18, 0.02, 0.08, 0.20, (1.0, 0.92, 0.55), glow=1.0)
    drop = measures.height / 2 * scale
    name = f"thing{index}"
    how = "mocap" if _kinematic(thing, scene.place) else "hinge" if thing.action == "swings" else "free"
    if how == "hinge":
        length = rope(thing)
        _gantry(spec, room)
        body = spec.worldbody.add_body(name=name, pos=[0, 0, BEAM])
        body.add_joint(name=f"{name}_hinge", type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 1, 0], damping=0.0)
        drop += length  # the origin is the pivot: parts hang `length` below it
        end = [0, 0, 0, 0, 0, -length + measures.height * scale * 0.45]
        body.add_geom(name=_LINE, type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[0.022, 0, 0], fromto=end,
                      rgba=(*ROPE, 1.0), contype=0, conaffinity=0, mass=0.01)  # fmt: skip
    else:
        body = spec.worldbody.add_body(name=name, mocap=how == "mocap")
        if how == "free":
            body.add_freejoint(name=f"{name}_free")
    if scene.place == "open sea" and thing.action == "rests":
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=[0.75, 0.6, 0.16], contype=0, conaffinity=0,
                                pos=[spot[0], spot[1], 0.0], rgba=(0.30, 0.30, 0.32, 1))  # fmt: skip
    _fill(spec, body, kit, scale, drop, name, thing, solid=how == "free")
    for k, flap in enumerate(kit.flaps):
        wing = body.add_body(name=f"{name}_flap{k}", pos=np.array(flap.pivot) * scale - [0, 0, drop], gravcomp=1.0)
        wing.add_joint(name=f"{name}_flap{k}", type=mujoco.mjtJoint.mjJNT_HINGE, axis=flap.axis, damping=0.1)
        for j, part in enumerate(flap.parts):
            attach(spec, wing, part, scale, 0.0, f"{name}_flap{k}_{j}", contype=0, conaffinity=0, mass=0.01)
    return how


def _fill(spec: Any, body: Any, kit: Kit, scale: float, drop: float, name: str, thing: Thing, solid: bool) -> None:
    """Visible geoms weigh nothing; the solids share a mass that grows with the size."""
    solids = [part for part in kit.parts if part.solid]
    mass = scale**3 * (2.6 if thing.action == HITS else 1.0)
    friction = 0.02 if thing.action in MOVES and thing.subject != "ball" else 0.6
    if thing.action == "spins":
        friction = 0.05
    if thing.action == "is hit":
        friction = 0.4
    if thing.action == "topples":
        friction = 1.3
    if thing.action == HITS and thing.subject != "ball":
        friction = 0.05
    spring = _SPRING.get(thing.subject, _SPRING_OTHER)
    for index, part in enumerate(kit.parts):
        if not part.solid:
            attach(spec, body, part, scale, drop, f"{name}_{index}", contype=0, conaffinity=0, mass=0.0)
            continue
        geom = attach(spec, body, part, scale, drop, f"{name}_{index}", group=SOLID_GROUP, mass=mass / len(solids))
        geom.contype = geom.conaffinity = 1 if solid else 0
        geom.friction, geom.priority = [friction, 0.005, 0.0001], 1
        if thing.action == "bounces" or (thing.action == "flies across"):
            geom.solref, geom.solimp = [-spring[0], -spring[1]], [0.95, 0.99, 0.001, 0.5, 2]


# How far a flyer tips its wings towards the camera, radians.
_LEAN = {"aeroplane": 0.34, "drone": 0.25, "butterfly": 0.65}


def rope(thing: Thing) -> float:
    """Metres from the beam to the middle of what hangs."""
    return rope_of(size_of(thing)[2])


def _gantry(spec: Any, room: Room) -> None:
    half = min(POSTS, room.half * 0.9)
    for a, b in (
        ((-half, 0, BEAM), (half, 0, BEAM)),
        ((-half, 0, 0), (-half, 0, BEAM)),
        ((half, 0, 0), (half, 0, BEAM)),
    ):
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[0.05, 0, 0], fromto=[*a, *b],
                                rgba=(*WOOD, 1), contype=0, conaffinity=0)  # fmt: skip


def _swell(spec: Any, rng: np.random.Generator) -> list[tuple[str, float, float]]:
    """Low, long waves that roll towards the camera."""
    rows = []
    for k in range(8):
        y, high = -2.6 + CRESTS * k, float(rng.uniform(0.06, 0.11))
        body = spec.worldbody.add_body(name=f"wave{k}", mocap=True)
        wide, aside = float(rng.uniform(3.5, 6.0)), float(rng.uniform(-2.5, 2.5))
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=[wide, 0.6, high], pos=[aside, 0, 0],
                      rgba=(0.13, 0.45, 0.68, 1), contype=0, conaffinity=0)  # fmt: skip
        rows.append((f"wave{k}", y, high))
    return rows


def _actor(model: Any, index: int, scene: Scene, spot: np.ndarray, room: Room, gravity: float, how: str) -> Actor:
    thing = scene.things[index]
    body = model.body(f"thing{index}").id
    ids = [g for g in range(model.ngeom) if model.body_rootid[model.geom_bodyid[g]] == body]
    visible = [g for g in ids if model.geom_group[g] != SOLID_GROUP and model.geom(g).name != _LINE]
    centre = SPECS[thing.subject].height * SIZES[thing.size] / 2
    rng = stream(scene.seed, "actor", index)
    law: act.Law
    if how == "hinge":
        joint = model.joint(f"thing{index}_hinge")
        side = 1.0 if rng.random() < 0.5 else -1.0
        law = act.Swing(int(joint.qposadr[0]), int(joint.dofadr[0]), side * float(rng.uniform(0.6, 0.75)))
    elif how == "mocap":
        kit = Kit()
        SPECS[thing.subject].build(kit, COLOURS[thing.colour])
        flaps = [(int(model.joint(f"thing{index}_flap{k}").qposadr[0]), f.amplitude, f.offset, f.frequency)
                 for k, f in enumerate(kit.flaps)]  # fmt: skip
        law = act.Path(int(model.body_mocapid[body]), _path(thing, spot, scene, room, gravity, centre, rng), flaps)
    else:
        joint = model.joint(f"thing{index}_free")
        handle = act.Handle(body, int(joint.qposadr[0]), int(joint.dofadr[0]), float(model.body_mass[body]), gravity)
        law = _forces(thing, handle, spot, scene, room, centre, rng)
    return Actor(thing, SPECS[thing.subject], SIZES[thing.size], body, centre, law, visible)


def _path(thing: Thing, spot: np.ndarray, scene: Scene, room: Room, gravity: float, centre: float,
          rng: np.random.Generator) -> Any:  # fmt: skip
    """The path of a thing that flies, swims or floats."""
    phase = float(rng.uniform(0, 2 * np.pi))
    side = 1.0 if rng.random() < 0.5 else -1.0
    yaw = (0.0 if side > 0 else np.pi) + float(rng.uniform(-0.3, 0.3))
    at_sea = scene.place == "open sea"
    floating = np.array([spot[0], spot[1], centre * 0.78])
    high = np.array([spot[0], spot[1], max(0.8, centre + 0.3)])
    if thing.action in MOVES:
        word = thing.action.split()[1]
        speed = np.array([*act.TOWARDS[word], 0.0]) * (travel(scene, room) / room.seconds)
        if at_sea and thing.subject not in FLYERS:
            tack = 0.6 * side if word in ("away", "near") else 0.0  # a sail seen edge-on would vanish
            return act.sail(floating, speed, act.HEADING[word] + tack, phase)
        return act.glide(high, speed, act.HEADING[word], _LEAN.get(thing.subject, 0.0), phase)
    if thing.action == "flies across":
        return act.cross(room.half * 0.86, 0.85, side, room.seconds, thing.subject == "rocket")
    if thing.action == "takes off":
        start = np.array([spot[0], spot[1], centre])
        return act.lift(start, SPECS[thing.subject].face, 1.5, min(room.seconds, 4.0), phase)
    if thing.action == "jumps":
        return act.leap(0.75, -0.75, 1.0, side, gravity)
    if thing.action == "floats":
        return act.sail(floating, np.zeros(3), yaw, phase)
    rate = side * float(rng.uniform(3.3, 4.2)) if thing.action == "spins" else 0.0
    return act.hover(high, yaw, rate, phase)


def _forces(thing: Thing, h: act.Handle, spot: np.ndarray, scene: Scene, room: Room, centre: float,
            rng: np.random.Generator) -> act.Law:  # fmt: skip
    """The law of a thing that obeys forces, and its start."""
    turn = float(rng.uniform(-0.3, 0.3))
    side = 1.0 if rng.random() < 0.5 else -1.0
    face = SPECS[thing.subject].face
    yaw = face + turn + (np.pi if side < 0 and thing.subject in ("car", "truck", "aeroplane", "coffee cup") else 0.0)
    place = np.array([spot[0], spot[1], spot[2] + centre])
    upright = (place, act.euler_quat((0.0, 0.0, yaw)))
    action = thing.action
    if action in MOVES:
        word = action.split()[1]
        speed = np.array(act.TOWARDS[word]) * (travel(scene, room) / room.seconds)
        return _travelling(thing, h, place, speed, act.HEADING[word])
    if action == HITS:
        word = "left" if spot[0] > 0 else "right"
        return _travelling(thing, h, place, np.array(act.TOWARDS[word]) * 3.5, act.HEADING[word], until=0.6)
    if action == "spins":
        rate = side * float(rng.uniform(3.6, 4.8))
        return act.Spin(h, upright, (0, 0, 0, 0, 0, rate), rate=rate)
    if action == "jumps":
        return act.Jump(h, upright, height=float(rng.uniform(0.62, 0.82)))
    if action == "topples":
        half = min(SPECS[thing.subject].length, SPECS[thing.subject].width) / 2 * SIZES[thing.size]
        return act.Topple(h, upright, side=side_of(scene), height=2 * centre, half_width=half)
    if action == "bounces":
        low = h.gravity < 5
        place[2] += float(rng.uniform(0.85, 1.0)) if low else float(rng.uniform(1.1, 1.4))
        tilt = np.zeros(2) if thing.subject == "ball" else rng.uniform(0.12, 0.3, 2) * side
        pose = (place, act.euler_quat((float(tilt[0]), float(tilt[1]), yaw)))
        return act.Rest(h, pose, (float(rng.uniform(-0.2, 0.2)), 0, -1.6 if low else 0.0, 0, 0, 0))
    if action == "flies across":  # thrown: the flight is gravity's
        flight = 0.95 if h.gravity > 5 else 1.8
        place = np.array([-side * room.half * 0.95, 0.0, 0.6 + centre])
        along = side * room.half * 1.9 / max(min(room.seconds, 2.0), flight)
        return act.Rest(h, (place, upright[1]), (along, 0, h.gravity * flight / 2 * 0.92, 0, side * 3.0, 0))
    return act.Rest(h, upright)


def _travelling(thing: Thing, h: act.Handle, place: np.ndarray, velocity: np.ndarray, yaw: float,
                until: float = np.inf) -> act.Law:  # fmt: skip
    """A ball rolls by itself; the others are driven."""
    if thing.subject == "ball":
        radius = SPECS["ball"].height / 2 * SIZES[thing.size]
        turning = (-velocity[1] / radius, velocity[0] / radius, 0.0)  # rolling without slipping
        return act.Roll(h, (place, np.array([1.0, 0, 0, 0])), (velocity[0], velocity[1], 0.0, *turning))
    # Only things with a front turn into their way; a robot in profile is hard to tell, so it keeps a quarter turn.
    faces = {"car": yaw, "truck": yaw, "robot": yaw, "coffee cup": yaw}.get(thing.subject, 0.4)
    return act.Drive(h, (place, act.euler_quat((0.0, 0.0, faces))), (velocity[0], velocity[1], 0, 0, 0, 0),
                     target=(float(velocity[0]), float(velocity[1])), until=until)  # fmt: skip
