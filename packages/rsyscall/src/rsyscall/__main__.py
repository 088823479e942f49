"""`python -m rsyscall`."""

from __future__ import annotations

import sys

from rsyscall.cli import main

if __name__ == "__main__":
    sys.exit(main())
