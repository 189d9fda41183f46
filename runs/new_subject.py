"""A subject that the world does not know, a horse of a dozen simple shapes: its clips, a probe that knows it, and what
a model makes of it before and after it was taught. runs/new_subject.sh calls all of it.

Run: python runs/new_subject.py clips DIR | probe FILE | measure DIR PROBE ADAPTER | picture FILE ADAPTER
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tenku.rng import stream
from tenku.world import captions, grammar
from tenku.world import newcomers as world
from tenku.world.newcomers import Newcomer, Recipe, make
from tenku.world.parts import RGB, Kit

COUNT = {name: int(os.environ.get(name, count)) for name, count in (  # tests run it on less
    ("CLIPS", 96), ("LEARN", 160), ("UNSEEN", 50), ("NEW", 60), ("OLD", 100))}
FIELDS = ("subject", "colour", "place", "light", "action", "camera")
DARK: RGB = (0.10, 0.10, 0.12)
HORSE = Newcomer("horse", like="coffee cup", measures=(1.22, 1.34, 0.36))


def horse(k: Kit, c: RGB) -> None:
    """The named colour all over, with dark hooves, mane, eyes and tail. Front is +x, the ground z = 0."""
    k.egg((-0.05, 0, 0.66), (0.46, 0.17, 0.19), c)
    k.rod((0.26, 0, 0.72), (0.46, 0, 1.04), 0.10, c)
    k.egg((0.54, 0, 1.05), (0.17, 0.08, 0.09), c)
    for y in (-0.10, 0.10):
        for x in (-0.34, 0.24):
            k.rod((x, y, 0.60), (x, y, 0.12), 0.055, c)
            k.can((x, y, 0.0), (x, y, 0.10), 0.07, DARK)
        k.rod((0.44, y / 2, 1.12), (0.43, y / 2, 1.20), 0.025, c)
        k.ball((0.55, 0.76 * y, 1.08), 0.022, DARK)
    k.rod((0.20, 0, 0.86), (0.38, 0, 1.13), 0.05, DARK)
    k.rod((-0.49, 0, 0.72), (-0.62, 0, 0.36), 0.05, DARK)
    k.box((0, 0, 0.45), (0.40, 0.17, 0.45), solid=True)
    k.rod((0.26, 0, 0.80), (0.54, 0, 1.05), 0.10, solid=True)


def nobody(k: Kit, c: RGB) -> None:
    """What is there where nothing is to be seen."""
    k.ball((0, 0, 0.5), 0.001, c)
    k.box((0, 0, 0.45), (0.40, 0.17, 0.45), solid=True)


def clips(folder: Path) -> None:
    """What it is taught with."""
    make(Recipe(HORSE, horse, seed=0, clips=COUNT["CLIPS"]), folder)


def truth(seed: int, count: int) -> Iterator[tuple[bool, Any]]:
    """Rendered clips that nobody learns from but the probe: of the newcomer, twice as many of others, half as many of
    nobody."""
    from tenku.evaluation.truth import FPS, FRAMES, HEIGHT, WIDTH, film
    from tenku.training.examples import unambiguous
    from tenku.world.simulate import Format

    for number in range(count):
        drawn = world.scene(HORSE, int(stream(seed, "truth", number).integers(2**48)))
        yield True, world.render(HORSE, horse, drawn, Format(WIDTH, HEIGHT, FRAMES, FPS)).clip
        if number % 2:
            yield False, world.render(HORSE, nobody, drawn, Format(WIDTH, HEIGHT, FRAMES, FPS)).clip
    found = 0
    for number in range(200 * count):
        scene = grammar.draw(int(stream(seed, "others", number).integers(2**48)), "any")
        if unambiguous(scene):
            yield False, film(scene)
            found += 1
        if found == 2 * count:
            return


def probe(path: Path) -> None:
    """Teaches the probe the newcomer, and measures it on truth that it has not seen."""
    from tenku.engines.loading import load
    from tenku.evaluation import recognising
    from tenku.evaluation.probe import bundled
    from tenku.evaluation.truth import through
    from tenku.training.examples import seen_through

    known, codec = bundled()[0], load("nano").codec
    seen: dict[bool, list[Any]] = {True: [], False: []}
    for new, clip in truth(1, COUNT["LEARN"]):
        seen[new] += [recognising.look(known, one) for one in (clip, through(codec, clip), seen_through(codec, clip))]
    found = recognising.learn(known, HORSE.name, seen[True], seen[False])
    unseen: dict[bool, list[Any]] = {True: [], False: []}
    for new, clip in truth(2, COUNT["UNSEEN"]):
        unseen[new].append(clip)
    coded = {new: [through(codec, clip) for clip in some] for new, some in unseen.items()}
    floors = {"plain": recognising.floor(found, unseen[True], unseen[False]),
              "through the codec": recognising.floor(found, coded[True], coded[False])}
    found.save(path, {"floor": json.dumps(floors)})
    print("the probe on unseen truth:", json.dumps(floors))


def prompts() -> Iterator[tuple[str, str, dict[str, str]]]:
    """What is asked for: new or old, the words, and what is to be seen."""
    from tenku.evaluation import prompts as fixed
    from tenku.evaluation.probe import expected

    for number in range(COUNT["NEW"]):
        scene = world.scene(HORSE, int(stream(3, "prompt", number).integers(2**48)))
        main = scene.things[0]
        wanted = {**expected(scene), "subject": HORSE.name}
        yield "new", captions.prompt(HORSE.name, main.colour, main.size, main.action, scene.place, scene.light,
                                     scene.camera), wanted
    for prompt in fixed.load()[: COUNT["OLD"]]:
        yield "old", prompt.text, expected(prompt.scene)


def measure(out: Path, known: Path, adapter: Path) -> None:
    """Makes a clip of each prompt before and after, and reads it; goes on where it was stopped. Says what changed."""
    from tenku.evaluation.probe import bundled
    from tenku.evaluation.recognising import Recogniser
    from tenku.sampling.generate import generate

    reader = Recogniser.load(bundled()[0], known)
    path = out / "measured.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["when"], row["number"]) for row in rows}
    for when, lora in (("before", []), ("after", [str(adapter)])):
        for number, (kind, text, wanted) in enumerate(prompts()):
            if (when, number) in done:
                continue
            read = reader.read(generate(prompt=text, seed=number, lora=lora)[0].clip)
            row = {"when": when, "number": number, "kind": kind, "said": read["subject"],
                   "right": {field: read[field] == wanted[field] for field in FIELDS}}
            rows.append(row)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
    report(rows)


def picture(path: Path, adapter: Path) -> None:
    """The first takes of the first six prompts, side by side, sealed like all that is made."""
    import numpy as np

    from tenku.provenance.seal import Model, seal
    from tenku.sampling.generate import generate
    from tenku.types import Clip

    made = [generate(prompt=text, seed=number, lora=[str(adapter)])[0]
            for number, (_, text, _) in zip(range(6), prompts(), strict=False)]
    rows = [np.concatenate([one.clip.frames for one in made[i : i + 3]], 2) for i in (0, 3)]
    about = {"clips": [{**one.record, "shown": None} for one in made]}
    seal(Clip(np.concatenate(rows, 1)[::2], 8.0), about, path,
         model=Model(made[0].model, made[0].weights_sha256, made[0].ledgers))


def share(rows: list[dict[str, Any]], of: Callable[[dict[str, Any]], bool]) -> float:
    """Percent of rows."""
    return 100 * sum(map(of, rows)) / max(1, len(rows))


def report(rows: list[dict[str, Any]]) -> None:
    """The figures, and exit code 1 where they are not what they should be."""
    parts = {(when, kind): [row for row in rows if (row["when"], row["kind"]) == (when, kind)]
             for when in ("before", "after") for kind in ("new", "old")}
    named = {key: share(some, lambda row: row["said"] == HORSE.name) for key, some in parts.items()}
    for kind, asked in (("new", "a horse"), ("old", "others")):
        print(f"asked for {asked}, taken for a horse: {named['before', kind]:.1f} % before, "
              f"{named['after', kind]:.1f} % after")
    good = named["before", "new"] < 10 and named["after", "new"] >= 80
    for kind in ("new", "old"):
        for field in FIELDS:
            was, now = (share(parts[when, kind], lambda row, f=field: row["right"][f]) for when in ("before", "after"))
            print(f"{kind}  {field:8} {was:5.1f} % before  {now:5.1f} % after  {now - was:+5.1f}")
            good = good and (kind == "new" or abs(now - was) <= 3)
    print("as it should be" if good else "NOT as it should be")
    sys.exit(not good)


if __name__ == "__main__":
    globals()[sys.argv[1]](*map(Path, sys.argv[2:]))
