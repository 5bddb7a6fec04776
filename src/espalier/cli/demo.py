"""``espalier demo``: a dense network and a small grid of compressed ones, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.errors import BusyError, ConfigError, StoppedError
from espalier.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from espalier.records import StudyPlan, StudyRecords
    from espalier.report import Book
    from espalier.study.runner import StudyOutcome

__all__ = ["demo"]


def demo(
    out: Annotated[
        Path, typer.Option(help="Where the study, its picture and its report are written.")
    ] = Path("demo"),
    jobs: Annotated[
        str,
        typer.Option(help="Runs at once, with one thread each, or auto: one a core."),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of every run; the signals stay the same.", min=0)] = 0,
) -> None:
    """Train networks that tell radio modulations apart, dense and compressed, in two minutes.

    It is the built-in study `demo`, with a table, a picture of accuracy against size and the report
    at its end. Nothing is downloaded: the signals are generated. Every number is computed then and
    there: a finished demo in --out is replaced, one that was stopped goes on.
    """
    try:
        _run(out, jobs, seed)
    except (KeyboardInterrupt, StoppedError) as error:
        raise StoppedError("the demo was stopped; the same command goes on.") from error


def _run(out: Path, jobs: str, seed: int) -> None:
    from rich.console import Console

    from espalier.cli.picture import save_picture
    from espalier.cli.study import study_summary
    from espalier.files import make_directory
    from espalier.records import read_study
    from espalier.report import refuse_foreign, write_report

    study, report = out / "study", out / "report"
    make_directory(out)  # before two minutes of training, not after
    refuse_foreign(report)
    outcome = _train(study, jobs, seed)
    book = write_report(study, report)
    pictures = save_picture(book.parts[0].cells, _caption(read_study(study)), out)
    Console(highlight=False).print(demo_table(book))
    if pictures:
        typer.echo(f"Accuracy against size: {', '.join(map(str, pictures))}")
    typer.echo(f"Report: {report / 'index.html'}")
    if not outcome.complete:
        typer.echo(study_summary(study, outcome))
        raise typer.Exit(1)


def _train(study: Path, jobs: str, seed: int) -> "StudyOutcome":
    """Run the study, as ``espalier study run demo`` does."""
    from dataclasses import replace

    from espalier.cli.study_display import show_study
    from espalier.study.local import LocalEngine, available_cores, share_machine
    from espalier.study.planning import find_definition, make_plan, write_plan
    from espalier.study.runner import Setup, run_cells
    from espalier.study.view import StudyReader
    from espalier.train import resolve_device

    share = share_machine(jobs, 1, device="cpu", cores=available_cores())
    definition = find_definition("demo")
    definition = replace(definition, fixed={**definition.fixed, "seed": seed})
    plan = make_plan(definition, device=resolve_device("cpu"))
    _make_room(study, plan)
    plan = write_plan(study, plan)
    setup = Setup(data_dir=None, devices=["cpu"], threads=1, retries=1, retry_failed=True)
    with show_study(StudyReader(study), leave=False) as observer:
        return run_cells(study, plan.cells, LocalEngine(share.jobs), setup, observer)


def _make_room(study: Path, plan: "StudyPlan") -> None:
    """Remove a demo that is finished, or of another seed; one that was stopped goes on.

    Raises:
        ConfigError: the directory holds another study.
        BusyError: a demo of another seed is running there.
    """
    import shutil

    from espalier.records import read_study
    from espalier.records.study import PLAN

    if not (study / PLAN).exists():
        return
    there = read_study(study)
    if there.plan.name != plan.name:
        raise ConfigError(
            f"{study} holds study '{there.plan.name}', not '{plan.name}'. Choose another --out."
        )
    same = there.plan.cells.keys() == plan.cells.keys()
    if same and len(there.of_state("done")) < len(there.cells):
        return
    if there.of_state("running"):
        raise BusyError(f"another demo is running in {study}. Choose another --out, or wait.")
    shutil.rmtree(study)


def demo_table(book: "Book") -> "Table":
    """Return the study's cells as a table, what is not known left out."""
    from rich.table import Table

    from espalier.cli.summary import percent
    from espalier.report.cells import baseline_cell, score
    from espalier.report.tables import SHOWN_RHO

    cells = book.parts[0].cells
    dense = baseline_cell(cells)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.caption = f"PE at rho {SHOWN_RHO}; the last one from the bytes of the file."
    table.caption_justify = "left"
    table.add_column("")
    heads = ("gamma", "bits", "accuracy", "density", "RC", "PE", "file", "PE, file")
    for head in heads:
        table.add_column(head, justify="right")
    for cell in cells:
        if not cell.planned:
            continue
        compared = None if cell is dense else dense
        pe = score(cell, compared, SHOWN_RHO)
        pe_file = score(cell, compared, SHOWN_RHO, by="file")
        table.add_row(
            "dense" if cell is dense else "",
            f"{cell.gamma:g}",
            str(cell.bits),
            "" if cell.test_accuracy is None else percent(cell.test_accuracy),
            "" if cell.density is None else percent(100 * cell.density),
            "" if cell.ratio is None else f"{cell.ratio:.4f}",
            "" if pe is None else f"{pe:.2f}",
            "" if cell.size_bytes is None else f"{cell.size_bytes / 1000:.1f} kB",
            "" if pe_file is None else f"{pe_file:.2f}",
        )
    return table


def _caption(records: "StudyRecords") -> str:
    """Say where the picture's numbers come from; nothing before a run has finished."""
    result = next((cell.result for cell in records.cells if cell.result is not None), None)
    if result is None:
        return ""
    return (
        f"{result.data_source}; one run a point, {result.parameters:,} parameters, "
        f"{counted(result.epochs_run, 'epoch')}; seed {result.seed}; "
        f"torch {result.environment.get('torch', '?')}, "
        f"{result.environment.get('processor', 'CPU')}"
    )
