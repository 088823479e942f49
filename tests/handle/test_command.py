"""Command: a description of what to execute."""

from __future__ import annotations

import subprocess

from rsyscall.command import Command
from rsyscall.path import Path


class Special(Command):
    pass


def test_is_built_step_by_step() -> None:
    base = Command(Path("/bin/echo"), ["echo"], {})
    command = base.args("-n", Path("/x")).env(A="1").env({"B": "2", "A": "3"}, B="4")
    assert command.executable_path == Path("/bin/echo")
    assert command.arguments == ["echo", "-n", Path("/x")]
    assert command.env_updates == {"A": "3", "B": "4"}
    assert base.arguments == ["echo"]
    assert base.env_updates == {}


def test_subclasses_keep_their_type() -> None:
    assert type(Special("/bin/true", ["true"], {}).args("x").env(A="1")) is Special


def test_shell_form_is_not_quoted_but_str_is() -> None:
    command = Command("/bin/sh", ["sh", "-c", "echo $A"], {"A": "two words"})
    assert command.in_shell_form() == "A=two words /bin/sh -c echo $A"
    assert str(command) == "A='two words' /bin/sh -c 'echo $A'"
    assert subprocess.run(str(command), shell=True, capture_output=True, check=True).stdout == b"two words\n"
    assert repr(command) == "Command('/bin/sh', ['sh', '-c', 'echo $A'], {'A': 'two words'})"


def test_bytes_are_shown_and_quoted() -> None:
    command = (
        Command("/bin/echo", [b"echo", b"a b", b"\xff"], {}).env({b"A": b"\xfe"}).env({"A": "1"}, B=b"2")
    )
    assert command.env_updates == {"A": "1", "B": b"2"}
    assert str(command) == "A=1 B=2 /bin/echo 'a b' '\udcff'"
    assert command.in_shell_form() == "A=1 B=2 /bin/echo a b \udcff"
    assert subprocess.run(str(command), shell=True, capture_output=True, check=True).stdout == b"a b \xff\n"
    assert "b'a b'" in repr(command)
