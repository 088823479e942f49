"""Generate docs/calls.md: the method of each system call, and how to make those that have none.

    python3 tools/abigen/call_methods.py --write     write docs/calls.md
    python3 tools/abigen/call_methods.py --check     exit 1, with a diff, if it is not what would be written
    python3 tools/abigen/call_methods.py --table     count the calls; exit 1 if one is not in the book

The method of a call is found in the code: the public method that, by itself or by private functions, names
the number of the call. The book of calls has the reasons for those that have no method. All layers must be
importable.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import NamedTuple

import generated
from call_evidence import structures_of, test_of

from rsyscall.handle import ChildProcess, FileDescriptor, MemoryMapping, Process, Task
from rsyscall.handle._later import Later
from rsyscall.near._tables import ARCHITECTURES
from rsyscall.near.calls import BOOK, LATER, CallFacts
from rsyscall.thread import Thread

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/calls.md"
COMMAND = "python3 tools/abigen/call_methods.py --write"

CLASSES = (FileDescriptor, Task, Process, ChildProcess, MemoryMapping)
# Methods that reach their call through other objects: the names of the calls they make.
INDIRECT: dict[tuple[type, str], set[str]] = {
    (FileDescriptor, "close"): {"close"},
    (Thread, "clone"): {"clone3"},
}
# Functions whose call only answers a question about another one.
QUESTIONS = {"_may_omit_cmsg_cloexec"}
NUMBERS = {"nr", "SYS"}
# The headers of private modules that are not named after theirs.
HEADERS = {
    "_mmsg": "rsyscall.sys.socket",
    "_owned_events": "rsyscall.unistd",
    "_received": "rsyscall.sys.socket",
}
MANPAGE = re.compile(r"^\s*manpage: (.*)$", re.MULTILINE)

HEAD = """\
<!-- Made by: {command} -->
# Every system call

A call that has a method, and one that has none:

```python
import trio

from rsyscall import local_thread
from rsyscall.near import SYS


async def main() -> None:
    child = await local_thread.clone()
    async with child.process:
        print(await child.task.getppid() == await local_thread.task.getpid())
        print(await child.task.sysif.syscall(SYS.writev, 1, 0, 0))


trio.run(main)
```

```text
True
0
```

The calls of x86_64, aarch64 and riscv64, up to the newest kernel that the tables know: which method makes
each of them, its manual page, its structures, and the tests that make it. They stand by header, each of which
is a module with the constants and structures that belong to its calls. [From the manual page to the
call](from-man-page.md) explains how parameters and results are translated.

The first column has the kernel's name. It differs from the name in the manual where the kernel has replaced a
call (`newfstatat` for `stat`). "since" is the first kernel that has the call, where that is newer than Linux
2.6. A method of `Process` is one of `ChildProcess`, too. `Thread` has shorter methods for many of these.

{headers}
"""

HEADER = """
## {title}

`{module}`

| call | methods | manual page | structures | since | tested in |
|---|---|---|---|---|---|
"""

WITHOUT = """
## Calls without a method yet

