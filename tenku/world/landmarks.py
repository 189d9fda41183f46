"""What stands around the stage in each place: trees, dunes, palms, towers, craters, corals.

Landmarks stand on an arc beyond the stage, where neither an orbiting nor a dollying camera passes, and nothing
on the stage (about four metres wide) can run into them: they are only seen.
"""

from __future__ import annotations

import numpy as np

from tenku.world.parts import Kit


def _arc(
    rng: np.random.Generator, count: int, near: float, far: float, spread: float = 1.15
) -> list[tuple[float, float]]:
    """Places on an arc beyond the stage: spread evenly in angle with jitter, between two distances."""
    slots = (np.arange(count) + rng.uniform(0.15, 0.85, count)) / count * 2 - 1
    distances = rng.uniform(near, far, count)
    return [
        (float(np.sin(a * spread) * r), float(np.cos(a * spread) * r)) for a, r in zip(slots, distances, strict=True)
    ]


def _meadow(k: Kit, rng: np.random.Generator, light: str) -> None:
    for x, y in _arc(rng, 5, 7.0, 12.0):
        s = float(rng.uniform(0.9, 1.4))
        k.can((x, y, 0), (x, y, 0.9 * s), 0.13 * s, (0.36, 0.24, 0.13))
        k.ball((x, y, 1.5 * s), 0.85 * s, (0.16, 0.42, 0.13))
        k.ball((x + 0.5 * s, y, 1.15 * s), 0.55 * s, (0.20, 0.46, 0.15))
    for x, y in _arc(rng, 6, 3.6, 6.5):
        k.egg((x, y, 0.1), (0.35, 0.35, 0.22), (0.22, 0.48, 0.13))


def _desert(k: Kit, rng: np.random.Generator, light: str) -> None:
    for x, y in _arc(rng, 4, 9.0, 16.0):
        k.egg((x, y, -0.2), (float(rng.uniform(3, 5)), 2.0, float(rng.uniform(0.9, 1.5))), (0.90, 0.68, 0.38))
    for x, y in _arc(rng, 4, 5.2, 9.0):
        s = float(rng.uniform(0.9, 1.3))
        green = (0.24, 0.46, 0.22)
        side = 1.0 if rng.random() < 0.5 else -1.0
        k.rod((x, y, 0), (x, y, 1.5 * s), 0.17 * s, green)
        k.rod((x, y, 0.65 * s), (x + 0.45 * s * side, y, 0.65 * s), 0.11 * s, green)
        k.rod((x + 0.45 * s * side, y, 0.65 * s), (x + 0.45 * s * side, y, 1.1 * s), 0.11 * s, green)


def _snow(k: Kit, rng: np.random.Generator, light: str) -> None:
    for x, y in _arc(rng, 6, 5.5, 11.0):
        s = float(rng.uniform(0.9, 1.5))
        k.can((x, y, 0), (x, y, 0.5 * s), 0.12 * s, (0.30, 0.20, 0.12))
        k.cone(0.4 * s, 0.75 * s, 0, 1.1 * s, (0.12, 0.34, 0.24), x=x, y=y, sides=9)
        k.cone(1.0 * s, 0.52 * s, 0, 0.95 * s, (0.80, 0.87, 0.92), x=x, y=y, sides=9)
    for x, y in _arc(rng, 4, 4.0, 8.0):
        k.egg((x, y, -0.05), (0.9, 0.7, 0.28), (0.90, 0.93, 0.97))


def _beach(k: Kit, rng: np.random.Generator, light: str) -> None:
    edge = float(rng.uniform(4.6, 5.6))
    k.box((0, edge + 60, 0.0), (90, 60, 0.012), (0.10, 0.46, 0.64))
    k.box((0, edge, 0.0), (90, 0.16, 0.018), (0.93, 0.96, 0.97))
    k.box((0, edge + 1.6, 0.0), (90, 0.07, 0.018), (0.60, 0.80, 0.88))
    side = 1.0 if rng.random() < 0.5 else -1.0
    for turn, r in ((0.50, 5.4), (-0.62, 6.2), (0.95, 6.5)):
        a = turn * side + float(rng.uniform(-0.08, 0.08))
        x, y = float(np.sin(a) * r), float(np.cos(a) * r * 0.8)
        lean = float(rng.uniform(-0.3, 0.3))
        k.rod((x, y, 0), (x + lean * 0.4, y, 1.0), 0.10, (0.46, 0.32, 0.18))
        k.rod((x + lean * 0.4, y, 1.0), (x + lean, y, 1.9), 0.09, (0.46, 0.32, 0.18))
        for leaf in np.arange(5) * 2 * np.pi / 5 + float(rng.uniform(0, 1)):
            ux, uy = float(np.cos(leaf)), float(np.sin(leaf))
            k.egg((x + lean + 0.42 * ux, y + 0.42 * uy, 1.88), (0.50, 0.15, 0.05), (0.14, 0.46, 0.16),
                  euler=(0.0, 0.45, float(leaf)))  # fmt: skip


