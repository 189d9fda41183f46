"""The eight places under their four lights: ground, painted sky, haze, lamps and a few landmarks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import mujoco
import numpy as np

from tenku.rng import stream
from tenku.world import landmarks, scenery
from tenku.world.parts import RGB, SOLID_GROUP, Kit, attach

FACE = 96  # pixels of a side of the painted sky's cube

# Sky colours: (zenith, horizon) by light; water and the moon have their own.
_SKY: dict[str, dict[str, tuple[RGB, RGB]]] = {
    "": {
        "day": ((0.20, 0.45, 0.86), (0.76, 0.88, 0.97)),
        "sunset": ((0.30, 0.24, 0.50), (1.00, 0.58, 0.30)),
        "night": ((0.015, 0.025, 0.10), (0.09, 0.13, 0.30)),
        "fog": ((0.72, 0.75, 0.78), (0.80, 0.82, 0.84)),
    },
    "desert": {"day": ((0.24, 0.52, 0.88), (0.95, 0.89, 0.76)), "fog": ((0.78, 0.73, 0.64), (0.86, 0.80, 0.69))},
    "moon": {
        "day": ((0.0, 0.0, 0.01), (0.01, 0.01, 0.03)),
        "sunset": ((0.02, 0.01, 0.04), (0.62, 0.26, 0.08)),
        "night": ((0.01, 0.01, 0.05), (0.03, 0.04, 0.13)),
        "fog": ((0.42, 0.42, 0.44), (0.55, 0.55, 0.57)),
    },
    "coral reef": {
        "day": ((0.45, 0.85, 0.95), (0.10, 0.50, 0.72)),
        "sunset": ((0.95, 0.60, 0.50), (0.42, 0.28, 0.50)),
        "night": ((0.04, 0.10, 0.26), (0.02, 0.07, 0.19)),
        "fog": ((0.62, 0.84, 0.80), (0.55, 0.77, 0.74)),
    },
}
# Towards the lamp, its colour, and the light from everywhere.
_LAMP: dict[str, tuple[RGB, RGB, RGB]] = {
    "day": ((-0.45, -0.90, 0.95), (0.62, 0.60, 0.55), (0.44, 0.46, 0.50)),
    "sunset": ((0.85, -0.75, 0.60), (0.66, 0.47, 0.30), (0.47, 0.39, 0.41)),
    "night": ((-0.5, -0.90, 0.9), (0.26, 0.32, 0.46), (0.36, 0.38, 0.54)),
    "fog": ((-0.2, -0.7, 1.0), (0.22, 0.22, 0.22), (0.66, 0.66, 0.68)),
}
_GROUND: dict[str, tuple[RGB, RGB]] = {
    "meadow": ((0.36, 0.64, 0.22), (0.25, 0.52, 0.15)),
    "desert": ((0.92, 0.72, 0.42), (0.80, 0.59, 0.32)),
    "snow": ((0.93, 0.95, 0.98), (0.78, 0.85, 0.93)),
    "beach": ((0.93, 0.83, 0.60), (0.83, 0.71, 0.47)),
    "open sea": ((0.10, 0.38, 0.62), (0.05, 0.26, 0.50)),
    "city street": ((0.36, 0.36, 0.39), (0.31, 0.31, 0.34)),
    "moon": ((0.60, 0.60, 0.61), (0.45, 0.45, 0.47)),
    "coral reef": ((0.82, 0.78, 0.58), (0.66, 0.63, 0.46)),
}
# Where the air starts to hide things and where it has hidden them, metres.
_AIR = {"day": (9.0, 55.0), "sunset": (8.0, 50.0), "night": (7.0, 40.0), "fog": (2.2, 15.0)}


def horizon(place: str, light: str) -> RGB:
    """The colour of far away."""
    return _sky_colours(place, light)[1]


def _sky_colours(place: str, light: str) -> tuple[RGB, RGB]:
    return _SKY.get(place, {}).get(light) or _SKY[""][light]


def air(place: str, light: str) -> tuple[float, float]:
    """Distances (metres) at which haze begins and at which it is all one sees."""
    if place == "coral reef":
        return (1.5, 11.0) if light == "fog" else (2.5, 15.0)
    if place == "moon" and light != "fog":
        return (60.0, 110.0)
    return _AIR[light]


def dress(spec: Any, place: str, light: str, seed: int) -> None:
    """Puts ground, sky, lamps, haze and the landmarks of a seed into a MuJoCo spec."""
    start, end = air(place, light)
    spec.visual.map.fogstart, spec.visual.map.fogend = start, end
    spec.visual.rgba.fog = (*horizon(place, light), 1.0)
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=FACE, height=6 * FACE, nchannel=3)
    sky.data = sky_faces(place, light)
    _texture_material(spec, "ground", ground_texture(place), 64, 0.28)
    # Contacts feel a plane; the camera sees a slab, because MuJoCo draws its endless planes as a fine mesh that
    # alone would cost twice the rest of the picture.
    spec.worldbody.add_geom(name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], group=SOLID_GROUP,
                            friction=[0.9, 0.01, 0.001])  # fmt: skip
    spec.worldbody.add_geom(name="land", type=mujoco.mjtGeom.mjGEOM_BOX, size=[150, 150, 0.5], pos=[0, 0, -0.5],
                            material="ground", contype=0, conaffinity=0)  # fmt: skip
    _lamps(spec, place, light)
    kit = Kit()
    landmarks.build(kit, place, light, scenery.landmarks(place, seed))
    if place == "city street":
        _texture_material(spec, "windows", _windows(light), 32, 0.7, emission=0.35 if light == "night" else 0.0)
    for index, part in enumerate(kit.parts):
        geom = attach(spec, spec.worldbody, part, 1.0, 0.0, f"landmark{index}", contype=0, conaffinity=0)
        if place == "city street" and part.kind == mujoco.mjtGeom.mjGEOM_BOX and part.size[2] > 0.5:
            geom.material = "windows"


def _texture_material(spec: Any, name: str, data: bytes, size: int, repeat: float, emission: float = 0.0) -> None:
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=size, height=size, nchannel=3)
    texture.data = data
    material = spec.add_material(name=name, texrepeat=[repeat, repeat], texuniform=True, specular=0.0,
                                 emission=emission)  # fmt: skip
    roles = material.textures
    roles[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    material.textures = roles


def lamp_of(place: str, light: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vector towards the lamp, its colour, and the ambient colour, as the place bends them."""
    towards, colour, ambient = (np.array(v) for v in _LAMP[light])
    if place == "coral reef" and light == "night":  # deeper blue already: keep what stands there readable
        colour, ambient = colour * 1.3, ambient * 1.15
    if place == "coral reef":  # water takes the red away, and light falls steeply
        colour, ambient = colour * (0.82, 1.0, 1.05), ambient * (0.86, 1.0, 1.05)
        towards = towards * (0.5, 0.5, 1.0)
    if place == "moon" and light == "day":  # no sky to soften shadows
        colour, ambient = colour * 1.2, ambient * 0.85
    if place == "snow" and light == "day":  # bright ground would burn out
        colour, ambient = colour * 0.85, ambient * 0.95
    return towards / np.linalg.norm(towards), colour, ambient


