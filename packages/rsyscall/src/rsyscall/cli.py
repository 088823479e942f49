"""The command line: `python -m rsyscall run`, `copy` and `repl`. This module parses it; others execute it."""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from rsyscall.cli_options import FAILED, CopyOptions, ReplOptions, RunOptions, print_error, readable, say

__all__ = ["FAILED", "CopyOptions", "ReplOptions", "RunOptions", "main", "parse", "say"]

DESCRIPTION = "Make any Linux system call in any of your processes."

RUN_DESCRIPTION = """\
Build a process step by step, and run a command in it.

A process is made, inert, in the new namespaces that are asked for. Then calls
are made in it, one after another, until it is what it should be. Last, it
executes the command. Nothing is run in between, and nothing is left behind if a
step fails.
"""

RUN_EPILOG = """\
examples:
  rsyscall run -- echo hello
  rsyscall run --user --map-root --mount --pid -- ps aux
  rsyscall run --user --net --hostname box -- sh -c 'hostname; ip addr'
  rsyscall run --chroot /srv/debian --chdir /root --setenv LANG=C -- bash
  rsyscall run --user --tmpfs /mnt --chdir /mnt -- sh -c 'touch x; ls'
  rsyscall run --timeout 10 --rlimit as=1000000000 -- ./untrusted
  rsyscall run --trace -- true
  rsyscall run --ssh user@host --chdir /srv --timeout 60 -- make
  rsyscall run --via 'sudo -u backup sh -c' --nice 10 -- tar c /home > home.tar

elsewhere:
  --via takes a command that leads to another place, up to where a shell script
  comes: 'sudo sh -c', 'docker exec -i NAME sh -c', 'nsenter -t PID -m sh -c'.
  --ssh takes a host, perhaps with options of ssh before it. Nothing has to be
  installed there but a shell, and nothing is left there. The process is made
  there, so the other options mean what is there. The command has pipes for its
  standard input, output and error, which lead to ours, and no terminal.

exit status:
  that of the command, or 128 + N if signal N killed it; 124 if it took longer
  than --timeout; 125 if a step failed, or if what a successful command
  elsewhere reads or writes was lost on the way; 126 if the command cannot be
  executed; 127 if it does not exist; 2 for a wrong command line. If SIGINT or
  SIGQUIT killed the command, this program dies of the same signal, so that a
  script which runs it ends, too.

SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1 and SIGUSR2 are passed on to the
command. It is killed if this program is, or if the way to it is lost. As
process 1 of a pid namespace (--pid) it takes everything in there with it when
it ends; signals that it does not handle end it, although the kernel ignores
them for a process 1.
"""


COPY_DESCRIPTION = """\
Copy a file, or a directory with all that is in it, from or to another place.

The path that begins with a colon is there. Permissions, times and symbolic
links are kept. A file that exists is replaced when its copy is whole; into a
directory that exists, the copy comes under its name. Nothing is left of a copy
that fails.
"""

COPY_EPILOG = """\
examples:
  rsyscall copy --ssh user@host :/etc/nginx backup
  rsyscall copy --via 'docker exec -i web sh -c' index.html :/srv/www

exit status:
  0; 1 if the copy failed; 2 for a wrong command line. SIGHUP, SIGINT, SIGQUIT and
  SIGTERM end it when nothing of the copy is left; a second one ends it at once.
"""


REPL_DESCRIPTION = """\
A Python prompt in a running trio, where await may stand anywhere.

thread is this program, or the process in the other place; local_thread is
always this program, and nursery runs tasks in the background. Ctrl-C cancels
what runs, and leaves inert children alone; a second one ends them if what runs
waits for them. Ctrl-D or exit ends the prompt. If standard input is no
terminal, it is run as a program.
"""

REPL_EPILOG = """\
examples:
  rsyscall repl
  rsyscall repl --ssh user@host
  echo 'print(await thread.getcwd())' | rsyscall repl --ssh user@host

files:
  ~/.rsyscall_history keeps what was typed, for its owner alone. The variable
  RSYSCALL_HISTORY names another file; if it is empty, nothing is kept.

exit status:
  that of exit(STATUS); 1 if the other place cannot be reached, or if a program
  on standard input ends with an exception; 2 for a wrong command line.
"""


