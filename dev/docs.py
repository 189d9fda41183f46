"""Writes docs/cli.md from the command's own parsers: `python dev/docs.py`. tests/test_docs.py checks it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """# The command

Written by `python dev/docs.py` from the code; edit the help texts there.

Every verb ends with 0 when it did what was asked, 1 when the answer is no (`verify`, `world check`), 2 for bad
input (one line `error: ...`, mostly a line `hint: ...`, and no file written), 130 when interrupted. What was
asked for goes to stdout, everything else to stderr.
"""


def parsers(words: str, parser: argparse.ArgumentParser, does: str) -> Iterator[tuple[str, Any, str]]:
    """A parser and those of its subcommands, with the words that lead to them and what they do."""
    yield words, parser, does
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                yield from parsers(f"{words} {name}", sub, sub.description or helps.get(name, ""))


def settings(words: str) -> dict[str, Any]:
    """Defaults that a subcommand leaves to its script's settings."""
    from tenku.training.codec import CodecTraining
    from tenku.training.motion import MotionTraining
    from tenku.training.probe import ProbeTraining
    from tenku.training.video import VideoTraining

    scripts = {"tenku train codec": CodecTraining, "tenku train video": VideoTraining,
               "tenku train motion": MotionTraining, "tenku train probe": ProbeTraining}
    settings = fields(scripts[words]) if words in scripts else ()
    return {f.name: f.default for f in settings if f.default is not MISSING}


def row(action: argparse.Action, defaults: Mapping[str, Any]) -> str:
    """One argument: how it is written, its default, what it does."""
    stands = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    operand = "" if action.nargs == 0 else f" {stands}"
    written = ", ".join(action.option_strings) + operand if action.option_strings else f"{stands}"
    does = (action.help or "") % {"default": action.default, "prog": ""}
    said = re.fullmatch(r"(.*?) ?\(?default:? ([^()]*)\)?", does, re.DOTALL)
    if said:
        does, default = said.groups()
    elif action.required:
        default = "required"
    else:
        value = defaults.get(action.dest) if action.default is None else action.default
        default = "" if value is None or value is False or value == argparse.SUPPRESS else str(value)
    return f"| `{written}` | {default} | {does} |".replace("|  |", "| |")


def page() -> str:
    """The text of docs/cli.md."""
    from tenku.cli import VERBS, parser_of

    parts = [HEAD]
    for verb in VERBS:
        for words, parser, does in parsers(f"tenku {verb}", parser_of(verb), VERBS[verb]):
            rows = [row(action, settings(words)) for action in parser._actions
                    if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)]
            level = "#" * min(4, words.count(" ") + 1)
            parts.append(f"{level} `{words}`\n\n{does.rstrip('.')}\n")
            if rows:
                parts.append("\n".join(["| argument | default | |", "|---|---|---|", *rows]) + "\n")
    return "\n".join([*parts, presets()])


def presets() -> str:
    """The table of presets, recomputed."""
    from tenku.config import CODEC_PRESETS, TRANSFORMER_PRESETS

    rows = ["## Presets", "", "| transformer | width | depth | forward MFLOPs per canvas token (200 canvas, 32 text) |",
            "|---|---|---|---|"]
    rows += [f"| `{name}` | {c.width} | {c.depth} | {c.flops_per_token(200, 32) / 1e6:.1f} |"
             for name, c in TRANSFORMER_PRESETS.items()]
    rows += ["", "| codec | frames x rows x columns a latent covers | channels | decoder widths | depths |",
             "|---|---|---|---|---|"]
    rows += [f"| `{name}` | {'x'.join(map(str, c.stride))} | {c.channels} | {c.widths} | {c.depths} |"
             for name, c in CODEC_PRESETS.items()]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(f"wrote docs/{TARGET.name}")
