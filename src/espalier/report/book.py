"""The whole report as rows: what all its outputs are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from espalier.records import RunResult, RunSpec, StudyRecords, settings
from espalier.report import beyond, figures
from espalier.report.cells import CellRow, baseline_cell, cell_rows, score
from espalier.report.charts import Chart
from espalier.report.operations import OperationRow, operation_rows
from espalier.report.runs import Rule, RunRow, Variant, variants
from espalier.report.tables import (
    SHOWN_RHO,
    AccuracyRow,
    EfficiencyRow,
    HighlightRow,
    accuracy_rows,
    efficiency_rows,
    highlight_rows,
)
from espalier.wording import counted

__all__ = ["Book", "Part", "make_book"]

STATES = ("done", "running", "waiting", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The tables and pictures of one variant of the study."""

    variant: Variant
    cells: tuple[CellRow, ...]
    accuracy: tuple[AccuracyRow, ...]
    efficiency: tuple[EfficiencyRow, ...]
    highlights: tuple[HighlightRow, ...]
    ship: tuple[beyond.ShipRow, ...]
    operations: tuple[OperationRow, ...]
    paper: tuple[Chart, ...]
    """Figures 2 to 7."""
    differences: tuple[Chart, ...]
    """Where ours differ from the published ones; none where nothing is published."""
    further: tuple[Chart, ...]
    scores: Mapping[str, tuple[float | None, float | None]]
    """Run id -> PE at rho 2 against the variant's baseline: the paper's, and from the bytes of the
    file."""

    @property
    def charts(self) -> tuple[Chart, ...]:
        """All pictures, in their order."""
        return (*self.paper, *self.differences, *self.further)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A report."""

    name: str
    """Of the study."""
    rule: Rule
    counts: Mapping[str, int]
    """Runs by their state."""
    parts: tuple[Part, ...]
    problems: tuple[str, ...]
    """Foreign and damaged files, paths relative to the study."""
    origin: Mapping[str, Sequence[str]]
    """``data``, ``device``, ``versions``, ``settings``: each what was found, sorted, once."""

    @property
    def runs(self) -> tuple[RunRow, ...]:
        """All runs."""
        return tuple(run for part in self.parts for run in part.variant.runs)

    @property
    def scores(self) -> dict[str, tuple[float | None, float | None]]:
        """Each run's PE at rho 2, the paper's and from the bytes of the file."""
        return {name: pair for part in self.parts for name, pair in part.scores.items()}


def make_book(records: StudyRecords, rule: Rule) -> Book:
    """Turn a study's records into the report's rows; the same records give the same rows."""
    prefix = f"{records.directory}/"
    return Book(
        name=records.plan.name,
        rule=rule,
        counts={state: sum(cell.state == state for cell in records.cells) for state in STATES},
        parts=tuple(_part(variant, rule) for variant in variants(records, rule)),
        problems=tuple(problem.replace(prefix, "") for problem in records.problems),
        origin=_origin(records),
    )


def _part(variant: Variant, rule: Rule) -> Part:
    runs = variant.runs
    cells = cell_rows(runs, rule)
    dense = baseline_cell(cells)
    accuracy = accuracy_rows(cells, published=variant.published)
    differences = (
        figures.accuracy_difference(accuracy),
        figures.density_difference(accuracy),
        figures.efficiency_difference(cells),
    )
    return Part(
        variant=variant,
        cells=cells,
        accuracy=accuracy,
        efficiency=efficiency_rows(cells, published=variant.published),
        highlights=highlight_rows(cells, published=variant.published),
        ship=beyond.ship_rows(runs, cells),
        operations=operation_rows(variant, cells),
        paper=(
            figures.accuracy_by_bits(runs),
            figures.density_by_bits(runs),
            figures.efficiency_map(cells),
            figures.efficiency_by_bits(cells),
            figures.curves("figure6", "test", runs, cells),
            figures.curves("figure7", "train", runs, cells),
        ),
        differences=differences if variant.published else (),
        further=(
            beyond.size_scatter(runs),
            beyond.layer_map(runs, cells),
            figures.curves("dynamics", "density", runs, cells),
            *beyond.lr_maps(runs, cells),
        ),
        scores={
            run.run_id: (
                score(run, dense, SHOWN_RHO),
                score(run, dense, SHOWN_RHO, by="file"),
            )
            for run in runs
        },
    )


def _origin(records: StudyRecords) -> dict[str, list[str]]:
    results = [cell.result for cell in records.cells if cell.result is not None]
    specs = [settings(cell.spec) for cell in records.cells]
    idle = {f.name for f in fields(RunSpec)}.difference(*(c.spec.to_json() for c in records.cells))
    shared = [
        f"{name} {value}"
        for name, value in (specs[0] if specs else {}).items()
        if name not in idle.union(records.plan.axes)
        and all(spec.get(name) == value for spec in specs)
    ]
    return {
        "data": sorted({result.data_source for result in results}),
        "device": sorted({_device(result) for result in results}),
        "versions": sorted({f"{k} {v}" for r in results for k, v in r.environment.items()}),
        "settings": shared,
    }


def _device(result: RunResult) -> str:
    return f"{result.device}, {counted(result.threads, 'thread')}"
