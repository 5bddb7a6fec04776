"""The compressed weight: codes decode to the written weights, bit for bit."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from espalier.encoded import Encoded, Raw, Table, Uniform, decode, encode
from espalier.errors import ConfigError, NonFiniteError

quick = settings(deadline=None, derandomize=True, max_examples=80)

SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
steps = st.floats(2.0**-126, 2.0**100, width=32)


def same_bits(a, b):
    """Whether two float32 arrays hold the same bits in the same shape."""
    return (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


def on_grid(codes, step):
    """Return the float32 values of these codes, as a pass writes them."""
    return codes.astype(np.float32) * np.float32(step) + np.float32(0)


# ---- there and back -----------------------------------------------------------------------------


@quick
@given(codes=arrays(np.int64, SHAPES, elements=st.integers(-1000, 1000)), step=steps)
def test_weights_on_a_grid_become_their_codes(codes, step):
    """Each nonzero is its integer, in C order; the mask is where they are."""
    weights = on_grid(codes, step)
    encoded = encode(weights, step=step, bits=11)
    assert same_bits(decode(encoded), weights)
    assert np.array_equal(encoded.mask, codes != 0)
    if codes.any():
        assert encoded.grid == Uniform(step)
        assert encoded.codes.tolist() == codes[codes != 0].tolist()
        assert encoded.codes.dtype == np.int64


@quick
@given(weights=arrays(np.float32, SHAPES, elements=finite), step=st.just(0.0) | steps)
def test_any_weights_come_back(weights, step):
    """Whatever the weights and the step, decoding gives their bits, but for the sign of zeros."""
    before = weights.copy()
    encoded = encode(weights, step=step)
    assert same_bits(decode(encoded), weights + np.float32(0))
    assert same_bits(weights, before)
    assert encoded.grid in (Raw(), Uniform(step))
    assert encoded.codes.dtype == (np.float32 if encoded.grid == Raw() else np.int64)


@quick
@given(weights=arrays(np.float32, SHAPES, elements=finite | st.sampled_from([0.0, -0.0])))
def test_counts(weights):
    """Shape, size and nonzeros are the tensor's; kept is the nonzeros where it is not said."""
    encoded = encode(weights, step=0)
    assert (encoded.shape, encoded.size) == (weights.shape, weights.size)
    assert encoded.nonzero == encoded.kept == np.count_nonzero(weights) == encoded.mask.sum()
    assert encoded.codes.shape == (encoded.nonzero,)
    assert encoded.mask.dtype == np.bool_


def test_zeros_lose_their_sign():
    """A decoded zero is +0."""
    decoded = decode(encode(np.float32([-0.0, 1, 0.0]), step=1))
    assert not np.signbit(decoded).any()


def test_a_scalar():
    """A tensor without dimensions has one weight or none."""
    for value, codes in ((3.0, [2]), (0.0, []), (-0.0, [])):
        encoded = encode(np.array(value, np.float32), step=1.5)
        assert encoded.shape == ()
        assert encoded.codes.tolist() == codes
        assert decode(encoded).shape == ()
        assert decode(encoded) == value


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
def test_no_entries(shape):
    """A tensor without entries has no codes."""
    encoded = encode(np.zeros(shape, np.float32), step=0.5, bits=4)
    assert (encoded.size, encoded.nonzero, encoded.kept, encoded.bits) == (0, 0, 0, 4)
    assert decode(encoded).shape == shape


def test_all_zero_has_no_grid():
    """Without a nonzero there is nothing to put on a grid."""
    encoded = encode(np.zeros((2, 3), np.float32), step=0.5, kept=6)
    assert (encoded.grid, encoded.nonzero, encoded.kept) == (Raw(), 0, 6)


def test_memory_order_does_not_matter():
    """Codes come in C order of the tensor, whatever its strides."""
    weights = np.float32([[1, 2, 3], [0, 5, 6]])
    for view in (np.asfortranarray(weights), np.repeat(weights, 2, 1)[:, ::2]):
        encoded = encode(view, step=1)
        assert encoded.codes.tolist() == [1, 2, 3, 5, 6]
        assert same_bits(decode(encoded), weights)


