"""Our trace of some calls of each family, beside what `strace -v` says that the kernel saw."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from strace_text import Call, parse, same, same_call

from rsyscall.near import SYS

HERE = Path(__file__).parent
STRACE = shutil.which("strace")
# Those that Python and the library make besides, very often: not those that the driver makes.
OTHERS = "futex,rt_sigaction,getrandom,brk,readlink"


@pytest.mark.slow
@pytest.mark.needs("ptrace")
@pytest.mark.skipif(STRACE is None, reason="package: strace is not installed")
def test_our_trace_says_what_strace_says(tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    if path := environment.get("PYTHONPATH"):  # the development tree, usually given relative to the root
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    command = [
        *(str(STRACE), "-f", "-v", "-s", "64", "-e", f"trace=!{OTHERS}", "-o", "theirs"),
        *(sys.executable, str(HERE / "strace_driver.py"), "ours"),
    ]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    # Each begins with the number of a thread.
    theirs = [line.split(None, 1)[1] for line in (tmp_path / "theirs").read_text().splitlines()]
    seen = [parse(line) for line in theirs if re.match(r"\w+\(.*\)\s+= ", line)]
    shown = (tmp_path / "ours").read_text().splitlines()
    assert len(shown) > 180
    place = 0
    for line in shown:
        call = parse(line)
        found = next((index for index in range(place, len(seen)) if same_call(call, seen[index])), None)
        near = [one for one in seen[place : place + 100] if one.name == call.name][:3]
        assert found is not None, f"strace has no\n{call}\nbut\n" + "\n".join(map(str, near))
        place = found + 1


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ('f("a\\000b") = 0', 'f("a\\0b")   = 0', True),
        ('f("a\\000b") = 0', 'f("a\\0c")   = 0', False),
        ("f(A|B, 3) = 1", "f(B|A, 3) = 1 (flags X)", True),
        ("f(A|B) = 1", "f(A|C) = 1", False),
        ("f({x=1, ...}) = 0", "f({y=2 /* two */, x=1}) = 0", True),
        ("f({x=1}) = 0", "f({y=2, x=3}) = 0", False),
        ("f({x=1}) = 0", "f({y=2}) = 0", False),
        ("f({x={y=g(1)}}) = 0", "f({x={y=g(2)}}) = 0", False),
        ("f([1]) = -1 ENOENT (No such)", "f([1]) = -1 ENOENT (No such)", True),
        ("f([1]) = -1 ENOENT (No such)", "f([1]) = -1 EPERM (No such)", False),
        ("f(0x7f00, 1) = 0", "f([{fd=3}], 1) = 0", True),
        ("f(0x7f00) = 0", "f(0x7f01) = 0", False),
        ("f({x=1}) = 0", "f(0x7f01) = 0", True),
        ("f({x=1}) = 0", "f(NULL) = 0", False),
        ("f(1) = 0", "f(1, 2) = 0", False),
        ("f(0) = 0", "f(SEEK_SET) = 0", True),
        ("f([0, 65]) = 0", "f([0x00000000000001, 0x00000000000002]) = 0", True),
        ("f([0]) = 0", "f([0x00000000000003]) = 0", False),
        ("f([]) = 0", "f([0000000000000000]) = 0", True),
        ('f("a\\000") = 2', 'f("a") = 2', True),
        ('f("a\\001") = 2', 'f("a") = 2', False),
        ("f(F_TWO, 1) = 0", "f(0x2 /* F_??? */, 1) = 0", True),
        ("getpid() = 3", f"syscall_{SYS.getpid:#x}(0x1, 0x2) = 3", True),
        ("getpid() = 3", f"syscall_{SYS.getpid:#x}(0x1, 0x2) = 4", False),
        ("getpid() = 10", f"syscall_{SYS.getpid:#x}() = 0xa", True),
        ("getpid() = -1 EPERM (x)", f"syscall_{SYS.getpid:#x}() = -1 EPERM (x)", True),
        ("getpid() = -1 EPERM (x)", f"syscall_{SYS.getpid:#x}() = -1 EINVAL (x)", False),
        ("getpid() = 3", f"syscall_{SYS.getppid:#x}(0x1, 0x2) = 3", False),
        ("close(-1) = 3", f"syscall_{SYS.close:#x}(0xffffffffffffffff) = 3", True),
        ("close(1) = 3", f"syscall_{SYS.close:#x}(0x2) = 3", False),
        ("mkdirat(AT_FDCWD, {x=1}) = 3", f"syscall_{SYS.mkdirat:#x}(0xffffffffffffff9c, 0x5) = 3", True),
    ],
)
def test_the_comparison(ours: str, theirs: str, expected: bool) -> None:
    assert same_call(parse(ours), parse(theirs)) == expected


def test_the_parser() -> None:
    call = parse('f(3, {a=[1, "x\\377"], b=h("y", 2)}, NULL) = -1 E (e)')
    assert call == Call("f", ("3", {"a": ("1", b"x\xff"), "b": ("h", b"y", "2")}, "NULL"), "-1 E")
    assert not same(b"a", b"ab")
