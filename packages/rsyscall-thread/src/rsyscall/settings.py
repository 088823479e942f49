"""What environment variables say about how processes are driven."""

from __future__ import annotations

import os

__all__ = ["SPIN_US", "spin_budgets", "transport_name"]

SPIN_US = 100.0
"""Default spin budget of either side, in microseconds: what waking a sleeping process costs."""


def spin_budgets() -> tuple[float, float]:
    """How long client and server spin before they sleep, in microseconds.

    From the environment variable RSYSCALL_SPIN_US, one number or two separated by a comma (client, server).
    By default zero where only one processor is available: what we would wait for could not happen meanwhile.

    Raises:
        ValueError: the variable is not understood.
    """
    setting = os.environ.get("RSYSCALL_SPIN_US")
    if setting is None:
        try:
            processors = len(os.sched_getaffinity(0))
        except OSError:  # denied
            processors = os.cpu_count() or 1
        client = server = SPIN_US if processors > 1 else 0.0
        return client, server
    try:
        numbers = [float(number) for number in setting.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(0 <= number < 1e6 for number in numbers):
        raise ValueError(
            f"RSYSCALL_SPIN_US is {setting!r}; expected one or two numbers of microseconds below 1e6"
        )
    return numbers[0], numbers[-1]


def transport_name() -> str:
    """How processes are driven that can have a ring: "ring", or "stream" if RSYSCALL_TRANSPORT says so.

    Raises:
        ValueError: the variable is not understood.
    """
    # Each spawn asks. The dictionary behind os.environ says at once that there is no such variable, where
    # os.environ raises and catches an exception.
    variables = vars(os.environ).get("_data")
    if type(variables) is dict and b"RSYSCALL_TRANSPORT" not in variables:
        return "ring"
    name = os.environ.get("RSYSCALL_TRANSPORT", "ring")
    if name not in ("ring", "stream"):
        raise ValueError(f"RSYSCALL_TRANSPORT is {name!r}; expected 'ring' or 'stream'")
    return name
