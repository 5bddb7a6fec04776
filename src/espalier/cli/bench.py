"""``espalier bench``: what a network costs here, against what one would use otherwise."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.artifact import DEFAULT_MAX_BYTES, Metadata
from espalier.cli.export import InputShape, ModelName, build_own, parse_shape
from espalier.cli.pack import MaxBytes
from espalier.cli.summary import percent, print_whole
from espalier.errors import ConfigError, EspalierError
from espalier.wording import counted

if TYPE_CHECKING:
    from espalier.runtime.bench import Row, Sizes
    from espalier.runtime.engines import Subject
    from espalier.runtime.samples import Samples

__all__ = ["bench"]

BASE = ("ort-fp32", "torch")
"""Times are given as parts of the first of these that ran."""


def bench(  # noqa: PLR0913, PLR0917 - the command line is flat
    file: Annotated[Path, typer.Argument(help="An Espalier file.", metavar="FILE")],
    data: Annotated[
        str | None, typer.Option(help="Measure accuracy on the test set of: cifar10, modulation.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the files of --data are.")] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="Run an image, a folder of images, or a .npy instead."),
    ] = None,
    engines: Annotated[
        str | None,
        typer.Option(help="Names with commas between, or all; torch-compile only where named."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples of a call.", min=1)] = 1,
    threads: Annotated[int, typer.Option(help="That each engine may use.", min=1)] = 1,
    seconds: Annotated[float, typer.Option(help="Of timed calls an engine, about.")] = 2.0,
    limit: Annotated[
        int | None, typer.Option(help="Measure accuracy on so many samples only.", min=1)
    ] = None,
    model: ModelName = None,
    input_shape: InputShape = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON, alone on standard output.")
    ] = False,
    max_bytes: MaxBytes = DEFAULT_MAX_BYTES,
) -> None:
    """Measure a network's bytes, time and accuracy here, against what one would use otherwise.

    Engines take turns in one run. One that is not installed gets a line that says what to install.
    """
    from espalier.runtime.bench import bench as measure
    from espalier.runtime.bench import sizes_of
    from espalier.runtime.engines import open_subject

    names = _engines(engines)
    shape = parse_shape(input_shape)
    samples = _samples(data, data_dir, inputs, limit)
    with tempfile.TemporaryDirectory() as folder, _saying() as say:
        say(f"opening {file}")
        own = build_own(file, model, max_bytes=max_bytes)
        subject = open_subject(
            file,
            Path(folder),
            model=own,
            input_shape=shape,
            samples=samples,
            max_bytes=max_bytes,
        )
        rows = measure(
            subject,
            engines=names,
            batch=batch,
            threads=threads,
            seconds=seconds,
            limit=limit,
            say=say,
        )
        say("writing ONNX files")
        sizes = sizes_of(subject)
    if as_json:
        typer.echo(json.dumps(_json(subject, sizes, rows)))
    else:
        _print(subject, sizes, rows)
    if all(row.missing for row in rows):
        raise EspalierError("none of the engines could run; the table says why.")


def _engines(asked: str | None) -> tuple[str, ...]:
    from espalier.runtime.engines import DEFAULT_ENGINES, ENGINES, check_engines

    if asked is None:
        return DEFAULT_ENGINES
    names = tuple(ENGINES) if asked == "all" else tuple(n.strip() for n in asked.split(",") if n)
    check_engines(names)
    return names


def _samples(
    data: str | None, data_dir: Path | None, inputs: Path | None, limit: int | None
) -> "Callable[[Metadata, tuple[int, ...]], Samples]":
    """Return what finds the samples that the options name."""
    from espalier.runtime.samples import from_data, from_files, from_nothing

    if data is not None and inputs is not None:
        raise ConfigError("--data and --input are two things to run; give one of them.")
    for option, value in (("--data-dir", data_dir), ("--limit", limit)):
        if data is None and value is not None:
            raise ConfigError(f"{option} is for --data.")
    if data is not None:
        return lambda metadata, shape: from_data(data, data_dir, metadata, shape)
    if inputs is not None:
        return lambda metadata, shape: from_files(inputs, metadata, shape)
    return from_nothing


@contextmanager
def _saying() -> Iterator[Callable[[str], None]]:
    """Say on standard error what is going on: one line that changes, or lines in a pipe."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda text: console.print(text, soft_wrap=True, markup=False)
        return
    with console.status("") as status:
        yield lambda text: status.update(escape(text))


def _json(subject: "Subject", sizes: "Sizes", rows: "list[Row]") -> dict[str, object]:
    return {
        "network": str(subject.path),
        "machine": _machine(),
        "samples": subject.samples.source,
        "calibration": subject.samples.calibration_source,
        "sizes": sizes.to_json(),
        "rows": [row.to_json() for row in rows],
    }


def _machine() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from espalier.train.environment import environment

    found = environment(torch.device("cpu"))
    try:
        found["onnxruntime"] = version("onnxruntime")
    except PackageNotFoundError:
        return found
    return found


def _print(subject: "Subject", sizes: "Sizes", rows: "list[Row]") -> None:
    for name, value in _facts(subject, sizes, rows):
        typer.echo(f"{name:<14} {value}")
    typer.echo()
    _print_table(rows)
    typer.echo()
    for row in rows:
        if row.missing or row.note:
            typer.echo(f"{row.engine:<14} {row.missing or row.note}")


def _facts(subject: "Subject", sizes: "Sizes", rows: "list[Row]") -> Iterator[tuple[str, str]]:
    machine = _machine()
    threads = counted(rows[0].threads, "thread")
    versions = [f"{name} {machine[name]}" for name in ("torch", "onnxruntime") if name in machine]
    yield "machine", f"{machine['processor']}; {threads}; {', '.join(versions)}"
    labelled = max(row.labelled for row in rows)
    yield "samples", subject.samples.source + (f", {labelled:,} for accuracy" if labelled else "")
    forms = {
        "the file": sizes.file,
        "as float32": sizes.float32,
        "ONNX float": sizes.onnx_float,
        "ONNX int8": sizes.onnx_int8,
        "ONNX packed": sizes.onnx_packed,
    }
    for name, size in forms.items():
        if size is not None:
            yield name, f"{size:>12,} bytes, {sizes.float32 / size:6.1f} x smaller than float32"


def _print_table(rows: "list[Row]") -> None:
    from rich.table import Table

    measured = {row.engine: row.median_ms for row in rows if row.median_ms is not None}
    base = next((name for name in BASE if name in measured), None)
    with_accuracy = any(row.accuracy is not None for row in rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("engine", no_wrap=True)
    heads = ["bytes", f"ms, batch {rows[0].batch}", "10 %", "90 %"]
    heads += [f"x {base}"] * (base is not None) + ["accuracy"] * with_accuracy
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        if row.median_ms is None or row.low_ms is None or row.high_ms is None:
            table.add_row(row.engine, *(["-"] * len(heads)))
            continue
        cells = [
            f"{row.file_bytes:,}",
            *(f"{value:.3f}" for value in (row.median_ms, row.low_ms, row.high_ms)),
        ]
        if base is not None:
            cells.append(f"{measured[base] / row.median_ms:.2f}")
        if with_accuracy:
            cells.append("-" if row.accuracy is None else percent(row.accuracy))
        table.add_row(row.engine, *cells)
    print_whole(table)
