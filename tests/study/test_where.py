"""Conditions over settings: what they say, what they refuse."""

from typing import Any

import pytest

from espalier.errors import ConfigError
from espalier.records import RunSpec, run_id
from espalier.study.where import Condition, matching

VALUES: dict[str, Any] = {
    "bits": 4,
    "gamma": 0.5,
    "update": "hybrid",
    "augment": True,
    "limit_train": None,
    "model_options.hidden": [64, 32],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bits==4 and gamma>=0.5", True),
        ("bits == 4 and gamma > 0.5", False),
        ("bits in (3, 4)", True),
        ("bits not in [3, 4] or update == 'hybrid'", True),
        ("not augment", False),
        ("augment == true", True),
        ("0.25 <= gamma < 0.5", False),
        ("gamma > -1", True),
        ("limit_train == None", True),
        ("limit_train > 5", False),
        ("model_options.hidden == [64, 32]", True),
        ("  bits == 4  ", True),
    ],
)
def test_conditions(text: str, expected: bool) -> None:
    """Each says what Python would say."""
    assert Condition(text).holds(VALUES) is expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "bits.__class__.__base__",
        "[x for x in (1,)]",
        "(lambda: 1)()",
        "bits + 1 == 5",
        "bits if gamma else 3",
        "f'{bits}'",
        "bits[0]",
        "bits == b'4'",
        "bits is 4",
        "1 << 40",
        "~bits",
        "{1: 2}",
    ],
)
def test_what_is_no_comparison_is_refused(text: str) -> None:
    """Nothing that could run code, or grow, is part of a condition."""
    with pytest.raises(ConfigError, match="can't be part of a condition; expected comparisons"):
        Condition(text)


@pytest.mark.parametrize("text", ["", "bits ==", "bits = 4", "bits == 4; gamma", "(" * 500, "a\0"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    """The message says what a condition is."""
    with pytest.raises(ConfigError, match="not a condition; expected comparisons"):
        Condition(text)


def test_values_that_do_not_compare_are_refused() -> None:
    """A number isn't more or less than a word."""
    with pytest.raises(ConfigError, match="4 and 'four' can't be compared"):
        Condition("bits < 'four'").holds(VALUES)
    with pytest.raises(ConfigError, match="-'hybrid': expected a number"):
        Condition("-update == 3").holds(VALUES)


def test_matching_picks_cells() -> None:
    """Cells keep their order."""
    specs = {run_id(spec): spec for spec in (RunSpec(bits=b) for b in (8, 4, 32))}

    found = matching(specs, "bits >= 8", what="--where")

    assert [spec.bits for spec in found.values()] == [8, 32]


def test_matching_nothing_is_an_error() -> None:
    """So is a name that no cell knows, even behind an `or`."""
    specs = {"x": RunSpec(bits=8)}
    with pytest.raises(ConfigError, match=r"--where 'bits==4' matches none of the 1 cells"):
        matching(specs, "bits==4", what="--where")
    with pytest.raises(ConfigError, match=r"no setting 'gama'. Did you mean 'gamma'"):
        matching(specs, "bits == 8 or gama == 1", what="--where")
