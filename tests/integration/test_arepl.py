"""`arepl`: a prompt with top-level `await`, without a terminal."""

from __future__ import annotations

import ast
import linecache
import traceback
import typing
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from arepl.acompile import compile_to_awaitable
from arepl.aeval import ExceptionResult, ExpressionResult, FallthroughResult, Result, ReturnResult
from arepl.astcodeop import ast_compile_command, ast_compile_interactive
from arepl.checks import check_type
from arepl.help import Output, help_to_str
from arepl.repl import FromREPL, LineBuffer, PureREPL, run_repl


async def results(repl: PureREPL, text: str) -> list[Result]:
    """How the inputs in a text end."""
    found = [await repl.add_line(f"{line}\n") for line in text.split("\n")]
    return [result for result in found if result is not None]


async def value(repl: PureREPL, text: str) -> Any:
    """The value of the last expression in a text."""
    last = (await results(repl, text))[-1]
    assert isinstance(last, (ExpressionResult, ReturnResult)), last
    return last.value


async def error(repl: PureREPL, text: str) -> BaseException:
    """The exception with which the last input in a text ends."""
    last = (await results(repl, text))[-1]
    assert isinstance(last, ExceptionResult), last
    return last.exception


async def later(result: int) -> int:
    await trio.lowlevel.checkpoint()
    return result


@pytest.fixture
def repl() -> PureREPL:
    return PureREPL({"__name__": "__repl__", "later": later, "trio": trio})


async def test_expressions_statements_and_awaits(repl: PureREPL) -> None:
    assert await results(repl, "1 + 1") == [ExpressionResult(2)]
    assert await results(repl, "a = 1") == [FallthroughResult()]
    assert await results(repl, "b = await later(a + 1); b, a") == [ExpressionResult((2, 1))]
    assert repl.global_vars["b"] == 2
    assert await results(repl, "# a comment\n\n   ") == [FallthroughResult()] * 3
    assert await value(repl, "[await later(i) for i in range(3)]") == [0, 1, 2]


async def test_names_are_global(repl: PureREPL) -> None:
    await results(repl, "def f():\n    return a\n")
    await results(repl, "a = await later(5)")
    assert await value(repl, "f()") == 5
    await results(repl, "class C:\n    def get(self): return a\n")
    await results(repl, "from os.path import *; import os.path as p; del a; (w := 3); x: int = 4")
    assert await value(repl, "join is p.join, w, x, C") == (True, 3, 4, repl.global_vars["C"])
    assert isinstance(await error(repl, "C().get()"), NameError)
    await results(repl, "for i in range(3):\n    await later(i)\n")
    assert repl.global_vars["i"] == 2
    await results(repl, "global g; g = 7")
    assert repl.global_vars["g"] == 7


async def test_return(repl: PureREPL) -> None:
    assert await results(repl, "return 5") == [ReturnResult(5)]
    assert await results(repl, "return") == [ReturnResult(None)]
    assert await results(repl, "return await later(6)") == [ReturnResult(6)]
    assert await results(repl, "if False:\n    return 1\n") == [FallthroughResult()]
    assert await results(repl, "for i in range(9):\n    if i == 4: return i\n") == [ReturnResult(4)]
    assert repl.global_vars["i"] == 4
    assert await results(repl, "x = [y for y in 'ab']; z: int = 3; q: int; return x") == [
        ReturnResult(["a", "b"])
    ]
    assert (repl.global_vars["x"], repl.global_vars["z"]) == (["a", "b"], 3)
    # As in a function, no context manager takes it for an error.
    inside = "async with trio.open_nursery() as n:\n    return 5\n"
    assert await results(repl, inside) == [ReturnResult(5)]
    assert await results(repl, "def f():\n    return 5\n") == [FallthroughResult()]
    caught = "try:\n    return 8\nexcept BaseException:\n    print('caught')\n"
    assert await results(repl, caught) == [ReturnResult(8)]
    # A function that uses what the input binds.
    assert await results(repl, "k = 2; g = lambda: k; return g()") == [ReturnResult(2)]
    assert await results(repl, "if 0: return 1\n") == [FallthroughResult()]
    assert await results(repl, "5 if (lambda: 1)() else 0; 6") == [ExpressionResult(6)]


