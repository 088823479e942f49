"""Generate the per-architecture tables of `rsyscall.near` from pinned kernel headers.

    python3 tools/abigen/generate.py --write     write the tables
    python3 tools/abigen/generate.py --check     exit 1 if a table in the tree is not what would be written

The headers are the Debian packages named in `headers.lock`: used from `/usr` when that very version is
installed, otherwise from the .deb, which is fetched once with `apt-get download` and checked against its
sha256. A C compiler evaluates them: any gcc or clang for a 64-bit little-endian machine will do, because it
is told to forget its own architecture and nothing it makes is run; the values are read out of the assembly
text.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from newer_calls import newer_calls

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LOCK = HERE / "headers.lock"
TABLES = ROOT / "packages/rsyscall-near/src/rsyscall/near/_tables"
COMMAND = "python3 tools/abigen/generate.py --write"


class Unobtainable(Exception):
    """The pinned headers, or a program needed to read them, cannot be had on this machine."""


@dataclass(frozen=True)
class Architecture:
    """What the headers do not say about an architecture, and where its headers are."""

    name: str
    triplet: str  # the directory under /usr that the Debian package fills
    predefined: tuple[
        str, ...
    ]  # macros that a compiler for this architecture defines and the headers look at
    machine: int  # e_machine in <elf.h>
    clone_tls_first: bool  # CONFIG_CLONE_BACKWARDS: clone(flags, stack, ptid, tls, ctid)


ARCHITECTURES = {
    "x86_64": Architecture("x86_64", "x86_64-linux-gnu", ("__x86_64__",), 62, False),
    "aarch64": Architecture("aarch64", "aarch64-linux-gnu", ("__aarch64__",), 183, True),
    "riscv64": Architecture("riscv64", "riscv64-linux-gnu", ("__riscv", "__riscv_xlen=64"), 243, True),
}

# Any architecture macro that the compiler in use may define by itself.
FOREIGN_MACROS = ("__x86_64__", "__x86_64", "__amd64__", "__amd64", "__aarch64__", "__riscv", "__riscv_xlen")

OPEN_FLAGS = ("O_DIRECT", "O_DIRECTORY", "O_LARGEFILE", "O_NOFOLLOW", "O_TMPFILE")

# struct -> (constant in the table, header, fields that mean something)
STRUCTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "stat": (
        "STAT",
        "asm/stat.h",
        (
            *("st_dev", "st_ino", "st_nlink", "st_mode", "st_uid", "st_gid", "st_rdev", "st_size"),
            *("st_blksize", "st_blocks", "st_atime", "st_atime_nsec", "st_mtime", "st_mtime_nsec"),
            *("st_ctime", "st_ctime_nsec"),
        ),
    ),
    "epoll_event": ("EPOLL_EVENT", "linux/eventpoll.h", ("events", "data")),
    "sigaction": ("SIGACTION", "asm/signal.h", ("sa_handler", "sa_flags", "sa_restorer", "sa_mask")),
}

# Members that some architectures lack.
OPTIONAL_FIELDS = {("sigaction", "sa_restorer"): "SA_RESTORER"}


@dataclass(frozen=True)
class Pin:
    """One line of headers.lock."""

    package: str
    version: str
    sha256: str


def read_lock() -> dict[str, Pin]:
    """The pinned package of every architecture."""
    pins = {}
    for line in LOCK.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            architecture, package, version, sha256 = line.split()
            pins[architecture] = Pin(package, version, sha256)
    return pins


# ---- Getting the headers


def cache_directory() -> Path:
    """Where fetched packages are kept: $RSYSCALL_ABIGEN_CACHE, or a directory under the user's cache."""
    if chosen := os.environ.get("RSYSCALL_ABIGEN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rsyscall-abigen"


def installed_version(package: str) -> str | None:
    """The version of an installed Debian package."""
    if shutil.which("dpkg-query") is None:
        return None
    result = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package], capture_output=True, text=True
    )
    status, _, version = result.stdout.partition(" ")
    return version if status == "installed" else None


def fetch_package(pin: Pin, cache: Path) -> Path:
    """The .deb of a pin, fetched if it is not in the cache, and checked."""
    deb = cache / f"{pin.package}_{pin.version}_all.deb"
    if not deb.exists():
        if shutil.which("apt-get") is None:
            raise Unobtainable(f"{pin.package} {pin.version}: no apt-get to fetch it with")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            # apt runs downloads as another user, who must be able to see the directory
            Path(scratch).chmod(0o755)
            command = ["apt-get", "download", "-q", f"{pin.package}={pin.version}"]
            result = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
            if result.returncode != 0:
                raise Unobtainable(f"{' '.join(command)}: {result.stderr.strip()}")
            (fetched,) = Path(scratch).glob("*.deb")
            fetched.replace(deb)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    if digest != pin.sha256:
        raise SystemExit(f"{deb}: sha256 is {digest}, headers.lock says {pin.sha256}")
    return deb


