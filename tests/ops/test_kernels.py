"""The passes over memory: the compiled way and its twin in torch give the same bits."""

import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.ops import compress_, kernels, quantiles
from espalier.ops.kernels import ALL_TIES, NO_TIES, Cut

from .oracle import expected, noise_of
from .strategies import quick, weights
from .table import over

ROUNDINGS = ["nearest", "floor", "stochastic", "sign"]
SHADOWS = ["none", "copy", "pruned", "masked"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, 1e-45, -1e-40, 3e38, np.inf, -np.inf, np.nan]


@contextmanager
def without_core():
    """Do it in torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "core", None)
        yield


def twice(work):
    """Return what some work gives in the compiled way and in torch."""
    one = work()
    with without_core():
        return one, work()


def alike(a, b):
    """Whether two tensors hold the same bits."""
    kind = torch.int32 if a.dtype is torch.float32 else a.dtype
    return a.dtype == b.dtype and torch.equal(a.view(kind), b.view(kind))


def tensors(arrays):
    """Return fresh tensors of these arrays."""
    return [torch.from_numpy(np.array(a)) for a in arrays]


sets = st.lists(weights(), min_size=1, max_size=4)


# ---- one way and the other ----------------------------------------------------------------------


@pytest.mark.usefixtures("compiled")
@quick
@given(arrays=sets)
def test_both_measure_the_same(arrays):
    """Largest magnitudes to the bit, deviations to the last ones of float64."""
    one, other = twice(lambda: kernels.measure(tensors(arrays)))
    assert alike(one.max_abs, other.max_abs)
    assert one.std.dtype == other.std.dtype == torch.float64
    assert torch.allclose(one.std, other.std, rtol=1e-13, atol=0)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 7, 16_383, 16_384, 40_000])
def test_one_bad_entry_is_seen_wherever_it_is(value, place):
    """The deviation is NaN for the tensor that holds it, and only for that one."""
    bad = torch.ones(40_001)
    bad[place] = value
    moments = kernels.measure([torch.ones(5), bad, torch.zeros(3), torch.zeros(0)])
    assert moments.std.isnan().tolist() == [False, True, False, False]
    assert moments.std[[0, 2, 3]].tolist() == [0, 0, 0]


@pytest.mark.usefixtures("compiled")
@quick
@given(arrays=sets, data=st.data())
def test_both_keep_the_same_largest(arrays, data):
    """Threshold and quotas are the same, and are k in all."""
    n = sum(a.size for a in arrays)
    k = data.draw(st.integers(0, n))
    one, other = twice(lambda: kernels.keep_largest(tensors(arrays), k))
    assert alike(one.threshold, other.threshold)
    mine, theirs = (torch.as_tensor(cut.ties).expand(len(arrays)) for cut in (one, other))
    assert torch.equal(mine, theirs)  # one number speaks for all tensors
    rows = zip(arrays, one.threshold.numpy(), mine.tolist(), strict=True)
    kept = [(np.abs(a) > t).sum() + q if q >= 0 else (np.abs(a) >= t).sum() for a, t, q in rows]
    assert sum(kept) == k


@st.composite
def cuts(draw, arrays):
    """Any cut over these tensors, often at a magnitude that they hold."""
    thresholds = []
    for a in arrays:
        own = st.sampled_from(np.abs(a).ravel().tolist()) if a.size else st.just(0.0)
        thresholds.append(draw(own | st.sampled_from([0.0, 1.0, 1e-45, float("inf")])))
    ties = draw(
        st.sampled_from([ALL_TIES, NO_TIES])
        | st.lists(st.integers(0, 6), min_size=len(arrays), max_size=len(arrays)).map(torch.tensor)
    )
    return Cut(torch.tensor(thresholds, dtype=torch.float32), ties)


@pytest.mark.usefixtures("compiled")
@quick
@given(data=st.data(), arrays=sets)
def test_both_find_the_same_mean(data, arrays):
    """Mean magnitude of what a cut keeps, to the last bits of float64."""
    cut = data.draw(cuts(arrays))
    one, other = twice(lambda: kernels.kept_mean(tensors(arrays), cut))
    assert torch.allclose(one, other, rtol=1e-13, atol=0)


@pytest.mark.usefixtures("compiled")
@quick
@given(data=st.data(), arrays=sets, quantile=st.floats(0, 1, exclude_min=True))
def test_every_way_to_a_quantile(data, arrays, quantile):
    """In the core, by numpy and on a device: the same magnitude of what a cut keeps."""
    cut = data.draw(cuts(arrays))
    check_quantile(arrays, cut, quantile)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("quantile", [1e-9, 0.5, 0.97, 0.995, 1.0])
@pytest.mark.parametrize("misled", [None, 1e-3, 1e3])
def test_a_quantile_of_large_tensors(quantile, misled):
    """A sample says where to look; where it is wrong all is sorted, and the answer is the same."""
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(n).astype(np.float32) for n in (90_001, 20_000, 8_193, 3)]
    for a in arrays:
        a[::64] *= misled or 1
    check_quantile(arrays, Cut(torch.tensor([0.0, 1.5, 0.3, 9.0])), quantile)


def check_quantile(arrays, cut, quantile):
    """Compare the ways to a quantile, and a slow one."""
    one, other = twice(lambda: kernels.kept_quantile(tensors(arrays), cut, quantile))
    assert alike(one, other)
    ways = kernels._rows(tensors(arrays), cut)
    device = [quantiles.on_device(t.abs().ravel(), *row, quantile) for t, *row in ways]
    assert alike(one, torch.stack(device))
    masks = kernels.keep_masks(tensors(arrays), cut)
    for a, mask, value in zip(arrays, masks, one, strict=True):
        kept = np.sort(np.abs(a[mask.numpy()]))
        assert value == (kept[math.ceil(quantile * kept.size) - 1] if kept.size else 0)


@pytest.mark.usefixtures("compiled")
@quick
@given(data=st.data(), arrays=sets)
def test_both_write_the_same(data, arrays):
    """Weights, shadows and counts are the same to the bit, in every rounding and shadow mode."""
    cut = data.draw(cuts(arrays))
    steps = st.sampled_from([0.0, 1.0, 0.1, 1e-38, 1e37, 3e38]) | st.floats(2.0**-20, 2, width=32)
    step = torch.tensor([data.draw(steps) for _ in arrays], dtype=torch.float32)
    noise = [torch.rand(a.shape) for a in arrays]
    for rounding in ROUNDINGS:
        for shadow in SHADOWS:

            def work(rounding=rounding, shadow=shadow):
                w, copies = tensors(arrays), [torch.full(a.shape, 7.0) for a in arrays]
                counts = kernels.write(
                    w, cut, step, rounding=rounding, noise=noise, shadows=copies, shadow=shadow
                )
                return [*w, *copies, *counts]

            one, other = twice(work)
            assert all(alike(a, b) for a, b in zip(one, other, strict=True)), (rounding, shadow)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_both_write_the_same_over_all_kinds_of_floats(rounding):
    """The same bits for every pair of a special value and a special step, but NaN's payload."""
    values = [v for v in SPECIAL if not np.isnan(v)]
    w = np.float32(values * 9 + values[:5])
    for step in (0.0, 1.0, 1e-45, 1e-38, 3e38, 0.3):
        for threshold in (0.0, 1e-45, 1.0, 3e38, np.inf):
            cut = Cut(torch.tensor([threshold]))
            noise = [torch.linspace(0, 1 - 2.0**-24, w.size)]

            def work(cut=cut, step=step, noise=noise):
                t = tensors([w])
                counts = kernels.write(t, cut, torch.tensor([step]), rounding=rounding, noise=noise)
                return [t[0].nan_to_num(nan=5.0), *counts]

            one, other = twice(work)
            assert all(alike(a, b) for a, b in zip(one, other, strict=True)), (step, threshold)


