"""What every operator promises, one row of the table an operator, with and without the core."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier import ops
from espalier.encoded import Raw, Uniform, decode
from espalier.errors import NonFiniteError
from espalier.ops import compress_, from_json, to_json

from .oracle import apply_to, same_bits
from .strategies import moderate_weights, quick, weights
from .table import EVERY, ROWS, each, kinds_of, over

pytestmark = pytest.mark.usefixtures("backend")

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

WITNESSES = [
    np.array([1, 1, 1, 1, 0.2, 0.18], np.float32),  # pruning .18 raises the deviation above .2
    np.array([0.0, 1.0], np.float32),
    np.linspace(-1, 1.3, 37, dtype=np.float32) ** 3,
    np.array([0, 0, 0, 0, 1], np.float32),  # the mean of two kept, one of them zero
    np.array([2.5, 9.5, 0, 0, 0], np.float32),  # ties to even: 2 and 10 steps
    np.array([5.22, 0.82, 0.72], np.float32),  # pruning .72 raises the deviation
    np.array([2.3, 2.4, 2.6, -1.6, 0.9], np.float32),
    np.array([-4.02], np.float32),  # floor, and a step that was rounded down
    np.array([-0.7], np.float32),  # at 24 bits float32 can't hold it as a multiple of the step
    np.array([1, 1, 1, 1, 0.22, 0.19], np.float32),  # as the first, over n - 1
    np.array([3, -3] * 10 + [1, -1] * 8 + [2], np.float32),  # without zeros, what is left spreads
    np.array([7, -7] * 10 + [1, -1] * 8 + [3], np.float32),
]
"""Each operator that is not idempotent changes at least one of them twice."""


def sample(*shape):
    """Return fixed, ordinary weights."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def test_every_operator_has_a_row():
    """A new operator is one new row."""
    assert set().union(*(kinds_of(row.op) for row in ROWS.values())) == EVERY


# ---- form ---------------------------------------------------------------------------------------


@over()
def test_shape_type_and_device_are_kept(row):
    """A tensor comes back as it was given, but for its values."""
    for dtype, shape in product(DTYPES, [(4, 3, 2), (5,), (), (0,), (2, 0)]):
        w = sample(*shape).to(dtype)
        written = row.op(w)
        assert (written.shape, written.dtype, written.device) == (w.shape, w.dtype, w.device)


@over()
def test_the_input_is_untouched(row):
    """Neither the tensors nor the state that went in are changed."""
    weights = {str(dtype): sample(6, 5).to(dtype) for dtype in DTYPES}
    before = {name: w.clone() for name, w in weights.items()}
    op = row.of(len(weights))
    state = op.init(weights)
    rng = None if state.rng is None else state.rng.clone()
    written, after = op.apply(weights, state)
    assert all(torch.equal(weights[name], before[name]) for name in weights)
    assert all(w.data_ptr() != weights[name].data_ptr() for name, w in written.items())
    assert (state.step, state.written, after.step) == (0, None, 1)
    assert rng is None or torch.equal(rng, state.rng)


@over()
def test_no_gradient_flows(row):
    """The result has no graph, though the input is a parameter."""
    w = torch.nn.Parameter(sample(6, 5))
    written = row.op(w)
    assert not written.requires_grad
    assert written.grad_fn is None
    assert w.requires_grad
    assert w.grad is None


@over(random=False)
def test_layout_does_not_matter(row):
    """The same values lead to the same values, wherever they lie in memory."""
    w = sample(4, 3, 5, 2)
    w[1] = w[0]  # ties, whose order a budget looks at
    for elsewhere in (
        w.contiguous(memory_format=torch.channels_last),
        w.transpose(0, 3).contiguous().transpose(0, 3),
        torch.stack([w, w], -1)[..., 0],
        torch.cat([torch.zeros(1), w.reshape(-1)])[1:].view(w.shape),
        w[:1].expand(4, 3, 5, 2),
    ):
        assert torch.equal(row.op(elsewhere), row.op(elsewhere.contiguous()))


