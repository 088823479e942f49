"""Check that text names the one who acts: `python tools/checkwords.py [FILE...]`.

A pronoun like the ones below hides which process, thread or caller is meant; the phrases hide who does what.
Looks at comments and strings of Python and C, and at whole Markdown files and shell scripts: at all of the
repository, or at the given files. The user `nobody` is written in backquotes, as a string of its own, or as
the constant `NOBODY`.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Has the words in its self-checks.
OURSELVES = Path(__file__).resolve()
SUFFIXES = {".py", ".pyi", ".c", ".h", ".md"}
SCRIPTS = {"run", "place"}
WORDS = re.compile(
    r"(\b(?:no|some|any|every)body|\bwhom?ever|,\s+for\s+it\s+is|\b(?:is|are)\s+to\s+be|\bnone\s+of\s+ours|\bin\s+vain)\b",
    re.IGNORECASE,
)
USER = re.compile(r"""`nobody`|"nobody"|'nobody'|(?-i:\bNOBODY\b)""")
C_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
SELF_CHECKS = [
    (".md", "Two\nlines; Nobody waits.\n", [2]),
    (".md", "The user `nobody` waits.\n", []),
    (".md", "It is read, for it\nis there. Two are to be made.\n", [1, 2]),
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


def repository() -> list[Path]:
    """Return the files of the repository; without git, those that are not in hidden or build directories."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(git, cwd=ROOT, capture_output=True, text=True) if shutil.which("git") else None
    if listing is not None and listing.returncode == 0:
        files = [ROOT / name for name in listing.stdout.splitlines()]
    else:
        files = [
            file
            for file in ROOT.rglob("*")
            if not any(part.startswith(".") or part == "build" for part in file.relative_to(ROOT).parts[:-1])
        ]
    return sorted(
        file
        for file in files
        if (file.suffix in SUFFIXES or file.name in SCRIPTS) and file.is_file() and file != OURSELVES
    )


def main(arguments: list[str]) -> int:
    for suffix, source, expected in SELF_CHECKS:
        if [line for line, _ in find(suffix, source)] != expected:
            print(f"checkwords: finds {find(suffix, source)} in {source!r}, and not lines {expected}")
            return 1
    files = [Path(argument) for argument in arguments] or repository()
    bad = [(file, *hit) for file in files for hit in find(file.suffix, file.read_text())]
    for file, line, word in bad:
        print(f"{file}:{line}: {' '.join(word.split())!r}: say which process, thread or caller does what")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
