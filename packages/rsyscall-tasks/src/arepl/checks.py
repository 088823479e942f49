"""Whether a value is of a type, as far as the type can be compared with one value."""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Any

__all__ = ["check_type"]


def check_type(value: object, wanted: Any) -> None:
    """Check a value that a person has given.

    Knows classes, `Any`, `None`, unions, `Literal`, `Annotated`, `NewType`, and the elements of lists, sets,
    tuples and mappings. An `int` is a `float`, too. Of other generic types the class alone is compared.

    Raises:
        TypeError: it is of another type. The message says which part of it.
    """
    _check(value, wanted, "the value")


def _name(wanted: Any) -> str:
    return wanted.__qualname__ if isinstance(wanted, type) else str(wanted)


def _fail(value: object, wanted: Any, what: str) -> None:
    raise TypeError(f"{what} has to be of type {_name(wanted)}, not {type(value).__qualname__}")


def _fits(value: object, wanted: Any) -> bool:
    try:
        _check(value, wanted, "")
    except TypeError:
        return False
    return True


def _check(value: object, wanted: Any, what: str) -> None:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is Any or wanted is object or isinstance(wanted, (typing.TypeVar, str)):
        return
    if wanted is None:
        wanted = types.NoneType
    if origin is typing.Annotated:
        _check(value, arguments[0], what)
    elif isinstance(wanted, typing.NewType):
        _check(value, wanted.__supertype__, what)
    elif origin in (typing.Union, types.UnionType):
        if not any(_fits(value, one) for one in arguments):
            _fail(value, wanted, what)
    elif origin is typing.Literal:
        if not any(type(value) is type(one) and value == one for one in arguments):
            raise TypeError(f"{what} has to be one of {', '.join(map(repr, arguments))}, not {value!r}")
    elif isinstance(cls := origin or wanted, type):
        if not (_isinstance(value, cls) or (cls is float and type(value) is int)):
            _fail(value, wanted, what)
        _check_elements(value, cls, arguments, what)


def _isinstance(value: object, cls: type) -> bool:
    try:
        return isinstance(value, cls)
    except TypeError:  # a protocol that cannot be compared at run time
        return True


def _check_elements(value: Any, cls: type, arguments: tuple[Any, ...], what: str) -> None:
    if not arguments:
        return
    if issubclass(cls, tuple):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        elif len(value) != len(arguments if arguments != ((),) else ()):
            raise TypeError(f"{what} has to have {len(arguments)} elements, not {len(value)}")
        for index, (element, one) in enumerate(zip(value, arguments, strict=False)):
            _check(element, one, f"element {index} of {what}")
    elif issubclass(cls, collections.abc.Mapping):
        for key, element in value.items():
            _check(key, arguments[0], f"the key {key!r} of {what}")
            _check(element, arguments[1], f"the element {key!r} of {what}")
    elif issubclass(cls, (collections.abc.Sequence, collections.abc.Set)) and not isinstance(value, str):
        for index, element in enumerate(value):
            _check(element, arguments[0], f"element {index} of {what}")
