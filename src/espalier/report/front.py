"""The picture of a front: accuracy against bytes, a color a bit width."""

from collections.abc import Sequence

from espalier.report.beyond import front, size_kind
from espalier.report.charts import Dot, Scatter, Series
from espalier.report.draw import draw
from espalier.report.runs import RunRow
from espalier.report.texts import texts

__all__ = ["draw_front"]


def draw_front(runs: Sequence[RunRow], *, lang: str = "en") -> tuple[bytes, bytes]:
    """Draw all finished runs and join those of the front; return SVG and PNG.

    Heights are validation accuracies, which choose the front.

    Args:
        runs: at least one of them finished, with a file.
        lang: ``en`` or ``pt``.
    """
    widths = sorted({run.bits for run in runs})
    done = [run for run in runs if run.done]
    kind = size_kind(runs)
    chart = Scatter(
        key="size",
        x="size_file",
        y="val_accuracy",
        series=tuple(
            Series(gamma=bits, dots=tuple(_dot(run) for run in done if run.bits == bits))
            for bits in widths
        ),
        front=tuple(_dot(run) for run in front(runs, kind)),
    )
    return draw(chart, {**texts(lang), "legend": texts(lang)["bits"]}, widths)


def _dot(run: RunRow) -> Dot:
    return Dot(x=(run.size_bytes or 0) / 1000, y=run.val_accuracy, label=run.run_id)
