"""Packed weights: what a slow reader finds in the units is what went in; few bytes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from espalier.encoded import encode
from espalier.export.c.packed import Packed, packed_weights
from espalier.export.c.tiles import can_cut_blocks, cut_blocks
from espalier.export.graph import Linear


def layer(values: NDArray[np.float32], step: float, signs: bool = False) -> Linear:
    filters = len(values)
    scale = np.ones(filters, np.float32)
    if signs:
        scale[::2] = -2
    weight = encode(values, step=step)
    return Linear(weight=weight, scale=scale, shift=np.arange(filters, dtype=np.float32))


def read(packed: Packed, inputs: int) -> NDArray[np.float64]:
    """Unpack one unit after the other, as the C does."""
    rows = np.zeros((packed.counts.size, inputs))
    units, values = iter(packed.units.tolist()), iter(packed.values.tolist())
    for row, count in zip(rows, packed.counts.tolist(), strict=True):
        at = 0
        for _ in range(count):
            zeros, code = divmod(next(units), packed.codes)
            if code == 0:
                at += (zeros + 1) * packed.gaps
                continue
            at += zeros
            row[at] = packed.levels[code] if packed.levels.size else next(values)
            at += 1
    assert next(units, None) is None
    return rows


@given(
    seed=st.integers(0, 1 << 30),
    density=st.sampled_from([0.0, 0.002, 0.07, 0.5, 1.0]),
    inputs=st.integers(1, 1500),
    largest=st.sampled_from([1, 7, 8, 127, 200]),
    signs=st.booleans(),
)
def test_units_hold_the_weights(
    seed: int, density: float, inputs: int, largest: int, signs: bool
) -> None:
    """Every density, gaps of any length, two units or one a weight."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-largest, largest + 1, (4, inputs))
    codes[rng.random(codes.shape) >= density] = 0
    made = layer((codes * 0.25).astype(np.float32), 0.25, signs)
    weights = packed_weights(made)
    packed = weights.packed
    assert (weights.scale > 0).all()
    products = read(packed, inputs) * weights.scale[:, None]
    assert np.array_equal(products, 0.25 * codes * made.scale[:, None])
    assert np.array_equal(packed.nonzeros, np.count_nonzero(codes, axis=1))


def test_values_without_a_grid_stand_beside_the_gaps() -> None:
    """More values than a table holds are kept as they are."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((5, 700)).astype(np.float32)
    values[rng.random(values.shape) > 0.3] = 0
    packed = packed_weights(layer(values, 1.0)).packed
    assert not packed.levels.size
    assert np.array_equal(read(packed, 700), values)


def test_a_nonzero_takes_a_byte_and_a_third() -> None:
    """At 7 % density and 4 bits; a dense layer of 255 levels takes a byte a weight."""
    rng = np.random.default_rng(1)
    codes = rng.integers(1, 8, (64, 2000)) * rng.choice([-1, 1], (64, 2000))
    codes[rng.random(codes.shape) > 0.07] = 0
    packed = packed_weights(layer(codes.astype(np.float32), 1.0)).packed
    assert packed.units.nbytes < 1.35 * np.count_nonzero(codes)
    full = rng.integers(1, 128, (64, 2000)) * rng.choice([-1, 1], (64, 2000))
    assert packed_weights(layer(full.astype(np.float32), 1.0)).packed.units.nbytes == full.size


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    pool=st.sampled_from([(1, 1), (2, 2), (3, 1), (1, 3), (4, 4)]),
    lanes=st.sampled_from([1, 4, 16]),
)
def test_blocks_cover_every_sum_once(
    height: int, width: int, pool: tuple[int, int], lanes: int
) -> None:
    """Whole windows, no overlap, no block beyond the registers."""
    height, width = height * pool[0], width * pool[1]
    if not can_cut_blocks(width, pool, vectors=12, lanes=lanes):
        return
    seen = np.zeros((height, width), int)
    for tile in cut_blocks(height, width, pool, vectors=12, lanes=lanes):
        assert tile.vectors <= 12
        assert tile.rows % pool[0] == tile.columns % pool[1] == 0
        for r in range(tile.row_count):
            for c in range(tile.column_count):
                top, left = tile.row + r * tile.rows, tile.column + c * tile.columns
                seen[top : top + tile.rows, left : left + tile.columns] += 1
    assert (seen == 1).all()


def test_windows_too_large_for_a_block() -> None:
    """A maximum over more sums than registers is a step of its own."""
    assert can_cut_blocks(8, (2, 2), vectors=4, lanes=1)
    assert not can_cut_blocks(8, (4, 2), vectors=4, lanes=1)
    assert len(cut_blocks(4, 6, (2, 2), vectors=24, lanes=1)) == 1
