"""Edges with a stated answer, and what is known of the method (equations 1 to 4)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.encoded import Raw, Uniform
from espalier.errors import NonFiniteError
from espalier.ops import (
    Chain,
    GlobalMagnitude,
    PruneThenQuantize,
    QuantizeThenPrune,
    StdThreshold,
    UniformQuantizer,
)

from .oracle import apply_to, same_bits
from .strategies import quick, weights

pytestmark = pytest.mark.usefixtures("backend")

BITS = range(1, 33)
TINY = np.finfo(np.float32).tiny
HUGEST = np.finfo(np.float32).max


def normal(n, seed=0):
    """Return n weights as training has them."""
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def passed(op, *values):
    """Return what an operator writes over one tensor of these values, and the rows of its pass."""
    (written,), state = apply_to(op, np.array(values, np.float32))
    return written.tolist(), state.written


# ---- the threshold ------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 3, 8, 32])
def test_largest_magnitude_equal_to_the_threshold(bits):
    """The grid has no extent: step 0, and the kept weights stay; 1 bit takes their mean."""
    written, row = passed(PruneThenQuantize(gamma=1, bits=bits), 1.5, -1.5, -1.5, 1.5)
    assert written == [1.5, -1.5, -1.5, 1.5]
    assert (row.threshold.item(), row.kept.item()) == (1.5, 4)
    assert row.step.item() == (1.5 if bits == 1 else 0)


def test_strict_prunes_what_equals_the_threshold():
    """``>=`` keeps a weight at the threshold (eq. 2), ``>`` does not."""
    assert passed(StdThreshold(gamma=1), 1.5, -1.5)[0] == [1.5, -1.5]
    for op in (
        StdThreshold(gamma=1, strict=True),
        PruneThenQuantize(gamma=1, bits=4, strict=True),
        QuantizeThenPrune(gamma=1, bits=4, strict=True),
    ):
        written, row = passed(op, 1.5, -1.5)
        assert written == [0, 0]
        assert row.kept.item() == 0


@quick
@given(w=weights())
def test_gamma_0_keeps_everything(w):
    """With ``>=`` a mask at gamma 0 keeps zeros too; with ``>`` it keeps the nonzeros."""
    (written,), state = apply_to(StdThreshold(gamma=0), w)
    (strictly,), strict = apply_to(StdThreshold(gamma=0, strict=True), w)
    assert state.written.kept.item() == w.size
    assert strict.written.kept.item() == np.count_nonzero(w)
    assert np.array_equal(written, w)
    assert np.array_equal(strictly, w)


@pytest.mark.parametrize("gamma", [5.0, 1e30, 1e308])
@pytest.mark.parametrize("bits", [1, 4, 32])
def test_all_pruned(gamma, bits):
    """A gamma above every weight leaves zeros, step 0, and says how high the threshold was."""
    for op in (
        StdThreshold(gamma=gamma),
        PruneThenQuantize(gamma=gamma, bits=bits),
        QuantizeThenPrune(gamma=gamma, bits=bits),
    ):
        (written,), state = apply_to(op, normal(50))
        assert not written.any()
        assert (state.written.kept.item(), state.written.nonzero.item()) == (0, 0)
        assert state.written.threshold.item() >= np.abs(normal(50)).max()
    assert apply_to(PruneThenQuantize(gamma=gamma, bits=bits), normal(50))[1].written.step == 0


def test_a_huge_gamma_keeps_a_constant_layer():
    """The deviation of a constant is exactly 0, and so is its threshold; no sum of it rounds."""
    w = np.full(1001, 0.1, np.float32)
    for op in (StdThreshold(gamma=1e30), PruneThenQuantize(gamma=1e30, bits=8)):
        (written,), state = apply_to(op, w)
        assert state.written.threshold.item() == 0
        assert np.allclose(written, w, rtol=1e-6, atol=0)


def test_the_deviation_is_of_the_population_with_its_zeros():
    """Equation 1 divides by n, and counts the zeros that pruning left."""
    _, row = passed(StdThreshold(gamma=1), 0, 0, 0, 4)
    assert row.threshold.item() == np.float32(np.sqrt(3.0))


def test_the_threshold_is_rounded_once():
    """Deviation and strength are multiplied in float64."""
    for gamma in np.linspace(0.01, 0.99, 99).tolist():
        _, row = passed(StdThreshold(gamma=gamma), 0.9, -0.9)  # a deviation that sums don't round
        assert row.threshold.item() == np.float32(gamma * float(np.float32(0.9)))


def test_a_deviation_that_float32_sums_would_lose():
    """Far from zero, the deviation comes out right: its sums are float64 and shifted."""
    w = (1e6 + np.linspace(0, 1, 4097)).astype(np.float32)
    _, state = apply_to(StdThreshold(gamma=1), w)
    assert state.written.threshold.item() == pytest.approx(w.astype(float).std(), rel=1e-6)


# ---- bits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", BITS)
def test_every_number_of_bits(bits):
    """Each has the step of equation 3, at most its levels, and an error of half a step."""
    w, gamma = normal(5000), 0.375
    (written,), state = apply_to(PruneThenQuantize(gamma=gamma, bits=bits), w)
    beta, step = state.written.threshold.item(), state.written.step.item()
    kept = np.abs(w) >= beta
    assert beta == pytest.approx(gamma * w.astype(float).std(), rel=1e-6)
    if bits == 1:
        assert step == pytest.approx(np.abs(w[kept]).mean(dtype=float), rel=1e-6)
    elif bits == 32:
        assert step == 0
        assert np.array_equal(written, np.where(kept, w, 0))
    else:
        assert step == np.float32((np.abs(w).max().astype(float) - beta) / (2 ** (bits - 1) - 1))
        assert np.abs(written - w)[kept].max() <= step / 2 + np.abs(w).max() * 2.0**-23
    if bits < 32:
        assert np.unique(np.abs(written[kept])).size <= (1 if bits == 1 else 2 ** (bits - 1) + 1)


@pytest.mark.parametrize("bits", range(2, 9))
def test_survivors_take_all_their_magnitudes(bits):
    """Weights that fill their range take 2**(b-1) magnitudes times a sign: b bits a survivor."""
    w = np.linspace(-1, 1, 5000, dtype=np.float32)
    (written,), _ = apply_to(PruneThenQuantize(gamma=0.75, bits=bits), w)
    (alone,), _ = apply_to(UniformQuantizer(bits=bits), w)
    assert np.unique(np.abs(written[written != 0])).size == 2 ** (bits - 1)
    assert np.unique(written[written != 0]).size == 2**bits
    assert np.unique(np.abs(alone)).size == 2 ** (bits - 1)


def test_a_tie_gives_one_magnitude_more():
    """At b = 3 and beta/q = 2.5, ties to even send 2.5 to 2 and 5.5 to 6: five magnitudes."""
    op = Chain(prune=GlobalMagnitude(density=0.75), quantize=UniformQuantizer(bits=3))
    written, row = passed(op, 2.5, -3, 4, 5, 5.5, 3, 0.5, 0.25)
    assert (row.threshold.item(), row.step.item()) == (2.5, 1)
    assert written == [2, -3, 4, 5, 6, 3, 0, 0]
    assert len({abs(v) for v in written if v}) == 2**2 + 1


def test_one_bit_is_the_mean_of_what_is_kept():
    """One magnitude, whatever the rounding; kept zeros count in the mean and stay zero."""
    for rounding in ("nearest", "floor", "stochastic"):
        op = PruneThenQuantize(gamma=0.5, bits=1, rounding=rounding)
        assert passed(op, 0.1, -2, 4, 0, -3)[0] == [0, -3, 3, 0, -3]
        assert passed(UniformQuantizer(bits=1, rounding=rounding), 1, 0, -3, 0)[0] == [1, 0, -1, 0]


def test_one_bit_under_a_budget_takes_the_mean_of_the_chosen_ties():
    """Of equal magnitudes only the first are kept, and only they are in the mean."""
    op = Chain(prune=GlobalMagnitude(density=0.5), quantize=UniformQuantizer(bits=1))
    assert passed(op, 1, 1, -5, 1, 0, 0)[0] == pytest.approx([7 / 3, 7 / 3, -7 / 3, 0, 0, 0])


def test_raw_codes_run_past_the_signed_range():
    """8 bits at gamma .7 give codes near 150; less their offset they fit 8 bits with the sign."""
    w = normal(200_000)
    op = PruneThenQuantize(gamma=0.7, bits=8)
    (written,), state = apply_to(op, w)
    (encoded,) = op.encode({"w0": torch.from_numpy(written)}, state).values()
    magnitudes = np.abs(encoded.codes)
    offset = round(state.written.threshold.item() / state.written.step.item())
    assert 140 <= magnitudes.max() <= 160
    assert offset > 20
    assert magnitudes.min() == offset
    assert magnitudes.max() - offset <= 128  # 127, or one more by a tie


# ---- budgets ------------------------------------------------------------------------------------


@quick
@given(
    tensors=st.lists(weights(), min_size=1, max_size=3),
    density=st.floats(0, 1) | st.sampled_from([0.25, 0.5, 0.75]),
)
def test_a_budget_is_kept_exactly(tensors, density):
    """Of n weights, floor(density * n + .5) stay, no smaller one before a larger one."""
    written, state = apply_to(GlobalMagnitude(density=density), *tensors)
    n = sum(w.size for w in tensors)
    assert state.written.kept.sum().item() == int(np.floor(density * n + 0.5))
    before = np.concatenate([np.abs(w).ravel() for w in tensors])
    after = np.concatenate([np.abs(w).ravel() for w in written])
    lost = before[(after == 0) & (before > 0)]
    assert not lost.size or not after.any() or lost.max() <= after[after > 0].min()


def test_ties_fall_to_the_first():
    """Among equal magnitudes the first stay: tensors in their order, entries in theirs."""
    a, b = np.float32([1, -2, 1]), np.float32([[-1, 1], [3, -1]])
    (x, y), state = apply_to(GlobalMagnitude(density=4 / 7), a, b)
    assert x.tolist() == [1, -2, 1]
    assert y.tolist() == [[0, 0], [3, 0]]
    assert state.written.kept.tolist() == [3, 1]
    (y, x), _ = apply_to(GlobalMagnitude(density=4 / 7), b, a)
    assert y.tolist() == [[-1, 1], [3, 0]]
    assert x.tolist() == [0, -2, 0]


def test_ties_at_zero_count():
    """A budget beyond the nonzeros keeps zeros, the first ones, and counts them as kept."""
    (x, y), state = apply_to(
        GlobalMagnitude(density=0.5), np.float32([0, 5, -0.0]), np.float32([0, 1, 0, 0, 0])
    )
    assert (x.tolist(), y.tolist()) == ([0, 5, 0], [0, 1, 0, 0, 0])
    assert state.written.kept.tolist() == [3, 1]
    assert state.written.nonzero.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("density", "n", "kept"), [(0.5, 1, 1), (0.49, 1, 0), (0.5, 3, 2), (0.29, 100, 29), (0, 5, 0)]
)
def test_how_a_budget_rounds(density, n, kept):
    """Half a weight is a whole one."""
    _, state = apply_to(GlobalMagnitude(density=density), normal(n))
    assert state.written.kept.item() == kept


def test_a_budget_of_everything_or_nothing():
    """Density 1 keeps all, zeros too; density 0 nothing."""
    w = np.float32([0, -1, 2])
    (everything,), all_of_it = apply_to(GlobalMagnitude(density=1), w)
    (nothing,), none_of_it = apply_to(GlobalMagnitude(density=0), w)
    assert (everything.tolist(), nothing.tolist()) == ([0, -1, 2], [0, 0, 0])
    assert (all_of_it.written.threshold.item(), all_of_it.written.kept.item()) == (0, 3)
    assert (none_of_it.written.threshold.item(), none_of_it.written.kept.item()) == (np.inf, 0)


def test_a_budget_may_empty_a_tensor():
    """A tensor of the set may lose all to a larger one."""
    written, _ = apply_to(GlobalMagnitude(density=0.5), normal(50) + 10, normal(50))
    assert written[0].all()
    assert not written[1].any()


# ---- magnitudes at the ends of float32 ----------------------------------------------------------


def test_subnormal_weights():
    """Pruning works on them; a grid finer than the smallest normal float32 is not made."""
    w = np.float32([1e-45, -3e-45, 1e-40, -1e-39, 0])
    (pruned,), _ = apply_to(StdThreshold(gamma=0.5), w)
    (written,), state = apply_to(PruneThenQuantize(gamma=0.5, bits=4), w)
    assert np.array_equal(pruned, np.float32([0, 0, 0, -1e-39, 0]))
    assert same_bits(written, pruned)
    assert state.written.step.item() == 0


@pytest.mark.parametrize("above", [True, False])
def test_the_finest_grid(above):
    """A step of the smallest normal float32 is made, one below it is not."""
    top = 7 * TINY if above else np.nextafter(7 * TINY, np.float32(0))
    (written,), state = apply_to(UniformQuantizer(bits=4), np.float32([top, 2.2 * TINY]))
    assert state.written.step.item() == (TINY if above else 0)
    assert written[1] == (2 * TINY if above else np.float32(2.2 * TINY))


@pytest.mark.parametrize("bits", [1, 2, 3, 6, 8, 16, 31])
@pytest.mark.parametrize("rounding", ["nearest", "floor", "stochastic"])
def test_huge_weights(bits, rounding):
    """Above 1e38 there is no grid, whose top could overflow; below it all stays finite."""
    for op in (
        UniformQuantizer(bits=bits, rounding=rounding),
        PruneThenQuantize(gamma=0.375, bits=bits, rounding=rounding),
    ):
        for top in (HUGEST, 3e38):
            (written,), state = apply_to(op, np.float32([top, -top, 2.9e38, 1e30]))
            assert written.tolist()[:3] == np.float32([top, -top, 2.9e38]).tolist()
            assert state.written.step.item() == 0
        (written,), state = apply_to(op, np.float32([1e38, -1e38, 0.9e38, 1e30]))
        assert state.written.step.item() > 0
        assert np.isfinite(written).all()


# ---- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize(
    "op",
    [
        StdThreshold(gamma=0.5),
        PruneThenQuantize(gamma=0.375, bits=8),
        Chain(prune=GlobalMagnitude(density=0.3), quantize=UniformQuantizer(bits=1)),
    ],
    ids=repr,
)
def test_other_types_are_compressed_in_float32(dtype, op):
    """Converted, compressed, rounded back: in a mixed set too."""
    w = torch.from_numpy(normal(40)).to(dtype)
    assert torch.equal(op(w), op(w.float()).to(dtype))
    mixed, exact = {"a": w, "b": w.float()}, {"a": w.float(), "b": w.float()}
    written, state = op.apply(mixed, op.init(mixed))
    expected, its = op.apply(exact, op.init(exact))
    assert all(torch.equal(written[n], expected[n].to(mixed[n].dtype)) for n in mixed)
    assert torch.equal(state.written.step, its.written.step)
    assert state.written.step.dtype is torch.float32


def test_float16_counts_what_underflow_left():
    """A kept weight that float16 rounds to zero is kept, and no nonzero."""
    w = {"w": torch.tensor([6e-8, 0, 0, 0], dtype=torch.float16)}
    op = UniformQuantizer(bits=1)
    written, state = op.apply(w, op.init(w))
    assert written["w"].count_nonzero() == 0
    assert (state.written.kept.item(), state.written.nonzero.item()) == (4, 0)
    assert op.encode(written, state)["w"].nonzero == 0


def test_float16_may_overflow_and_the_next_pass_says_so():
    """A grid that ends beyond 65504 writes infinity there; it is not compressed on in silence."""
    op = Chain(prune=GlobalMagnitude(density=0.5), quantize=UniformQuantizer(bits=2))
    written = op(torch.tensor([64000, 24000, 1, 0], dtype=torch.float16))  # a step of 40000
    assert written.tolist() == [np.inf, 40000, 0, 0]
    with pytest.raises(NonFiniteError, match="weights of w are NaN or infinite"):
        op(written)


def test_float64_beyond_float32_is_refused():
    """A weight that float32 can't hold counts as infinite; one below its reach as zero."""
    with pytest.raises(NonFiniteError, match="weights of w are NaN or infinite"):
        StdThreshold(gamma=0)(torch.tensor([1.0, 1e300], dtype=torch.float64))
    assert StdThreshold(gamma=0)(torch.tensor([1e-300], dtype=torch.float64)).item() == 0


