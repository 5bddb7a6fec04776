"""The compiled core against a slow oracle in numpy, bit for bit."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from espalier import core as core_module
from espalier.core import core

pytestmark = pytest.mark.skipif(
    core is None,
    reason="compiled core not built: needs a C compiler (gcc or clang) and Python's headers, "
    "then `pip install -e .` again",
)

VARIANTS = core.variants() if core is not None else ["none"]
NEAREST, FLOOR, STOCHASTIC, SIGN = range(4)
NO_SHADOW, COPY, PRUNED, MASKED = range(4)
BORDERS = (0, 1, 2, 15, 16, 17, 31, 33, 1000, 16383, 16384, 16385, 32768, 40001)
SPECIAL = (0.0, -0.0, 1e-45, -1e-45, 1.2e-38, -1e-40, 3.4028235e38, -3e38, 0.5, -0.5, 1.5, 2.5)
FENCE = np.float32(12345.678)

Floats = NDArray[np.float32]


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on every instruction set of this processor."""
    core.use(request.param)
    yield request.param
    core.use(VARIANTS[0])


@dataclass
class Memory:
    """A set of tensors with fences around each, at addresses that are multiples of 4 only."""

    buffers: list[Floats]
    tensors: list[Floats]

    @classmethod
    def of(cls, arrays: Sequence[Floats]) -> "Memory":
        buffers, tensors = [], []
        for number, array in enumerate(arrays):
            start = 1 + number % 17
            buffer = np.full(start + array.size + 3, FENCE)
            buffer[start : start + array.size] = array
            buffers.append(buffer)
            tensors.append(buffer[start : start + array.size])
        return cls(buffers, tensors)

    @property
    def addresses(self) -> NDArray[np.uint64]:
        return np.array([t.ctypes.data for t in self.tensors], np.uint64)

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.array([t.size for t in self.tensors], np.int64)

    def check_fences(self) -> None:
        for buffer, tensor in zip(self.buffers, self.tensors, strict=True):
            inside = (tensor.ctypes.data - buffer.ctypes.data) // 4
            assert (buffer[:inside] == FENCE).all()
            assert (buffer[inside + tensor.size :] == FENCE).all()


def same_bits(a: Floats, b: Floats) -> None:
    """Assert equality of bits; a NaN equals any other, since its payload is the processor's."""
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    seen = ~np.isnan(a)
    np.testing.assert_array_equal(a.view(np.uint32)[seen], b.view(np.uint32)[seen])


def numbers(seed: int, size: int) -> Floats:
    """Weights of all kinds: normal, special, and many equal ones."""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal(size) * 10.0 ** rng.integers(-3, 3)).astype(np.float32)
    special = rng.random(size) < 0.2
    w[special] = rng.choice(np.array(SPECIAL, np.float32), int(special.sum()))
    repeated = rng.random(size) < 0.1
    w[repeated] = rng.choice(np.array([0.25, -0.25], np.float32), int(repeated.sum()))
    return w


def keep_oracle(w: Floats, threshold: np.float32, ties: int) -> NDArray[np.bool_]:
    keep = np.abs(w) > threshold
    equal = np.flatnonzero(np.abs(w) == threshold)
    keep[equal if ties < 0 else equal[:ties]] = True
    return keep


def write_oracle(
    w: Floats, keep: NDArray[np.bool_], noise: Floats, step: np.float32, rounding: int
) -> Floats:
    with np.errstate(all="ignore"):
        if step == 0:
            value = w
        elif rounding == NEAREST:
            value = np.rint(w / step) * step
        elif rounding == FLOOR:
            value = np.floor(w / step) * step
        elif rounding == STOCHASTIC:
            value = np.floor(w / step + noise) * step
        else:
            value = np.where(w == 0, np.float32(0), np.copysign(step, w))
    return np.where(keep, value + np.float32(0), np.float32(0))


