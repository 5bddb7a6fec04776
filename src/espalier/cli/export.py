"""``espalier export``: C99 or ONNX from a packed network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from espalier.artifact import DEFAULT_MAX_BYTES
from espalier.cli.pack import MaxBytes
from espalier.errors import ConfigError, nearest

if TYPE_CHECKING:
    from torch import nn

    from espalier.export.graph import Graph

__all__ = ["InputShape", "ModelName", "build_own", "export", "open_graph", "parse_shape"]

ModelName = Annotated[
    str | None,
    typer.Option(help="What builds the network, module:function, where it is your own."),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        "--input-shape",
        help="Of one sample, such as 3,32,32, where the file does not say it.",
        metavar="C,H,W",
    ),
]
C, ONNX = "C", "ONNX"
HEADS = ("logits", "softmax", "argmax")
CALIBRATION_SAMPLES = 1024


def export(
    file: Annotated[Path, typer.Argument(help="An Espalier file.", metavar="FILE")],
    to: Annotated[str, typer.Option("--to", help="c or onnx.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The directory of the C code, or the ONNX file.")
    ],
    model: ModelName = None,
    head: Annotated[
        str, typer.Option(help="What the network ends with: logits, softmax or argmax.")
    ] = "logits",
    arithmetic: Annotated[
        str | None,
        typer.Option(help="Of the activations; float is the default.", rich_help_panel=C),
    ] = None,
    optimize: Annotated[
        str | None, typer.Option(help="speed (default) or size.", rich_help_panel=C)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="What blocks are sized for: portable (default), scalar for microcontrollers, sse, "
            "avx2, avx512 or neon; the code runs everywhere.",
            rich_help_panel=C,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="float (default); packed: the same from a small file; int8: fast, off the "
            "trained grid.",
            rich_help_panel=ONNX,
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Images, or a .npy of samples, from which integer targets take their ranges; "
            f"{CALIBRATION_SAMPLES:,} of them are enough."
        ),
    ] = None,
    input_shape: InputShape = None,
    max_bytes: MaxBytes = DEFAULT_MAX_BYTES,
) -> None:
    """Write a network as C99 that needs nothing, or as ONNX that stock runtimes open."""
    _check(to, "--to", ("c", "onnx"))
    _check(head, "--head", HEADS)
    only_c = {"arithmetic": arithmetic, "optimize": optimize, "target": target}
    only_onnx = {"profile": profile}
    for name, value in (only_onnx if to == "c" else only_c).items():
        if value is not None:
            raise ConfigError(f"--{name} is not for --to {to}.")
    options: dict[str, Any] = {k: v for k, v in (only_c | only_onnx).items() if v is not None}
    for name, value in options.items():
        _check(value, f"--{name}", _known(name))
    if calibration is not None and "int" not in (arithmetic or profile or ""):
        raise ConfigError("--calibration is for --profile int8 and --arithmetic int.")
    if calibration is None and "int" in (arithmetic or profile or ""):
        raise ConfigError(
            "integers take the ranges of activations from data: give --calibration, some hundred "
            "images of the training data, or a .npy of samples before normalization."
        )
    shape = parse_shape(input_shape)
    graph = open_graph(file, model, head=head, input_shape=shape, max_bytes=max_bytes)
    if calibration is not None:
        options["calibration"] = _calibration(file, calibration, shape, max_bytes)
    typer.echo(_write_c(graph, out, options) if to == "c" else _write_onnx(graph, out, options))


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """Return the sizes that ``--input-shape`` names.

    Raises:
        ConfigError: it names something else.

    Example:
        >>> parse_shape("3,32,32")
        (3, 32, 32)
    """
    if text is None:
        return None
    sizes = [part.strip() for part in text.split(",")]
    if not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
        raise ConfigError(f"--input-shape {text}: expected sizes above 0, such as 3,32,32.")
    return tuple(map(int, sizes))


def open_graph(
    file: Path,
    model: str | None,
    *,
    head: str = "logits",
    input_shape: tuple[int, ...] | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> "Graph":
    """Return the graph of a file's network, whose builder may be the user's own.

    Raises:
        ArtifactError: the file is damaged.
        ConfigError: the network can't be built, or isn't that of the file.
        ExportError: an operator that no target knows.
    """
    from espalier.export.trace import graph_of

    return graph_of(
        file,
        build_own(file, model, max_bytes=max_bytes),
        head=head,  # type: ignore[arg-type]
        input_shape=input_shape,
        max_bytes=max_bytes,
    )


def build_own(file: Path, model: str | None, *, max_bytes: int) -> "nn.Module | None":
    """Return what ``--model`` builds, with the options that the file names for it.

    None where the file's name builds it: that is left to ``load``, which checks the options first.

    Raises:
        ArtifactError: the file is damaged.
        ConfigError: the network can't be built.
    """
    from espalier.artifact import open_artifact

    if model is None:
        return None
    from espalier.models import MODELS, build_model

    with open_artifact(file, max_bytes=max_bytes) as opened:
        network = opened.metadata.network
    same = network is not None and network["name"] == model
    if same and model in MODELS:
        return None
    return build_model(model, **(network["options"] if network is not None and same else {}))


def _known(option: str) -> tuple[str, ...]:
    """Return what an option of a target may be."""
    from espalier.export.c import TARGETS, Arithmetic, Optimize
    from espalier.export.onnx import Profile

    literals: dict[str, Any] = {"arithmetic": Arithmetic, "optimize": Optimize, "profile": Profile}
    return tuple(TARGETS) if option == "target" else get_args(literals[option])


def _write_c(graph: "Graph", out: Path, options: dict[str, Any]) -> str:
    from espalier.export.c import write_c

    write_c(graph, out, **options)
    files = sorted(out.iterdir())
    sizes = ", ".join(f"{path.name} {path.stat().st_size:,}" for path in files)
    return f"{out}: {sizes} bytes; `make -C {out} test` builds and tests it"


def _write_onnx(graph: "Graph", out: Path, options: dict[str, Any]) -> str:
    from espalier.export.onnx import write_onnx

    write_onnx(graph, out, **options)
    return f"{out}: {out.stat().st_size:,} bytes"


def _calibration(file: Path, given: Path, shape: tuple[int, ...] | None, max_bytes: int) -> Any:
    from espalier.artifact import open_artifact
    from espalier.export.inputs import find_inputs

    with open_artifact(file, max_bytes=max_bytes) as opened:
        description = opened.metadata.input
    return find_inputs(given, description, shape=shape).spread(CALIBRATION_SAMPLES)


def _check(asked: str, option: str, known: tuple[str, ...]) -> None:
    if asked not in known:
        raise ConfigError(
            f"{option} {asked}: expected one of {', '.join(known)}.{nearest(asked, known)}"
        )