@pytest.mark.parametrize(
    "text",
    ["1 +", "yield 1", "return (yield)", "await", "x = = 1", "'open", "def f(: pass", "break", "nonlocal x"],
)
async def test_wrong_input(repl: PureREPL, text: str) -> None:
    assert isinstance(await error(repl, text), SyntaxError)
    assert not repl.is_continued
    assert await value(repl, "1") == 1


async def test_wrong_input_that_is_no_syntax_error(repl: PureREPL) -> None:
    assert isinstance(await error(repl, "x = '\0'"), (ValueError, SyntaxError))
    nested = "(" * 5000 + ")" * 5000
    assert isinstance(await error(repl, nested), (MemoryError, RecursionError, SyntaxError))
    assert await value(repl, "1") == 1


@pytest.mark.parametrize(
    "lines",
    [["if 1:", "    x = 1", ""], ["x = (", "1)"], ["'''", "x'''"], ["@f", "def g():", "    pass", ""]],
)
async def test_incomplete_input(repl: PureREPL, lines: list[str]) -> None:
    repl.global_vars["f"] = lambda function: function
    for line in lines[:-1]:
        assert await repl.add_line(f"{line}\n") is None
        assert repl.is_continued
    assert await repl.add_line(f"{lines[-1]}\n") is not None
    assert not repl.is_continued
    assert await repl.add_line("if 1:\n") is None
    repl.forget_lines()
    assert await value(repl, "3") == 3


async def test_traceback_shows_the_input_and_none_of_ours(repl: PureREPL) -> None:
    found = await error(repl, "def f():\n    1 / 0\n\nx = 5; await later(f())")
    text = "".join(traceback.format_exception(type(found), found, found.__traceback__))
    assert "x = 5; await later(f())" in text
    assert "    1 / 0" in text
    assert "arepl" not in text
    found = await error(repl, "return 1 / 0")
    text = "".join(traceback.format_exception(type(found), found, found.__traceback__))
    assert "return 1 / 0" in text
    assert "in <module>" in text
    assert "arepl" not in text
    found = await error(repl, "x = = 1")
    assert "x = = 1" in "".join(traceback.format_exception_only(type(found), found))
    linecache.checkcache()
    assert any("1 / 0" in line for line in linecache.getlines(_last_file(repl)))


def _last_file(repl: PureREPL) -> str:
    return f"<input {PureREPL._inputs}>"


async def test_future_imports_last_and_ours_do_not_count(repl: PureREPL) -> None:
    assert await value(repl, "def f(x: 1 + 1): pass\n\nf.__annotations__['x']") == 2
    await results(repl, "from __future__ import annotations")
    assert await value(repl, "def f(x: 1 + 1): pass\n\nf.__annotations__['x']") == "1 + 1"