def shadow_oracle(w: Floats, keep: NDArray[np.bool_], shadow: Floats, mode: int) -> Floats:
    kept = np.where(keep, w + np.float32(0), np.float32(0))
    masked = np.where(keep, shadow, np.float32(0))
    return (shadow, w, kept, masked)[mode]


@dataclass
class Written:
    """What a call of write left behind."""

    weights: list[Floats]
    shadows: list[Floats]
    kept: NDArray[np.int64]
    nonzero: NDArray[np.int64]


def write(
    arrays: Sequence[Floats],
    shadows: Sequence[Floats],
    noise: Sequence[Floats],
    threshold: Sequence[float],
    ties: Sequence[int],
    step: Sequence[float],
    rounding: int,
    mode: int,
    threads: int = 1,
) -> Written:
    """Call write on fenced copies."""
    memory, shadow, random = Memory.of(arrays), Memory.of(shadows), Memory.of(noise)
    kept = np.full(len(arrays), -7, np.int64)
    nonzero = np.full(len(arrays), -7, np.int64)
    core.write(
        memory.addresses,
        memory.sizes,
        shadow.addresses,
        random.addresses,
        np.array(threshold, np.float32),
        np.array(ties, np.int64),
        np.array(step, np.float32),
        rounding,
        mode,
        kept,
        nonzero,
        threads,
    )
    for part in (memory, shadow, random):
        part.check_fences()
    for before, after in zip(noise, random.tensors, strict=True):
        same_bits(before, after)
    return Written(memory.tensors, shadow.tensors, kept, nonzero)


def check_write(
    arrays: Sequence[Floats],
    threshold: Sequence[float],
    ties: Sequence[int],
    step: Sequence[float],
    rounding: int,
    mode: int,
    threads: int = 1,
) -> None:
    """Assert that write does what the oracle does."""
    rng = np.random.default_rng(len(arrays))
    shadows = [rng.standard_normal(w.size).astype(np.float32) for w in arrays]
    noise = [rng.random(w.size, np.float32) for w in arrays]
    found = write(arrays, shadows, noise, threshold, ties, step, rounding, mode, threads)
    for i, w in enumerate(arrays):
        keep = keep_oracle(w, np.float32(threshold[i]), ties[i])
        wanted = write_oracle(w, keep, noise[i], np.float32(step[i]), rounding)
        same_bits(found.weights[i], wanted)
        same_bits(found.shadows[i], shadow_oracle(w, keep, shadows[i], mode))
        assert found.kept[i] == keep.sum()
        assert found.nonzero[i] == np.count_nonzero(wanted)


thresholds = st.sampled_from(
    [0.0, -0.0, -1.0, 0.25, 0.5, 1e-45, 1.2e-38, 0.1, 3.4028235e38, np.inf, np.nan]
)
steps = st.sampled_from([0.0, 0.01, 0.25, 0.1, 1e-40, 1e30, 0.3333])
tie_counts = st.sampled_from([-1, -5, 0, 1, 2, 100, 2000, 10**9])
sizes = st.sampled_from(BORDERS)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), rounding=st.integers(0, 3), mode=st.integers(0, 3))
def test_write_matches_the_oracle(data: st.DataObject, rounding: int, mode: int) -> None:
    """Whatever the sizes, thresholds, ties and steps, the written bits are numpy's."""
    count = data.draw(st.integers(0, 4))
    draw = lambda strategy: [data.draw(strategy) for _ in range(count)]  # noqa: E731
    arrays = [numbers(data.draw(st.integers(0, 99)), size) for size in draw(sizes)]
    core.use(data.draw(st.sampled_from(VARIANTS)))
    try:
        check_write(
            arrays,
            draw(thresholds),
            draw(tie_counts),
            draw(steps),
            rounding,
            mode,
            data.draw(st.integers(1, 3)),
        )
    finally:
        core.use(VARIANTS[0])


