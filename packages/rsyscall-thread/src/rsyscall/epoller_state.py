"""What we believe about the readiness of one edge-triggered registration: a value, without I/O.

Edge-triggered epoll tells each change once. We have to remember it until an operation has proved it stale,
and three things make that harder than one bit per direction:

* **The order is lost.** `epoll_wait` runs in another process, or at least in another task, than the
  operations. "The read found nothing; data arrived; the event reached us; the read's EAGAIN reached us" must
  not end with the event erased. So every event gets a time (a counter, not a clock), an operation remembers
  the time at which it was *started*, and its EAGAIN forgets only what had been told by then.
* **An operation proves readiness too.** A successful one counts as an event: it may have used up an edge that
  epoll will therefore never report, and a slower EAGAIN of another task must not erase what it showed.
* **EAGAIN is about everything the operation listens to.** A HUP that a socket reported before it was
  connected must not make its reads spin; so EAGAIN forgets all the flags of the operation, not the one it
  wanted.

The first guess of an `AsyncFileDescriptor` is optimistic (IN and OUT): it saves a wait, and an operation in a
direction that the file does not have fails at once with EBADF instead of sleeping for ever.

Rule that the tests check: *whatever the order of deliveries, when the file is ready and everything has been
delivered, the state says ready.* The opposite, ready although the file is not, costs one EAGAIN.
"""

from __future__ import annotations

import typing as t

from rsyscall.sys.epoll import EPOLL

__all__ = ["FDStatus", "RemovedFromEpollError"]


class RemovedFromEpollError(Exception):
    """The registration that was waited on was deleted, because its file descriptor was closed or
    deregistered.
    """


# The single flags in a set of them, as integers; sets repeat, so they are computed once.
_SINGLE_FLAGS: dict[int, tuple[int, ...]] = {}


def _single_flags(flags: int) -> tuple[int, ...]:
    known = _SINGLE_FLAGS.get(flags)
    if known is None:
        known = tuple(1 << shift for shift in range(flags.bit_length()) if flags & (1 << shift))
        _SINGLE_FLAGS[flags] = known
    return known


class FDStatus:
    """The believed readiness of one registration.

    Flags are taken as any integer and kept as plain ones: arithmetic on `EPOLL` members costs more than the
    rest of an operation together. Equality compares the mask only.

    Args:
        mask: what to believe ready from the start.
    """

    __slots__ = ("_latest", "_mask", "_unconsumed", "now")

    def __init__(self, mask: EPOLL = EPOLL.NONE) -> None:
        self._mask = int(mask)
        # Flags told by an event that no operation has consumed yet.
        self._unconsumed = 0
        # When each single flag was last told; a flag that was never told is not in it.
        self._latest: dict[int, int] = {}
        self.now: int = 0
        """The time: the number of things told so far. Read it before an operation is sent."""

    @property
    def mask(self) -> EPOLL:
        """The flags believed ready."""
        return EPOLL(self._mask)

    def ready(self, flags: int) -> bool:
        """Whether an operation that waits for any of `flags` should be tried now."""
        return (self._mask | self._unconsumed) & flags != 0

    def posedge(self, event: int) -> None:
        """Believe `event` ready."""
        self._mask |= event

    def negedge(self, event: int) -> None:
        """Stop believing `event` ready, except as far as an event not yet consumed says so."""
        self._mask &= ~event

    def told(self, flags: int) -> None:
        """An event with `flags` was reported by epoll."""
        now = self.now = self.now + 1
        self._mask |= flags
        self._unconsumed |= flags
        latest = self._latest
        for flag in _single_flags(flags):
            latest[flag] = now

    def current_events(self, flags: int) -> dict[EPOLL, int]:
        """When each of `flags` was last told, 0 for never: the argument of a later `consume`."""
        return {EPOLL(flag): self._latest.get(flag, 0) for flag in _single_flags(flags)}

    def consume(self, events: t.Mapping[EPOLL, int]) -> None:
        """The events in `events`, from `current_events`, have been acted on; later ones of the same flags
        stay.
        """
        for flag, time in events.items():
            if self._latest.get(int(flag), 0) <= time:
                self._unconsumed &= ~flag

    def would_block(self, flags: int, started: int) -> None:
        """An operation that listens to `flags`, sent at the time `started`, had to be told EAGAIN."""
        latest = self._latest
        for flag in _single_flags(flags):
            if latest.get(flag, 0) <= started:
                self._mask &= ~flag
                self._unconsumed &= ~flag

    def succeeded(self, flags: int, started: int, proved: int) -> bool:
        """An operation that listens to `flags`, sent at the time `started`, succeeded, which proves `proved`
        ready.

        Args:
            proved: one single flag, the direction of the operation.

        Returns:
            Whether `proved` was not believed before: then there may be a task to wake.
        """
        self._consume_until(flags, started)
        now = self.now = self.now + 1
        self._latest[proved] = now
        if self._mask & proved:
            return False
        self._mask |= proved
        return True

    def failed(self, flags: int, started: int) -> None:
        """An operation that listens to `flags`, sent at the time `started`, failed with anything but
        EAGAIN.
        """
        self._consume_until(flags, started)
        # The next operation must report what is wrong with the file, and not sleep.
        self._mask |= EPOLL.ERR.value

    def clear(self) -> None:
        """Believe nothing ready: the registration is gone."""
        self._mask = 0
        self._unconsumed = 0

    def _consume_until(self, flags: int, started: int) -> None:
        stale = self._unconsumed & flags
        if stale:
            latest = self._latest
            for flag in _single_flags(stale):
                if latest[flag] <= started:
                    self._unconsumed &= ~flag

    def __eq__(self, other: object) -> bool:
        return self._mask == other._mask if isinstance(other, FDStatus) else NotImplemented

    __hash__: t.ClassVar[None] = None  # type: ignore[assignment]  # mutable, compared by value

    def __repr__(self) -> str:
        return f"FDStatus({self.mask!r})"
