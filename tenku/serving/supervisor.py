"""Starts worker processes, and starts them again when they end.

A worker is `tenku worker` with a pipe for stdin: a byte says that there is work, and when the server goes, by whatever
death, the pipe closes and the worker puts its job back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

log = logging.getLogger("tenku.server")

CALM = 10.0  # seconds that a worker should live; one that ends sooner is started again ever more slowly
SLOWEST = 30.0  # seconds


class Supervisor:
    """A number of worker processes. `lost` is told the name of each that ended by itself."""

    def __init__(
        self, arguments: Sequence[str], environment: dict[str, str], count: int, lost: Callable[[str], None]
    ) -> None:
        self.arguments, self.environment, self.count, self.lost = list(arguments), environment, count, lost
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Starts all of them."""
        for number in range(self.count):
            thread = threading.Thread(target=self._keep, args=(number,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def wake(self) -> None:
        """Says that there is work. Waits for nobody: who does not hear it finds the work a little later."""
        for process in list(self.running.values()):
            with contextlib.suppress(OSError, ValueError):  # it has ended, or its pipe is closed
                if process.stdin:
                    process.stdin.write(b"\n")

    def stop(self, patience: float = 20.0) -> None:
        """Asks them to stop, which takes them a step, and ends those that do not."""
        self.stopping.set()
        for process in list(self.running.values()):
            if process.stdin:
                process.stdin.close()
        deadline = time.monotonic() + patience
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for process in list(self.running.values()):
            process.kill()

    def _keep(self, number: int) -> None:
        pause = 0.2
        while not self.stopping.is_set():
            started = time.monotonic()
            name = f"{os.uname().nodename[:40]}/{os.getpid()}-{number}/{os.urandom(3).hex()}"
            process = subprocess.Popen(
                [sys.executable, "-m", "tenku", "worker", *self.arguments, "--name", name, "--supervised"],
                stdin=subprocess.PIPE, bufsize=0, env={**os.environ, **self.environment}, start_new_session=True)
            assert process.stdin, "a worker hears through its stdin"
            os.set_blocking(process.stdin.fileno(), False)
            self.running[number] = process
            if self.stopping.is_set():
                process.stdin.close()
            code = process.wait()
            self.running.pop(number, None)
            if self.stopping.is_set():
                return
            log.warning("worker %d ended with %d; another starts", number, code)
            self.lost(name)
            pause = 0.2 if time.monotonic() - started > CALM else min(SLOWEST, 2 * pause)
            self.stopping.wait(pause)
