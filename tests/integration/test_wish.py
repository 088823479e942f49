"""`wish`: asking for a value of a type."""

from __future__ import annotations

import contextvars
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from wish import Wish, WishGranter, my_wish_granter, wish


class Genie(WishGranter):
    """Gives a value, and keeps the wishes."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.wishes: list[Wish[Any]] = []

    async def wish(self, wish: Wish[Any]) -> Any:
        self.wishes.append(wish)
        return self.value


@pytest.fixture
def genie() -> Iterator[Genie]:
    genie = Genie(7)
    token = my_wish_granter.set(genie)
    yield genie
    my_wish_granter.reset(token)


async def make_a_wish(**options: Any) -> int:
    secret = 5
    return await wish(Wish(int, "how many?", secret), **options)


async def test_wish_has_the_stack_of_its_caller(genie: Genie) -> None:
    assert await make_a_wish() == 7
    (made,) = genie.wishes
    assert made.return_type is int
    assert made.args == ("how many?", 5)
    *_, (frame, _) = traceback.walk_tb(made.__traceback__)
    assert frame.f_code.co_name == "make_a_wish"
    assert frame.f_locals["secret"] == 5
    text = "".join(traceback.format_exception(type(made), made, made.__traceback__))
    assert "await wish(Wish(int" in text
    assert text.index("test_wish_has_the_stack_of_its_caller") < text.index("in make_a_wish")


async def test_why_a_wish_was_made(genie: Genie) -> None:
    cause = KeyError("why")
    await make_a_wish(from_exn=cause)
    assert genie.wishes[-1].__cause__ is cause
    try:
        raise cause
    except KeyError:
        await make_a_wish()
        assert genie.wishes[-1].__context__ is cause
        assert genie.wishes[-1].__cause__ is None
        await make_a_wish(from_exn=True)
        assert genie.wishes[-1].__cause__ is cause
        await make_a_wish(from_exn=None)
        assert genie.wishes[-1].__context__ is None or genie.wishes[-1].__suppress_context__


async def test_misuse(genie: Genie) -> None:
    not_one: Any = 5
    with pytest.raises(TypeError, match="expected a Wish"):
        await wish(not_one)
    with pytest.raises(TypeError, match="from_exn"):
        await wish(Wish(int), from_exn=not_one)
    with pytest.raises(NotImplementedError):
        await WishGranter().wish(Wish(int))


def test_wish_without_a_granter_is_raised() -> None:
    made = Wish(int, "x")
    with pytest.raises(Wish) as caught:
        contextvars.Context().run(wish(made).send, None)
    assert caught.value is made
