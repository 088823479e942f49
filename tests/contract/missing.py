"""What signatures.txt lists and the library does not have, or has differently, with the reason.

The contract test fails when something that is listed here exists, and when something that is not listed is
missing.
"""

from __future__ import annotations

LATER = "later"  # planned: a later part of the project adds it
REPLACED = "replaced"  # the design does the same job in another way, said beside the entry
INTERNAL = "internal"  # a detail of an earlier implementation that no caller needs
DIFFERENT = "different"  # exists with another signature, on purpose, said beside the entry

# Each entry is "module", "module:name" or "module:Class.name": (category, note).
MISSING: dict[str, tuple[str, str]] = {}