@over(random=True)
def test_layout_changes_only_the_draw(row):
    """What is random draws in memory's order: another draw, of the same grid."""
    w = {"w": sample(4, 3, 5, 2)}
    here, state = row.op.apply(w, row.op.init(w))
    there = row.op(w["w"].contiguous(memory_format=torch.channels_last))
    step = state.written.step
    assert not torch.equal(there, here["w"])
    assert torch.equal(there, torch.round(there / step) * step)


@over()
def test_in_place_is_the_same(row):
    """compress_ writes in place what apply returns."""
    weights = {"a": sample(6, 5), "b": sample(7), "c": sample()}
    op = row.of(len(weights))
    state = op.init(weights)
    written, after = op.apply(weights, state)
    tensors = [w.clone() for w in weights.values()]
    pointers = [t.data_ptr() for t in tensors]
    state = compress_(op, tensors, state)
    assert pointers == [t.data_ptr() for t in tensors]
    assert all(torch.equal(t, w) for t, w in zip(tensors, written.values(), strict=True))
    assert torch.equal(state.written.step, after.written.step)


# ---- values -------------------------------------------------------------------------------------


@quick
@given(w=weights())
def test_zero_stays_zero(w):
    """Zero stays zero, and no zero carries a minus sign."""
    for row in each():
        (written,), _ = apply_to(row.op, w)
        assert not written[w == 0].any()
        assert not np.signbit(written[written == 0]).any()


@quick
@given(w=weights())
def test_signs_stay_and_all_is_finite(w):
    """No weight changes its sign, and finite weights stay finite."""
    for row in each():
        (written,), _ = apply_to(row.op, w)
        assert np.isfinite(written).all()
        floors = row.settings.get("rounding") == "floor"  # a small one below zero goes to -step
        assert floors or (np.sign(written) * np.sign(w) >= 0).all()


@quick
@given(w=weights())
def test_at_most_the_promised_levels(w):
    """Kept weights take the promised magnitudes times a sign; without a grid, their own."""
    for row in each():
        (written,), state = apply_to(row.op, w)
        nonzero = written[written != 0]
        if state.written.step.item() == 0:
            assert np.isin(nonzero, w).all()
        else:
            assert np.unique(np.abs(nonzero)).size <= row.magnitudes
            assert np.unique(written).size <= 2 * row.magnitudes + 1


@over()
def test_the_promised_levels_of_many_weights(row):
    """The same where there are weights enough to take every level."""
    w = np.random.default_rng(0).standard_normal(60_000).astype(np.float32)
    (written,), state = apply_to(row.op, w)
    if row.magnitudes is not None:
        assert state.written.step.item() > 0
        assert np.unique(np.abs(written[written != 0])).size <= row.magnitudes


@quick
@given(w=weights())
def test_a_kept_weight_moves_by_half_a_step(w):
    """Nearest rounding moves a kept weight by half a step, the others by one, and float32's bit."""
    for row in each():
        (written,), state = apply_to(row.op, w)
        if row.op.bits == 1 or not row.near:
            continue
        step = state.written.step.double().item()
        moved = np.abs(written.astype(float) - w)[written != 0]
        reach = step * (0.5 if row.settings.get("rounding", "nearest") == "nearest" else 1)
        assert (moved <= reach + np.abs(w[written != 0]) * 2.0**-22).all()


@quick
@given(w=weights())
def test_idempotent(w):
    """Where a row says so, a second application changes no bit."""
    for row in each(idempotent=True):
        (once,), _ = apply_to(row.op, w)
        (twice,), _ = apply_to(row.op, once)
        assert same_bits(once, twice)


@over(idempotent=False)
def test_not_idempotent(row):
    """Where a row does not say so, there is a witness."""
    twice = []
    for w in WITNESSES:
        (once,), _ = apply_to(row.op, w)
        twice.append(same_bits(once, apply_to(row.op, once)[0][0]))
    assert not all(twice)


