"""Equations 1 to 4 once more, in numpy: exact sums, float64 statistics, float32 arithmetic.

Statistics may differ from the library's in the last bit of float64, and so, rarely, a threshold
in the last bit of float32. The oracle checks the recorded value against its own and goes on with
the recorded one, so that everything after it can be compared bit for bit.
"""

import math
from types import SimpleNamespace

import numpy as np
import torch

from espalier.ops import Operator, State

from .oracle_grids import few_values

__all__ = ["apply_to", "expected", "noise_of", "same_bits", "within_an_ulp"]


def expected(weights, written, *, gamma=None, density=None, strict=False, bits=32,
             rounding="nearest", noise=None, quantize_first=False, zeros=True, correction=0,
             jointly=False, filters=None, lamp=False, least=0, **few):  # fmt: skip
    """Return what an operator with these settings writes, and the masks of what it keeps."""
    if filters is not None:
        return _filtered(
            weights, written, filters, gamma, strict=strict, bits=bits, rounding=rounding,
            noise=noise,
        )  # fmt: skip
    if jointly:
        return _as_one(
            weights, written, noise, gamma=gamma, strict=strict, bits=bits, rounding=rounding,
            quantize_first=quantize_first, zeros=zeros, correction=correction,
        )  # fmt: skip
    noise = noise or [None] * len(weights)
    steps = [np.float32(s) for s in written.step.tolist()]
    if quantize_first:
        whole = [np.ones(w.shape, bool) for w in weights]
        weights = [
            quantized(w, m, np.float32(0), bits, rounding, u, q)
            for w, m, u, q in zip(weights, whole, noise, steps, strict=True)
        ]
    thresholds = [np.float32(t) for t in written.threshold.tolist()]
    if density is not None:
        total = sum(w.size for w in weights)
        k = math.floor(density * total + 0.5)
        masks = best(weights, k, least) if lamp else largest(weights, k)
        limits = [lowest_kept(weights, masks)] * len(weights)
        if lamp and 0 < k < total:
            limits = [np.abs(w)[m].min(initial=np.inf) for w, m in zip(weights, masks, strict=True)]
    else:
        limits = [deviation_threshold(w, gamma, zeros, correction) for w in weights]
        masks = [
            np.abs(w) > t if strict else np.abs(w) >= t
            for w, t in zip(weights, thresholds, strict=True)
        ]
    for mine, theirs in zip(limits, thresholds, strict=True):
        assert within_an_ulp(mine, theirs)
    if few:
        weights = [
            few_values(w, m, bits, q, **few) for w, m, q in zip(weights, masks, steps, strict=True)
        ]
    elif not quantize_first:
        weights = [
            quantized(*row) for row in zip(weights, masks, thresholds, [bits] * len(weights),
                                           [rounding] * len(weights), noise, steps, strict=True)
        ]  # fmt: skip
    return [np.where(m, w, 0) + np.float32(0) for w, m in zip(weights, masks, strict=True)], masks


def _as_one(weights, written, noise, **settings):
    """A set taken as one tensor: concatenated, done as ever, and taken apart again."""
    rows = {row: getattr(written, row) for row in ("step", "threshold")}
    assert all((values == values[0]).all() for values in rows.values())
    whole = np.concatenate([w.ravel() for w in weights])
    noise = noise and [np.concatenate([u.ravel() for u in noise])]
    one = SimpleNamespace(**{row: values[:1] for row, values in rows.items()})
    (values,), (mask,) = expected([whole], one, noise=noise, **settings)
    ends = np.cumsum([w.size for w in weights])[:-1]
    return tuple(
        [part.reshape(w.shape) for part, w in zip(np.split(flat, ends), weights, strict=True)]
        for flat in (values, mask)
    )


def _filtered(weights, written, filters, gamma, **settings):
    """Filters go, then all is as ever: by a deviation, or on a grid of the nonzeros that stay."""
    masks = best_filters(weights, *filters)
    left = [np.where(m, w, 0) for w, m in zip(weights, masks, strict=True)]
    settings |= {"gamma": 0, "strict": True} if gamma is None else {"gamma": gamma}
    values, later = expected(left, written, **settings)
    if gamma is not None:
        masks = [m & n for m, n in zip(masks, later, strict=True)]
    return values, masks


