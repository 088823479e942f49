"""Dataclasses whose methods are not generated.

`dataclasses.dataclass` writes source code for the methods of each class, and compiles it: half a millisecond
to two for a class, which is a tenth of the time in which a program with our layers starts. Here the methods
are written once, for all classes, and find the fields when they are called. For type checkers, `fields`,
`replace`, `match` and subclasses there is no difference.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass as light_dataclass
    from inspect import Signature

__all__ = ["light_dataclass"]


def _bind(cls: type[Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
    """The values of all fields that the constructor takes, in their order."""
    init_fields = [field for field in fields(cls) if field.init]
    if len(args) > len(init_fields):
        raise TypeError(f"{cls.__name__}() takes at most {len(init_fields)} arguments, not {len(args)}")
    values = list(args)
    missing = []
    for field in init_fields[: len(args)]:
        if field.name in keywords:
            raise TypeError(f"{cls.__name__}() got multiple values for argument {field.name!r}")
    for field in init_fields[len(args) :]:
        if field.name in keywords:
            values.append(keywords.pop(field.name))
        elif field.default is not MISSING:
            values.append(field.default)
        elif field.default_factory is not MISSING:
            values.append(field.default_factory())
        else:
            missing.append(repr(field.name))
    if missing:
        raise TypeError(f"{cls.__name__}() lacks the arguments {', '.join(missing)}")
    for name in keywords:
        raise TypeError(f"{cls.__name__}() got an unexpected keyword argument {name!r}")
    return values


def _init(self: Any, *args: Any, **keywords: Any) -> None:
    names = self.__match_args__
    values = args if len(args) == len(names) and not keywords else _bind(type(self), args, keywords)
    try:
        self.__dict__.update(zip(names, values, strict=True))
    except AttributeError:
        # It has slots.
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)
    if hasattr(self, "__post_init__"):
        self.__post_init__()


def _compared(value: Any) -> tuple[Any, ...]:
    return tuple([getattr(value, field.name) for field in fields(value) if field.compare])


def _eq(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _repr(self: Any) -> str:
    shown = [f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _reduce(self: Any) -> tuple[type[Any], tuple[Any, ...]]:
    return type(self), tuple([getattr(self, name) for name in self.__match_args__])


def _setattr(self: Any, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


class _LazySignature:
    """What `inspect.signature` and `help` show for the class, which is built when they ask."""

    def __get__(self, instance: object, owner: type[Any]) -> Signature:
        from inspect import Parameter, Signature

        if owner.__init__ is not _init:
            raise AttributeError("__signature__")
        return Signature(
            [
                Parameter(
                    field.name,
                    Parameter.POSITIONAL_OR_KEYWORD,
                    default=Parameter.empty if (value := _default(field)) is MISSING else value,
                    annotation=field.type,
                )
                for field in fields(owner)
                if field.init
            ],
            return_annotation=None,
        )


def _default(field: Any) -> Any:
    # A stand-in for what is made anew for each: `dataclass` shows "<factory>" in its place.
    return field.default if field.default_factory is MISSING else ...


def _light_dataclass(
    cls: type[Any] | None = None, /, *, eq: bool = True, frozen: bool = False
) -> type[Any] | Callable[[type[Any]], type[Any]]:
    """Like `dataclasses.dataclass` with these arguments.

    A field that the constructor does not take has a default. The slots of a class are written out.
    """

    def decorate(cls: type[Any]) -> type[Any]:
        own = vars(cls)
        bases = [vars(base).get("__dataclass_params__") for base in cls.__mro__[1:]]
        inherited = [params for params in bases if params is not None]
        if any(params.frozen != frozen for params in inherited):
            raise TypeError(f"of {cls.__name__} and its bases some are frozen and some are not")
        # For a frozen one it would generate two methods. It compares the flag with those of the bases.
        for params in inherited:
            params.frozen = False
        cls = dataclass(init=False, repr=False, eq=False)(cls)
        for params in (*inherited, cls.__dataclass_params__):
            params.frozen = frozen
        methods: dict[str, Any] = {"__init__": _init, "__repr__": _repr, "__signature__": _LazySignature()}
        if eq:
            methods["__eq__"] = _eq
            methods["__hash__"] = _hash if frozen else None
        if frozen:
            methods["__setattr__"], methods["__delattr__"] = _setattr, _delattr
            if "__slots__" in own:
                methods["__reduce__"] = _reduce
        for name, method in methods.items():
            # `__hash__` is None where only `__eq__` is written.
            if own.get(name) is None:
                setattr(cls, name, method)
        return cls

    return decorate if cls is None else decorate(cls)


if not TYPE_CHECKING:
    light_dataclass = _light_dataclass
