"""Turning Python values into the bytes that the kernel reads, and back.

There are two ways to find out how a value is laid out in memory:

* `HasSerializer`: given a *value*, `get_self_serializer` returns something that can serialise that value. The
  serializer may be good for this one value only, which is what types that contain pointers need.
* `FixedSerializer`: given only the *class*, `get_serializer` returns a serializer good for every value.
  Memory for the result of a system call can be allocated for these without having a value yet.

`Serializable` is the common case, where the class is its own serializer; `Struct` adds a size that is known
beforehand, as ordinary C structures have.

Serializers are asked for with a task, because some values contain resources: what the kernel writes for
`pipe` is two numbers, which become two owned handles *of some task* when they are read back.
"""

from __future__ import annotations

import os
import struct as _struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from rsyscall.near.light_dataclass import light_dataclass

if TYPE_CHECKING:
    from rsyscall.handle.fd import FileDescriptorTask

__all__ = [
    "BytesSerializer",
    "FixedSerializer",
    "FixedSize",
    "HasSerializer",
    "Int32",
    "Int64",
    "PathLikeSerializer",
    "Serializable",
    "Serializer",
    "StrSerializer",
    "Struct",
    "StructList",
    "StructListSerializer",
    "T_fixed_serializer",
    "T_fixed_size",
    "T_has_serializer",
    "T_pathlike",
    "bits",
    "string_from_null_terminated_bytes",
    "strpath_to_null_terminated_bytes",
]

T = TypeVar("T")
T_self = TypeVar("T_self")
T_has_serializer = TypeVar("T_has_serializer", bound="HasSerializer")
T_fixed_serializer = TypeVar("T_fixed_serializer", bound="FixedSerializer")
T_fixed_size = TypeVar("T_fixed_size", bound="FixedSize")
T_pathlike = TypeVar("T_pathlike", bound="os.PathLike[str]")


class Serializer(Generic[T]):
    """Something that turns a `T` into bytes, and bytes into a `T`.

    Either direction may be missing (then it raises `NotImplementedError`), and an instance may be valid for
    one particular value only.

    Attributes:
        all_or_nothing: whether `from_bytes`, when it raises, has taken over none of the resources in the
            value, so that it can be tried again.
    """

    __slots__ = ()

    all_or_nothing: ClassVar[bool] = False

    def to_bytes(self, val: T) -> bytes:
        """Return the bytes of `val` as the kernel expects them."""
        raise NotImplementedError(f"{type(self).__name__} does not serialise")

    def from_bytes(self, data: bytes) -> T:
        """Return the value that `data` is the memory of."""
        raise NotImplementedError(f"{type(self).__name__} does not deserialise")


class HasSerializer:
    """A value that knows how to serialise itself."""

    __slots__ = ()

    def get_self_serializer(self: T_self, task: FileDescriptorTask[Any]) -> Serializer[T_self]:
        """Return a serializer for this value, to be used in the memory of `task`."""
        raise NotImplementedError(f"{type(self).__name__} has no serializer")


class FixedSerializer(HasSerializer):
    """A type with one serializer for all of its values."""

    __slots__ = ()

    @classmethod
    def get_serializer(cls: type[T_self], task: FileDescriptorTask[Any]) -> Serializer[T_self]:
        """Return the serializer for this class; resources found while deserialising will belong to `task`."""
        raise NotImplementedError(f"{cls.__name__} has no serializer")

    def get_self_serializer(self: T_self, task: FileDescriptorTask[Any]) -> Serializer[T_self]:
        """Return the serializer of the class, which also works for this value."""
        # mypy does not see that the type of self is a FixedSerializer, since T_self is not bound to it
        return cast(Serializer[T_self], cast(FixedSerializer, self).get_serializer(task))


class FixedSize(FixedSerializer):
    """A type whose values all have the same size in memory."""

    __slots__ = ()

    @classmethod
    def sizeof(cls) -> int:
        """Return the size in bytes."""
        raise NotImplementedError(f"{cls.__name__} has no size")


class Serializable(FixedSerializer):
    """A type whose class is its own serializer: it has `to_bytes` on values and `from_bytes` on the class."""

    __slots__ = ()

    def to_bytes(self) -> bytes:
        """Return the bytes of this value as the kernel expects them."""
        raise NotImplementedError(f"{type(self).__name__} does not serialise")

    @classmethod
    def from_bytes(cls: type[T_self], data: bytes) -> T_self:
        """Return the value that `data` is the memory of."""
        raise NotImplementedError(f"{cls.__name__} does not deserialise")

    @classmethod
    def get_serializer(cls: type[T_self], task: FileDescriptorTask[Any]) -> Serializer[T_self]:
        """Return the class itself: called on the class, its methods have the shape of a `Serializer`."""
        return cast(Serializer[T_self], cls)


class Struct(Serializable, FixedSize):
    """An ordinary C structure."""

    __slots__ = ()


def bits(n: int, one_indexed: bool = True) -> Iterator[int]:
    """Yield the indices of the bits which are set in `n`, lowest first.

    Args:
        n: a non-negative number.
        one_indexed: whether the lowest bit is called 1 (as in a signal set) or 0 (as in a CPU set).
    """
    if n < 0:
        raise ValueError(f"a negative number has infinitely many bits: {n}")
    offset = 0 if one_indexed else -1
    while n:
        lowest = n & -n
        yield lowest.bit_length() + offset
        n ^= lowest