@quick
@given(w=weights())
def test_sign_symmetry(w):
    """The negative of the weights gives the negative of the result; floor and random ones don't."""
    for row in each(odd=True):
        (plus,), _ = apply_to(row.op, w)
        (minus,), _ = apply_to(row.op, -w)
        assert same_bits(plus, 0 - minus)


@over(odd=False)
def test_no_sign_symmetry(row):
    """What is said not to be symmetric is not."""
    w = np.linspace(-1, 1, 101, dtype=np.float32)
    assert not same_bits(apply_to(row.op, w)[0][0], 0 - apply_to(row.op, -w)[0][0])


@quick
@given(w=moderate_weights(), exponent=st.integers(-60, 60))
def test_scale_equivariance(w, exponent):
    """A power of two goes through every operator, exactly."""
    scale = np.float32(2.0**exponent)
    for row in each():
        (plain,), _ = apply_to(row.op, w)
        (scaled,), _ = apply_to(row.op, w * scale)
        assert same_bits(plain * scale, scaled)


@quick
@given(w=moderate_weights())
def test_order_is_kept(w):
    """A larger weight is not written smaller than another, but where rounding is random."""
    order = np.argsort(w, axis=None)
    for row in each(random=False, by_size=True):
        (written,), _ = apply_to(row.op, w)
        values = written.ravel()[order]
        rises = (np.diff(values) >= 0) | (np.diff(w.ravel()[order]) == 0)
        assert rises.all()


# ---- sets ---------------------------------------------------------------------------------------


@quick
@given(tensors=st.lists(weights(), min_size=1, max_size=4))
def test_a_set_is_its_tensors(tensors):
    """What looks at each tensor alone writes a set as if each were alone."""
    for row in each(alone=True):
        together, state = apply_to(row.of(len(tensors)), *tensors)
        for i, w in enumerate(tensors):
            (alone,), its = apply_to(row.op, w)
            assert same_bits(together[i], alone)
            assert torch.equal(state.written.step[i], its.written.step[0])
            assert torch.equal(state.written.threshold[i], its.written.threshold[0])


@quick
@given(tensors=st.lists(weights(), min_size=1, max_size=4))
def test_counts(tensors):
    """The rows count what the tensors show: nonzero <= kept <= size."""
    for row in each():
        written, state = apply_to(row.of(len(tensors)), *tensors)
        kept, nonzero = state.written.kept.tolist(), state.written.nonzero.tolist()
        assert nonzero == [np.count_nonzero(w) for w in written]
        sizes = [w.size for w in written]
        assert all(n <= k <= s for n, k, s in zip(nonzero, kept, sizes, strict=True))
        assert state.written.finite.all()


@over()
def test_rows_have_their_types(row):
    """One row a tensor in every column, of the types that are promised."""
    _, state = apply_to(row.of(3), *(sample(n).numpy() for n in (5, 1, 0)))
    types = {"threshold": torch.float32, "step": torch.float32, "kept": torch.int64}
    types |= {"nonzero": torch.int64, "max_abs": torch.float32, "finite": torch.bool}
    for column, dtype in types.items():
        values = getattr(state.written, column)
        assert (values.shape, values.dtype) == ((3,), dtype), column


@over()
def test_an_empty_set(row):
    """No tensors, no work; the step goes on."""
    state = row.op.init({})
    written, after = row.op.apply({}, state)
    assert (written, after.step, after.written) == ({}, 1, None)


# ---- edges --------------------------------------------------------------------------------------


@over()
def test_all_zero(row):
    """A tensor of zeros stays one; there is no grid over it."""
    for shape in [(), (1,), (4,), (3, 4)]:
        (written,), state = apply_to(row.op, -np.zeros(shape, np.float32))
        assert same_bits(written, np.zeros(shape))
        assert state.written.step.item() == 0
        assert state.written.nonzero.item() == 0


@over()
def test_empty(row):
    """A tensor without entries is nothing to anybody, alone or in a set."""
    for shape in [(0,), (2, 0, 3)]:
        w = np.zeros(shape, np.float32)
        (alone,), state = apply_to(row.op, w)
        (_, beside), _ = apply_to(row.of(2), sample(4).numpy(), w)
        assert alone.shape == beside.shape == shape
        assert (state.written.kept.item(), state.written.step.item()) == (0, 0)


