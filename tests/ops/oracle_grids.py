"""Grids of few values once more, in numpy: quantiles by sorting, codes by trying all of them."""

import math

import numpy as np

__all__ = ["few_values"]


def few_values(w, mask, bits, recorded, *, quantile=None):
    """Return what a grid of few values writes; the recorded step must be the same."""
    kept = np.sort(np.abs(w[mask]))
    top = 2 ** (bits - 1) - 1
    step = 0.0
    if kept.size and kept.max() <= 1e38:
        step = np.float64(kept[math.ceil(quantile * kept.size) - 1]) / top
    step = np.float32(step if step >= np.finfo(np.float32).tiny else 0)
    assert step == recorded
    if recorded == 0:
        return w
    with np.errstate(over="ignore"):
        codes = np.clip(np.rint(w / recorded), -top, top)
    return codes * recorded
