"""Builds what stands around the stage (scenery.py) of bodies that are only seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tenku.world.parts import Kit
from tenku.world.scenery import Landmark


def _meadow(k: Kit, one: Landmark, light: str) -> None:
    x, y = one.x, one.y
    if one.kind:
        k.egg((x, y, 0.1), (0.35, 0.35, 0.22), (0.22, 0.48, 0.13))
        return
    (s,) = one.more
    k.can((x, y, 0), (x, y, 0.9 * s), 0.13 * s, (0.36, 0.24, 0.13))
    k.ball((x, y, 1.5 * s), 0.85 * s, (0.16, 0.42, 0.13))
    k.ball((x + 0.5 * s, y, 1.15 * s), 0.55 * s, (0.20, 0.46, 0.15))


def _desert(k: Kit, one: Landmark, light: str) -> None:
    x, y = one.x, one.y
    if one.kind == 0:
        k.egg((x, y, -0.2), (one.wide, 2.0, one.high), (0.90, 0.68, 0.38))
        return
    (s,), side, green = one.more, one.hand, (0.24, 0.46, 0.22)
    k.rod((x, y, 0), (x, y, 1.5 * s), 0.17 * s, green)
    k.rod((x, y, 0.65 * s), (x + 0.45 * s * side, y, 0.65 * s), 0.11 * s, green)
    k.rod((x + 0.45 * s * side, y, 0.65 * s), (x + 0.45 * s * side, y, 1.1 * s), 0.11 * s, green)


def _snow(k: Kit, one: Landmark, light: str) -> None:
    x, y = one.x, one.y
    if one.kind:
        k.egg((x, y, -0.05), (0.9, 0.7, 0.28), (0.90, 0.93, 0.97))
        return
    (s,) = one.more
    k.can((x, y, 0), (x, y, 0.5 * s), 0.12 * s, (0.30, 0.20, 0.12))
    k.cone(0.4 * s, 0.75 * s, 0, 1.1 * s, (0.12, 0.34, 0.24), x=x, y=y, sides=9)
    k.cone(1.0 * s, 0.52 * s, 0, 0.95 * s, (0.80, 0.87, 0.92), x=x, y=y, sides=9)


def _beach(k: Kit, one: Landmark, light: str) -> None:
    x, y = one.x, one.y
    if one.kind:
        k.box((0, y + 60, 0.0), (90, 60, 0.012), (0.10, 0.46, 0.64))
        k.box((0, y, 0.0), (90, 0.16, 0.018), (0.93, 0.96, 0.97))
        k.box((0, y + 1.6, 0.0), (90, 0.07, 0.018), (0.60, 0.80, 0.88))
        return
    lean, turn = one.more
    k.rod((x, y, 0), (x + lean * 0.4, y, 1.0), 0.10, (0.46, 0.32, 0.18))
    k.rod((x + lean * 0.4, y, 1.0), (x + lean, y, 1.9), 0.09, (0.46, 0.32, 0.18))
    for leaf in np.arange(5) * 2 * np.pi / 5 + turn:
        ux, uy = float(np.cos(leaf)), float(np.sin(leaf))
        k.egg((x + lean + 0.42 * ux, y + 0.42 * uy, 1.88), (0.50, 0.15, 0.05), (0.14, 0.46, 0.16),
              euler=(0.0, 0.45, float(leaf)))  # fmt: skip


def _open_sea(k: Kit, one: Landmark, light: str) -> None:
    k.egg((one.x, one.y, 0), (4.5, 2.5, 1.3), (0.30, 0.42, 0.30))
    k.egg((one.x + 2.2, one.y, 0), (2.8, 2.0, 2.0), (0.26, 0.38, 0.28))


def _city(k: Kit, one: Landmark, light: str) -> None:
    x, y = one.x, one.y
    if one.kind:
        k.can((x, y, 0), (x, y, 2.1), 0.06, (0.16, 0.18, 0.20))
        k.ball((x, y, 2.2), 0.20, (1.0, 0.92, 0.62), glow=0.9 if light == "night" else 0.25)
    else:
        (tall,) = one.more
        k.box((x, y, tall), (one.wide, 1.2, tall), one.rgb)


def _moon(k: Kit, one: Landmark, light: str) -> None:
    x, y = one.x, one.y
    if one.kind == 0:
        r = one.wide
        k.can((x, y, -0.02), (x, y, 0.012), r, (0.74, 0.74, 0.75))
        k.can((x, y, -0.02), (x, y, 0.020), r * 0.82, (0.30, 0.30, 0.32))
    elif one.kind == 1:
        s = one.wide
        k.egg((x, y, 0.1 * s), (s, s * 0.8, s * 0.7), (0.42, 0.42, 0.44))
    else:
        z, dim = 6.4, 0.55 if light == "fog" else 0.75
        k.ball((x, y, z), 2.0, (0.16, 0.40, 0.86), glow=dim)
        k.egg((x - 0.5, y - 0.9, z + 0.5), (1.1, 1.0, 0.55), (0.30, 0.60, 0.28), glow=dim)
        k.egg((x + 0.5, y - 1.1, z - 0.6), (1.0, 0.9, 0.35), (0.92, 0.95, 0.98), glow=dim)


def _reef(k: Kit, one: Landmark, light: str) -> None:
    x, y = one.x, one.y
    if one.kind == 0:
        s, *ends = one.more
        for lean, end in zip((-0.45, -0.1, 0.35), ends, strict=True):
            k.rod((x, y, 0), (x + lean * s, y, end), 0.11 * s, one.rgb)
    elif one.kind == 1:
        (s,) = one.more
        k.ball((x, y, 0.15 * s), 0.5 * s, one.rgb)
    elif one.kind == 2:
        tall = one.high
        k.rod((x, y, 0), (x + 0.12, y, tall * 0.5), 0.06, (0.16, 0.50, 0.28))
        k.rod((x + 0.12, y, tall * 0.5), (x - 0.05, y, tall), 0.05, (0.20, 0.56, 0.30))
    else:
        k.egg((x, y, 0), (0.9, 0.8, 0.5), (0.42, 0.44, 0.46))


_BUILT: dict[str, Callable[[Kit, Landmark, str], None]] = {
    "meadow": _meadow, "desert": _desert, "snow": _snow, "beach": _beach, "open sea": _open_sea,
    "city street": _city, "moon": _moon, "coral reef": _reef,
}  # fmt: skip


def build(k: Kit, place: str, light: str, around: list[Landmark]) -> None:
    """Adds what stands around the stage of a place."""
    if place == "city street":  # the pavement, and stripes on the road
        k.box((0, 5.6, 0), (60, 2.8, 0.012), (0.62, 0.61, 0.59))
        for i in range(-5, 6):
            k.box((i * 2.2 + 0.5, 2.0, 0), (0.6, 0.07, 0.010), (0.95, 0.93, 0.80))
    for one in around:
        _BUILT[place](k, one, light)
