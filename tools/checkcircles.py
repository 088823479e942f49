"""Check that no C files call each other in a circle: `python tools/checkcircles.py`.

A file calls another one if it names a function that only the other one defines for all. To take the address
of one counts, too. Headers are not looked at.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from checkimports import Graph, find_circles

SOURCES = Path(__file__).resolve().parent.parent / "native/src"
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
# A definition begins at the left edge; its parameters may be on several lines.
_DEFINITION = re.compile(r"^(?!static\b)\w[\w *\n]*?\b(\w+)\s*\([^;{]*\)\s*\{", re.MULTILINE)


def call_graph(texts: Mapping[str, str]) -> Graph:
    """Return which of the others each file calls.

    Args:
        texts: the text of each file, by its name.
    """
    code = {name: _COMMENT.sub(" ", text) for name, text in texts.items()}
    homes: dict[str, set[str]] = {}
    for name, text in code.items():
        for function in _DEFINITION.findall(text):
            homes.setdefault(function, set()).add(name)
    graph: Graph = {}
    for name, text in code.items():
        called = [homes[word] for word in set(re.findall(r"\w+", text)) if len(homes.get(word, ())) == 1]
        graph[name] = {home for found in called for home in found if home != name}
    return graph


def main() -> int:
    """Print the circles and the calls in them; returns a process exit status."""
    graph = call_graph({path.name: path.read_text() for path in SOURCES.glob("*.c")})
    circles = find_circles(graph)
    for circle in circles:
        print(f"{len(circle)} C files call each other:", file=sys.stderr)
        for name in sorted(circle):
            print(f"  {name} -> {', '.join(sorted(graph[name] & circle))}", file=sys.stderr)
    print(f"{len(circles)} circles among {len(graph)} C files")
    return 1 if circles else 0


if __name__ == "__main__":
    sys.exit(main())
