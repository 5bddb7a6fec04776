"""Tables as sheets of text for Markdown, TeX and HTML, and as plain records for CSV."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from espalier.report.beyond import ShipRow
from espalier.report.cells import CellRow
from espalier.report.charts import gammas_of, place, widths_of
from espalier.report.runs import RunRow
from espalier.report.tables import RHOS, AccuracyRow, EfficiencyRow, HighlightRow
from espalier.report.texts import spoken

__all__ = [
    "Entry",
    "Sheet",
    "accuracy_sheet",
    "efficiency_sheet",
    "full_caption",
    "highlight_sheet",
    "in_words",
    "kilobytes",
    "run_records",
    "ship_sheet",
]

MARKS = {"missing": "…", "failed": "×", "unplanned": "–"}
"""What stands where a number is missing: still to come, given up, not part of the study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A field of a sheet: ours, and small beside it the published number and the difference."""

    text: str
    bold: bool = False
    published: str = ""
    difference: str = ""
    aside: str = ""
    """Small beside it: the same from the bytes of the file."""
    run_ids: tuple[str, ...] = ()
    state: str = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table to be read, in a language, and the records it was made of."""

    key: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    records: tuple[Mapping[str, Any], ...]
    """For CSV: full precision, None where missing."""
    notes: tuple[str, ...] = ()
    """Words, by their keys, that go on after the caption."""


def accuracy_sheet(rows: Sequence[AccuracyRow], words: Mapping[str, str]) -> Sheet:
    """Table I: a row for each gamma, accuracy and density for each bit width."""
    cells = [row.cell for row in rows]
    at = {(row.cell.gamma, row.cell.bits): row for row in rows}
    widths = widths_of(cells)
    columns = ["γ"]
    for bits in widths:
        columns += [f"{bits} bits, %", f"{words['density']}, %"]
    lines = []
    for gamma in gammas_of(cells):
        line = [Entry(text=f"{gamma:g}")]
        for bits in widths:
            line += _accuracy_entries(at[gamma, bits])
        lines.append(tuple(line))
    return Sheet(
        key="table1",
        columns=tuple(columns),
        rows=in_words(lines, words),
        records=tuple(_accuracy_record(row) for row in rows),
    )


def efficiency_sheet(rows: Sequence[EfficiencyRow], words: Mapping[str, str]) -> Sheet:
    """Table II: a row for each gamma, PE for each rho and bit width."""
    cells = [row.cell for row in rows]
    at = {(row.cell.gamma, row.cell.bits, row.rho): row for row in rows}
    widths = widths_of(cells)
    columns = ["γ", *(f"ρ {rho} · {bits} bits" for rho in RHOS for bits in widths)]
    lines = [
        (
            Entry(text=f"{gamma:g}"),
            *(_efficiency_entry(at[gamma, bits, rho], words) for rho in RHOS for bits in widths),
        )
        for gamma in gammas_of(cells)
    ]
    records = tuple(
        {
            "gamma": row.cell.gamma,
            "bits": row.cell.bits,
            "rho": row.rho,
            "efficiency": row.efficiency,
            "efficiency_file": row.efficiency_file,
            "bold": row.bold,
            "published": row.published,
            "difference": row.difference,
            **_origin(row.cell),
        }
        for row in rows
    )
    sized = any(row.efficiency_file is not None for row in rows)
    return Sheet(
        key="table2",
        columns=tuple(columns),
        rows=in_words(lines, words),
        records=records,
        notes=("table2.file",) if sized else (),
    )


def highlight_sheet(rows: Sequence[HighlightRow], words: Mapping[str, str]) -> Sheet:
    """Table III: what stands out, ours and the published one."""
    lines, records = [], []
    for row in rows:
        unit = "" if row.key.startswith("efficiency") else " %"
        where = "–" if row.cell is None else place(row.cell)
        text = MARKS["missing"] if row.value is None else f"{row.value:.2f}{unit}"
        there = ""
        if row.published is not None and row.published_cell is not None:
            there = f"{row.published:.2f}{unit} · {place(row.published_cell)}"
        ids = () if row.cell is None else row.cell.run_ids
        change = Entry(text="" if row.difference is None else f"{row.difference:+.2f}")
        lines.append(
            (
                Entry(text=words[f"highlight.{row.key}"]),
                Entry(text=text, run_ids=ids, state="missing" if row.value is None else "done"),
                Entry(text=where),
                Entry(text=there or "–"),
                change,
            )
        )
        records.append(
            {
                "highlight": row.key,
                "value": row.value,
                "gamma": None if row.cell is None else row.cell.gamma,
                "bits": None if row.cell is None else row.cell.bits,
                "published": row.published,
                "published_gamma": None if row.published_cell is None else row.published_cell.gamma,
                "published_bits": None if row.published_cell is None else row.published_cell.bits,
                "difference": row.difference,
                **_origin(row.cell),
            }
        )
    columns = ("", words["ours"], words["where"], words["published"], words["difference"])
    return Sheet(key="table3", columns=columns, rows=in_words(lines, words), records=tuple(records))


