"""`naming`: an OSError gets its `filename`."""

from __future__ import annotations

import gc
import weakref

import pytest

from rsyscall.near.naming import naming


def test_an_error_gets_its_names() -> None:
    first, second = object(), object()
    with pytest.raises(FileNotFoundError) as caught, naming(first, second):
        raise FileNotFoundError(2, "not there")
    assert (caught.value.filename, caught.value.filename2) == (first, second)


def test_a_second_name_of_none_is_no_name() -> None:
    for names in (("path",), ("path", None)):
        with pytest.raises(OSError) as caught, naming(*names):
            raise OSError(2, "not there")
        assert str(caught.value) == "[Errno 2] not there: 'path'"


def test_other_exceptions_pass() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, naming("path"):
        raise KeyboardInterrupt
    assert not hasattr(caught.value, "filename")
    with naming("path") as nothing:
        pass
    assert nothing is None


def test_an_error_that_takes_no_name_is_not_hidden() -> None:
    class Stubborn(OSError):
        @property
        def filename(self) -> None:  # type: ignore[override]  # the attribute of the base can be set
            return None

    with pytest.raises(AttributeError) as caught, naming("path"):
        raise Stubborn(2, "not there")
    assert isinstance(caught.value.__context__, Stubborn)


def test_a_cycle_through_it_is_collected() -> None:
    class Owner:
        pass

    owner = Owner()
    owner.naming = naming(owner)  # type: ignore[attr-defined]  # as a coroutine that is kept by its handle
    ref = weakref.ref(owner)
    del owner
    gc.collect()
    assert ref() is None


def test_arguments() -> None:
    for names in ((), (1, 2, 3)):
        with pytest.raises(TypeError):
            naming(*names)
