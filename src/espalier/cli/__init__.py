"""The commands: one thin file each, which parses, calls and prints."""

import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from espalier.cli.ablation import ablation
from espalier.cli.bench import bench
from espalier.cli.compress import compress
from espalier.cli.demo import demo
from espalier.cli.export import export
from espalier.cli.inspect import inspect
from espalier.cli.pack import pack, unpack, verify
from espalier.cli.readings import readings
from espalier.cli.report import report
from espalier.cli.run import run
from espalier.cli.search import search
from espalier.cli.shrink import shrink
from espalier.cli.study import study
from espalier.cli.train import train
from espalier.errors import ConfigError, EspalierError, ExportError, SelectionError

__all__ = ["app", "main"]

WRONG_USAGE, FAILURE = 2, 1
"""Exit codes: what was asked can't be done; or it was tried and failed."""

app = typer.Typer(
    name="espalier",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(compress)
app.command()(search)
app.command()(pack)
app.command()(inspect)
app.command()(verify)
app.command()(unpack)
app.command()(shrink)
app.command()(export)
app.command()(run)
app.command()(bench)
app.command()(demo)
app.command()(report)
app.command()(readings)
app.command()(ablation)
app.add_typer(study, name="study")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"espalier {version('espalier')}")
        raise typer.Exit


@app.callback()
def espalier(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print and exit."),
    ] = False,
) -> None:
    """Train neural networks to be small: prune and quantize at every training step."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 failed, 2 wrong usage; one line on stderr says why.

    Args:
        arguments: of the command line; None takes them from the process.
    """
    # A SIGTERM that comes before training begins ends the command like Ctrl-C, files in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(args=arguments, prog_name="espalier")
    except (ConfigError, ExportError, SelectionError) as error:
        _exit(error, WRONG_USAGE)
    except EspalierError as error:
        _exit(error, FAILURE)
    except OSError as error:
        _exit(f"{error.filename}: {error.strerror}" if error.filename else error, FAILURE)


def _exit(error: object, code: int) -> None:
    typer.echo(f"espalier: {error}", err=True)
    sys.exit(code)
