"""Fragments of the pages in docs/ that are not in a whole program; `tests/layers` runs those."""

from __future__ import annotations

import ast
import dataclasses
import fnmatch
import inspect
import pathlib
import re
import resource
import struct
import subprocess

import pytest
import trio

from rsyscall import ChildThread, Command, Int32, Limits, Path, local_thread
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.interfaces import Interfaces
from rsyscall.near import SYS
from rsyscall.running import RunOptions
from rsyscall.spawn import PreparedThread
from rsyscall.struct import StructList
from rsyscall.sys.stat import Stat
from rsyscall.unistd import GroupList, Pipe, ResIds
from rsyscall.with_setup import WithSetup


async def test_a_call_that_has_no_method() -> None:
    """In a child, and in a prepared one, where it is made by exec."""
    limit = struct.pack("QQ", 64, 64)
    child = await local_thread.clone()
    written = await child.ptr(limit)
    await child.task.sysif.syscall(SYS.prlimit64, 0, resource.RLIMIT_NOFILE, written.near, 0)
    prepared = local_thread.prepare()
    # This pointer is not kept: the prepared thread does that.
    address = (await prepared.ptr(limit)).near
    await prepared.task.sysif.syscall(SYS.prlimit64, 0, resource.RLIMIT_NOFILE, address, 0)
    for thread in (child, prepared):
        await (await thread.exec(Command("/bin/sh", ["sh", "-c", "test $(ulimit -n) = 64"], {}))).check()


async def test_which_calls_consume_their_pointer() -> None:
    """The table of the memory page, an example of each row."""
    async with await local_thread.task.open(
        path := await local_thread.ptr(Path("/proc/version")), O.RDONLY
    ) as fd:
        buf = await local_thread.malloc(bytes, 5)
        filled, rest = await fd.read(buf)
        assert (await filled.read(), await filled.read(), rest.size()) == (b"Linux", b"Linux", 0)
        stat = await local_thread.malloc(Stat)
        assert await fd.fstat(stat) is stat
    ids = await local_thread.malloc(ResIds)
    assert await local_thread.task.getresgid(ids) is ids
    whole = filled + rest
    pipe = await (await local_thread.task.pipe(pair := await local_thread.malloc(Pipe))).read()
    await pipe.read.close()
    await pipe.write.close()
    for consumed in (buf, filled, rest, pair):
        with pytest.raises(UseAfterFreeError):
            await consumed.read()
    assert await whole.read() == b"Linux"
    # One that is only read.
    await (await local_thread.task.open(path, O.RDONLY)).close()


async def test_lists_that_can_be_put_into_memory() -> None:
    numbers = StructList(Int32, [Int32(1), Int32(2)])
    pointer = await local_thread.ptr(numbers)
    assert (pointer.size(), await pointer.read()) == (8, numbers)
    assert (await local_thread.ptr(GroupList([1, 2]))).size() == 8
    with pytest.raises(TypeError, match="list"):
        await local_thread.ptr([Int32(1), Int32(2)])  # type: ignore[call-overload]  # this is what is tested


ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = re.compile(r"`<[^>]+>`")


def header_modules() -> dict[str, list[str]]:
    """The modules whose docstring begins with a header, and the headers that its first line names."""
    found = {}
    for path in ROOT.glob("packages/*/src/rsyscall/**/*.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        if text.startswith("`<"):
            parts = path.with_suffix("").parts
            name = ".".join(parts[parts.index("src") + 1 :]).removesuffix(".__init__")
            found[name] = HEADER.findall(text.partition(": ")[0])
    return found


def test_the_table_of_headers_is_complete() -> None:
    page = (ROOT / "docs/from-man-page.md").read_text()
    rows = re.findall(r"^\| (`<.*) \| `(rsyscall\.[\w.]+)` \|", page, re.MULTILINE)
    modules = header_modules()
    assert len(modules) > 20
    assert {module: HEADER.findall(headers) for headers, module in rows} == modules