def _show(text: str) -> None:
    """Print what was asked for."""
    if sys.stdout is None:
        raise SystemExit(f"rsyscall: standard output: {os.strerror(errno.EBADF)}")
    try:
        print(text, end="", flush=True)
    except OSError as error:
        # What is in the buffer would be tried again at the end.
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        raise SystemExit(f"rsyscall: standard output: {error.strerror}") from None


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        print_error(f"{self.prog}: {readable(message)}; see {self.prog} --help\n")
        self.exit(2)

    def print_help(self, file: Any = None) -> None:
        """Unlike that of argparse, says if it cannot."""
        _show(self.format_help())


class _Version(argparse.Action):
    """`--version`: looking it up takes time, so only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib import metadata

        try:
            version = metadata.version("rsyscall")
        except metadata.PackageNotFoundError:
            version = "(not installed: development tree)"
        _show(f"rsyscall {version}\n")
        parser.exit(0)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _name(text: str) -> str:
    if not text or "=" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a variable")
    return text


def _mount(kind: str, text: str) -> tuple[str, str, str]:
    """What is mounted ("bind", "ro-bind", "tmpfs"), what of, and where."""
    source, colon, target = ("tmpfs", ":", text) if kind == "tmpfs" else text.partition(":")
    if not source or not (target or not colon):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form SOURCE[:TARGET]")
    return kind, source, target or source


def _user_and_group(text: str) -> tuple[int | str, int | str | None]:
    user, colon, group = text.partition(":")
    if not user or (colon and not group):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form USER[:GROUP]")
    return _number_or_name(user), _number_or_name(group) if colon else None


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _limit(text: str) -> tuple[str, tuple[int | None, int | None]]:
    name, equals, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    if not equals or not hasattr(resource, f"RLIMIT_{name.upper()}"):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=SOFT[:HARD], as in nofile=64:128")
    limits = _limit_value(soft, text), _limit_value(hard if colon else soft, text)
    if limits[1] is not None and (limits[0] is None or limits[0] > limits[1]):
        raise argparse.ArgumentTypeError(f"in {text!r} the soft limit is above the hard one")
    return name.lower(), limits


def _limit_value(value: str, text: str) -> int | None:
    if value == "unlimited":
        return None
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"{value!r} in {text!r} is neither a number nor 'unlimited'")
    # The last one is what the kernel has for no limit. A longer text takes long to convert, or cannot be.
    if len(value) > 20 or int(value) >= 2**64 - 1:
        raise argparse.ArgumentTypeError(f"{value!r} in {text!r} is above {2**64 - 2}")
    return int(value)


def _words(text: str) -> list[str]:
    import shlex  # not with the module: few command lines need it

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if not words or not words[0]:
        raise argparse.ArgumentTypeError(f"{text!r} is no command")
    return words


def _between(low: int, high: int, base: int = 10) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            value = int(text, base)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            limits = (f"{low:o}", f"{high:o}") if base == 8 else (low, high)
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {limits[0]} to {limits[1]}")
        return value

    return convert


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def _add_place(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("elsewhere")
    place = where.add_mutually_exclusive_group()
    place.add_argument(
        "--via", metavar="COMMAND", type=_words, help="in the place that a command leads to, as 'sudo sh -c'"
    )
    place.add_argument("--ssh", metavar="HOST", type=_words, help="on another host, as '-p 2222 user@host'")
    where.add_argument(
        "--by",
        choices=("argument", "line", "shell"),
        help="how our program gets there: in the argument of the command; as a line of its input, where an"
        " argument cannot be long, as 'kubectl exec -i POD -- sh -c'; or typed into the command, a shell",
    )


def _parser() -> dict[str | None, _Parser]:
    parser = _Parser(prog="rsyscall", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version and exit"
    )
    commands = parser.add_subparsers(dest="action", metavar="ACTION")

    def add(name: str, usage: str, help: str, description: str, epilog: str) -> _Parser:
        command = commands.add_parser(
            name,
            prog=f"rsyscall {name}",
            usage=f"%(prog)s {usage}",
            help=help,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _add_place(command)
        return command

    run = add(
        "run",
        "[OPTION]... [--] COMMAND [ARGUMENT]...",
        "build a process step by step and run a command in it",
        RUN_DESCRIPTION,
        RUN_EPILOG,
    )
    namespaces = run.add_argument_group("new namespaces")
    namespaces.add_argument(
        "--user", action="store_true", help="of users; needed for the others unless you are root"
    )
    namespaces.add_argument(
        "--map-root", action="store_true", help="be root in the user namespace (implies --user)"
    )
    namespaces.add_argument(
        "--mount", action="store_true", help="of mounts; with --pid, /proc is mounted anew"
    )
    namespaces.add_argument("--pid", action="store_true", help="of process ids; the command is process 1")
    namespaces.add_argument(
        "--net", action="store_true", help="of network interfaces; loopback is brought up"
    )
    namespaces.add_argument("--uts", action="store_true", help="of host names")
    namespaces.add_argument("--ipc", action="store_true", help="of System V IPC and POSIX message queues")
    namespaces.add_argument("--cgroup", action="store_true", help="of cgroups")
    setup = run.add_argument_group("the process")
    setup.add_argument("--hostname", metavar="NAME", help="set the host name (implies --uts)")
    mounts: dict[str, Any] = {"dest": "mounts", "action": "append", "default": []}
    setup.add_argument(
        "--bind",
        metavar="SOURCE[:TARGET]",
        type=partial(_mount, "bind"),
        help="make a directory or file appear at TARGET, too; as --tmpfs (both imply --mount), in the order "
        "given and before --chroot; may be repeated",
        **mounts,
    )
    setup.add_argument(
        "--ro-bind",
        metavar="SOURCE[:TARGET]",
        type=partial(_mount, "ro-bind"),
        help="the same, for reading only there",
        **mounts,
    )
    setup.add_argument(
        "--tmpfs",
        metavar="DIR",
        type=partial(_mount, "tmpfs"),
        help="mount an empty file system in memory at DIR; may be repeated",
        **mounts,
    )
    setup.add_argument("--chroot", metavar="DIR", help="make DIR its root directory")
    setup.add_argument("--chdir", metavar="DIR", help="change to DIR, inside of the root directory")
    setup.add_argument(
        "--setenv",
        metavar="NAME=VALUE",
        type=_assignment,
        action="append",
        default=[],
        help="set an environment variable; may be repeated",
    )
    setup.add_argument(
        "--unsetenv",
        metavar="NAME",
        type=_name,
        action="append",
        default=[],
        help="remove an environment variable; may be repeated",
    )
    setup.add_argument(
        "--clearenv", action="store_true", help="give it no environment variables but those of --setenv"
    )
    limits = run.add_argument_group("limits")
    limits.add_argument(
        "--rlimit",
        metavar="NAME=SOFT[:HARD]",
        type=_limit,
        action="append",
        default=[],
        help="limit a resource, as in nofile=64:128 or core=unlimited; may be repeated",
    )
    limits.add_argument("--nice", metavar="N", type=_between(-20, 19), help="set the nice value")
    limits.add_argument("--umask", metavar="MODE", type=_between(0, 0o777, 8), help="set the umask, in octal")
    limits.add_argument(
        "--no-new-privs", action="store_true", help="no program gets privileges by set-user-ID bits"
    )
    limits.add_argument(
        "--run-as",
        metavar="USER[:GROUP]",
        type=_user_and_group,
        help="run the command as another user, by name or number, with no other groups; elsewhere, and with"
        " --chroot, names are those of /etc/passwd and /etc/group there",
    )
    limits.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        help="end the command after that time by SIGTERM, and by SIGKILL 5 seconds later",
    )
    seeing = run.add_argument_group("seeing")
    seeing.add_argument(
        "--trace",
        action="store_true",
        help="print every call that rsyscall makes, in every process, to standard error, up to the execve of"
        " the command; what the command does then is for strace to show",
    )
    seeing.add_argument(
        "--trace-file",
        metavar="FILE",
        help="print them to FILE instead (implies --trace); if it cannot be written, the command goes on,"
        " and a warning comes at its end",
    )
    seeing.add_argument("--summary", action="store_true", help="print a table of these calls")
    seeing.add_argument("--verbose", action="store_true", help="print the steps to standard error")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run")
    copy = add(
        "copy",
        "{--ssh HOST | --via COMMAND} [OPTION]... SOURCE DESTINATION",
        "copy a file or a directory from or to another place",
        COPY_DESCRIPTION,
        COPY_EPILOG,
    )
    copy.add_argument("--quiet", action="store_true", help="do not show how far it is on a terminal")
    copy.add_argument("source", metavar="SOURCE", help="what to copy; begins with a colon if it is there")
    copy.add_argument("destination", metavar="DESTINATION", help="where to; the same")
    repl = add(
        "repl",
        "[--ssh HOST | --via COMMAND] [OPTION]...",
        "a Python prompt with await, here or in another place",
        REPL_DESCRIPTION,
        REPL_EPILOG,
    )
    repl.add_argument("--plain", action="store_true", help="do not use IPython, if that is installed")
    return {None: parser, "run": run, "copy": copy, "repl": repl}


def _copy_options(values: dict[str, Any], parser: _Parser) -> CopyOptions:
    if values["via"] is values["ssh"] is None:
        parser.error("one of --ssh and --via is required")
    there = [name for name in ("source", "destination") if values[name].startswith(":")]
    if len(there) != 1:
        parser.error("one of SOURCE and DESTINATION has to begin with a colon, which is the path there")
    values[there[0]] = values[there[0]][1:]
    if not values["source"] or not values["destination"]:
        parser.error("a path is empty")
    return CopyOptions(there=there[0], **values)


def parse(arguments: Sequence[str]) -> RunOptions | CopyOptions | ReplOptions:
    """Understand a command line.

    Args:
        arguments: without the name of the program.

    Raises:
        SystemExit: it is wrong (status 2), or help was asked for.
    """
    parsers = _parser()
    parser, run = parsers[None], parsers["run"]
    known, unknown = parser.parse_known_args(arguments)
    values = vars(known)
    action = values.pop("action")
    if unknown:
        (parser if unknown[0] == arguments[0] else parsers[action]).error(f"unknown option {unknown[0]}")
    if action is None:
        parser.error("the following arguments are required: ACTION")
    if action == "copy":
        return _copy_options(values, parsers[action])
    if values["by"] is not None and values["via"] is values["ssh"] is None:
        parsers[action].error("--by is for --via and --ssh")
    if action == "repl":
        return ReplOptions(**values)
    command = values.pop("command")
    # Everything from the first word that is no option belongs to the command, except for one separator.
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        run.error("no command is given")
    if not command[0]:
        run.error("the name of the command is empty")
    values["rlimit"] = dict(values["rlimit"])
    options = RunOptions(command=command, **values)
    options.user |= options.map_root
    options.mount |= bool(options.mounts)
    options.uts |= options.hostname is not None
    options.trace |= options.trace_file is not None
    return options


def _reserve_standard_descriptors() -> None:
    """Have no descriptor of ours take the place of a standard one that is closed.

    What is put there is closed for the command, as it was for us.
    """
    while True:
        number = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if number > 2:
            os.close(number)
            return


def _die(sig: int) -> int:
    """Die of a signal, as a shell expects of what ends because of it; returns a status if that fails."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError):
            pass
    # What dumps core is the command.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(sig, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {sig})
    signal.raise_signal(sig)
    # A process 1 does not die of it.
    return 128 + sig


