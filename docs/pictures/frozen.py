"""How many codes a training step changes, in place: ``python docs/pictures/frozen.py``."""

import torch
from drawing import main, shades
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from training import Watched

from espalier.ops import UniformQuantizer

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
WIDTHS = (3, 4, 6, 8, 16)
STEPS, COUNTED = 60, 30
SMALLEST = 0.01
"""Percent, below which the scale is even down to 0."""


def changed_share(operator: UniformQuantizer, lr: float) -> float:
    """Return the percentage of codes that a step changes, the mean over the last steps."""
    network = Watched(None, lr=lr)
    weights = {n: p for n, p in network.model.named_parameters() if "norm" not in n}
    state, before, shares = operator.init(weights), {}, []
    for step in network.steps(STEPS):
        compressed, state = operator.apply(weights, state)
        codes = {}
        for i, (name, p) in enumerate(weights.items()):
            with torch.no_grad():
                p.copy_(compressed[name])
            q = state.written.step[i]
            codes[name] = torch.round(p.detach() / q) if q > 0 else p.detach().clone()
        if step > STEPS - COUNTED:
            differ = sum(int((codes[n] != before[n]).sum()) for n in codes)
            shares.append(100 * differ / sum(c.numel() for c in codes.values()))
        before = codes
    return sum(shares) / len(shares)


def draw(figure: Figure) -> None:
    """Draw a line per bit width, and one for stochastic rounding."""
    axes = figure.add_subplot()
    operators = [UniformQuantizer(bits=bits) for bits in WIDTHS]
    for operator, color in zip(operators, shades(len(WIDTHS)), strict=True):
        shares = [changed_share(operator, lr) for lr in RATES]
        axes.plot(RATES, shares, "o-", color=color, markersize=4, label=f"{operator.bits} bits")
    stochastic = UniformQuantizer(bits=4, rounding="stochastic")
    shares = [changed_share(stochastic, lr) for lr in RATES]
    label = "4 bits,\nstochastic\nrounding"
    color = shades(len(WIDTHS))[WIDTHS.index(4)]
    axes.plot(RATES, shares, "s:", color=color, markersize=4, label=label)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=SMALLEST)
    axes.set_ylim(-SMALLEST / 5, 130)
    ticks = [0, *(10.0**n for n in range(-2, 3))]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("learning rate")
    axes.set_ylabel("weights whose code a step changes, %")
    axes.set_title("In place, low bits swallow the updates")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


if __name__ == "__main__":
    main("frozen", draw, (7.2, 3.9))
