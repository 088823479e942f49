"""The local thread: the OS thread that runs this program.

`local_thread` can be used from the first line of a program; see `rsyscall.local.LocalThread`. Importing this
module opens nothing and changes nothing in the program.
"""

from rsyscall.local import LocalThread
from rsyscall.memory.local import LocalMemoryTransport
from rsyscall.near import LocalSyscall

__all__ = ["LocalMemoryTransport", "LocalSyscall", "LocalThread", "local_thread"]

local_thread: LocalThread = LocalThread()
"""The thread of the running program."""
