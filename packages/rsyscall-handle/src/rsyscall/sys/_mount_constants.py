"""What all calls of `<sys/mount.h>` use. `rsyscall.sys.mount` has the names."""

from __future__ import annotations

import enum

__all__ = ["MS"]


class MS(enum.IntFlag):
    """`MS_*`: flags of `mount`.

    Those from `KERNMOUNT` on are for the kernel itself; `mount` ignores them.

    manpage: mount(2)
    """

    NONE = 0
    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNCHRONOUS = 16
    REMOUNT = 32
    MANDLOCK = 64
    DIRSYNC = 128
    NOSYMFOLLOW = 256
    NOATIME = 1024
    NODIRATIME = 2048
    BIND = 4096
    MOVE = 8192
    REC = 16384
    SILENT = 32768
    VERBOSE = 32768
    POSIXACL = 1 << 16
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    I_VERSION = 1 << 23
    STRICTATIME = 1 << 24
    LAZYTIME = 1 << 25
    RMT_MASK = RDONLY | SYNCHRONOUS | MANDLOCK | I_VERSION | LAZYTIME  # what REMOUNT can change
    KERNMOUNT = 1 << 22
    SUBMOUNT = 1 << 26
    NOREMOTELOCK = 1 << 27
    NOSEC = 1 << 28
    BORN = 1 << 29
    ACTIVE = 1 << 30
    NOUSER = 1 << 31
    # The upper half was a magic number once, and is ignored if it still is.
    MGC_VAL = 0xC0ED0000
    MGC_MSK = 0xFFFF0000
