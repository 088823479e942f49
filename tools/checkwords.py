"""Check that text names the one who acts: `python tools/checkwords.py [FILE...]`.

A pronoun like the ones below hides which process, thread or caller is meant. Looks at comments and strings of
Python and C, and at whole Markdown files, in the places of `CLEAN` or in the files that are given.
The user `nobody` is written in backquotes, or as a string of its own.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLEAN = [
    "native",
    "docs",
    "examples",
    "packages/rsyscall",
    "packages/rsyscall-memory",
    "packages/rsyscall-near",
    "README.md",
    "SECURITY.md",
]
SUFFIXES = {".py", ".pyi", ".c", ".h", ".md"}
WORDS = re.compile(r"\b(nobody|somebody|whoever|what\s+is\s+to\s+be)\b", re.IGNORECASE)
USER = re.compile(r"""`nobody`|"nobody"|'nobody'""")
C_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
SELF_CHECKS = [
    (".md", "Two\nlines; Nobody waits.\n", [2]),
    (".md", "The user `nobody` waits.\n", []),
    (".c", "/* Wakes\n * whoever waits. */\nint nobody;\n", [2]),
    (".py", 'x = 1  # somebody\n"""What is\nto be done."""\nnobody = "nobody"\n', [1, 2]),
]


def texts(suffix: str, source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the content of each piece of text of a file."""
    if suffix in {".py", ".pyi"}:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if tokenize.tok_name[token.type] in {"COMMENT", "STRING", "FSTRING_MIDDLE"}:
                yield token.start[0], token.string
    elif suffix in {".c", ".h"}:
        for match in C_TEXT.finditer(source):
            yield source.count("\n", 0, match.start()) + 1, match[0]
    else:
        yield 1, source


def find(suffix: str, source: str) -> list[tuple[int, str]]:
    """Return the line and the word of each bad word in the text of a file."""
    found = []
    for line, text in texts(suffix, source):
        kept = USER.sub(lambda match: " " * len(match[0]), text)
        found += [(line + kept.count("\n", 0, match.start()), match[0]) for match in WORDS.finditer(kept)]
    return found


def main(arguments: list[str]) -> int:
    for suffix, source, expected in SELF_CHECKS:
        if [line for line, _ in find(suffix, source)] != expected:
            print(f"checkwords: finds {find(suffix, source)} in {source!r}, and not lines {expected}")
            return 1
    places = [Path(argument) for argument in arguments] or [ROOT / name for name in CLEAN]
    files = [
        file
        for place in places
        for file in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if file.suffix in SUFFIXES and file.name != "CHANGELOG.md"
        if not {"build", ".dev"} & set(file.parts)
    ]
    bad = [(file, *hit) for file in files for hit in find(file.suffix, file.read_text())]
    for file, line, word in bad:
        print(f"{file}:{line}: {' '.join(word.split())!r}: name the process, thread or caller that is meant")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