Make these by their number, for example `await task.sysif.syscall(SYS.kexec_load, 0, 0, 0, 0)`.
[A call that has no method](from-man-page.md#a-call-that-has-no-method) says what to mind.

"""

SKIPPED = """
## Calls that get no method

Another call does the same, the kernel no longer has the call, or it makes no sense in a process that is
driven from outside.

| call | why, and what to use |
|---|---|
"""


def numbers() -> list[str]:
    """The calls of all architectures; those that x86_64 has first, in the order of their numbers."""
    found: dict[str, None] = {}
    for name in ("x86_64", *ARCHITECTURES):
        table = importlib.import_module(f"rsyscall.near._tables.{name}").SYS
        found.update(dict.fromkeys(sorted(table.__members__, key=lambda call: int(table[call]))))
    return list(found)


def function_of(found: object) -> FunctionType | None:
    """The function behind a method or a name, if it is one of ours."""
    function = inspect.unwrap(found) if callable(found) else None
    ours = isinstance(function, FunctionType) and function.__module__.startswith("rsyscall.")
    return function if ours and isinstance(function, FunctionType) else None


@functools.cache
def body(function: FunctionType) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


@functools.cache
def imported_in(function: FunctionType) -> dict[str, object]:
    """The private names that the function imports itself, when it is called."""
    return {
        alias.name: getattr(importlib.import_module(node.module), alias.name)
        for node in ast.walk(body(function))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.name.startswith("_")
    }


def made_by(function: FunctionType, cls: type, public: bool) -> set[tuple[str, str]]:
    """The calls that a function of `cls` makes, each with the module of the function that names its number.

    Args:
        public: whether to follow public methods of the same object, too.
    """
    calls: set[tuple[str, str]] = set()
    pending, seen = [function], {function}
    while pending:
        current = pending.pop()
        for node in ast.walk(body(current)):
            called: object = None
            match node:
                case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                    if name in NUMBERS:
                        calls.add((attribute, current.__module__))
                    elif name == "self" and (public or attribute.startswith("_")):
                        called = inspect.getattr_static(cls, attribute, None)
                    elif isinstance(module := current.__globals__.get(name), ModuleType):
                        called = getattr(module, attribute, None)
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="abi"), attr="call"),
                    args=[ast.Constant(value=str(name))],
                ):
                    calls.add((name, current.__module__))
                case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=attribute):
                    mro = iter(cls.__mro__)
                    next((base for base in mro if base.__dict__.get(current.__name__) is current), None)
                    called = next((vars(base)[attribute] for base in mro if attribute in vars(base)), None)
                case ast.Name(id=name):
                    called = current.__globals__.get(name, imported_in(current).get(name))
                case _:
                    pass
            found = function_of(called)
            if found is not None and found not in seen and found.__name__ not in QUESTIONS:
                seen.add(found)
                pending.append(found)
    return calls


def module_of(name: str) -> str:
    """The public module of a header, for one that holds a part of it."""
    parts = name.split(".")
    if parts[-1] in HEADERS:
        return HEADERS[parts[-1]]
    if parts[-1].startswith("_"):
        parts[-1] = parts[-1].split("_")[1]
        if importlib.util.find_spec(".".join(parts)) is None:
            parts.pop()
    name = ".".join(parts)
    if name.startswith(("rsyscall.unistd.", "rsyscall.handle.")):
        return "rsyscall.unistd"
    return name


def pages_of(documentation: str) -> list[str]:
    match = MANPAGE.search(documentation)
    return match[1].rstrip(".").split(", ") if match else []


class Found(NamedTuple):
    """A method that makes a call.

    Attributes:
        method: with the name of its class.
        pages: of the manual.
        module: of the header of the call.
    """

    method: str
    function: FunctionType
    pages: list[str]
    module: str

    @property
    def name(self) -> str:
        return self.method.split(".")[1]


def all_methods() -> Iterator[tuple[str, Found]]:
    """Yield each call of each method."""
    made: dict[tuple[type, str], set[tuple[str, str]]] = {}
    for cls in CLASSES:
        for name in sorted(dir(cls)):
            # Methods of a module that is imported later are found in the class after a look at them.
            if isinstance(inspect.getattr_static(cls, name), Later):
                getattr(cls, name)
            function = function_of(inspect.getattr_static(cls, name))
            pages = pages_of(function.__doc__ or "") if function else []
            if name.startswith("_") or function is None or not pages:
                continue
            calls = made_by(function, cls, public=False) or made_by(function, cls, public=True)
            inherited = set().union(*(made.get((base, name), ()) for base in cls.__mro__))
            made[cls, name] = calls
            for call, module in sorted(calls - inherited):
                yield call, Found(f"{cls.__name__}.{name}", function, pages, module_of(module))
    for (owner, name), names in INDIRECT.items():
        function = function_of(getattr(owner, name))
        assert function is not None
        for call in sorted(names):
            module = "rsyscall.sched" if "clone" in call else module_of(function.__module__)
            pages = pages_of(function.__doc__ or "") or [f"{call}(2)"]
            yield call, Found(f"{owner.__name__}.{name}", function, pages, module)


def header_of(call: str, found: list[Found]) -> str:
    """The module of a call: that of the method with its name, if there is one."""
    modules = [method.module for method in found if method.name == call] or [
        method.module for method in found
    ]
    return max(modules, key=modules.count)


def title_of(module: str) -> str:
    """The headers of a module, as it says itself."""
    first = (importlib.import_module(module).__doc__ or "").splitlines()[0]
    match = re.match(r"`<\S+>`(, `<\S+>`)*( and `<\S+>`)?", first)
    assert match is not None, f"{module} does not begin with its header"
    return match[0]


def code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def anchor(title: str) -> str:
    """The anchor of a title, as Markdown on the web makes it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def named(call: str, methods: list[str]) -> str:
    """The methods, those with the name of the call first; many that begin with that name as one."""
    same = [method for method in methods if method.split(".")[1] == call]
    variants = [method for method in methods if f".{call}_" in method]
    if same and len(variants) > 4:
        others = [method for method in methods if method not in same and method not in variants]
        return f"{code(same + others)}, and `{same[0]}_*` for {len(variants)} of its operations"
    return code(same + methods)


def row(call: str, found: list[Found], book: CallFacts | None) -> str:
    pages = dict.fromkeys(page for method in found for page in method.pages if page.endswith("(2)"))
    # A method that chooses between two calls names the pages of both.
    own = [page for page in pages if page == f"{call}(2)"] or list(pages)
    test = test_of(call, {method.name for method in found}, header_of(call, found).split(".")[-1])
    assert test is not None, f"no test makes {call}"
    cells = [
        f"`{call}`",
        named(call, [method.method for method in found]),
        ", ".join(own),
        code(structures_of(method.function for method in found)),
        book.since if book else "",
        f"[{test.stem.removeprefix('test_')}](../{test})",
    ]
    return f"| {' | '.join(cells)} |\n"


def page() -> str:
    """The text of the page."""
    found = defaultdict(list)
    for call, method in all_methods():
        found[call].append(method)
    unknown = found.keys() - set(numbers())
    assert not unknown, f"no architecture has {unknown}"
    sections = defaultdict(list)
    for call in numbers():
        if call in found:
            sections[header_of(call, found[call])].append(call)
    titles = {module: title_of(module) for module in sections}
    order = sorted(sections, key=titles.__getitem__)
    links = (f"[{titles[module]}](#{anchor(titles[module])})" for module in order)
    text = HEAD.format(command=COMMAND, headers=",\n".join(links) + ".")
    for module in order:
        text += HEADER.format(title=titles[module], module=module)
        text += "".join(row(call, found[call], BOOK.get(call)) for call in sections[module])
    reasons = {call: BOOK[call].skipped for call in numbers() if call in BOOK and BOOK[call].skipped}
    contradictory = found.keys() & reasons.keys()
    assert not contradictory, f"the book says that there is no method for {contradictory}"
    rest = [call for call in numbers() if call not in found and call not in reasons]
    if rest:
        text += WITHOUT + textwrap.fill(", ".join(f"`{call}`" for call in rest) + ".", 110) + "\n"
    text += SKIPPED
    for call, reason in reasons.items():
        other = reason.removesuffix(" does the same")
        if other != reason:
            reason = f"`{other}` does the same"
            if other in found:
                same = [method.method for method in found[other] if method.name == call]
                reason += f": {code(same or (method.method for method in found[other]))}"
        text += f"| `{call}` | {reason} |\n"
    return text


def table() -> int:
    """Print the counts, of all architectures together; return how many calls are not in the book."""
    found = {call for call, _ in all_methods()}
    skipped = {name for name, row in BOOK.items() if row.skipped}
    unlisted = set(numbers()) - found - skipped - LATER
    later = LATER & set(numbers()) - found
    for what, names in (
        ("wrapped", found),
        ("with a reason", skipped),
        ("later", later),
        ("unlisted", unlisted),
    ):
        print(f"{what:14}{len(names):4}")
    print(*sorted(unlisted))
    return len(unlisted)


def main() -> int:
    """See the module."""
    if sys.argv[1:] == ["--table"]:
        return min(table(), 1)
    return generated.main(PAGE, page, COMMAND, __doc__)


if __name__ == "__main__":
    sys.exit(main())
