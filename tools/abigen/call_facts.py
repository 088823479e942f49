"""Generate what the C code has to know of system calls, from `rsyscall.near.calls` and `.address_space`.

    python3 tools/abigen/call_facts.py --write     write native/src/call_facts.h
    python3 tools/abigen/call_facts.py --check     exit 1 if it is not what would be written

`rsyscall.near` must be importable.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import generated
from newer_calls import EVERYWHERE

from rsyscall.near._tables import ARCHITECTURES
from rsyscall.near.address_space import EFFECTS
from rsyscall.near.calls import BOOK, Fact

HEADER = Path(__file__).resolve().parent.parent.parent / "native/src/call_facts.h"
COMMAND = "python3 tools/abigen/call_facts.py --write"

FUNCTIONS = {
    Fact.QUICK: ("rsys_is_quick", "The kernel answers at once, whatever the arguments."),
    Fact.WAITS: ("rsys_waits", "They are there to wait: for an event, for time, for another process."),
    Fact.POLLS: ("rsys_polls", "They wait for descriptors."),
    Fact.CREDENTIALS: ("rsys_may_change_credentials", "They may change user, group, capabilities."),
}

# Headers from before these calls are still in use.
OLDEST_HEADERS = 445


def _everywhere(name: str) -> bool:
    """Whether the headers of every architecture have a call."""
    tables = [importlib.import_module(f"rsyscall.near._tables.{name}").SYS for name in ARCHITECTURES]
    return all(name in table.__members__ and table[name] < OLDEST_HEADERS for table in tables)


def header() -> str:
    """The text of the header."""
    lines = [
        f"/* Made by: {COMMAND} */",
        "/* What is true of system calls, from rsyscall.near.calls and rsyscall.near.address_space. */",
        "#ifndef RSYS_CALL_FACTS_H",
        "#define RSYS_CALL_FACTS_H",
        "",
        "#include <asm/unistd.h>",
        "#include <stdint.h>",
    ]
    for fact, (function, comment) in FUNCTIONS.items():
        lines += ["", f"/* {comment} */", f"static inline int {function}(long nr)", "{", "\tswitch (nr) {"]
        for name in sorted(name for name, row in BOOK.items() if row.facts & fact):
            case = f"\tcase __NR_{name}:"
            lines += [case] if _everywhere(name) else [f"#ifdef __NR_{name}", case, "#endif"]
        lines += ["\t\treturn 1;", "\t}", "\treturn 0;", "}"]
    return "\n".join([*lines, *_lasting(), "", "#endif"]) + "\n"


def _number(value: int) -> str:
    return str(value) if value < 0x1000 else hex(value)


def _lasting() -> list[str]:
    """The function that knows what nothing can undo."""
    lines = [
        "",
        "/* It changes the address space for good: refused where that is another's. */",
        "static inline int rsys_changes_memory_for_good(long nr, const int64_t *a)",
        "{",
        "\tswitch (nr) {",
    ]
    lasting = [effect for effect in EFFECTS if effect.lasting]
    for call in sorted({effect.call for effect in lasting}):
        conditions = []
        for effect in lasting:
            if effect.call == call:
                # The kernel takes the very first one as an int.
                words = [f"(int32_t)a[0] == {_number(effect.first[0])}"] if effect.first else []
                words += [f"a[{index}] == {word}" for index, word in enumerate(effect.first) if index]
                conditions.append(" && ".join(words) or "1")
        condition = " ||\n\t\t       ".join(f"({c})" if " && " in c else c for c in conditions)
        body = [f"\t\treturn {condition};"]
        number = EVERYWHERE.get(call, (0, ""))[0]
        if number:
            # Also where the headers do not know it yet; its number is the same everywhere.
            lines += [f"\tcase {number}: /* {call} */", *body]
        elif _everywhere(call):
            lines += [f"\tcase __NR_{call}:", *body]
        else:
            lines += [f"#ifdef __NR_{call}", f"\tcase __NR_{call}:", *body, "#endif"]
    return [*lines, "\t}", "\treturn 0;", "}"]


def main() -> int:
    """See the module."""
    return generated.main(HEADER, header, COMMAND, __doc__)


if __name__ == "__main__":
    sys.exit(main())