async def test_what_ends_the_program_and_what_does_not(repl: PureREPL) -> None:
    assert isinstance(await error(repl, "raise SystemExit(3)"), SystemExit)
    repl.global_vars["trio"] = trio
    leave = "async with trio.open_nursery(strict_exception_groups=True):\n  raise {}\n"
    group = await error(repl, leave.format("SystemExit(3)"))
    assert isinstance(group.exceptions[0], SystemExit)  # type: ignore[attr-defined]  # of a group
    with pytest.raises(KeyboardInterrupt):
        await repl.add_line("raise KeyboardInterrupt\n")
    with pytest.raises(BaseException, match="nursery"):
        await results(repl, leave.format("KeyboardInterrupt"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await repl.add_line("await trio.sleep_forever()\n")
    assert scope.cancelled_caught


async def test_compile_to_awaitable() -> None:
    names: dict[str, Any] = {}
    tree = ast_compile_interactive("x = 1")
    assert tree is not None
    waiting = compile_to_awaitable(tree, names)
    assert "x" not in names
    assert await waiting is None
    assert names["x"] == 1
    assert isinstance(ast_compile_command("1 + 1", symbol="eval"), ast.Expression)


@given(st.text(alphabet="ab\n\té€", max_size=40), st.lists(st.integers(0, 40)))
def test_line_buffer(text: str, cuts: list[int]) -> None:
    buffer, lines, last = LineBuffer(), [], 0
    for cut in [*sorted(cut for cut in cuts if cut < len(text)), len(text)]:
        lines += buffer.add(text[last:cut])
        last = cut
    assert "".join(lines) == text[: text.rfind("\n") + 1]
    assert all(line.count("\n") == 1 for line in lines)


def test_a_line_without_an_end_is_refused() -> None:
    buffer = LineBuffer()
    with pytest.raises(ValueError, match="more than"):
        for _ in range(3):
            buffer.add("x" * 500_000)


def test_help() -> None:
    assert "Return the number of items" in help_to_str(len)
    assert "no python documentation found" in help_to_str("nothing of that name").lower()
    output = Output()
    output.write("a")
    output.write("b")
    assert output.text == "ab"


Mixed = typing.NewType("Mixed", int)


@pytest.mark.parametrize(
    ("value", "wanted", "fits"),
    [
        (1, int, True),
        ("1", int, False),
        (1, float, True),
        (True, int, True),
        (1.0, int, False),
        (None, None, True),
        (0, None, False),
        (1, int | None, True),
        ("x", typing.Union[int, None], False),  # noqa: UP007  # the other form of it
        ([1, 2], list[int], True),
        ([1, "2"], list[int], False),
        ({"a": 1}, dict[str, int], True),
        ({"a": "b"}, dict[str, int], False),
        ({1: 1}, typing.Mapping[str, int], False),
        ((1, "a"), tuple[int, str], True),
        ((1,), tuple[int, str], False),
        ((1, 2, 3), tuple[int, ...], True),
        ((1, "2"), tuple[int, ...], False),
        ({1}, set[str], False),
        ("a", typing.Literal["a", "b"], True),
        ("c", typing.Literal["a", "b"], False),
        (1, typing.Literal[True], False),
        (1, typing.Annotated[int, "x"], True),
        (1, typing.Any, True),
        (1, Mixed, True),
        ("1", Mixed, False),
        (len, typing.Callable[[int], int], True),
        (1, typing.Callable[[int], int], False),
        ("abc", typing.Sequence[int], True),
    ],
)
def test_check_type(value: object, wanted: Any, fits: bool) -> None:
    if fits:
        check_type(value, wanted)
    else:
        with pytest.raises(TypeError, match="the value"):
            check_type(value, wanted)


async def talk(text: bytes, wanted: Any, names: dict[str, Any] | None = None) -> tuple[Any, str]:
    """What a person who types this gives, and sees."""
    pieces = [bytes([byte]) for byte in text]
    seen = b""

    async def read() -> bytes:
        return pieces.pop(0) if pieces else b""

    async def write(data: bytes) -> None:
        nonlocal seen
        seen += data

    typed_read: Callable[[], Awaitable[bytes]] = read
    try:
        result = await run_repl(typed_read, write, {} if names is None else names, wanted)
    except Exception as error:
        result = error
    return result, seen.decode()


async def test_run_repl() -> None:
    result, seen = await talk(b"a = 20\na\nreturn _ + 2\n", int)
    assert (result, seen) == (22, ">>20\n>")
    result, seen = await talk("return 'é'\r\n".encode(), str)
    assert result == "é"
    result, seen = await talk(b"return 'x'\nif 1:\n  return 4\n\n", int)
    assert (result, seen) == (4, ">TypeError: the value has to be of type int, not str\n>..")
    names: dict[str, Any] = {}
    _, seen = await talk(
        b"1/0\nawait print(1, 2, sep='-')\nawait help(len)\nawait help()\nx = 1\n", int, names
    )
    assert "ZeroDivisionError" in seen
    assert ">1-2\n" in seen
    assert "Return the number of items" in seen
    assert names["x"] == 1


async def test_run_repl_ends() -> None:
    result, _ = await talk(b"1\n", int)
    assert isinstance(result, EOFError)
    assert str(result) == "REPL hangup"
    names = {"FromREPL": FromREPL}
    result, _ = await talk(b"raise FromREPL(KeyError('x'))\n", int, names)
    assert isinstance(result, FromREPL)
    assert isinstance(result.exn, KeyError)
    result, seen = await talk(b"raise SystemExit\nreturn 1\n", int)
    assert result == 1
    assert "SystemExit" in seen
    result, seen = await talk(b"class C:\n  def __repr__(self): exit(2)\n\nC()\nreturn 1\n", int)
    assert result == 1
    assert "SystemExit: 2" in seen
    bad = b"class C:\n  def __repr__(self): 1/0\n\nC()\nclass E(Exception): __str__ = None\n\nraise E\n"
    result, seen = await talk(bad + b"return 1\n", int)
    assert result == 1
    assert "ZeroDivisionError" in seen
