"""`rsyscall.scripts.symsh`."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path as LocalPath

import pytest
import trio

from rsyscall.command import Command
from rsyscall.linux.fuse import FuseGetattrOp, FuseInitOp, FuseLookupOp, negotiate
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.scripts.symsh import CommandData, FuseFS, Symlinks, amain, reconstruct, symsh_main
from rsyscall.sys.stat import S_IF, Stat, TypeMode
from rsyscall.tasks.local import local_thread
from rsyscall.time import Timespec

from .support import cloned, sh

needs_fuse = pytest.mark.needs("/dev/fuse", "privileged mount namespaces")
SECONDS = 20


def file(ino: int, kind: S_IF = S_IF.FIFO) -> Stat:
    never = Timespec(0, 0)
    return Stat(14, ino, TypeMode.from_int(kind | 0o600), 1, 0, 0, 0, 0, 4096, 0, never, never, never)


TTY = file(1, S_IF.CHR)


def command(
    name: str, stdin: Stat | None = TTY, stdout: Stat | None = TTY, stderr: Stat | None = TTY
) -> CommandData:
    return CommandData([name], stdin, stdout, stderr)


@pytest.mark.parametrize(
    ("commands", "text"),
    [
        ([], ""),
        ([command("a"), command("b")], "a\nb"),
        # In any order.
        ([command("b", file(5)), command("a", stdout=file(5))], "a | b"),
        (
            [
                command("c", file(6)),
                command("x"),
                command("b", file(5), file(6)),
                command("a", stdout=file(5)),
            ],
            "a | b | c\nx",
        ),
        # Files that are not pipes join nothing, even if they are the same.
        ([command("a", stdout=file(5, S_IF.REG)), command("b", file(5, S_IF.REG))], "a\nb"),
        # Nor do pipes of others: of the whole script.
        ([command("a", file(7), file(8), file(8)), command("b", file(7), file(8), file(8))], "a\nb"),
        ([command("a", stdout=file(5), stderr=file(5)), command("b", file(5))], "a 2>&1 | b"),
        (
            [command("a", stdout=file(5)), command("c", file(5)), command("b", stdout=file(5))],
            "{ a; b; } | c",
        ),
        ([command("a", stdout=file(5)), command("b", file(5)), command("c", file(5))], "a | { b; c; }"),
        # Closed descriptors.
        ([command("a", None, file(5), None), command("b", file(5), None, None)], "a | b"),
        # No shell makes a circle, but others may.
        ([command("a", file(5), file(6)), command("b", file(6), file(5))], "a | b"),
    ],
)
def test_reconstruct(commands: list[CommandData], text: str) -> None:
    assert reconstruct(commands) == text


SCRIPT = """
foo -x 'two words' | bar '$HOME' 2>&1 | baz > out
cd . && single
(one; two) | three
four | five < /dev/null
if test_of_ours; then yes_it_is; fi
echo hello > said
"""
EXPECTED = """\
foo -x 'two words' | bar '$HOME' 2>&1 | baz
single
{ one; two; } | three
four
five
test_of_ours
yes_it_is"""


@needs_fuse
async def test_a_script(tmp_path: LocalPath) -> None:
    with trio.fail_after(SECONDS):
        text = await symsh_main(local_thread, sh(f"cd {tmp_path}; {SCRIPT}"))
    assert sorted(text.splitlines()) == sorted(EXPECTED.splitlines())
    # What the shell itself does is done.
    assert (tmp_path / "out").read_bytes() == b""


@needs_fuse
async def test_nothing_is_left(
    tmp_path: LocalPath, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = tmp_path_factory.mktemp("listing") / "during"
    monkeypatch.setitem(local_thread.environ.data, "TMPDIR", str(tmp_path))
    with trio.fail_after(SECONDS):
        await symsh_main(local_thread, sh(f"cd {tmp_path}; echo */* > {listing}"))
        assert re.fullmatch(r"(mkdtemp\.\w+)/bin \1/stub \1/stub\.sock\n", listing.read_text())
        with pytest.raises(FileNotFoundError):
            await symsh_main(local_thread, Command("/no/such/shell", ["sh"], {}))
    assert os.listdir(tmp_path) == []


@needs_fuse
async def test_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(SECONDS):
        await amain(["exec", "--", "sh", "-c", "a | b; c"])
    assert capsys.readouterr().out == "a | b\nc\n"


@needs_fuse
@pytest.mark.slow
@pytest.mark.needs("user namespaces")
@pytest.mark.parametrize("prefix", [[], ["setpriv", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin"]])
def test_the_example(prefix: list[str]) -> None:
    """Also where nothing may be mounted outside of a user namespace."""
    command = [*prefix, sys.executable, "-m", "rsyscall.scripts.symsh", "example"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "fetch 'http://host/one file' | unpack -q 2>&1 | tee one.log",
        "fetch 'http://host/two file' | unpack -q 2>&1 | tee two.log",
        "{ list a; list b; } | sort",
        "report",
    ]


@needs_fuse
async def test_requests_by_hand(tmp_path: LocalPath) -> None:
    with trio.fail_after(SECONDS):
        async with cloned(local_thread, CLONE.NEWNS) as child:
            await child.make_rprivate()
            async with await FuseFS.mount(child, Path(tmp_path)) as fs:
                [init] = await fs.read()
                assert isinstance(init, FuseInitOp)
                await fs.write(init.respond(negotiate(init.msg, max_write=4096)))

                async def look() -> None:
                    async with cloned(child) as other:
                        assert not await other.exists(tmp_path / "name")
                    await fs.device.unmount()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(look)
                    names = []
                    while ops := await fs.read():
                        for op in ops:
                            if isinstance(op, FuseLookupOp):
                                names.append(op.name)
                                await fs.write(op.error(-errno.ENOENT))
                            elif isinstance(op, FuseGetattrOp):
                                await fs.write(op.respond(await Symlinks("x").getattr(op)))
                            else:
                                await fs.write(op.error(-errno.ENOSYS))
                assert names == ["name"]
