"""The report as tables, for the terminal, and as a page with plots that loads nothing from anywhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tenku.evaluation.benchmark import replace_text

Table = tuple[str, list[list[str]]]  # title, rows; the first row says what the columns are
_COLOURS = ("#4338ca", "#7c3aed", "#0891b2", "#b45309", "#be123c", "#15803d", "#71717a")
STYLE = """
:root { color-scheme: light dark; --paper: #fafafa; --card: #fff; --ink: #18181b; --dim: #71717a; --line: #e4e4e7;
  --ours: #4338ca; --peer: #a1a1aa; }
@media (prefers-color-scheme: dark) { :root { --paper: #111113; --card: #1c1c20; --ink: #ececef; --dim: #a1a1aa;
  --line: #303036; --ours: #a5b4fc; --peer: #71717a; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
.dim { color: var(--dim); } .warn { border-left: 3px solid #be123c; padding-left: .75rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; }
svg { width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  margin: .5rem 0; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
"""


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """What was measured; parts that were left out are absent."""
    yield "The machine", _machine(report)
    for shape, rows in report.get("forward", {}).items():
        yield f"A denoising step of one clip, {shape} latents, {rows['ours']['tokens']} tokens", [
            ["", "ms", "as long as ours takes", "GFLOP", *_gemm(rows["ours"]), "ms to read the prompt, once"],
            *([name, _said(r["ms"], 1), _said(r["against_ours"]), f"{r['flops'] / 1e9:.2f}", *_of(r),
               _said(r["ms_reading"], 1)] for name, r in rows.items())]
    if training := report.get("training"):
        racers = training["racers"]
        yield f"Training steps of {training['clips']} clips, {training['tokens']} tokens", [
            ["", "parameters", "tokens/s", "GFLOP/s", *_gemm(racers["ours"]), "GFLOP a step"],
            *([name, f"{r['parameters'] / 1e6:.2f} M", _said(r["tokens_per_s"], 0),
               f"{r['flop_per_s']['value'] / 1e9:.1f}", *_of(r), f"{r['flops_a_step'] / 1e9:.1f}"]
              for name, r in racers.items())]
        yield f"Loss on unseen clips after {report['scale']['flops']:.1e} FLOP each", [
            ["", "loss", "steps", "seconds"],
            *([name, f"{r['loss']:.4f}", str(r["steps"]), f"{r['curve'][-1]['seconds']:.0f}"]
              for name, r in racers.items())]
        yield "Ours against each peer", [
            ["", "peer", "steps as fast", "its loss is higher by", "FLOPs to its loss, of its own"],
            *([name, peer, f"{_said(r['speed'])} times", _said(r["loss_less"], 4),
               "not reached" if r["flops_to_its_loss"] is None else f"{r['flops_to_its_loss']:.0%}"]
              for name in racers for peer, r in racers[name]["against"].items())]
    if packing := report.get("packing"):
        yield f"{packing['clips']} clips of mixed sizes, {packing['tokens']} tokens", [
            ["", "waste, pictures", "waste, with words", "real tokens/s", "batches"],
            *([way, f"{r['waste_pictures']:.1%}", f"{r['waste']:.1%}", _said(r["tokens_per_s"], 0), str(r["batches"])]
              for way, r in packing["ways"].items()),
            ["packed is faster by", "", "", f"{_said(packing['speed'])} times", ""]]
    yield from _codecs(report)
    yield from _making(report)


def _codecs(report: Mapping[str, Any]) -> Iterator[Table]:
    found = report.get("codecs")
    if not found:
        return
    sizes = ", ".join(f"{name} {n / 1e6:.1f} M" for name, n in found["parameters"].items())
    for shape, rows in found["shapes"].items():
        yield f"Codecs at {shape} ({sizes})", [
            ["", "frames/s", "as long as ours takes in fp32"],
            *([name, _said(r["frames_per_s"], 1), _said(r["against_ours"])] for name, r in rows.items())]
    if found["psnr_db"]:
        yield "Fidelity on unseen clips", [["", "PSNR"], ["ours", f"{_said(found['psnr_db'])} dB"],
                                           ["peers", "not trained"]]


def _making(report: Mapping[str, Any]) -> Iterator[Table]:
    if making := report.get("making"):
        yield "Clips, warm: seconds of video made in a second", [
            ["", "up to encoded frames", "sealed file", "seconds, dreamt", "seconds, sealed"],
            *([name, _said(r["encoded"]["real_time"]), _said(r["sealed"]["real_time"]), _said(r["dreamt"]["seconds"]),
               _said(r["sealed"]["seconds"])] for name, r in making["clips"].items())]
        yield "First pictures of a warm process", [
            ["", "seconds"], *([name, _said(figure)] for name, figure in making["first"].items())]
    if start := report.get("start"):
        yield "New processes, from start to end", [
            ["", "seconds"], *([name, _said(figure)] for name, figure in start.items())]


def _machine(report: Mapping[str, Any]) -> list[list[str]]:
    about = report["machine"]
    rows = [["what", "is"], ["processor", f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads"],
            ["torch", f"{about['torch']}, Python {about['python']}; training multiplies in {about['format']}"]]
    rows += [[f"matrix products, {name}", f"{_said(_scaled(figure, 1e9), 0)} GFLOP/s at {about['gemm_side']} a side"]
             for name, figure in about["gemm_flop_per_s"].items()]
    used = {part: cores for part, cores in report["others"].items() if cores is not None}
    if used:
        rows.append(["cores that other programs used", ", ".join(f"{part} {n:.2f}" for part, n in used.items())])
    return rows


def _scaled(figure: Mapping[str, float], by: float) -> dict[str, float]:
    return {key: figure[key] / by for key in ("value", "low", "high")}


def _said(figure: Mapping[str, float], digits: int = 2) -> str:
    return "{:.{n}f} ({:.{n}f} to {:.{n}f})".format(figure["value"], figure["low"], figure["high"], n=digits)


def _gemm(row: Mapping[str, Any]) -> list[str]:
    return [f"of products in {name}" for name in row["of_gemm"]]


def _of(row: Mapping[str, Any]) -> list[str]:
    return [f"{share:.0%}" for share in row["of_gemm"].values()]


def text(report: Mapping[str, Any]) -> str:
    """All tables as aligned text, readable without colour; the notes last."""
    said = []
    for title, rows in tables(report):
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        said.append("\n".join([title, *("  " + line for line in lines)]))
    notes = [*report["notes"], *report.get("codecs", {}).get("notes", [])]
    return "\n\n".join([*said, "medians (means, of losses and PSNR) with their 95 % intervals; ratios are of neighbours"
                        " in time", *(f"note: {note}" for note in notes)])


def _plots(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The title of the table that a plot stands above, and its SVG."""
    titles = [title for title, _ in tables(report)]

    def under(start: str) -> str:
        return next(title for title in titles if title.startswith(start))

    for shape, rows in report.get("forward", {}).items():
        title = next(t for t in titles if t.startswith("A denoising") and f" {shape} " in t)
        yield title, bars({name: r["ms"] for name, r in rows.items()}, "ms a step: shorter is faster")
    if training := report.get("training"):
        racers = training["racers"]
        yield under("Training steps"), bars({n: r["tokens_per_s"] for n, r in racers.items()}, "tokens a second")
        for against, label in (("flops", "FLOP"), ("seconds", "seconds")):
            yield under("Loss on"), curves({name: [(p[against], p["loss"]) for p in r["curve"] if p[against] > 0]
                                            for name, r in racers.items()}, label)
    if packing := report.get("packing"):
        title = next(t for t in titles if t.endswith(f"{packing['tokens']} tokens") and "mixed" in t)
        yield title, bars({way: r["tokens_per_s"] for way, r in packing["ways"].items()}, "real tokens a second")
    for shape, rows in report.get("codecs", {}).get("shapes", {}).items():
        yield under(f"Codecs at {shape}"), bars({n: r["frames_per_s"] for n, r in rows.items()}, "frames a second")
    if making := report.get("making"):
        yield under("Clips, warm"), bars({name: r["encoded"]["real_time"] for name, r in making["clips"].items()},
                                         "seconds of video in a second, up to encoded frames")
    if start := report.get("start"):
        yield under("New processes"), bars(start, "seconds")


def bars(rows: Mapping[str, Mapping[str, float]], label: str) -> str:
    """Horizontal bars from zero with their intervals, one a figure."""
    most = max(figure["high"] for figure in rows.values()) or 1.0
    left, wide, parts = 210, 520, []
    for i, (name, figure) in enumerate(rows.items()):
        y = 30 + 24 * i
        value, low, high = (left + wide * figure[key] / most for key in ("value", "low", "high"))
        colour = "--ours" if name.startswith(("ours", "packed", "dreamt")) else "--peer"
        parts.append(
            f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{left}" y="{y}" width="{max(1, value - left):.1f}" height="16" style="fill: var({colour})"/>'
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 8}" y2="{y + 8}" style="stroke: var(--ink)"/>'
            f'<text x="{left + wide + 8}" y="{y + 12}">{figure["value"]:,.4g}</text>')
    return (f'<svg viewBox="0 0 820 {40 + 24 * len(rows)}" role="img" aria-label="{escape(label)}">'
            f'<text x="{left}" y="18">{escape(label)}</text>{"".join(parts)}</svg>')


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], label: str) -> str:
    """Losses over something positive, the latter in logarithms, with a legend."""
    points = [(math.log(x), y) for line in lines.values() for x, y in line]
    if not points:
        return ""
    (x0, x1), (y0, y1) = ((min(values), max(values)) for values in zip(*points, strict=True))

    def at(x: float, y: float) -> tuple[float, float]:
        return 60 + 520 * (math.log(x) - x0) / ((x1 - x0) or 1), 30 + 240 * (y1 - y) / ((y1 - y0) or 1)

    parts = [f'<text x="52" y="34" text-anchor="end">{y1:.2f}</text>',
             f'<text x="52" y="274" text-anchor="end">{y0:.2f}</text>',
             f'<text x="60" y="294">{math.exp(x0):.2g}</text>',
             f'<text x="580" y="294" text-anchor="end">{math.exp(x1):.2g} {escape(label)}</text>']
    for i, (name, line) in enumerate(lines.items()):
        colour, dash = _COLOURS[i % len(_COLOURS)], "" if name.startswith("ours") else ' stroke-dasharray="5 3"'
        path = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
                     f'<text x="600" y="{44 + 18 * i}" style="fill: {colour}">{escape(name)}</text>')
    return (f'<svg viewBox="0 0 820 305" role="img" aria-label="loss over {escape(label)}">'
            f'<text x="60" y="18">loss on unseen clips</text>{"".join(parts)}</svg>')


def page(report: Mapping[str, Any]) -> str:
    """The page's HTML."""
    plots: dict[str, str] = {}
    for title, svg in _plots(report):
        plots[title] = plots.get(title, "") + svg
    body = "".join(
        f'<h2>{escape(title)}</h2>{plots.get(title, "")}<div class="wide"><table>' + "".join(
            "<tr>" + "".join(f"<{'td' if i else 'th'}>{escape(cell)}</{'td' if i else 'th'}>" for cell in row) + "</tr>"
            for i, row in enumerate(rows)) + "</table></div>" for title, rows in tables(report))
    notes = "".join(f'<p class="warn">{escape(note)}</p>'
                    for note in (*report["notes"], *report.get("codecs", {}).get("notes", [])))
    said = f"{report['model']}, weights {report['weights_sha256'][:12]}, tenku {report['tenku']}"
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
            f'initial-scale=1"><title>{escape(report["model"])}: benchmark</title><style>{STYLE}</style>'
            f'<h1>How fast, beside whom</h1><p class="dim">{escape(said)}. Medians (means, of losses and PSNR) with '
            f"their 95 % intervals; everything was timed in turns, and ratios are of neighbours in time.</p>"
            f"{notes}{body}</html>")


def write_page(report: Mapping[str, Any], path: Path) -> None:
    """Writes the page."""
    replace_text(path, page(report))
