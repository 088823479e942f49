"""The classes of the extension module, used as no caller of the library would."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rsyscall.native import fast

CLASSES = [name for name, value in vars(fast).items() if isinstance(value, type)]

# Errors are welcome, crashes are not. Some attributes take no value, a wrong one, or a wrong number of them.
PROGRAM = """
import gc, sys
from rsyscall.native import fast

cls = getattr(fast, sys.argv[1])
try:
    empty = cls.__new__(cls)
except TypeError:
    sys.exit()
for name in dir(cls):
    if name in ("__class__", "__init_subclass__", "__reduce__", "__reduce_ex__"):
        continue
    try:
        function = getattr(empty, name)
    except Exception:
        continue
    if callable(function):
        for args in ((), (1,), (-1,), (None,), ("x",), (empty,), (1, 1), (None, None, None)):
            try:
                function(*args)
            except SystemError:
                raise
            except Exception:
                pass
del empty, function
gc.collect()
"""


@pytest.mark.parametrize("name", CLASSES)
def test_empty_objects_do_not_crash(name: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, check=False, timeout=60
    )
    assert process.returncode == 0, process.stderr


def test_a_record_without_a_table_owns_nothing() -> None:
    record = fast.CallRecord()
    with pytest.raises(ValueError, match="table"):
        record.own(1)
    assert record.owned == ()
