"""``espalier ablation``: what each rung of a ladder gains."""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ablation"]


def ablation(
    studies: Annotated[list[Path], typer.Argument(help="Directories of studies, taken together.")],
    around: Annotated[
        int | None,
        typer.Option(
            help="Number of the row with which all that come after it are compared: the last rung, "
            "where parts are taken away from it or put in its place.",
            metavar="ROW",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one line of JSON, alone on standard output."),
    ] = False,
) -> None:
    """Show what each rung of a ladder gains over the one before, seed by seed.

    A row is a choice of settings with all its seeds, in the order of the study. Validation accuracy
    counts, and the bytes of the file stand beside it (docs/ladder.md).
    """
    from espalier.records import read_study
    from espalier.report import reading_sheets
    from espalier.report.ablation import ablation as rows

    found = rows([read_study(study) for study in studies], around=around)
    text = reading_sheets.ablation_table(found)
    typer.echo(json.dumps(reading_sheets.ablation_records(found)) if as_json else text, nl=as_json)