def _lamps(spec: Any, place: str, light: str) -> None:
    towards, colour, ambient = lamp_of(place, light)
    spec.worldbody.add_light(
        pos=towards * 9.0, dir=-towards, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=True,
        diffuse=colour, ambient=[0, 0, 0], specular=colour * 0.35,
    )  # fmt: skip
    spec.visual.headlight.ambient = ambient
    spec.visual.headlight.diffuse = ambient * 0.22
    spec.visual.headlight.specular = [0, 0, 0]


def _noise(size: int, name: str, octaves: tuple[int, ...]) -> np.ndarray:
    """Smooth tileable noise in 0..1, [size, size]."""
    rng = stream(0, "texture", name)
    y, x = np.mgrid[:size, :size] * (2 * np.pi / size)
    total = np.zeros((size, size))
    for octave in octaves:
        for _ in range(4):
            a, b = rng.integers(-octave, octave + 1, 2)
            total += np.sin(a * x + b * y + rng.uniform(0, 2 * np.pi)) / octave**0.5
    low, high = total.min(), total.max()
    return (total - low) / (high - low)


@lru_cache(maxsize=16)
def ground_texture(place: str) -> bytes:
    """RGB bytes of a 64 x 64 tile."""
    if place == "open sea":
        y, x = np.mgrid[:64, :64] * (2 * np.pi / 64)
        mix = 0.5 + 0.3 * np.sin(3 * y + np.sin(x)) + 0.2 * np.sin(x * 2 + y * 2)
    else:
        mix = _noise(64, place, (1, 2, 4) if place != "city street" else (2, 4))
    a, b = (np.array(c) for c in _GROUND[place])
    return _bytes(a + (b - a) * np.clip(mix, 0, 1)[..., None])


def _windows(light: str) -> bytes:
    tile = np.full((32, 32, 3), 1.0)
    glass = (1.0, 0.85, 0.45) if light == "night" else (0.42, 0.52, 0.64)
    tile[8:24, 9:23] = glass
    if light == "night":
        tile[:8], tile[24:], tile[:, :9], tile[:, 23:] = 0.5, 0.5, 0.5, 0.5
    return _bytes(tile)


def _bytes(rgb: np.ndarray) -> bytes:
    return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8).tobytes()


@lru_cache(maxsize=64)
def sky_faces(place: str, light: str) -> bytes:
    """The painted sky: six square faces in MuJoCo's order (+x, -x, +z, -z, -y, +y), RGB bytes."""
    v, u = (np.mgrid[:FACE, :FACE] + 0.5) / FACE * 2 - 1
    one = np.ones_like(u)
    faces = [(one, u, -v), (-one, -u, -v), (u, -v, one), (u, v, -one), (u, -one, -v), (-u, one, -v)]
    d = np.stack([np.stack(face, axis=-1) for face in faces])  # 6 FACE FACE 3
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    return _bytes(_paint(d.reshape(-1, 3), place, light))


