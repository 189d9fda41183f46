"""Building blocks of bodies: parts in unit size that become MuJoCo geoms.

A `Kit` collects parts in the subject's own axes: x is its front, z up, the ground at z = 0, about one metre tall.
Visible parts never collide; `solid` parts collide and are never seen, so contacts stay few and shapes rich.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

RGB = tuple[float, float, float]
Vec = tuple[float, float, float]
G = mujoco.mjtGeom
SOLID_GROUP = 3  # geoms of this group are hidden from the camera and from visibility rays


@dataclass
class Part:
    """One geom: `kind` is a MuJoCo primitive or a mesh given by its vertices and faces."""

    kind: Any
    size: Vec
    pos: Vec
    rgb: RGB
    solid: bool = False
    fromto: tuple[float, ...] | None = None  # capsules and cylinders by their ends
    euler: Vec | None = None  # radians, x then y then z, fixed axes
    vertices: np.ndarray | None = None  # V 3
    faces: np.ndarray | None = None  # F 3
    glow: float = 0.0  # 0..1, light of its own


@dataclass
class Flap:
    """A piece that turns on a hinge by itself: wings and tails."""

    pivot: Vec
    axis: Vec
    amplitude: float  # radians
    offset: float  # radians
    frequency: float  # Hz
    parts: list[Part]


@dataclass
class Kit:
    """Collects the parts of a body."""

    parts: list[Part] = field(default_factory=list)
    flaps: list[Flap] = field(default_factory=list)

    def box(self, pos: Vec, half: Vec, rgb: RGB = (1, 1, 1), **more: Any) -> None:
        """A box by its centre and half extents."""
        self.parts.append(Part(G.mjGEOM_BOX, half, pos, rgb, **more))

    def ball(self, pos: Vec, radius: float, rgb: RGB = (1, 1, 1), **more: Any) -> None:
        """A sphere by its centre."""
        self.parts.append(Part(G.mjGEOM_SPHERE, (radius, 0, 0), pos, rgb, **more))

    def egg(self, pos: Vec, radii: Vec, rgb: RGB = (1, 1, 1), **more: Any) -> None:
        """An ellipsoid."""
        self.parts.append(Part(G.mjGEOM_ELLIPSOID, radii, pos, rgb, **more))

    def rod(self, a: Vec, b: Vec, radius: float, rgb: RGB = (1, 1, 1), **more: Any) -> None:
        """A capsule from a to b."""
        self.parts.append(Part(G.mjGEOM_CAPSULE, (radius, 0, 0), a, rgb, fromto=(*a, *b), **more))

    def can(self, a: Vec, b: Vec, radius: float, rgb: RGB = (1, 1, 1), **more: Any) -> None:
        """A cylinder from a to b."""
        self.parts.append(Part(G.mjGEOM_CYLINDER, (radius, 0, 0), a, rgb, fromto=(*a, *b), **more))

    def mesh(self, vertices: Any, faces: Any, rgb: RGB = (1, 1, 1), **more: Any) -> None:
        """A convex body: vertices [V, 3], faces [F, 3] counter-clockwise from outside."""
        v = np.asarray(vertices, dtype=np.float64)
        self.parts.append(Part(G.mjGEOM_MESH, (0, 0, 0), (0, 0, 0), rgb, vertices=v, faces=np.asarray(faces), **more))

    def cone(self, z: float, low: float, high: float, height: float, rgb: RGB = (1, 1, 1),
             x: float = 0.0, y: float = 0.0, sides: int = 14, **more: Any) -> None:  # fmt: skip
        """An upright frustum from radius `low` at z to radius `high` at z + height (0 makes a cone)."""
        turn = np.arange(sides) * 2 * np.pi / sides
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        foot = np.column_stack([ring * low + (x, y), np.full(sides, z)])
        k = np.arange(sides)
        n = (k + 1) % sides
        if high > 0:
            top = np.column_stack([ring * high + (x, y), np.full(sides, z + height)])
            ends = np.array([[x, y, z], [x, y, z + height]])
            vertices = np.concatenate([foot, top, ends])
            faces = [*zip(k, n, n + sides, strict=True), *zip(k, n + sides, k + sides, strict=True),
                     *zip(n, k, k * 0 + 2 * sides, strict=True),
                     *zip(k + sides, n + sides, k * 0 + 2 * sides + 1, strict=True)]  # fmt: skip
        else:
            vertices = np.concatenate([foot, [[x, y, z], [x, y, z + height]]])
            faces = [*zip(k, n, k * 0 + sides + 1, strict=True), *zip(n, k, k * 0 + sides, strict=True)]
        self.mesh(vertices, faces, rgb, **more)

    def prism(self, outline: Sequence[tuple[float, float]], y: float, half: float, rgb: RGB = (1, 1, 1),
              **more: Any) -> None:  # fmt: skip
        """A convex outline in x and z (counter-clockwise seen from -y), from y - half to y + half."""
        n = len(outline)
        near = [(px, y - half, pz) for px, pz in outline]
        far = [(px, y + half, pz) for px, pz in outline]
        faces = [(0, i, i + 1) for i in range(1, n - 1)] + [(n, n + i + 1, n + i) for i in range(1, n - 1)]
        for i in range(n):
            j = (i + 1) % n
            faces += [(i, n + i, n + j), (i, n + j, j)]
        self.mesh(near + far, faces, rgb, **more)

    def flap(self, pivot: Vec, axis: Vec, amplitude: float, offset: float, frequency: float, wing: Kit) -> None:
        """A hinged piece; the wing's parts are given relative to the pivot."""
        self.flaps.append(Flap(pivot, axis, amplitude, offset, frequency, wing.parts))


def attach(spec: Any, body: Any, part: Part, scale: float, drop: float, mesh_name: str, **geom: Any) -> Any:
    """Adds a part to a MuJoCo body, scaled, and lowered by `drop` metres. Returns the geom."""
    shift = np.array([0.0, 0.0, -drop])
    arguments: dict[str, Any] = {"type": part.kind, "rgba": (*part.rgb, 1.0), **geom}
    if part.fromto is not None:
        a, b = np.array(part.fromto[:3]) * scale + shift, np.array(part.fromto[3:]) * scale + shift
        arguments["fromto"] = np.concatenate([a, b])
        arguments["size"] = [part.size[0] * scale, 0, 0]
    elif part.vertices is not None:
        assert part.faces is not None
        mesh = spec.add_mesh(name=mesh_name)
        mesh.uservert = (part.vertices * scale + shift).astype(np.float32).ravel()
        mesh.userface = part.faces.astype(np.int32).ravel()
        arguments["meshname"] = mesh_name
    else:
        arguments["pos"] = np.array(part.pos) * scale + shift
        arguments["size"] = np.array(part.size) * scale
        if part.euler is not None:
            arguments["quat"] = euler_quat(part.euler)
    if part.glow:
        material = spec.add_material(name=f"{mesh_name}_glow", emission=part.glow, rgba=(*part.rgb, 1.0))
        arguments["material"] = material.name
    return body.add_geom(**arguments)


def euler_quat(euler: Sequence[float]) -> np.ndarray:
    """Quaternion (w x y z) of rotations about the fixed axes x, then y, then z (radians)."""
    quat = np.array([1.0, 0, 0, 0])
    for axis, angle in enumerate(euler):
        turn = np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, np.eye(3)[axis], angle)
        product = np.zeros(4)
        mujoco.mju_mulQuat(product, turn, quat)
        quat = product
    return quat