_INT32 = _struct.Struct("=i")
_INT64 = _struct.Struct("=q")


def _unpack_int(cls: type[int], layout: _struct.Struct, data: bytes) -> int:
    if len(data) < layout.size:
        raise ValueError(f"{cls.__name__} needs {layout.size} bytes, there are {len(data)}")
    value: int = layout.unpack_from(data)[0]
    return value


class Int32(Struct, int):
    """A signed 32-bit integer in native byte order."""

    __slots__ = ()

    # int.to_bytes and int.from_bytes take a length and byte order; here both are fixed by the type.
    def to_bytes(self) -> bytes:  # type: ignore[override]  # see above
        """Return four bytes; ValueError if the number does not fit."""
        try:
            return _INT32.pack(self)
        except _struct.error:
            raise ValueError(f"{int(self)} does not fit in 32 bits") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Int32:  # type: ignore[override]  # see above
        """Read the first four bytes; ValueError if there are fewer."""
        return cls(_unpack_int(cls, _INT32, data))

    @classmethod
    def sizeof(cls) -> int:
        """Return 4."""
        return 4

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"

    def __str__(self) -> str:
        return str(int(self))


class Int64(Struct, int):
    """A signed 64-bit integer in native byte order."""

    __slots__ = ()

    def to_bytes(self) -> bytes:  # type: ignore[override]  # int.to_bytes takes a length and byte order
        """Return eight bytes; ValueError if the number does not fit."""
        try:
            return _INT64.pack(self)
        except _struct.error:
            raise ValueError(f"{int(self)} does not fit in 64 bits") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Int64:  # type: ignore[override]  # int.from_bytes takes a byte order
        """Read the first eight bytes; ValueError if there are fewer."""
        return cls(_unpack_int(cls, _INT64, data))

    @classmethod
    def sizeof(cls) -> int:
        """Return 8."""
        return 8

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"

    def __str__(self) -> str:
        return str(int(self))


@light_dataclass
class StructList(HasSerializer, Generic[T_fixed_size]):
    """An array of values of one fixed-size type, without a terminator.

    Args:
        cls: the type of the elements.
        elems: the elements.
    """

    cls: type[T_fixed_size]
    elems: list[T_fixed_size]

    def get_self_serializer(self, task: FileDescriptorTask[Any]) -> StructListSerializer[T_fixed_size]:
        """Return a serializer for arrays of this element type."""
        return StructListSerializer(self.cls, self.cls.get_serializer(task))


@light_dataclass
class StructListSerializer(Serializer["StructList[T_fixed_size]"], Generic[T_fixed_size]):
    """Concatenates the elements of a `StructList`; reads elements until the data is used up.

    Args:
        cls: the type of the elements.
        ser: the serializer of one element.
    """

    cls: type[T_fixed_size]
    ser: Serializer[T_fixed_size]

    def to_bytes(self, val: StructList[T_fixed_size]) -> bytes:
        """Return the elements, one behind the other."""
        return b"".join([self.ser.to_bytes(elem) for elem in val.elems])

    def from_bytes(self, data: bytes) -> StructList[T_fixed_size]:
        """Read as many whole elements as there are; a rest too short for another is ignored."""
        size = self.cls.sizeof()
        count = len(data) // size
        return StructList(
            self.cls, [self.ser.from_bytes(data[i * size : (i + 1) * size]) for i in range(count)]
        )


def strpath_to_null_terminated_bytes(val: str | os.PathLike[str]) -> bytes:
    """Encode a string or path in the encoding of the file system and terminate it with a NUL byte.

    Raises:
        ValueError: the string contains a NUL byte, so the kernel would see something else than was asked for.
    """
    encoded = os.fsencode(val)
    if b"\0" in encoded:
        raise ValueError(f"embedded null byte in {val!r}")
    return encoded + b"\0"


def string_from_null_terminated_bytes(data: bytes) -> str:
    """Decode up to the first NUL byte, or everything if there is none (as `readlink` and others leave it)."""
    end = data.find(b"\0")
    return os.fsdecode(data if end < 0 else data[:end])


@light_dataclass
class PathLikeSerializer(Serializer[T_pathlike]):
    """NUL-terminated path; read back as `cls(string)`."""

    cls: type[T_pathlike]

    def to_bytes(self, val: T_pathlike) -> bytes:
        """Return the encoded path with a NUL byte behind it."""
        return strpath_to_null_terminated_bytes(val)

    def from_bytes(self, data: bytes) -> T_pathlike:
        """Decode up to the first NUL byte and build a `cls` from the string."""
        # os.PathLike says nothing about constructors; a class given here takes one string
        build = cast("type[Any]", self.cls)
        return cast(T_pathlike, build(string_from_null_terminated_bytes(data)))


class StrSerializer(Serializer[str]):
    """NUL-terminated string in the encoding of the file system."""

    def to_bytes(self, val: str) -> bytes:
        """Return the encoded string with a NUL byte behind it."""
        return strpath_to_null_terminated_bytes(val)

    def from_bytes(self, data: bytes) -> str:
        """Decode up to the first NUL byte."""
        return string_from_null_terminated_bytes(data)


class BytesSerializer(Serializer[bytes]):
    """Bytes exactly as they are."""

    def to_bytes(self, val: bytes) -> bytes:
        """Return `val`."""
        return val

    def from_bytes(self, data: bytes) -> bytes:
        """Return `data`."""
        return data
