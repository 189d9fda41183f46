"""The `tenku` command: one file per verb, imported only when that verb is asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from types import ModuleType
from typing import NoReturn

from tenku import __version__, calm_threads
from tenku.errors import UserError

VERBS: dict[str, str] = {  # verb -> what it does; the verb's module is tenku/cli/<verb>.py
    "generate": "make a signed video or image from a prompt",
    "extend": "make a clip longer, forwards or backwards",
    "blend": "make one clip of two, whatever they show",
    "loop": "lead a clip back to its beginning",
    "edit": "make a clip again: by prompt, by mask, on a larger canvas, between what is kept",
    "film": "make a film of a storyboard",
    "serve": "the Videos API, durable jobs and a studio in the browser",
    "jobs": "look after the videos of a server",
    "worker": "make clips for a server, on this machine or another",
    "keys": "say who may use a server",
    "hooks": "tell other programs when a video is done",
    "verify": "say where a file came from: its marks and its signature",
    "world": "draw, render and check captioned physical worlds",
    "data": "make shards of anybody's footage, and audit the ledger of its licences",
    "train": "train the codec, the video transformer or the probe",
    "tune": "teach a model what your clips show",
    "plan": "say what a training will need: memory, FLOPs, data, GPU hours",
    "eval": "measure the bundled model against the world's truth",
    "bench": "time everything here, beside the transformers and codecs of diffusers",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message, f"{self.prog} --help")


def _usage() -> str:
    rows = "\n".join(f"  {verb:<10} {text}" for verb, text in VERBS.items())
    return f"Tenku, the open Sora.\n\nusage: tenku VERB [options]\n\n{rows}\n\ntenku VERB --help says more"


def main(argv: list[str] | None = None) -> int:
    """Runs one verb. Exit codes: 0 done, 1 the answer is no (verify, check), 2 bad input, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        code = _answer(arguments)
        sys.stdout.flush()  # so that a closed pipe is met here
        return code
    except UserError as error:
        print(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a forbidden folder: the system's words name the cause
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return 2
    except MemoryError:
        print("error: not enough memory\nhint: fewer seconds, samples or pixels", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _answer(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"tenku {__version__}")
        return 0
    calm_threads()
    options = parser_of(arguments[0]).parse_args(arguments[1:])
    return int(_module(arguments[0]).run(options))


def parser_of(verb: str) -> argparse.ArgumentParser:
    """The parser of a verb, with its flags. Raises UserError for what is no verb."""
    if verb not in VERBS:
        raise UserError(f"no such verb: {verb[:40]!r}", f"one of {', '.join(VERBS)}")
    parser = _Parser(prog=f"tenku {verb}", description=VERBS[verb], allow_abbrev=False)
    _module(verb).add_arguments(parser)
    return parser


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"tenku.cli.{verb}")
