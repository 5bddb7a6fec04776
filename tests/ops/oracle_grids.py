"""Grids of few values once more, in numpy: quantiles by sorting, codes by trying all of them."""

import math

import numpy as np

__all__ = ["few_values"]


def few_values(w, mask, bits, recorded, *, quantile=None, learned=False, price=None):
    """Return what a grid of few values writes; the recorded step must be the same."""
    kept = np.sort(np.abs(w[mask]))
    top = 2 ** (bits - 1) - 1
    step = 0.0
    exists = kept.size and kept.max() <= 1e38
    if exists and learned:
        step = 2 * math.fsum(kept.astype(float)) / kept.size / (top + 1)
    elif exists:
        step = np.float64(kept[math.ceil(quantile * kept.size) - 1]) / top
    step = np.float32(step if step >= np.finfo(np.float32).tiny else 0)
    assert near(step, recorded) if learned else step == recorded
    if recorded == 0:
        return w
    if price is not None:
        return np.where(mask, coded(w, mask, recorded, top, price), 0)
    with np.errstate(over="ignore"):
        codes = np.clip(np.rint(w / recorded), -top, top)
    return codes * recorded


def coded(w, mask, step, top, price, counts=None):
    """Return the values of the codes of least cost, all of them tried for every weight."""
    with np.errstate(over="ignore"):
        u = np.where(mask, np.abs(w / step), 0).astype(np.float64)
    if counts is None:
        nearest = np.minimum(np.floor(np.minimum(u, 1e6) + 0.5), top).astype(int)
        counts = [int((nearest == c).sum()) for c in range(top + 1)]
    total = sum(counts) + top + 1
    bits = [-math.log2((n + 1) / total) + (c > 0) for c, n in enumerate(counts)]
    codes = np.zeros(w.shape)
    for place, v in np.ndenumerate(u):
        costs = [(min(v, 2.0**20) - c) ** 2 + price * b for c, b in enumerate(bits)]
        best = min(range(top + 1), key=lambda c, costs=costs: (costs[c], -c))
        codes[place] = (top if v >= 2.0**20 else best) if v > 0 else 0
    return (np.sign(w) * codes).astype(np.float32) * step


def near(mine, theirs):
    """Whether two float32 values are the same or neighbours."""
    return mine == theirs or np.nextafter(mine, theirs) == theirs
