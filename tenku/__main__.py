"""`python -m tenku` is the `tenku` command."""

from __future__ import annotations

import sys

from tenku.cli import main

if __name__ == "__main__":
    sys.exit(main())
