"""Read signatures.txt and compare it with the code that is installed."""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

LISTING = Path(__file__).with_name("signatures.txt")

_MODIFIERS = {"overload", "static", "classmethod", "property", "with", "async"}


@dataclass
class Parameter:
    """One promised parameter; `kind` is "", "*" (after it, keywords only), "**" or "keyword"."""

    name: str
    default: str | None
    kind: str


@dataclass
class Function:
    """One promised function, method or property."""

    name: str
    modifiers: frozenset[str]
    parameters: list[Parameter]


@dataclass
class Class:
    """One promised class or enumeration."""

    name: str
    kind: str
    bases: list[str]
    members: list[str] = field(default_factory=list)
    has: list[str] = field(default_factory=list)
    fields: list[Parameter] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    methods: list[Function] = field(default_factory=list)


@dataclass
class Module:
    """What one module promises."""

    name: str
    exports: list[str] = field(default_factory=list)
    classes: list[Class] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)


def _split(text: str) -> list[str]:
    """Split at the commas that are in no bracket and in no string."""
    parts, depth, quote, current = [], 0, "", ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        if char == "," and not depth and not quote:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    if current.strip():
        parts.append(current.strip())
    return parts


def _parameters(text: str) -> list[Parameter]:
    result, keyword_only = [], False
    for part in _split(text):
        name, _, default = part.partition("=")
        if name == "*":
            keyword_only = True
        elif name.startswith("**"):
            result.append(Parameter(name[2:], None, "**"))
        elif name.startswith("*"):
            result.append(Parameter(name[1:], None, "*"))
            keyword_only = True
        else:
            result.append(Parameter(name, default or None, "keyword" if keyword_only else ""))
    return result


def _function(line: str) -> Function:
    words = line.split("(", 1)[0].split()
    modifiers = frozenset(words[:-1])
    if not modifiers <= _MODIFIERS:
        raise ValueError(f"not understood: {line!r}")
    return Function(words[-1], modifiers, _parameters(line.split("(", 1)[1].rstrip()[:-1]))


def read_listing(path: Path = LISTING) -> list[Module]:
    """Parse the listing.

    Args:
        path: a file in the format that the head of signatures.txt describes.

    Returns:
        The promised modules in order.
    """
    modules: list[Module] = []
    current: Class | None = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            if text.startswith("["):
                modules.append(Module(text[1:-1]))
                current = None
            elif match := re.fullmatch(r"enum (\w+) (\w+): (.*)", text):
                modules[-1].classes.append(Class(match[1], "enum", [match[2]], match[3].split()))
            elif match := re.fullmatch(r"(class|dataclass) (\w+)\((.*)\)", text):
                current = Class(match[2], match[1], _split(match[3]))
                modules[-1].classes.append(current)
            elif text.startswith("exports "):
                modules[-1].exports.extend(text.split()[1:])
            elif not line.startswith(" "):
                modules[-1].functions.append(_function(text))
            elif current is None:
                raise ValueError("a member without a class")
            elif text.startswith("has "):
                current.has.extend(text.split()[1:])
            elif text.startswith("attributes "):
                current.attributes.extend(text.split()[1:])
            elif text.startswith("fields "):
                current.fields.extend(_parameters(text.removeprefix("fields ")))
            else:
                current.methods.append(_function(text))
        except Exception as error:
            raise ValueError(f"{path.name}:{number}: {error}") from error
    return modules


def _merge(functions: list[Function]) -> list[Function]:
    """Join the overloads of one name: a parameter that one form lacks is optional."""
    by_name: dict[str, list[Function]] = {}
    for function in functions:
        by_name.setdefault(function.name, []).append(function)
    result = []
    for forms in by_name.values():
        if len(forms) == 1:
            result.append(forms[0])
            continue
        longest = max(forms, key=lambda form: len(form.parameters))
        parameters = []
        for index, parameter in enumerate(longest.parameters):
            optional = any(len(form.parameters) <= index for form in forms)
            defaults = [f.parameters[index].default for f in forms if len(f.parameters) > index]
            default = next((d for d in defaults if d is not None), "..." if optional else None)
            parameters.append(Parameter(parameter.name, default, parameter.kind))
        result.append(Function(longest.name, longest.modifiers - {"overload"}, parameters))
    return result


