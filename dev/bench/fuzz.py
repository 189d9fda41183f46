"""schemathesis with all checks against a real server that needs keys: `python dev/bench/fuzz.py [CASES]`.

Coverage alone has about 1,500 cases, which took two to five minutes on a busy machine; 10,000 may take half an hour.
Prints its figures, and schemathesis' report where something was found (exit code 1). No worker runs: what is
accepted waits. An accepted body may still be refused with 4xx for what a schema cannot say (an id that nobody has,
fields that do not go together); everything else is as schemathesis has it. Event streams end when a video does, so
only requests that are refused reach them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import figures
from servers import Served

CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "403", "404", "413", "416", "421", "429", "501", "503"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "413", "415", "416", "421", "429", "501", "503"]
"""
OPERATIONS = 36  # about as many as there are: examples are counted for each


def main(cases: int, phases: str = "examples,coverage,fuzzing,stateful") -> int:
    """Serves, fuzzes, prints; 0 where nothing was found."""
    with tempfile.TemporaryDirectory(prefix="tenku-fuzz-") as folder:
        os.environ["TENKU_HOME"] = f"{folder}/home"
        Path(folder, "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
        flags = ("--workers", "0", "--queue", "1000000", "--require-key")
        with Served(Path(folder, "library"), *flags) as server:
            secret = next(line.split()[-1] for line in server.lines if "first key" in line)
            started = time.monotonic()
            command = [
                str(Path(sys.executable).with_name("schemathesis")), "--config-file", f"{folder}/schemathesis.toml",
                "run", f"{server.url}/v1/openapi.json", "--checks", "all",
                "--header", f"Authorization: Bearer {secret}",
                "--max-examples", str(max(1, cases // OPERATIONS)), "--seed", "1", "--continue-on-failure",
                "--request-timeout", "60", "--max-response-time", "60",
                "--phases", phases, "--exclude-path-regex", "(events|stream)$", "--no-color"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
            found = re.search(r"(\d[\d,]*) generated", done.stdout)
            made = int(found[1].replace(",", "")) if found else 0
            said = {"cases": made, "found": done.returncode, "seconds": round(time.monotonic() - started, 1)}
            if done.returncode:
                print(done.stdout[-20_000:], done.stderr[-2000:], file=sys.stderr)
                print("\n".join(line for line in server.lines if "failed" in line)[-4000:], file=sys.stderr)
    return figures.judged(said, {f"schemathesis with all checks finds {'something' if done.returncode else 'nothing'}":
                                 done.returncode == 0, f"{made} cases (asked: {cases})": made >= cases})


if __name__ == "__main__":
    figures.tidy()
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
