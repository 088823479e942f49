"""`<linux/limits.h>`: how long names, paths and lists may be."""

from __future__ import annotations

__all__ = [
    "ARG_MAX",
    "LINK_MAX",
    "MAX_CANON",
    "MAX_INPUT",
    "NAME_MAX",
    "NGROUPS_MAX",
    "NR_OPEN",
    "PATH_MAX",
    "PIPE_BUF",
    "RTSIG_MAX",
    "XATTR_LIST_MAX",
    "XATTR_NAME_MAX",
    "XATTR_SIZE_MAX",
]

NAME_MAX = 255
"""Bytes in one component of a path, without the NUL."""

PATH_MAX = 4096
"""Bytes in a path handed to the kernel, with the NUL."""

PIPE_BUF = 4096
"""Bytes that one write to a pipe puts there without interleaving with other writers."""

NGROUPS_MAX = 65536
"""Supplementary groups of a process."""

ARG_MAX = 131072
"""Bytes of arguments and environment that `execve` takes at least; the stack limit may allow more."""

NR_OPEN = 1024
"""The traditional soft limit of open files; the real one is `RLIMIT.NOFILE`."""

LINK_MAX = 127
"""Links that a file may have on the most limited file system."""

MAX_CANON = 255
"""Bytes of a line in a terminal's canonical input queue."""

MAX_INPUT = 255
"""Bytes of a terminal's type-ahead buffer."""

XATTR_NAME_MAX = 255
"""Bytes in the name of an extended attribute."""

XATTR_SIZE_MAX = 65536
"""Bytes in the value of an extended attribute."""

XATTR_LIST_MAX = 65536
"""Bytes in the list of the names of a file's extended attributes."""

RTSIG_MAX = 32
"""Number of realtime signals."""
