"""Build, check and test each distribution against exactly what it depends on.

`./run SESSION...` makes a private environment with nox and runs `nox -s SESSION...`; `./run -l` lists the
sessions.

The sessions build our own wheels once (the cache is keyed by the contents of their sources) and install them
with `--no-index --no-deps --force-reinstall`: pip never looks for them on a package index, where the name
`rsyscall` belongs to an old release of another project. `pip check` then says whether the requirements of the
distributions are met. An environment that has these wheels already is left as it is.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nox
from nox.command import CommandFailed

if sys.version_info >= (3, 11):
    import tomllib
else:  # nox itself requires tomli on older Pythons
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent
CACHE = ROOT / ".nox" / "cache"
CONSTRAINTS = ROOT / "tools" / "constraints.txt"

# From the bottom to the top: each layer uses the ones before it. Layer -> (distribution, directory).
LAYERS = {
    "native": ("rsyscall-native", ROOT / "native"),
    "near": ("rsyscall-near", ROOT / "packages/rsyscall-near"),
    "handle": ("rsyscall-handle", ROOT / "packages/rsyscall-handle"),
    "memory": ("rsyscall-memory", ROOT / "packages/rsyscall-memory"),
    "thread": ("rsyscall-thread", ROOT / "packages/rsyscall-thread"),
    "tasks": ("rsyscall-tasks", ROOT / "packages/rsyscall-tasks"),
    "meta": ("rsyscall", ROOT / "packages/rsyscall"),
}
TRIO_LAYERS = {"thread", "tasks", "meta"}
TEST_REQUIREMENTS = ["pytest", "pytest-timeout", "hypothesis", "setuptools"]
SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")


def _works(interpreter: str | Path, version: str) -> bool:
    """Whether this is a Python of that version that runs (a version manager's shim may exist and not run)."""
    command = [str(interpreter), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return result.returncode == 0 and result.stdout.strip() == version


def _find_interpreters() -> list[str]:
    """Find the supported Pythons of this machine and make them known to nox by name.

    Looks on PATH and where pyenv keeps them, and puts a directory with links to them first on PATH.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    links = ROOT / ".nox" / "interpreters"
    links.mkdir(parents=True, exist_ok=True)
    found = []
    for version in SUPPORTED:
        candidates: list[str | Path] = []
        if version == "{}.{}".format(*sys.version_info[:2]):
            candidates.append(getattr(sys, "_base_executable", sys.executable))
        if on_path := shutil.which(f"python{version}"):
            candidates.append(on_path)
        try:
            candidates += sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)
        except PermissionError:  # another user's
            pass
        for candidate in candidates:
            if _works(candidate, version):
                link = links / f"python{version}"
                if Path(candidate) != link:
                    # In one step: another session may be looking for it.
                    fresh = links / f"{os.getpid()}"
                    fresh.symlink_to(candidate)
                    fresh.replace(link)
                found.append(version)
                break
    os.environ["PATH"] = f"{links}{os.pathsep}{os.environ['PATH']}"
    return found


PYTHONS = _find_interpreters()
if not PYTHONS:
    sys.exit(f"none of Python {', '.join(SUPPORTED)} is installed")
MAIN = PYTHONS[-1] if sys.version_info[:2] > (3, 14) else "{}.{}".format(*sys.version_info[:2])
OTHERS = [version for version in PYTHONS if version != MAIN]

nox.needs_version = ">=2024.10.9"
nox.options.sessions = []  # without a name nox lists the sessions
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "virtualenv"


# ---------------------------------------------------------------------------------------------- wheels


def _project(directory: Path) -> dict[str, object]:
    with open(directory / "pyproject.toml", "rb") as file:
        project: dict[str, object] = tomllib.load(file)["project"]
    return project


def _sources(directory: Path) -> Iterator[Path]:
    ignored = {"__pycache__", "build", "dist", ".pytest_cache", ".hypothesis"}
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if path.is_dir() or ignored.intersection(parts) or any(part.endswith(".egg-info") for part in parts):
            continue
        if path.suffix in {".o", ".a", ".so", ".pyc"} or path.name.startswith(
            ("rsyscall-stub", "rsyscall-relay")
        ):
            continue
        yield path


def _fingerprint(directory: Path) -> str:
    digest = hashlib.sha256(f"{platform.machine()} {sys.version}".encode())
    for path in _sources(directory):
        digest.update(f"{path.relative_to(directory)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _builder() -> Path:
    """Return the Python of an environment that has the tools to build wheels."""
    python = CACHE / "builder" / "bin" / "python"
    stamp = CACHE / "builder" / "complete"
    wanted = CONSTRAINTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "virtualenv", "-q", "--clear", CACHE / "builder"], check=True)
        requirements = ["build", "hatchling", "setuptools >= 77.0.3", "cffi >= 1.17"]
        subprocess.run(
            [python, "-m", "pip", "install", "-qq", "-c", CONSTRAINTS, *requirements],
            check=True,
            stdout=sys.stderr,
        )
        stamp.write_text(wanted)
    return python


@contextlib.contextmanager
def _building() -> Iterator[None]:
    """Keep sessions that run at the same time from building the same thing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _wheel(session: nox.Session, layer: str) -> Path:
    """Build the wheel of a layer (through a source distribution) unless these sources were built before."""
    with _building():
        return _built_wheel(session, layer)


def _built_wheel(session: nox.Session, layer: str) -> Path:
    name, directory = LAYERS[layer]
    out = CACHE / "wheels" / f"{name}-{_fingerprint(directory)}"
    if not list(out.glob("*.whl")):
        session.log(f"building {name}")
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = out.with_suffix(".tmp")
        shutil.rmtree(scratch, ignore_errors=True)
        session.run_install(
            *[str(_builder()), "-m", "build", "--no-isolation", "--outdir", str(scratch), str(directory)],
            external=True,
            silent=True,
        )
        shutil.rmtree(out, ignore_errors=True)
        scratch.rename(out)
    return next(out.glob("*.whl"))


def _up_to(layer: str) -> list[str]:
    names = list(LAYERS)
    return names[: names.index(layer) + 1]


def _third_party(layers: list[str]) -> list[str]:
    """Return the run-time requirements of these layers on other projects."""
    found: dict[str, None] = {}
    for layer in layers:
        dependencies = _project(LAYERS[layer][1])["dependencies"]
        assert isinstance(dependencies, list)
        found.update(dict.fromkeys(d for d in dependencies if not d.startswith("rsyscall")))
    return list(found)


def _install(session: nox.Session, layer: str, *requirements: str) -> None:
    """Install a layer and those below it as wheels, and the third-party packages of these and of the tests.

    An environment that has all of that is left alone: a file in it lists what was installed.
    """
    layers = _up_to(layer)
    wheels = [_wheel(session, name) for name in layers]
    third_party = [*_third_party(layers), *requirements]
    stamp = Path(session.virtualenv.location) / "complete"
    wanted = "\n".join([*(wheel.parent.name for wheel in wheels), *third_party, CONSTRAINTS.read_text()])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    session.install("-c", str(CONSTRAINTS), *third_party)
    session.install("--no-index", "--no-deps", "--force-reinstall", *map(str, wheels))
    session.run_install("python", "-m", "pip", "check", silent=True)
    stamp.write_text(wanted)


def _check_nothing_above(session: nox.Session, layer: str) -> None:
    """Fail if a module of a higher layer, or trio below the thread layer, can be imported."""
    own = _up_to(layer)
    forbidden = [] if layer in TRIO_LAYERS else ["trio", "outcome"]
    for name, (_, directory) in LAYERS.items():
        if name in own:
            continue
        for path in sorted((directory / "src/rsyscall").iterdir()):
            if path.is_dir() and path.name != "__pycache__":
                forbidden.append(f"rsyscall.{path.name}")
            elif path.suffix == ".py" and path.stem != "__init__":
                forbidden.append(f"rsyscall.{path.stem}")
    session.run("python", str(ROOT / "tools/checkabsent.py"), *forbidden, silent=True)


# How many commands run at the same time. The tests wait more than they compute.
AT_ONCE = 2


def _at_once(commands: dict[str, list[str]], env: dict[str, str] | None = None) -> list[str]:
    """Run commands beside each other, in this order, and show what each has printed when it ends.

    Returns:
        The names of those that failed.
    """

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=env,
        )

    failed = []
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        started = {pool.submit(run, command): name for name, command in commands.items()}
        for future in concurrent.futures.as_completed(started):
            result = future.result()
            print(result.stdout, flush=True)
            if result.returncode:
                failed.append(started[future])
    return failed


# ---------------------------------------------------------------------------------------------- tests


def _pytest(session: nox.Session, *arguments: str, layer: str | None = None) -> None:
    env: dict[str, str | None] = {"PYTHONPATH": None, "PYTHONDEVMODE": None}
    if layer is not None:
        env["RSYSCALL_LAYER"] = layer
    session.chdir(ROOT)
    slow = ["--durations=5", "--durations-min=1"]
    session.run("python", "-m", "pytest", *slow, *arguments, *session.posargs, env=env)


def _test_layer(session: nox.Session, layer: str, *more: str) -> None:
    requirements = list(TEST_REQUIREMENTS)
    if layer in TRIO_LAYERS:
        requirements.append("pytest-trio")
    if layer == "meta":
        # One of the examples is compared with the first; our sockets carry messages of the second, and
        # `rsyscall repl` uses the third.
        requirements += ["pexpect", "pyroute2", "ipython"]
    _install(session, layer, *requirements)
    _check_nothing_above(session, layer)
    directories = [name for name in (f"tests/{layer}", *more, "tests/layers") if (ROOT / name).is_dir()]
    selected = [] if session.posargs or session.python == MAIN else ["-m", "not slow"]
    _pytest(session, *directories, *selected, layer=layer)


@nox.session(python=PYTHONS)
def native(session: nox.Session) -> None:
    """The C part: `make check`, which one of the tests runs, and its Python interface."""
    _test_layer(session, "native")


@nox.session(python=PYTHONS)
def near(session: nox.Session) -> None:
    """rsyscall-near with nothing above it."""
    _test_layer(session, "near")


@nox.session(python=PYTHONS)
def handle(session: nox.Session) -> None:
    """rsyscall-handle with nothing above it."""
    _test_layer(session, "handle")


@nox.session(python=PYTHONS)
def memory(session: nox.Session) -> None:
    """rsyscall-memory with nothing above it."""
    _test_layer(session, "memory")


@nox.session(python=PYTHONS)
def thread(session: nox.Session) -> None:
    """rsyscall-thread with nothing above it."""
    _test_layer(session, "thread")


@nox.session(python=PYTHONS)
def tasks(session: nox.Session) -> None:
    """rsyscall-tasks with nothing above it."""
    _test_layer(session, "tasks")


@nox.session(python=PYTHONS)
def meta(session: nox.Session) -> None:
    """The whole: the meta package, the command line, tests of several layers, the promised names."""
    _test_layer(session, "meta", "tests/integration", "tests/contract")


# `meta` runs the conformance suite in all ways of getting a thread; `quick`, and the other Pythons, in these.
SOME_WAYS = (
    "local ring-child ring-all-namespaces stream-child stream-on-ring "
    "own-memory-ring-child own-memory-ring-all-namespaces own-memory-stream-child"
)

# `AT_ONCE` of these parts run at a time: the longest first, so that both processors are busy to the end.
PARTS = (
    ["thread"],
    ["handle", "tasks"],
    ["integration"],
    ["meta", "contract", "layers"],
    ["native", "near", "memory"],
)


@nox.session(python=MAIN)
def quick(session: nox.Session) -> None:
    """All tests but the slow ones, with everything installed, for some ways of getting a thread."""
    _install(session, "meta", *TEST_REQUIREMENTS, "pytest-trio")
    if session.posargs:
        session.env.setdefault("RSYSCALL_TEST_WAYS", SOME_WAYS)
        _pytest(session, "-m", "not slow")
        return
    if "--install-only" in sys.argv:
        return  # nox leaves out what a session runs by `session.run`; this one does not
    python = Path(session.bin) / "python"
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONDEVMODE"}}
    env.setdefault("RSYSCALL_TEST_WAYS", SOME_WAYS)

    def command(part: list[str]) -> list[str]:
        found = [f"tests/{name}" for name in part if (ROOT / "tests" / name).is_dir()]
        return [str(python), "-m", "pytest", "-q", "-m", "not slow", *found]

    if failed := _at_once({" ".join(part): command(part) for part in PARTS}, env):
        session.error(f"failed: {', '.join(failed)}")


@nox.session(python=PYTHONS)
def suite(session: nox.Session) -> None:
    """All tests in one environment with everything installed; without the slow ones by default."""
    _install(session, "meta", *TEST_REQUIREMENTS, "pytest-trio")
    if session.python != MAIN:
        session.env["RSYSCALL_TEST_WAYS"] = SOME_WAYS
    _pytest(session, *(["tests"] if session.posargs else ["tests", "-m", "not slow"]))


# The layers that have most of what depends on the version of Python, and what goes through all layers.
BRIEF = ("near", "handle", "memory", "integration")


@nox.session(python=PYTHONS)
def brief(session: nox.Session) -> None:
    """Tests of the lower layers and of the whole, for few ways of getting a thread, without the slow ones."""
    _install(session, "meta", *TEST_REQUIREMENTS, "pytest-trio")
    session.env["RSYSCALL_TEST_WAYS"] = "local ring-child stream-child own-memory-ring-child"
    _pytest(session, *(f"tests/{name}" for name in BRIEF), "-m", "not slow")


UNSTABLE = ROOT / ".nox" / "roots" / "unstable"
# The packages that most tests need there; the others skip, and run in the other sessions.
UNSTABLE_PACKAGES = "python3 python3-venv gcc make libc6-dev linux-libc-dev procps iproute2 sudo"


def _make_unstable() -> None:
    """Unpack a root of Debian's unstable suite, once."""
    complete = UNSTABLE / "complete"
    if not complete.exists() or complete.read_text() != UNSTABLE_PACKAGES:
        if UNSTABLE.exists():
            shutil.rmtree(UNSTABLE)
        UNSTABLE.parent.mkdir(exist_ok=True)
        packages = UNSTABLE_PACKAGES.replace(" ", ",")
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", "unstable", str(UNSTABLE)]
        with open(CACHE / "debootstrap.log", "w") as log:
            result = subprocess.run(command, stdout=log, stderr=log, check=False)
        if result.returncode:
            sys.exit(f"debootstrap failed:\n{(CACHE / 'debootstrap.log').read_text()[-3000:]}")
        complete.write_text(UNSTABLE_PACKAGES)


@nox.session(python=MAIN)
def unstable(session: nox.Session) -> None:
    """`suite` on the Python of Debian unstable, in a root that debootstrap makes as root."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        session.skip("it takes root, and debootstrap, to make a Debian root")
    _install(session, "meta")
    session.log("making a root of Debian's unstable suite")
    _make_unstable()
    inside = ["python", "examples/08_other_root.py", f"--bind={ROOT}", str(UNSTABLE)]
    inside += ["env", "-C", str(ROOT), "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    env: dict[str, str | None] = {"PYTHONPATH": None, "CI": None, "RSYSCALL_TEST_WAYS": SOME_WAYS}
    session.chdir(ROOT)
    version = session.run(
        *inside, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])", silent=True, env=env
    )
    assert isinstance(version, str)
    version = version.strip()
    # Downloaded outside, where pip is configured for the package index.
    downloads = CACHE / f"downloads-{version}"
    of_target = ["--only-binary=:all:", f"--python-version={version}", "--platform=any"]
    of_target += [f"--platform=manylinux_2_{minor}_{platform.machine()}" for minor in (17, 28)]
    requirements = [*_third_party(list(LAYERS)), *TEST_REQUIREMENTS, "pytest-trio"]
    session.run_install(
        *["python", "-m", "pip", "download", "-qq", "-d", str(downloads), "-c", str(CONSTRAINTS)],
        *[*of_target, *requirements],
    )
    wheels = [str(_wheel(session, layer)) for layer in LAYERS]
    there = "/opt/rsyscall"
    session.run_install(*inside, "python3", "-m", "venv", "--clear", there, env=env)
    install = [
        f"{there}/bin/python",
        "-m",
        "pip",
        "install",
        "-qq",
        "--no-index",
        f"--find-links={downloads}",
    ]
    session.run_install(*inside, *install, *requirements, env=env)
    session.run_install(*inside, *install, "--no-deps", *wheels, env=env)
    selected = session.posargs or ["tests", "-m", "not slow"]
    session.run(*inside, f"{there}/bin/python", "-m", "pytest", *selected, env=env)


@nox.session(python=MAIN)
def floors(session: nox.Session) -> None:
    """The tests with the oldest third-party packages that the layers say they work with."""
    lowest = [requirement.replace(" >= ", "==") for requirement in _third_party(list(LAYERS))]
    _install(session, "meta", *TEST_REQUIREMENTS, "pytest-trio", *lowest)
    _pytest(session, "tests", "-m", "not slow")


@nox.session(python=MAIN)
def guests(session: nox.Session) -> None:
    """Processes of other architectures, and of a newer kernel, in machines that qemu emulates."""
    machines = {"aarch64": "qemu-system-arm", "riscv64": "qemu-system-misc"}
    packages = {f"qemu-system-{machine}": package for machine, package in machines.items()}
    packages |= {f"{machine}-linux-gnu-gcc": f"gcc-{machine}-linux-gnu" for machine in machines}
    packages |= {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static"}
    packages |= {"mkfs.ext4": "e2fsprogs", "cpio": "cpio", "apt-get": "apt"}
    absent = sorted({package for program, package in packages.items() if shutil.which(program) is None})
    if absent:
        session.skip(f"Debian's packages for it are not installed: {', '.join(absent)}")
    _install(session, "meta", *TEST_REQUIREMENTS, "pytest-trio")
    kernels = ROOT / ".nox" / "kernels"
    session.run_install("python", str(ROOT / "tools/fetch_kernels.py"), str(kernels))
    _pytest(session, "tests/guests")


@nox.session(python=MAIN)
def denied(session: nox.Session) -> None:
    """The core of the conformance suite once for each denied call; `-- --docker`: those denied by Docker."""
    _install(session, "meta", *TEST_REQUIREMENTS, "pytest-trio")
    session.chdir(ROOT)
    session.run("python", "tools/denied.py", *session.posargs, env={"PYTHONPATH": None})


@nox.session(python=MAIN)
def contract(session: nox.Session) -> None:
    """The promised names and signatures, compared with the code."""
    _install(session, "meta", *TEST_REQUIREMENTS, "pytest-trio")
    _pytest(session, "tests/contract")


# ---------------------------------------------------------------------------------------------- static checks


@nox.session(python=MAIN)
def lint(session: nox.Session) -> None:
    """ruff, the rules between the layers, and the facts that packaging repeats."""
    _install(session, "meta", "ruff", "import-linter")
    session.chdir(ROOT)
    commands = [
        ["ruff", "check", "--output-format=concise", "."],
        ["ruff", "format", "--check", "--output-format=concise", "."],
        ["lint-imports"],
        ["python", "tools/checklayers.py"],
        ["python", "tools/checkimports.py"],
        ["python", "tools/checkcircles.py"],
        ["python", "tools/checkwords.py"],
        ["python", "tools/abigen/call_facts.py", "--check"],
        ["python", "tools/abigen/call_methods.py", "--check"],
        ["python", "tools/abigen/later_calls.py", "--check"],
    ]
    failed = []
    for command in commands:  # all of them, even if the first one finds something
        try:
            session.run(*command)
        except CommandFailed:
            failed.append(" ".join(command))
    if failed:
        session.error("; ".join(failed))


@nox.session(name="coverage-table", python=MAIN)
def coverage_table(session: nox.Session) -> None:
    """How many system calls have a method, a reason to have none, or neither."""
    _install(session, "meta")
    session.chdir(ROOT)
    session.run("python", "tools/abigen/call_methods.py", "--table")


@nox.session(python=MAIN)
def types(session: nox.Session) -> None:
    """Mypy --strict and pyright on the packages and the programs; whether all public names have types."""
    _install(
        session, "meta", "mypy", "pyright[nodejs]", "pytest", "hypothesis", "nox", "tomli", "pytest-trio"
    )
    session.chdir(ROOT)
    session.run("python", "tools/checktypes.py")


# ---------------------------------------------------------------------------------------------- programs


@nox.session(python=MAIN)
def demo(session: nox.Session) -> None:
    """The first example of the README."""
    _install(session, "meta")
    session.chdir(ROOT)
    session.run("python", "examples/demo.py", *session.posargs, env={"PYTHONPATH": None})


PLACES = ("no-user-namespaces", "masked-proc", "no-capabilities", "read-only-root")
# Need not exist, and must not be `nobody`, which some tests become.
ORDINARY_USER = 12345


def _copy_for(user: int, sessions: list[str], directory: Path) -> Path:
    """Copy the checkout, with the environments of these sessions, for a user."""
    wanted = {"run", "cache", "interpreters", *sessions}
    unwanted = {".git", ".dev", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache", "__pycache__"}

    def ignore(path: str, names: list[str]) -> set[str]:
        if Path(path) == ROOT / ".nox":
            return set(names) - wanted
        return unwanted.intersection(names)

    copy = directory / str(user)
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignore)
    for parent, directories, files in os.walk(copy):
        for name in (".", *directories, *files):
            os.chown(os.path.join(parent, name), user, user, follow_symlinks=False)
    return copy


@nox.session(venv_backend="none")
def places(session: nox.Session) -> None:
    """`demo` and `quick` (or the sessions given) where little is permitted, as root and as an ordinary user.

    The environments are made outside, and tools/place runs the sessions in copies of the checkout, which need
    no network.
    """
    if os.geteuid() != 0:
        session.skip("it takes root to make the places")
    sessions = session.posargs or ["demo", "quick"]
    nox_of_ours = [sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py")]
    session.run(*nox_of_ours, "--install-only", "-s", *sessions, silent=True)
    failed = []
    with tempfile.TemporaryDirectory(prefix="places-") as name:
        os.chmod(name, 0o755)
        for user in (0, ORDINARY_USER):
            copy = _copy_for(user, sessions, Path(name))
            for place in PLACES:
                session.log(f"{place}, {'root' if user == 0 else 'an ordinary user'}: {', '.join(sessions)}")
                session.chdir(copy)
                command = ["tools/place", place, str(user), "./run", *sessions]
                try:
                    session.run(*command, external=True, silent=sessions == ["demo"])
                except CommandFailed:
                    failed.append(f"{place} as {user}")
    if failed:
        session.error("; ".join(failed))


@nox.session(python=MAIN)
def bench(session: nox.Session) -> None:
    """The benchmarks; fails if a gate is missed."""
    _install(session, "meta")
    session.chdir(ROOT)
    session.run("python", "-m", "benchmarks", *session.posargs, env={"PYTHONPATH": None})


@nox.session(name="bench-remote", python=MAIN)
def bench_remote(session: nox.Session) -> None:
    """The benchmarks of work on another host, behind an sshd, beside other libraries; fails as `bench`."""
    _install(session, "meta", "asyncssh", "paramiko", "mitogen")
    session.chdir(ROOT)
    session.run("python", "-m", "benchmarks.remote", *session.posargs, env={"PYTHONPATH": None})


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """All that CI runs: static checks, each layer alone, all on other Pythons, the demo in several places."""
    session.log(f"Pythons: {', '.join(PYTHONS)}; started {time.strftime('%H:%M:%S')}")
    in_root = os.geteuid() == 0 and shutil.which("debootstrap") is not None and SUPPORTED[-1] not in PYTHONS
    # The oldest and the newest show nearly all differences; on those between, `brief` is enough.
    whole = {*OTHERS[:1]} if in_root else {*OTHERS[:1], *OTHERS[-1:]}
    between = [version for version in OTHERS if version not in whole]
    # The longest first.
    names = [f"thread-{MAIN}", f"meta-{MAIN}", *(f"suite-{version}" for version in sorted(whole) or [MAIN])]
    if in_root:
        names += [f"unstable-{MAIN}"]
    names += [f"handle-{MAIN}", f"guests-{MAIN}", f"denied-{MAIN}", f"memory-{MAIN}", "types"]
    names += [f"{layer}-{MAIN}" for layer in ("native", "near", "tasks")]
    names += [f"brief-{version}" for version in between]
    ours = [sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py"), "--no-color", "-s"]
    commands = {name: [*ours, name] for name in [*names, "lint", "demo"]}
    commands[f"denied-{MAIN}"] += ["--", "--docker"]
    failed = _at_once(commands)
    # Alone, since it copies the checkout with the environment of the demo.
    session.notify("places", ["demo"])
    if failed:
        session.error(f"failed: {', '.join(failed)}")
