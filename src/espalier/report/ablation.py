"""What each rung of a ladder gains: the rows of a study, each against another, seed by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espalier.errors import ConfigError
from espalier.records import CellRecords, StudyRecords
from espalier.records.serial import canonical
from espalier.report.cells import mean_and_spread
from espalier.report.runs import RunRow, by_settings, run_rows, unseeded

__all__ = ["AblationRow", "ablation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRow:
    """One setting of a study over all its seeds, and what it gains over an earlier one.

    Accuracies are those of validation, in percent, at the epoch that validation chose. Spreads are
    sample standard deviations, None for less than two.
    """

    number: int
    """From 1, in the order of the study."""
    changes: Mapping[str, Any]
    """Settings that differ from those of the row it is compared with; of the first row, none."""
    over: int | None
    """Number of that row; None of the first."""
    planned: int
    """Seeds."""
    finished: int
    accuracy: float | None
    spread: float | None
    size_bytes: float | None
    """Of the packed file, the mean; None where a run has none."""
    density: float | None
    """Of the compressed parameters, 0 to 1, the mean."""
    gain: float | None
    """Points of accuracy above the row it is compared with: the mean over the seeds of both."""
    gain_spread: float | None
    pairs: int
    """Seeds that both have finished."""


def ablation(
    studies: Sequence[StudyRecords], *, around: int | None = None
) -> tuple[AblationRow, ...]:
    """Return a row for each choice of settings but the seed, in the order of the studies.

    Each row is compared with the one before. On a ladder that is the rung below; what is taken from
    the last rung, or put in its place, is compared with that.

    Args:
        studies: taken together, in this order; a run that is in two of them counts once.
        around: number of the row with which all that come after it are compared.

    Raises:
        ConfigError: there is no such row.
    """
    rows = [_runs(cells) for cells in by_settings(studies)]
    if around is not None and not 1 <= around <= len(rows):
        raise ConfigError(f"around={around}: expected the number of a row, 1 to {len(rows)}.")
    found = []
    for number, (named, seeds) in enumerate(rows, start=1):
        over = min(number - 1, around or number) or None
        found.append(_row(number, named, seeds, over, rows[over - 1] if over else None))
    return tuple(found)


def _runs(cells: Mapping[int, CellRecords]) -> tuple[dict[str, Any], dict[int, RunRow]]:
    """Return what the seeds of a row share, and a run for each of them."""
    runs = run_rows(list(cells.values()), "validation", directory=Path())
    named = unseeded(next(iter(cells.values())).spec)
    return named, dict(zip(cells, runs, strict=True))


def _changes(named: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    names = dict.fromkeys([*named, *other])
    return {n: named.get(n) for n in names if canonical(named.get(n)) != canonical(other.get(n))}


def _row(
    number: int,
    named: Mapping[str, Any],
    seeds: Mapping[int, RunRow],
    over: int | None,
    other: tuple[Mapping[str, Any], Mapping[int, RunRow]] | None,
) -> AblationRow:
    done = [row for row in seeds.values() if row.done]
    accuracy, spread = mean_and_spread(_known(done, "val_accuracy"))
    sizes = _known(done, "size_bytes")
    gains: list[float] = []
    if other is not None:
        theirs = {row.seed: row for row in other[1].values() if row.done}
        gains = [
            (row.val_accuracy or 0.0) - (theirs[row.seed].val_accuracy or 0.0)
            for row in done
            if row.seed in theirs
        ]
    gain, gain_spread = mean_and_spread(gains)
    return AblationRow(
        number=number,
        changes={} if other is None else _changes(named, other[0]),
        over=over,
        planned=len(seeds),
        finished=len(done),
        accuracy=accuracy,
        spread=spread,
        size_bytes=mean_and_spread(sizes)[0] if len(sizes) == len(done) else None,
        density=mean_and_spread(_known(done, "density"))[0],
        gain=gain,
        gain_spread=gain_spread,
        pairs=len(gains),
    )


def _known(rows: Sequence[RunRow], name: str) -> list[float]:
    values = (getattr(row, name) for row in rows)
    return [float(value) for value in values if value is not None]
