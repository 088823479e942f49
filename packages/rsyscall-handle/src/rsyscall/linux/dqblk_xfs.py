"""`<linux/dqblk_xfs.h>`: quotas as XFS has them, for `quotactl` with the commands `Q.X...`."""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, array, i8, i16, i32, nested, u8, u16, u32, u64

__all__ = ["FS_DQ", "FS_QUOTA", "FsDiskQuota", "FsQfilestat", "FsQfilestatv", "FsQuotaStat", "FsQuotaStatv"]


class FS_DQ(enum.IntFlag):
    """`FS_DQ_*`: which members of `FsDiskQuota` the kernel takes.

    manpage: quotactl(2)
    """

    NONE = 0
    ISOFT = 1 << 0
    IHARD = 1 << 1
    BSOFT = 1 << 2
    BHARD = 1 << 3
    RTBSOFT = 1 << 4
    RTBHARD = 1 << 5
    LIMIT_MASK = 0x3F
    BTIMER = 1 << 6
    ITIMER = 1 << 7
    RTBTIMER = 1 << 8
    TIMER_MASK = 0x1C0
    BWARNS = 1 << 9
    IWARNS = 1 << 10
    RTBWARNS = 1 << 11
    WARNS_MASK = 0xE00
    BCOUNT = 1 << 12
    ICOUNT = 1 << 13
    RTBCOUNT = 1 << 14
    ACCT_MASK = 0x7000
    BIGTIME = 1 << 15


class FS_QUOTA(enum.IntFlag):
    """`FS_QUOTA_*`: which quotas are counted, and which are enforced.

    manpage: quotactl(2)
    """

    NONE = 0
    UDQ_ACCT = 1 << 0
    UDQ_ENFD = 1 << 1
    GDQ_ACCT = 1 << 2
    GDQ_ENFD = 1 << 3
    PDQ_ACCT = 1 << 4
    PDQ_ENFD = 1 << 5


_HEADERS = ("linux/types.h", "linux/dqblk_xfs.h")


class FsDiskQuota(
    CStruct,
    c="struct fs_disk_quota",
    headers=_HEADERS,
    brief=("id", "blk_hardlimit", "blk_softlimit", "bcount", "ino_hardlimit", "ino_softlimit", "icount"),
):
    """`struct fs_disk_quota`: the quota of a user, a group or a project; space is in units of 512 bytes.

    Args:
        version: 1.
        flags: 1 for that of a user, 2 of a project, 4 of a group.
        fieldmask: what `Q.XSETQLIM` sets.
        blk_hardlimit, blk_softlimit, ino_hardlimit, ino_softlimit: the limits; 0 for none.
        bcount, icount: what is used: space, and files.
        itimer, btimer: until when the soft limits may be exceeded; `itimer_hi` and so on have the bits above.
        iwarns, bwarns: how often there was a warning.
        rtb_hardlimit, rtb_softlimit, rtbcount, rtbtimer, rtbwarns: the same for space of the realtime device.

    manpage: quotactl(2)
    """

    version: int = i8("d_version", default=1)
    flags: int = i8("d_flags", default=0)
    fieldmask: FS_DQ = u16("d_fieldmask", FS_DQ, default=FS_DQ.NONE)
    id: int = u32("d_id", default=0)
    blk_hardlimit: int = u64("d_blk_hardlimit", default=0)
    blk_softlimit: int = u64("d_blk_softlimit", default=0)
    ino_hardlimit: int = u64("d_ino_hardlimit", default=0)
    ino_softlimit: int = u64("d_ino_softlimit", default=0)
    bcount: int = u64("d_bcount", default=0)
    icount: int = u64("d_icount", default=0)
    itimer: int = i32("d_itimer", default=0)
    btimer: int = i32("d_btimer", default=0)
    iwarns: int = u16("d_iwarns", default=0)
    bwarns: int = u16("d_bwarns", default=0)
    itimer_hi: int = i8("d_itimer_hi", default=0)  # since Linux 5.10
    btimer_hi: int = i8("d_btimer_hi", default=0)  # since Linux 5.10
    rtbtimer_hi: int = i8("d_rtbtimer_hi", default=0)  # since Linux 5.10
    padding2: int = i8("d_padding2", default=0)
    rtb_hardlimit: int = u64("d_rtb_hardlimit", default=0)
    rtb_softlimit: int = u64("d_rtb_softlimit", default=0)
    rtbcount: int = u64("d_rtbcount", default=0)
    rtbtimer: int = i32("d_rtbtimer", default=0)
    rtbwarns: int = u16("d_rtbwarns", default=0)
    padding3: int = i16("d_padding3", default=0)
    padding4: bytes = array("d_padding4", 8, default=bytes(8))


