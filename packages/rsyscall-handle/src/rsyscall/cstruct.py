"""Structures of the kernel, declared field by field.

A structure is a class, and its fields say which members of the C structure they are:

    class Timespec(CStruct, c="struct __kernel_timespec", headers=("linux/time_types.h",)):
        sec: int = i64("tv_sec")
        nsec: int = i64("tv_nsec")

Such a class is a dataclass. Everything else is derived from the declaration: `to_bytes`, `from_bytes` and
`sizeof`, the layout on other architectures, errors, how a trace shows the structure, and the test that
compares it with the kernel's headers.

Members are placed as a C compiler places them: each at a multiple of its alignment, and the size of the
structure is a multiple of the largest alignment. `offset=` of a field and `size=` of the class override that.
If the layout depends on the architecture, `variant=` names the attribute of `rsyscall.near.ABI` that has it.

The functions that pack and unpack are generated at their first use. They look as if written by hand: one call
of a compiled `struct.Struct`, and the conversions of the fields.

Fields, layouts, generated code and the class are one module, since each reads what the class declares.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypedDict, TypeVar, cast

from rsyscall.near import native_abi
from rsyscall.struct import Serializer, Struct, string_from_null_terminated_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack, dataclass_transform

    from rsyscall.handle.fd import FileDescriptorTask
    from rsyscall.near.abi import ABI, StructLayout
else:

    def dataclass_transform(**_):
        """Do nothing: only type checkers need it."""
        return lambda cls: cls


__all__ = [
    "CField",
    "CLayout",
    "CMember",
    "CStruct",
    "StructError",
    "array",
    "be16",
    "constant",
    "i8",
    "i16",
    "i32",
    "i64",
    "nested",
    "string",
    "u8",
    "u16",
    "u32",
    "u64",
]

T = TypeVar("T")
T_self = TypeVar("T_self")
T_enum = TypeVar("T_enum", bound=enum.IntEnum)


class StructError(ValueError, struct.error):
    """A value does not fit in its field, or there are fewer bytes than the structure needs."""


# ---------------------------------------------------------------------------------------------- fields


class _Options(TypedDict, total=False):
    """Keyword arguments that every kind of field takes.

    `default`, `default_factory` and `compare` are those of dataclasses. `encode` converts the value of the
    field to the number (or the bytes) for the kernel. `prefix` is the beginning that the names of the field's
    enumeration have in C, if that is not the name of its class and an underscore; it may be empty. `offset`
    is for a member that is not where a compiler would put it.
    """

    default: Any
    default_factory: Callable[[], Any]
    compare: bool
    encode: Callable[[Any], Any]
    prefix: str
    offset: int


class _Spec(NamedTuple):
    """How a field, or a constant, is stored."""

    member: str
    code: str = ""
    """The format of this one member, for `struct.Struct`."""
    align: int = 1
    decode: Callable[[Any], Any] | None = None
    encode: Callable[[Any], Any] | None = None
    prefix: str | None = None
    offset: int | None = None
    inner: type[CStruct] | None = None
    """The class of the member, if it is a structure."""
    members: tuple[str, ...] = ()
    """If C has the members of `inner` directly in the outer structure: their names there."""
    places: tuple[tuple[int, str], ...] = ()
    """If those are not one behind the other: the offset and the format of each."""


class _Constant(NamedTuple):
    spec: _Spec
    value: Any


_METADATA = "rsyscall"


def _field(
    member: str, code: str, align: int, convert: Callable[[Any], Any] | None, options: _Options, **more: Any
) -> Any:
    """Make a field of a dataclass that knows which member of the C structure it is."""
    spec = _Spec(
        member,
        code,
        align,
        convert,
        options.pop("encode", None),
        options.pop("prefix", None),
        options.pop("offset", None),
        **more,
    )
    field: Callable[..., Any] = dataclasses.field
    return field(**options, metadata={_METADATA: spec})


def known(enumeration: type[T_enum]) -> Callable[[int], T_enum | int]:
    """For `convert`: the member of an enumeration, or the number itself, which a later kernel may have."""

    def convert(number: int) -> T_enum | int:
        try:
            return enumeration(number)
        except ValueError:
            return number

    return convert


def u8(member: str, convert: Callable[[int], Any] | None = None, **options: Unpack[_Options]) -> Any:
    """An unsigned field of 8 bits; `convert`, an enumeration for example, makes its value from the number."""
    return _field(member, "B", 1, convert, options)


def u16(member: str, convert: Callable[[int], Any] | None = None, **options: Unpack[_Options]) -> Any:
    """An unsigned field of 16 bits; `convert` as for `u8`."""
    return _field(member, "H", 2, convert, options)


def u32(member: str, convert: Callable[[int], Any] | None = None, **options: Unpack[_Options]) -> Any:
    """An unsigned field of 32 bits; `convert` as for `u8`."""
    return _field(member, "I", 4, convert, options)


def u64(member: str, convert: Callable[[int], Any] | None = None, **options: Unpack[_Options]) -> Any:
    """An unsigned field of 64 bits; `convert` as for `u8`."""
    return _field(member, "Q", 8, convert, options)


def i8(member: str, convert: Callable[[int], Any] | None = None, **options: Unpack[_Options]) -> Any:
    """A signed field of 8 bits; `convert` as for `u8`."""
    return _field(member, "b", 1, convert, options)


def i16(member: str, convert: Callable[[int], Any] | None = None, **options: Unpack[_Options]) -> Any:
    """A signed field of 16 bits; `convert` as for `u8`."""
    return _field(member, "h", 2, convert, options)


def i32(member: str, convert: Callable[[int], Any] | None = None, **options: Unpack[_Options]) -> Any:
    """A signed field of 32 bits; `convert` as for `u8`."""
    return _field(member, "i", 4, convert, options)


def i64(member: str, convert: Callable[[int], Any] | None = None, **options: Unpack[_Options]) -> Any:
    """A signed field of 64 bits; `convert` as for `u8`."""
    return _field(member, "q", 8, convert, options)


def _to_be16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _from_be16(data: bytes) -> int:
    return int.from_bytes(data, "big")


def be16(member: str, **options: Unpack[_Options]) -> Any:
    """A number of 16 bits in network byte order."""
    # A format for `struct.Struct` has one byte order for all members, so it treats these as bytes.
    options.setdefault("encode", _to_be16)
    return _field(member, "2s", 2, _from_be16, options)


def array(
    member: str, size: int, convert: Callable[[bytes], Any] | None = None, **options: Unpack[_Options]
) -> Any:
    """A field of `size` bytes; `convert` makes its value from them."""
    return _field(member, f"{size}s", 1, convert, options)


def string(member: str, size: int, **options: Unpack[_Options]) -> Any:
    """A string in `size` bytes with the NUL behind it; a longer string is cut off."""
    options.setdefault("encode", lambda text: os.fsencode(text)[: size - 1])
    return _field(member, f"{size}s", 1, string_from_null_terminated_bytes, options)


def nested(
    member: str,
    inner: type[CStruct],
    members: tuple[str, ...] = (),
    places: tuple[tuple[int, str], ...] = (),
    **options: Unpack[_Options],
) -> Any:
    """A structure inside the structure.

    Args:
        member: its name in C.
        inner: its class.
        members: if C has its members directly in the outer structure: their names there.
        places: if those are not one behind the other: the offset in the outer structure and the format, for
            `struct.Struct`, of each. The next field stands behind the first of them.
    """
    return _field(member, "", 1, None, options, inner=inner, members=members, places=places)


def constant(field: Any, value: T) -> T:
    """A member with one value for all objects, an attribute of the class. `from_bytes` refuses others."""
    return cast("T", _Constant(field.metadata[_METADATA], value))


# ---------------------------------------------------------------------------------------------- layouts


class CField(NamedTuple):
    """A field of a structure.

    Attributes:
        name: of the attribute.
        member: its name in C.
        prefix: the beginning that the names of its enumeration have in C; None for the name of the class and
            an underscore.
    """

    name: str
    member: str
    prefix: str | None


class CMember(NamedTuple):
    """Where a member of a structure is.

    Attributes:
        name: in C, after the names of the members that it is in: `it_value.tv_sec`.
        offset: bytes from the start of the structure.
        size: bytes.
        code: its format for `struct.Struct`.
    """

    name: str
    offset: int
    size: int
    code: str


class CLayout(NamedTuple):
    """Where the members of a structure are.

    Attributes:
        size: bytes.
        members: in the order of their offsets.
        codec: packs the members in that order.
    """

    size: int
    members: tuple[CMember, ...]
    codec: struct.Struct


class _Leaf(NamedTuple):
    """A member that is no structure, and the path of attributes to its value."""

    path: str
    spec: _Spec
    place: CMember


def _size_of(code: str) -> int:
    return struct.calcsize(f"<{code}")


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _place(cls: type[CStruct]) -> tuple[list[_Leaf], int, int]:
    """Place the members as a compiler does; return them, the size and the alignment of the structure."""
    leaves: list[_Leaf] = []
    end, largest = 0, 1
    for name, spec in cls._specs.items():
        inner: list[_Leaf]
        if spec.inner is None:
            size, align = _size_of(spec.code), spec.align
            inner = [_Leaf(name, spec, CMember(spec.member, 0, size, spec.code))]
        else:
            found, size, align = _place(spec.inner)
            names = spec.members or [f"{spec.member}.{leaf.place.name}" for leaf in found]
            inner = [
                _Leaf(f"{name}.{leaf.path}", leaf.spec, leaf.place._replace(name=in_c))
                for in_c, leaf in zip(names, found, strict=True)
            ]
        if spec.places:
            start, size = spec.places[0][0], _size_of(spec.places[0][1])
            leaves += [
                leaf._replace(place=CMember(leaf.place.name, offset, _size_of(code), code))
                for leaf, (offset, code) in zip(inner, spec.places, strict=True)
            ]
        else:
            start = _up(end, align) if spec.offset is None else spec.offset
            leaves += [
                leaf._replace(place=leaf.place._replace(offset=start + leaf.place.offset)) for leaf in inner
            ]
        end, largest = start + size, max(largest, align)
    size = _up(end, largest) if cls._size is None or cls._variant else cls._size
    return leaves, size, largest


_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _place_as(cls: type[CStruct], variant: StructLayout) -> tuple[list[_Leaf], int]:
    """Return the members that the table of an architecture has, placed as it says, and the size."""
    found = {field.name: field for field in variant.fields}
    leaves = []
    for leaf in _place(cls)[0]:
        field = found.get(leaf.place.name)
        if field is not None:
            # The declaration, not the table, says whether it is signed: some headers are wrong.
            code = _CODES[field.size]
            code = code.lower() if leaf.spec.code.islower() else code
            leaves.append(leaf._replace(place=CMember(field.name, field.offset, field.size, code)))
    return leaves, variant.size


class _Codec:
    """Packs and unpacks a structure with its layout on one architecture."""

    def __init__(self, cls: type[CStruct], variant: StructLayout | None) -> None:
        self.cls = cls
        if variant is None:
            leaves, size, _ = _place(cls)
        else:
            leaves, size = _place_as(cls, variant)
        self.leaves = sorted(leaves, key=lambda leaf: leaf.place.offset)
        parts, position = ["<"], 0
        for leaf in self.leaves:
            if leaf.place.offset < position:
                raise TypeError(f"{cls.__name__}.{leaf.path} overlaps the member before it")
            parts.append(f"{leaf.place.offset - position}x{leaf.place.code}")
            position = leaf.place.offset + leaf.place.size
        if size < position:
            raise TypeError(f"{cls.__name__} takes {position} bytes, not {size}")
        parts.append(f"{size - position}x")
        codec = struct.Struct("".join(parts))
        self.layout = CLayout(size, tuple(leaf.place for leaf in self.leaves), codec)

    @functools.cached_property
    def pack(self) -> Callable[[Any], bytes]:
        """The generated function that packs an object."""
        names: dict[str, Any] = {
            "pack": self.layout.codec.pack,
            "explain": self._explain,
            "error": struct.error,
        }
        numbers = []
        for index, (path, spec, _) in enumerate(self.leaves):
            number = f"self.{path}"
            if spec.encode is not None:
                names[f"encode{index}"] = spec.encode
                number = f"encode{index}({number})"
            numbers.append(number)
        room = self.cls.sizeof()
        fill = "" if room == self.layout.size else f".ljust({room}, b'\\0')"
        source = f"""
