"""A plan as tables for a terminal, which are Markdown as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

GIB = 2**30


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of words, the first of them the head; all columns but the first stand to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = [[w.ljust(n) if i == 0 else w.rjust(n) for i, (w, n) in enumerate(zip(row, widths, strict=True))]
                   for row in rows]
    rule = [("-" * n) if i == 0 else ("-" * (n - 1) + ":") for i, n in enumerate(widths)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def said(number: float) -> str:
    """A number with three digits and a unit."""
    if number >= 1e15:
        return f"{number:.2e}"
    for factor, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"


def text(plans: Sequence[dict[str, Any]]) -> str:
    """Plans side by side."""
    def rows(*parts: tuple[str, Any]) -> list[list[str]]:
        return [[name, *(show(p) for p in plans)] for name, show in parts]

    def gib(name: str) -> tuple[str, Any]:
        return f"{name}, GiB", lambda p: f"{p['memory'][name] / GIB:.2f}"

    head = [["", *(p["asked"]["preset"] for p in plans)]]
    said_of = rows(
        ("GPUs", lambda p: f"{p['asked']['gpus']} {p['asked']['gpu']}"), ("divided", _ways),
        ("parameters", lambda p: said(p["model"]["parameters"])),
        ("tokens of a clip", lambda p: str(p["model"]["tokens_a_clip"])),
        ("FLOP of a group, forward", lambda p: said(p["model"]["flop_forward"])),
        ("backward", lambda p: said(p["model"]["flop_backward"])),
        ("tokens", lambda p: f"{said(p['training']['tokens'])} ({p['asked']['law']})"),
        *((f"by the law of {name}", lambda p, name=name: said(p["laws"][name])) for name in plans[0]["laws"]),
        ("FLOP", lambda p: said(p["training"]["flop"])),
        ("steps", lambda p: said(p["training"]["steps"])),
        ("groups of a step", lambda p: str(p["training"]["groups_a_step"])),
        ("peak learning rate", lambda p: f"{p['training']['rate']:.1e}"),
        ("clips shown", lambda p: said(p["data"]["clips_shown"])),
        ("hours of video shown", lambda p: said(p["data"]["hours_shown"])),
        ("hours of video, each shown 4 times", lambda p: said(p["data"]["hours"])),
        ("share of the peak, stated", lambda p: f"{p['asked']['share']:.0%}"),
        ("GPU hours", lambda p: said(p["time"]["gpu_hours"])), ("days", lambda p: f"{p['time']['days']:.1f}"),
        ("seconds of a step, uncompiled", lambda p: f"{p['time']['seconds_a_step']:.2f}"),
        ("GPU hours, uncompiled", lambda p: said(p["time"]["gpu_hours_uncompiled"])))
    memory = rows(
        *map(gib, ("weights", "gradients", "optimizer", "average", "data", "activations", "workspace", "overhead")),
        ("in all, GiB", lambda p: f"{p['memory']['total'] / GIB:.1f}"),
        ("of", lambda p: f"{p['memory']['device'] / GIB:.0f}"),
        ("most in the phase", lambda p: p["memory"]["fullest"]),
        ("fits", lambda p: "yes" if p["memory"]["fits"] else "no"))
    memory_head = [["memory of a GPU", *(p["asked"]["preset"] for p in plans)]]
    return f"{table(head + said_of)}\n\n{table(memory_head + memory)}"


def _ways(plan: dict[str, Any]) -> str:
    asked = plan["asked"]
    ways = [name for name in ("shard", "recompute") if asked[name]]
    ways += [f"split {asked['split']}"] if asked["split"] > 1 else []
    return ", ".join(ways) or "-"
