"""Link every layer's modules into one tree, `.dev`, for daily work.

Run `python3 tools/devtree.py`, then use `PYTHONPATH=.dev`. Fails when two distributions own the same module.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / ".dev" / "rsyscall"


def main() -> int:
    """Rebuild the tree of symbolic links; returns a process exit status."""
    shutil.rmtree(TREE.parent, ignore_errors=True)
    TREE.mkdir(parents=True)
    owners: dict[str, Path] = {}
    sources = [ROOT / "native/src-py/rsyscall", *sorted(ROOT.glob("packages/*/src/rsyscall"))]
    for source in sources:
        for entry in sorted(source.iterdir()):
            if entry.name == "__pycache__":
                continue
            if entry.name in owners:
                print(f"{entry.name}: owned by both {owners[entry.name]} and {source}", file=sys.stderr)
                return 1
            owners[entry.name] = source
            (TREE / entry.name).symlink_to(entry)
    for name in ("arepl", "nixdeps", "wish"):
        (TREE.parent / name).symlink_to(ROOT / "packages/rsyscall-tasks/src" / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