def methods(cls: type) -> set[str]:
    """The public methods of a class."""
    return {name for name in dir(cls) if not name.startswith("_") and callable(getattr(cls, name))}


def test_the_page_of_short_forms_is_complete() -> None:
    """All methods of a thread, and those that a prepared one has, too, where the page says so."""
    page = (ROOT / "docs/short-forms.md").read_text()
    tables = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", page, re.MULTILINE))
    named = {title: set(re.findall(r"`(\w+)(?:\(|`)", text)) for title, text in tables.items()}
    of_child_alone = {"adopt_orphans"}  # docs/processes.md
    assert methods(ChildThread) - of_child_alone - {"fork", "spit"} <= set().union(*named.values())
    set_up = {
        row.split("|")[1] for row in tables["Setting up a process"].splitlines() if row.startswith("| `")
    }
    listed = {name for cell in set_up for name in re.findall(r"`(\w+)\(", cell)}
    assert listed == methods(WithSetup) - {"malloc", "ptr"}
    assert issubclass(PreparedThread, WithSetup)
    documented = {name for names in named.values() for name in names if f"`{name}(" in page}
    others = {"get", "await", "mkdtemp"}
    assert methods(Interfaces) <= named["Networks"]
    assert not documented - others - methods(ChildThread) - methods(Interfaces) - {"setresuid"}


def modules_of(distribution: str) -> set[str]:
    """The modules of a distribution, by their paths below `rsyscall`."""
    source = ROOT / "packages" / distribution / "src/rsyscall"
    found = {path.relative_to(source).with_suffix("") for path in source.rglob("*.py")}
    return {str(path) for path in found if path.stem != "__init__"}


@pytest.mark.parametrize("distribution", ["rsyscall-near", "rsyscall-thread", "rsyscall-tasks"])
def test_the_architecture_has_every_module(distribution: str) -> None:
    """By its name, by a pattern such as `trace*`, or with the package that it is in."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    named = {name.removesuffix(".py").rpartition("/")[2] for name in re.findall(r"`([\w./*]+)`", page)}
    named = {part for name in named for part in name.split(".")} - {"near", "tasks"}
    modules = modules_of(distribution)
    assert len(modules) > 10
    missing = {
        module
        for module in modules
        if not any(fnmatch.filter(module.split("/"), name) for name in named - {"*"})
    }
    assert missing - {"tasks/clone", "tasks/connection"} == set()  # other names of modules of the layer below


def test_the_table_of_tasks_has_every_module() -> None:
    page = (ROOT / "packages/rsyscall-tasks/README.md").read_text()
    named = set(re.findall(r"`rsyscall\.([\w.]+)`", page))
    public = {module.replace("/", ".") for module in modules_of("rsyscall-tasks") if "/_" not in module}
    assert public - {"tasks.clone", "tasks.connection"} <= named


def test_every_example_is_listed() -> None:
    page = (ROOT / "docs/README.md").read_text()
    examples = {f"../examples/{path.name}" for path in (ROOT / "examples").glob("*.py")}
    assert len(examples) > 15
    assert examples == set(re.findall(r"\]\((\.\./examples/[^)]+)\)", page))


def test_the_page_about_subprocess_is_complete() -> None:
    """All that `subprocess` and `trio.run_process` take and have, and all of our options."""
    page = (ROOT / "docs/coming-from-subprocess.md").read_text()
    theirs = {
        *subprocess.__all__,
        *inspect.signature(subprocess.Popen).parameters,
        *inspect.signature(subprocess.run).parameters,
        *(name for name in dir(subprocess.Popen) if not name.startswith("_")),
        *inspect.signature(trio.run_process).parameters,
    }
    ours = {*RunOptions.__annotations__, *(option.name for option in dataclasses.fields(Limits))}
    words = set(re.findall(r"\w+", page))
    # The parameters of their functions that collect others, and what nursery.start passes.
    others = {"popenargs", "kwargs", "options", "args", "command", "task_status"}
    assert (theirs | ours) - others - words == set()
