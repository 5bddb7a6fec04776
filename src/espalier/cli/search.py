"""``espalier search``: the front of accuracy against bytes, by runs of a study."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from espalier.cli.settings import given_settings
from espalier.errors import ConfigError, StoppedError, nearest

if TYPE_CHECKING:
    from espalier.records import RunSpec, StudyPlan
    from espalier.study.runner import StudyOutcome
    from espalier.study.search import Found

__all__ = ["search"]

OBJECTIVES = ("accuracy", "bytes")


def search(  # noqa: PLR0913, PLR0917 - the command line is flat
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The study's directory; the front lies there too.")],
    objective: Annotated[
        str, typer.Option(help="What to trade: accuracy and bytes, so far the only two.")
    ] = "accuracy, bytes",
    data: Annotated[str, typer.Option(help="Data set, or module:function.")] = "cifar10",
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the data set's files are. ESPALIER_DATA says it too.")
    ] = None,
    model: Annotated[str, typer.Option(help="Network, or module:function.")] = "paper_cnn",
    recipe: Annotated[
        str, typer.Option(help="Settings of all runs that are not searched: strong or paper.")
    ] = "strong",
    budget_runs: Annotated[
        int, typer.Option(help="Runs in all; more of them later join those that are there.")
    ] = 12,
    epochs: Annotated[int, typer.Option(help="Of each run.")] = 10,
    densities: Annotated[
        str, typer.Option(help="Smallest and largest density to look at.", metavar="LOW:HIGH")
    ] = "0.005:0.2",
    bits: Annotated[str, typer.Option(help="Bit widths to look at.", metavar="LIST")] = "2,3,4",
    rates: Annotated[
        str, typer.Option(help="Smallest and largest learning rate.", metavar="LOW:HIGH")
    ] = "0.03:0.2",
    limit_train: Annotated[
        int | None, typer.Option(help="Train on so many images, all classes alike.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 128,
    seed: Annotated[int, typer.Option(help="Of every run.")] = 0,
    jobs: Annotated[str, typer.Option(help="Runs at once, or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Of each run.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON, alone on standard output.")
    ] = False,
) -> None:
    """Find which accuracy which size can have: the runs that no other one beats in both.

    Runs are cells of a study: the same command goes on after a stop, `espalier study watch` and
    `espalier report` read the directory. Validation accuracy decides; test accuracy is only shown.
    """
    from espalier.cli.study import study_summary
    from espalier.study.search import Space
    from espalier.study.search import search as find

    _check_objective(objective)
    if data_dir is not None and not data_dir.exists():
        raise ConfigError(f"--data-dir {data_dir} does not exist.")
    options = {"limit_train": limit_train, "batch_size": batch_size, "seed": seed}
    settings = {"data": data, "model": model, "recipe": recipe, "epochs": epochs}
    space = Space(
        densities=_interval("--densities", densities),
        bits=_widths(bits),
        rates=_interval("--rates", rates),
    )
    runner = _Runner(out, data_dir, jobs, threads, device)
    try:
        found = find(
            settings | given_settings(context, options),
            space,
            out,
            runner,
            runs=budget_runs,
            device=runner.device,
        )
    except KeyboardInterrupt as error:
        raise StoppedError(
            f"stopped; {out} keeps all finished epochs. The same command goes on."
        ) from error
    _write(out, found)
    if as_json:
        whole = {"study": str(out), "runs": len(found.rows), "front": found.to_json(out)}
        typer.echo(json.dumps(whole))
    else:
        _print(out, found)
        typer.echo(study_summary(out, found.outcome))
    if found.outcome.left or not found.front:
        raise typer.Exit(1)


class _Runner:
    """Runs cells on this machine, with the study's display on standard error."""

    def __init__(
        self, out: Path, data_dir: Path | None, jobs: str, threads: int | None, device: str
    ) -> None:
        from espalier.study.local import available_cores, share_machine
        from espalier.study.runner import Setup
        from espalier.train import resolve_device

        self.out, self.device = out, resolve_device(device)
        share = share_machine(jobs, threads, device=self.device.type, cores=available_cores())
        self.jobs = share.jobs
        self.setup = Setup(
            data_dir=data_dir, devices=[str(self.device)], threads=share.threads, retries=2
        )

    def __call__(self, plan: "StudyPlan", cells: Mapping[str, "RunSpec"]) -> "StudyOutcome":
        from espalier.cli.study_display import show_study
        from espalier.study.local import LocalEngine
        from espalier.study.planning import write_plan
        from espalier.study.runner import run_cells
        from espalier.study.view import StudyReader

        write_plan(self.out, plan)
        with show_study(StudyReader(self.out), leave=False) as observer:
            return run_cells(self.out, cells, LocalEngine(self.jobs), self.setup, observer)


def _check_objective(objective: str) -> None:
    names = [name.strip() for name in objective.split(",")]
    for name in names:
        if name not in OBJECTIVES:
            raise ConfigError(
                f"--objective {objective}: there is no {name!r}, but {' and '.join(OBJECTIVES)}."
                f"{nearest(name, OBJECTIVES)}"
            )
    if sorted(names) != sorted(OBJECTIVES):
        raise ConfigError(f'--objective {objective}: a front needs both, "accuracy, bytes".')


def _interval(option: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise ConfigError(f"{option} {text}: expected LOW:HIGH, for instance 0.01:0.1.") from error
    return low, high


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted(int(part) for part in text.split(",")))
    except ValueError as error:
        raise ConfigError(f"--bits {text}: expected whole numbers, for instance 2,3,4.") from error


def _write(out: Path, found: "Found") -> None:
    from espalier.files import write_atomically
    from espalier.report.export import to_csv
    from espalier.report.front import draw_front
    from espalier.train.outcome import pretty

    rows: list[dict[str, Any]] = found.to_json(out)
    if not rows:
        return
    svg, png = draw_front(found.rows)
    write_atomically(out / "front.json", pretty(rows))
    write_atomically(out / "front.csv", to_csv(rows).encode())
    write_atomically(out / "front.svg", svg)
    write_atomically(out / "front.png", png)


def _print(out: Path, found: "Found") -> None:
    from rich.table import Table

    from espalier.cli.sizes import size_text
    from espalier.cli.summary import percent, print_whole

    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("file", "validation", "test", "density", "bits", "lr"):
        table.add_column(head, justify="right")
    table.add_column("run")
    for row in found.to_json(out):
        table.add_row(
            size_text(row["size_bytes"]),
            percent(row["val_accuracy"]),
            percent(row["test_accuracy"]),
            percent(100 * row["density"]),
            str(row["bits"]),
            f"{row['lr']:g}",
            row["run"],
        )
    print_whole(table)
    typer.echo(f"{len(found.front)} of {len(found.rows)} runs; {out / 'front.png'} shows them all")
