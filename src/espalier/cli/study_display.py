"""How a study goes on, on standard error: a live table on a terminal, lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from espalier.cli.display import warnings_to
from espalier.cli.summary import duration, percent
from espalier.study.job import Ending, Job
from espalier.study.runner import Observer
from espalier.study.view import STATES, CellRow, Overview, StudyReader
from espalier.wording import counted

__all__ = ["LinesView", "TableView", "counts_line", "show_study", "study_table"]

REFRESH_S = 1.0
"""How often the records are read again."""
AROUND = 8
"""Lines of a terminal that the table leaves free."""
STYLES = {"running": "bold cyan", "failed": "red", "done": "green", "waiting": "dim"}


@contextlib.contextmanager
def show_study(reader: StudyReader, *, leave: bool = True) -> Iterator[Observer]:
    """Show a study on standard error until the context ends.

    Args:
        reader: of the study.
        leave: the table on a terminal stays there; otherwise it goes.
    """
    console = Console(stderr=True, highlight=False)
    with warnings_to(console):
        if not console.is_terminal:
            yield LinesView(reader, console)
            return
        with Live(console=console, refresh_per_second=4, transient=not leave) as live:
            view = TableView(reader, live)
            view.draw()
            yield view
            view.draw()


class TableView:
    """The table, drawn anew about once a second."""

    def __init__(self, reader: StudyReader, live: Live) -> None:
        """Draw into ``live``."""
        self.reader, self.live, self.due = reader, live, 0.0
        self.note = ""

    def started(self, job: Job) -> None:
        """Show it with the next drawing."""

    def ended(self, job: Job, ending: Ending, *, again: bool) -> None:
        """Show what went wrong, until something else does."""
        if ending.outcome not in ("done", "stopped", "busy"):
            self.note = _trouble(_row(self.reader, job), ending, again=again)

    def tick(self) -> None:
        """Draw, if it is time to."""
        if time.monotonic() >= self.due:
            self.draw()

    def draw(self) -> None:
        """Read the records and draw."""
        seen = self.reader.read()
        room = max(4, self.live.console.height - AROUND)
        parts: list[RenderableType] = [study_table(seen, room), Text(), _bar(seen)]
        if self.note:
            parts.append(Text(self.note, style="yellow"))
        self.live.update(Group(*parts))
        self.due = time.monotonic() + REFRESH_S


class LinesView:
    """A line for each run that begins or ends."""

    def __init__(self, reader: StudyReader, console: Console) -> None:
        """Print to ``console``."""
        self.reader, self.console = reader, console
        self.last = ""

    def started(self, job: Job) -> None:
        """Print which run begins, or goes on."""
        row = _row(self.reader, job)
        after = f", goes on after epoch {row.epoch}" if row.epoch else ""
        self._print(f"started  {row.label}{after}")

    def ended(self, job: Job, ending: Ending, *, again: bool) -> None:
        """Print how a run has ended, and how far the study has come."""
        row = _row(self.reader, job)
        if ending.outcome == "done":
            self._print(f"done     {row.label}: {_figures(row)}")
        else:
            self._print(_trouble(row, ending, again=again))
        self.tick()

    def tick(self) -> None:
        """Print how far the study has come, where that has changed."""
        seen = self.reader.read()
        counts = ", ".join(f"{seen.counts[state]} {state}" for state in STATES)
        if counts != self.last:
            self._print(counts_line(seen))
        self.last = counts

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False)


def counts_line(seen: Overview) -> str:
    """Return how far a study has come, in one line."""
    total = len(seen.rows)
    parts = [f"{seen.counts['done']} of {total} done"]
    parts += [f"{seen.counts[s]} {s}" for s in ("running", "waiting", "failed") if seen.counts[s]]
    if seen.left_s:
        parts.append(f"about {duration(seen.left_s)} left")
    return f"{seen.name}: {', '.join(parts)}"


def study_table(seen: Overview, room: int | None = None) -> Table:
    """Return the cells as a table; what there is no room for is counted in the last line."""
    rows = list(seen.rows)
    if room is not None and len(rows) > room:
        rows = _most_interesting(rows, room - 1)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("cell", overflow="fold")
    table.add_column("")
    for head in ("epoch", "test", "density"):
        table.add_column(head, justify="right")
    for row in rows:
        epoch = f"{row.epoch}/{row.epochs}" if row.epoch or row.state == "running" else ""
        accuracy = "" if row.test_accuracy is None else percent(row.test_accuracy)
        density = "" if row.density is None else percent(100 * row.density)
        table.add_row(row.label, row.state, epoch, accuracy, density, style=STYLES[row.state])
    if len(rows) < len(seen.rows):
        table.add_row(f"and {len(seen.rows) - len(rows)} more", "", "", "", "", style="dim")
    return table


def _most_interesting(rows: list[CellRow], room: int) -> list[CellRow]:
    """Return the running ones, some failed, the last done, the next waiting."""
    by_state = {state: [row for row in rows if row.state == state] for state in STATES}
    chosen = by_state["running"][:room]
    chosen += by_state["failed"][: max(0, (room - len(chosen)) // 3)]
    chosen += by_state["waiting"][: min(3, room - len(chosen))]
    done = room - len(chosen)
    chosen += by_state["done"][-done:] if done else []
    chosen += by_state["waiting"][3 : 3 + room - len(chosen)]
    return [row for row in rows if row in chosen]


def _bar(seen: Overview) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        ProgressBar(total=1.0, completed=seen.share, width=30),
        f"{100 * seen.share:3.0f} %",
        counts_line(seen),
    )
    return grid


def _figures(row: CellRow) -> str:
    if row.test_accuracy is None or row.density is None:
        return "no epochs"
    return (
        f"test {percent(row.test_accuracy)} at density {percent(100 * row.density)}, "
        f"{counted(row.epoch, 'epoch')}"
    )


def _row(reader: StudyReader, job: Job) -> CellRow:
    return next(row for row in reader.read().rows if row.run_id == job.run_id)


def _trouble(row: CellRow, ending: Ending, *, again: bool) -> str:
    words = {"stopped": "stopped ", "busy": "waits   "}.get(ending.outcome, "failed  ")
    return f"{words} {row.label}: {ending.reason}{'; it will be tried again' if again else ''}"
