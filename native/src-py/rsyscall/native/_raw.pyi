"""Types of the cffi module; what it holds is declared in ffi_build.py."""

from typing import Any

class _Lib:
    def rsyscall_raw_syscall(
        self, a1: int, a2: int, a3: int, a4: int, a5: int, a6: int, number: int, /
    ) -> int: ...
    def rsyscall_symbol(self, which: int, /) -> int: ...

class _FFI:
    NULL: object
    def cast(self, ctype: str, value: object) -> Any: ...
    def addressof(self, lib: object, name: str) -> object: ...
    def from_buffer(self, buffer: object, /) -> object: ...

ffi: _FFI
lib: _Lib