def test_defaults_of_torch_do_not_matter():
    """Rows are float32 on the tensors' device, whatever torch's default type and device are."""
    w = {"a": torch.from_numpy(normal(9)), "b": torch.from_numpy(normal(4, seed=1))}
    op = [
        Chain(prune=GlobalMagnitude(density=d), quantize=UniformQuantizer(bits=4))
        for d in (0, 0.4, 1)
    ] + [PruneThenQuantize(gamma=0.5, bits=b, rounding="stochastic") for b in (1, 4)]
    plain = [o.apply(w, o.init(w)) for o in op]
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            other = [o.apply(w, o.init(w)) for o in op]
    finally:
        torch.set_default_dtype(torch.float32)
    for (x, _), (y, state) in zip(plain, other, strict=True):
        assert all(torch.equal(x[n], y[n]) for n in w)
        assert state.written.threshold.dtype is torch.float32
        assert state.written.threshold.device.type == "cpu"


# ---- rounding -----------------------------------------------------------------------------------


def test_floor_is_biased():
    """Floor moves weights of both signs down, by half a step on average; nearest by none."""
    w = normal(100_000)
    for rounding, bias in (("floor", -0.5), ("nearest", 0.0)):
        (written,), state = apply_to(UniformQuantizer(bits=6, rounding=rounding), w)
        moved = (written - w).mean(dtype=float) / state.written.step.item()
        assert moved == pytest.approx(bias, abs=0.01)


