"""Examples of everyday jobs are hardly longer than the same with subprocess or pexpect, and do the same."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import tokenize
from pathlib import Path

import pytest

from .conftest import Programs
from .test_examples import EXAMPLES, NEEDS

FORMS = Path(__file__).with_name("subprocess_forms")
NAMES = sorted(path.name for path in FORMS.glob("*.py"))
NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}
# pexpect is no part of Python; the session `meta` has it.
NO_PEXPECT = pytest.mark.skipif(
    importlib.util.find_spec("pexpect") is None, reason="python: pexpect is not installed"
)


def code_lines(path: Path) -> int:
    """The lines with code: none that is blank, or has only a comment or a part of a docstring."""
    text = path.read_text()
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None:
                assert first.end_lineno is not None
                lines -= set(range(first.lineno, first.end_lineno + 1))
    return len(lines)


def test_lines_of_code_are_counted(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text('"""Says\n\nhello."""\n\n# A comment.\nprint(\n    "hello"\n)  # and this\n')
    assert code_lines(program) == 3


@pytest.mark.parametrize("name", NAMES)
def test_length(name: str) -> None:
    assert code_lines(EXAMPLES / name) <= 1.2 * code_lines(FORMS / name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[
                pytest.mark.needs(*NEEDS.get(name, [])),
                *([NO_PEXPECT] if name == "09_terminal.py" else []),
            ],
        )
        for name in NAMES
    ],
)
def test_both_print_the_same(cli: Programs, name: str) -> None:
    example, form = (cli(program=directory / name) for directory in (EXAMPLES, FORMS))
    assert (example.status, example.err) == (form.status, form.err) == (0, "")
    # The error of a step names the step, where subprocess does not.
    assert re.sub(r": chdir\(.*", "", example.out) == form.out
