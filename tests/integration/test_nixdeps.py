"""`nixdeps`: closures of packages, in builds with Nix and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path as LocalPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixdeps import PackageClosure
from nixdeps.load import load_closure, read_references_graph
from nixdeps.setuptools import write_module

# As Debian installs it: the tests hide what is in the store of this machine.
INSTALLED = os.path.exists("/usr/bin/nix-store") and os.path.isdir("/nix")
with_nix = pytest.mark.skipif(not INSTALLED, reason="nix is not installed")

store_paths = st.integers(0, 2**100).map(lambda number: f"/nix/store/{number:032x}-name")
graphs = st.lists(
    st.tuples(store_paths, st.one_of(st.just(""), store_paths), st.lists(store_paths, max_size=5)), max_size=5
)


@given(graphs)
def test_a_graph_of_references(graph: list[tuple[str, str, list[str]]]) -> None:
    text = "".join(
        "".join(f"{line}\n" for line in [path, built_from, len(references), *references])
        for path, built_from, references in graph
    )
    assert read_references_graph(text) == [path for path, _, _ in graph]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/nix/store/a\n", "cut off"),
        ("/nix/store/a\n\n", "cut off"),
        ("/nix/store/a\n\n2\n/nix/store/b\n", "cut off"),
        ("/nix/store/a\n\n1\nb\n", "not followed by its references"),
        ("a\n\n0\n", "not followed by its references"),
        ("/nix/store/a\n\n-1\n", "not followed by its references"),
        ("/nix/store/a\n\nx\n", "invalid literal"),
    ],
)
def test_what_is_no_graph_of_references(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_references_graph(text)


def test_a_build_without_nix() -> None:
    assert load_closure("openssh", {}) == PackageClosure(
        LocalPath("/dev/null/openssh"), ["/dev/null/openssh"]
    )


def test_a_name_that_the_derivation_does_not_have() -> None:
    with pytest.raises(LookupError, match=r"openssh: .* which has coreutils"):
        load_closure("openssh", {"exportReferencesGraph": "coreutils /nix/store/x"})


def in_own_store(*words: str | LocalPath, **variables: str) -> str:
    """Run a command with an empty store in memory; returns what it has printed."""
    place = ["unshare", "--user", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs none /nix && exec "$@"'
    config = "substituters =\nsandbox = false\nbuild-users-group =\n"
    done = subprocess.run(
        [*place, "sh", "-c", script, "sh", *words],
        env={**os.environ, "NIX_CONFIG": config, **variables},
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout


WRITE = """
import pathlib, sys
from nixdeps.setuptools import write_module
write_module(pathlib.Path(sys.argv[1]), "the-file")
"""

DERIVATION = """
{ python, program, modules }:
let file = builtins.toFile "file" "referred to ${builtins.toFile "other" "x"}"; in
derivation {
  name = "modules";
  system = builtins.currentSystem;
  builder = python;
  args = [ "-c" program (placeholder "out") ];
  PYTHONPATH = modules;
  exportReferencesGraph = [ "the-file" file ];
}
"""


@with_nix
@pytest.mark.slow
@pytest.mark.needs("user namespaces", "mount namespaces")
def test_in_a_derivation(tmp_path: LocalPath) -> None:
    """A build in which Nix writes the graph: the module that it makes has both paths."""
    (tmp_path / "modules.nix").write_text(DERIVATION)
    arguments = {"python": sys.executable, "program": WRITE, "modules": os.pathsep.join(sys.path)}
    words = [word for name, value in arguments.items() for word in ("--argstr", name, value)]
    build = 'nix-build --no-out-link "$@" > built; cat $(cat built)/the_file.py'
    command = ["sh", "-c", f"cd {tmp_path}; {build}", "sh", *words, tmp_path / "modules.nix"]
    found: dict[str, PackageClosure] = {}
    exec(in_own_store(*command, HOME=str(tmp_path)), found)
    closure = found["closure"]
    assert str(closure.path).endswith("-file")
    assert [path.partition("-")[2] for path in closure.closure] in (["file", "other"], ["other", "file"])
    assert str(closure.path) in closure.closure


@with_nix
@pytest.mark.slow
@pytest.mark.needs("user namespaces", "mount namespaces")
def test_in_a_shell_of_nix(tmp_path: LocalPath) -> None:
    """There is no file with the graph: the store is asked."""
    (tmp_path / "package").write_text("x")
    script = """
        path=$(nix-store --add "$1/package") &&
        exportReferencesGraph="the-file $path" exec "$2" -c "$3" "$1/out"
    """
    in_own_store("sh", "-c", script, "sh", tmp_path, sys.executable, WRITE, HOME=str(tmp_path))
    found: dict[str, PackageClosure] = {}
    exec((tmp_path / "out" / "the_file.py").read_text(), found)
    path = found["closure"].path
    assert path.name.endswith("-package")
    assert found["closure"].closure == [str(path)]


@pytest.mark.parametrize(
    ("name", "module"), [("openssh", "openssh"), ("gcc-13.2", "gcc_13_2"), ("7zip", "_7zip"), ("if", "_if")]
)
def test_modules_have_names_that_can_be_imported(tmp_path: LocalPath, name: str, module: str) -> None:
    path = write_module(tmp_path / "package" / "_nixdeps", name)
    assert path == tmp_path / "package" / "_nixdeps" / f"{module}.py"
    assert (path.parent / "__init__.py").exists()
    found: dict[str, PackageClosure] = {}
    exec(path.read_text(), found)
    assert found["closure"] == PackageClosure(LocalPath("/dev/null", name), [f"/dev/null/{name}"])


BUILD = """
import pathlib, sys, setuptools
from nixdeps.setuptools import nixdeps
directory = pathlib.Path(sys.argv[1])
(directory / "package").mkdir()
(directory / "package" / "__init__.py").touch()
settings = {"packages": ["package"], "package_dir": {"": str(directory)}, "script_name": "setup.py"}
distribution = setuptools.Distribution(settings)
nixdeps(distribution, "nixdeps", {"package._nixdeps": ["nix", "openssh"]})
command = distribution.get_command_obj("build_py")
command.build_lib = str(directory / "build")
distribution.run_command("build_py")
"""


def test_the_keyword_of_setup(tmp_path: LocalPath) -> None:
    subprocess.run([sys.executable, "-c", BUILD, tmp_path], check=True, stdout=subprocess.PIPE)
    built = tmp_path / "build" / "package"
    assert {path.name for path in built.iterdir()} == {"__init__.py", "_nixdeps"}
    assert {path.name for path in (built / "_nixdeps").iterdir()} == {"__init__.py", "nix.py", "openssh.py"}


@pytest.mark.parametrize("value", [["nix"], {"package": "nix"}, {"package": [1]}, {"a b": ["nix"]}, {1: []}])
def test_the_keyword_of_setup_is_checked(value: object) -> None:
    script = "import ast, sys, setuptools; from nixdeps.setuptools import nixdeps; "
    script += "nixdeps(setuptools.Distribution(), 'nixdeps', ast.literal_eval(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, repr(value)], check=False, stderr=subprocess.PIPE, text=True
    )
    assert "TypeError: nixdeps: expected" in done.stderr
