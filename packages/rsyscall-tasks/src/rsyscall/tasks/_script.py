"""The shell script that places `rsyscall-stub` somewhere and executes it, and what it answers.

The script is one line for any POSIX shell, and holds the program for each architecture as the format of a
`printf`. Many things read it on its way: a login shell, perhaps csh or fish; ssh, which joins its arguments.
So it has no single quote, no newline, no exclamation mark, and no backslash before another one: inside single
quotes all shells leave such a text as it is.

It says how far it came in lines that begin with a token, which is new each time: what a login shell prints
before is not mistaken for them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from rsyscall.stub_program import stub_bytes

__all__ = ["DIRECTORIES", "MACHINES", "STALE_MINUTES", "UTILITIES", "available_machines", "make_script"]

DIRECTORIES = ("$TMPDIR", "/tmp", "/dev/shm", "/var/tmp", "$XDG_RUNTIME_DIR", "$HOME", ".")
"""Where the script tries to place the program, in this order."""

UTILITIES = ("uname", "mkdir", "chmod", "rm")
"""What the script needs on the other side, beside a shell that has `printf` built in. With `find`, it also
removes what is left of connections whose shell was killed."""

STALE_MINUTES = 5
"""A directory that is as old as this is left over: it is there for some milliseconds, usually."""

MACHINES = {"x86_64": "x86_64", "aarch64": "aarch64 | arm64", "riscv64": "riscv64"}
"""The architectures that there may be a program for, and what `uname -m` says there."""

_OCTAL_DIGITS = frozenset(b"01234567")
_LITERAL = frozenset(range(0x20, 0x7F)) - frozenset(b"\"$`\\'!%")


def _pieces(escape: str) -> list[str]:
    """What stands for each byte in a format."""
    pieces = [chr(byte) if byte in _LITERAL else escape.format(byte) for byte in range(256)]
    pieces[ord("%")] = "%%"
    return pieces


_SHORT = _pieces("\\{:o}")
# A digit that follows would be taken for a part of a shorter number.
_BEFORE_DIGIT = _pieces("\\{:03o}")


def available_machines() -> list[str]:
    """The architectures for which a program is installed."""
    found = []
    for machine in MACHINES:
        try:
            stub_bytes(machine)
        except FileNotFoundError:
            continue
        found.append(machine)
    return found


@functools.cache
def _printf_format(data: bytes) -> str:
    """The format with which `printf` prints `data`, to be put between double quotes."""
    following = data[1:] + b"\n"
    return "".join(
        [
            (_BEFORE_DIGIT if after in _OCTAL_DIGITS else _SHORT)[byte]
            for byte, after in zip(data, following, strict=True)
        ]
    )


def make_script(token: str, machines: Sequence[str]) -> str:
    """The script.

    Args:
        token: begins each line that the script prints; letters and digits.
        machines: the architectures to carry a program for.
    """
    # Without the two quotes, a shell that prints the script would seem to say these words.
    say = f'echo "rsyscall-""{token}'
    cases = " ".join(
        f'{MACHINES[machine]}) b() {{ printf "{_printf_format(stub_bytes(machine))}"; }};;'
        for machine in machines
    )
    directories = " ".join(f'"{directory}"' for directory in DIRECTORIES)
    # The program asks to be killed when its parent dies. But what puts a process into a container exits soon
    # afterwards. Such a parent is outside of the pid namespace, or is known by its name.
    # In a subshell, because a shell that cannot redirect, for want of descriptors, may be left with others.
    brief = (
        'c=$(c=/proc/$PPID/comm; [ -r $c ] && read -r c <$c && echo "$c"); '
        "k=; case $PPID-$c in 0-* | *-runc* | *-crun*) k=keep;; esac"
    )
    # Not 2>/dev/null, which may not exist.
    return (
        f'{say} begin"; '
        f"{brief}; u=$(umask); umask 077; m=$(uname -m); case $m in {cases} "
        f'*) {say} machine $m"; exit 1;; esac; '
        f'for d in {directories}; do p="$d/rsyscall-{token}"; f="$p/rsyscall-stub"; '
        # In a subshell, because a pattern that matches nothing is an error in zsh.
        f'( for o in "$d"/rsyscall-{"?" * len(token)}; do if [ -O "$o" ]; then '
        f'find "$o" -prune -mmin +{STALE_MINUTES} -exec rm -rf "{{}}" ";"; fi; done ) 2>&-; '
        f'if [ -n "$d" ] && mkdir "$p" 2>&-; then '
        f'if b >"$f" && chmod 700 "$f" && "$f" write 2>&-; then '
        f'{say} start"; umask "$u"; exec "$f" once "$f" "$p" $k; fi; '
        f'rm -rf "$p"; fi; done; {say} directory"; exit 1'
    )
