"""How the library works where a call that it makes for itself is denied: see docs/denied-calls.md.

Runs the core of the conformance suite once for each call and error number, over ring and stream: with a
filter on the whole program ("program"), and with one that a child has installed itself ("child"). Prints a
table of the outcomes, and fails if one is not as expected.

`denied.py [--docker] [ERROR...] [CALL...]`: only these errors and calls, or what Docker's default profile
denies.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ERRORS = ("EPERM", "ENOSYS")
NAMESPACE_FLAGS = "clone/0x7e020000"
REFUSAL = re.compile("Operation not permitted|Function not implemented")

# Of the core below, what executes programs, which make calls of their own.
PROGRAMS = (
    "command_with_other_standard_streams",
    "exec_that_fails",
    "status_of_a_command",
    "commands_that_fail_at_once",
    "which",
    "prepared_spawn",
    "several_commands_at_once",
    "exec_in_the_middle",
    "kill",
    "stop_and_continue",
    "actions_and_masks_do_not_reach_programs",
)
# Tests of tests/integration/test_conformance.py that between them make every call that we make for ourselves.
CORE = (
    "state_of_the_process",
    "errors",
    "many_callers",
    "memory_of_any_size",
    "pipe",
    "mkdtemp",
    "descriptors",
    "what_is_inherited",
    "unshare_files",
    "closing_what_exec_would_close",
    "async_pipe",
    "root_epoller",
    "channels",
    "clone_and_exit",
    "nested_children",
    "kill_during_a_call",
    "blocking_call_does_not_block_others",
    "cancelled_call_is_not_lost",
    "signal_queue",
    *PROGRAMS,
)
# What waits in a child.
WAITS = ("root_epoller", "signal_queue")


@dataclass(frozen=True)
class Call:
    """What to expect where a call is denied.

    Attributes:
        name: of the call; after a slash, the bits of its first argument with which it is denied.
        asked: tests that ask for it themselves, or execute programs that do: they are left out.
        refused: tests that cannot work without it, over one transport at least; they fail with its error.
        program: whether to deny it to a whole program: not if Python itself or trio cannot do without.
        child: whether to deny it to a child.
    """

    name: str
    asked: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    program: bool = True
    child: bool = True


CALLS = [
    # Done without.
    Call("clone3"),
    Call("pidfd_open"),
    Call("pidfd_getfd"),
    Call("pidfd_send_signal"),
    Call("waitid"),
    Call("wait4"),
    Call("kill", asked=("status_of_a_command",)),
    Call("kcmp"),
    Call("prctl", asked=("state_of_the_process",)),
    Call("close_range"),
    Call("futex_waitv"),
    Call("futex", asked=PROGRAMS),
    Call("ppoll"),
    Call("clock_nanosleep"),
    Call("getppid"),
    Call("fstat", asked=("mkdtemp", "which")),
    Call("faccessat"),
    Call("faccessat2"),
    Call("sched_getaffinity"),
    Call("sched_setaffinity"),
    Call("sched_yield"),
    Call("process_vm_readv"),
    Call("process_vm_writev"),
    Call("munmap"),
    Call("dup"),
    Call("exit_group"),
    Call("sendto", program=False),
    Call("mmap", asked=PROGRAMS, program=False),
    Call("exit", asked=("clone_and_exit", "nested_children")),
    Call("fcntl", asked=("descriptors", "closing_what_exec_would_close"), program=False),
    # What they are for is refused.
    Call(NAMESPACE_FLAGS),
    Call("setns"),
    Call("unshare", asked=("unshare_files",)),
    Call("eventfd2", asked=("descriptors", "what_is_inherited"), refused=WAITS),
    Call("epoll_create1", refused=WAITS, program=False),
    Call("epoll_pwait", refused=WAITS, program=False),
    Call("epoll_ctl", refused=CORE, program=False),
    Call("signalfd4", refused=("signal_queue",)),
    Call("rt_sigaction", refused=PROGRAMS, program=False),
    Call("rt_sigprocmask", refused=(*PROGRAMS, "signal_queue"), program=False),
    Call("getdents64", asked=("mkdtemp",), refused=("closing_what_exec_would_close",), program=False),
    Call("socketpair", refused=CORE, program=False),
    Call("sendmsg", refused=CORE),
    Call("recvmsg", refused=CORE),
]


@dataclass(frozen=True)
class Job:
    """One run: a filter, and where it is."""

    where: str
    denied: tuple[tuple[str, str], ...]
    asked: tuple[str, ...]
    refused: tuple[str, ...]

    def title(self) -> tuple[str, str, str]:
        """The first columns of the table."""
        calls = "+".join(name for _, name in self.denied)
        return calls, "+".join(dict.fromkeys(error for error, _ in self.denied)), self.where


def one(job: Job) -> None:
    """Run the tests of a job in this process, and print their outcomes as JSON in the last line."""
    sys.path.insert(0, str(ROOT))
    import pytest

    os.environ["RSYSCALL_TEST_WAYS"] = "ring-child stream-child"
    if job.where == "child":
        [(error, name)] = job.denied
        os.environ["RSYSCALL_TEST_WAYS"] = "ring-denied stream-denied"
        os.environ["RSYSCALL_TEST_DENIED_IN_CHILD"] = f"{error} {name}"
    outcomes: dict[str, str] = {}

    class Plugin:
        """Chooses the tests, installs the filter when everything is imported, and notes the outcomes."""

        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            wanted = {f"test_{name}" for name in CORE if name not in job.asked}
            items[:] = [item for item in items if item.name.partition("[")[0] in wanted]

        def pytest_collection_finish(self) -> None:
            from tests.integration.filters import deny

            if job.where == "program":
                for error, name in job.denied:
                    deny(error, [name])

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            name = report.nodeid.partition("::test_")[2]
            if report.failed:
                outcomes[name] = outcomes.get(name) or f"{report.when}: {reason(str(report.longrepr))}"
            elif report.when == "call" and report.passed:
                outcomes[name] = ""

    arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:terminalreporter", "--tb=short", "--timeout=10"]
    pytest.main([*arguments, "tests/integration/test_conformance.py"], plugins=[Plugin()])
    print(json.dumps(outcomes), flush=True)
    os._exit(0)  # with calls denied, the end of an interpreter is nothing to rely on


def reason(text: str) -> str:
    """The exception that a report is about."""
    lines = [line.strip(" |+-") for line in text.splitlines()]
    found = [
        line for line in lines if re.match(r"(E +)?[\w.]*(Error|Exception|Hangup|Cancelled|Timeout)\b", line)
    ]
    return (found[-1] if found else lines[-1])[:200]


def jobs_for(calls: Iterable[Call], errors: Sequence[str]) -> list[Job]:
    """A run for each call, error and place of the filter."""
    return [
        Job(where, ((error, call.name),), call.asked, call.refused)
        for call in calls
        for error in errors
        for where in ("program", "child")
        if getattr(call, where)
    ]


def docker_jobs() -> list[Job]:
    """What Docker's default profile denies to a process without capabilities, one by one and at once."""
    known = {call.name: call for call in CALLS}
    denied = [("ENOSYS", "clone3")]
    denied += [("EPERM", name) for name in ("kcmp", "pidfd_getfd", "setns", "unshare", NAMESPACE_FLAGS)]
    jobs = [
        Job("program", ((error, name),), known[name].asked, known[name].refused) for error, name in denied
    ]
    asked = tuple(test for _, name in denied for test in known[name].asked)
    refused = tuple(test for _, name in denied for test in known[name].refused)
    return [*jobs, Job("program", tuple(denied), asked, refused)]