@over()
def test_constant(row):
    """A constant layer has beta = 0 and stays, to within the grid; budgets keep the first ones."""
    for value, shape in product([0.75, -3.0, 1e-30], [(), (1,), (5,)]):
        w = np.full(shape, value, np.float32)
        (written,), state = apply_to(row.op, w)
        density = row.settings.get("density")
        kept = w.size if density is None else int(np.floor(density * w.size + 0.5))
        assert state.written.kept.item() == kept
        assert not written.ravel()[kept:].any()
        stays = row.settings.get("rounding", "nearest") == "nearest"
        reach = abs(value) * 2.0**-22 if stays else state.written.step.item()
        assert (np.abs(written - w).ravel()[:kept] <= reach).all()


@over()
def test_what_is_not_finite_is_refused(row):
    """NaN and infinity raise, name the tensor, and leave all as it was."""
    for value, dtype in product([np.nan, np.inf, -np.inf], DTYPES):
        weights = {name: sample(5).to(dtype) for name in ("conv.weight", "fc.weight", "fc.bias")}
        weights["fc.weight"][2] = value
        before = {name: w.clone() for name, w in weights.items()}
        op = row.of(len(weights))
        state = op.init(weights)
        with pytest.raises(NonFiniteError, match=r"weights of fc\.weight are NaN or inf") as error:
            op.apply(weights, state)
        assert "conv.weight" not in str(error.value)
        with pytest.raises(NonFiniteError, match="nothing was compressed"):
            compress_(op, list(weights.values()), state)
        assert all(w.equal(before[n]) or n == "fc.weight" for n, w in weights.items())


# ---- codes --------------------------------------------------------------------------------------


@quick
@given(tensors=st.lists(weights(), min_size=1, max_size=3))
def test_codes_decode_to_what_was_written(tensors):
    """decode(encode(...)) is the written weights, bit for bit, with the asked bits and counts."""
    for row in each():
        op = row.of(len(tensors))
        written, state = apply_to(op, *tensors)
        named = {f"w{i}": torch.from_numpy(w) for i, w in enumerate(written)}
        for i, encoded in enumerate(op.encode(named, state).values()):
            assert same_bits(decode(encoded), written[i])
            assert encoded.bits == row.op.bits
            assert encoded.kept == state.written.kept[i]
            assert encoded.nonzero == state.written.nonzero[i]


@over()
def test_ordinary_weights_get_integer_codes(row):
    """Weights on a grid are integers times its step; without a grid they are raw values."""
    w = sample(64, 9).numpy()
    (written,), state = apply_to(row.op, w)
    (encoded,) = row.op.encode({"w0": torch.from_numpy(written)}, state).values()
    grid = Uniform(state.written.step.item()) if row.op.bits < 32 and encoded.nonzero else Raw()
    assert encoded.grid == grid


@over()
def test_codes_of_other_types(row):
    """Codes of weights of another type decode to those weights too."""
    weights = {str(dtype): sample(8, 7).to(dtype) for dtype in DTYPES}
    op = row.of(len(weights))
    written, state = op.apply(weights, op.init(weights))
    for name, encoded in op.encode(written, state).items():
        w = written[name]
        assert torch.equal(torch.from_numpy(decode(encoded)).to(w.dtype), w)


# ---- an operator is a value ---------------------------------------------------------------------


@over()
def test_an_operator_is_a_value(row):
    """It is equal to its copy, hashes alike, and its repr is the code that makes it."""
    copy = eval(repr(row.op), vars(ops))
    assert copy == row.op
    assert hash(copy) == hash(row.op)
    assert sum(other.op == row.op for other in ROWS.values()) == 1
    with pytest.raises((AttributeError, TypeError)):
        row.op.bits_or_gamma = 1


@over()
def test_json_and_back(row):
    """An operator is plain data and back, through the text of a file."""
    assert from_json(json.loads(json.dumps(to_json(row.op)))) == row.op
