"""Schedules: exact ends, bounds between them, and operators that read the state's step."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.errors import ConfigError
from espalier.ops import (
    Chain,
    Cubic,
    GlobalMagnitude,
    Linear,
    PruneThenQuantize,
    QuantizeThenPrune,
    StdThreshold,
    UniformQuantizer,
    value_at,
)

from .strategies import quick

KINDS = [Linear, Cubic]
values = st.floats(0, 10)


@st.composite
def ramps(draw):
    """Any ramp between two values."""
    start_step = draw(st.integers(0, 1000))
    return draw(st.sampled_from(KINDS))(
        start=draw(values),
        end=draw(values),
        start_step=start_step,
        end_step=start_step + draw(st.integers(1, 1000)),
    )


@quick
@given(ramp=ramps(), away=st.integers(0, 10**9))
def test_the_ends_are_exact(ramp, away):
    """Up to the first step and from the last on, the value is the one that was given."""
    assert ramp(ramp.start_step) == ramp(max(0, ramp.start_step - away)) == ramp.start
    assert ramp(ramp.end_step) == ramp(ramp.end_step + away) == ramp.end


@quick
@given(ramp=ramps())
def test_it_goes_one_way_and_stays_between(ramp):
    """From end to end it never turns and never leaves, to within float64's last bits."""
    seen = [ramp(step) for step in range(ramp.start_step, ramp.end_step + 1)]
    way = 1 if ramp.end >= ramp.start else -1
    slack = 1e-15 * max(ramp.start, ramp.end)
    assert all(way * (b - a) >= -slack for a, b in pairwise(seen))
    low, high = sorted((ramp.start, ramp.end))
    assert low - slack <= min(seen) <= max(seen) <= high + slack
    assert min(seen) >= 0


@quick
@given(start=st.floats(0, 1), end=st.floats(0, 1), step=st.integers(0, 100))
def test_a_density_stays_a_fraction(start, end, step):
    """No rounding takes a ramp between fractions out of 0 to 1."""
    for kind in KINDS:
        assert 0 <= kind(start=start, end=end, end_step=100)(step) <= 1


def test_a_constant_ramp_is_constant():
    """Between equal ends nothing moves, not even a last bit."""
    for kind in KINDS:
        ramp = kind(start=0.1, end=0.1, end_step=7)
        assert {ramp(step) for step in range(9)} == {0.1}


def test_halfway():
    """Linear is halfway at half time; cubic has an eighth of its way left."""
    assert Linear(start=1, end=3, start_step=10, end_step=20)(15) == 2
    assert Cubic(start=1, end=9, start_step=10, end_step=20)(15) == 8


def test_value_at_takes_both():
    """A setting is a number or a ramp."""
    assert value_at(0.25, 1000) == 0.25
    assert value_at(Linear(start=0, end=1, end_step=4), 1) == 0.25


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("kind", KINDS)
def test_operators_read_the_step_of_the_state(kind):
    """Each pass uses the value of its own step, the first pass that of step 0."""
    w = {"w": torch.linspace(-1, 1, 101)}
    gamma = kind(start=0.2, end=1.2, start_step=1, end_step=3)
    both = partial(PruneThenQuantize, bits=4), partial(QuantizeThenPrune, bits=4)
    for constant in (StdThreshold, *both):
        scheduled = constant(gamma=gamma)
        state = scheduled.init(w)
        for step in range(5):
            assert state.step == step
            written, state = scheduled.apply(w, state)
            same = constant(gamma=gamma(step))(w["w"])
            assert torch.equal(written["w"], same)


@pytest.mark.usefixtures("backend")
def test_a_budget_shrinks_with_the_step():
    """A scheduled density gives its budget at each step, and says so."""
    density = Cubic(start=1.0, end=0.1, end_step=4)
    op = Chain(prune=GlobalMagnitude(density=density), quantize=UniformQuantizer(bits=4))
    w = {"w": torch.linspace(-1, 1, 1000)}
    state = op.init(w)
    for step in range(6):
        _, state = op.apply(w, state)
        assert state.written.kept.item() == int(density(step) * 1000 + 0.5)
        assert op.asked_density(step) == density(step)
    assert state.written.kept.item() == 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": float("nan"), "end": 1, "end_step": 5}, "an end that is not finite"),
        ({"start": 0, "end": float("inf"), "end_step": 5}, "give two finite numbers"),
        ({"start": 0, "end": 1, "end_step": 0}, r"start_step=0 to end_step=0; give 0 <= start_"),
        ({"start": 0, "end": 1, "start_step": 9, "end_step": 5}, "start_step=9 to end_step=5"),
        ({"start": 0, "end": 1, "start_step": -1, "end_step": 5}, "start_step=-1 to end_step=5"),
    ],
)
def test_what_is_no_ramp_is_refused(kind, settings, message):
    """Ends must be finite and steps in order."""
    with pytest.raises(ConfigError, match=message):
        kind(**settings)


@pytest.mark.parametrize("kind", KINDS)
def test_ramps_out_of_bounds_are_refused_by_operators(kind):
    """Both ends must be values that the operator takes."""
    with pytest.raises(ConfigError, match=r"gamma is -0\.5"):
        StdThreshold(gamma=kind(start=0.5, end=-0.5, end_step=5))
    with pytest.raises(ConfigError, match=r"density is 1\.5"):
        GlobalMagnitude(density=kind(start=1.5, end=0.5, end_step=5))
    with pytest.raises(ConfigError, match=r"gamma is -1"):
        PruneThenQuantize(gamma=kind(start=-1, end=0.5, end_step=5), bits=4)
