"""Weights near the threshold, step by step: ``python docs/pictures/barrier.py``."""

import numpy as np
import torch
from drawing import FAINT, PALE, main, shades
from matplotlib.figure import Figure
from training import STEPS_PER_EPOCH, Watched

from espalier.ops import PruneThenQuantize

LAYER, GAMMA, BITS, LR = "fc1.weight", 0.625, 4, 0.05
STEPS = 3 * STEPS_PER_EPOCH
LOST, BACK, STAYING = 4, 2, 2
"""Weights drawn of each kind, where there are so many."""


def watch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train; return a layer's updated weights and their mask, (steps, weights), and thresholds."""
    network = Watched(PruneThenQuantize(gamma=GAMMA, bits=BITS), lr=LR)
    weights, thresholds = [], []
    for _ in network.steps(STEPS):
        updated = network.updated[LAYER].reshape(-1)
        weights.append(updated.numpy())
        thresholds.append(GAMMA * float(updated.double().std(correction=0)))
    stacked, limits = np.stack(weights), np.array(thresholds)
    return stacked, np.abs(stacked) >= limits[:, None], limits


def draw(figure: Figure) -> None:
    """Draw some weights of three kinds, and what share crosses the threshold."""
    weights, kept, limits = watch()
    chosen = _chosen(weights, kept, limits)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    at = np.arange(1, STEPS + 1)
    upper.fill_between(at, -limits, limits, color=PALE, alpha=0.55, linewidth=0)
    middle = 0.55 * limits[-1]
    upper.text(STEPS * 0.99, middle, "pruned: |w| < β", ha="right", va="center", color=FAINT)
    for i, color in zip(chosen, shades(len(chosen)), strict=True):
        inside = np.where(kept[:, i], np.nan, weights[:, i])
        upper.plot(at, np.where(kept[:, i], weights[:, i], np.nan), color=color, linewidth=1.6)
        upper.plot(at, inside, color=color, linewidth=0.6, alpha=0.7)
    upper.set_ylabel("weight after the update")
    upper.set_title("± β is a barrier: what falls between does not come back")
    lost, back = _crossings(kept)
    lower.plot(at[1:], _smooth(100 * lost / kept[:-1].sum(1)), color="#365c8d")
    lower.text(
        STEPS * 0.99, 0.7, f"in all {lost.sum():,} were lost and {back.sum():,} came back",
        ha="right", va="center", fontsize=9,
    )  # fmt: skip
    lower.set_yscale("log")
    lower.set_ylabel("kept ones\nlost in a step, %")
    lower.set_xlabel(f"training step ({STEPS_PER_EPOCH} an epoch)")


def _chosen(weights: np.ndarray, kept: np.ndarray, limits: np.ndarray) -> list[int]:
    """Return weights that are lost for good, that come back, and that stay, first ones first."""
    order = torch.randperm(weights.shape[1], generator=torch.Generator().manual_seed(1)).numpy()
    near = np.abs(weights).max(0) < 5 * limits.max()
    early = kept[:20].all(0) & near
    lost = early & ~kept[STEPS // 2 :].any(0)
    back = early & (~kept[60:120]).any(0) & kept[-60:].all(0)
    kinds = ((lost, LOST), (back, BACK), (kept.all(0) & near, STAYING))
    return [int(i) for mask, count in kinds for i in order[mask[order]][:count]]


def _crossings(kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each step how many kept weights are lost, and how many pruned ones return."""
    before, now = kept[:-1], kept[1:]
    return (before & ~now).sum(1), (~before & now).sum(1)


def _smooth(share: np.ndarray, over: int = 9) -> np.ndarray:
    padded = np.pad(share, over // 2, mode="edge")
    return np.convolve(padded, np.ones(over) / over, mode="valid")


if __name__ == "__main__":
    main("barrier", draw, (7.4, 5.4))
