"""Operators as plain data: there and back, and what a record must not hold."""

import json

import pytest

from espalier import ops
from espalier.errors import ConfigError
from espalier.ops import (
    Chain,
    Cubic,
    GlobalMagnitude,
    Linear,
    PruneThenQuantize,
    StdThreshold,
    UniformQuantizer,
    from_json,
    to_json,
)
from espalier.ops.base import Operator
from espalier.ops.plain import KINDS

RAMP = Cubic(start=0.1, end=0.75, start_step=10, end_step=5000)

NESTED = [
    StdThreshold(gamma=Linear(start=0.0, end=0.5, end_step=10)),
    PruneThenQuantize(gamma=RAMP, bits=4, rounding="floor", strict=True),
    Chain(
        prune=GlobalMagnitude(density=Cubic(start=1, end=0.07, end_step=3)),
        quantize=UniformQuantizer(bits=3, rounding="stochastic", random_seed=11),
    ),
]


@pytest.mark.parametrize("op", NESTED, ids=repr)
def test_schedules_and_parts_go_there_and_back(op):
    """What is nested comes back as the same value, through the text of a file."""
    assert from_json(json.loads(json.dumps(to_json(op)))) == op


def test_what_a_record_looks_like():
    """The format is fixed: records of today must be read tomorrow."""
    assert to_json(NESTED[1]) == {
        "kind": "PruneThenQuantize",
        "gamma": {
            "kind": "Cubic",
            "start": 0.1,
            "end": 0.75,
            "start_step": 10,
            "end_step": 5000,
        },
        "bits": 4,
        "rounding": "floor",
        "strict": True,
        "random_seed": 0,
    }


def test_later_settings_leave_earlier_records_as_they_were():
    """What came after the first records is written, in JSON and repr, only where it is in use."""
    plain = {"kind": "StdThreshold", "gamma": 0.5, "strict": False}
    assert to_json(StdThreshold(gamma=0.5)) == plain
    assert repr(StdThreshold(gamma=0.5)) == "StdThreshold(gamma=0.5, strict=False)"
    assert to_json(StdThreshold(gamma=0.5, zeros=False)) == {**plain, "zeros": False}


def test_settings_left_out_are_defaults():
    """A record may be as short as a call."""
    short = {"kind": "PruneThenQuantize", "gamma": 0.5, "bits": 8}
    assert from_json(short) == PruneThenQuantize(gamma=0.5, bits=8)


def test_the_plain_data_is_not_changed():
    """Reading leaves the dict as it was."""
    plain = to_json(NESTED[2])
    before = json.dumps(plain)
    from_json(plain)
    assert json.dumps(plain) == before


def test_every_operator_has_its_place():
    """Each concrete operator is known by name."""
    public = [getattr(ops, name) for name in ops.__all__]
    operators = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Operator)}
    assert operators - {Operator} <= set(KINDS.values())


def test_unknown_kind():
    """The nearest known name is suggested."""
    with pytest.raises(ConfigError, match=r"unknown operator 'StdTreshold'; known.*mean 'StdThr"):
        from_json({"kind": "StdTreshold", "gamma": 0.5})


@pytest.mark.parametrize(
    "plain", [{}, {"gamma": 0.5}, {"kind": None}, {"kind": 3}, {"kind": ["StdThreshold"]}]
)
def test_no_kind(plain):
    """A record without a name, or with something else for a name, is no operator."""
    with pytest.raises(ConfigError, match="unknown operator"):
        from_json(plain)


@pytest.mark.parametrize("plain", [None, 3, "StdThreshold", ["kind", "StdThreshold"], []])
def test_no_record(plain):
    """What is no dict is no record."""
    with pytest.raises(ConfigError, match="an operator is recorded as a dict with a 'kind', and"):
        from_json(plain)


def test_unknown_setting():
    """The settings that exist are listed, the nearest is suggested."""
    with pytest.raises(
        ConfigError, match=r"has no setting 'gama'; it has gamma, strict, .*Did you mean 'gamma'\?"
    ):
        from_json({"kind": "StdThreshold", "gama": 0.5})
    with pytest.raises(ConfigError, match="Linear has no setting 'stop'"):
        from_json({"kind": "StdThreshold", "gamma": {"kind": "Linear", "stop": 1}})


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"kind": "StdThreshold"}, "StdThreshold can't be made from {}: .*gamma"),
        ({"kind": "StdThreshold", "gamma": "0.5"}, "StdThreshold can't be made from"),
        ({"kind": "StdThreshold", "gamma": None}, "StdThreshold can't be made from"),
        ({"kind": "StdThreshold", "gamma": [0.5]}, "StdThreshold can't be made from"),
        ({"kind": "StdThreshold", "gamma": -1}, "gamma is -1"),
        ({"kind": "UniformQuantizer", "bits": 40}, "bits is 40"),
        ({"kind": "UniformQuantizer", "bits": "8"}, "bits is '8'"),
        ({"kind": "UniformQuantizer", "bits": 8, "rounding": ["floor"]}, "rounding is"),
        ({"kind": "GlobalMagnitude", "density": "half"}, "GlobalMagnitude can't be made from"),
        (
            {"kind": "StdThreshold", "gamma": {"kind": "StdThreshold", "gamma": 1}},
            "StdThreshold can't be made from",
        ),
        (
            {"kind": "Chain", "prune": "std", "quantize": {"kind": "UniformQuantizer", "bits": 8}},
            "prune is 'std', which is no pruner",
        ),
        (
            {"kind": "StdThreshold", "gamma": {"kind": "Linear", "start": 0, "end": 1}},
            "Linear can't be made from .*end_step",
        ),
    ],
)
def test_values_that_an_operator_refuses(plain, message):
    """What no operator can be made of raises ConfigError, whatever is wrong with it."""
    with pytest.raises(ConfigError, match=message):
        from_json(plain)


def test_a_schedule_is_no_operator():
    """A part of an operator does not stand alone."""
    plain = to_json(NESTED[0])["gamma"]
    with pytest.raises(ConfigError, match="Linear is no operator but a part of one"):
        from_json(plain)


def test_a_users_own_operator_has_no_place():
    """Only Espalier's operators can be read again, so only they are written."""

    class Mine(Operator):
        sweeps = ()

    with pytest.raises(
        ConfigError, match=r"Mine has no place in a record; known are Chain, Clipped"
    ):
        to_json(Mine())


def test_a_namesake_has_no_place_either():
    """A name alone does not make an operator one of Espalier's."""
    impostor = type("StdThreshold", (), {"gamma": 1})
    with pytest.raises(ConfigError, match="StdThreshold has no place in a record"):
        to_json(impostor())