def to_bytes(self):
    try:
        return pack({", ".join(numbers)}){fill}
    except (error, OverflowError) as exn:
        raise explain(self, exn) from None
"""
        return self._make(source, names)

    def _explain(self, value: Any, exn: Exception) -> StructError:
        """Return the error for `exn`: it names the field whose value does not fit."""
        for path, spec, place in self.leaves:
            part = functools.reduce(getattr, path.split("."), value)
            try:
                struct.pack(f"<{place.code}", part if spec.encode is None else spec.encode(part))
            except (struct.error, OverflowError):
                bits = 8 * place.size
                kind = (
                    "bytes" if place.code.endswith("s") else f"{'i' if place.code.islower() else 'u'}{bits}"
                )
                return StructError(f"{self.cls.__name__}.{path} is {part!r}, which does not fit in {kind}")
        return StructError(str(exn))

    @functools.cached_property
    def unpack(self) -> Callable[[type, bytes], Any]:
        """The generated function that unpacks an object of the class, or of a derived one."""
        names: dict[str, Any] = {
            "unpack": self.layout.codec.unpack_from,
            "short": self._short,
            "other": self._other,
            "error": struct.error,
        }
        variables = {leaf.path: f"v{index}" for index, leaf in enumerate(self.leaves)}
        checks = []
        for path, variable in variables.items():
            if path in self.cls._constants:
                names[f"{variable}_is"] = self.cls._constants[path]
                checks.append(f"    if {variable} != {variable}_is: raise other({path!r}, {variable})")
        arguments = self._arguments(self.cls, "", variables, names)
        source = f"""