@pytest.mark.parametrize("mode", [NO_SHADOW, COPY, PRUNED, MASKED])
@pytest.mark.parametrize("rounding", [NEAREST, FLOOR, STOCHASTIC, SIGN])
def test_write_covers_every_rounding_and_shadow(variant: str, rounding: int, mode: int) -> None:
    """Each loop of each instruction set gives numpy's bits."""
    arrays = [numbers(seed, size) for seed, size in enumerate((0, 1, 19, 16385, 70))]
    check_write(
        arrays,
        [0.1, 0.5, 0.25, 0.25, 0.0],
        [-1, 0, 2, 700, -1],
        [0.3, 0, 0.01, 0.05, 0.1],
        rounding,
        mode,
    )


def test_write_keeps_the_first_ties_across_chunks(variant: str) -> None:
    """Of 50,000 equal magnitudes in four chunks exactly the first so many stay."""
    w = np.where(np.arange(50_000) % 3 == 0, -1, 1).astype(np.float32)
    for ties in (1, 16383, 16384, 16385, 40_000, 49_999, 50_000, 50_001):
        found = write([w], [w], [w], [1.0], [ties], [0.0], NEAREST, NO_SHADOW)
        kept = min(ties, w.size)
        same_bits(found.weights[0], np.where(np.arange(w.size) < kept, w, np.float32(0)))
        assert found.kept[0] == kept


def test_write_counts_zeros_of_both_signs_as_ties(variant: str) -> None:
    """At a threshold of 0, whatever its sign, the zeros are ties."""
    w = np.array([0.0, -0.0, 1.0, 1e-45] * 20, np.float32)
    for threshold in (0.0, -0.0):
        for ties, kept in ((-1, 80), (0, 40), (7, 47), (40, 80)):
            found = write([w], [w], [w], [threshold], [ties], [0.0], NEAREST, NO_SHADOW)
            assert found.kept[0] == kept
            assert found.nonzero[0] == 40


def test_write_keeps_zeros_where_denormals_are_flushed(variant: str) -> None:
    """A threshold of 0 keeps everything in torch's mode that takes denormals for zero too."""
    w = np.zeros(100, np.float32)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor can't flush denormals")
    try:
        found = write([w], [w], [w], [0.0], [-1], [0.0], NEAREST, NO_SHADOW, threads=1)
    finally:
        torch.set_flush_denormal(False)
    assert found.kept[0] == w.size


def test_write_prunes_nan(variant: str) -> None:
    """NaN exceeds no threshold; infinity does."""
    w = np.array([np.nan, np.inf, -np.inf, 1] * 9, np.float32)
    check_write([w], [0.5], [-1], [0.0], NEAREST, PRUNED)
    check_write([w], [0.0], [-1], [0.25], NEAREST, MASKED)


def test_write_leaves_missing_shadows_alone() -> None:
    """A shadow at address 0 is none, whatever the mode."""
    arrays = [numbers(1, 100), numbers(2, 100)]
    memory, shadow = Memory.of(arrays), Memory.of(arrays)
    addresses = shadow.addresses
    addresses[0] = 0
    counts = np.zeros((2, 2), np.int64)
    row = np.zeros(2, np.float32)
    core.write(
        memory.addresses,
        memory.sizes,
        addresses,
        np.zeros(2, np.uint64),
        row + np.float32(0.3),
        np.zeros(2, np.int64),
        row,
        NEAREST,
        MASKED,
        counts[0],
        counts[1],
        1,
    )
    same_bits(shadow.tensors[0], arrays[0])
    same_bits(shadow.tensors[1], np.where(np.abs(arrays[1]) > np.float32(0.3), arrays[1], 0))


