"""How well the modes work: seams, paths of the camera, tracks, edits. `tenku eval modes`.

Every clip is the first take of its seed; none is left out. A finder of seams learns from all clips but one, real ones
among them, and is asked about that one; ordinary moments are those of the same generated clips that lie, as seams do,
between latent steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tenku.engines.bundled import Engine, load
from tenku.evaluation import seams
from tenku.evaluation.metrics import Figure, agreement, mean
from tenku.evaluation.probe import FIELDS, bundled, read
from tenku.evaluation.survey import Survey
from tenku.evaluation.truth import film
from tenku.inputs import Given, Track
from tenku.request import GROUP, Request
from tenku.sampling.control import axes
from tenku.sampling.generate import generate
from tenku.sampling.modes import name_of
from tenku.sampling.moves import dreamt
from tenku.types import Clip
from tenku.world import captions, grammar
from tenku.world.motion import CAMERA

Say = Callable[[str], None]
MOVES = ("pan left 20", "pan right 20", "orbit left 30", "orbit right 30", "dolly in 1.5", "dolly out 1.5",
         "crane up 1.5")
MOMENTS = 17  # of a clip at which its camera is looked for
COLOURS = ("red", "blue", "purple", "green")  # that no snow or moon holds


@dataclass(frozen=True)
class Settings:
    """What to measure with."""

    out: Path  # folder of modes.json
    model: str = "nano"
    clips: int = 12  # of each kind
    steps: int = Request.steps

    def request(self, words: dict[str, str], number: int, **more: Any) -> Request:
        """A request for the canonical sentence of some words."""
        return Request(captions.prompt(**words), seed=40_000 + number, steps=self.steps, model=self.model, **more)


def scene_of(number: int) -> grammar.Scene:
    """The n-th scene: fixed, drawn from the grammar, with a large thing."""
    return grammar.variant(grammar.draw(900_000_000 + number), size="large")


def words_of(number: int) -> dict[str, str]:
    """The words of the n-th scene: fixed, drawn from the grammar, with a camera that stands."""
    scene = scene_of(number)
    main = scene.things[0]
    return {"subject": main.subject, "colour": main.colour, "size": main.size,
            "action": "rests" if main.action == "is hit" else main.action, "place": scene.place, "light": scene.light,
            "camera": "static"}


def evaluate(settings: Settings, say: Say) -> dict[str, Any]:
    """All figures, as plain JSON values; also written to `modes.json`."""
    report: dict[str, Any] = {"model": load(settings.model).name, "clips": settings.clips, "steps": settings.steps}
    for name, measure in (("seams", seam_figures), ("camera", camera_figures), ("tracks", track_figures),
                          ("edits", edit_figures)):
        report[name] = measure(settings, say)
        settings.out.mkdir(parents=True, exist_ok=True)
        (settings.out / "modes.json").write_text(json.dumps(report, indent=1))
    return report


def seam_figures(settings: Settings, say: Say) -> dict[str, float]:
    """AUC of the seam finder for extend, blend and loop; 0.5 says that seams cannot be told.

    It also learns from the world's own pictures of the scenes. Raises UserError where worlds cannot be rendered.
    """
    real: list[np.ndarray] = []
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"extend": [], "blend": [], "loop": []}
    for n in range(settings.clips):
        say(f"seams {n + 1}/{settings.clips}")
        base = settings.request(words_of(n), n)
        made = [generate(request)[0] for request in (base, settings.request(words_of(n + 1000), n + 1000))]
        one, other = (result.clip for result in made)
        named = {name_of(result.clip): result for result in made}
        clips, shown = {k: r.clip for k, r in named.items()}, {k: r.record["shown"] for k, r in named.items()}
        first, second = (Given(name) for name in named)
        ordinary = _ordinary(one)
        real.append(_ordinary(film(scene_of(n))))
        for way in ("forwards", "backwards"):
            asked = replace(base, mode="extend", way=way, inputs=(first,), seconds=1.0)
            longer = generate(asked, clips=clips, shown=shown)[0].clip
            at = len(one.frames) if way == "forwards" else len(longer.frames) - len(one.frames)
            found["extend"].append((seams.features(longer.frames, at)[None], ordinary))
        asked = replace(base, mode="blend", way="transition", inputs=(first, second), seconds=1.0)
        whole = generate(asked, clips=clips, shown=shown)[0].clip
        ends = [len(one.frames), len(whole.frames) - len(other.frames)]
        found["blend"].append((np.stack([seams.features(whole.frames, t) for t in ends]), ordinary))
        ring = generate(replace(base, mode="loop"))[0].clip.frames
        half = len(ring) // 2 // GROUP * GROUP  # turned, so that the seam lies inside
        found["loop"].append((seams.features(np.roll(ring, half, 0), half)[None], ordinary))
    return {name: round(seams.finder(pairs, np.concatenate(real)), 3) for name, pairs in found.items()}


def _ordinary(clip: Clip) -> np.ndarray:
    """Features of the moments between latent steps of a clip."""
    return np.stack([seams.features(clip.frames, t) for t in seams.moments(clip.frames) if (t - 1) % GROUP == 0])


def camera_figures(settings: Settings, say: Say) -> dict[str, Any]:
    """How far the camera's path in the pictures is from the one asked for: by words alone, by words and path.

    Where the camera was is found by filming the told things in the world itself (survey.py); "truth" says how far off
    that is for the world's own pictures of the path. No clip is left out. Raises UserError where worlds cannot be
    rendered.
    """
    engine = load(settings.model)
    errors: dict[str, list[dict[str, float]]] = {"prompt": [], "path": [], "truth": []}
    for n in range(settings.clips):
        say(f"camera {n + 1}/{settings.clips}")
        asked = MOVES[n % len(MOVES)]
        words = words_of(n) | {"action": "rests"}
        if "rests" not in grammar.actions(words["subject"], words["place"]):
            words |= {"subject": "cube", "place": "meadow"}
        told = settings.request(words | {"camera": asked.rpartition(" ")[0]}, n)
        path = replace(told, camera=asked)
        wanted = told_motion(engine, path)
        scene = grammar.variant(grammar.draw(0), **words)
        scene = replace(scene, things=scene.things[:1], seed=told.seed)
        with Survey(scene, told.size.width, told.size.height) as survey:
            for kind, request in (("prompt", told), ("path", path)):
                frames = generate(request)[0].clip.frames
                found = survey.cameras(frames[_moments(len(frames))], told_motion(engine, request), wanted[0, :CAMERA])
                errors[kind].append(seams.path_errors(_poses(found), _poses(wanted)))
            found = survey.cameras(survey.film(wanted), wanted, wanted[0, :CAMERA])
            errors["truth"].append(seams.path_errors(_poses(found), _poses(wanted)))
    return {kind: {name: round(float(np.mean([e[name] for e in rows])), 4) for name in rows[0]}
            for kind, rows in errors.items()}


def told_motion(engine: Engine, request: Request) -> np.ndarray:
    """The motion that a request's painter is told at MOMENTS moments, in plain units (world/motion.py): M STATE."""
    rows = dreamt(engine, request)
    return rows[_moments(len(rows))]


