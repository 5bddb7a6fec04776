"""The demo's runs: each one an ordinary run of ``espalier train``, all in a row."""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from espalier.cli.display import warnings_to
from espalier.cli.summary import duration, percent
from espalier.encoded import DENSE_BITS
from espalier.records import EpochRecord, RunResult, RunSpec
from espalier.train import (
    Baseline,
    Moment,
    Progress,
    RunDirectory,
    resolve_device,
    resolve_spec,
    train,
)

__all__ = ["CELLS", "GridRow", "Show", "grid_on_stderr", "grid_table", "run_grid"]

SETTINGS = {
    "data": "modulation",
    "model": "modulation_cnn",
    "lr": 0.04,
    "epochs": 6,
    "patience": 0,
}
DENSE = (0.0, DENSE_BITS)
CELLS = (DENSE, *((gamma, bits) for gamma in (0.25, 0.75) for bits in (8, 4, 3)))
"""Gamma and bits of each run; the dense one first, since all others compare with it."""
RHO = "2"


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow:
    """A run of the grid, at its best epoch by test accuracy."""

    gamma: float
    bits: int
    accuracy: float
    """Test accuracy, percent."""
    density: float
    """By the mask, over the compressed parameters, 0 to 1."""
    ratio: float
    """RC, eq. 6."""
    efficiency: float | None
    """PE, eq. 5, rho 2, against the grid's dense run; None of that run itself."""
    size_bytes: int
    """Of the network's packed file, as `espalier pack` writes it."""
    result: RunResult
    """Everything else."""

    @property
    def is_dense(self) -> bool:
        """Whether nothing was compressed."""
        return (self.gamma, self.bits) == DENSE


class Show(Protocol):
    """Is told how the grid goes on, and stands in for each run's own progress."""

    def run(self, cell: tuple[float, int]) -> Progress:
        """A run begins; the answer is told how it goes on."""

    def row(self, row: GridRow) -> None:
        """A run is finished."""


def run_grid(
    show: Show,
    *,
    cells: Sequence[tuple[float, int]],
    threads: int = 1,
    seed: int = 0,
) -> list[GridRow]:
    """Train every cell, the dense one first; the runs' directories are temporary.

    Args:
        show: is told.
        cells: gamma and bits of each run.
        threads: of the CPU.
        seed: of every run.

    Raises:
        ConfigError: a setting is out of its bounds.
    """
    rows: list[GridRow] = []
    baseline = None
    with tempfile.TemporaryDirectory(prefix="espalier-demo-") as directory:
        for number, (gamma, bits) in enumerate(cells):
            chosen = {**SETTINGS, "gamma": gamma, "bits": bits, "seed": seed}
            spec = resolve_spec(chosen, device=resolve_device("cpu"))
            run = RunDirectory(Path(directory, str(number)))
            progress = show.run((gamma, bits))
            result = train(
                spec, run.path, device="cpu", threads=threads, baseline=baseline, progress=progress
            )
            row = _row(result)
            if row.is_dense:
                baseline = Baseline(
                    best=row.accuracy,
                    by_validation=result.by_validation.test_accuracy,
                    last=result.last.test_accuracy,
                )
            rows.append(row)
            show.row(row)
    return rows


def _row(result: RunResult) -> GridRow:
    best = result.best
    return GridRow(
        gamma=result.gamma,
        bits=result.bits,
        accuracy=best.test_accuracy,
        density=best.density_mask,
        ratio=best.ratio,
        efficiency=best.efficiency[RHO] if best.efficiency else None,
        size_bytes=result.size_bytes or 0,
        result=result,
    )


def grid_table(rows: Sequence[GridRow]) -> Table:
    """Return the finished runs as a table."""
    table = _table()
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _table() -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("", "gamma", "bits", "accuracy", "density", "RC", f"PE (rho {RHO})", "file"):
        table.add_column(head, justify="left" if not head else "right")
    return table


def _cells(row: GridRow) -> tuple[str, ...]:
    return (
        "dense" if row.is_dense else "compressed",
        f"{row.gamma:g}",
        str(row.bits),
        percent(row.accuracy),
        percent(100 * row.density),
        f"{row.ratio:.4f}",
        "" if row.efficiency is None else f"{row.efficiency:.2f}",
        f"{row.size_bytes / 1000:.1f} kB",
    )


@contextlib.contextmanager
def grid_on_stderr(cells: Sequence[tuple[float, int]]) -> Iterator[Show]:
    """Show the grid's progress on standard error until the context ends."""
    console = Console(stderr=True, highlight=False)
    with warnings_to(console):
        if not console.is_terminal:
            yield _PlainShow(console, len(cells))
            return
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield _LiveShow(live, cells)


class _PlainShow:
    """A line a run."""

    def __init__(self, console: Console, runs: int) -> None:
        self.console, self.runs, self.done = console, runs, 0

    def run(self, cell: tuple[float, int]) -> Progress:
        from espalier.train import Silent

        return Silent()

    def row(self, row: GridRow) -> None:
        self.done += 1
        pe = "" if row.efficiency is None else f"  PE {row.efficiency:.2f}"
        self.console.print(
            f"run {self.done}/{self.runs}  gamma {row.gamma:g}  bits {row.bits}  "
            f"accuracy {percent(row.accuracy)}  density {percent(100 * row.density)}{pe}  "
            f"{duration(row.result.wall_s)}",
            soft_wrap=True,
        )


class _LiveShow:
    """The table of all runs, the one in progress with what it has reached; its own progress too."""

    def __init__(self, live: Live, cells: Sequence[tuple[float, int]]) -> None:
        self.live, self.cells = live, cells
        self.rows: list[GridRow] = []
        self.note, self.words, self.density = "", "", ""
        self.epochs, self.epoch_share, self.began = 1, 0.0, time.monotonic()

    def run(self, cell: tuple[float, int]) -> Progress:
        self.words, self.density, self.epoch_share = "starts", "", 0.0
        self._draw()
        return self

    def row(self, row: GridRow) -> None:
        self.rows.append(row)
        self.epoch_share = 0.0
        self._draw()

    def begin(self, spec: RunSpec, done: list[EpochRecord], note: str) -> None:
        self.note, self.epochs = note, spec.epochs

    def step(self, moment: Moment) -> None:
        share = moment.step / moment.steps
        self.epoch_share = (moment.epoch - 1 + share) / self.epochs
        self.words = f"{percent(moment.accuracy)} in training, epoch {moment.epoch}/{self.epochs}"
        self._draw()

    def epoch(self, record: EpochRecord) -> None:
        self.epoch_share = record.epoch / self.epochs
        self.words = f"{percent(record.test_accuracy)}, epoch {record.epoch}/{self.epochs}"
        self.density = percent(100 * record.density_mask)
        self._draw()

    def end(self, result: RunResult) -> None:
        self._draw()

    def _draw(self) -> None:
        table = grid_table(self.rows)
        for number, (gamma, bits) in enumerate(self.cells[len(self.rows) :]):
            now = (self.words, self.density) if number == 0 else ("waits", "")
            kind = "dense" if (gamma, bits) == DENSE else "compressed"
            style = "bold" if number == 0 else "dim"
            table.add_row(kind, f"{gamma:g}", str(bits), *now, style=style)
        done = (len(self.rows) + self.epoch_share) / len(self.cells)
        left = (time.monotonic() - self.began) * (1 / done - 1) if done > 0 else None
        table.caption = f"{self.note}{f'; {duration(left)} left' if left else ''}"
        table.caption_justify = "left"
        self.live.update(table)
