"""The tables of the architectures, against their generator, the compiler of this machine and known facts."""

from __future__ import annotations

import enum
import importlib
import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rsyscall.near._tables import choose_architecture, running_architecture
from rsyscall.near.abi import (
    ABIS,
    SYS,
    StructLayout,
    UnsupportedSyscallError,
    abi_by_machine,
    native_abi,
    nr,
)

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURES = ["x86_64", "aarch64", "riscv64"]

# The calls that programs written against the documented SYS may name.
DOCUMENTED = """
accept4 bind capget capset chdir chroot clone close connect dup3 epoll_create1 epoll_ctl epoll_wait eventfd2
execve execveat exit faccessat fchdir fchmod fcntl fstat ftruncate getdents64 getgid getpeername getpgid
getpid getpriority getsockname getsockopt getuid inotify_add_watch inotify_init1 inotify_rm_watch ioctl kill
linkat listen lseek madvise memfd_create mkdirat mmap mount munmap openat pipe2 prctl pread64 preadv2
prlimit64 pwrite64 pwritev2 read readlinkat recvfrom recvmsg renameat2 rt_sigaction rt_sigprocmask
sched_setaffinity sched_getaffinity sendmsg sendto set_robust_list set_tid_address setns setpgid setpriority
setsid setsockopt shutdown signalfd4 socket socketpair symlinkat timerfd_create timerfd_gettime
timerfd_settime umount2 unlinkat unshare waitid write
"""


