"""A prompt without a terminal: lines in, results out."""

from __future__ import annotations
import __future__

import ast
import codecs
import linecache
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from arepl import aeval
from arepl.acompile import execute
from arepl.aeval import ExceptionResult, ExpressionResult, Result, ReturnResult
from arepl.astcodeop import ast_compile_command
from arepl.checks import check_type
from arepl.help import Output, help_to_str

__all__ = ["FromREPL", "LineBuffer", "PureREPL", "run_repl"]

T = TypeVar("T")

# What one line may have: without an end of it, a peer could fill our memory.
_LONGEST_LINE = 1 << 20


class FromREPL(Exception):
    """Raised at a prompt to have `run_repl` raise it, instead of showing it to the person.

    Attributes:
        exn: the exception for the program.
    """

    def __init__(self, exn: Exception) -> None:
        super().__init__(exn)
        self.exn = exn


class PureREPL:
    """Takes lines, and evaluates them when they are a whole input.

    The text of each input stays known to `linecache`, so that tracebacks show it.

    Attributes:
        global_vars: the names that inputs use and bind.
        filename: of the last whole input, in tracebacks.
    """

    _inputs = 0

    def __init__(self, global_vars: dict[str, Any]) -> None:
        self.global_vars = global_vars
        self._lines = ""
        self._future_flags = 0
        self.filename: str = "<input>"

    @property
    def is_continued(self) -> bool:
        """Whether the lines so far are the beginning of an input."""
        return bool(self._lines)

    def forget_lines(self) -> None:
        """Drop an input that is not complete yet."""
        self._lines = ""

    async def eval_single(self, astob: ast.Interactive) -> Result:
        """Evaluate an input; see `arepl.aeval.eval_single`."""
        self._note_future(astob)
        return await aeval.eval_single(astob, self.global_vars, self.filename, self._future_flags)

    async def execute(self, astob: ast.Interactive) -> None:
        """Run an input, and show the values of its expressions; see `arepl.acompile.execute`."""
        self._note_future(astob)
        await execute(astob, self.global_vars, self.filename, self._future_flags)

    def _note_future(self, astob: ast.Interactive) -> None:
        for node in astob.body:
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                for alias in node.names:
                    feature = getattr(__future__, alias.name, None)
                    self._future_flags |= getattr(feature, "compiler_flag", 0)

    def parse_line(self, data: str) -> ast.Interactive | Exception | None:
        """Take one line, without evaluating anything.

        Args:
            data: the line, with its end.

        Returns:
            The whole input; None if it needs more lines; an exception (`SyntaxError`, say) if it is wrong.
        """
        self._lines += data
        source = self._lines[:-1] if self._lines.endswith("\n") else self._lines
        filename = f"<input {PureREPL._inputs + 1}>"
        # Before: an error of the parser shows the line, too.
        linecache.cache[filename] = (
            len(source),
            None,
            [f"{line}\n" for line in source.split("\n")],
            filename,
        )
        try:
            tree = ast_compile_command(source, filename, "single", self._future_flags)
        except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError) as error:
            self._lines = ""
            return error.with_traceback(None)
        if tree is None:
            return None
        assert isinstance(tree, ast.Interactive)
        self._lines = ""
        self.filename = filename
        PureREPL._inputs += 1
        return tree

    async def add_line(self, data: str) -> Result | None:
        """Take one line, and evaluate the input if it is whole now.

        Args:
            data: the line, with its end.

        Returns:
            How the input ended; None if it needs more lines.
        """
        parsed = self.parse_line(data)
        if isinstance(parsed, Exception):
            return ExceptionResult(parsed)
        return None if parsed is None else await self.eval_single(parsed)


class LineBuffer:
    """Makes lines of pieces of text."""

    def __init__(self) -> None:
        self._rest = ""

    def add(self, data: str) -> list[str]:
        """Take a piece; returns the lines that are whole now, with their ends.

        Raises:
            ValueError: a line is longer than a mebi of characters.
        """
        *lines, self._rest = (self._rest + data).split("\n")
        if len(self._rest) > _LONGEST_LINE:
            raise ValueError(f"a line has more than {_LONGEST_LINE} characters")
        return [f"{line}\n" for line in lines]


async def run_repl(
    read: Callable[[], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[None]],
    global_vars: dict[str, Any],
    wanted_type: type[T],
) -> T:
    """Have a person type Python until there is a value of a type: by `return value` at the prompt.

    Names are bound in `global_vars`; `_` is the value of the last expression. `await` may stand anywhere.
    `print` and `help` are asynchronous there, and write to the person: `await print(x)`.

    Args:
        read: some bytes of what the person types, in UTF-8; b"" at the end.
        write: shows bytes to the person.
        global_vars: is changed.
        wanted_type: see `arepl.checks.check_type`.

    Raises:
        FromREPL: raised at the prompt.
        EOFError: the input has ended without a value.
        Exception: what `read` and `write` raise.
    """

    async def show(text: str) -> None:
        await write(text.encode(errors="backslashreplace"))

    async def print_to_person(*values: object, **options: Any) -> None:
        if options.get("file") is not None:
            print(*values, **options)
            return
        output = Output()
        print(*values, **{**options, "file": output})
        await show(output.text)

    async def help_for_person(*request: object) -> None:
        await show(help_to_str(request[0]) if request else "Type await help(object) for help about it.\n")

    global_vars.update(print=print_to_person, help=help_for_person)
    global_vars.setdefault("__name__", "__repl__")
    repl = PureREPL(global_vars)
    buffer = LineBuffer()
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    await show(">")
    while True:
        data = await read()
        if not data:
            raise EOFError("REPL hangup")
        for line in buffer.add(decoder.decode(data).replace("\r\n", "\n")):
            result = await repl.add_line(line)
            if isinstance(result, ReturnResult):
                try:
                    check_type(result.value, wanted_type)
                except TypeError as error:
                    await show(f"TypeError: {error}\n")
                else:
                    return cast("T", result.value)  # which it is, by the check
            elif isinstance(result, ExceptionResult):
                if isinstance(result.exception, FromREPL):
                    raise result.exception
                await show(_traceback(result.exception))
            elif isinstance(result, ExpressionResult) and result.value is not None:
                global_vars["_"] = result.value
                await show(_repr(result.value))
            await show("." if result is None else ">")


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception as another:  # of its own __str__, say
        return f"{type(error).__qualname__}, which cannot be shown: {type(another).__qualname__}\n"


def _repr(value: object) -> str:
    try:
        return f"{value!r}\n"
    except (Exception, SystemExit) as error:
        return _traceback(error)
