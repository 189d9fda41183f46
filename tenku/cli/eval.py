"""`tenku eval`: how often a model shows what it was asked for, beside what the measure itself can see."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "measure a model on fixed prompts with a probe trained on rendered truth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb; defaults are those of the benchmark and the Request."""
    from tenku.evaluation.speaking import LANGUAGES
    from tenku.request import Request

    whats = ("prompts", "modes", "minute", "seal", "words", "classifier", "physics", "steps", "variety")
    parser.add_argument("what", nargs="?", choices=whats, default="prompts",
                        help="prompts: what clips show; modes: seams, camera paths, tracks, edits; minute: what a long"
                             " clip keeps; seal: what the marks survive; words: how prompts in other languages are"
                             " read; classifier: how well it knows the model's clips; physics: what dreamt motion obeys"
                             "; steps: what 1, 2, 4, 8, 30 steps are worth; variety: how far takes are from each"
                             " other and from training clips (default: prompts)")
    parser.add_argument("--language", choices=LANGUAGES, metavar="CODE",
                        help=f"say the prompts in another language: {', '.join(LANGUAGES)} (default: English; of words:"
                             " all of them)")
    parser.add_argument("--model", default="nano", metavar="NAME",
                        help="the bundled model, or a folder that `tenku train` wrote (default: nano)")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="takes of each prompt (default: 2)")
    parser.add_argument("--limit", type=int, default=200, metavar="N",
                        help="only the first N of 400 prompts, balanced too; of seal: clips (default: 200)")
    parser.add_argument("--steps", type=int, default=Request.steps, metavar="N",
                        help=f"denoising steps (default: {Request.steps})")
    parser.add_argument("--guidance", type=float, default=Request.guidance, metavar="G",
                        help=f"how hard the prompt pulls (default: {Request.guidance:g})")
    parser.add_argument("--probe", type=Path, metavar="FILE", help="another probe than the bundled one")
    parser.add_argument("--codec-clips", type=int, default=64, metavar="N",
                        help="unseen clips that the codec is measured on; 0 leaves it out (default: 64)")
    parser.add_argument("--clips", type=int, default=12, metavar="N",
                        help="of modes: clips of each kind, at least 2; of minute: clips; of variety: training clips"
                             " looked at; of classifier: clips of each kind that go through every damage (default: 12)")
    parser.add_argument("--unmarked", type=int, default=100, metavar="N",
                        help="of seal: damaged unmarked twins of each clip, for false hits (default: 100)")
    parser.add_argument("--entries", type=int, default=100_000, metavar="N",
                        help="of seal: other clips in the store (default: 100000)")
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="of classifier: shards of a world that it never saw; of variety: those of its training")
    parser.add_argument("--real", type=Path, metavar="DIR", help="of classifier: real clips that it never saw")
    parser.add_argument("--others", nargs="+", default=[], metavar="DIR",
                        help="of classifier: folders of checkpoints that it never saw")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of classifier: another one than the bundled")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="of seal: processes (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/out/eval"), metavar="DIR",
                        help="folder for report.json, index.html and the clips; the same command again continues"
                             " (default: runs/out/eval)")
    parser.add_argument("--floor", type=Path, metavar="FILE",
                        help="measure the probe on truth alone, write its floor to FILE, and stop")
    parser.add_argument("--json", action="store_true", help="print report.json on stdout instead of the table")


def run(arguments: argparse.Namespace) -> int:
    """Measures, writes the report, prints the table."""
    if arguments.what == "modes":
        return _modes(arguments)
    if arguments.what == "minute":
        return _minute(arguments)
    if arguments.what == "physics":
        return _physics(arguments)
    if arguments.what == "variety":
        return _variety(arguments)
    if arguments.what == "seal":
        return _seal(arguments)
    if arguments.what == "words":
        return _words(arguments)
    if arguments.what == "classifier":
        return _classifier(arguments)
    from tenku.evaluation.benchmark import Settings, evaluate, keep_floor
    from tenku.evaluation.page import write_page
    from tenku.evaluation.probe import BUNDLED
    from tenku.evaluation.report import grid, table

    settings = Settings(
        out=arguments.out, model=arguments.model, takes=arguments.seeds, limit=arguments.limit,
        steps=arguments.steps, guidance=arguments.guidance, probe=arguments.probe or BUNDLED,
        codec_clips=arguments.codec_clips, language=arguments.language or "",
    )  # fmt: skip
    if arguments.floor:
        floor = keep_floor(settings, arguments.floor, _say)
        print(json.dumps(floor.to_json(), indent=1) if arguments.json
              else grid({"truth": floor.plain, "truth through codec": floor.coded}))
        return 0
    if arguments.what == "steps":
        from tenku.evaluation import steps

        compared = steps.compare(settings, _say)
        print(json.dumps(compared, indent=1) if arguments.json else steps.table(compared))
        return 0
    report = evaluate(settings, _say)
    write_page(report, arguments.out / "index.html")
    print(json.dumps(report.to_json(), indent=1) if arguments.json else table(report))
    print(f"report: {arguments.out / 'index.html'}", file=sys.stderr)
    return 0