def measure(
    arrays: Sequence[Floats], threads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    memory = Memory.of(arrays)
    std, max_abs = np.full(len(arrays), 7.0), np.full(len(arrays), 7, np.float32)
    core.measure(memory.addresses, memory.sizes, std, max_abs, threads)
    for before, after in zip(arrays, memory.tensors, strict=True):
        same_bits(before, after)
    return std, max_abs


@pytest.mark.parametrize("size", BORDERS)
def test_measure_matches_numpy(variant: str, size: int) -> None:
    """Standard deviation in float64 and largest magnitude are numpy's."""
    rng = np.random.default_rng(size)
    arrays = [
        rng.standard_normal(size).astype(np.float32),
        (1000 + rng.standard_normal(size) * 1e-3).astype(np.float32),
        (rng.standard_normal(size) * 1e30).astype(np.float32),
        (rng.standard_normal(size) * 1e-42).astype(np.float32),
    ]
    std, max_abs = measure(arrays)
    for i, w in enumerate(arrays):
        wanted = w.astype(np.float64).std() if size else 0.0
        assert std[i] == pytest.approx(wanted, rel=1e-11, abs=0)
        assert max_abs[i] == np.abs(w).max(initial=0)


def test_measure_finds_no_spread_in_a_constant(variant: str) -> None:
    """A constant tensor has a deviation of exactly 0."""
    values = (0.1, -3.3e-7, 1e38, 0.0, 1e-45)
    std, max_abs = measure([np.full(20_001, value, np.float32) for value in values])
    assert (std == 0).all()
    np.testing.assert_array_equal(max_abs, np.abs(np.array(values, np.float32)))


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 5, 16, 16384, 20_000])
def test_measure_reports_what_is_not_finite(variant: str, bad: float, place: int) -> None:
    """One bad entry makes its own tensor's deviation NaN, and no other's."""
    w = np.full(20_001, 0.5, np.float32)
    spoilt = w.copy()
    spoilt[place] = bad
    std, _ = measure([w, spoilt, w])
    np.testing.assert_array_equal(np.isnan(std), [False, True, False])


def kept_mean(
    arrays: Sequence[Floats], threshold: Sequence[float], ties: Sequence[int], threads: int = 1
) -> NDArray[np.float64]:
    memory = Memory.of(arrays)
    mean = np.full(len(arrays), 7.0)
    core.kept_mean(
        memory.addresses,
        memory.sizes,
        np.array(threshold, np.float32),
        np.array(ties, np.int64),
        mean,
        threads,
    )
    return mean


@pytest.mark.parametrize("ties", [-1, 0, 3, 10**6])
def test_kept_mean_matches_numpy(variant: str, ties: int) -> None:
    """The mean magnitude runs over what write would keep."""
    arrays = [np.clip(numbers(seed, size), -9, 9) for seed, size in enumerate(BORDERS)]
    threshold = [(0.25, 0.0, 0.5)[i % 3] for i in range(len(arrays))]
    found = kept_mean(arrays, threshold, [ties] * len(arrays))
    for i, w in enumerate(arrays):
        kept = np.abs(w[keep_oracle(w, np.float32(threshold[i]), ties)]).astype(np.float64)
        wanted = kept.mean() if kept.size else 0.0
        assert found[i] == pytest.approx(wanted, rel=1e-12, abs=0)


def test_kept_mean_of_nothing_is_zero(variant: str) -> None:
    """Where nothing is kept the mean is 0, not NaN."""
    assert kept_mean([numbers(0, 50), numbers(0, 0)], [np.inf, 0.0], [0, -1]).tolist() == [0.0, 0.0]


@settings(max_examples=20, deadline=None)
@given(st.lists(sizes, max_size=5), st.integers(1, 3))
def test_copy_copies(lengths: list[int], threads: int) -> None:
    """Every tensor arrives whole and nothing beside it changes."""
    arrays = [numbers(i, size) for i, size in enumerate(lengths)]
    source, target = Memory.of(arrays), Memory.of([np.zeros_like(w) for w in arrays])
    core.copy(target.addresses, source.addresses, source.sizes, threads)
    target.check_fences()
    for before, after in zip(arrays, target.tensors, strict=True):
        same_bits(before, after)


