"""The eighteen subjects, each a few simple shapes in which the named colour covers most of what is seen.

A builder takes a Kit and the colour. Front is +x; the ground is z = 0; solids are what contacts feel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tenku.world.grammar import MEASURES, TAIL, WINGS
from tenku.world.parts import RGB, Kit

DARK: RGB = (0.10, 0.10, 0.12)
GREY: RGB = (0.45, 0.46, 0.50)
PALE: RGB = (0.93, 0.93, 0.90)
GLASS: RGB = (0.36, 0.50, 0.62)
WOOD: RGB = (0.40, 0.25, 0.12)
LAMP: RGB = (1.0, 0.90, 0.45)


def shade(rgb: RGB, factor: float) -> RGB:
    """Darker (factor < 1) or lighter (> 1, towards white)."""
    c = np.asarray(rgb)
    out = c * factor if factor <= 1 else c + (1 - c) * (factor - 1)
    return (float(out[0]), float(out[1]), float(out[2]))


def accent(rgb: RGB) -> RGB:
    """A mark that shows on the colour: white, or dark on very bright colours."""
    return PALE if 0.3 * rgb[0] + 0.6 * rgb[1] + 0.1 * rgb[2] < 0.8 else (0.25, 0.25, 0.28)


def ball(k: Kit, c: RGB) -> None:
    k.ball((0, 0, 0.42), 0.42, c)
    # A belt of patches makes rolling and spinning visible.
    for turn in np.arange(4) * np.pi / 2 + 0.4:
        x, z = 0.40 * np.cos(turn), 0.40 * np.sin(turn)
        k.egg((x * 0.85, 0.21, 0.42 + z * 0.85), (0.10, 0.10, 0.10), accent(c))
        k.egg((x * 0.85, -0.21, 0.42 + z * 0.85), (0.10, 0.10, 0.10), accent(c))
    k.ball((0, 0, 0.42), 0.42, solid=True)


def cube(k: Kit, c: RGB) -> None:
    k.box((0, 0, 0.38), (0.38, 0.38, 0.38), c)
    k.box((0, 0, 0.38), (0.38, 0.38, 0.38), solid=True)


def cylinder(k: Kit, c: RGB) -> None:
    k.can((0, 0, 0), (0, 0, 0.95), 0.32, c)
    k.can((0, 0, 0), (0, 0, 0.95), 0.32, solid=True)


def cone(k: Kit, c: RGB) -> None:
    k.cone(0, 0.42, 0, 1.0, c, sides=18)
    k.cone(0, 0.42, 0, 1.0, solid=True, sides=12)


def car(k: Kit, c: RGB) -> None:
    k.box((0, 0, 0.34), (0.78, 0.35, 0.19), c)
    k.prism([(-0.52, 0.52), (0.34, 0.52), (0.16, 0.80), (-0.38, 0.80)], 0, 0.30, GLASS)
    k.box((-0.11, 0, 0.81), (0.28, 0.31, 0.035), c)
    for x in (-0.46, 0.46):
        for y in (-0.33, 0.33):
            k.can((x, y - 0.05, 0.17), (x, y + 0.05, 0.17), 0.18, DARK)
            k.can((x, y - 0.06, 0.17), (x, y + 0.06, 0.17), 0.08, GREY)
    for y in (-0.22, 0.22):
        k.box((0.78, y, 0.38), (0.02, 0.08, 0.06), LAMP)
    k.box((0, 0, 0.36), (0.78, 0.38, 0.355), solid=True)


def truck(k: Kit, c: RGB) -> None:
    k.box((-0.26, 0, 0.66), (0.54, 0.38, 0.40), c)
    k.box((0.54, 0, 0.52), (0.22, 0.35, 0.28), GREY)
    k.box((0.60, 0, 0.66), (0.165, 0.36, 0.10), GLASS)
    k.box((0, 0, 0.22), (0.76, 0.30, 0.06), DARK)
    for x in (-0.55, -0.15, 0.52):
        for y in (-0.33, 0.33):
            k.can((x, y - 0.05, 0.17), (x, y + 0.05, 0.17), 0.17, DARK)
    k.box((0, 0, 0.53), (0.78, 0.38, 0.53), solid=True)


def house(k: Kit, c: RGB) -> None:
    k.box((0, 0, 0.33), (0.48, 0.38, 0.33), c)
    roof = [(-0.46, 0.66), (0.46, 0.66), (0, 1.08)]
    # The gable faces the front (+x): an outline across y, laid out along x.
    v = [(s * 0.54, y, z) for s in (-1, 1) for y, z in roof]
    k.mesh(v, [(0, 2, 1), (3, 4, 5), (0, 1, 4), (0, 4, 3), (1, 2, 5), (1, 5, 4), (2, 0, 3), (2, 3, 5)],
           (0.36, 0.20, 0.16))  # fmt: skip
    k.box((0.30, 0.12, 0.98), (0.07, 0.07, 0.16), (0.50, 0.30, 0.25))
    for side in (-1, 1):
        k.box((0.0, side * 0.38, 0.21), (0.09, 0.015, 0.21), WOOD)
        for x in (-0.29, 0.29):
            k.box((x, side * 0.38, 0.38), (0.10, 0.015, 0.10), LAMP)
    k.box((0, 0, 0.45), (0.48, 0.40, 0.45), solid=True)


def tree(k: Kit, c: RGB) -> None:
    k.can((0, 0, 0), (0, 0, 0.5), 0.09, WOOD)
    k.ball((0, 0, 0.80), 0.36, c)
    k.ball((0.24, 0.05, 0.62), 0.25, shade(c, 0.92))
    k.ball((-0.24, -0.05, 0.64), 0.26, shade(c, 0.96))
    k.ball((0.02, -0.20, 0.60), 0.24, c)
    k.can((0, 0, 0), (0, 0, 0.5), 0.16, solid=True)
    k.ball((0, 0, 0.76), 0.40, solid=True)


def sailing_boat(k: Kit, c: RGB) -> None:
    k.prism([(-0.42, 0.0), (0.36, 0.0), (0.64, 0.26), (-0.52, 0.26)], 0, 0.22, c)
    k.box((0.03, 0, 0.265), (0.52, 0.19, 0.015), (0.75, 0.60, 0.40))
    k.rod((0.06, 0, 0.25), (0.06, 0, 1.22), 0.022, WOOD)
    k.prism([(-0.50, 0.36), (0.03, 0.36), (0.03, 1.20)], 0, 0.02, c)
    k.prism([(0.10, 0.36), (0.52, 0.36), (0.10, 1.05)], 0, 0.02, PALE)
    k.box((0, 0, 0.13), (0.45, 0.22, 0.13), solid=True)


def rocket(k: Kit, c: RGB) -> None:
    k.can((0, 0, 0.14), (0, 0, 0.80), 0.19, c)
    k.cone(0.80, 0.19, 0, 0.36, PALE)
    k.ball((0.0, -0.16, 0.62), 0.075, GLASS)
    k.ball((0.0, 0.16, 0.62), 0.075, GLASS)
    k.cone(0.02, 0.13, 0.09, 0.12, DARK)
    for turn in np.arange(4) * np.pi / 2:
        x, y = float(np.cos(turn)), float(np.sin(turn))  # one fin on each side
        k.box((0.25 * x, 0.25 * y, 0.17), (0.10 if abs(x) > 0.5 else 0.025, 0.10 if abs(y) > 0.5 else 0.025, 0.17),
              shade(c, 0.75))  # fmt: skip
    k.can((0, 0, 0), (0, 0, 0.95), 0.28, solid=True)


def aeroplane(k: Kit, c: RGB) -> None:
    k.egg((0, 0, 0.36), (0.72, 0.16, 0.17), c)
    k.box((0.08, 0, 0.34), (0.17, 0.80, 0.025), c)
    k.box((-0.56, 0, 0.42), (0.10, 0.30, 0.02), c)
    k.prism([(-0.68, 0.38), (-0.40, 0.40), (-0.58, 0.72), (-0.72, 0.72)], 0, 0.025, shade(c, 0.8))
    k.egg((0.30, 0, 0.46), (0.18, 0.11, 0.10), GLASS)
    k.ball((0.71, 0, 0.36), 0.06, DARK)
    k.box((0.74, 0, 0.36), (0.01, 0.03, 0.24), GREY)
    for y in (-0.22, 0.22):
        k.ball((0.15, y, 0.09), 0.09, DARK)
    k.ball((-0.5, 0, 0.06), 0.06, DARK)
    k.box((0, 0, 0.25), (0.6, 0.35, 0.25), solid=True)


def drone(k: Kit, c: RGB) -> None:
    k.egg((0, 0, 0.25), (0.32, 0.32, 0.17), c)
    for x in (-1, 1):
        for y in (-1, 1):
            k.rod((0.15 * x, 0.15 * y, 0.28), (0.48 * x, 0.42 * y, 0.36), 0.04, DARK)
            k.can((0.48 * x, 0.42 * y, 0.42), (0.48 * x, 0.42 * y, 0.45), 0.27, c)
            k.can((0.48 * x, 0.42 * y, 0.35), (0.48 * x, 0.42 * y, 0.47), 0.05, DARK)
    k.ball((0.29, 0, 0.22), 0.08, DARK)
    for skid in (-0.2, 0.2):
        k.rod((-0.2, skid, 0.03), (0.2, skid, 0.03), 0.03, DARK)
    k.box((0, 0, 0.23), (0.45, 0.45, 0.23), solid=True)


def butterfly(k: Kit, c: RGB) -> None:
    k.rod((-0.24, 0, 0.4), (0.24, 0, 0.4), 0.055, DARK)
    k.ball((0.31, 0, 0.42), 0.085, DARK)
    for y in (-1, 1):
        k.rod((0.34, 0.02 * y, 0.46), (0.50, 0.12 * y, 0.62), 0.018, DARK)
        wing = Kit()
        wing.egg((0.17, 0.36 * y, 0), (0.29, 0.36, 0.03), c, euler=(0, 0, 0.35 * y))
        wing.egg((-0.20, 0.28 * y, 0), (0.23, 0.27, 0.03), shade(c, 0.88), euler=(0, 0, -0.4 * y))
        wing.egg((0.20, 0.48 * y, 0.01), (0.09, 0.10, 0.032), accent(c))
        k.flap((0, 0.03 * y, 0.4), (1, 0, 0), 0.5 * y, 0.75 * y, WINGS, wing)
    k.box((0, 0, 0.35), (0.4, 0.3, 0.35), solid=True)


def fish(k: Kit, c: RGB) -> None:
    k.egg((0.08, 0, 0.40), (0.52, 0.19, 0.31), c)
    k.prism([(-0.10, 0.64), (0.30, 0.64), (-0.18, 0.86)], 0, 0.03, shade(c, 0.82))
    k.prism([(-0.12, 0.02), (0.20, 0.16), (-0.02, 0.18)], 0, 0.03, shade(c, 0.82))
    for y in (-1, 1):
        k.ball((0.38, 0.125 * y, 0.48), 0.075, PALE)
        k.ball((0.41, 0.17 * y, 0.49), 0.042, DARK)
        k.egg((0.20, 0.165 * y, 0.40), (0.035, 0.03, 0.20), accent(c))
    tail = Kit()
    tail.prism([(0.04, -0.06), (0.04, 0.06), (-0.34, 0.32), (-0.26, 0.0), (-0.34, -0.32)][:3], 0, 0.03, c)
    tail.prism([(0.04, -0.06), (0.04, 0.06), (-0.34, -0.32)], 0, 0.03, c)
    k.flap((-0.40, 0, 0.40), (0, 0, 1), 0.45, 0.0, TAIL, tail)
    k.egg((0.05, 0, 0.40), (0.52, 0.19, 0.31), solid=True)


def robot(k: Kit, c: RGB) -> None:
    k.box((0, 0, 0.58), (0.19, 0.28, 0.24), c)
    k.box((0, 0, 1.01), (0.17, 0.21, 0.15), c)
    k.can((0, 0, 0.80), (0, 0, 0.90), 0.07, GREY)
    k.rod((0, 0, 1.14), (0, 0, 1.27), 0.02, GREY)
    k.ball((0, 0, 1.29), 0.045, LAMP)
    for y in (-1, 1):
        k.box((0, 0.13 * y, 0.17), (0.10, 0.085, 0.17), GREY)
        k.box((0.05, 0.13 * y, 0.05), (0.17, 0.10, 0.05), DARK)
        k.rod((0, 0.36 * y, 0.76), (0.10, 0.40 * y, 0.42), 0.065, GREY)
        k.ball((0.16, 0.09 * y, 1.05), 0.055, LAMP)
    k.box((0.175, 0, 0.93), (0.01, 0.12, 0.02), DARK)
    k.box((0.19, 0, 0.62), (0.012, 0.12, 0.08), GREY)
    k.box((0.02, 0, 0.575), (0.19, 0.30, 0.575), solid=True)


def snowman(k: Kit, c: RGB) -> None:
    k.ball((0, 0, 0.32), 0.36, c)
    k.ball((0, 0, 0.74), 0.26, c)
    k.ball((0, 0, 1.05), 0.19, c)
    k.can((0, 0, 1.19), (0, 0, 1.22), 0.21, DARK)
    k.can((0, 0, 1.2), (0, 0, 1.38), 0.14, DARK)
    for y in (-1, 1):
        k.ball((0.165, 0.075 * y, 1.09), 0.032, accent(c) if c[1] < 0.2 and c[0] < 0.2 else DARK)
        k.rod((0, 0.2 * y, 0.80), (0.05, 0.48 * y, 0.98), 0.025, WOOD)
    k.egg((0.24, 0, 1.03), (0.11, 0.035, 0.035), (0.95, 0.45, 0.1))
    for z in (0.68, 0.82):
        k.ball((0.25, 0, z), 0.03, DARK)
    k.can((0, 0, 0), (0, 0, 0.6), 0.33, solid=True)
    k.ball((0, 0, 0.74), 0.26, solid=True)
    k.ball((0, 0, 1.08), 0.22, solid=True)


def lighthouse(k: Kit, c: RGB) -> None:
    k.cone(0, 0.30, 0.27, 0.34, c)
    k.cone(0.34, 0.27, 0.255, 0.14, PALE)
    k.cone(0.48, 0.255, 0.215, 0.40, c)
    k.can((0, 0, 0.88), (0, 0, 0.92), 0.26, DARK)
    k.can((0, 0, 0.92), (0, 0, 1.08), 0.14, LAMP, glow=0.6)
    k.cone(1.08, 0.20, 0, 0.22, c)
    k.can((0, 0, 0), (0, 0, 1.2), 0.28, solid=True)


def coffee_cup(k: Kit, c: RGB) -> None:
    k.cone(0, 0.27, 0.36, 0.66, c, sides=20)
    k.can((0, 0, 0.655), (0, 0, 0.665), 0.32, (0.22, 0.12, 0.06))
    ring = [(0.33 + 0.19 * np.sin(t), 0.36 + 0.19 * np.cos(t)) for t in np.linspace(0.1, np.pi - 0.1, 5)]
    for (x0, z0), (x1, z1) in pairwise(ring):
        k.rod((float(x0), 0, float(z0)), (float(x1), 0, float(z1)), 0.05, c)
    k.can((0, 0, 0), (0, 0, 0.66), 0.32, solid=True)


@dataclass(frozen=True)
class Spec:
    """A subject's builder and its measures at unit size."""

    build: Callable[[Kit, RGB], None]
    height: float  # metres
    length: float  # metres along its front axis
    width: float  # metres across
    top: float = 0.0  # height of a flat top that can carry others; 0 for none
    face: float = 0.0  # radians of yaw in which it looks best at rest (0 = side-on, front to the right)


