"""Density against iteration, a line per learning rate: ``python docs/pictures/density.py``."""

from drawing import FAINT, label_ends, main, shades
from matplotlib.figure import Figure
from training import STEPS_PER_EPOCH, Watched

from espalier.ops import PruneThenQuantize

RATES = (0.005, 0.01, 0.05, 0.1)
OTHER_GAMMA = ((0.25, 0.01), (0.25, 0.05))
GAMMA, BITS, EPOCHS, EVERY = 0.625, 4, 4, 8


def course(gamma: float, lr: float) -> tuple[list[int], list[float]]:
    """Train, and return steps and mask densities in percent."""
    network = Watched(PruneThenQuantize(gamma=gamma, bits=BITS), lr=lr)
    at, densities = [], []
    for step in network.steps(EPOCHS * STEPS_PER_EPOCH):
        if step % EVERY == 1:
            at.append(step)
            densities.append(100 * network.compressor.report().density_mask)
    return at, densities


def draw(figure: Figure) -> None:
    """Draw a solid line per learning rate, and a dashed one for a weaker pruning."""
    axes = figure.add_subplot()
    ends: list[tuple[float, float, str, str]] = []
    colors = dict(zip(RATES, shades(len(RATES)), strict=True))
    for gamma, lr in (*((GAMMA, lr) for lr in RATES), *OTHER_GAMMA):
        at, densities = course(gamma, lr)
        solid = gamma == GAMMA
        style = {"color": colors[lr], "linewidth": 1.8 if solid else 1.3}
        axes.plot(at, densities, linestyle="-" if solid else (0, (4, 2)), **style)
        name = f"γ {gamma:g}, lr {lr:g}"
        ends.append((at[-1], densities[-1], name, colors[lr]))
    label_ends(axes, ends, gap=4.5)
    for epoch in range(1, EPOCHS + 1):
        axes.axvline(epoch * STEPS_PER_EPOCH, color=FAINT, alpha=0.25, linewidth=0.8, zorder=0)
    axes.set_xlim(0, EPOCHS * STEPS_PER_EPOCH)
    axes.set_ylim(0, 100)
    axes.set_xlabel("training step (light lines: epochs)")
    axes.set_ylabel("weights kept by the mask, %")
    axes.set_title("The higher the learning rate, the fewer weights stay")


if __name__ == "__main__":
    main("density", draw, (7.2, 4.0))