class FsQfilestat(CStruct, c="struct fs_qfilestat", headers=_HEADERS):
    """`struct fs_qfilestat`: the file that has the quotas: inode, space in units of 512 bytes, extents.

    manpage: quotactl(2)
    """

    ino: int = u64("qfs_ino", default=0)
    nblks: int = u64("qfs_nblks", default=0)
    nextents: int = u32("qfs_nextents", default=0)


class FsQuotaStat(CStruct, c="struct fs_quota_stat", headers=_HEADERS):
    """`struct fs_quota_stat`: the state of the quotas.

    Args:
        flags: which are counted and enforced.
        uquota, gquota: the files of users, and of groups or projects.
        incoredqs: how many quotas are in memory.
        btimelimit, itimelimit, rtbtimelimit: for how many seconds the soft limits may be exceeded.
        bwarnlimit, iwarnlimit: how many warnings there are.

    manpage: quotactl(2)
    """

    version: int = i8("qs_version", default=1)
    flags: FS_QUOTA = u16("qs_flags", FS_QUOTA, default=FS_QUOTA.NONE)
    pad: int = i8("qs_pad", default=0)
    uquota: FsQfilestat = nested("qs_uquota", FsQfilestat, default_factory=FsQfilestat)
    gquota: FsQfilestat = nested("qs_gquota", FsQfilestat, default_factory=FsQfilestat)
    incoredqs: int = u32("qs_incoredqs", default=0)
    btimelimit: int = i32("qs_btimelimit", default=0)
    itimelimit: int = i32("qs_itimelimit", default=0)
    rtbtimelimit: int = i32("qs_rtbtimelimit", default=0)
    bwarnlimit: int = u16("qs_bwarnlimit", default=0)
    iwarnlimit: int = u16("qs_iwarnlimit", default=0)


class FsQfilestatv(CStruct, c="struct fs_qfilestatv", headers=_HEADERS):
    """`struct fs_qfilestatv`: as `FsQfilestat`.

    manpage: quotactl(2)
    """

    ino: int = u64("qfs_ino", default=0)
    nblks: int = u64("qfs_nblks", default=0)
    nextents: int = u32("qfs_nextents", default=0)
    pad: int = u32("qfs_pad", default=0)


class FsQuotaStatv(CStruct, c="struct fs_quota_statv", headers=_HEADERS):
    """`struct fs_quota_statv`: the state of the quotas, with those of projects in a file of their own.

    Args:
        version: 1, in the memory before the call: which members the kernel fills.

    The others are as in `FsQuotaStat`.

    manpage: quotactl(2)
    """

    version: int = i8("qs_version", default=1)
    pad1: int = u8("qs_pad1", default=0)
    flags: FS_QUOTA = u16("qs_flags", FS_QUOTA, default=FS_QUOTA.NONE)
    incoredqs: int = u32("qs_incoredqs", default=0)
    uquota: FsQfilestatv = nested("qs_uquota", FsQfilestatv, default_factory=FsQfilestatv)
    gquota: FsQfilestatv = nested("qs_gquota", FsQfilestatv, default_factory=FsQfilestatv)
    pquota: FsQfilestatv = nested("qs_pquota", FsQfilestatv, default_factory=FsQfilestatv)
    btimelimit: int = i32("qs_btimelimit", default=0)
    itimelimit: int = i32("qs_itimelimit", default=0)
    rtbtimelimit: int = i32("qs_rtbtimelimit", default=0)
    bwarnlimit: int = u16("qs_bwarnlimit", default=0)
    iwarnlimit: int = u16("qs_iwarnlimit", default=0)
    rtbwarnlimit: int = u16("qs_rtbwarnlimit", default=0)
    pad3: int = u16("qs_pad3", default=0)
    pad4: int = u32("qs_pad4", default=0)
    pad2: bytes = array("qs_pad2", 56, default=bytes(56))
