"""``espalier run``: classify images with the compiled network."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from espalier.artifact import DEFAULT_MAX_BYTES
from espalier.cli.export import ModelName, open_graph
from espalier.cli.pack import MaxBytes
from espalier.cli.summary import percent
from espalier.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from espalier.export.graph import Graph

__all__ = ["run"]

BATCH = 256


def run(
    file: Annotated[Path, typer.Argument(help="An Espalier file.", metavar="FILE")],
    inputs: Annotated[
        Path,
        typer.Option("--input", "-i", help="An image, a folder of images, or a .npy of samples."),
    ],
    model: ModelName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON, alone on standard output.")
    ] = False,
    max_bytes: MaxBytes = DEFAULT_MAX_BYTES,
) -> None:
    """Classify images with the network, compiled for this machine at the first time."""
    from espalier.artifact import open_artifact
    from espalier.export.inputs import find_inputs
    from espalier.runtime import compile

    with open_artifact(file, max_bytes=max_bytes) as opened:
        found = find_inputs(inputs, opened.metadata.input)
    graph = open_graph(file, model, max_bytes=max_bytes)
    if len(graph.output.shape) != 1:
        raise ConfigError(f"{file} gives {graph.output.shape}, not one number a class.")
    network = compile(graph)
    rows: list[dict[str, Any]] = []
    for batch in found.batches(BATCH):
        names = found.names[len(rows) : len(rows) + len(batch)]
        rows += _rows(names, network(batch), graph)
    if as_json:
        typer.echo(json.dumps({"network": str(file), "rows": rows}))
        return
    _print_table(rows)


def _rows(
    names: tuple[str, ...], outputs: "NDArray[np.float32]", graph: "Graph"
) -> list[dict[str, Any]]:
    """Return a row a sample: the class and how sure the network is."""
    from espalier.export.graph import Argmax

    if isinstance(graph.nodes[-1].layer, Argmax):
        places, shares = outputs[:, 0].astype(int), None
    else:
        places, shares = outputs.argmax(1), _shares(outputs, graph)
    rows = []
    for i, (name, place) in enumerate(zip(names, places.tolist(), strict=True)):
        known = place < len(graph.classes)
        rows.append(
            {
                "input": name,
                "index": place,
                "class": graph.classes[place] if known else None,
                "probability": None if shares is None else float(shares[i, place]),
            }
        )
    return rows


def _shares(outputs: "NDArray[np.float32]", graph: "Graph") -> "NDArray[np.float64]":
    """Return probabilities, of logits where the network does not give them itself."""
    import numpy as np

    from espalier.export.graph import Softmax

    given = outputs.astype(np.float64)
    if isinstance(graph.nodes[-1].layer, Softmax):
        return given
    powers: NDArray[np.float64] = np.exp(given - given.max(1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return shares


def _print_table(rows: list[dict[str, Any]]) -> None:
    width = max(len(row["input"]) for row in rows)
    for row in rows:
        name = str(row["index"]) if row["class"] is None else row["class"]
        sure = "" if row["probability"] is None else percent(100 * row["probability"])
        typer.echo(f"{row['input']:<{width}}  {name:<12} {sure:>9}")
