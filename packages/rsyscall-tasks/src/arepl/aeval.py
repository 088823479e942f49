"""Evaluate one input, and say how it ended."""

from __future__ import annotations

import ast
import types
from dataclasses import dataclass
from typing import Any

from arepl import acompile
from arepl.acompile import compile_to_awaitable

__all__ = [
    "ExceptionResult",
    "ExpressionResult",
    "FallthroughResult",
    "Result",
    "ReturnResult",
    "eval_single",
    "without_our_frames",
]


class Result:
    """How an input ended: one of the classes below."""


@dataclass
class ReturnResult(Result):
    """By `return value`."""

    value: object


@dataclass
class ExceptionResult(Result):
    """With an exception; its traceback begins in the input."""

    exception: BaseException


@dataclass
class ExpressionResult(Result):
    """Its last statement is an expression, with this value."""

    value: object


@dataclass
class FallthroughResult(Result):
    """With nothing to show."""


def without_our_frames(traceback: types.TracebackType | None, filename: str) -> types.TracebackType | None:
    """The part of a traceback from the first frame of a file on; None if there is none: it did not run."""
    part = traceback
    while part is not None and part.tb_frame.f_code.co_filename != filename:
        part = part.tb_next
    return part


def _is_result(error: BaseException) -> bool:
    # By its attribute: the class of groups is no builtin of Python 3.10.
    inner = getattr(error, "exceptions", ())
    if isinstance(error, (Exception, SystemExit)) or not inner:
        return isinstance(error, (Exception, SystemExit))
    return all(map(_is_result, inner))


async def eval_single(
    astob: ast.Interactive, global_vars: dict[str, Any], filename: str = "<input>", future_flags: int = 0
) -> Result:
    """Evaluate an input that `arepl.astcodeop` has found to be complete.

    Args:
        astob: the input; it is changed.
        global_vars: the names that it uses and binds.
        filename: for tracebacks.
        future_flags: those of `from __future__ import ...` in earlier inputs.

    Returns:
        How it ended. `SystemExit` is a result, too, also in a group; what else is no `Exception` is raised:
        it is about the program, as a cancellation is.
    """
    try:
        await compile_to_awaitable(astob, global_vars, filename, future_flags)
    except acompile._InternalResult as result:
        return ExpressionResult(result.value) if result.is_expression else ReturnResult(result.value)
    except BaseException as error:
        if not _is_result(error):
            raise
        return ExceptionResult(error.with_traceback(without_our_frames(error.__traceback__, filename)))
    return FallthroughResult()