def test_stochastic_is_unbiased():
    """The mean of many draws is the weight itself: within five deviations of a mean of coins."""
    values, n = np.float32([0.3, 1.25, -2.6, -0.01, 5.5, 3.0]), 20_000
    w = np.concatenate([[7.0], np.repeat(values, n)]).astype(np.float32)  # a step of exactly 1
    (written,), state = apply_to(UniformQuantizer(bits=4, rounding="stochastic"), w)
    assert state.written.step.item() == 1
    draws = written[1:].reshape(len(values), n)
    assert np.isin(draws - np.floor(values)[:, None], [0, 1]).all()
    fraction = values - np.floor(values)
    bound = 5 * np.sqrt(fraction * (1 - fraction) / n)
    assert (np.abs(draws.mean(1) - values) <= bound).all()
    assert (draws[values == 3] == 3).all()


def test_stochastic_rounding_takes_its_numbers_from_the_state():
    """The same state gives the same draw, the state after it another, a seed its own."""
    w = {"a": torch.from_numpy(normal(200)), "b": torch.from_numpy(normal(50))}
    op = PruneThenQuantize(gamma=0.5, bits=3, rounding="stochastic")
    state = op.init(w)
    first, after = op.apply(w, state)
    torch.manual_seed(99)  # the global generator has no say
    again, _ = op.apply(w, state)
    second, _ = op.apply(w, after)
    assert all(torch.equal(first[n], again[n]) for n in w)
    assert not torch.equal(first["a"], second["a"])
    assert not torch.equal(state.rng, after.rng)
    seeded = [
        Chain(
            prune=StdThreshold(gamma=0.5),
            quantize=UniformQuantizer(bits=3, rounding="stochastic", random_seed=seed),
        )(w["a"])
        for seed in (0, 1)
    ]
    assert torch.equal(seeded[0], first["a"])
    assert not torch.equal(seeded[0], seeded[1])
    short = PruneThenQuantize(gamma=0.5, bits=3, rounding="stochastic", random_seed=1)
    assert torch.equal(short(w["a"]), seeded[1])


