"""System calls that are newer than the pinned headers: the part of the tables kept by hand, up to Linux 7.3.

Source of every line: the call tables of the kernel (`scripts/syscall.tbl`, shared by aarch64 and riscv64
since 6.11, `include/uapi/asm-generic/unistd.h` before that, and `arch/x86/entry/syscalls/syscall_64.tbl`) at
the release named beside it. Since number 424 a new call has the same number on every architecture, except
those that exist on one architecture only.

When the pinned headers move past a call, the generator checks its line here against them and says that the
line can go.
"""

from __future__ import annotations

# name -> (number, first release)
EVERYWHERE: dict[str, tuple[int, str]] = {
    "cachestat": (451, "6.5"),
    "fchmodat2": (452, "6.6"),
    "map_shadow_stack": (453, "6.6"),
    "futex_wake": (454, "6.7"),
    "futex_wait": (455, "6.7"),
    "futex_requeue": (456, "6.7"),
    "statmount": (457, "6.8"),
    "listmount": (458, "6.8"),
    "lsm_get_self_attr": (459, "6.8"),
    "lsm_set_self_attr": (460, "6.8"),
    "lsm_list_modules": (461, "6.8"),
    "mseal": (462, "6.10"),
    "setxattrat": (463, "6.13"),
    "getxattrat": (464, "6.13"),
    "listxattrat": (465, "6.13"),
    "removexattrat": (466, "6.13"),
    "open_tree_attr": (467, "6.15"),
    "file_getattr": (468, "6.17"),
    "file_setattr": (469, "6.17"),
    "listns": (470, "6.19"),
    "rseq_slice_yield": (471, "7.0"),
    "fchroot": (472, "7.3"),
}

# architecture -> name -> (number, first release)
ONE_ARCHITECTURE: dict[str, dict[str, tuple[int, str]]] = {
    "x86_64": {
        "uretprobe": (
            335,
            "6.11",
        ),  # made by the kernel's own trampoline only; here so that a trace can name it
        "uprobe": (336, "6.18"),  # likewise
    },
    "aarch64": {},
    "riscv64": {
        "riscv_hwprobe": (258, "6.4"),  # __NR_arch_specific_syscall + 14
    },
}


def newer_calls(architecture: str) -> dict[str, tuple[int, str]]:
    """The hand-kept calls of one architecture: name -> (number, first release)."""
    return {**EVERYWHERE, **ONE_ARCHITECTURE[architecture]}