def data_member(deb: bytes) -> bytes:
    """The data.tar.xz of a .deb, which is an ar(5) archive."""
    if deb[:8] != b"!<arch>\n":
        raise ValueError("not an ar archive")
    position = 8
    while position < len(deb):
        name = deb[position : position + 16].rstrip().rstrip(b"/")
        size = int(deb[position + 48 : position + 58])
        start = position + 60
        if name == b"data.tar.xz":
            return deb[start : start + size]
        position = start + size + size % 2
    raise ValueError("no data.tar.xz")


def find_headers(architecture: Architecture, pin: Pin, scratch: Path) -> Path:
    """The include directory of the pinned headers, extracted into `scratch` if they are not installed."""
    relative = Path(architecture.triplet) / "include"
    if installed_version(pin.package) == pin.version:
        return Path("/usr") / relative
    deb = fetch_package(pin, cache_directory())
    with tarfile.open(fileobj=io.BytesIO(data_member(deb.read_bytes())), mode="r:xz") as archive:
        for member in archive:
            path = Path(member.name)
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None and path.is_relative_to(Path("usr") / relative) and ".." not in path.parts:
                (scratch / path).parent.mkdir(parents=True, exist_ok=True)
                (scratch / path).write_bytes(content.read())
    return scratch / "usr" / relative


# ---- Reading the headers


