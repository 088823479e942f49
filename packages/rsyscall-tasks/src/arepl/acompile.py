"""Compile one input so that `await` and `return` may stand at its top, and its names are global ones.

Without `return` the input is compiled as a module is, with `ast.PyCF_ALLOW_TOP_LEVEL_AWAIT`: names land in
the global variables by themselves. With one it has to be the body of a function, where all names that it
binds are declared global.
"""

from __future__ import annotations

import ast
import inspect
import types
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["compile_to_awaitable", "execute"]

_FUNCTION = "__arepl__"


@dataclass
class _InternalResult(Exception):
    """How the value of an input leaves it."""

    is_expression: bool
    value: object


# The input finds the class by this: no name of its own is in the way.
_RESULT = f"__import__({__name__!r}, fromlist=['*'])._InternalResult"


def compile_to_awaitable(
    astob: ast.Interactive, global_vars: dict[str, Any], filename: str = "<input>", future_flags: int = 0
) -> t.Awaitable[None]:
    """Compile an input; nothing of it runs before the result is awaited.

    Args:
        astob: from `ast_compile_interactive`; it is changed.
        global_vars: the names that it uses and binds.
        filename: for tracebacks.
        future_flags: those of `from __future__ import ...` in earlier inputs.

    Returns:
        To be awaited once. If the last statement is an expression, or `return` is reached, that raises
        `_InternalResult`; otherwise it returns None, or raises what the input raises.

    Raises:
        SyntaxError: the compiler found something wrong.
    """
    body = astob.body
    has_return = any(isinstance(node, ast.Return) for node in _nodes_at_the_top(body))
    if body and isinstance(last := body[-1], ast.Expr):
        body[-1] = _leave(last, True, last.value)
    if has_return:
        return _call(_as_function(body, filename, future_flags), global_vars)
    module = ast.fix_missing_locations(ast.Module(body, []))
    return _run(_compile(module, filename, future_flags), global_vars)


async def execute(
    tree: ast.Interactive | ast.Module, global_vars: dict[str, Any], filename: str, future_flags: int = 0
) -> None:
    """Run an input as Python's own prompt does, or a program, but for `await` at the top.

    Args:
        tree: of an `Interactive`, the values of all expressions are shown, by `sys.displayhook`.
        global_vars: the names that it uses and binds.
        filename: for tracebacks.
        future_flags: those of `from __future__ import ...` in earlier inputs.

    Raises:
        SyntaxError: the compiler found something wrong.
        BaseException: what it raises.
    """
    await _run(_compile(tree, filename, future_flags), global_vars)


def _compile(tree: ast.Interactive | ast.Module, filename: str, future_flags: int) -> types.CodeType:
    mode = "single" if isinstance(tree, ast.Interactive) else "exec"
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | future_flags
    code: types.CodeType = compile(tree, filename, mode, flags, dont_inherit=True)
    return code


async def _run(code: types.CodeType, global_vars: dict[str, Any]) -> None:
    result = eval(code, global_vars)
    if code.co_flags & inspect.CO_COROUTINE:
        await result


async def _call(code: types.CodeType, global_vars: dict[str, Any]) -> None:
    result = await types.FunctionType(code, global_vars)()
    if result is not None:
        raise result


def _nodes_at_the_top(nodes: t.Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes that are in no function, class or lambda."""
    for node in nodes:
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield from _nodes_at_the_top(ast.iter_child_nodes(node))


def _leave(statement: ast.stmt, is_expression: bool, value: ast.expr | None) -> ast.stmt:
    """A statement that raises the value in the place of another one."""
    raising = ast.parse(f"raise {_RESULT}({is_expression}, None)").body[0]
    assert isinstance(raising, ast.Raise)
    assert isinstance(raising.exc, ast.Call)
    for node in ast.walk(raising):
        ast.copy_location(node, statement)
    if value is not None:
        raising.exc.args[1] = value
    return raising


class _Returns(ast.NodeTransformer):
    """Have a function return what tells a value from none."""

    def visit_Return(self, node: ast.Return) -> ast.AST:
        raising = _leave(node, False, node.value)
        assert isinstance(raising, ast.Raise)
        return ast.copy_location(ast.Return(raising.exc), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        # Of a name that is declared global this would be an error.
        if not isinstance(node.target, ast.Name):
            return node
        if node.value is None:
            return ast.copy_location(ast.Expr(node.annotation), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def _leave_alone(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _leave_alone


def _as_function(body: list[ast.stmt], filename: str, future_flags: int) -> types.CodeType:
    """The code of a function that returns an `_InternalResult` for a `return`; a module's in tracebacks."""
    statements = [_Returns().visit(statement) for statement in body]
    function = ast.parse(f"async def {_FUNCTION}(): pass").body[0]
    assert isinstance(function, ast.AsyncFunctionDef)
    function.body = statements
    module = ast.fix_missing_locations(ast.Module([function], []))
    # What the compiler takes for local variables becomes global.
    locals_ = _code_of(compile(module, filename, "exec", future_flags, dont_inherit=True))
    if locals_.co_flags & inspect.CO_ASYNC_GENERATOR:
        raise SyntaxError("'yield' outside function", (filename, body[0].lineno, None, None))
    names = sorted({*locals_.co_varnames, *locals_.co_cellvars})
    if names:
        function.body.insert(0, ast.copy_location(ast.Global(names), body[0]))
        ast.fix_missing_locations(module)
    code = _code_of(compile(module, filename, "exec", future_flags, dont_inherit=True))
    return code.replace(co_name="<module>")


def _code_of(module: types.CodeType) -> types.CodeType:
    codes = (const for const in module.co_consts if isinstance(const, types.CodeType))
    return next(code for code in codes if code.co_name == _FUNCTION)