def _import_run(options: RunOptions | CopyOptions | ReplOptions) -> Callable[[], int]:
    collecting = gc.isenabled()
    # What is imported stays. To look for garbage among it again and again takes a tenth of the time.
    gc.disable()
    try:
        if isinstance(options, CopyOptions):
            from rsyscall.cli_copy import copy

            return partial(copy, options)
        if isinstance(options, ReplOptions):
            from rsyscall.cli_repl import repl

            return partial(repl, options)
        from rsyscall.cli_run import run

        return partial(run, options)
    finally:
        if collecting:
            gc.enable()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the name of the program; by default those that it was started with.

    Returns:
        The exit status. Does not return if SIGINT came early, or if SIGINT or SIGQUIT has killed the command.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    # Until the signal is passed on, it may just end the program. A KeyboardInterrupt would now and then be
    # lost in a callback of the import system. (Process 1 does not die of it, and has to make do with that.)
    by_default = interrupt is signal.default_int_handler and os.getpid() != 1
    if by_default:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        _reserve_standard_descriptors()
        status = _import_run(options)()
        return status if status >= 0 else _die(-status)
    except KeyboardInterrupt:
        # Before signals are passed on.
        return _die(signal.SIGINT)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        say(f"{error.strerror}; see ulimit -n")
        return FAILED
    finally:
        if by_default:
            signal.signal(signal.SIGINT, interrupt)


def program() -> NoReturn:
    """Run the command line, and end the program."""
    status = main()
    if "rsyscall.tasks.local" in sys.modules:
        sys.modules["rsyscall.tasks.local"].local_thread.close()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    # Otherwise the interpreter would take all modules apart, for as long as the import of trio takes.
    os._exit(status)
