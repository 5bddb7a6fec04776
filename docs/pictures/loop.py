"""The training loop, the paper's figure 1 drawn anew: ``python docs/pictures/loop.py``."""

from drawing import ACCENT, FAINT, INK, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

BLUE, GREEN = "#e4edf5", "#e6f0df"
WIDTH, HEIGHT = 1.75, 0.86
BOXES = {
    "batch": (0.0, 2.0, "batch n", "images, labels", "#f4f4f2"),
    "forward": (2.5, 2.0, "forward", "Y(n) on C(n − 1)", BLUE),
    "error": (5.0, 2.0, "error", "E(n) = loss(Y(n), labels)", BLUE),
    "gradient": (7.5, 2.0, "backward", "G(n) at C(n − 1)", BLUE),
    "update": (7.5, 0.2, "optimizer", "W(n)", BLUE),
    "prune": (5.0, 0.2, "prune P", "H(n): |w| ≥ β = γ std(W)", GREEN),
    "quantize": (2.5, 0.2, "quantize Q", "C(n) = q · round(H / q)", GREEN),
}
"""Center, name, what it gives, color."""
ARROWS = (
    ("batch", "forward"),
    ("forward", "error"),
    ("error", "gradient"),
    ("gradient", "update"),
    ("update", "prune"),
    ("prune", "quantize"),
    ("quantize", "forward"),
)


def draw(figure: Figure) -> None:
    """Draw the boxes, the way around, and what the update rules start from."""
    axes = figure.add_subplot()
    for x, y, name, gives, color in BOXES.values():
        _box(axes, x, y, name, gives, color)
    for start, end in ARROWS:
        _arrow(axes, start, end)
    axes.text(2.62, 1.1, "iteration n + 1\nruns on C(n)", fontsize=8.5, color=INK, va="center")
    _starts(axes, 5.0, "hybrid: updates go to H(n)", -0.62)
    _starts(axes, 2.5, "in place: updates go to C(n)", -1.02)
    axes.text(7.62, 1.1, "latent: updates\ngo to W(n)", fontsize=8.5, color=ACCENT, va="center")
    axes.set_xlim(-1.05, 9.4)
    axes.set_ylim(-1.3, 2.6)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _box(axes: Axes, x: float, y: float, name: str, gives: str, color: str) -> None:
    corner = (x - WIDTH / 2 - 0.1, y - HEIGHT / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner,
            WIDTH + 0.2,
            HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=color,
            edgecolor=FAINT,
            linewidth=1.0,
        )
    )
    axes.text(x, y + 0.15, name, ha="center", va="center", fontsize=10.5, weight="bold")
    axes.text(x, y - 0.2, gives, ha="center", va="center", fontsize=7.2)


def _arrow(axes: Axes, start: str, end: str) -> None:
    (x, y), (to_x, to_y) = BOXES[start][:2], BOXES[end][:2]
    half_width, half_height = WIDTH / 2 + 0.1, HEIGHT / 2
    if y == to_y:
        side = 1 if to_x > x else -1
        ends = (x + side * half_width, y), (to_x - side * half_width, to_y)
    else:
        side = 1 if to_y > y else -1
        ends = (x, y + side * half_height), (to_x, to_y - side * half_height)
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "color": INK, "linewidth": 1.3}
    axes.add_patch(FancyArrowPatch(*ends, shrinkA=1, shrinkB=1, **style))


def _starts(axes: Axes, x: float, text: str, y: float) -> None:
    """Draw a way back from a box to the optimizer, below all boxes."""
    bottom, to_x = BOXES["prune"][1] - HEIGHT / 2, BOXES["update"][0] + (0.3 if x < 5 else -0.1)
    axes.plot([x, x, to_x], [bottom, y, y], color=ACCENT, linewidth=1.0, linestyle=(0, (4, 2)))
    style = {"arrowstyle": "-|>", "mutation_scale": 10, "color": ACCENT, "linewidth": 1.0}
    axes.add_patch(FancyArrowPatch((to_x, y), (to_x, bottom), shrinkA=0, shrinkB=1, **style))
    axes.text(x + 0.12, y + 0.04, text, fontsize=8.5, color=ACCENT, va="bottom")


if __name__ == "__main__":
    main("loop", draw, (8.4, 3.3))