@pytest.mark.usefixtures("compiled")
@over()
def test_whole_passes_are_the_same(row):
    """Operators write the same bits both ways, on weights as training has them."""
    rng = np.random.default_rng(8)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((64, 31), (5,), (), (20_000,))]

    op = row.of(len(arrays))

    def work():
        weights = {str(i): t for i, t in enumerate(tensors(arrays))}
        written, state = op.apply(weights, op.init(weights))
        rows = state.written
        return [*written.values(), rows.threshold, rows.step, rows.kept, rows.nonzero]

    one, other = twice(work)
    assert all(alike(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.usefixtures("compiled")
@over("pq-8", "pq-1", "global-q4", "pq-4-stochastic")
def test_threads_do_not_matter(row):
    """One thread or two write the same bits."""
    weights = {"w": torch.randn(100_000, generator=torch.Generator().manual_seed(1))}
    one = row.op(weights["w"])
    torch.set_num_threads(2)
    try:
        assert torch.equal(row.op(weights["w"]), one)
    finally:
        torch.set_num_threads(1)


# ---- memory -------------------------------------------------------------------------------------

LAYOUTS = {
    "contiguous": lambda w: w,
    "channels-last": lambda w: w.contiguous(memory_format=torch.channels_last),
    "transposed": lambda w: w.transpose(0, 1).contiguous().transpose(0, 1),
    "holes": lambda w: torch.stack([w, w], -1)[..., 0],
}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(
    "ties",
    [ALL_TIES, torch.tensor([2, 100]), torch.tensor([ALL_TIES, 3]), torch.tensor([NO_TIES, 5])],
    ids=["all", "quota", "all-quota", "none-quota"],
)
def test_writing_respects_the_layout(layout, ties):
    """Weights, shadow and noise belong together entry by entry; quotas count in C order."""
    rng = torch.Generator().manual_seed(2)
    plain = [torch.randint(-3, 4, (2, 3, 4, 5), generator=rng).float() for _ in range(2)]
    plain_noise = [torch.rand(w.shape, generator=rng) for w in plain]
    results = []
    for put in (LAYOUTS["contiguous"], layout):
        w, noise = [put(t.clone()) for t in plain], [put(u.clone()) for u in plain_noise]
        shadows = [torch.zeros_like(t) for t in w]
        counts = kernels.write(
            w,
            Cut(torch.tensor([2.0, 1.0]), ties),
            torch.tensor([0.7, 0.0]),
            rounding="stochastic",
            noise=noise,
            shadows=shadows,
            shadow="pruned",
        )
        results.append([*w, *shadows, *counts])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.usefixtures("backend")
def test_holes_are_left_alone():
    """Writing into every other entry leaves the ones between."""
    base = torch.full((10,), 0.9)
    kernels.write(
        [base[::2]], Cut(torch.tensor([0.0])), torch.tensor([1.0]), rounding="nearest", noise=None
    )
    assert base.tolist() == [1.0, pytest.approx(0.9)] * 5


@pytest.mark.usefixtures("backend")
@quick
@given(arrays=sets)
def test_copy(arrays):
    """Each source lands on its destination."""
    sources, destinations = tensors(arrays), [torch.full(a.shape, 5.0) for a in arrays]
    kernels.copy(destinations, sources)
    assert all(alike(a, b) for a, b in zip(destinations, sources, strict=True))


@pytest.mark.usefixtures("backend")
def test_copy_between_layouts_and_types():
    """What lies differently or is of another type is copied by value."""
    w = torch.randn(2, 3, 4, 5)
    for there in (
        torch.empty(2, 3, 4, 5, dtype=torch.float64),
        torch.empty(5, 3, 4, 2).transpose(0, 3),
    ):
        kernels.copy([there], [w])
        assert torch.equal(there.float(), w)


# ---- shadows ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("backend")
@over()
@pytest.mark.parametrize("spared", ["quantization", "everything"])
def test_what_shadows_are_spared(row, spared):
    """Spared quantization, a shadow holds the pruned weights; spared everything, all as it was."""
    rng = np.random.default_rng(4)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((5, 4), (3,), (0,))]
    before, weights = tensors(arrays), tensors(arrays)
    named = {str(i): w for i, w in enumerate(weights)}
    op = row.of(len(named))
    state = op.init(named)
    plain, _ = op.apply(named, state)
    shadows = [torch.full_like(w, 9.0) for w in weights]
    after = compress_(op, weights, state, shadows=shadows, spared=spared)
    assert all(alike(a, b) for a, b in zip(weights, plain.values(), strict=True))
    if spared == "everything":
        assert all(alike(a, b) for a, b in zip(shadows, before, strict=True))
        return
    noise = noise_of(state, arrays)
    _, masks = expected(arrays, after.written, noise=noise, **row.settings)
    for shadow, w, mask in zip(shadows, arrays, masks, strict=True):
        assert np.array_equal(shadow.numpy(), np.where(mask, w, 0))


@pytest.mark.usefixtures("backend")
@over("pq-8", "qp-8")
def test_shadows_of_another_type(row):
    """Shadows of bfloat16 weights hold those weights, in their type."""
    w = torch.randn(30, generator=torch.Generator().manual_seed(5)).bfloat16()
    before, shadow = w.clone(), torch.zeros_like(w)
    state = compress_(row.op, [w], row.op.init({"w": w}), shadows=[shadow])
    assert torch.equal(shadow, before)
    compress_(row.op, [before], row.op.init({"w": w}), shadows=[shadow], spared="quantization")
    assert torch.equal(before, w)
    assert shadow.count_nonzero() == state.written.kept.item()


@pytest.mark.usefixtures("backend")
@over()
def test_unchecked_passes_flag_what_is_not_finite(row):
    """Without the check nothing raises; the rows say which tensor it was, others are written."""
    good, bad = torch.linspace(-1, 1, 9), torch.tensor([1.0, np.nan, 2.0])
    state = compress_(row.op, [bad], row.op.init({"bad": bad}), check=False)
    assert state.written.finite.tolist() == [False]
    if row.alone:
        alone = row.op(good)
        bad = torch.tensor([1.0, np.inf, 2.0])
        op = row.of(2)
        state = op.init({"good": good, "bad": bad})
        state = compress_(op, [good, bad], state, check=False)
        assert state.written.finite.tolist() == [True, False]
        assert torch.equal(good, alone)


# ---- float32 ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("bits", range(2, 24))
def test_nearest_alone_is_idempotent_to_23_bits(bits):
    """For every largest magnitude: its multiple of the step has the same step again."""
    largest = np.arange(2**23, 2**24).astype(np.float32)  # every mantissa
    levels = 2 ** (bits - 1) - 1
    step = (largest.astype(np.float64) / levels).astype(np.float32)
    written = np.rint(largest / step) * step
    assert np.array_equal((written.astype(np.float64) / levels).astype(np.float32), step)
