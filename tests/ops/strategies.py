"""What hypothesis draws: float32 weights as training, and malice, would have them."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

__all__ = ["moderate_weights", "quick", "thorough", "weights"]

quick = settings(
    deadline=None,
    derandomize=True,
    max_examples=15,
    # one back end for all examples of a test is what we mean
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""The same few examples on every machine; each goes through many rows of the table."""

thorough = settings(quick, max_examples=150)
"""Many more, for tests that are marked slow."""

SHAPES = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)

ordinary = st.floats(-8, 8, width=32)
ties = st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.0, 2.5, -2.5, 3.0])
subnormal = st.floats(-(2.0**-120), 2.0**-120, width=32)
huge = st.floats(allow_nan=False, allow_infinity=False, width=32)


def _arrays(*elements):
    return st.one_of([arrays(np.float32, SHAPES, elements=e) for e in elements])


def weights():
    """Any finite weights: ordinary ones, many ties and zeros, subnormal and huge ones, mixtures."""
    return _arrays(ordinary, ties, subnormal, huge, ordinary | ties, ordinary | ties | huge)


def moderate_weights():
    """Weights that stay normal when scaled by a moderate power of two."""
    sensible = st.floats(2.0**-10, 8, width=32) | st.floats(-8, -(2.0**-10), width=32)
    return _arrays(sensible, ties, sensible | ties)