def load_generator() -> ModuleType:
    path = ROOT / "tools/abigen/generate.py"
    spec = importlib.util.spec_from_file_location("abigen_generate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def read_constants(text: str) -> dict[str, int]:
    """Lines `name value` as a dictionary."""
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def run_probe(directory: Path, headers: list[str], expressions: dict[str, str]) -> dict[str, int]:
    """Values of C expressions, by a native program compiled against the installed headers."""
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        pytest.skip("package: no C compiler")
    lines = ["#include <stddef.h>", "int printf(const char *, ...);"]
    lines += [f"#include <{header}>" for header in headers]
    lines += ["int main(void) {"]
    lines += [f'printf("{key} %ld\\n", (long)({value}));' for key, value in expressions.items()]
    lines += ["return 0; }"]
    source = directory / "probe.c"
    source.write_text("\n".join(lines))
    subprocess.run([compiler, "-w", "-o", directory / "probe", source], check=True, timeout=100)
    output = subprocess.run([directory / "probe"], check=True, capture_output=True, text=True).stdout
    return read_constants(output)


# ---- Generation


@pytest.mark.slow  # fetches packages
def test_tables_are_what_the_pinned_headers_give() -> None:
    generator = load_generator()
    try:
        tables = generator.generate_all()
    except generator.Unobtainable as error:
        pytest.skip(f"package: the pinned headers are not obtainable: {error}")
    assert sorted(path.stem for path in tables) == sorted(ARCHITECTURES)
    for path, text in tables.items():
        assert path.read_text() == text, f"run {generator.COMMAND}"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tables_begin_with_the_command_that_made_them(name: str) -> None:
    module = importlib.import_module(f"rsyscall.near._tables.{name}")
    first = Path(str(module.__file__)).read_text().splitlines()[0]
    assert first == "# python3 tools/abigen/generate.py --write"


def test_headers_that_are_not_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    generator = load_generator()
    pin = generator.Pin("some-package", "1.0", "0" * 64)
    (tmp_path / "some-package_1.0_all.deb").write_bytes(b"not it")
    with pytest.raises(SystemExit, match="sha256"):
        generator.fetch_package(pin, tmp_path)


def test_a_package_is_unpacked_without_the_tools_of_debian() -> None:
    generator = load_generator()

    def member(name: str, content: bytes) -> bytes:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        return header + content + b"\n" * (len(content) % 2)

    archive = b"!<arch>\n" + member("debian-binary", b"2.0\n") + member("control.tar.xz", b"odd")
    assert generator.data_member(archive + member("data.tar.xz", b"content")) == b"content"
    with pytest.raises(ValueError, match=r"no data.tar.xz"):
        generator.data_member(archive)
    with pytest.raises(ValueError, match="not an ar archive"):
        generator.data_member(b"something else")


# ---- Against the compiler of this machine


def test_numbers_agree_with_the_installed_headers(tmp_path: Path) -> None:
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        pytest.skip("package: no C compiler")
    macros = subprocess.run(
        [compiler, "-E", "-dM", "-xc", "-"],
        input="#include <asm/unistd.h>",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = set(re.findall(r"^#define __NR_(\w+) ", macros, re.MULTILINE))
    names -= {"syscalls", "arch_specific_syscall"}
    assert len(names) > 300
    values = run_probe(tmp_path, ["asm/unistd.h"], {name: f"__NR_{name}" for name in sorted(names)})
    table = {member.name: member.value for member in SYS}
    differing = {
        name: (value, table[name]) for name, value in values.items() if table.get(name, value) != value
    }
    assert not differing
    # headers newer than the tables know more; they must not know it under a number that we use
    unknown = {name: value for name, value in values.items() if name not in table}
    assert not set(unknown.values()) & set(table.values())


def test_layouts_agree_with_the_installed_headers(tmp_path: Path) -> None:
    abi = native_abi()
    headers = {"stat": "asm/stat.h", "epoll_event": "linux/eventpoll.h", "sigaction": "asm/signal.h"}
    for layout in (abi.stat, abi.epoll_event, abi.sigaction):
        kind = f"struct {layout.name}"
        wanted = {"size": f"sizeof({kind})"}
        for field in layout.fields:
            wanted[f"{field.name}.offset"] = f"offsetof({kind}, {field.name})"
            wanted[f"{field.name}.size"] = f"sizeof((({kind} *)0)->{field.name})"
        directory = tmp_path / layout.name
        directory.mkdir()
        found = run_probe(directory, [headers[layout.name]], wanted)
        expected = {"size": layout.size}
        for field in layout.fields:
            expected[f"{field.name}.offset"] = field.offset
            expected[f"{field.name}.size"] = field.size
        assert found == expected


def test_open_flags_agree_with_the_installed_headers(tmp_path: Path) -> None:
    abi = native_abi()
    names = ["O_DIRECT", "O_DIRECTORY", "O_LARGEFILE", "O_NOFOLLOW", "O_TMPFILE"]
    found = run_probe(tmp_path, ["asm/fcntl.h"], {name: name for name in names})
    assert found == {name: getattr(abi, name) for name in names}


# ---- Against what is known of the architectures


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tables_are_complete_and_unambiguous(name: str) -> None:
    calls: Any = ABIS[name].syscalls
    assert issubclass(calls, enum.IntEnum)
    assert len(calls.__members__) == len(list(calls)) > 300
    legacy: set[str] = set() if name == "x86_64" else {"epoll_wait"}
    assert set(DOCUMENTED.split()) - set(calls.__members__) == legacy
    # the unified numbers, from the first to the last
    assert calls["pidfd_send_signal"] == 424
    assert calls["file_setattr"] == 469
    if name == "x86_64":
        unified = {member.value for member in calls if member.value >= 424}
        assert unified == set(range(424, 473))


def test_numbers_of_each_architecture() -> None:
    assert [ABIS[name].number("openat") for name in ARCHITECTURES] == [257, 56, 56]
    assert [ABIS[name].number("getpid") for name in ARCHITECTURES] == [39, 172, 172]
    assert [ABIS[name].number("mmap") for name in ARCHITECTURES] == [9, 222, 222]
    assert ABIS["riscv64"].number("riscv_flush_icache") == 259


def test_layouts_of_each_architecture() -> None:
    assert [ABIS[name].stat.size for name in ARCHITECTURES] == [144, 128, 128]
    assert [ABIS[name].epoll_event.size for name in ARCHITECTURES] == [12, 16, 16]
    assert [ABIS[name].sigaction.size for name in ARCHITECTURES] == [32, 32, 24]
    assert [ABIS[name].epoll_event.field("data").offset for name in ARCHITECTURES] == [4, 8, 8]
    with pytest.raises(KeyError, match="sigaction has no member sa_restorer"):
        ABIS["riscv64"].sigaction.field("sa_restorer")


def test_open_flags_of_each_architecture() -> None:
    assert [ABIS[name].O_DIRECTORY for name in ARCHITECTURES] == [0o200000, 0o40000, 0o200000]
    assert [ABIS[name].O_LARGEFILE for name in ARCHITECTURES] == [0o100000, 0o400000, 0o100000]
    for abi in ABIS.values():
        assert abi.O_TMPFILE & abi.O_DIRECTORY == abi.O_DIRECTORY


# ---- ABI


def test_nr_has_the_members_of_sys() -> None:
    assert vars(nr) == dict(SYS.__members__)
    assert nr.getpid is SYS.getpid


def test_native_abi_is_that_of_the_interpreter() -> None:
    abi = native_abi()
    assert abi.name == os.uname().machine
    assert abi.page_size == os.sysconf("SC_PAGE_SIZE")
    assert abi.syscalls is SYS
    assert ABIS[abi.name] is abi


def test_native_flags_are_those_of_python() -> None:
    abi = native_abi()
    assert (abi.O_DIRECT, abi.O_DIRECTORY, abi.O_NOFOLLOW) == (os.O_DIRECT, os.O_DIRECTORY, os.O_NOFOLLOW)
    assert abi.O_TMPFILE == os.O_TMPFILE


def test_abis_are_found_by_name_and_machine() -> None:
    assert list(ABIS) == ARCHITECTURES
    assert len(ABIS) == 3
    assert [abi_by_machine(machine).name for machine in (62, 183, 243)] == ARCHITECTURES
    with pytest.raises(KeyError):
        ABIS["vax"]
    with pytest.raises(KeyError, match="ELF machine number 75"):
        abi_by_machine(75)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_calls_are_translated_by_name(name: str) -> None:
    abi = ABIS[name]
    number = abi.number(SYS.unshare)
    assert type(number) is int
    assert number == abi.number("unshare") == abi.syscalls["unshare"]
    assert abi.supports(SYS.unshare)


def test_calls_that_an_architecture_lacks_are_refused() -> None:
    abi = ABIS["aarch64"]
    assert not abi.supports("open")
    with pytest.raises(UnsupportedSyscallError, match="aarch64 has no system call open"):
        abi.number("open")
    with pytest.raises(UnsupportedSyscallError, match="no system call frobnicate") as caught:
        native_abi().number("frobnicate")
    assert caught.value.name == "frobnicate"
    assert not isinstance(caught.value, OSError)


def test_page_size_can_be_replaced() -> None:
    abi = ABIS["aarch64"].with_page_size(65536)
    assert abi.page_size == 65536
    assert abi.with_page_size(65536) is abi
    assert abi.number("openat") == 56
    assert ABIS["aarch64"].page_size != 65536


def test_machines_without_a_table_are_refused_clearly() -> None:
    assert choose_architecture("linux", "riscv64", 64) == "riscv64"
    assert running_architecture() == native_abi().name
    for system, machine, bits in [
        ("linux", "ppc64le", 64),
        ("linux", "x86_64", 32),
        ("darwin", "x86_64", 64),
    ]:
        with pytest.raises(ImportError, match=rf"{system}, machine '{machine}', {bits} bit"):
            choose_architecture(system, machine, bits)


# ---- StructLayout


def layouts() -> list[StructLayout]:
    return [layout for abi in ABIS.values() for layout in (abi.stat, abi.epoll_event, abi.sigaction)]


@pytest.mark.parametrize("layout", layouts())
def test_layout_packs_what_it_unpacks(layout: StructLayout) -> None:
    assert struct.calcsize(layout.format) == layout.size == layout.codec.size
    values = {field.name: index + 1 for index, field in enumerate(layout.fields)}
    data = layout.pack(**values)
    assert len(data) == layout.size
    assert layout.unpack(data) == values
    for field in layout.fields:
        part = data[field.offset : field.offset + field.size]
        assert int.from_bytes(part, "little") == values[field.name]


def test_layout_fills_with_zeros_and_refuses_unknown_members() -> None:
    layout = ABIS["x86_64"].epoll_event
    assert layout.pack(data=1) == bytes(4) + struct.pack("<Q", 1)
    with pytest.raises(KeyError, match="epoll_event has no member date"):
        layout.pack(date=1)


def test_stat_layout_reads_what_the_kernel_writes(tmp_path: Path) -> None:
    import ctypes

    from rsyscall.near import LocalSyscall

    path = tmp_path / "file"
    path.write_bytes(b"12345")
    layout = native_abi().stat
    buffer = ctypes.create_string_buffer(layout.size)
    expected = path.stat()
    with open(path) as file, pytest.raises(StopIteration):
        LocalSyscall().syscall(SYS.fstat, file.fileno(), ctypes.addressof(buffer)).send(None)
    found = layout.unpack(buffer.raw)
    assert found["st_size"] == 5
    assert (found["st_ino"], found["st_mode"]) == (expected.st_ino, expected.st_mode)
    assert found["st_mtime"] * 10**9 + found["st_mtime_nsec"] == expected.st_mtime_ns
