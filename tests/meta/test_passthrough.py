"""Programs that use many kinds of calls on files run in the file system of `examples/17_passthrough.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Programs
from .test_examples import EXAMPLES

pytestmark = [pytest.mark.slow, pytest.mark.needs("/dev/fuse", "privileged mount namespaces")]

GIT = """
set -e
git init -q repo && cd repo
for i in $(seq 30); do mkdir -p d$((i % 3)); echo $i > d$((i % 3))/f$i; done
ln -s d1/f1 link && head -c 2000000 /dev/urandom > big && cp big big2 && chmod 755 d0/f3
git add -A && git commit -qm one
git mv d1 d9 && git rm -q d2/f2 && git commit -qam two && git tag two
git checkout -q -b side HEAD~1 && echo new > new && git add new && git commit -qm three
git merge -q -m merge two
git gc -q --aggressive && git fsck --full --strict && git status --porcelain
cd .. && git clone -q --no-local repo copy && git clone -q repo linked && cd copy
diff -r ../repo/d9 d9 && cmp big ../repo/big2 && test -L link && test -x d0/f3 && git log --oneline | wc -l
"""

MAKEFILE = """
program: main.o part.o
\tcc -o $@ $^
%.o: %.c part.h
\tcc -c -o $@ $<
"""

MAIN_C = """
#include <stdio.h>
#include "part.h"
int main() { printf("%d\\n", part()); }
"""

BUILD = """
set -e
printf 'int part(void);' > part.h
printf '#include "part.h"\\nint part(void) { return 7; }' > part.c
make -s && ./program && touch -d '1 hour ago' *
tar -cf ../project.tar . && mkdir unpacked && tar -xf ../project.tar -C unpacked && cd unpacked
# The times are those of before, so there is nothing to do, until something changes.
make -q && touch part.h && ! make -q && make -s && ./program
"""


def behind(top: Path) -> tuple[Path, Path]:
    """The directory behind the file system, and where that is mounted."""
    paths = top / "behind", top / "mountpoint"
    for path in paths:
        path.mkdir()
    return paths


def run(cli: Programs, top: Path, *command: str, **env: str) -> str:
    """Run a command in the file system; it has to succeed."""
    paths = (str(path) for path in behind(top))
    result = cli(*paths, *command, program=EXAMPLES / "17_passthrough.py", env=env)
    assert (result.status, result.err) == (0, ""), result.out
    assert os.listdir(top / "mountpoint") == []
    return result.out


def test_git(cli: Programs, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("package: git")
    who = {f"GIT_{role}_{what}": "someone" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    printed = run(cli, tmp_path, "sh", "-c", GIT, GIT_CONFIG_GLOBAL="/dev/null", HOME="/nonexistent", **who)
    assert printed == "4\n"
    # What it has written is there, and whole.
    fsck = ["git", "-c", "safe.directory=*", "fsck", "--full"]
    subprocess.run(fsck, cwd=tmp_path / "behind" / "copy", check=True, capture_output=True)


def test_make_and_tar(cli: Programs, tmp_path: Path) -> None:
    if shutil.which("make") is None or shutil.which("cc") is None:
        pytest.skip("package: gcc and make")
    files = {"Makefile": MAKEFILE, "main.c": MAIN_C}
    made = "mkdir project && cd project && " + " && ".join(f"printf %s '{t}' > {n}" for n, t in files.items())
    assert run(cli, tmp_path, "sh", "-c", made + "\n" + BUILD) == "7\n7\n"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["test_shutil", "test_mailbox"])
def test_the_tests_of_a_module_of_python(cli: Programs, tmp_path: Path, name: str) -> None:
    for python in (sys.executable, "/usr/bin/python3"):
        found = subprocess.run([python, "-c", f"import test.{name}"], check=False, capture_output=True)
        if found.returncode == 0:
            break
    else:
        pytest.skip("package: libpython3.11-testsuite")
    mountpoint = str(tmp_path / "mountpoint")
    command = [python, "-I", "-m", "test", "--tempdir", mountpoint, name]
    printed = run(cli, tmp_path, *command, TMPDIR="")
    assert "SUCCESS" in printed
