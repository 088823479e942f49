"""Calls as `strace` shows them, and as our tracer does, parsed to be compared.

The two differ in what they leave out and in the order of flags, and strace names some numbers that our tracer
shows as such. A number that both show, a name that both give or a string that both quote has to be the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rsyscall.near import SYS

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"(?:\.\.\.)?|\.\.\.|[\[\]{}(),=]|[^\s\[\]{}(),="]+)')
# A number that strace has no name for.
_UNNAMED = re.compile(r"0x[0-9a-f]+ /\* \w+\?\?\? \*/")
_COMMENT = re.compile(r"/\*.*?\*/")
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"a": b"\a", b"b": b"\b"}
# What strace calls 0 where we show the number, or nothing.
_NAMES_OF_ZERO = {
    "SEEK_SET",
    "IPPROTO_IP",
    "AT_STATX_SYNC_AS_STAT",
    "O_RDONLY",
    "FAN_CLASS_NOTIF",
    "000",
    "0",
}
# Members whose numbers have names in strace alone, or are fractions of 65536 there and have a point here.
_SHOWN_OTHERWISE = {"f_type", "loads", "config", "features"}
_WORD_OF_MASK = re.compile(r"0x[0-9a-f]{14}|0{16}")


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        name: of it.
        arguments: strings, tuples for what is in brackets, dictionaries for structures, text for others.
        result: its number, and the name of the error.
    """

    name: str
    arguments: tuple[object, ...]
    result: str


def _unquote(token: str) -> bytes:
    def replace(match: re.Match[bytes]) -> bytes:
        text = match[1]
        if text[:1] == b"x":
            return bytes([int(text[1:], 16)])
        if text[0] in b"01234567":
            return bytes([int(text, 8)])
        return _LETTERS.get(text, text)

    return _ESCAPE.sub(replace, token.removesuffix("...")[1:-1].encode("latin-1", "replace"))


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(_COMMENT.sub("", _UNNAMED.sub("?", text)))
        self.at = 0

    def next(self) -> str:
        self.at += 1
        return str(self.tokens[self.at - 1])

    def peek(self) -> str:
        return str(self.tokens[self.at]) if self.at < len(self.tokens) else ""

    def items(self, end: str) -> tuple[object, ...]:
        found: list[object] = []
        while self.peek() not in ("", end):
            if self.peek() == ",":
                self.next()
                continue
            found.append(self.item())
        self.next()
        return tuple(found)

    def item(self) -> object:
        """A value, or a pair of a name and a value."""
        value = self.value()
        if self.peek() == "=":
            self.next()
            return (value, self.value())
        return value

    def value(self) -> object:
        token = self.next()
        if token.startswith('"'):
            return _unquote(token)
        if token in "[(":
            return self.items("]" if token == "[" else ")")
        if token == "{":
            items = self.items("}")
            return dict(item for item in items if isinstance(item, tuple) and len(item) == 2)
        if self.peek() == "(":
            self.next()
            return (token, *self.items(")"))
        if "|" in token:
            flags = frozenset(token.split("|")) - _NAMES_OF_ZERO
            return flags if len(flags) > 1 else "".join(flags) or "0"
        return token


def parse(line: str) -> Call:
    """Parse a line, without what stands before the call."""
    head, _, tail = line.rpartition(") = ") if ") = " in line else re.split(r"(\)\s+= )", line, maxsplit=1)
    name, _, arguments = head.partition("(")
    words = tail.split()
    # "-1 ENOENT (...)", "3", "0x8002 (flags ...)"
    result = " ".join(words[:2]) if words[0] == "-1" else words[0]
    return Call(name, _Parser(arguments + ")").items(")"), result)


def _same_mask(ours: tuple[object, ...], theirs: tuple[object, ...]) -> bool:
    """Whether the bits are the same: numbers of those that are set, and words of 64 bits."""
    if not theirs or not all(isinstance(word, str) and _WORD_OF_MASK.fullmatch(word) for word in theirs):
        return False
    mask = sum(int(str(word), 16) << (64 * index) for index, word in enumerate(theirs))
    return ours == tuple(str(bit) for bit in range(64 * len(theirs)) if mask >> bit & 1)


def _is_memory(number: object, shown: object) -> bool:
    return isinstance(number, str) and number.startswith("0x") and isinstance(shown, tuple | dict | bytes)


def same(ours: object, theirs: object) -> bool:
    """Whether two values that may leave out different things say the same."""
    if ours == theirs or theirs == "?":
        return True
    if isinstance(ours, str) and isinstance(theirs, str):
        return {ours, theirs} <= _NAMES_OF_ZERO
    if isinstance(ours, dict) and isinstance(theirs, dict):
        common = ours.keys() & theirs.keys() - _SHOWN_OTHERWISE
        return bool(common) and all(same(ours[name], theirs[name]) for name in common)
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return (len(ours) == len(theirs) and all(map(same, ours, theirs))) or _same_mask(ours, theirs)
    if isinstance(ours, bytes) and isinstance(theirs, bytes):
        shorter = min(len(ours), len(theirs))
        # The kernel counts the NUL at the end.
        return (shorter >= 32 and ours[:shorter] == theirs[:shorter]) or ours == theirs + b"\0"
    if isinstance(theirs, dict) and theirs.keys() == {"u32", "u64"}:
        return bool(ours == theirs["u64"])
    # An address in one is a structure or a string in the other.
    return _is_memory(ours, theirs) or _is_memory(theirs, ours)


def _same_number(ours: object, theirs: object) -> bool:
    """Whether an argument of a call that strace does not know is the same, as far as we show its number."""
    if not isinstance(ours, str) or not isinstance(theirs, str):
        return True
    try:
        return (int(ours, 0) - int(theirs, 0)) % 2**64 == 0
    except ValueError:
        return True


def same_call(ours: Call, theirs: Call) -> bool:
    """Whether they are the same call with the same arguments and the same result."""
    if theirs.name.startswith("syscall_0x"):
        number = int(theirs.name.removeprefix("syscall_"), 16)
        return (
            getattr(SYS, ours.name, None) == number
            and _same_number(ours.result, theirs.result)
            and (ours.result == theirs.result or not ours.result.startswith("-1 "))
            and len(ours.arguments) <= len(theirs.arguments)
            and all(map(_same_number, ours.arguments, theirs.arguments))
        )
    return (
        (ours.name, ours.result) == (theirs.name, theirs.result)
        and len(ours.arguments) <= len(theirs.arguments)
        # We leave out those that have no meaning, which have to be 0.
        and all(argument == "0" for argument in theirs.arguments[len(ours.arguments) :])
        and all(map(same, ours.arguments, theirs.arguments))
    )