def check_largest(arrays: Sequence[Floats], k: int, threads: int) -> None:
    memory = Memory.of(arrays)
    threshold, above, equal = core.largest(memory.addresses, memory.sizes, k, threads)
    wanted = np.sort(np.abs(np.concatenate(arrays)))[-k]
    assert threshold == wanted
    assert above == [int((np.abs(w) > wanted).sum()) for w in arrays]
    assert equal == [int((np.abs(w) == wanted).sum()) for w in arrays]
    assert sum(above) < k <= sum(above) + sum(equal)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), lengths=st.lists(sizes, min_size=1, max_size=5).filter(any))
def test_largest_matches_a_sort(data: st.DataObject, lengths: list[int]) -> None:
    """The k-th largest magnitude of all tensors is a full sort's, ties counted."""
    arrays = [numbers(data.draw(st.integers(0, 99)), size) for size in lengths]
    k = data.draw(st.integers(1, sum(lengths)))
    core.use(data.draw(st.sampled_from(VARIANTS)))
    try:
        check_largest(arrays, k, data.draw(st.integers(1, 3)))
    finally:
        core.use(VARIANTS[0])


def test_largest_takes_every_rank(variant: str) -> None:
    """From the largest to the smallest, with infinity and denormals among them."""
    w = numbers(3, 60)
    w[7] = -np.inf
    for k in range(1, w.size + 1):
        check_largest([w[:20], w[20:]], k, 1)


def test_results_do_not_depend_on_threads_or_processor() -> None:
    """Deviations, means and weights have the same bits on 1, 2, 3 threads and any variant."""
    sizes = (300_003, 7, 16384, 50_000)  # enough entries for a team of threads
    arrays = [numbers(i, size) for i, size in enumerate(sizes)]
    tame = [np.clip(w, -100, 100) for w in arrays]
    thresholds_, ties = [0.1, 0.25, 0.25, 0.5], [-1, 1, 300, 2000]
    outcomes = set()
    for name in VARIANTS:
        core.use(name)
        for threads in (1, 2, 3):
            std, max_abs = measure(tame, threads)
            mean = kept_mean(tame, thresholds_, ties, threads)
            written = write(
                tame, tame, tame, thresholds_, ties, [0.03] * 4, STOCHASTIC, PRUNED, threads
            )
            parts = [std, max_abs, mean, written.kept, written.nonzero]
            outcomes.add(b"".join(p.tobytes() for p in parts + written.weights + written.shadows))
    core.use(VARIANTS[0])
    assert len(outcomes) == 1


U64, I64, F32, F64 = (np.ones(1, kind) for kind in (np.uint64, np.int64, np.float32, np.float64))
EMPTY = np.zeros(1, np.int64)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((I64, EMPTY, F64, F32, 1), TypeError, "addresses must be a buffer of uint64, found items"),
        ((U64, EMPTY, F32, F32, 1), TypeError, "std must be a buffer of float64, found items of 4"),
        ((U64, [0], F64, F32, 1), TypeError, "sizes must be a contiguous buffer of int64, found"),
        ((U64, EMPTY, bytes(8), F32, 1), TypeError, "std must be a contiguous writable buffer of"),
        (
            (U64, np.zeros(2, np.int64), F64, F32, 1),
            ValueError,
            "sizes holds 2 items and addresses",
        ),
        ((U64, -I64, F64, F32, 1), ValueError, r"sizes\[0\] must be at least 0, found -1"),
        (
            (0 * U64, I64, F64, F32, 1),
            ValueError,
            r"addresses\[0\] is null: give the address of 1 ",
        ),
        ((U64, I64, F64, F32, 1), ValueError, r"addresses\[0\] is not aligned to 4 bytes"),
        ((U64, EMPTY, F64, F32, 0), ValueError, "threads must be at least 1, found 0"),
        ((U64, EMPTY, F64, F32), TypeError, "missing required argument 'threads'"),
    ],
)
def test_measure_refuses(arguments: tuple[object, ...], error: type, message: str) -> None:
    """Arguments that don't fit are named, with what was found."""
    with pytest.raises(error, match=message):
        core.measure(*arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rounding": 4}, r"rounding must be 0 \(nearest\), .* found 4"),
        ({"rounding": -1}, "found -1"),
        ({"shadow_mode": 4}, r"shadow_mode must be 0 \(none\), .* found 4"),
        ({"rounding": STOCHASTIC}, r"noise\[0\] is null"),
        ({"shadows": 2 * U64}, r"shadows\[0\] is not aligned"),
        ({"shadows": 16 * U64}, r"shadows\[0\] is the address of the weights themselves"),
        ({"noise": 16 * U64}, r"noise\[0\] is the address of the weights themselves"),
        ({"ties": np.zeros(2, np.int64)}, "ties holds 2 items and addresses holds 1"),
    ],
)
def test_write_refuses(changed: dict[str, object], message: str) -> None:
    """Settings out of their bounds and shadows that can't be written are named."""
    good = {
        "addresses": 16 * U64,  # never read: each call is refused
        "sizes": I64,
        "shadows": 0 * U64,
        "noise": 0 * U64,
        "threshold": F32,
        "ties": I64,
        "step": F32,
        "rounding": NEAREST,
        "shadow_mode": NO_SHADOW,
        "kept": I64.copy(),
        "nonzero": I64.copy(),
        "threads": 1,
    }
    with pytest.raises(ValueError, match=message):
        core.write(**(good | changed))


