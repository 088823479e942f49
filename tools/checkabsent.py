"""Fail if one of the modules named as arguments can be imported: `python tools/checkabsent.py MODULE...`."""

from __future__ import annotations

import importlib.util
import sys


def main(names: list[str]) -> int:
    """Return a process exit status; prints the modules that can be imported."""
    there = [name for name in names if importlib.util.find_spec(name)]
    if there:
        print(f"importable, but not below this layer: {', '.join(there)}", file=sys.stderr)
    return 1 if there else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
