"""Accuracy against bytes, with the paper's points: ``python docs/pictures/front.py [STUDY ..]``.

Reads the networks in benchmarks/networks, the records of studies in docs/studies, and those of the
studies given (directories, or .tar.xz of them); trains nothing. Accuracy is that of the test
images: of our networks at the epoch that validation chose, of the paper's rule (the paper's own
points, and ``paper-quick``) at the best epoch by test accuracy, as the paper reports.

Our sizes are those of files, with all that is in them. The paper says none: its points stand at
density x bits of all parameters of our copy of its network, and a line leads to where they would
be with the positions of the kept weights, coded at the entropy of their density.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Literal

from drawing import ACCENT, FAINT, FOLDER, INK, PALE, save
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullFormatter

from espalier import artifact
from espalier.metrics import published_table1
from espalier.records import StudyRecords, read_study
from espalier.report.networks import network_rows
from espalier.report.runs import run_rows

ROOT = Path(__file__).parents[2]
PARAMETERS = 2_083_018
"""Of our copy of the paper's network; the paper says about 2.1 million."""
LOWEST = 68.0
"""Percent, of what is drawn."""
SIZE = (7.6, 5.2)
BLUE, GREEN, VIOLET = "#1f6f8b", "#5b8e3e", "#8a5a9e"
TICKS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""kB."""
Kind = Literal["paper", "rule", "network", "strong", "short"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A network."""

    kind: Kind
    model: str
    accuracy: float
    """Test images, percent."""
    size_bytes: float
    spread: float | None = None
    """Sample standard deviation over seeds, where there are some."""
    with_positions: float | None = None
    """Bytes of the paper's points, positions included."""
    dense: bool = False


def points(studies: Iterable[StudyRecords], networks: Iterable[Path]) -> tuple[Point, ...]:
    """Return the paper's points, those of files and those of studies."""
    found = [*published(), *(of_file(path) for path in networks)]
    for study in studies:
        found += of_rule(study) if study.plan.name.startswith("paper") else of_networks(study)
    return tuple(found)


def published() -> tuple[Point, ...]:
    """Return Table I: bits of the kept weights in bytes, and with the entropy of positions."""
    rows = []
    for row in published_table1():
        values = row.density * row.bits * PARAMETERS / 8
        rows.append(
            Point(
                kind="paper",
                model="paper_cnn",
                accuracy=row.test_accuracy,
                size_bytes=values,
                with_positions=values + entropy(row.density) * PARAMETERS / 8,
                dense=(row.gamma, row.bits) == (0, 32),
            )
        )
    return tuple(rows)


def entropy(density: float) -> float:
    """Return the bits that it takes to say whether a weight is kept.

    Example:
        >>> entropy(0.5), entropy(1.0)
        (1.0, 0.0)
    """
    return -sum(p * log2(p) for p in (density, 1 - density) if p > 0)


def of_file(path: Path) -> Point:
    """Return a packed network."""
    with artifact.open_artifact(path) as opened:
        metadata = opened.metadata
    return Point(
        kind="network",
        model=str((metadata.network or {}).get("name")),
        accuracy=float(metadata.metrics["test_accuracy"]),
        size_bytes=path.stat().st_size,
    )


def of_rule(study: StudyRecords) -> list[Point]:
    """Return the runs of the paper's rule that have a file, as the paper counts accuracy."""
    return [
        Point(
            kind="rule",
            model=cell.spec.model,
            accuracy=row.test_accuracy,
            size_bytes=row.size_bytes,
            dense=not cell.spec.compresses,
        )
        for cell, row in zip(
            study.cells, run_rows(study.cells, "paper", directory=study.directory), strict=True
        )
        if row.test_accuracy is not None and row.size_bytes is not None
    ]


def of_networks(study: StudyRecords) -> list[Point]:
    """Return the networks of a study, a point for all seeds, where validation chose the epoch."""
    return [
        Point(
            kind="short" if row.spec.limit_train is not None else "strong",
            model=row.spec.model,
            accuracy=row.accuracy,
            size_bytes=row.size_bytes,
            spread=row.spread,
            dense=not row.spec.compresses,
        )
        for row in network_rows([study])
        if row.accuracy is not None and row.size_bytes is not None
    ]


