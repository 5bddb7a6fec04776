"""A progress bar for what takes longer than two seconds: on standard error, for people only."""

import time
from types import TracebackType
from typing import Self

__all__ = ["Watch"]

_QUIET_S = 2.0
"""No bar before this; what is quick needs none."""


class Watch:
    """Show how far a long job is; show nothing where standard error is no terminal.

    It has what ``pooch`` asks of a progress bar too: ``total``, ``update``, ``reset``, ``close``.

    Example:
        >>> with Watch("decoding", total=3) as watch:
        ...     watch.at(3)
    """

    def __init__(self, label: str, *, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self.total = total
        self._label = label
        self._bar = Progress(console=console, transient=True) if console.is_terminal else None
        self._started_s = time.monotonic()
        self._done = 0

    def at(self, done: int) -> None:
        """Say that ``done`` of ``total`` are done."""
        self._done = done
        if self._bar is None or time.monotonic() - self._started_s < _QUIET_S:
            return
        if not self._bar.tasks:
            self._bar.start()
            self._bar.add_task(self._label, total=self.total)
        self._bar.update(self._bar.task_ids[0], completed=done, total=self.total)

    def update(self, more: int) -> None:
        """Say that ``more`` are done than before."""
        self.at(self._done + more)

    def reset(self) -> None:
        """Begin at nothing again."""
        self.at(0)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None and self._bar.tasks:
            self._bar.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()
