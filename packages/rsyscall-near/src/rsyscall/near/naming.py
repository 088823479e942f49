"""The subject of a failed call.

An `OSError` that a typed call raises has a `filename`: the path, the handle, or a tuple of the arguments.
Each method gives it once, in the `with` statement around its call:

    with path.borrow(self) as path_addr, naming(path.value):
        await _chdir(self.sysif, path_addr)
"""

from __future__ import annotations

from rsyscall.native.fast import naming

__all__ = ["naming"]
