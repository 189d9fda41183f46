"""The report of an ingest as a page: what went in, what was left out and why, with contact sheets.

One file that loads nothing from anywhere else.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from pathlib import Path

from tenku.ingest.make import File, Report
from tenku.ingest.measure import LIMITS
from tenku.ingest.prepare import Candidate

SHEET = 60  # pictures of a contact sheet, at most

_STYLE = """
:root { color-scheme: light dark; --paper: #fafafa; --ink: #18181b; --dim: #71717a; --line: #e4e4e7; }
@media (prefers-color-scheme: dark) { :root { --paper: #111113; --ink: #ececef; --dim: #a1a1aa; --line: #303036; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 78rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
.dim, figcaption { color: var(--dim); } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); gap: .6rem; }
figure { margin: 0; } img { width: 100%; border-radius: 4px; display: block; background: var(--line); }
figcaption { font-size: .75rem; overflow-wrap: anywhere; }
"""


def write(report: Report, path: Path) -> None:
    """Writes the page, whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(page(report), encoding="utf-8")
    draft.replace(path)


def counts(report: Report) -> dict[str, int]:
    """How many clips were left out, by reason; "kept" are those that were not."""
    found = Counter(clip.reason or "kept" for file in report.files for clip in file.clips)
    return {name: found[name] for name in ("kept", *LIMITS) if found[name]}


def page(report: Report) -> str:
    """The page's HTML."""
    refused = [file for file in report.files if file.refused]
    used = [file for file in report.files if not file.refused]
    found = counts(report)
    rows = "".join(f"<tr><td>{count}</td><td>{escape(name)}</td><td>{escape(_why(name))}</td></tr>"
                   for name, count in found.items())
    sheets = "".join(f"<h2>{escape(name)}: {count}</h2><p class=dim>{escape(_why(name))}</p>{_sheet(used, name)}"
                     for name, count in found.items())
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ingest</title>
<style>{_STYLE}</style>
<h1>What went in, and what did not</h1>
<p class="dim">{len(used)} files, {len(refused)} refused; {found.get("kept", 0)} clips of {sum(found.values())}</p>
<table><tr><th>clips</th><th>reason</th><th></th></tr>{rows}</table>
<h2>Files</h2>
<div class="wide"><table><tr><th>file</th><th>licence</th><th>author</th><th>kept</th><th>left out</th></tr>
{"".join(map(_file, used))}</table></div>
<h2>Refused: {len(refused)}</h2>
<div class="wide"><table><tr><th>file</th><th>why</th></tr>
{"".join(f"<tr><td>{escape(f.source.file)}</td><td>{escape(f.refused)}</td></tr>" for f in refused)}</table></div>
{sheets}
</html>
"""


def _why(name: str) -> str:
    return "in the shards" if name == "kept" else LIMITS[name][2]


def _file(file: File) -> str:
    out = Counter(clip.reason for clip in file.clips if clip.reason)
    said = ", ".join(f"{name} {count}" for name, count in out.items())
    kept = sum(not clip.reason for clip in file.clips)
    cells = (file.source.file, file.source.license, file.source.author, str(kept), said)
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _sheet(files: list[File], name: str) -> str:
    shown = [(file, clip) for file in files for clip in file.clips if (clip.reason or "kept") == name and clip.thumb]
    step = max(1, -(-len(shown) // SHEET))
    return f"<div class=sheet>{''.join(_figure(file, clip) for file, clip in shown[::step])}</div>"


def _figure(file: File, clip: Candidate) -> str:
    measured = "" if not clip.reason else f", {clip.measured.get(clip.reason, 0):g}"
    said = f"{file.source.file} at {clip.start:g} s, {clip.frames} frames{measured}"
    more = f", {clip.camera}" if clip.camera and clip.frames > 1 else ""
    return (f'<figure><img src="data:image/webp;base64,{clip.thumb}" alt="{escape(said)}">'
            f"<figcaption>{escape(said + more)}</figcaption></figure>")