def _same_default(promised: str, actual: object, names: dict[str, Any]) -> bool:
    """Whether a default is as promised; what cannot be evaluated counts as the same."""
    try:
        value = ast.literal_eval(promised)
    except (ValueError, SyntaxError):
        if not re.fullmatch(r"\w+(\.\w+)*(\(0\))?|\w+\.\w+( \| \w+\.\w+)*", promised):
            return True
        try:
            value = eval(promised, {}, dict(names))  # the text is our own listing
        except Exception:
            return True
    if isinstance(value, (list, dict)):
        # An empty container as a default is written in several safe ways: None, (), a read-only mapping.
        return not actual
    return bool(value == actual)


def _compare(promised: list[Parameter], actual: list[inspect.Parameter], names: dict[str, Any]) -> str:
    """Say how the actual parameters break calls that were promised to work; "" if they do not."""
    empty = inspect.Parameter.empty
    kinds = {parameter.kind for parameter in actual}
    catch_all = inspect.Parameter.VAR_POSITIONAL in kinds and inspect.Parameter.VAR_KEYWORD in kinds
    by_position = [p for p in actual if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    by_name = {p.name: p for p in actual}
    for index, parameter in enumerate(p for p in promised if p.kind == ""):
        if index >= len(by_position):
            if catch_all:
                continue
            return f"no parameter {parameter.name}"
        there = by_position[index]
        if there.name != parameter.name:
            return f"parameter {index + 1} is {there.name}, not {parameter.name}"
        if parameter.default is not None:
            if there.default is empty:
                return f"{parameter.name} has no default"
            if parameter.default != "..." and not _same_default(parameter.default, there.default, names):
                return f"{parameter.name} defaults to {there.default!r}, not {parameter.default}"
    promised_names = {p.name for p in promised}
    for parameter in promised:
        if parameter.kind == "*" and inspect.Parameter.VAR_POSITIONAL not in kinds:
            return f"no *{parameter.name}"
        if parameter.kind == "**" and inspect.Parameter.VAR_KEYWORD not in kinds:
            return f"no **{parameter.name}"
        if parameter.kind == "keyword":
            found = by_name.get(parameter.name)
            if found is None:
                return f"no keyword {parameter.name}"
            if parameter.default is not None and found.default is empty:
                return f"{parameter.name} has no default"
    for there in actual:
        plain = there.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        if plain and there.default is empty and there.name not in promised_names:
            return f"{there.name} must be given too"
        if there.kind is inspect.Parameter.POSITIONAL_ONLY and there.name in promised_names:
            return f"{there.name} cannot be given by name"
    return ""


def _check_function(owner: object, promised: Function, names: dict[str, Any]) -> str | None:
    """Say what is wrong with a function of a module or a class: None if nothing, "" if it is not there."""
    try:
        static = inspect.getattr_static(owner, promised.name)
        value = getattr(owner, promised.name)
    except AttributeError:
        return ""
    if "property" in promised.modifiers:
        return "is a method" if callable(value) and inspect.isfunction(static) else None
    if not callable(value):
        return "is not callable"
    function = inspect.unwrap(value)
    is_async = inspect.iscoroutinefunction(function)
    annotation = str(getattr(function, "__annotations__", {}).get("return", ""))
    if "async" in promised.modifiers:
        if not is_async and not re.search(r"Awaitable|Coroutine|AsyncGenerator|AsyncIterator", annotation):
            return "is not async"
    elif is_async:
        return "is async"
    try:
        actual = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return "its signature is not known" if promised.parameters else None  # implemented in C
    plain_method = inspect.isclass(owner) and not isinstance(static, (staticmethod, classmethod))
    if (plain_method and promised.name != "__new__" and actual) or promised.name == "__new__":
        actual = actual[1:]
    if inspect.ismethod(function):
        pass  # inspect.signature has dropped the class already
    elif isinstance(static, classmethod) and function is not value and actual:
        actual = actual[1:]
    return _compare(promised.parameters, actual, names) or None


def _has_attribute(cls: type, name: str) -> bool:
    """Whether instances of a class have an attribute, as far as can be seen without making one."""
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        if name in base.__dict__ or name in inspect.get_annotations(base) or name in slots:
            return True
        try:
            source = inspect.getsource(base)
        except (OSError, TypeError):
            continue
        if re.search(rf"\b(self|thread|thr|result|new)\.{name}\b.*=|__setattr__\(self, \"{name}\"", source):
            return True
    return False


def _check_class(module: ModuleType, promised: Class) -> Iterator[tuple[str, str]]:
    names = vars(module)
    cls = getattr(module, promised.name, None)
    if cls is None:
        yield promised.name, ""
        return
    if promised.kind == "enum":
        if not (inspect.isclass(cls) and issubclass(cls, getattr(enum, promised.bases[0]))):
            yield promised.name, f"is not an {promised.bases[0]}"
            return
        for member in promised.members:
            if member not in cls.__members__:
                yield f"{promised.name}.{member}", ""
        return
    if not inspect.isclass(cls):
        yield promised.name, "is not a class"
        return
    mro = {base.__name__ for base in cls.__mro__}
    for base in promised.bases:
        if base not in mro:
            yield f"{promised.name}({base})", ""
    for name in promised.has:
        if not hasattr(cls, name):
            yield f"{promised.name}.{name}", ""
    has_init = any(method.name == "__init__" for method in promised.methods)
    if promised.kind == "dataclass" and not has_init and promised.fields:
        problem = _compare(promised.fields, list(inspect.signature(cls).parameters.values()), names)
        if problem:
            yield f"{promised.name}.__init__", problem
    else:
        for parameter in promised.fields:
            if not _has_attribute(cls, parameter.name):
                yield f"{promised.name}.{parameter.name}", ""
    for name in promised.attributes:
        if not _has_attribute(cls, name):
            yield f"{promised.name}.{name}", ""
    for method in _merge(promised.methods):
        verdict = _check_function(cls, method, names)
        if verdict is not None:
            yield f"{promised.name}.{method.name}", verdict


def _module_is_absent(name: str, error: ModuleNotFoundError) -> bool:
    """Whether the failed import means that the module itself, not something that it needs, is not there."""
    return error.name is not None and (name == error.name or name.startswith(error.name + "."))


def differences(modules: list[Module]) -> dict[str, str]:
    """Compare the promises with the code.

    Returns:
        What is not as promised: "module", "module:name" or "module:Class.name" -> how it differs, "" if it is
        missing.
    """
    found: dict[str, str] = {}
    for promised in modules:
        try:
            module = importlib.import_module(promised.name)
        except ModuleNotFoundError as error:
            if not _module_is_absent(promised.name, error):
                raise
            found[promised.name] = ""
            continue
        for name in promised.exports:
            try:
                getattr(module, name)
            except (AttributeError, ModuleNotFoundError):
                found[f"{promised.name}:{name}"] = ""
        for cls in promised.classes:
            for name, verdict in _check_class(module, cls):
                found[f"{promised.name}:{name}"] = verdict
        for function in _merge(promised.functions):
            problem = _check_function(module, function, vars(module))
            if problem is not None:
                found[f"{promised.name}:{function.name}"] = problem
    return found


if __name__ == "__main__":
    # `python -m tests.contract.signatures` prints what missing.py has to account for.
    for item, how in differences(read_listing()).items():
        print(f"{item}: {how or 'missing'}")
