"""Reports of figures as text and as a page that loads nothing from anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tenku.evaluation.bench.page import STYLE

Section = tuple[str, str, Sequence[Sequence[str]]]  # title, plot (SVG or ""), a table, its heading first
COLOURS = ("#71717a", "#4338ca", "#0891b2", "#b45309", "#be123c", "#15803d", "#7c3aed")


def said(figure: Mapping[str, float] | None) -> str:
    """A figure and its interval."""
    if figure is None:
        return "-"
    return "{value:.3g} ({low:.3g} to {high:.3g})".format(**figure)


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def paths(lines: Mapping[str, Sequence[tuple[float, float]]], up: str, along: str) -> str:
    """Lines over time or steps, with a legend; the first is drawn dashed, as what the others are held against."""
    points = [point for line in lines.values() for point in line]
    (x0, x1), (y0, y1) = ((min(values), max(values)) for values in zip(*points, strict=True))
    parts = [f'<text x="52" y="34" text-anchor="end">{y1:.2f}</text>',
             f'<text x="52" y="194" text-anchor="end">{y0:.2f}</text>', f'<text x="60" y="214">{x0:.3g}</text>',
             f'<text x="580" y="214" text-anchor="end">{x1:.3g} {escape(along)}</text>']
    for i, (name, line) in enumerate(lines.items()):
        colour, dash = COLOURS[i % len(COLOURS)], "" if i else ' stroke-dasharray="5 3"'
        path = " ".join(f"{60 + 520 * (x - x0) / ((x1 - x0) or 1):.1f},{30 + 160 * (y1 - y) / ((y1 - y0) or 1):.1f}"
                        for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
                     f'<text x="600" y="{44 + 18 * i}" style="fill: {colour}">{escape(name)}</text>')
    return (f'<svg viewBox="0 0 820 225" role="img" aria-label="{escape(up)}"><text x="60" y="18">{escape(up)}</text>'
            f'{"".join(parts)}</svg>')


def html(title: str, about: str, sections: Sequence[Section]) -> str:
    """A page of sections."""
    body = []
    for heading, plot, rows in sections:
        cells = "".join("<tr>" + "".join(f"<{'td' if i else 'th'}>{escape(cell)}</{'td' if i else 'th'}>"
                                         for cell in row) + "</tr>" for i, row in enumerate(rows))
        body.append(f'<h2>{escape(heading)}</h2>{plot}<div class="wide"><table>{cells}</table></div>')
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
            f'initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1>'
            f'<p class="dim">{escape(about)}</p>{"".join(body)}</html>')
