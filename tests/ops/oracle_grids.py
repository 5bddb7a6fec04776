"""Grids of few values once more, in numpy: quantiles by sorting, codes by trying all of them."""

import math

import numpy as np

__all__ = ["few_values"]


def few_values(w, mask, bits, recorded, *, quantile=None, learned=False):
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
    with np.errstate(over="ignore"):
        codes = np.clip(np.rint(w / recorded), -top, top)
    return codes * recorded


def near(mine, theirs):
    """Whether two float32 values are the same or neighbours."""
    return mine == theirs or np.nextafter(mine, theirs) == theirs
