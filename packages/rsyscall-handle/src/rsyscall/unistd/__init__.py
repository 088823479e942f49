"""`<unistd.h>`: files, descriptors, credentials, directories.

The calls are in several modules: `fs` (files by name), `io` (reading and writing), `fds` (the descriptor
table), `pipe`, `cwd`, `credentials`, `exec`. All public names can be imported from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.fcntl import AT, O
from rsyscall.handle._later import later_names
from rsyscall.unistd._fs_near import (
    _faccessat as _faccessat,
)
from rsyscall.unistd._fs_near import (
    _fchmod as _fchmod,
)
from rsyscall.unistd._fs_near import (
    _fchmodat as _fchmodat,
)
from rsyscall.unistd._fs_near import (
    _fchown as _fchown,
)
from rsyscall.unistd._fs_near import (
    _fchownat as _fchownat,
)
from rsyscall.unistd._fs_near import (
    _fdatasync as _fdatasync,
)
from rsyscall.unistd._fs_near import (
    _fsync as _fsync,
)
from rsyscall.unistd._fs_near import (
    _ftruncate as _ftruncate,
)
from rsyscall.unistd._fs_near import (
    _linkat as _linkat,
)
from rsyscall.unistd._fs_near import (
    _mkdirat as _mkdirat,
)
from rsyscall.unistd._fs_near import (
    _openat as _openat,
)
from rsyscall.unistd._fs_near import (
    _readlinkat as _readlinkat,
)
from rsyscall.unistd._fs_near import (
    _renameat2 as _renameat2,
)
from rsyscall.unistd._fs_near import (
    _symlinkat as _symlinkat,
)
from rsyscall.unistd._fs_near import (
    _sync as _sync,
)
from rsyscall.unistd._fs_near import (
    _syncfs as _syncfs,
)
from rsyscall.unistd._fs_near import (
    _truncate as _truncate,
)
from rsyscall.unistd._fs_near import (
    _unlinkat as _unlinkat,
)
from rsyscall.unistd.cwd import CWDTask
from rsyscall.unistd.exec import ArgList, ArgListSerializer
from rsyscall.unistd.fds import CLOSE_RANGE, CloseRangeTask, DupFileDescriptor
from rsyscall.unistd.fds import _close_range as _close_range
from rsyscall.unistd.fds import _dup3 as _dup3
from rsyscall.unistd.fs import OK, RENAME, FSFileDescriptor, FSTask
from rsyscall.unistd.io import SEEK, IOFileDescriptor, SeekableFileDescriptor

if TYPE_CHECKING:
    from rsyscall.unistd.credentials import CredentialsTask, GroupList, ResIds
    from rsyscall.unistd.pipe import Pipe, PipeTask
else:
    __getattr__ = later_names(__name__, "rsyscall.unistd.credentials", "rsyscall.unistd.pipe")

__all__ = [
    "AT",
    "O",
    "OK",
    "SEEK",
    "RENAME",
    "CLOSE_RANGE",
    # structures
    "ArgList",
    "ArgListSerializer",
    "GroupList",
    "Pipe",
    "ResIds",
    # methods of descriptors
    "DupFileDescriptor",
    "FSFileDescriptor",
    "IOFileDescriptor",
    "SeekableFileDescriptor",
    # methods of tasks
    "CWDTask",
    "CloseRangeTask",
    "CredentialsTask",
    "FSTask",
    "PipeTask",
]