def from_bytes(cls, data):
    try:
        ({", ".join(variables.values())},) = unpack(data)
    except error:
        raise short(data) from None
{chr(10).join(checks)}
    return cls({arguments})
"""
        return self._make(source, names)

    def _arguments(
        self, cls: type[CStruct], prefix: str, variables: dict[str, str], names: dict[str, Any]
    ) -> str:
        """The constructor's arguments, as text. Members that the architecture lacks have their defaults."""
        arguments: list[str] = []
        left_out = False
        for name, spec in cls._specs.items():
            path = prefix + name
            if path in self.cls._constants:
                continue
            if spec.inner is not None:
                key = f"c{len(names)}"
                names[key] = spec.inner
                value = f"{key}({self._arguments(spec.inner, path + '.', variables, names)})"
            elif path not in variables:
                left_out = True
                continue
            else:
                value = variables[path]
                if spec.decode is not None:
                    key = f"decode{len(names)}"
                    names[key] = spec.decode
                    value = f"{key}({value})"
            arguments.append(f"{name}={value}" if left_out else value)
        return ", ".join(arguments)

    def _short(self, data: bytes) -> StructError:
        return StructError(f"{self.cls.__name__} takes {self.layout.size} bytes, there are {len(data)}")

    def _other(self, name: str, value: Any) -> StructError:
        return StructError(f"{self.cls.__name__}.{name} is {self.cls._constants[name]!r}, not {value!r}")

    def _make(self, source: str, names: dict[str, Any]) -> Callable[..., Any]:
        exec(source, names)
        name = source.split("(", 1)[0].split()[1]
        function: Callable[..., Any] = names[name]
        function.__qualname__ = f"{self.cls.__qualname__}.{name}"
        function.__module__ = self.cls.__module__
        function.__doc__ = getattr(CStruct, name).__doc__
        return function


