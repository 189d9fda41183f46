"""How physical the dreamt motion is, beside the simulated truth of the same scenes. `tenku eval physics`.

A clip's pictures are drawn from its motion, so laws of motion are measured on that, and nothing is painted; how far
pictures are off it is for `tenku eval modes` (tracks, camera). Truth is simulated and goes through the same sampling in
time. What a thing is, its colour and its size are no part of the motion: words say them once for the whole clip.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenku.engines.bundled import Engine, load
from tenku.errors import UserError
from tenku.evaluation.bench.page import bars
from tenku.evaluation.figures import grid, html, paths, said
from tenku.evaluation.mechanics import Bodies, measure, place_of
from tenku.evaluation.metrics import Figure, mean, wilson
from tenku.evaluation.truth import FPS, FRAMES, HEIGHT, WIDTH
from tenku.model.motion import PARTS
from tenku.request import Request
from tenku.rng import stream
from tenku.sampling.control import samples_of
from tenku.sampling.moves import dreamt
from tenku.types import Size
from tenku.world import captions, grammar, mentions
from tenku.world.grammar import MOVES, Relation, Scene
from tenku.world.motion import states

Say = Callable[[str], None]
SEED = 720_000_000  # scenes are drawn from here on, and nobody trains on them
KINDS: tuple[tuple[str, ...], ...] = (("bounces",), MOVES, ("jumps",), ("swings",), ("rests",), ("flies across",),
                                      ("topples",), ("spins",))  # of prompts, in turn
SHARES = ("deed", "relation")
WORDS = {
    "fall": "acceleration in free flight, of the place's gravity", "gravity": "error of it",
    "energy": "energy gained in flight or on a rope, of that at first", "speed": "unsteadiness of a steady way",
    "turning": "unsteadiness of a steady turn",
    "rest": "way of what rests, m", "rope": "unsteadiness of a rope's length, m",
    "ground": "deepest in the ground, m", "others": "deepest in another thing, m",
    "deed": "does what was said", "relation": "stands as was said",
}


@dataclass(frozen=True)
class Settings:
    """What to measure with."""

    out: Path  # folder of physics.json and index.html
    model: str = "nano"
    takes: int = 4  # of each prompt
    limit: int = 100  # prompts
    steps: int = Request.steps

    def __post_init__(self) -> None:
        if min(self.takes, self.limit) < 1:
            raise UserError("seeds and limit are at least 1", "tenku eval --help")


@dataclass(frozen=True)
class Case:
    """A scene that does what it says, the words for it, and its true motion."""

    scene: Scene  # with those relations alone that the words say
    text: str
    rows: np.ndarray  # M STATE


def cases(codec: Any) -> Iterator[Case]:
    """Scenes without end, of each kind in turn; every second round of kinds has company. Fixed, and seen by nobody.

    Their words are a caption of the truth. Scenes whose main thing is not seen to do its deed, or whose words do not
    name each thing in turn, are passed over.
    """
    for number in count():
        kinds, company = KINDS[number % len(KINDS)], number // len(KINDS) % 2 > 0
        draw, case = stream(SEED, "physics", number), None
        while case is None:
            case = _case(draw, kinds, company, codec)
        yield case


def _case(draw: np.random.Generator, kinds: Sequence[str], company: bool, codec: Any) -> Case | None:
    scene = grammar.draw(SEED + int(draw.integers(10_000_000)), "any")
    main = scene.things[0]
    wild = main.action == "flies across" and main.subject != "ball"  # on a path, not thrown
    if main.action not in kinds or wild or (len(scene.things) > 1) != company or scene.place == "open sea":
        return None
    try:
        from tenku.world.simulate import Format, facts_of
    except ImportError:
        raise UserError("truth cannot be simulated: MuJoCo is missing", "pip install 'tenku[world]'") from None
    facts = facts_of(scene, Format(WIDTH, HEIGHT, FRAMES, FPS))
    text = captions.caption(facts, "everything", stream(scene.seed, "physics"))
    named = [(one.subject, one.colour) for one in mentions.things(text)]
    if main.action not in facts["things"][0]["done"] or named != [(t.subject, t.colour) for t in scene.things]:
        return None
    said = tuple(Relation(**one) for one in facts["relations"] if one["a"] == 0)
    rows = codec.steps(torch.from_numpy(states(facts))[None], PARTS).flatten(2)
    return Case(replace(scene, relations=said), text, samples_of(rows)[PARTS - 1 :])


def evaluate(settings: Settings, say: Say) -> dict[str, Any]:
    """All figures, as plain JSON values; also written to `physics.json`, with a page that shows them."""
    engine = load(settings.model)
    if not isinstance(engine, Engine) or engine.motion is None:
        raise UserError(f"{settings.model} knows nothing of motion", "measure a model that has motion.safetensors")
    each: dict[str, list[list[dict[str, float]]]] = {"dreamt": [], "truth": []}
    curves: list[dict[str, Any]] = []
    seconds: list[float] = []
    for number, case in enumerate(islice(cases(engine.codec), settings.limit)):
        say(f"physics {number + 1}/{settings.limit}")
        bodies = Bodies(case.scene, (FRAMES - 1) / FPS, WIDTH / HEIGHT, FPS)
        every = (FRAMES - 1) / FPS / (len(case.rows) - 1)
        takes = []
        for take in range(settings.takes):
            request = Request(case.text, size=Size(WIDTH, HEIGHT), seconds=2.0, fps=FPS, seed=10_000 * take + number,
                              steps=settings.steps, model=settings.model)
            began = time.process_time()
            takes.append(dreamt(engine, request))
            seconds.append(time.process_time() - began)
        each["dreamt"].append([measure(bodies, rows, every) for rows in takes])
        each["truth"].append([measure(bodies, case.rows, every)])
        if number < 2 * len(KINDS):
            curves.append({"text": case.text, "every": every, "truth": _height(case.rows),
                           "dreamt": [_height(rows) for rows in takes]})
    report: dict[str, Any] = {
        "model": engine.name, "weights_sha256": engine.weights_sha256, "prompts": settings.limit,
        "takes": settings.takes, "steps": settings.steps, "seconds_per_clip": round(float(np.median(seconds)), 3),
        "figures": {name: {of: figure(name, rows) for of, rows in each.items()} for name in WORDS},
        "heights": curves,
    }
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / "physics.json").write_text(json.dumps(report, indent=1))
    (settings.out / "index.html").write_text(page(report))
    return report


def _height(rows: np.ndarray) -> list[float]:
    return [round(float(z), 3) for z in place_of(rows, 0)[:, 2]]


def figure(name: str, prompts: Sequence[Sequence[dict[str, float]]]) -> dict[str, float | int] | None:
    """Mean and interval of a measure over prompts, of their takes that have it; None where there are none."""
    found = [[take[name] for take in takes if name in take] for takes in prompts]
    found = [takes for takes in found if takes]
    one = mean([float(np.mean(takes)) for takes in found])
    if one is not None and name in SHARES:
        one = Figure(one.value, *wilson(one.value, one.count), one.count)
    return None if one is None else one.to_json()


def rows_of(report: dict[str, Any]) -> list[list[str]]:
    """The figures as rows of text, the heading first."""
    found = [["", "dreamt", "simulated truth", "prompts"]]
    for name, words in WORDS.items():
        one = report["figures"][name]
        prompts = max((figure["count"] for figure in one.values() if figure), default=0)
        found.append([words, said(one["dreamt"]), said(one["truth"]), str(prompts)])
    return found


def table(report: dict[str, Any]) -> str:
    """The figures as lines of text."""
    return "\n".join([_about(report), grid(rows_of(report))])


def _about(report: dict[str, Any]) -> str:
    return (f"{report['model']}, {report['prompts']} prompts, {report['takes']} seeds each, {report['steps']} steps; "
            f"{report['seconds_per_clip']:g} s of processor time a motion; means over prompts, 95 % intervals")


def page(report: dict[str, Any]) -> str:
    """The page's HTML: the table, a plot of each figure, and how high the main things of some scenes are over time."""
    body = [("Dreamt motion, and the truth of the same scenes", "", rows_of(report))]
    for name, words in WORDS.items():
        shown = {of: one for of, one in report["figures"][name].items() if one}
        body.append((words, bars(shown, words) if shown else "", []))
    for case in report["heights"]:
        lines = {"truth": case["truth"], **{f"seed {i + 1}": one for i, one in enumerate(case["dreamt"])}}
        drawn = {of: [(case["every"] * i, z) for i, z in enumerate(line)] for of, line in lines.items()}
        body.append((case["text"], paths(drawn, "metres above the ground", "seconds"), []))
    return html("What dreamt motion obeys", _about(report), body)
