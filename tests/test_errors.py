"""Errors: one root, a class per kind, and the nearest name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier import errors
from espalier.errors import EspalierError, nearest

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "nearest"]
ERRORS = [c for c in CLASSES if issubclass(c, Exception) and not issubclass(c, Warning)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda c: c.__name__)
def test_one_root(error):
    """Who catches the root catches all of them, with their message."""
    with pytest.raises(EspalierError, match="asked, found, to do"):
        raise error("asked, found, to do")


@pytest.mark.parametrize("name", ["ConfigError", "SelectionError", "NonFiniteError", "DataError"])
def test_faults_of_an_argument_are_value_errors(name):
    """Who knows nothing of Espalier catches what he would of others."""
    assert issubclass(getattr(errors, name), ValueError)


def test_what_others_would_catch():
    """A wrong optimizer is a TypeError, a full disk an OSError, a warning a warning."""
    assert issubclass(errors.UnsupportedOptimizerError, TypeError)
    assert issubclass(errors.StorageError, OSError)
    assert issubclass(errors.DeadLayerWarning, UserWarning)
    assert not issubclass(errors.DeadLayerWarning, EspalierError)


def test_every_class_says_when():
    """Each has a docstring of its own, and names what it is."""
    for c in CLASSES:
        assert c.__doc__
        assert c.__name__.endswith(("Error", "Warning"))
    assert len({c.__doc__ for c in CLASSES}) == len(CLASSES)


def test_all_are_exported():
    """No class is left out of ``__all__``."""
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    defined = {c.__name__ for c in classes if c.__module__ == errors.__name__}
    assert defined <= set(errors.__all__)


def test_nearest_suggests_the_one_name():
    """A slip of the finger is understood, something else is not."""
    known = ["nearest", "floor", "stochastic"]
    assert nearest("flor", known) == " Did you mean 'floor'?"
    assert nearest("Stochastic", known) == " Did you mean 'stochastic'?"
    assert nearest("banana", known) == ""
    assert nearest("floor", []) == ""
    assert nearest("", known) == ""


def test_nearest_takes_what_can_be_gone_through_once():
    """Names may come as a dict, a set or a generator."""
    assert nearest("flor", {"floor": 1}) == " Did you mean 'floor'?"
    assert nearest("flor", (name for name in ("ceil", "floor"))) == " Did you mean 'floor'?"


@settings(deadline=None, derandomize=True, max_examples=50)
@given(asked=st.text(max_size=12), known=st.lists(st.text(max_size=12), max_size=6))
def test_nearest_names_a_known_one_or_nothing(asked, known):
    """It never makes a name up, and knows a name that is there."""
    suggestion = nearest(asked, known)
    assert suggestion in {""} | {f" Did you mean '{name}'?" for name in known}
    if asked and asked in known:
        assert suggestion == f" Did you mean '{asked}'?"
