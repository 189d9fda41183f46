"""The report in words: a table for the terminal, and what its columns mean."""

from __future__ import annotations

from tenku.evaluation.benchmark import Report
from tenku.evaluation.metrics import Figure
from tenku.evaluation.probe import FIELDS


def table(report: Report) -> str:
    """The figures as aligned text, readable without colour."""
    return "\n".join([grid(report.figures()), "", *legend(report), *(f"note: {note}" for note in report.notes)])


def grid(columns: dict[str, dict[str, Figure]]) -> str:
    """Column -> field -> figure as aligned text, a row per field."""
    rows = [["field", *columns]]
    for field in (*FIELDS, "all six"):
        rows.append([field, *(_cell(rows_of.get(field)) for rows_of in columns.values())])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def legend(report: Report) -> list[str]:
    """What the columns are, and the figures that are no agreement."""
    said = []
    if report.figures():
        said.append("share of prompts whose clips show what was asked for, as the probe reads them, "
                    "with 95 % intervals (Wilson, counting prompts)")
    if report.floor:
        said.append("truth: the probe on rendered truth, which bounds what any model can reach: "
                    f"{report.floor.measured}")
    seconds = report.seconds()
    if seconds:
        said.append(f"{seconds.value:.2f} s per clip of 2 s ({seconds.low:.2f} to {seconds.high:.2f}, "
                    f"{seconds.count} clips)")
    psnr = report.codec_psnr
    if psnr:
        said.append(f"codec: {psnr.value:.2f} dB PSNR ({psnr.low:.2f} to {psnr.high:.2f}, {psnr.count} unseen clips)")
    return said


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "not measured"
    return f"{figure.value:6.1%} ({figure.low:.0%} to {figure.high:.0%})"
