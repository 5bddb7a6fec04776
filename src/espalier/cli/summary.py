"""A result in a few lines, for people."""

from pathlib import Path
from typing import TYPE_CHECKING

from espalier.records import Figures, RunResult
from espalier.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["duration", "percent", "print_whole", "summary"]


def summary(result: RunResult, out: Path) -> str:
    """Return what a finished run found, by the paper's choice of epoch and by the honest one."""
    best, honest = result.best, result.by_validation
    share = f"{result.compressed_parameters:,} of {result.parameters:,}"
    rows = [
        ("test accuracy", f"{percent(best.test_accuracy)} {_chosen(result)}, epoch {best.epoch}"),
        ("", f"validation {percent(best.val_accuracy)}, training {percent(best.train_accuracy)}"),
        (
            "by validation",
            f"{percent(honest.test_accuracy)} at epoch {honest.epoch}, density "
            f"{percent(100 * honest.density_mask)}",
        ),
        (
            "density",
            f"{percent(100 * best.density_mask)} by the mask, "
            f"{percent(100 * best.density_nonzero)} nonzero, of {share} parameters",
        ),
        ("bits", str(result.bits)),
        ("RC", f"{best.ratio:.4f} of the compressed parameters, {best.ratio_all:.4f} of all"),
        ("PE", _efficiency(best, result.baseline)),
        ("epochs", f"{result.epochs_run}, ended by {_REASONS[result.stopped_by]}"),
        ("time", f"{duration(result.wall_s)} on {_where(result)}"),
        ("data", result.data_source),
        ("records", str(out)),
    ]
    return "\n".join(f"{name:<14} {value}" for name, value in rows)


def _chosen(result: RunResult) -> str:
    same = result.best.epoch == result.by_validation.epoch
    return "where validation is best" if same else "at its best"


_REASONS = {"epochs": "--epochs", "patience": "--patience"}


def _efficiency(best: Figures, baseline: float | None) -> str:
    if baseline is None:
        return "give --baseline, a dense run's directory or its accuracy in percent"
    if best.efficiency is None:
        return "none: nothing is left of the network"
    scores = ", ".join(f"{score:.2f} (rho {rho})" for rho, score in best.efficiency.items())
    return f"{scores}, against {percent(baseline)}"


def _where(result: RunResult) -> str:
    if result.device == "cpu":
        processor = result.environment.get("processor", "the CPU")
        return f"{counted(result.threads, 'thread')} of {processor}"
    return result.environment.get("gpu", result.device)


def percent(value: float) -> str:
    """Return a percentage as people read it.

    Example:
        >>> percent(84.781)
        '84.78 %'
    """
    return f"{value:.2f} %"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Example:
        >>> duration(7.4), duration(158), duration(3725)
        ('7 s', '2 min 38 s', '1 h 02 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def print_whole(table: "Table") -> None:
    """Print a table as wide as it needs: rather lines that break than columns that are cut."""
    from rich.console import Console

    console = Console(highlight=False)
    wide = console.measure(table, options=console.options.update(width=500)).maximum
    Console(width=max(console.width, wide), highlight=False).print(table)