def find_compiler() -> str:
    """The C compiler: $CC, or the first usual name that exists."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    raise Unobtainable("no C compiler")


def compile_text(architecture: Architecture, include: Path, source: str, *options: str) -> str:
    """What the compiler prints for a source text seen as a program for `architecture`."""
    command = [
        find_compiler(),
        "-nostdinc",
        "-ffreestanding",
        "-O1",
        "-w",
        "-fno-pie",
        "-isystem",
        str(include),
    ]
    command += [f"-U{macro}" for macro in FOREIGN_MACROS]
    command += [f"-D{macro}" for macro in architecture.predefined]
    result = subprocess.run(
        [*command, *options, "-xc", "-o", "-", "-"], input=source, capture_output=True, text=True
    )
    if result.returncode != 0:
        raise SystemExit(f"{architecture.name}: the compiler says\n{result.stderr}")
    return result.stdout


def evaluate(
    architecture: Architecture, include: Path, headers: list[str], wanted: dict[str, str]
) -> dict[str, int]:
    """The values of C integer expressions: key -> expression becomes key -> value."""
    lines = [f"#include <{header}>" for header in headers]
    lines.append("void probe(void) {")
    for key, expression in wanted.items():
        lines.append(f'__asm__ volatile("\\n@@ {key} %0" : : "i" ((long)({expression})));')
    lines.append("}")
    text = compile_text(architecture, include, "\n".join(lines), "-S")
    values = {key: int(value) for key, value in re.findall(r"^@@ (\S+) [$#]?(-?\d+)$", text, re.MULTILINE)}
    if missing := set(wanted) - set(values):
        raise SystemExit(f"{architecture.name}: no value for {sorted(missing)}")
    return values


def read_calls(architecture: Architecture, include: Path) -> dict[str, int]:
    """All system calls of the headers and of the hand-kept list: name -> number, in order of number."""
    macros = compile_text(architecture, include, "#include <asm/unistd.h>", "-E", "-dM")
    names = re.findall(r"^#define __NR_(\w+) ", macros, re.MULTILINE)
    names = [name for name in names if name not in ("syscalls", "arch_specific_syscall")]
    calls = evaluate(architecture, include, ["asm/unistd.h"], {name: f"__NR_{name}" for name in names})
    for name, (number, release) in newer_calls(architecture.name).items():
        if name in calls:
            if calls[name] != number:
                raise SystemExit(
                    f"{architecture.name}: {name} is {calls[name]}, newer_calls.py says {number}"
                )
            print(
                f"{architecture.name}: the headers know {name} ({release}); its line in newer_calls.py can go"
            )
        calls[name] = number
    by_number = sorted((number, name) for name, number in calls.items())
    if len({number for number, _ in by_number}) != len(by_number):
        raise SystemExit(f"{architecture.name}: two calls with one number")
    return {name: number for number, name in by_number}


@dataclass(frozen=True)
class Layout:
    """Size of a structure and (name, offset, size, is signed) of its members, in order of offset."""

    size: int
    fields: list[tuple[str, int, int, bool]]


def read_layout(architecture: Architecture, include: Path, struct: str) -> Layout:
    """The layout of one structure of STRUCTS."""
    _, header, names = STRUCTS[struct]
    macros = compile_text(architecture, include, f"#include <{header}>", "-E", "-dM")
    wanted = {"size": f"sizeof(struct {struct})"}
    for name in names:
        macro = OPTIONAL_FIELDS.get((struct, name))
        if macro and not re.search(rf"^#define {macro} ", macros, re.MULTILINE):
            continue
        member = f"((struct {struct} *)0)->{name}"
        wanted[f"{name}.offset"] = f"__builtin_offsetof(struct {struct}, {name})"
        wanted[f"{name}.size"] = f"sizeof({member})"
        # only an integer (type class 1) has a sign; a pointer or a structure counts as unsigned
        integer = f"__builtin_choose_expr(__builtin_classify_type({member}) == 1, {member}, 0u)"
        wanted[f"{name}.signed"] = f"(__typeof__({integer}))-1 < 0"
    values = evaluate(architecture, include, [header], wanted)
    fields = [
        (name, values[f"{name}.offset"], values[f"{name}.size"], bool(values[f"{name}.signed"]))
        for name in names
        if f"{name}.offset" in values
    ]
    return Layout(values["size"], sorted(fields, key=lambda field: field[1]))


# ---- Writing the tables


def format_layout(struct: str, layout: Layout) -> list[str]:
    """The lines of a table that define one layout."""
    constant = STRUCTS[struct][0]
    lines = [f"{constant} = StructLayout(", f'    "{struct}",', f"    {layout.size},", "    ("]
    lines += [
        f'        StructField("{name}", {offset}, {size}, signed={signed}),'
        for name, offset, size, signed in layout.fields
    ]
    return [*lines, "    ),", ")"]


def generate_table(architecture: Architecture, pin: Pin, include: Path) -> str:
    """The text of one table module."""
    calls = read_calls(architecture, include)
    newer = newer_calls(architecture.name)
    flags = evaluate(architecture, include, ["asm/fcntl.h"], {name: name for name in OPEN_FLAGS})
    lines = [
        f"# {COMMAND}",
        f"# From {pin.package} {pin.version} and tools/abigen/newer_calls.py. Do not edit.",
        f'"""What is particular to {architecture.name}: call numbers, some `O_*` flags, three layouts."""',
        "",
        "from __future__ import annotations",
        "",
        "import enum",
        "",
        "from rsyscall.near._layout import StructField, StructLayout",
        "",
        f"MACHINE = {architecture.machine}",
        f"CLONE_TLS_FIRST = {architecture.clone_tls_first}",
        "",
        *(f"{name} = {value:#o}" for name, value in flags.items()),
        "",
    ]
    for struct in STRUCTS:
        lines += format_layout(struct, read_layout(architecture, include, struct))
    lines += [
        "",
        "",
        "class SYS(enum.IntEnum):",
        f'    """The system calls of {architecture.name}: kernel name = number."""',
        "",
    ]
    for name, number in calls.items():
        remark = f"  # since Linux {newer[name][1]}" if name in newer else ""
        lines.append(f"    {name} = {number}{remark}")
    return "\n".join(lines) + "\n"


def generate_all() -> dict[Path, str]:
    """All table modules: path -> text. Raises Unobtainable when the headers cannot be had."""
    pins = read_lock()
    tables = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, architecture in ARCHITECTURES.items():
            include = find_headers(architecture, pins[name], Path(scratch) / name)
            tables[TABLES / f"{name}.py"] = generate_table(architecture, pins[name], include)
    return tables


def main() -> int:
    """Write or check the tables; returns a process exit status."""
    parser = argparse.ArgumentParser(description="Generate the per-architecture tables of rsyscall.near.")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the tables")
    mode.add_argument("--check", action="store_true", help="compare the tables with what would be written")
    arguments = parser.parse_args()
    try:
        tables = generate_all()
    except Unobtainable as error:
        print(error, file=sys.stderr)
        return 2
    different = False
    for path, text in tables.items():
        present = path.read_text() if path.exists() else ""
        if present == text:
            continue
        different = True
        if arguments.write:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
        else:
            name = str(path.relative_to(ROOT))
            sys.stdout.writelines(
                difflib.unified_diff(
                    present.splitlines(True), text.splitlines(True), name, f"{name} (generated)"
                )
            )
    return 1 if different and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