def _open_sea(k: Kit, rng: np.random.Generator, light: str) -> None:
    """The swell is added by the stage, since it moves; here only a far island."""
    a = float(rng.uniform(-0.5, 0.5))
    x, y = float(np.sin(a) * 26), float(np.cos(a) * 26)
    k.egg((x, y, 0), (4.5, 2.5, 1.3), (0.30, 0.42, 0.30))
    k.egg((x + 2.2, y, 0), (2.8, 2.0, 2.0), (0.26, 0.38, 0.28))


def _city(k: Kit, rng: np.random.Generator, light: str) -> None:
    k.box((0, 5.6, 0), (60, 2.8, 0.012), (0.62, 0.61, 0.59))
    for i in range(-5, 6):
        k.box((i * 2.2 + 0.5, 2.0, 0), (0.6, 0.07, 0.010), (0.95, 0.93, 0.80))
    palette = ((0.72, 0.50, 0.42), (0.78, 0.72, 0.60), (0.56, 0.60, 0.68), (0.66, 0.64, 0.62), (0.80, 0.62, 0.46))
    x = -13.0 + float(rng.uniform(-1, 0))
    while x < 13:
        wide = float(rng.uniform(1.2, 2.1))
        tall = float(rng.uniform(1.6, 4.6))
        rgb = palette[int(rng.integers(len(palette)))]
        k.box((x + wide, 9.2 + float(rng.uniform(0, 0.8)), tall), (wide, 1.2, tall), rgb)
        x += 2 * wide + float(rng.uniform(0.1, 0.7))
    for lx in (-3.4 + float(rng.uniform(-0.5, 0.5)), 3.6 + float(rng.uniform(-0.5, 0.5))):
        k.can((lx, 3.4, 0), (lx, 3.4, 2.1), 0.06, (0.16, 0.18, 0.20))
        k.ball((lx, 3.4, 2.2), 0.20, (1.0, 0.92, 0.62), glow=0.9 if light == "night" else 0.25)


def _moon(k: Kit, rng: np.random.Generator, light: str) -> None:
    for x, y in _arc(rng, 7, 3.4, 12.0):
        r = float(rng.uniform(0.6, 1.5))
        k.can((x, y, -0.02), (x, y, 0.012), r, (0.74, 0.74, 0.75))
        k.can((x, y, -0.02), (x, y, 0.020), r * 0.82, (0.30, 0.30, 0.32))
    for x, y in _arc(rng, 5, 5.0, 10.0):
        s = float(rng.uniform(0.25, 0.6))
        k.egg((x, y, 0.1 * s), (s, s * 0.8, s * 0.7), (0.42, 0.42, 0.44))
    a = float(rng.uniform(0.12, 0.42)) * (1 if rng.random() < 0.5 else -1)
    x, y, z = float(np.sin(a) * 34), float(np.cos(a) * 34), 6.4
    dim = 0.55 if light == "fog" else 0.75
    k.ball((x, y, z), 2.0, (0.16, 0.40, 0.86), glow=dim)
    k.egg((x - 0.5, y - 0.9, z + 0.5), (1.1, 1.0, 0.55), (0.30, 0.60, 0.28), glow=dim)
    k.egg((x + 0.5, y - 1.1, z - 0.6), (1.0, 0.9, 0.35), (0.92, 0.95, 0.98), glow=dim)


def _reef(k: Kit, rng: np.random.Generator, light: str) -> None:
    palette = ((0.95, 0.42, 0.45), (0.98, 0.62, 0.25), (0.72, 0.35, 0.75), (0.95, 0.80, 0.35), (0.95, 0.55, 0.70))
    for x, y in _arc(rng, 6, 3.4, 6.5, 1.0):
        s, rgb = float(rng.uniform(0.7, 1.25)), palette[int(rng.integers(len(palette)))]
        if rng.random() < 0.6:
            for lean in (-0.45, -0.1, 0.35):
                k.rod((x, y, 0), (x + lean * s, y, float(rng.uniform(0.6, 1.0)) * s), 0.11 * s, rgb)
        else:
            k.ball((x, y, 0.15 * s), 0.5 * s, rgb)
    for x, y in _arc(rng, 4, 3.8, 7.0, 0.9):
        tall = float(rng.uniform(1.2, 2.2))
        k.rod((x, y, 0), (x + 0.12, y, tall * 0.5), 0.06, (0.16, 0.50, 0.28))
        k.rod((x + 0.12, y, tall * 0.5), (x - 0.05, y, tall), 0.05, (0.20, 0.56, 0.30))
    for x, y in _arc(rng, 3, 4.5, 8.0):
        k.egg((x, y, 0), (0.9, 0.8, 0.5), (0.42, 0.44, 0.46))


LANDMARKS = {
    "meadow": _meadow,
    "desert": _desert,
    "snow": _snow,
    "beach": _beach,
    "open sea": _open_sea,
    "city street": _city,
    "moon": _moon,
    "coral reef": _reef,
}
