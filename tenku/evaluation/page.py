"""The report as a page: a table of figures, then every prompt with its clips and what the probe read in them.

One file beside the folder of clips; it loads nothing from anywhere else.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from tenku.evaluation import report as tables
from tenku.evaluation.benchmark import Reading, Report, replace_text
from tenku.evaluation.probe import FIELDS, expected
from tenku.evaluation.prompts import Prompt

_STYLE = """
:root { color-scheme: light dark; --paper: #fafafa; --card: #fff; --ink: #18181b; --dim: #71717a; --line: #e4e4e7;
  --good: #15803d; --bad: #be123c; --good-paper: #dcfce7; --bad-paper: #ffe4e6; --accent: #4338ca; }
@media (prefers-color-scheme: dark) { :root { --paper: #111113; --card: #1c1c20; --ink: #ececef; --dim: #a1a1aa;
  --line: #303036; --good: #86efac; --bad: #fda4af; --good-paper: #14321f; --bad-paper: #43161f; --accent: #a5b4fc; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 82rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p { margin: .25rem 0; } .dim { color: var(--dim); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem .35rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } td small { color: var(--dim); padding-left: .35rem; }
form { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .75rem; align-items: center;
  padding: .75rem 0; background: var(--paper); border-bottom: 1px solid var(--line); }
select, input[type=search] { font: inherit; padding: .25rem .5rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--card); color: inherit; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
#prompts { display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1rem; margin-top: 1rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .85rem; }
article[hidden] { display: none; } article p { text-wrap: pretty; unicode-bidi: plaintext; }
.takes { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .6rem; margin-top: .6rem; }
figure { margin: 0; } video { width: 100%; aspect-ratio: 8 / 5; border-radius: 6px; background: var(--line);
  display: block; }
ul { list-style: none; margin: .4rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem; font-size: .8rem; }
li { padding: 0 .4rem; border-radius: 4px; background: var(--good-paper); color: var(--good); }
li.miss { background: var(--bad-paper); color: var(--bad); }
.tag { font-size: .75rem; border: 1px solid var(--accent); color: var(--accent); border-radius: 4px;
  padding: 0 .35rem; white-space: nowrap; }
"""

_SCRIPT = """
const form = document.querySelector('form'), cards = [...document.querySelectorAll('article')];
const count = document.querySelector('#count');
function filter() {
  const field = form.field.value, show = form.show.value, held = form.held.checked;
  const text = form.text.value.toLowerCase();
  let shown = 0;
  for (const card of cards) {
    const misses = card.dataset.misses.split(' ');
    const missed = field === 'any' ? card.dataset.misses !== '' : misses.includes(field);
    card.hidden = (show === 'misses' && !missed) || (show === 'hits' && missed) ||
      (held && !card.dataset.held) || !card.dataset.text.includes(text);
    shown += !card.hidden;
  }
  count.textContent = shown + ' of ' + cards.length + ' prompts';
}
form.addEventListener('input', filter);
form.addEventListener('submit', event => event.preventDefault());
filter();
const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
const watch = new IntersectionObserver(entries => {
  for (const entry of entries) {
    if (entry.isIntersecting && !calm) entry.target.play().catch(() => {});
    else entry.target.pause();
  }
});
for (const video of document.querySelectorAll('video')) {
  if (calm) video.controls = true;
  watch.observe(video);
}
"""


def write_page(report: Report, path: Path) -> None:
    """Writes the page; the clips lie where the readings say, relative to it."""
    replace_text(path, page(report))


def page(report: Report) -> str:
    """The page's HTML."""
    takes: dict[int, list[Reading]] = {}
    for reading in report.readings:
        takes.setdefault(reading.number, []).append(reading)
    cards = "\n".join(_card(report.prompts[n], sorted(t, key=lambda r: r.take)) for n, t in sorted(takes.items()))
    facts = report.facts
    notes = "".join(f"<p>{escape(note)}</p>" for note in (*tables.legend(report), *report.notes))
    options = "".join(f'<option value="{f}">{f}</option>' for f in ("any", *FIELDS))
    said = (f"{facts['model']}, weights {facts['weights_sha256'][:12]}, {facts['steps']} steps, guidance "
            f"{facts['guidance']:g}; {facts['prompts']} prompts, {facts['takes']} takes each")
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(facts["model"])}: evaluation</title>
<style>{_STYLE}</style>
<h1>What was asked for, what is to be seen</h1>
<p class="dim">{escape(said)}</p>
<div class="wide">{_table(report)}</div>
<div class="dim">{notes}</div>
<h2>Every prompt</h2>
<form>
<label>Field <select name="field">{options}</select></label>
<label>Show <select name="show"><option value="all">all</option><option value="misses">with a miss</option>
<option value="hits">without a miss</option></select></label>
<label><input type="checkbox" name="held"> held-out combinations only</label>
<label>Words <input type="search" name="text" placeholder="red ball"></label>
<span class="dim" id="count" role="status"></span>
</form>
<main id="prompts">
{cards}
</main>
<script>{_SCRIPT}</script>
</html>
"""


def _table(report: Report) -> str:
    columns = report.figures()
    head = "".join(f"<th scope=col>{escape(column)}</th>" for column in columns)
    rows = []
    for field in (*FIELDS, "all six"):
        cells = "".join(f"<td>{_cell(rows_of.get(field))}</td>" for rows_of in columns.values())
        rows.append(f"<tr><th scope=row>{field}</th>{cells}</tr>")
    return f"<table><thead><tr><th scope=col>field</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(figure: Any) -> str:
    if figure is None:
        return "not measured"
    return f"{figure.value:.1%}<small>{figure.low:.0%} to {figure.high:.0%}</small>"


def _card(prompt: Prompt, takes: list[Reading]) -> str:
    wanted = expected(prompt.scene)
    misses = [field for field in FIELDS if any(take.answers[field][0] != wanted[field] for take in takes)]
    tag = "".join(f' <span class="tag" title="kept out of training">{escape(c)}</span>' for c in prompt.held_out)
    shown = "".join(_take(take, wanted, prompt.text) for take in takes)
    return (f'<article data-misses="{" ".join(misses)}" data-held="{"yes" if prompt.held_out else ""}" '
            f'data-text="{escape(prompt.text.lower())}"><p>{escape(prompt.text)}{tag}</p>'
            f'<div class="takes">{shown}</div></article>')


def _take(take: Reading, wanted: dict[str, str], text: str) -> str:
    marks = []
    for field in FIELDS:
        word, share = take.answers[field]
        right = word == wanted[field]
        said = f"✓ {field}" if right else f"✗ {field}: {word}"
        title = f"{field}: asked for {wanted[field]}, read {word} (score {share:.2f})"
        marks.append(f'<li class="{"hit" if right else "miss"}" title="{escape(title)}">{escape(said)}</li>')
    label = escape(f"take {take.take + 1} of: {text}")
    return (f'<figure><video src="{escape(take.file)}" aria-label="{label}" muted loop playsinline preload="none">'
            f'</video><ul>{"".join(marks)}</ul></figure>')