def _modes(arguments: argparse.Namespace) -> int:
    from tenku.evaluation.modes import Settings, evaluate, table

    settings = Settings(arguments.out, arguments.model, arguments.clips, arguments.steps)
    report = evaluate(settings, _say)
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 0


def _minute(arguments: argparse.Namespace) -> int:
    from tenku.evaluation.minute import Settings, evaluate, table

    report = evaluate(Settings(arguments.out, arguments.model, arguments.clips, arguments.steps), _say)
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 0


def _physics(arguments: argparse.Namespace) -> int:
    from tenku.evaluation.physics import Settings, evaluate, table

    report = evaluate(Settings(arguments.out, arguments.model, arguments.seeds, arguments.limit, arguments.steps), _say)
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 0


def _variety(arguments: argparse.Namespace) -> int:
    from tenku.errors import UserError
    from tenku.evaluation.variety import Settings, evaluate, table

    if arguments.data is None:
        raise UserError("there are no training clips to compare with", "--data DIR, which the model was trained on")
    report = evaluate(Settings(arguments.out, arguments.data, arguments.model, arguments.seeds, arguments.limit,
                               arguments.steps, arguments.clips), _say)
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 0


def _words(arguments: argparse.Namespace) -> int:
    from tenku.evaluation import prompts, words
    from tenku.evaluation.speaking import LANGUAGES

    chosen = prompts.load()[: arguments.limit]
    said = [arguments.language] if arguments.language else LANGUAGES
    report = [words.measure(chosen, language, arguments.seeds) for language in said]
    if arguments.json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return 0
    for row in [["", *words.COLUMNS], *([one["language"], *(f"{one['figures'][c]['value']:.1%}" for c in words.COLUMNS)]
                                        for one in report)]:
        print("  ".join(cell.ljust(9) for cell in row).rstrip())
    return 0


def _seal(arguments: argparse.Namespace) -> int:
    from tenku.errors import UserError
    from tenku.evaluation.sealing import Settings, evaluate
    from tenku.evaluation.sealing_page import markdown

    if min(arguments.limit, arguments.workers) < 1 or min(arguments.unmarked, arguments.entries) < 0:
        raise UserError("limit and workers are at least 1, unmarked and entries at least 0", "tenku eval --help")
    settings = Settings(arguments.out, arguments.limit, arguments.unmarked, arguments.entries, arguments.model,
                        min(arguments.steps, Settings.steps), arguments.workers)
    report = evaluate(settings, _say)
    print(json.dumps(report, indent=1) if arguments.json else markdown(report))
    print(f"report: {arguments.out / 'index.html'}", file=sys.stderr)
    return 0


def _classifier(arguments: argparse.Namespace) -> int:
    from tenku.errors import UserError
    from tenku.evaluation.classifying import Settings, evaluate, markdown
    from tenku.provenance.classifier import BUNDLED

    if arguments.data is None:
        raise UserError("there is nothing to measure on", "--data DIR, which `tenku world make` wrote")
    if min(arguments.limit, arguments.clips) < 1:
        raise UserError("limit and clips are at least 1", "tenku eval --help")
    settings = Settings(arguments.out, arguments.data, arguments.real, arguments.model, tuple(arguments.others),
                        arguments.limit, arguments.clips, arguments.weights or BUNDLED)
    report = evaluate(settings, _say)
    print(json.dumps(report, indent=1) if arguments.json else markdown(report))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