def front(found: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats in both, from small to large."""
    kept: list[Point] = []
    for point in sorted(found, key=lambda p: (p.size_bytes, -p.accuracy)):
        if not kept or point.accuracy > kept[-1].accuracy:
            kept.append(point)
    return kept


def draw(figure: Figure, found: Sequence[Point]) -> None:
    """Draw the points that are not below the picture."""
    axes = figure.add_subplot()
    shown = [point for point in found if point.accuracy >= LOWEST]
    _frame(axes, shown)
    _paper(axes, [p for p in shown if p.kind == "paper"])
    for kind, label, color, size in KINDS:
        _ours(axes, [p for p in shown if p.kind == kind], label, color, size)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=2, fontsize=8.5, handletextpad=0.5,
        labelspacing=0.5, columnspacing=1.6,
    )  # fmt: skip


KINDS: tuple[tuple[Kind, str, str, float], ...] = (
    ("strong", "strong recipe, 60 epochs, mean of the seeds", ACCENT, 7),
    ("network", "a budget that all layers share, 14 epochs", BLUE, 6.5),
    ("rule", "the paper's rule, 8 epochs of half the images", GREEN, 4),
    ("short", "the ladder, 5 epochs of a quarter of the images", VIOLET, 4),
)
"""Ours, with their names, colors and sizes."""
MARKS = {"paper_cnn": "o", "resnet20": "D"}
NAMED = ((87.21, "dense", (0, -14)), (84.78, "8 bits, 8.68 %", (0, 8)), (79.2, "PE 95", (-4, -14)))
"""Accuracies of the paper's points that have a name, and where it stands."""


def _paper(axes: Axes, found: Sequence[Point]) -> None:
    best = front(found)
    axes.plot(
        [p.size_bytes / 1000 for p in found], [p.accuracy for p in found],
        "o", markersize=5, markerfacecolor="white", markeredgecolor=FAINT,
        label="the paper's Table I: bits of the kept weights alone",
    )  # fmt: skip
    axes.plot(
        [p.size_bytes / 1000 for p in best], [p.accuracy for p in best],
        color=FAINT, linewidth=1, zorder=1,
    )  # fmt: skip
    names: tuple[str | None, ...] = ("to where their positions would take it", *[None] * len(best))
    for point, name in zip(best, names, strict=False):
        ends = [point.size_bytes / 1000, (point.with_positions or 0) / 1000]
        axes.plot(
            ends, [point.accuracy] * 2, color=PALE, linewidth=1.4, marker="|", markevery=[1],
            markeredgecolor=FAINT, zorder=0, label=name,
        )  # fmt: skip

    for accuracy, name, offset in NAMED:
        at = next(p for p in found if p.accuracy == accuracy)
        axes.annotate(
            name, (at.size_bytes / 1000, accuracy), offset, textcoords="offset points",
            ha="center", fontsize=8, color=FAINT,
        )  # fmt: skip


def _ours(axes: Axes, found: Sequence[Point], label: str, color: str, size: float) -> None:
    for model, mark in MARKS.items():
        here = sorted((p for p in found if p.model == model), key=lambda p: p.size_bytes)
        if not here:
            continue
        axes.errorbar(
            [p.size_bytes / 1000 for p in here], [p.accuracy for p in here],
            yerr=[p.spread or 0 for p in here] if any(p.spread for p in here) else None,
            linestyle="none", marker=mark, markersize=size, color=color, capsize=2, zorder=3,
            label=f"{label} (files)" if model == "paper_cnn" else f"the same, {model}",
        )  # fmt: skip


def _frame(axes: Axes, shown: Sequence[Point]) -> None:
    sizes = [p.size_bytes / 1000 for p in shown]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_major_formatter(FuncFormatter(_size))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(min(sizes) / 1.25, max(sizes) * 1.3)
    axes.set_ylim(LOWEST, max(p.accuracy + (p.spread or 0) for p in shown) + 1.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.tick_params(which="both", length=0)
    axes.grid(color="#ececec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(MultipleLocator(2))
    axes.set_xlabel("size of the network", color=INK)
    axes.set_title("Test accuracy against size, CIFAR-10", fontsize=12, weight="bold")


def _size(kilobytes: float, _: int) -> str:
    return f"{kilobytes / 1000:g} MB" if kilobytes >= 1000 else f"{kilobytes:g} kB"


def main() -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="*", help="beside those in docs/studies")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the picture")
    options = parser.parse_args()
    studies = [*sorted(ROOT.glob("docs/studies/*/records.tar.xz")), *options.studies]
    networks = sorted(ROOT.glob("benchmarks/networks/*.espalier"))
    found = points(map(read_study, studies), networks)
    save("front", lambda figure: draw(figure, found), SIZE, options.out, ("svg", "png"))


if __name__ == "__main__":
    main()
