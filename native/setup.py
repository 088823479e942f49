"""Build the two extension modules and the static program of rsyscall-native.

`rsyscall.native._raw` is made by cffi (ffi_build.py), `rsyscall.native.fast` is written against the limited
C API; both are abi3, so one wheel serves every supported Python. `rsyscall-stub` is a program without libc:
the Makefile builds it into the package, from where it is installed as package data.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import sysconfig
from glob import glob

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(
        f"rsyscall-native: this Python ({sys.executable}) is a free-threaded build, which is not supported: "
        "the extension modules use the stable ABI, and the interpreter lock guards what threads share; use "
        "an ordinary build of Python"
    )

# After that check, which needs nothing that has to be installed.
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

# The oldest supported Python, as the limited API spells it and as the wheel's tag does.
LIMITED_API = "0x030A0000"
WHEEL_TAG = "cp310"
# The files of `fast`; those that driven processes run are in ffi_build.py.
FAST = [
    "allocation",
    "announced",
    "arguments",
    "blocks",
    "borrow",
    "clock",
    "closer",
    "destructor",
    "entries",
    "fastmodule",
    "garbage",
    "handles",
    "holes",
    "hub",
    "image",
    "local_call",
    "naming",
    "owner",
    "pidfd",
    "pipe",
    "pointers",
    "record",
    "ring",
    "ring_answers",
    "ring_call",
    "ring_sleep",
    "ring_wait",
    "shared_file",
    "space",
]


class BuildWithStub(build_py):
    """Build the static program before the package data is collected."""

    def run(self) -> None:
        """Run `make stub`, then collect."""
        make = os.environ.get("MAKE", "make")
        try:
            subprocess.run([make, "stub", f"PYTHON={sys.executable}"], check=True)
        except FileNotFoundError:
            raise SystemExit(
                f"rsyscall-native: {make!r} is needed to build rsyscall-stub; install make and gcc"
            ) from None
        others = [
            machine
            for machine in ("aarch64", "riscv64", "x86_64")
            if machine != os.uname().machine and not shutil.which(f"{machine}-linux-gnu-gcc")
        ]
        if others:
            self.announce(
                f"rsyscall-stub is not built for {' and '.join(others)}: there is no cross compiler, "
                f"{' or '.join(f'{machine}-linux-gnu-gcc' for machine in others)}",
                level=logging.WARNING,
            )
        super().run()


setup(
    cmdclass={"build_py": BuildWithStub},
    cffi_modules=["ffi_build.py:ffibuilder"],
    ext_modules=[
        Extension(
            "rsyscall.native.fast",
            sources=[f"src/{name}.c" for name in FAST],
            depends=sorted([*glob("src/*.h"), *glob("src/arch/*.h")]),
            include_dirs=["src"],
            define_macros=[("Py_LIMITED_API", LIMITED_API)],
            extra_compile_args=["-std=gnu11", "-O2", "-fvisibility=hidden"],
            py_limited_api=True,
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": WHEEL_TAG}},
)
