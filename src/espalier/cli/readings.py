"""``espalier readings``: which reading of the paper comes nearest to its Table I."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from espalier.errors import ConfigError, nearest

if TYPE_CHECKING:
    from espalier.report.readings import Count

__all__ = ["readings"]

COUNTS = ("mask", "nonzero")


def readings(
    studies: Annotated[list[Path], typer.Argument(help="Directories of studies, taken together.")],
    count: Annotated[
        str, typer.Option(help="Which weights a density counts: mask or nonzero.")
    ] = "mask",
    factors: Annotated[
        bool,
        typer.Option(
            "--factors",
            help="Show the effects of the first study's two-level factors instead; the others "
            "lend their dense runs.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one line of JSON, alone on standard output."),
    ] = False,
) -> None:
    """Rank readings of the paper by their distance to its pattern (docs/fidelity.md)."""
    from espalier.records import read_study
    from espalier.report import effects, reading_sheets
    from espalier.report import readings as ranking

    if count not in COUNTS:
        raise ConfigError(
            f"count={count!r}: expected one of {', '.join(COUNTS)}.{nearest(count, COUNTS)}"
        )
    records = [read_study(study) for study in studies]
    if factors:
        found = effects.effects(*records)
        data, text = reading_sheets.effect_records(found), reading_sheets.effects_table(found)
    else:
        ranked = ranking.readings(records, count=cast("Count", count))
        data, text = reading_sheets.reading_records(ranked), reading_sheets.readings_table(ranked)
    typer.echo(json.dumps(data) if as_json else text, nl=as_json)