def test_copy_refuses_null() -> None:
    """Both ends of a copy are checked."""
    with pytest.raises(ValueError, match=r"destinations\[0\] is null"):
        core.copy(0 * U64, 4 * U64, I64, 1)
    with pytest.raises(ValueError, match=r"sources\[0\] is null"):
        core.copy(4 * U64, 0 * U64, I64, 1)


def best_of(
    memory: Memory, k: int, least: int = 0, threads: int = 1, price: float = 1.0
) -> list[list[float]]:
    """Return threshold, ties that stay and ties for each tensor; the first one's price is given."""
    n = len(memory.tensors)
    prices = np.ones(n)
    prices[:1] = price
    top = np.array([np.abs(w).max(initial=0) for w in memory.tensors], np.float32)
    rows = np.zeros(n, np.float32), np.zeros(n, np.int64), np.zeros(n, np.int64)
    core.best(memory.addresses, memory.sizes, top, prices, *rows, k, least, threads)
    return [row.tolist() for row in rows]


def test_best_is_the_same_everywhere(variant: str) -> None:
    """On every instruction set, on one thread and on many; and k entries stay."""
    memory = Memory.of([numbers(1, 300_000), numbers(2, 20_000), numbers(3, 0), numbers(4, 7)])
    threshold, stay, equal = found = best_of(memory, 30_000, 20)
    assert best_of(memory, 30_000, 20, threads=3) == found
    core.use("base")
    assert best_of(memory, 30_000, 20) == found
    rows = zip(memory.tensors, threshold, stay, strict=True)
    assert sum(int((np.abs(w) > t).sum()) + n for w, t, n in rows) == 30_000
    assert equal == [
        int((np.abs(w) == t).sum()) for w, t in zip(memory.tensors, threshold, strict=True)
    ]


@pytest.mark.parametrize(("k", "least"), [(0, 0), (11, 0), (-1, 0), (5, 5), (5, -1)])
def test_best_refuses_budgets_out_of_bounds(k: int, least: int) -> None:
    """More than what stays in any case, and no more than there are."""
    with pytest.raises(ValueError, match=rf"k must lie in .* found k {k}, least {least}"):
        best_of(Memory.of([numbers(0, 10)]), k, least)


@pytest.mark.parametrize("price", [0.5, 0.0, -1.0, np.nan])
def test_best_refuses_prices_below_1(price: float) -> None:
    """Scores are looked for up to 1."""
    with pytest.raises(ValueError, match="prices must be at least 1"):
        best_of(Memory.of([numbers(0, 10)]), 5, price=price)