def test_codes_are_copies():
    """Later changes to the weights don't reach their codes."""
    for step in (0, 1):
        weights = np.float32([1, 0, 2])
        encoded = encode(weights, step=step)
        weights[:] = 9
        assert decode(encoded).tolist() == [1, 0, 2]


# ---- raw ----------------------------------------------------------------------------------------


def test_weights_off_the_grid_are_raw():
    """One weight that no integer gives is enough."""
    weights = np.float32([0.5, 1.0, 1.25])
    encoded = encode(weights, step=0.5, bits=3)
    assert (encoded.grid, encoded.codes.tolist(), encoded.bits) == (Raw(), [0.5, 1, 1.25], 3)


def test_a_weight_that_would_round_to_code_zero_is_raw():
    """A nonzero smaller than half a step is no zero."""
    weights = np.float32([0.2, 1.0])
    assert encode(weights, step=1).grid == Raw()
    assert same_bits(decode(encode(weights, step=1)), weights)


@pytest.mark.parametrize("step", [0.0, -1.0, 1e-45, 1e-38, 3.4e38, np.inf, np.nan])
def test_steps_at_the_ends_of_float32(step):
    """No step makes a warning, an error or other weights."""
    for values in ([1e-45, 1.0], [3.4028235e38, -3.3e38], [1e38], [2.5e-45, -1e-40]):
        weights = np.float32(values)
        assert same_bits(decode(encode(weights, step=step)), weights)


def test_codes_beyond_what_float32_counts():
    """Codes of more than 24 bits are kept where they decode exactly, else the values are."""
    step = np.float32(1e-7)
    weights = on_grid(np.array([2**24, 2**24 + 2, -(2**30), 3]), step)
    encoded = encode(weights, step=step, bits=31)
    assert encoded.grid == Uniform(float(step))
    assert same_bits(decode(encoded), weights)
    assert encode(np.float32([1e25]), step=1).grid == Raw()  # no int64 holds it


def test_the_step_is_float32():
    """A step given in float64 is the float32 that the pass used."""
    encoded = encode(np.float32([0.1, -0.2]), step=0.1)
    assert encoded.grid == Uniform(float(np.float32(0.1)))
    assert encoded.codes.tolist() == [1, -2]


# ---- tables -------------------------------------------------------------------------------------


def test_a_table_is_looked_up():
    """Codes of a table are places in it."""
    mask = np.array([[True, False], [True, True]])
    grid = Table((-1.5, 0.25, 3.0))
    encoded = Encoded(mask, np.array([2, 0, 1]), grid, bits=2, kept=3)
    assert decode(encoded).tolist() == [[3.0, 0.0], [-1.5, 0.25]]
    assert decode(encoded).dtype == np.float32


def test_an_empty_table():
    """A tensor without nonzeros needs no levels."""
    encoded = Encoded(np.zeros(3, bool), np.zeros(0, np.int64), Table(()), bits=1, kept=0)
    assert decode(encoded).tolist() == [0, 0, 0]


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(value):
    """No code stands for NaN or infinity."""
    with pytest.raises(NonFiniteError, match="weights to encode hold NaN or infinity"):
        encode(np.float32([1, value]), step=1)


@pytest.mark.parametrize("kept", [-1, 0, 1, 4])
def test_kept_out_of_bounds(kept):
    """What was kept is at least the nonzeros and at most all."""
    with pytest.raises(ConfigError, match=rf"kept={kept} lies outside \[2, 3\]: it counts"):
        encode(np.float32([1, 0, 2]), step=1, kept=kept)


def test_a_record_is_frozen():
    """Its fields can't be replaced."""
    encoded = encode(np.float32([1]), step=1)
    with pytest.raises(AttributeError):
        encoded.bits = 3


@pytest.mark.parametrize("module", ["encoded", "errors"])
def test_a_device_needs_no_torch(module):
    """Reading codes loads numpy at most."""
    code = f"import sys, espalier.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
