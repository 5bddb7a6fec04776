"""Weights over epochs, before and after the pass: ``python docs/pictures/histograms.py``."""

import numpy as np
from drawing import ACCENT, FAINT, PALE, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from training import STEPS_PER_EPOCH, Watched

from espalier.ops import PruneThenQuantize

LAYER, GAMMA, BITS, LR = "fc1.weight", 0.625, 4, 0.05
SHOWN = (1, 30, STEPS_PER_EPOCH, 3 * STEPS_PER_EPOCH, 6 * STEPS_PER_EPOCH)
"""Steps whose weights are drawn."""
REACH, BINS = 0.2, 101


def draw(figure: Figure) -> None:
    """Draw a row per step: the updated weights with the threshold, and what the network runs on."""
    network = Watched(PruneThenQuantize(gamma=GAMMA, bits=BITS), lr=LR)
    rows = figure.subplots(len(SHOWN), 2, sharex=True, squeeze=False)
    for step in network.steps(SHOWN[-1]):
        if step in SHOWN:
            layer = next(r for r in network.compressor.report().layers if r.name == LAYER)
            compressed = network.model.get_parameter(LAYER).detach().numpy().ravel()
            updated = network.updated[LAYER].numpy().ravel()
            before, after = rows[SHOWN.index(step)]
            _before(before, updated, layer.threshold)
            _after(after, compressed)
            epoch = f"epoch {step // STEPS_PER_EPOCH}" if step % STEPS_PER_EPOCH == 0 else ""
            before.set_ylabel(f"step {step}\n{epoch}".strip(), rotation=0, ha="right", va="center")
            text = f"{100 * layer.density_mask:.0f} % kept\n{layer.levels} values"
            after.text(0.99, 0.9, text, transform=after.transAxes, ha="right", va="top", fontsize=9)
    rows[0, 0].set_title("after the update: kept, and cut at ± β", pad=12)
    rows[0, 1].set_title("after the pass: what the next step runs on", pad=12)
    for axes in rows[-1]:
        axes.set_xlabel("value of the weight")


def _before(axes: Axes, weights: np.ndarray, threshold: float) -> None:
    edges = np.linspace(-REACH, REACH, BINS + 1)
    kept = np.abs(weights) >= threshold
    axes.hist(weights[~kept], edges, color=PALE, histtype="stepfilled")
    counts, *_ = axes.hist(weights[kept], edges, color="#365c8d", histtype="stepfilled")
    axes.set_ylim(0, counts.max() * 1.4)  # the pruned ones are far more, all near 0
    for side in (-threshold, threshold):
        axes.axvline(side, color=ACCENT, linewidth=1.2)
    _plain(axes)


def _after(axes: Axes, weights: np.ndarray) -> None:
    values, counts = np.unique(weights, return_counts=True)
    zero = values == 0
    axes.vlines(values[~zero], 0, counts[~zero], color="#365c8d", linewidth=2.5)
    top = counts[~zero].max() * 1.25
    axes.vlines(values[zero], 0, np.minimum(counts[zero], top), color=PALE, linewidth=4)
    axes.set_ylim(0, top)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.set_xlim(-REACH, REACH)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(color=FAINT)


if __name__ == "__main__":
    main("histograms", draw, (7.6, 6.4))
