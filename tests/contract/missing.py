"""What signatures.txt lists and the library does not have, or has differently, with the reason.

The contract test fails when something that is listed here exists, and when something that is not listed is
missing.
"""

from __future__ import annotations

LATER = "later"  # planned: a later part of the project adds it
REPLACED = "replaced"  # the design does the same job in another way, said beside the entry
INTERNAL = "internal"  # a detail of an earlier implementation that no caller needs
DIFFERENT = "different"  # exists with another signature, on purpose, said beside the entry

# Each entry is "module", "module:name" or "module:Class.name": (category, note).
MISSING: dict[str, tuple[str, str]] = {
    # Modules that are still to come.
    # What the design does in another way.
    "dneio.core": (REPLACED, "trio's own task primitives, see rsyscall.background"),
    "dneio.concur": (REPLACED, "trio's own events and nurseries, see rsyscall.background"),
    "rsyscall.memory.socket_transport:SocketMemoryTransport.__init__": (
        REPLACED,
        "memory travels in the stream of the calls: it takes the task, there is no second socket",
    ),
    "rsyscall.memory.socket_transport:SocketMemoryTransport.do_read": (REPLACED, "see above"),
    "rsyscall.memory.socket_transport:SocketMemoryTransport.do_write": (REPLACED, "see above"),
    "rsyscall.monitor:AsyncChildProcess.__init__": (REPLACED, "exits are seen by pidfd: takes the monitor"),
    "rsyscall.monitor:ChildProcessMonitor.__init__": (REPLACED, "exits are seen by pidfd, not by a signalfd"),
    "rsyscall.tasks.clone:launch_futex_monitor": (
        REPLACED,
        "one monitor per address space instead of a process per child, see rsyscall.hub",
    ),
    "rsyscall.tasks.persistent:PersistentSyscallConnection.wait_for_break_cb": (
        REPLACED,
        "wait_for_break in a task of trio",
    ),
    "rsyscall.tasks.ssh:make_bootstrap_dir": (
        REPLACED,
        "the program travels in the command line of the one ssh process, see rsyscall.tasks.stdio",
    ),
    "rsyscall.tasks.ssh:ssh_bootstrap": (REPLACED, "see above"),
    "rsyscall.tasks.ssh:ssh_forward": (REPLACED, "calls go over standard input and output of ssh"),
    "rsyscall.tasks.ssh:SSHExecutables.__init__": (REPLACED, "see make_bootstrap_dir"),
    # What exists with another signature.
    "rsyscall.linux.fuse:FOPEN": (DIFFERENT, "an IntFlag: its members are flags, and used together"),
    "rsyscall.linux.fuse:FuseAttrOut.from_header": (
        DIFFERENT,
        "from_bytes, as of all structures: it has no header in front of it",
    ),
    "rsyscall.handle.process:ThreadProcess.mark_dead": (
        DIFFERENT,
        "the parameter is called as in the method of ChildProcess that it overrides",
    ),
    # Details of an earlier implementation.
}
