"""The same work on the machines of a Ray cluster, which see all files at the same paths."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tenku.errors import UserError

A = TypeVar("A")
B = TypeVar("B")

RETRIES = 5  # times that an item is tried again whose process, or machine, died
ALIKE = ("tenku", "numpy", "torch", "av", "mujoco")  # packages that decide bytes


def spread_over(work: Callable[[A], B], items: Iterable[A], address: str) -> Iterator[B]:
    """`work` of every item on a Ray cluster, one core for each, as they are done (see `pool.spread`).

    address: as `ray.init` takes it: "auto" for the cluster that this machine is part of, HOST:PORT, or ray://HOST:PORT.
    What a process did that died is done again by another. Raises UserError without Ray or a cluster, where its machines
    have other versions of what decides bytes, and what `work` raises.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError("a cluster needs Ray, which is not installed", 'pip install "tenku[fleet]"') from None
    try:
        ray.init(address=address, namespace="tenku", log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises many kinds
        raise UserError(f"no Ray cluster answers at {address!r}: {type(error).__name__}",
                        "ray start --head, and what it says; auto for this machine's own") from None
    task: Any = ray.remote(num_cpus=1, max_retries=RETRIES)(_done)
    here = versions()
    waiting = [task.remote(work, item, here) for item in items]
    try:
        while waiting:
            [done], waiting = ray.wait(waiting, num_returns=1)
            try:
                yield ray.get(done)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, OSError | ImportError | ray.exceptions.RaySystemError):
                    raise UserError(f"a machine of the cluster says: {error.cause}".splitlines()[0],
                                    "all of them need tenku, and the same folders at the same paths") from None
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise UserError(f"the cluster gave up: {type(error).__name__}", "the same command goes on") from None
    finally:
        for job in waiting:
            ray.cancel(job, force=True)
        ray.shutdown()


def versions() -> dict[str, str]:
    """What decides bytes, of this process."""
    found = {}
    for name in ALIKE:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _done(work: Callable[[A], B], item: A, wanted: dict[str, str]) -> B:
    """In a process of the cluster."""
    here = versions()
    if here != wanted:
        other = ", ".join(f"{n} {here.get(n)}" for n in sorted({*here, *wanted}) if here.get(n) != wanted.get(n))
        raise UserError(f"a machine of the cluster has {other}", "one version on all machines gives the same bytes")
    return work(item)
