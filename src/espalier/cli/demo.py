"""``espalier demo``: a dense network and a small grid of compressed ones, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from espalier.errors import StoppedError

__all__ = ["demo"]


def demo(
    out: Annotated[
        Path, typer.Option(help="Where the picture and its numbers are written.")
    ] = Path("demo"),
    threads: Annotated[
        int, typer.Option(help="Of the CPU. These networks are so small that more help little.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of every run; the signals stay the same.", min=0)] = 0,
) -> None:
    """Train networks that tell radio modulations apart, dense and compressed, in two minutes.

    Nothing is downloaded: the signals are generated. Every number is computed then and there. The
    picture shows accuracy against size.
    """
    try:
        _run(out, threads, seed)
    except (KeyboardInterrupt, StoppedError) as error:
        raise StoppedError("the demo was stopped; nothing of it was kept.") from error


def _run(out: Path, threads: int, seed: int) -> None:
    from rich.console import Console

    from espalier.cli import grid
    from espalier.cli.picture import save_picture
    from espalier.files import make_directory
    from espalier.train.memory import keep_freed_memory

    make_directory(out)  # before two minutes of training, not after
    keep_freed_memory()
    with grid.grid_on_stderr(grid.CELLS) as show:
        rows = grid.run_grid(show, cells=grid.CELLS, threads=threads, seed=seed)
    paths = save_picture(rows, out)
    Console(highlight=False).print(grid.grid_table(rows))
    typer.echo(f"Accuracy against size: {', '.join(str(path) for path in paths)}")
