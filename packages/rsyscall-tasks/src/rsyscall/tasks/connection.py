"""Driving a process over a byte stream."""

from rsyscall.stream import RsyscallSyscall, SyscallConnection, SyscallResponse

__all__ = ["RsyscallSyscall", "SyscallConnection", "SyscallResponse"]
