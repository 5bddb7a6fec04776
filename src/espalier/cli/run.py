"""``espalier run``: classify images with the compiled network."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from espalier.artifact import DEFAULT_MAX_BYTES
from espalier.cli.export import InputShape, ModelName, open_graph, parse_shape
from espalier.cli.pack import MaxBytes
from espalier.cli.summary import percent
from espalier.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from espalier.runtime import CompiledNetwork

__all__ = ["run"]

BATCH = 256


def run(
    file: Annotated[Path, typer.Argument(help="An Espalier file.", metavar="FILE")],
    inputs: Annotated[
        Path,
        typer.Option("--input", "-i", help="An image, a folder of images, or a .npy of samples."),
    ],
    model: ModelName = None,
    input_shape: InputShape = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON, alone on standard output.")
    ] = False,
    max_bytes: MaxBytes = DEFAULT_MAX_BYTES,
) -> None:
    """Classify images with the network, compiled for this machine at the first time."""
    from espalier.artifact import open_artifact
    from espalier.export.inputs import find_inputs
    from espalier.runtime import compile

    shape = parse_shape(input_shape)
    with open_artifact(file, max_bytes=max_bytes) as opened:
        found = find_inputs(inputs, opened.metadata.input, shape=shape)
    if model is None:
        network = compile(file, input_shape=shape, max_bytes=max_bytes)
    else:
        network = compile(open_graph(file, model, input_shape=shape, max_bytes=max_bytes))
    if len(network.output_shape) != 1:
        raise ConfigError(f"{file} gives {network.output_shape}, not one number a class.")
    rows: list[dict[str, Any]] = []
    for batch in found.batches(BATCH):
        names = found.names[len(rows) : len(rows) + len(batch)]
        rows += _rows(names, network(batch), network)
    if as_json:
        typer.echo(json.dumps({"network": str(file), "rows": rows}))
        return
    _print_table(rows)


def _rows(
    names: tuple[str, ...], outputs: "NDArray[np.float32]", network: "CompiledNetwork"
) -> list[dict[str, Any]]:
    """Return a row a sample: the class and how sure the network is."""
    if network.head == "argmax":
        places, shares = outputs[:, 0].astype(int), None
    else:
        places = outputs.argmax(1)
        shares = outputs if network.head == "softmax" else _softmax(outputs)
    rows = []
    for i, (name, place) in enumerate(zip(names, places.tolist(), strict=True)):
        known = place < len(network.classes)
        rows.append(
            {
                "input": name,
                "index": place,
                "class": network.classes[place] if known else None,
                "probability": None if shares is None else float(shares[i, place]),
            }
        )
    return rows


def _softmax(logits: "NDArray[np.float32]") -> "NDArray[np.float64]":
    import numpy as np

    powers: NDArray[np.float64] = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
    shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return shares


def _print_table(rows: list[dict[str, Any]]) -> None:
    width = max(len(row["input"]) for row in rows)
    for row in rows:
        name = str(row["index"]) if row["class"] is None else row["class"]
        sure = "" if row["probability"] is None else percent(100 * row["probability"])
        typer.echo(f"{row['input']:<{width}}  {name:<12} {sure:>9}")