def ship_sheet(rows: Sequence[ShipRow], words: Mapping[str, str]) -> Sheet:
    """Which run to ship, for each tolerance and budget."""
    lines, records = [], []
    for row in rows:
        run = row.run
        question = Entry(text=words[f"ship.{row.question}"].format(row.bound))
        if run is None:
            rest = [Entry(text=words["ship.none"], state="missing"), *[Entry(text="–")] * 4]
        else:
            rest = [
                Entry(text=place(run), run_ids=(run.run_id,)),
                Entry(text=f"{run.test_accuracy or 0.0:.2f} %"),
                Entry(text="–" if row.lost is None else f"{-row.lost:+.2f}"),
                Entry(text=kilobytes(row.size_bytes)),
                Entry(text=f"{100 * (run.density or 0.0):.2f} %"),
            ]
        lines.append((question, *rest))
        records.append(
            {
                "question": row.question,
                "bound": row.bound,
                "run_id": None if run is None else run.run_id,
                "gamma": None if run is None else run.gamma,
                "bits": None if run is None else run.bits,
                "lr": None if run is None else run.lr,
                "test_accuracy": None if run is None else run.test_accuracy,
                "lost": row.lost,
                "size_bytes": row.size_bytes,
            }
        )
    names = ("test_accuracy", "lost", "size", "density")
    columns = ("", words["run"], *(words[name] for name in names))
    return Sheet(key="ship", columns=columns, rows=in_words(lines, words), records=tuple(records))


def full_caption(sheet: Sheet, words: Mapping[str, str]) -> str:
    """Return what stands below a sheet."""
    return "".join(words[key] for key in (f"{sheet.key}.caption", *sheet.notes))


def in_words(
    lines: Iterable[Sequence[Entry]], words: Mapping[str, str]
) -> tuple[tuple[Entry, ...], ...]:
    """Return a sheet's rows with numbers and places as a language writes them."""

    def said(entry: Entry) -> Entry:
        return replace(
            entry,
            text=spoken(entry.text, words),
            published=spoken(entry.published, words),
            difference=spoken(entry.difference, words),
            aside=spoken(entry.aside, words),
        )

    return tuple(tuple(said(entry) for entry in line) for line in lines)


def run_records(
    runs: Sequence[RunRow], scores: Mapping[str, tuple[float | None, float | None]]
) -> tuple[dict[str, Any], ...]:
    """Return all runs as plain records, for CSV, with their two PE at rho 2."""
    names = [n for n in RunRow.__dataclass_fields__ if n not in ("curve", "layers", "reason")]
    return tuple(
        {name: getattr(run, name) for name in names}
        | dict(zip(("efficiency", "efficiency_file"), scores[run.run_id], strict=True))
        for run in runs
    )


def kilobytes(size_bytes: float | None) -> str:
    """Return a size for people, in thousands of bytes.

    Example:
        >>> kilobytes(72_193.0)
        '72.2 kB'
    """
    return "–" if size_bytes is None else f"{size_bytes / 1000:.1f} kB"


def _accuracy_entries(row: AccuracyRow) -> list[Entry]:
    cell = row.cell
    density = None if cell.density is None else 100 * cell.density
    spread = None if cell.density_spread is None else 100 * cell.density_spread
    theirs = None if row.published_density is None else 100 * row.published_density
    change = None if row.density_difference is None else 100 * row.density_difference
    return [
        _entry(
            cell,
            cell.test_accuracy,
            cell.test_spread,
            row.published_accuracy,
            row.accuracy_difference,
            bold=row.bold_accuracy,
        ),
        _entry(cell, density, spread, theirs, change, bold=row.bold_density),
    ]


def _efficiency_entry(row: EfficiencyRow, words: Mapping[str, str]) -> Entry:
    entry = _entry(row.cell, row.efficiency, None, row.published, row.difference, bold=row.bold)
    if row.efficiency_file is None:
        return entry
    return replace(entry, aside=words["aside"].format(f"{row.efficiency_file:.2f}"))


def _entry(
    cell: CellRow,
    value: float | None,
    spread: float | None,
    published: float | None,
    difference: float | None,
    *,
    bold: bool,
) -> Entry:
    if value is None:
        text = MARKS.get(cell.state, "–")
    else:
        text = f"{value:.2f}" + ("" if spread is None else f" ± {spread:.2f}")
        text += "*" if cell.state == "partial" else ""
    return Entry(
        text=text,
        bold=bold,
        published="" if published is None else f"{published:.2f}",
        difference="" if difference is None else f"{difference:+.2f}",
        run_ids=cell.run_ids,
        state=cell.state,
    )


def _accuracy_record(row: AccuracyRow) -> dict[str, Any]:
    cell = row.cell
    numbers = (
        "gamma", "bits", "test_accuracy", "test_spread", "val_accuracy", "train_accuracy",
        "density", "density_spread", "density_nonzero", "ratio", "asked_bytes", "size_bytes",
        "file_ratio",
    )  # fmt: skip
    return {
        **{name: getattr(cell, name) for name in numbers},
        "bold_accuracy": row.bold_accuracy,
        "bold_density": row.bold_density,
        "published_accuracy": row.published_accuracy,
        "accuracy_difference": row.accuracy_difference,
        "published_density": row.published_density,
        "density_difference": row.density_difference,
        **_origin(cell),
    }


def _origin(cell: CellRow | None) -> dict[str, Any]:
    """Say which runs a number comes from."""
    cell = cell or CellRow(gamma=0.0, bits=32)
    return {
        "lr": cell.lr,
        "epoch": cell.epoch,
        "planned": cell.planned,
        "finished": cell.finished,
        "run_ids": " ".join(cell.run_ids),
    }
