"""``espalier report``: a study's tables, figures and page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from espalier.report import Book, Rule

__all__ = ["report"]


def report(
    study: Annotated[Path, typer.Argument(help="The study's directory.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="The report's folder; an older report there is replaced.")
    ] = Path("report"),
    lang: Annotated[str, typer.Option(help="Of the captions: en or pt.")] = "en",
    rule: Annotated[
        str,
        typer.Option(
            help="Which epoch counts: paper (best test accuracy), validation (best validation "
            "accuracy) or last."
        ),
    ] = "paper",
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one line of JSON, alone on standard output."),
    ] = False,
) -> None:
    """Show what a study found, at any moment of it: one HTML page, tables and figures."""
    from espalier.report import write_report

    book = write_report(study, out, rule=cast("Rule", rule), lang=lang)
    for problem in book.problems:
        typer.echo(f"problem  {problem}", err=True)
    index = out / "index.html"
    if as_json:
        typer.echo(json.dumps(_summary(book, index)))
        return
    typer.echo(f"{book.counts['done']} of {len(book.runs)} runs finished: open {index}")


def _summary(book: "Book", index: Path) -> dict[str, Any]:
    highlights = [
        {row.key: row.value, "published": row.published, "variant": part.variant.label}
        for part in book.parts
        for row in part.highlights
    ]
    return {
        "index": str(index),
        "rule": book.rule,
        "counts": dict(book.counts),
        "highlights": highlights,
        "problems": list(book.problems),
    }