def best_filters(weights, density, least, keep_last=False):
    """Masks of the filters of the largest mean square against their tensor's, one by one."""
    scores = []
    for i, w in enumerate(weights):
        if w.ndim < 2 or not w.size:
            continue
        squares = [math.fsum(float(v) ** 2 for v in f.ravel()) / f.size for f in w]
        mean = math.fsum(squares) / len(squares)
        own = [float(np.float32(s / mean if mean else 0)) for s in squares]
        first = sorted(range(len(w)), key=lambda f, own=own: -own[f])[:least]
        last = len(scores)
        scores += [(-math.inf if f in first else -own[f], i, f) for f in range(len(w))]
    scores = scores[:last] if keep_last and scores else scores
    k = max(math.floor(density * len(scores) + 0.5), sum(s == -math.inf for s, _, _ in scores))
    masks = [np.ones(w.shape, bool) for w in weights]
    for _, i, f in sorted(scores)[k:]:
        masks[i][f] = False
    return masks


def deviation_threshold(w, gamma, zeros=True, correction=0):
    """Equation 1, with sums that don't round."""
    x = [float(v) for v in w.ravel() if zeros or v != 0]
    if gamma is None or len(x) <= correction:
        return np.float32(0)
    mean = math.fsum(x) / len(x)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in x) / (len(x) - correction))
    with np.errstate(over="ignore"):
        return np.float32(gamma * std)


def largest(weights, k):
    """Masks of the k largest magnitudes of all, the first among equals."""
    magnitudes = np.concatenate([np.abs(w).ravel() for w in weights])
    flat = np.zeros(magnitudes.size, bool)
    flat[np.argsort(-magnitudes, kind="stable")[:k]] = True
    ends = np.cumsum([w.size for w in weights])[:-1]
    return [m.reshape(w.shape) for m, w in zip(np.split(flat, ends), weights, strict=True)]


def best(weights, k, least, prices=()):
    """Masks of the k best layer-adaptive scores of all, entry by entry; the first among equals."""
    scores = []
    for i, w in enumerate(weights):
        order = np.argsort(-np.abs(w).ravel(), kind="stable")
        exponent = math.frexp(float(np.abs(w).max(initial=0)))[1]
        units = 2.0 ** (62 - w.size.bit_length() - 2 * exponent)
        total = 0
        for rank, entry in enumerate(order):
            square = float(w.ravel()[entry]) ** 2 * units
            total += int(square)
            natural = min(square / total, 1.0) if total else 0.0
            natural /= prices[i] if prices else 1
            score = 1.0 + least - rank if rank < least else natural
            scores.append((-score, i, rank, entry))
    masks = [np.zeros(w.size, bool) for w in weights]
    for _, i, _, entry in sorted(scores)[:k]:
        masks[i][entry] = True
    return [m.reshape(w.shape) for m, w in zip(masks, weights, strict=True)]


def lowest_kept(weights, masks):
    """The threshold of a budget: 0 where all stay, infinite where none does."""
    kept = np.concatenate([np.abs(w)[m] for w, m in zip(weights, masks, strict=True)])
    if kept.size == sum(w.size for w in weights):
        return np.float32(0 if kept.size else np.inf)
    return kept.min() if kept.size else np.float32(np.inf)


def quantized(w, mask, beta, bits, rounding, noise, recorded):
    """Equations 3 and 4 over the masked weights; the recorded step must be the same."""
    kept = np.abs(w[mask]).astype(np.float64)
    if bits == 32 or not kept.size or kept.max() > 1e38:
        step = 0.0
    elif bits == 1:
        step = math.fsum(kept) / kept.size
    else:
        step = (kept.max() - np.float64(beta)) / (2 ** (bits - 1) - 1)
    step = np.float32(step if step >= np.finfo(np.float32).tiny else 0)
    assert within_an_ulp(step, recorded) if bits == 1 else step == recorded
    if recorded == 0:
        return w
    if bits == 1:
        return np.sign(w) * recorded
    with np.errstate(over="ignore"):  # of pruned weights, which may lie far below the threshold
        index = w / recorded
        if rounding == "nearest":
            return np.rint(index) * recorded
        return np.floor(index if noise is None else index + noise) * recorded


def within_an_ulp(mine, theirs):
    """Whether two float32 values are the same or neighbours."""
    return mine == theirs or np.nextafter(mine, theirs) == theirs


def same_bits(a, b):
    """Whether two arrays hold the same float32 bits in the same shape."""
    a, b = (np.asarray(x, np.float32) for x in (a, b))
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def apply_to(op: Operator, *weights: np.ndarray, state: State | None = None):
    """Apply an operator to arrays as a set; return the written arrays and the state after."""
    named = {f"w{i}": torch.from_numpy(np.array(w)) for i, w in enumerate(weights)}
    written, after = op.apply(named, op.init(named) if state is None else state)
    return [w.numpy() for w in written.values()], after


def noise_of(state: State, weights):
    """Return the noise that stochastic rounding draws from a state; None where it draws none."""
    if state.rng is None:
        return None
    generator = torch.Generator()
    generator.set_state(state.rng)
    return [torch.empty(w.shape).uniform_(generator=generator).numpy() for w in weights]