def run(job: Job) -> tuple[bool, str]:
    """Run a job in a process of its own; returns whether all was as expected, and the outcome."""
    command = [sys.executable, __file__, "--one", repr((job.where, job.denied, job.asked, job.refused))]
    options = {"capture_output": True, "text": True, "timeout": 200, "cwd": ROOT, "check": False}
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload] # as a matter of length
    except subprocess.TimeoutExpired:
        return False, "does not come to an end"
    try:
        outcomes: dict[str, str] = json.loads(result.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return False, f"no outcome, status {result.returncode}: {result.stderr.strip()[-300:]}"
    return judge(job, outcomes)


def judge(job: Job, outcomes: dict[str, str]) -> tuple[bool, str]:
    """Whether the outcomes (test and what it failed with, or nothing) are as expected, and a text."""
    if not outcomes:
        return False, "no test was run"
    refused, wrong = [], []
    for name, failure in outcomes.items():
        if not failure:
            continue
        if name.partition("[")[0] in job.refused and REFUSAL.search(failure):
            refused.append(name)
        else:
            wrong.append(f"{name}: {failure}")
    if wrong:
        return False, "\n    ".join([f"{len(wrong)} of {len(outcomes)} are not as expected:", *wrong[:8]])
    text = f"{len(outcomes) - len(refused)} work"
    if refused:
        text += f"; refused: {', '.join(refused)}"
    return True, text


def main(arguments: list[str]) -> int:
    """Run what the arguments say; returns the exit status."""
    if arguments[:1] == ["--one"]:
        import ast

        one(Job(*ast.literal_eval(arguments[1])))
    if arguments[:1] == ["--docker"]:
        jobs = docker_jobs()
    else:
        errors = [error for error in ERRORS if error in arguments] or ERRORS
        names = set(arguments) - set(ERRORS)
        jobs = jobs_for((call for call in CALLS if not names or call.name in names), errors)
    start = time.monotonic()
    failed = 0
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        for job, (good, text) in zip(jobs, pool.map(run, jobs), strict=True):
            failed += not good
            calls, error, where = job.title()
            print(f"{calls:20} {error:7} {where:8} {'' if good else 'FAILED: '}{text}", flush=True)
    print(f"{len(jobs)} filters, {failed} not as expected, {time.monotonic() - start:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
