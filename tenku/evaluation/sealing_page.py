"""The seal's report as tables: Markdown for the docs and the terminal, and a page that shows the same."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from tenku.evaluation.attacks import AIMS, ATTACKS
from tenku.evaluation.metrics import wilson

Table = tuple[str, list[list[str]]]  # what it is, and its rows, the heading first
_STYLE = ("body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
          "table{border-collapse:collapse}"
          "th,td{padding:.25rem .9rem .25rem 0;text-align:left;border-bottom:1px solid #ccc}"
          ":root{color-scheme:light dark}.low{color:#be123c}")


def tables(report: dict[str, Any]) -> list[Table]:
    """Everything that was measured."""
    rows = report["rows"]
    kinds = sorted({row["kind"] for row in rows}) + sorted({row["size"] for row in rows})
    found = [_by_kind(rows, kind) for kind in kinds]
    return [("After each damage (found at a false-positive rate of 1e-6, the search included)", _damage(rows)),
            ("By kind of clip, over all damages with an aim", [["clips", "number", "found", "PSNR, lowest"], *found]),
            ("Cut together, re-encoded: every payload read and no other", _splices(rows)),
            ("Unmarked twins", _null(rows)), ("Found again in the store", _retrieval(report)),
            ("Theft", _thefts(report["thefts"]))]


def _damage(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    out = [["damage", "kind", "aim", "found", "payload", "wrong payload", "manifest found", "wrong manifest",
            "score, lowest and middle"]]
    for name, attack in ATTACKS.items():
        each = [row["damaged"][name] for row in rows]
        scores = [one["score"] for one in each]
        aim = AIMS[attack.kind]
        out.append([name, attack.kind, f"{aim:.0%}" if aim else "", _share(each, "found"), _share(each, "payload"),
                    str(sum(one["wrong"] for one in each)), _part(sum(one["led"] > 0 for one in each), len(each)),
                    str(sum(one["led"] < 0 for one in each)), f"{min(scores):.1f}, {statistics.median(scores):.1f}"])
    return out


def _by_kind(rows: Sequence[dict[str, Any]], kind: str) -> list[str]:
    some = [row for row in rows if kind in (row["kind"], row["size"])]
    each = [one for row in some for name, one in row["damaged"].items() if AIMS[ATTACKS[name].kind]]
    return [kind, str(len(some)), _share(each, "found"), f"{min(row['psnr'] for row in some):.2f} dB"]


def _splices(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [["sources", "right"], *([count, _part(sum(row["spliced"][count] for row in rows), len(rows))]
                                    for count in ("2", "3", "4"))]


def _null(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    nulls = [row["unmarked"] for row in rows]
    count, hits = sum(n["count"] for n in nulls), [hit for n in nulls for hit in n["hits"]]
    if not count:
        return [["pictures read", "0"]]
    coins = [sum(n["coins"][i] for n in nulls) for i in range(20)]
    ranks = [rank for n in nulls for rank in n["ranks"]]
    places = [ranks.count(i) for i in range(max(ranks) + 1)]
    firsts = [n["ranks"][0] for n in nulls]  # one of each clip: these are independent
    one = [firsts.count(i) for i in range(20)]
    return [["", ""], ["pictures read", str(count)],
            ["false hits", f"{len(hits)} {', '.join(sorted(set(hits)))}".strip()],
            ["false hits, upper bound (95 %)", f"{1 - 0.05 ** (1 / count):.1e}" if not hits else "see above"],
            ["highest score", f"{max(n['highest'] for n in nulls):.2f}"],
            ["p-values at one place, other keys", f"{sum(coins)}; shares of twentieths "
             f"{min(coins) / max(1, sum(coins)):.4f} to {max(coins) / max(1, sum(coins)):.4f}"],
            ["rank of our key among 20 at its best place", f"shares {min(places) / len(ranks):.3f} to "
             f"{max(places) / len(ranks):.3f}; one of each clip: chi-square p {_chi_square(one):.2f}"]]


def _retrieval(report: dict[str, Any]) -> list[list[str]]:
    each = [one for row in report["rows"] for one in row["damaged"].values()]
    times = sorted(1000 * one["looked_up"] for one in each)
    readings = [one["seconds"] for one in each]
    return [["", ""], ["other clips in the store", str(report["settings"]["entries"])],
            ["right manifest, all damages", _part(sum(one["led"] > 0 for one in each), len(each))],
            ["wrong manifest", str(sum(one["led"] < 0 for one in each))],
            ["looking up by looks, processor time, middle and 99th of 100", f"{statistics.median(times):.1f} ms, "
             f"{times[int(0.99 * (len(times) - 1))]:.1f} ms"],
            ["reading a copy, all layers but the signature", f"{statistics.median(readings):.2f} s of processor time"]]


def _thefts(theft: dict[str, Any]) -> list[list[str]]:
    return [["", ""], ["sealed pictures averaged", str(theft["outputs"])],
            ["what their mean keeps of the mark", f"{theft['residue']:.4f} levels"],
            ["marked pictures found after subtracting it", _part(theft["kept"], theft["tried"])],
            ["... made as strong as a mark", _part(theft["kept_after_more"], theft["tried"])],
            ["unmarked pictures accepted after pasting it so strong", _part(theft["forged"], theft["tried"])],
            ["files accepted with another clip's manifest", _part(theft["accepted"], 2 * theft["moved"])]]


def _share(each: Sequence[dict[str, Any]], name: str) -> str:
    return _part(sum(one[name] for one in each), len(each))


def _part(part: int, whole: int) -> str:
    if not whole:
        return "0/0"
    low, high = wilson(part / whole, whole)
    return f"{part}/{whole} ({100 * part / whole:.1f} %; {100 * low:.1f} to {100 * high:.1f})"


def _chi_square(counts: Sequence[int]) -> float:
    """p-value of counts that should be equal (Wilson and Hilferty, PNAS 17, 1931)."""
    expected, free = sum(counts) / len(counts), len(counts) - 1
    statistic = sum((count - expected) ** 2 for count in counts) / max(expected, 1e-9)
    z = ((statistic / free) ** (1 / 3) - 1 + 2 / (9 * free)) / math.sqrt(2 / (9 * free))
    return 0.5 * math.erfc(z / math.sqrt(2))


def markdown(report: dict[str, Any]) -> str:
    """All tables."""
    said = []
    for title, rows in tables(report):
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(rows[0]))
        said.append(f"### {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(said)


def write(report: dict[str, Any], folder: Path) -> None:
    """`seal.json`, `seal.md` and `index.html`."""
    (folder / "seal.json").write_text(json.dumps(report))
    (folder / "seal.md").write_text(markdown(report))
    body = "".join(
        f"<h2>{escape(title)}</h2><table>" + "".join(
            "<tr>" + "".join(f"<{'td' if i else 'th'}>{escape(cell)}</{'td' if i else 'th'}>" for cell in row) + "</tr>"
            for i, row in enumerate(rows)) + "</table>"
        for title, rows in tables(report))
    (folder / "index.html").write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>The seal</title><style>{_STYLE}</style>'
        f"<h1>What the seal survives</h1>{body}</html>")
