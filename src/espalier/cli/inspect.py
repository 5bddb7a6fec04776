"""``espalier inspect``: what a file holds and what its bytes went to."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from espalier.artifact import DEFAULT_MAX_BYTES
from espalier.cli.pack import MaxBytes
from espalier.cli.summary import percent, print_whole
from espalier.errors import ConfigError

if TYPE_CHECKING:
    from espalier.bridge import Inspection, TensorRow

__all__ = ["inspect"]


def inspect(
    file: Annotated[Path, typer.Argument(help="An Espalier file.", metavar="FILE")],
    baseline: Annotated[
        float | None,
        typer.Option(help="Test accuracy of the dense network in percent, for PE."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON, alone on standard output.")
    ] = False,
    max_bytes: MaxBytes = DEFAULT_MAX_BYTES,
) -> None:
    """Print what a file holds: a row a tensor, its bytes, and how far they are from the bound."""
    from espalier import bridge

    if baseline is not None and not 0 < baseline <= 100:
        raise ConfigError(f"--baseline {baseline}: expected percent, above 0 and up to 100.")
    found = bridge.inspect(file, max_bytes=max_bytes)
    scores = None if baseline is None else found.efficiencies(baseline)
    if as_json:
        typer.echo(json.dumps({**found.to_json(), "efficiency": scores}))
        return
    _print_table(found)
    for line in _facts(found):
        typer.echo(line)
    for name, by_rho in (scores or {}).items():
        values = ", ".join(f"{value:.2f} (rho {rho})" for rho, value in by_rho.items())
        typer.echo(f"{'PE by the ' + name:<18} {values}, against {percent(baseline or 0.0)}")


def _print_table(found: "Inspection") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tensor", no_wrap=True)
    table.add_column("grid", no_wrap=True)
    names = ("dense bytes", "stored", "bits a weight", "density", "bound", "of bound")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(*_cells(row))
    print_whole(table)


def _cells(row: "TensorRow") -> list[str]:
    from rich.markup import escape

    grid = row.grid if row.bits is None else f"{row.grid}, {row.bits} bits"
    return [
        escape(f"{_printable(row.name)} {list(row.shape)}"),
        grid,
        f"{row.dense_bytes:,}",
        f"{row.stored_bytes:,}",
        f"{row.bits_per_weight:.3f}",
        "" if row.density is None else percent(100 * row.density),
        "" if row.entropy_bytes is None else f"{row.entropy_bytes:,.0f}",
        "" if row.distance is None else f"{row.distance:.3f}",
    ]


def _facts(found: "Inspection") -> list[str]:
    metadata = found.metadata
    dense = sum(row.stored_bytes for row in found.rows if row.entropy_bytes is None)
    bound = found.entropy_bytes
    facts: list[tuple[str, Any]] = [
        ("file", f"{found.size_bytes:,} bytes of {found.dense_bytes:,} dense"),
        ("header", f"{found.header_bytes:,} bytes"),
        ("left dense", f"{dense:,} bytes"),
        (
            "compressed",
            f"{found.compressed_bytes:,} bytes, "
            + (f"{found.compressed_bytes / bound:.4f} of the entropy bound" if bound else "empty"),
        ),
        ("RC by the paper", "none" if found.ratio is None else f"{found.ratio:.4f}"),
        ("RC by the file", f"{found.ratio_file:.4f}"),
        ("network", _json(metadata.network)),
        ("operator", _json(metadata.operator)),
        ("metrics", _json(metadata.metrics)),
        ("folded", ", ".join(metadata.folded) or "nothing"),
        ("classes", ", ".join(metadata.classes) or "not named"),
        ("written by", metadata.writer or "not named"),
    ]
    return [f"{name:<18} {_printable(str(value))}" for name, value in facts]


def _json(value: Any) -> str:
    return "not named" if value is None else json.dumps(value, default=dict)


def _printable(text: str) -> str:
    """Return a text without characters that could steer a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
