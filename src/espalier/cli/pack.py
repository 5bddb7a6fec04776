"""``espalier pack``, ``verify`` and ``unpack``: a run's network to its file and back."""

from pathlib import Path
from typing import Annotated

import typer

from espalier.artifact import DEFAULT_MAX_BYTES
from espalier.errors import ConfigError

__all__ = ["MaxBytes", "pack", "unpack", "verify"]

File = Annotated[Path, typer.Argument(help="An Espalier file.", metavar="FILE")]
Run = Annotated[
    Path, typer.Argument(help="A run's directory, or its best.safetensors.", metavar="RUN")
]
MaxBytes = Annotated[
    int, typer.Option(help="Most bytes that the network may take when decoded.", min=0)
]
CODERS = ("smallest", "contexts", "static")


def pack(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    by_validation: Annotated[
        bool,
        typer.Option("--by-validation", help="The epoch that was best in validation, not in test."),
    ] = False,
    fold: Annotated[
        bool,
        typer.Option("--fold", help="Fold batch normalization's statistics into scale and shift."),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Store what is not compressed in 16 bits.")
    ] = False,
    coder: Annotated[str, typer.Option(help="smallest, contexts or static.")] = "smallest",
) -> None:
    """Write a run's best network to a file, as small as it gets."""
    from espalier.errors import nearest
    from espalier.train import pack_run

    if coder not in CODERS:
        raise ConfigError(
            f"--coder {coder}: expected one of {', '.join(CODERS)}.{nearest(coder, CODERS)}"
        )
    size = pack_run(
        run,
        out,
        by_validation=by_validation,
        fold_normalization=fold,
        half=half,
        coder=coder,  # type: ignore[arg-type]
    )
    typer.echo(f"{out}: {size:,} bytes")


def verify(file: File, run: Run, max_bytes: MaxBytes = DEFAULT_MAX_BYTES) -> None:
    """Check that a file holds a run's weights, bit for bit; exit code 1 if it does not."""
    from espalier.train import verify_run

    tensors, values = verify_run(file, run, max_bytes=max_bytes)
    typer.echo(f"{file} holds the weights of {run}: {tensors} tensors, {values:,} values alike")


def unpack(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="The safetensors file to write.")],
    max_bytes: MaxBytes = DEFAULT_MAX_BYTES,
) -> None:
    """Decode a file's weights into a plain safetensors file."""
    from espalier.bridge import export_safetensors

    size = export_safetensors(file, out, max_bytes=max_bytes)
    typer.echo(f"{out}: {size:,} bytes")
