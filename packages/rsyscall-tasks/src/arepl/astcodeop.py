"""Whether source text is a complete input, as `codeop` tells it, but for `await` and `return` at the top."""

from __future__ import annotations
import __future__

import ast
import codeop
import warnings
from typing import Literal, overload

__all__ = ["FUTURE_FLAGS", "ast_compile_command", "ast_compile_interactive"]

FUTURE_FLAGS = 0
"""The flags of `compile` that `from __future__ import ...` sets."""
for _name in __future__.all_feature_names:
    FUTURE_FLAGS |= getattr(__future__, _name).compiler_flag

# PyCF_DONT_IMPLY_DEDENT: a block that no empty line has closed is not complete.
_PARSE = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | 0x200


@overload
def ast_compile_command(
    source: str, filename: str = ..., symbol: Literal["single"] = ..., future_flags: int = ...
) -> ast.Interactive | None: ...
@overload
def ast_compile_command(
    source: str, filename: str = ..., symbol: str = ..., future_flags: int = ...
) -> ast.Interactive | ast.Module | ast.Expression | None: ...


def ast_compile_command(
    source: str, filename: str = "<input>", symbol: str = "single", future_flags: int = 0
) -> ast.Interactive | ast.Module | ast.Expression | None:
    """Parse an input if it is complete.

    Args:
        source: one or more lines, without the end of the last one. A block is complete when an empty line
            follows.
        filename: for errors.
        symbol: the mode of `compile`: "single", "exec" or "eval".
        future_flags: of `FUTURE_FLAGS`, those that earlier inputs have set.

    Returns:
        The `ast.Interactive` (`Module`, `Expression`); None if more lines are needed.

    Raises:
        SyntaxError: it is wrong, whatever follows. What only the compiler finds is not found here: a `yield`
            at the top, say.
        ValueError, OverflowError: see `compile`.
    """
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | future_flags
    try:
        with warnings.catch_warnings():
            # They are given when the input is evaluated.
            warnings.simplefilter("ignore")
            if compiler(source, filename, symbol) is None:
                return None
    except SyntaxError:
        # Also of a `return` at the top, which the parser accepts. It raises the others again.
        pass

    def parse(text: str) -> ast.Interactive | ast.Module | ast.Expression:
        tree: ast.Interactive | ast.Module | ast.Expression
        tree = compile(text, filename, symbol, _PARSE | future_flags, dont_inherit=True)
        return tree

    # A text of comments alone has no statement.
    if symbol != "eval" and not any(_has_code(line) for line in source.splitlines()):
        return parse("pass")
    try:
        return parse(source)
    except SyntaxError:
        try:
            parse(f"{source}\n")
        except SyntaxError:
            pass
        else:
            return None
        raise


def _has_code(line: str) -> bool:
    return line.strip()[:1] not in ("", "#")


def ast_compile_interactive(source: str) -> ast.Interactive | None:
    """Parse one input of a prompt if it is complete; see `ast_compile_command`."""
    tree = ast_compile_command(source)
    assert tree is None or isinstance(tree, ast.Interactive)
    return tree
