"""A pure function over many items, in processes of this machine or of a cluster."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tenku.errors import UserError

A = TypeVar("A")
B = TypeVar("B")


def spread(work: Callable[[A], B], items: Iterable[A], workers: int, cluster: str = "") -> Iterator[B]:
    """`work` of every item, as they are done: by so many processes here, or by the Ray cluster at an address.

    Ends without leaving processes when it is left before the end. Raises UserError for a process that died, and for a
    cluster that is not there.
    """
    if cluster:
        from tenku.data.cluster import spread_over

        yield from spread_over(work, items, cluster)
        return
    context = multiprocessing.get_context("spawn")  # OpenGL and threads do not mix with fork
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=quiet) as pool:
        jobs = [pool.submit(work, item) for item in items]
        try:
            yield from (job.result() for job in concurrent.futures.as_completed(jobs))
        except BrokenProcessPool:
            raise UserError("a process was killed, for want of memory perhaps",
                            "the same command goes on; fewer --workers need less") from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def quiet() -> None:
    """In a worker: Ctrl-C is its parent's, which ends the work; where that was killed it ends by itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