def test_tensors_of_a_set_have_draws_of_their_own():
    """Two equal tensors are not rounded alike."""
    w = normal(300)
    (a, b), _ = apply_to(UniformQuantizer(bits=3, rounding="stochastic"), w, w)
    assert not np.array_equal(a, b)


def test_the_global_generator_stays_where_it_was():
    """Compressing takes no number from torch's own generator."""
    before = torch.get_rng_state()
    UniformQuantizer(bits=3, rounding="stochastic")(torch.from_numpy(normal(20)))
    assert torch.equal(before, torch.get_rng_state())


# ---- in a training loop -------------------------------------------------------------------------


def test_prune_then_quantize_is_not_idempotent():
    """What it wrote has another deviation and another largest magnitude."""
    op = PruneThenQuantize(gamma=0.5, bits=4)
    (once,), first = apply_to(op, normal(1000))
    (twice,), second = apply_to(op, once)
    assert first.written.threshold.item() != second.written.threshold.item()
    assert not np.array_equal(once, twice)


def test_quantizing_in_place_swallows_small_updates():
    """An update below half a step is lost every time; stochastic rounding keeps it in the mean."""
    start = np.float32([7, 3, -2, 1] + [2] * 4000)  # on a grid of step 1
    update = np.where(np.arange(start.size) > 0, 0.4, 0).astype(np.float32)
    w = start
    for _ in range(10):
        (w,), _ = apply_to(UniformQuantizer(bits=4), w + update)
    assert np.array_equal(w, start)
    (moved,), _ = apply_to(UniformQuantizer(bits=4, rounding="stochastic"), start + update)
    assert moved[4:].mean() == pytest.approx(2.4, abs=0.04)


