"""Builder of `rsyscall.native._raw`: the cffi module that holds the code of driven processes."""

from __future__ import annotations

import cffi

# No thread-local storage in a driven process: no stack protector; nothing bound lazily; no shadow
# stack, because a clone returns twice through one `ret`.
CFLAGS = [
    "-O2",
    "-Wall",
    "-Wextra",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fvisibility=hidden",
    "-fno-builtin",
    "-fno-tree-loop-distribute-patterns",
    "-fno-plt",
]
SOURCES = [
    f"src/{name}.c"
    for name in (
        "execute",
        "ring_server",
        "ring_socket",
        "shared_ring",
        "sleep",
        "stream_server",
        "watcher",
    )
]

ffibuilder = cffi.FFI()
ffibuilder.cdef(
    """
    long rsyscall_raw_syscall(long a1, long a2, long a3, long a4, long a5, long a6, long nr);
    uintptr_t rsyscall_symbol(int which);
    """
)
ffibuilder.set_source(
    "rsyscall.native._raw",
    """
    #include "rsyscall.h"

    static uintptr_t rsyscall_symbol(int which)
    {
        switch (which) {
        case 0: return (uintptr_t)rsyscall_server;
        case 1: return (uintptr_t)rsyscall_persistent_server;
        case 2: return (uintptr_t)rsyscall_futex_helper;
        case 3: return (uintptr_t)rsyscall_trampoline;
        case 4: return (uintptr_t)rsyscall_ring_server;
        case 5: return (uintptr_t)rsyscall_shared_ring_server;
        case 6: return (uintptr_t)rsyscall_lasting_trampoline;
        default: return 0;
        }
    }
    """,
    sources=SOURCES,
    include_dirs=["src"],
    extra_compile_args=CFLAGS,
    extra_link_args=["-Wl,-z,now"],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