def _codec(cls: type[CStruct], variant: StructLayout | None) -> _Codec:
    codecs = cls._codecs
    if variant not in codecs:
        codecs[variant] = _Codec(cls, variant)
    return codecs[variant]


def _native_codec(cls: type[CStruct]) -> _Codec:
    """The codec of the running architecture."""
    codec = cls._native
    if codec is None:
        variant = getattr(native_abi(), cls._variant) if cls._variant else None
        codec = cls._declared._native = _codec(cls._declared, variant)
    return codec


# --------------------------------------------------------------------------------------------- dataclasses

# Making a class a dataclass takes longer than the rest of its declaration, and most programs use few of these
# classes. So a class becomes a dataclass when the program makes the first object or asks for its fields.

_unfinished: dict[type[CStruct], tuple[bool, dict[str, dataclasses.Field[Any]]]] = {}
"""The classes that are no dataclasses yet: whether their objects will be frozen, and their fields."""
_lock = threading.RLock()
# The classes that `dataclass` is working on. It may ask them for their fields, which would start it again.
_finishing: set[type[CStruct]] = set()


def _finish(cls: type[CStruct]) -> None:
    with _lock:
        if cls not in _unfinished or cls in _finishing:
            return
        frozen, fields = _unfinished[cls]
        try:
            _finishing.add(cls)
            for name, field in fields.items():
                setattr(cls, name, field)
            dataclass(frozen=frozen)(cls)
            # Last: if an exception interrupts this, the next use starts it again.
            del _unfinished[cls]
        finally:
            _finishing.discard(cls)


