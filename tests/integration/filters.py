"""Seccomp filters that deny calls, for this OS thread and what it makes, or for a process that we drive.

As a program: `filters.py ERRNO CALL[,CALL...] PROGRAM ARGUMENTS...` denies the calls and executes PROGRAM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Sequence

from rsyscall.near import SYS, native_abi
from rsyscall.thread import Thread

_LOAD, _IF_EQUAL, _IF_BITS, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("=HxxxxxxQ")
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2


def filter_program(verdict: str, calls: Sequence[str]) -> bytes:
    """The instructions of a filter that denies these calls and allows all others.

    Args:
        verdict: the name of an errno, or KILL.
        calls: names, such as clone, or clone/0x7e020000: denied if one of these bits is set in the first
            argument, or prctl=1: denied if it is this one.

    manpage: seccomp(2)
    """
    denied = _KILL if verdict == "KILL" else _ERRNO | int(getattr(errno, verdict))
    program = [(_LOAD, 0, 0, _NUMBER)]
    for call in calls:
        name, condition, value = call.partition("=" if "=" in call else "/")
        number = native_abi().number(SYS[name])
        if condition:
            test = _IF_EQUAL if condition == "=" else _IF_BITS
            program += [
                (_IF_EQUAL, 0, 4, number),
                (_LOAD, 0, 0, _FIRST_ARGUMENT),
                (test, 0, 1, int(value, 0)),
                (_RETURN, 0, 0, denied),
                (_LOAD, 0, 0, _NUMBER),
            ]
        else:
            program += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, denied)]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def deny(verdict: str, calls: Sequence[str]) -> None:
    """Deny these calls to the calling OS thread and to all that it makes, for good.

    Raises:
        OSError: as prctl(2).
    """
    program = filter_program(verdict, calls)
    buffer = ctypes.create_string_buffer(program, len(program))
    described = _PROGRAM.pack(len(program) // _INSTRUCTION.size, ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 4]
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0
    ):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


async def deny_in(thread: Thread, verdict: str, calls: Sequence[str]) -> None:
    """Have a process that we drive install a filter that denies it these calls.

    manpage: seccomp(2)
    """
    program = filter_program(verdict, calls)
    memory = await thread.ptr(program)
    described = await thread.ptr(_PROGRAM.pack(len(program) // _INSTRUCTION.size, memory.near.address))
    syscall = thread.task.sysif.syscall
    await syscall(SYS.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    await syscall(SYS.prctl, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described.near, 0, 0)


if __name__ == "__main__":
    deny(sys.argv[1], sys.argv[2].split(","))
    os.execv(sys.argv[3], sys.argv[3:])
