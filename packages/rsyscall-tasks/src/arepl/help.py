"""The text that `help` shows."""

from __future__ import annotations

import contextlib
import pydoc
from typing import Any

__all__ = ["Output", "help_to_str"]


class Output:
    """A text that is written bit by bit, as to a file.

    Attributes:
        text: what has been written.
    """

    def __init__(self) -> None:
        self.text: str = ""

    def write(self, s: str) -> None:
        """Add to the text."""
        self.text += s

    def flush(self) -> None:
        """Do nothing: there is no buffer."""


def help_to_str(request: Any) -> str:
    """What `help(request)` would show, without a pager.

    Args:
        request: an object, or the name of a module, a keyword or a topic.
    """
    output = Output()
    # Python 3.10 prints to standard output that there is nothing.
    with contextlib.redirect_stdout(output):  # type: ignore[type-var]  # it is only written to
        pydoc.Helper(output=output).help(request)  # type: ignore[arg-type]  # likewise
    return output.text