FRONT = -np.pi / 2  # looks at the camera
SPECS: dict[str, Spec] = {
    "ball": Spec(ball, *MEASURES["ball"]),
    "cube": Spec(cube, *MEASURES["cube"], top=0.76, face=0.5),
    "cylinder": Spec(cylinder, *MEASURES["cylinder"], top=0.95),
    "cone": Spec(cone, *MEASURES["cone"]),
    "car": Spec(car, *MEASURES["car"]),
    "truck": Spec(truck, *MEASURES["truck"], top=1.06),
    "house": Spec(house, *MEASURES["house"], face=0.3),
    "tree": Spec(tree, *MEASURES["tree"]),
    "sailing boat": Spec(sailing_boat, *MEASURES["sailing boat"]),
    "rocket": Spec(rocket, *MEASURES["rocket"], face=0.4),
    "aeroplane": Spec(aeroplane, *MEASURES["aeroplane"]),
    "drone": Spec(drone, *MEASURES["drone"], face=0.6),
    "butterfly": Spec(butterfly, *MEASURES["butterfly"]),
    "fish": Spec(fish, *MEASURES["fish"]),
    "robot": Spec(robot, *MEASURES["robot"], face=FRONT),
    "snowman": Spec(snowman, *MEASURES["snowman"], face=FRONT),
    "lighthouse": Spec(lighthouse, *MEASURES["lighthouse"]),
    "coffee cup": Spec(coffee_cup, *MEASURES["coffee cup"]),
}
