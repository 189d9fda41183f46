"""`tenku worker`: one process that makes clips for a server, on this machine or another."""

from __future__ import annotations

import argparse
import os
import signal

from tenku.cli.serve import add_storage, days, storage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the jobs and files are; the server that starts workers says the rest."""
    add_storage(parser)
    parser.add_argument("--model", action="append", default=[], metavar="MODEL",
                        help="nano, or NAME=FOLDER; jobs for other models are left to others (default: nano)")
    parser.add_argument("--keep", metavar="DAYS", help="how long finished clips are kept (default: for ever)")
    parser.add_argument("--name", default="", metavar="NAME", help="unique among all workers (default: made up)")
    parser.add_argument("--supervised", action="store_true", help="stop when stdin closes")


def run(arguments: argparse.Namespace) -> int:
    """Works until told to stop: a job that is being made goes back within a step."""
    from tenku.serving.db import Database
    from tenku.serving.server import models_of, set_up_logs
    from tenku.serving.store import Store
    from tenku.serving.worker import Worker, unique_name, warm, watch_parent

    db, files = storage(arguments)
    models, keep = models_of(arguments.model), days(arguments.keep)
    set_up_logs()
    worker = Worker(Database(db, durable=False), Store(files), models, None if keep is None else keep * 86_400,
                    arguments.name or unique_name())
    if arguments.supervised:
        os.nice(5)  # who asks how far it is need not wait for it
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server, not the terminal, says when
        watch_parent(worker, lambda count: os.read(0, count))
    else:
        signal.signal(signal.SIGINT, lambda *_: worker.stop.set())
    signal.signal(signal.SIGTERM, lambda *_: worker.stop.set())
    warm(models)
    worker.run()
    return 0
