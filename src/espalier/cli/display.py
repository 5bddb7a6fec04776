"""How a run goes on, on standard error: live on a terminal, a line an epoch elsewhere."""

import contextlib
import time
import warnings
from collections import deque
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from espalier.cli.summary import duration, percent
from espalier.metrics import efficiency
from espalier.records import EpochRecord, RunResult, RunSpec
from espalier.train import Baseline, Moment, Progress

__all__ = ["LiveProgress", "PlainProgress", "progress_on_stderr", "warnings_to"]

RHO = 2
"""Weight of the accuracy in the PE that is shown while training; the result has all three."""
ROWS = 12
"""Epochs that the live table shows."""


@contextlib.contextmanager
def progress_on_stderr(baseline: Baseline | None) -> Iterator[Progress]:
    """Show a run's progress on standard error until the context ends."""
    console = Console(stderr=True, highlight=False)
    with warnings_to(console):
        if not console.is_terminal:
            yield PlainProgress(console, baseline)
            return
        with Live(console=console, refresh_per_second=4, transient=False) as live:
            yield LiveProgress(live, baseline)


@contextlib.contextmanager
def warnings_to(console: Console) -> Iterator[None]:
    """Print warnings as lines of their own, so that they don't tear a live display."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        console.print(f"warning: {message}", soft_wrap=True, markup=False)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


class _Clock:
    """Estimates the time left from the epochs of this process."""

    def __init__(self, epochs: int, done: int) -> None:
        self.epochs, self.first, self.began = epochs, done, time.monotonic()

    def left_s(self, done: float) -> float | None:
        """Return the seconds left after ``done`` epochs; None before any progress, or of none."""
        if done <= self.first or not self.epochs:
            return None
        rate = (time.monotonic() - self.began) / (done - self.first)
        return rate * (self.epochs - done)


class PlainProgress:
    """A line an epoch, for files and pipes."""

    def __init__(self, console: Console, baseline: Baseline | None) -> None:
        """Print to ``console``."""
        self.console, self.baseline = console, baseline
        self.clock, self.epochs = _Clock(1, 0), 1

    def begin(self, spec: RunSpec, done: list[EpochRecord], note: str) -> None:
        """Print what is trained on what."""
        self.clock, self.epochs = _Clock(spec.epochs, len(done)), spec.epochs
        self._print(note)
        if done:
            self._print(f"goes on after epoch {len(done)}")

    def step(self, moment: Moment) -> None:
        """Say nothing within an epoch."""

    def epoch(self, record: EpochRecord) -> None:
        """Print the epoch."""
        parts = [
            f"epoch {record.epoch}/{self.epochs}" if self.epochs else "compressed once",
            f"loss {record.train_loss:.4f}",
            f"train {percent(record.train_accuracy)}",
            f"val {percent(record.val_accuracy)}",
            f"test {percent(record.test_accuracy)}",
            f"density {percent(100 * record.density_mask)}",
            f"nonzero {percent(100 * record.density_nonzero)}",
            f"RC {record.ratio:.4f}",
        ]
        if self.baseline is not None:
            parts.append(f"PE {_score(record, self.baseline)}")
        left = self.clock.left_s(record.epoch)
        parts.append(duration(record.times["train_s"] + record.times["evaluate_s"]))
        self._print("  ".join(parts) + (f", {duration(left)} left" if left else ""))

    def end(self, result: RunResult) -> None:
        """Say nothing; the result is printed by the command."""

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False)


class LiveProgress:
    """A table of the last epochs above a bar of the one in progress."""

    def __init__(self, live: Live, baseline: Baseline | None) -> None:
        """Draw into ``live``."""
        self.live, self.baseline = live, baseline
        self.note, self.epochs, self.clock = "", 1, _Clock(1, 0)
        self.rows: deque[EpochRecord] = deque(maxlen=ROWS)
        self.moment: Moment | None = None
        self.words = ""
        """Its figures, read once."""

    def begin(self, spec: RunSpec, done: list[EpochRecord], note: str) -> None:
        """Show what is trained on what."""
        self.note, self.epochs, self.clock = note, spec.epochs, _Clock(spec.epochs, len(done))
        self.rows.clear()
        self.rows.extend(done)
        self._draw()

    def step(self, moment: Moment) -> None:
        """Move the bar."""
        self.moment = moment
        self.words = f"loss {moment.loss:.4f}, {percent(moment.accuracy)}"
        self._draw()

    def epoch(self, record: EpochRecord) -> None:
        """Add a row."""
        self.rows.append(record)
        self.moment = None
        self._draw()

    def end(self, result: RunResult) -> None:
        """Leave the table; the result is printed by the command."""
        self._draw()

    def _draw(self) -> None:
        self.live.update(Group(Text(self.note, style="dim"), self._table(), self._bar()))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        heads = ["epoch", "loss", "train", "val", "test", "density", "nonzero", "RC"]
        for head in [*heads, "PE"] if self.baseline else heads:
            table.add_column(head, justify="right")
        best = max((row.test_accuracy for row in self.rows), default=0.0)
        for row in self.rows:
            cells = [
                str(row.epoch),
                f"{row.train_loss:.4f}",
                percent(row.train_accuracy),
                percent(row.val_accuracy),
                percent(row.test_accuracy),
                percent(100 * row.density_mask),
                percent(100 * row.density_nonzero),
                f"{row.ratio:.4f}",
            ]
            if self.baseline:
                cells.append(_score(row, self.baseline))
            table.add_row(*cells, style="bold" if row.test_accuracy == best else None)
        return table

    def _bar(self) -> Table:
        moment = self.moment
        finished = self.rows[-1].epoch if self.rows else 0
        share = moment.step / moment.steps if moment else 0.0
        left = self.clock.left_s(finished + share)
        grid = Table.grid(padding=(0, 1))
        if finished >= self.epochs:
            return grid
        grid.add_row(
            f"epoch {finished + 1}/{self.epochs}",
            ProgressBar(total=1.0, completed=share, width=30),
            f"{100 * share:3.0f} %",
            self.words if moment else "",
            Text(f"at most {duration(left)} left" if left is not None else "", style="dim"),
        )
        return grid


def _score(record: EpochRecord, baseline: Baseline) -> str:
    if not record.ratio > 0:
        return "-"
    return f"{efficiency(record.test_accuracy, baseline.best, record.ratio, RHO):.2f}"
