"""Tensors of every kind that a file can hold."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from espalier.encoded import Encoded, Raw, Table, Uniform

__all__ = ["dense", "encoded", "networks"]

SHAPES = ((), (0,), (1,), (7,), (40,), (5, 9), (1, 30), (30, 1), (6, 0, 3), (4, 3, 5), (6, 4, 3, 3))
SHAPES += ((5, 2, 5, 5), (3, 1, 3, 1), (2, 2, 2, 2, 2))


@st.composite
def encoded(draw: st.DrawFn) -> Encoded:
    """Return compressed weights: any shape, density, bits and grid, structured or not."""
    shape = draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random(shape) < draw(st.sampled_from((0.0, 0.03, 0.3, 0.8, 1.0)))
    if len(shape) > 1 and draw(st.booleans()):
        mask &= (rng.random(shape[0]) < 0.6).reshape(-1, *(1,) * (len(shape) - 1))
        mask &= rng.random(shape[1:]) < 0.6
    nonzero = int(mask.sum())
    bits = draw(st.integers(1, 32))
    kept = draw(st.integers(nonzero, mask.size))
    match draw(st.sampled_from(("uniform", "uniform", "table", "raw"))):
        case "uniform":
            least = draw(st.sampled_from((1, 1, 2, 9, 2**40)))
            spread = draw(st.sampled_from((1, 3, 7, 127, 2**31, 2**61)))
            codes = rng.integers(least, least + spread, nonzero, endpoint=True)
            codes *= rng.choice((-1, 1), nonzero)
            step = draw(st.sampled_from((1e-3, 0.25, 1.0, 2.0**-149, 3.5e-20)))
            return Encoded(mask, codes, Uniform(float(np.float32(step))), bits, kept)
        case "table":
            count = draw(st.integers(1, 20))
            levels = tuple(float(x) for x in np.float32(rng.normal(size=count)))
            return Encoded(mask, rng.integers(0, count, nonzero), Table(levels), bits, kept)
        case _:
            values = rng.normal(size=nonzero).astype(np.float32)
            return Encoded(mask, values, Raw(), bits, kept)


@st.composite
def dense(draw: st.DrawFn) -> Any:
    """Return an array of a type that a file holds."""
    shape = draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from((np.float32, np.float16, np.int64, np.uint8)))
    return (rng.normal(size=shape) * 50).astype(kind)


networks = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.one_of(encoded(), dense()),
    max_size=4,
)
"""Tensors by name."""
