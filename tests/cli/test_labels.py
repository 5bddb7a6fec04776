"""Labels keep off each other, off lines, and inside of the picture."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from espalier.cli.labels import Label, place_labels

POINT = st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9))


def placed(points: list[tuple[float, float]]) -> tuple[list[Bbox], Bbox]:
    figure = Figure(figsize=(7, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    texts = place_labels(axes, [Label("3 bits", at, {}) for at in points], [[p] for p in points])
    return [text.get_window_extent() for text in texts], axes.bbox


@settings(max_examples=10, deadline=None)
@given(POINT, st.floats(-0.03, 0.03), st.floats(-0.03, 0.03))
def test_two_neighbours_never_overlap(point: tuple[float, float], right: float, up: float) -> None:
    """However near two points are, both names can be read, within the picture."""
    boxes, inside = placed([point, (point[0] + right, point[1] + up)])

    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1) for box in boxes)


def test_a_point_alone_has_its_label_below_to_the_right() -> None:
    """The first place is taken where it is free."""
    (box,), inside = placed([(0.5, 0.5)])
    assert box.x0 > (inside.x0 + inside.x1) / 2
    assert box.y1 < (inside.y0 + inside.y1) / 2
