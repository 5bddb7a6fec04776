"""Options that say what an operator is made of; ``train`` and ``compress`` have them alike."""

from typing import Annotated

import typer

__all__ = [
    "COMPRESSION",
    "BitPrice",
    "FilterDensity",
    "LayerBits",
    "LayerLeast",
    "OperatorLr",
    "Pressure",
    "QuantizerKind",
    "SpareOperations",
]

COMPRESSION = "Compression"

FilterDensity = Annotated[
    float | None,
    typer.Option(
        help="Keep this fraction of whole filters and neurons, before weights are pruned; the "
        "last layer keeps all. `espalier shrink` removes the others.",
        rich_help_panel=COMPRESSION,
    ),
]
LayerBits = Annotated[
    list[str] | None,
    typer.Option(
        help="Bits of the parameters that match, instead of --bits: 'conv1.*=8'. Several times.",
        metavar="PATTERN=BITS",
        rich_help_panel=COMPRESSION,
    ),
]
QuantizerKind = Annotated[
    str,
    typer.Option(
        help="Where kept weights are put: uniform, an even grid, each weight to the nearest value; "
        "lsq, whose step is learned from the loss (2 to 16 bits); rdoq, each weight where distance "
        "and bits in the file together are least (2 to 8 bits), for smaller files.",
        rich_help_panel=COMPRESSION,
    ),
]
BitPrice = Annotated[
    float,
    typer.Option(
        help="What a bit costs --quantizer rdoq, in squares of the step: 0.05 to 0.5 is usual, 0 "
        "takes the nearest value.",
        rich_help_panel=COMPRESSION,
    ),
]
OperatorLr = Annotated[
    float,
    typer.Option(
        help="Learning rate of what learns beside the weights: steps of --quantizer lsq, which "
        "need about that of the weights while pruning goes on; thresholds of --pressure.",
        rich_help_panel=COMPRESSION,
    ),
]
Pressure = Annotated[
    float | None,
    typer.Option(
        help="Learn a threshold for each parameter instead (as STR): its gamma rises by "
        "--operator-lr times this a step, less what the loss pushes back. Try 0.005 with "
        "--operator-lr 1. There is no budget: look at the size afterwards.",
        rich_help_panel=COMPRESSION,
    ),
]
LayerLeast = Annotated[
    int,
    typer.Option(
        help="Weights of every parameter that stay whatever --budget lamp gives it: protects "
        "biases and small layers.",
        rich_help_panel=COMPRESSION,
    ),
]
SpareOperations = Annotated[
    float,
    typer.Option(
        help="For a faster network of the same size: how much operations count in what a weight "
        "costs --budget lamp, 0 (weights alone) to 1 (operations alone); try 0.75. Convolutions "
        "over large images give more, fully connected layers less.",
        rich_help_panel=COMPRESSION,
    ),
]
