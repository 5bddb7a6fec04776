"""Readings, effects, ablations and networks as Markdown tables and as plain records."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from espalier.report.ablation import AblationRow
from espalier.report.effects import Effect
from espalier.report.export import to_markdown
from espalier.report.networks import NetworkRow
from espalier.report.readings import CELLS, Reading
from espalier.report.sheets import Entry, Sheet

__all__ = [
    "ablation_records",
    "ablation_table",
    "effect_records",
    "effects_table",
    "markdown_table",
    "network_records",
    "network_table",
    "reading_records",
    "readings_table",
]

PATTERNS = 4


def readings_table(found: Sequence[Reading]) -> str:
    """Return a row for each reading: its distance, by pattern, and its cells.

    A cell is the accuracy in percent, at the density in percent.
    """
    cells = [f"γ {gamma:g} · {bits} bits" for gamma, bits in CELLS]
    columns = ("reading", "distance", *(str(n + 1) for n in range(PATTERNS)), *cells)
    rows = [
        (
            reading.label,
            "…" if reading.distance is None else f"{reading.distance:.2f}",
            *(f"{p:.2f}" for p in reading.patterns or ()),
            *("…" for _ in range(PATTERNS - len(reading.patterns))),
            *(_cell(reading, at) for at in CELLS),
        )
        for reading in found
    ]
    return markdown_table("Readings", columns, rows)


def effects_table(found: Sequence[Effect]) -> str:
    """Return a row for each factor and response; effects beyond the margin are bold."""
    columns = ("factor", "from", "to", "response", "effect", "margin")
    rows = [
        (
            effect.factor,
            str(effect.low),
            str(effect.high),
            effect.response,
            Entry(text=f"{effect.size:+.3f}", bold=effect.counts),
            f"{effect.margin:.3f}",
        )
        for effect in found
    ]
    return markdown_table("Effects", columns, rows)


def ablation_table(found: Sequence[AblationRow]) -> str:
    """Return a row for each choice of settings: accuracy, size, what it gains and over which row.

    Mean ± sample standard deviation over seeds; gains are of the same seeds of both rows.
    """
    columns = ("#", "what changes", "seeds", "validation, %", "bytes", "density, %", "gain", "over")
    rows = [
        (
            str(row.number),
            _changed(row),
            f"{row.finished} of {row.planned}",
            _spread(row.accuracy, row.spread, ".2f"),
            "…" if row.size_bytes is None else f"{row.size_bytes:,.0f}",
            "…" if row.density is None else f"{100 * row.density:.2f}",
            "" if row.over is None else _spread(row.gain, row.gain_spread, "+.2f"),
            "" if row.over is None else f"{row.over}",
        )
        for row in found
    ]
    return markdown_table("Ablation", columns, rows)


def ablation_records(found: Sequence[AblationRow]) -> list[dict[str, Any]]:
    """Return the rows as JSON values, in full precision."""
    return [asdict(row) for row in found]


def network_table(found: Sequence[NetworkRow]) -> str:
    """Return a row for each network: accuracy, what it lost against the dense one, size, PE.

    Mean ± sample standard deviation over seeds; losses and PE are of the same seeds of both.
    """
    columns = (
        "network", "asked", "seeds", "test, %", "lost, points", "nonzero, %",
        "file, bytes (times smaller)", "PE, all parameters", "PE, as the paper counts",
    )  # fmt: skip
    rows = [
        (
            row.spec.model,
            _asked(row),
            f"{row.finished} of {row.planned}",
            _spread(row.accuracy, row.spread, ".2f"),
            _spread(row.lost, row.lost_spread, "+.2f") if row.spec.compresses else "–",
            "…" if row.density is None else f"{100 * row.density:.2f}",
            "…" if row.shrinks is None else f"{row.size_bytes:,.0f} ({row.shrinks:.1f})",
            _spread(row.efficiency, row.efficiency_spread, ".0f") if row.spec.compresses else "–",
            _spread(row.efficiency_paper, None, ".0f") if row.spec.compresses else "–",
        )
        for row in found
    ]
    return markdown_table("Networks", columns, rows)


def network_records(found: Sequence[NetworkRow]) -> list[dict[str, Any]]:
    """Return the rows as JSON values, in full precision."""
    return [
        {"model": row.spec.model, "asked": _asked(row)}
        | {f.name: getattr(row, f.name) for f in fields(row) if f.name != "spec"}
        for row in found
    ]


def reading_records(found: Sequence[Reading]) -> list[dict[str, Any]]:
    """Return the readings as JSON values, in full precision."""
    return [
        {
            "reading": reading.label,
            "distance": reading.distance,
            "patterns": list(reading.patterns),
            "terms": dict(reading.terms),
            "dense": reading.dense,
            "cells": [
                {
                    "gamma": gamma,
                    "bits": bits,
                    "lr": figures.lr,
                    "test_accuracy": figures.accuracy,
                    "density": figures.density,
                    "runs": figures.runs,
                }
                for (gamma, bits), figures in sorted(reading.cells.items())
            ],
        }
        for reading in found
    ]


def effect_records(found: Sequence[Effect]) -> list[dict[str, Any]]:
    """Return the effects as JSON values, in full precision."""
    return [
        {
            "factor": effect.factor,
            "low": effect.low,
            "high": effect.high,
            "response": effect.response,
            "effect": effect.size,
            "margin": effect.margin,
            "counts": effect.counts,
        }
        for effect in found
    ]


def _asked(row: NetworkRow) -> str:
    """Say what was asked of a network, beside its training."""
    spec = row.spec
    if not spec.compresses:
        return "dense"
    pruned = f"gamma {spec.gamma:g}"
    if spec.target_density is not None:
        pruned = f"{100 * spec.target_density:g} % of the weights"
    if spec.max_bytes is not None:
        pruned = f"{spec.max_bytes:,} bytes"
    if spec.pressure is not None:
        pruned = f"pressure {spec.pressure:g}"
    return f"{pruned}, {spec.bits} bits"


def _changed(row: AblationRow) -> str:
    return ", ".join(f"{name} {_said(value)}" for name, value in row.changes.items()) or "–"


def _said(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _spread(mean: float | None, spread: float | None, form: str) -> str:
    if mean is None:
        return "…"
    return f"{mean:{form}}" + ("" if spread is None else f" ± {spread:.2f}")


def _cell(reading: Reading, at: tuple[float, int]) -> str:
    figures = reading.cells.get(at)
    if figures is None:
        return "…"
    density = "–" if figures.density is None else f"{100 * figures.density:.1f}"
    return f"{figures.accuracy:.1f} at {density}"


def markdown_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Entry]]
) -> str:
    """Return rows under their columns, as Markdown with a title."""
    entries = tuple(
        tuple(Entry(text=field) if isinstance(field, str) else field for field in row)
        for row in rows
    )
    sheet = Sheet(key=title.lower(), columns=tuple(columns), rows=entries, records=())
    return to_markdown(sheet, title, "").strip() + "\n"