@pytest.mark.parametrize("quantile", [0.0, -1.0, 1.5, np.nan])
def test_quantiles_out_of_bounds(quantile: float) -> None:
    """A fraction above 0 and up to 1."""
    memory = Memory.of([numbers(0, 10)])
    rows = np.zeros(1, np.float32), np.zeros(1, np.int64), np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="quantile must be above 0 and at most 1"):
        core.kept_quantile(memory.addresses, memory.sizes, *rows, quantile)


@pytest.mark.parametrize("k", [0, -1, 11])
def test_largest_refuses_ranks_out_of_bounds(k: int) -> None:
    """There is no 0th and no 11th of ten."""
    memory = Memory.of([numbers(0, 10)])
    with pytest.raises(ValueError, match=rf"k must lie in \[1, 10\], .* found {k}"):
        core.largest(memory.addresses, memory.sizes, k, 1)


def test_use_refuses_an_unknown_variant() -> None:
    """A variant that this processor lacks is named."""
    with pytest.raises(ValueError, match="this processor runs no variant 'mmx'"):
        core.use("mmx")


@pytest.mark.parametrize(("value", "off"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_environment_turns_the_core_off(
    monkeypatch: pytest.MonkeyPatch, value: str, off: bool
) -> None:
    """ESPALIER_NO_CORE disables the core unless it is empty or 0."""
    monkeypatch.setenv("ESPALIER_NO_CORE", value)
    assert (core_module._load() is None) is off


def test_core_is_none_where_it_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extension there is no error, just no core."""
    monkeypatch.delenv("ESPALIER_NO_CORE", raising=False)
    monkeypatch.setitem(sys.modules, "espalier._core", None)
    assert core_module._load() is None


def pictures(**changed: object) -> dict[str, object]:
    """Arguments that take two of three 2x2 images of one channel, with some of them changed."""
    return {
        "set": np.arange(12, dtype=np.uint8),
        "out": np.empty(8, np.float32),
        "sizes": (2, 2, 1),
        "chosen": np.array([2, 0]),
        "down": np.array([0, 1]),
        "right": np.array([0, 0]),
        "flip": np.array([True, False]),
        "scale": np.ones(2, np.float32),
        "shift": np.array([0.5, 0.25], np.float32),
    } | changed


def test_take_pictures_moves_mirrors_and_normalizes() -> None:
    """The third image mirrored; the first one shifted down by a row, reflected there."""
    arguments = pictures()
    core.take_pictures(**arguments)
    expected = [9.5, 8.25, 11.5, 10.25, 2.5, 3.25, 0.5, 1.25]
    assert cast(Floats, arguments["out"]).tolist() == expected


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"chosen": np.array([3, 0])}, IndexError, r"chosen\[0\] is image 3 of 3"),
        ({"chosen": np.array([0, -1])}, IndexError, r"chosen\[1\] is image -1 of 3"),
        ({"down": np.array([0, 2])}, ValueError, r"image 1 is shifted by \(2, 0\) of \(2, 2\)"),
        ({"right": np.array([-2, 0])}, ValueError, r"image 0 is shifted by \(0, -2\)"),
        ({"out": np.empty(7, np.float32)}, ValueError, "buffers don't fit 2 images of 2 x 2 x 1"),
        ({"scale": np.ones(3, np.float32)}, ValueError, "buffers don't fit"),
        ({"sizes": (0, 2, 1)}, ValueError, r"sizes must lie in \[1, 65536\], found \(0, 2, 1\)"),
        ({"sizes": (2**62, 2**62, 4)}, ValueError, "sizes must lie in"),
        ({"down": np.array([0, -(2**63)])}, ValueError, "image 1 is shifted"),
    ],
)
def test_take_pictures_refuses(
    changed: dict[str, object], error: type[Exception], message: str
) -> None:
    """Nothing outside the set or the output is ever touched."""
    with pytest.raises(error, match=message):
        core.take_pictures(**pictures(**changed))
