"""What more steps are worth: the score of the same prompts and seeds at few steps and at many. `tenku eval steps`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from tenku.evaluation.benchmark import Report, Say, Settings, evaluate
from tenku.evaluation.figures import grid, html, paths, said
from tenku.evaluation.metrics import mean
from tenku.evaluation.probe import FIELDS

COUNTS = (1, 2, 4, 8, 30)
FEW = 4  # whose share of the most is what counts


def compare(settings: Settings, say: Say, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """The figures of each number of steps, as plain JSON values; also written to `steps.json`, with a page.

    `settings.steps` is not used. The score of a clip is the share of the six fields in which the probe reads what was
    asked for; changes are of prompts at a number of steps against the same ones, same seeds, at the one before. Each
    number has a folder, in which a killed run goes on.
    """
    reports: dict[int, Report] = {}
    for count in counts:
        folder = settings.out / str(count)
        folder.mkdir(parents=True, exist_ok=True)
        first = settings.out / str(counts[0]) / "truth.json"
        if first.exists() and not (folder / "truth.json").exists():
            shutil.copy(first, folder)  # truth has no steps
        say(f"{count} steps")
        reports[count] = evaluate(replace(settings, out=folder, steps=count, codec_clips=0), say)
    scores = {count: prompt_scores(one) for count, one in reports.items()}
    means = {count: sum(each) / len(each) for count, each in scores.items()}
    few, most = means.get(FEW, means[counts[0]]), means[counts[-1]]
    report: dict[str, Any] = {
        **reports[counts[0]].facts, "steps": list(counts),
        "score": {str(count): _json(each) for count, each in scores.items()},
        "change": {str(b): _json([y - x for x, y in zip(scores[a], scores[b], strict=True)])
                   for a, b in pairwise(counts)},
        "fields": {str(count): {field: one.figures()["all"][field].to_json() for field in (*FIELDS, "all six")}
                   for count, one in reports.items()},
        "kept": round(few / most, 4) if most else None,
    }
    (settings.out / "steps.json").write_text(json.dumps(report, indent=1))
    (settings.out / "index.html").write_text(page(report))
    return report


def prompt_scores(report: Report) -> list[float]:
    """Of each prompt, the share of fields that are right, over its takes: 0..1."""
    return [sum(take[field] for take in takes for field in FIELDS) / len(FIELDS) / len(takes)
            for takes in report.hits()]


def _json(values: Sequence[float]) -> dict[str, float | int]:
    one = mean(values)
    assert one is not None, "there is a prompt"
    return one.to_json()


def rows_of(report: dict[str, Any]) -> list[list[str]]:
    """A row for each number of steps, the heading first."""
    return [["steps", "score", "change", *FIELDS, "all six"],
            *([count, said(one), said(report["change"].get(count)),
               *(f"{report['fields'][count][field]['value']:.1%}" for field in (*FIELDS, "all six"))]
              for count, one in report["score"].items())]


def table(report: dict[str, Any]) -> str:
    """The figures as lines of text."""
    return "\n".join([_about(report), grid(rows_of(report))])


def _about(report: dict[str, Any]) -> str:
    kept = "-" if report["kept"] is None else f"{report['kept']:.1%}"
    return (f"{report['model']}, {report['prompts']} prompts, {report['takes']} seeds each; score: share of the six "
            f"fields that are right; {FEW} steps keep {kept} of that of {report['steps'][-1]}")


def page(report: dict[str, Any]) -> str:
    """The page's HTML."""
    lines = {"score": [(float(i), report["score"][count]["value"]) for i, count in enumerate(report["score"])]}
    for field in FIELDS:
        lines[field] = [(float(i), one[field]["value"]) for i, one in enumerate(report["fields"].values())]
    along = "steps: " + ", ".join(map(str, report["steps"]))
    plot = paths(lines, "share right", along)
    return html("What steps are worth", _about(report), [("Score", plot, rows_of(report))])
