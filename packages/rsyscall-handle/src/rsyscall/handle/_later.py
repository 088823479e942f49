"""Methods of `FileDescriptor`, `Task` and `Process` whose header module is imported when they are used.

Most programs use few of the headers, and an import of all of them would take most of the time in which a
program starts. So the classes with the calls of a less common header are not bases of `FileDescriptor` and
`Task` at run time. In their place stands a `Later` for each method, by its name; the first look at it imports
the header and puts the method into the class. To type checkers these classes are ordinary bases.

`rsyscall.handle._later_calls` has them all. It is generated: a public class of a header module that is named
`...FileDescriptor` or `...Task`, and is not a base, is one of them. Those named
`...Process` are in `rsyscall.handle._later_process`.

Some of these classes are bases all the same, so that `issubclass` says what programs expect: those that are
decorated with `late`. The base is then a stand-in of the same name, with nothing but a `Later` for each
method. When the header module is imported, its class gives the methods to the stand-in, and the stand-in is
the class from then on. If the header module was imported first, there is no stand-in.

The less common calls of a header that most programs use have a module of their own, for example
`rsyscall._fcntl_copy`, and `later_names` gives the header module their names.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Later", "import_headers", "late", "late_classes", "later_names", "stand_in"]

T_class = TypeVar("T_class", bound=type)

# Modules of Python that other modules of ours import when they are used first.
_OF_PYTHON = ("decimal", "grp", "pwd")

_modules: set[str] = set()
"""The modules that have been named to `Later`."""
_late: dict[tuple[str, str], type] = {}
"""By module and name: the classes that `late` has decorated, or their stand-ins."""


class Later:
    """Stands in a class for a method that is in a module which is not imported yet.

    Args:
        module: the header module.
        cls: its class with the method.
    """

    __slots__ = ("cls", "module", "name", "owner")

    owner: type
    name: str

    def __init__(self, module: str, cls: str) -> None:
        self.module = module
        self.cls = cls
        _modules.add(module)

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner = owner
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        found = vars(getattr(importlib.import_module(self.module), self.cls))[self.name]
        # Two threads of the interpreter may both come here; they set the same.
        setattr(self.owner, self.name, found)
        return found.__get__(instance, owner)


def late(cls: T_class) -> T_class:
    """Decorate a base of `FileDescriptor` or `Task` whose module is imported when a method of it is used."""
    key = cls.__module__, cls.__name__
    base = _late.setdefault(key, cls)
    if base is not cls:
        for name, value in vars(cls).items():
            if not name.startswith("__"):
                setattr(base, name, value)
        base.__doc__ = cls.__doc__
    return base  # type: ignore[return-value]  # the same class to type checkers


def stand_in(module: str) -> Callable[[T_class], T_class]:
    """Decorate the class that stands for one of the same name, which is `late` and in the given module."""

    def decorate(cls: T_class) -> T_class:
        cls.__module__ = module
        return _late.setdefault((module, cls.__name__), cls)  # type: ignore[return-value]  # it has all methods

    return decorate


def import_descriptions() -> None:
    """Import headers that would be imported when a method of theirs is used: they describe their calls."""
    # It names them.
    importlib.import_module("rsyscall.handle.task")
    for module in sorted(_modules):
        importlib.import_module(module)


def import_headers() -> None:
    """Import everything that would be imported when it is used first: headers, and what other layers have.

    For a program that will not be able to read the files of its Python any more. It takes some tenths of a
    second.
    """
    import pkgutil

    import_descriptions()
    # All layers that are installed are in this package.
    package = importlib.import_module("rsyscall")
    for found in pkgutil.walk_packages(package.__path__, "rsyscall."):
        # That would run the command line.
        if not found.name.endswith(".__main__"):
            importlib.import_module(found.name)
    for module in _OF_PYTHON:
        importlib.import_module(module)


def late_classes() -> list[type]:
    """The classes that `late` has decorated, or their stand-ins."""
    return list(_late.values())


def later_names(header: str, *modules: str) -> Callable[[str], Any]:
    """Make the `__getattr__` of a header module that has the public names of other modules, too.

    Args:
        header: the name of the header module.
        modules: the names of the others, which are imported when a name is missing in the header module.
    """

    def find(name: str) -> Any:
        if not name.startswith("_"):
            for other in map(importlib.import_module, modules):
                if name in other.__all__:
                    return getattr(other, name)
        raise AttributeError(f"module {header!r} has no attribute {name!r}")

    return find