def _paint(d: np.ndarray, place: str, light: str) -> np.ndarray:
    """Colours [N, 3] of directions [N, 3]."""
    zenith, rim = (np.array(c) for c in _sky_colours(place, light))
    elevation = np.arcsin(d[:, 2])
    azimuth = np.arctan2(d[:, 0], d[:, 1])  # 0 straight ahead, growing to the right
    reach = 0.30 if place == "moon" else 0.55
    mix = np.clip(elevation / reach, 0, 1)[:, None] ** 0.8
    colour = rim + (zenith - rim) * mix
    if light == "sunset" and place != "coral reef":
        glow = np.exp(-((azimuth - 0.5) ** 2) / 0.5 - (elevation / 0.2) ** 2)[:, None]
        colour = colour + glow * (np.array((1.0, 0.85, 0.45)) - colour) * 0.7
    if place == "moon" or light == "night":
        _stars(colour, d, 420 if place == "moon" else 160, light)
    if place not in ("moon", "coral reef"):
        if light in ("day", "sunset"):
            cloud = (1.0, 1.0, 1.0) if light == "day" else (1.0, 0.72, 0.62)
            _clouds(colour, azimuth, elevation, np.array(cloud))
        if light == "night":
            _disc(colour, d, -0.30, 0.20, 0.055, np.array((0.96, 0.95, 0.85)))
        _skyline(colour, place, light, azimuth, elevation, rim)
    if place == "coral reef":  # shafts of light from the surface
        shaft = np.clip(np.sin(azimuth * 9 + elevation * 2) * np.sin(azimuth * 5 + 1), 0, 1) * np.clip(elevation, 0, 1)
        colour = colour + shaft[:, None] * (zenith - colour) * 0.9
    return colour


def _stars(colour: np.ndarray, d: np.ndarray, count: int, light: str) -> None:
    if light == "fog":
        return
    rng = stream(0, "stars")
    spots = rng.standard_normal((count, 3))
    spots /= np.linalg.norm(spots, axis=1, keepdims=True)
    for spot, bright in zip(spots, rng.uniform(0.35, 1.0, count), strict=True):
        if spot[2] > 0.02:
            near = np.nonzero(d @ spot > 0.998)[0]  # beyond that the glow is less than a millionth
            glow = np.exp(-np.sum((d[near] - spot) ** 2, axis=1) / (2 * 0.009**2)) * bright
            colour[near] = np.maximum(colour[near], glow[:, None] * np.array((0.95, 0.95, 1.0)))


def _disc(colour: np.ndarray, d: np.ndarray, azimuth: float, elevation: float, radius: float, rgb: np.ndarray) -> None:
    centre = np.array([np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    away = np.linalg.norm(d - centre, axis=1)
    soft = np.clip((radius - away) / 0.02 + 0.5, 0, 1)[:, None]
    colour += (rgb - colour) * soft


def _clouds(colour: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray, rgb: np.ndarray) -> None:
    rng = stream(0, "clouds")
    for _ in range(12):
        a, e = rng.uniform(-np.pi, np.pi), rng.uniform(0.10, 0.36)
        wide = rng.uniform(0.09, 0.20)
        for k in range(3):
            away = (azimuth - a - (k - 1) * wide * 0.7) ** 2 / wide**2 + (elevation - e) ** 2 / 0.028**2
            colour += (rgb - colour) * (np.exp(-away) * 0.55)[:, None]


_SKYLINE: dict[str, tuple[float, float, RGB]] = {  # mean height, swing (radians), colour by day
    "meadow": (0.055, 0.035, (0.36, 0.56, 0.46)),
    "desert": (0.045, 0.040, (0.80, 0.60, 0.42)),
    "snow": (0.085, 0.070, (0.72, 0.80, 0.92)),
    "city street": (0.14, 0.10, (0.56, 0.62, 0.70)),
}


def _skyline(colour: np.ndarray, place: str, light: str, azimuth: np.ndarray, elevation: np.ndarray,
             rim: np.ndarray) -> None:  # fmt: skip
    """Far hills, dunes, mountains or towers: a band over the horizon in a colour of the air."""
    if place not in _SKYLINE:
        return
    mean, swing, rgb = _SKYLINE[place]
    if place == "city street":
        step = np.floor(azimuth * 7)
        height = mean + swing * np.sin(step * 12.9898) * np.cos(step * 4.1)
    elif place == "snow":  # peaks
        height = mean + swing * (np.abs((azimuth * 2.1) % 2 - 1) + 0.5 * np.abs((azimuth * 5.3) % 2 - 1) - 0.7)
    else:
        height = mean + swing * (0.6 * np.sin(azimuth * 3 + 1) + 0.4 * np.sin(azimuth * 7))
    dim = {"day": 1.0, "sunset": 0.55, "night": 0.22, "fog": 0.9}[light]
    far = {"day": 0.35, "sunset": 0.40, "night": 0.35, "fog": 0.88}[light]
    band = np.array(rgb) * dim * (1 - far) + rim * far
    cover = np.clip((height - elevation) / 0.012 + 0.5, 0, 1)[:, None]
    colour += (band - colour) * cover
