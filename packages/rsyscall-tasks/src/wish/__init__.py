"""Ask for a value of a type: most often, ask a person.

A program that comes to a point for which there is no code yet, or at which a person should decide, wishes for
a value:

    size = await wish(Wish(int, "how many workers?"))

A `WishGranter` fulfils it. The one in `my_wish_granter` is asked; `rsyscall.wish` has granters that give the
person a Python prompt in the frame that made the wish.
"""

from __future__ import annotations

import contextvars
import inspect
import sys
import types
from typing import Generic, TypeVar

__all__ = ["Wish", "WishGranter", "my_wish_granter", "wish"]

T = TypeVar("T")


class Wish(BaseException, Generic[T]):
    """A wish for a value; an exception, so that it can say from where and why it was made.

    Args:
        return_type: of the value.
        args: what it is about, as for other exceptions.

    Attributes:
        return_type: as given.
        __traceback__: the stack that made it; the frame of the caller of `wish` is the last one.
    """

    return_type: type[T]

    def __init__(self, return_type: type[T], *args: object) -> None:
        super().__init__(*args)
        self.return_type = return_type


class WishGranter:
    """Fulfils wishes."""

    async def wish(self, wish: Wish[T]) -> T:
        """Return a value of `wish.return_type`."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method wish")


my_wish_granter: contextvars.ContextVar[WishGranter] = contextvars.ContextVar("wish_granter")
"""Who fulfils the wishes of this context."""


def _frames_to_traceback(frames: list[types.FrameType]) -> types.TracebackType | None:
    """A traceback as if an exception had come through these frames; the outermost is first."""
    traceback = None
    for frame in reversed(frames):
        traceback = types.TracebackType(traceback, frame, max(frame.f_lasti, 0), frame.f_lineno or 1)
    return traceback


async def wish(wish: Wish[T], *, from_exn: BaseException | bool | None = False) -> T:
    """Have a wish fulfilled.

    Args:
        wish: gets the stack of the caller as its traceback. It is not to be raised.
        from_exn: because of which exception, as in `raise ... from`. By default the one that is being handled
            is the context of the wish; True makes that one its cause, None says that there is none.

    Raises:
        Wish: there is no granter in this context: the wish itself.
        TypeError: `wish` is no `Wish`.
        BaseException: what the granter raises.
    """
    if not isinstance(wish, Wish):
        raise TypeError(f"wish: expected a Wish, not {wish!r}")
    handled = sys.exc_info()[1]
    if from_exn is False:
        wish.__context__ = handled
    elif from_exn is True:
        wish.__cause__ = handled
    elif from_exn is None or isinstance(from_exn, BaseException):
        wish.__cause__ = from_exn
    else:
        raise TypeError(f"from_exn: expected an exception, None or a bool, not {from_exn!r}")
    granter = my_wish_granter.get(None)
    if granter is None:
        raise wish
    frames = []
    frame = inspect.currentframe()
    while frame is not None and (frame := frame.f_back) is not None:
        frames.append(frame)
    wish.__traceback__ = _frames_to_traceback(frames[::-1])
    return await granter.wish(wish)