def test_what_is_pruned_comes_back_by_an_update_above_the_threshold():
    """A weight at zero stays there unless one update exceeds beta."""
    op = PruneThenQuantize(gamma=0.5, bits=8)
    (w,), state = apply_to(op, normal(1000))
    beta = state.written.threshold.item()
    dead = np.flatnonzero(w == 0)
    w[dead[0]], w[dead[1]] = beta * 0.8, beta * 1.2
    (w,), _ = apply_to(op, w)
    assert w[dead[0]] == 0
    assert w[dead[1]] != 0


# ---- records ------------------------------------------------------------------------------------


def test_the_grid_of_quantize_then_prune_is_that_of_its_first_sweep():
    """Pruning leaves the grid as it was: the codes are of that step, the counts of what is left."""
    op = QuantizeThenPrune(gamma=1, bits=3)
    weights = {"w": torch.tensor([0.9, -2.1, 3.0, 0.1])}
    for _ in range(2):
        written, state = op.apply(weights, op.init(weights))
        assert state.written.step.item() == 1
        encoded = op.encode(written, state)["w"]
        assert (encoded.grid, encoded.codes.tolist()) == (Uniform(1.0), [-2, 3])
        assert (encoded.kept, encoded.bits) == (2, 3)


def test_rows_of_quantize_then_prune_speak_of_the_weights_before_the_pass():
    """The largest magnitude is that before the pass, not that between its sweeps."""
    _, row = passed(QuantizeThenPrune(gamma=0.5, bits=1), 1.0, -4.0, 1.0)
    assert row.max_abs.item() == 4


def test_rows_are_of_the_last_pass():
    """Nothing of the pass before is left in them."""
    for op in (StdThreshold(gamma=0.5), QuantizeThenPrune(gamma=0.5, bits=2)):
        weights = {"w": torch.tensor([1.0, -4.0, 1.0])}
        _, state = op.apply(weights, op.init(weights))
        weights = {"w": torch.tensor([8.0, -2.0, 0.0])}
        _, second = op.apply(weights, state)
        _, alone = op.apply(weights, op.init(weights))
        for column in ("threshold", "step", "kept", "nonzero", "max_abs", "finite"):
            assert getattr(second.written, column) == getattr(alone.written, column), column


def test_without_a_grid_codes_are_the_values():
    """Where the pass left kept weights as they were, so are the codes, with the asked bits."""
    op = PruneThenQuantize(gamma=1, bits=8)
    written, state = op.apply({"w": torch.tensor([1.5, -1.5])}, op.init({"w": torch.ones(2)}))
    encoded = op.encode(written, state)["w"]
    assert (encoded.grid, encoded.codes.tolist(), encoded.bits) == (Raw(), [1.5, -1.5], 8)
