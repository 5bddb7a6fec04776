"""``espalier shrink``: the file of a network without its dead filters and neurons."""

import json
from pathlib import Path
from typing import Annotated

import typer

from espalier.artifact import DEFAULT_MAX_BYTES
from espalier.cli.export import InputShape, parse_shape
from espalier.cli.pack import MaxBytes

__all__ = ["shrink"]


def shrink(
    file: Annotated[Path, typer.Argument(help="An Espalier file.", metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    input_shape: InputShape = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON, alone on standard output.")
    ] = False,
    max_bytes: MaxBytes = DEFAULT_MAX_BYTES,
) -> None:
    """Remove dead filters and neurons: smaller dense layers that compute the same.

    Weights keep their grids, and the file says what builds the smaller network.
    """
    from espalier.structure import shrink_file

    found = shrink_file(file, out, input_shape=parse_shape(input_shape), max_bytes=max_bytes)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
        return
    for name, (before, after) in found.layers.items():
        if after < before:
            typer.echo(f"{name}: {before} -> {after}")
    typer.echo(
        f"{out}: {found.parameters_before:,} -> {found.parameters:,} numbers, "
        f"{found.size_bytes_before:,} -> {found.size_bytes:,} bytes"
    )