class _Unfinished:
    """An attribute that a class has as soon as it is a dataclass; a look at it makes it one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: CStruct | None, cls: type[CStruct]) -> Any:
        declared = getattr(cls, "_declared", None)
        if declared is not None:
            _finish(declared)
            if self._name in vars(declared):
                return vars(declared)[self._name]
        raise AttributeError(f"{cls.__name__} has no attribute {self._name!r}")


def _unfinished_method(name: str) -> Callable[..., Any]:
    """A method that makes the class a dataclass, which replaces the method, and calls the new one."""

    def method(self: CStruct, *args: Any, **kwargs: Any) -> Any:
        declared = type(self)._declared
        _finish(declared)
        # If the class defines this method itself, that method has called this one by super().
        found = getattr(object if name in declared._own else declared, name)
        return found(self, *args, **kwargs)

    method.__name__ = name
    return method


# ---------------------------------------------------------------------------------------------- structures


@dataclass_transform(
    field_specifiers=(u8, u16, u32, u64, i16, i32, i64, be16, array, string, nested, dataclasses.field)
)
class CStruct(Struct):
    """A structure of the kernel; see the docstring of this module.

    A class with fields takes these arguments beside its base class. Classes derived from it add no fields.

    Args:
        c: the type in C, such as `struct timespec`.
        headers: the headers that declare that type; an entry may also be a line of C.
        size: bytes, if the structure has more than its members need. With `variant`, enough for every
            architecture.
        variant: the attribute of `ABI` with the layout on each architecture.
        brief: the fields that a trace shows; empty for all of them.
        frozen: whether objects are immutable.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        # Every class with fields is a dataclass.
        __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    else:
        __dataclass_fields__ = _Unfinished("__dataclass_fields__")
        __signature__ = _Unfinished("__signature__")
        __init__ = _unfinished_method("__init__")
        __eq__ = _unfinished_method("__eq__")
        __hash__ = _unfinished_method("__hash__")
        __repr__ = _unfinished_method("__repr__")

    c_type: ClassVar[str] = ""
    """The type in C."""
    c_headers: ClassVar[tuple[str, ...]] = ()
    """The headers that declare that type, and lines of C."""
    c_brief: ClassVar[tuple[str, ...]] = ()
    """The fields that a trace shows; empty for all of them."""
    _specs: ClassVar[dict[str, _Spec]] = {}
    _constants: ClassVar[dict[str, Any]] = {}
    _size: ClassVar[int | None] = None
    _variant: ClassVar[str] = ""
    # The class that declares the fields: this class or a base of it.
    _declared: ClassVar[type[CStruct]]
    _codecs: ClassVar[dict[StructLayout | None, _Codec]]
    _native: ClassVar[_Codec | None] = None
    # The methods of dataclasses that the class defines itself.
    _own: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(
        cls,
        *,
        c: str = "",
        headers: tuple[str, ...] = (),
        size: int | None = None,
        variant: str = "",
        brief: tuple[str, ...] = (),
        frozen: bool = False,
        **more: Any,
    ) -> None:
        super().__init_subclass__(**more)
        specs = {}
        constants = {}
        for name, value in list(vars(cls).items()):
            if isinstance(value, _Constant):
                specs[name], constants[name] = value
                setattr(cls, name, constants[name])
            elif isinstance(value, dataclasses.Field) and _METADATA in value.metadata:
                specs[name] = value.metadata[_METADATA]
        if not specs:
            return
        if cls._specs:
            raise TypeError(f"{cls.__name__} adds fields to a structure: nest that structure instead")
        cls._specs, cls._constants = specs, constants
        cls._size, cls._variant, cls._declared, cls._codecs = size, variant, cls, {}
        cls.c_type, cls.c_headers, cls.c_brief = c, headers, brief
        cls._own = frozenset(vars(cls)) & {"__init__", "__eq__", "__hash__", "__repr__"}
        fields = {name: value for name, value in vars(cls).items() if isinstance(value, dataclasses.Field)}
        _unfinished[cls] = frozen, fields
        for name, field in fields.items():
            # As on a dataclass.
            if field.default is dataclasses.MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, field.default)

    @classmethod
    def c_fields(cls) -> tuple[CField, ...]:
        """Return the fields in their order, with their names in C."""
        return tuple(CField(name, spec.member, spec.prefix) for name, spec in cls._specs.items())

    @classmethod
    def layout(cls, abi: ABI | None = None) -> CLayout:
        """Return where the members are on an architecture; None for the running one."""
        return cls._codec_for(abi).layout

    @classmethod
    def _codec_for(cls, abi: ABI | None) -> _Codec:
        if abi is None or not cls._variant:
            return _native_codec(cls)
        return _codec(cls._declared, getattr(abi, cls._variant))

    def to_bytes(self) -> bytes:
        """Return the structure as the kernel of the running architecture reads it.

        Raises:
            StructError: a value does not fit in its field.
        """
        cls = type(self)
        pack = _native_codec(cls).pack
        if "to_bytes" not in vars(cls._declared):
            # Later calls go to the generated function directly.
            cls._declared.to_bytes = pack  # type: ignore[assignment]  # same signature
        return pack(self)

    @classmethod
    def from_bytes(cls: type[T_self], data: bytes) -> T_self:
        """Make an object from bytes that the kernel of the running architecture wrote.

        Raises:
            StructError: there are fewer bytes than the structure needs, or a constant member has another
                value.
        """
        declared = cast("type[CStruct]", cls)._declared
        unpack = _native_codec(declared).unpack
        if "from_bytes" not in vars(declared):
            declared.from_bytes = classmethod(unpack)  # type: ignore[assignment,method-assign]  # same one
        return cast("T_self", unpack(cls, data))

    @classmethod
    def sizeof(cls) -> int:
        """Return the size in bytes: the declared one, or else the one on the running architecture."""
        if cls._size is not None:
            return cls._size
        return _native_codec(cls).layout.size

    @classmethod
    def get_serializer(cls: type[T_self], task: FileDescriptorTask[Any]) -> Serializer[T_self]:
        """Return the serializer for the architecture of the task."""
        declared = cast("type[CStruct]", cls)
        # Compare the ABIs first: to compare the layouts of two architectures takes long.
        if declared._variant and task.sysif.abi is not native_abi():
            return cast("Serializer[T_self]", declared.serializer_for(task.sysif.abi))
        return cast("Serializer[T_self]", cls)

    @classmethod
    def serializer_for(cls: type[T_self], abi: ABI) -> Serializer[T_self]:
        """Return the serializer for an architecture."""
        declared = cast("type[CStruct]", cls)
        if declared._variant:
            codec = declared._codec_for(abi)
            if codec is not _native_codec(declared):
                return _ForeignSerializer(cls, codec)
        return cast("Serializer[T_self]", cls)


class _ForeignSerializer(Serializer[T], Generic[T]):
    """Serializes a structure for another architecture."""

    def __init__(self, cls: type[T], codec: _Codec) -> None:
        self.cls = cls
        self.codec = codec

    def to_bytes(self, val: T) -> bytes:
        return self.codec.pack(val)

    def from_bytes(self, data: bytes) -> T:
        return cast("T", self.codec.unpack(self.cls, data))