def _moments(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, MOMENTS).round().astype(int)


def _poses(rows: np.ndarray) -> np.ndarray:
    poses = np.repeat(np.eye(4)[None], len(rows), 0)
    poses[:, :3, :3], poses[:, :3, 3] = axes(rows[:, :CAMERA]), rows[:, :3]
    return poses


def track_figures(settings: Settings, say: Say) -> dict[str, Any]:
    """How far, in pixels at 128, the thing's middle is from where it was led, by its colour on snow or moon."""
    away: list[float] = []
    unseen = 0
    for n in range(settings.clips):
        say(f"tracks {n + 1}/{settings.clips}")
        colour = COLOURS[n % len(COLOURS)]
        place = ("snow", "moon")[n // len(COLOURS) % 2]
        words = {"subject": "ball", "colour": colour, "size": "large", "action": "rests", "place": place,
                 "light": "day", "camera": "static"}
        y = 0.45 + 0.2 * (n % 3) / 2
        track = Track(((0, 0.25, y, 0), (2, 0.75, y, 0))) if n % 2 else Track(((0, 0.75, y, 0), (2, 0.25, y, 0)))
        clip = generate(settings.request(words, n, tracks=(track,), camera="static"))[0].clip
        width, height = clip.size
        for t, frame in enumerate(clip.frames):
            seen = seams.middle_of(frame, grammar.COLOURS[colour])
            unseen += seen is None
            if seen is not None:
                share = t / (len(clip.frames) - 1)
                x = (track.points[0][1] * (1 - share) + track.points[1][1] * share) * width
                away.append(float(np.hypot(seen[0] - x, seen[1] - y * height)) * 128 / width)
    frames = len(away) + unseen
    return {"pixels": _figure(mean(away)), "median": round(float(np.median(away)), 2) if away else None,
            "frames where nothing is seen": round(unseen / max(1, frames), 3)}


def edit_figures(settings: Settings, say: Say) -> dict[str, Any]:
    """Of edits of one attribute each: whether the probe sees the asked one, and what it saw before in all others."""
    probe, _ = bundled()
    asked: list[list[bool]] = []
    kept: list[list[bool]] = []
    for n in range(settings.clips):
        say(f"edits {n + 1}/{settings.clips}")
        words = words_of(n)
        field = ("place", "light", "colour")[n % 3]
        options = {"place": [p for p in grammar.PLACES if words["action"] in grammar.actions(words["subject"], p)],
                   "light": list(grammar.LIGHTS), "colour": list(grammar.COLOURS)}[field]
        others = [option for option in options if option != words[field]] or [words[field]]
        changed = words | {field: others[n % len(others)]}
        base = settings.request(words, n)
        result = generate(base)[0]
        clip, name = result.clip, name_of(result.clip)
        edit = replace(settings.request(changed, n), mode="edit", inputs=(Given(name),))
        made = generate(edit, clips={name: clip}, shown={name: result.record["shown"]})[0].clip
        before, after = read(probe, [clip, made])
        asked.append([after[field][0] == changed[field]])
        kept.append([before[f][0] == after[f][0] for f in FIELDS if f != field])
    return {"asked": _figure(agreement(asked)), "kept": _figure(agreement(kept))}


def _figure(figure: Figure | None) -> dict[str, float | int] | None:
    return None if figure is None else figure.to_json()


def table(report: dict[str, Any]) -> str:
    """The figures as lines of text."""
    lines = [f"{report['model']}, {report['clips']} of each, {report['steps']} steps"]
    lines += [f"seam finder, {name}: AUC {value:.2f}" for name, value in report["seams"].items()]
    for kind, values in report["camera"].items():
        lines.append(f"camera by {kind}: " + ", ".join(f"{name} {value:g}" for name, value in values.items()))
    tracks = report["tracks"]
    lines.append(f"tracks: {tracks['median']} pixels off (median), nothing seen in "
                 f"{100 * tracks['frames where nothing is seen']:.0f} % of frames")
    lines.append(f"edits: asked {_share(report['edits']['asked'])}, kept {_share(report['edits']['kept'])}")
    return "\n".join(lines)


def _share(figure: dict[str, float] | None) -> str:
    if figure is None:
        return "-"
    value, low, high = (100 * figure[name] for name in ("value", "low", "high"))
    return f"{value:.0f} % ({low:.0f}-{high:.0f})"
