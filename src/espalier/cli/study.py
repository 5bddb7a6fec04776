"""``espalier study``: many runs from one file, through any number of interruptions."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from espalier.errors import ConfigError, RecordError, StoppedError
from espalier.wording import counted

if TYPE_CHECKING:
    from espalier.records import StudyPlan
    from espalier.study.job import Engine
    from espalier.study.runner import Setup, StudyOutcome

__all__ = ["study", "study_summary"]

ENGINES = ("local", "ray")

study = typer.Typer(no_args_is_help=True, help="Run many runs from one file, and see how they go.")

Directory = Annotated[Path, typer.Argument(help="The study's directory.", show_default=False)]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON, alone on standard output.")
]


@study.command()
def run(  # noqa: PLR0913, PLR0917 - the command line is flat
    asked: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study file, or paper, paper-quick, demo.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The study's directory; studies/ and its name where not given."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where the data set's files are. ESPALIER_DATA says it too."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help='Run a part: "bits==4 and gamma>=0.5".', metavar="CONDITION"),
    ] = None,
    jobs: Annotated[
        str,
        typer.Option(help="Runs at once, or auto: what machine or cluster has room for."),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            help="Of each run that begins; the cores are divided where not given. On a cluster 1."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    engine: Annotated[str, typer.Option(help="local, or ray: a cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster: auto, or host:port.")
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(help="Of each run on a cluster; a fraction shares a GPU.", show_default=False),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(min=0, help="Times that a run which crashed is tried again without progress."),
    ] = 2,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try runs again that were given up before.")
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard", help="Runs write curves for TensorBoard too: --logdir is the study."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it: finished runs are skipped, cut-off ones continued.

    It can be stopped or killed at any moment; the same command goes on. Points that are added to
    the file join the runs that are there.
    """
    if engine not in ENGINES:
        from espalier.errors import nearest

        raise ConfigError(
            f"--engine {engine}: expected {' or '.join(ENGINES)}.{nearest(engine, ENGINES)}"
        )
    if engine == "local":
        for name, given in (("--address", address), ("--gpus", gpus)):
            if given is not None:
                raise ConfigError(f"{name} is of a cluster; add --engine ray.")
        if data_dir is not None and not data_dir.exists():
            raise ConfigError(f"--data-dir {data_dir} does not exist.")
    import torch

    from espalier.study.cluster import RayEngine, share_cluster
    from espalier.study.local import LocalEngine, available_cores, share_machine
    from espalier.study.planning import find_definition, open_study
    from espalier.study.runner import Setup
    from espalier.train import require_tensorboard, resolve_device

    if tensorboard:
        require_tensorboard()
    if engine == "ray":
        cluster = share_cluster(address, jobs, threads, device=device, gpus=gpus)
        target = torch.device(cluster.device)
    else:
        cluster, target = None, resolve_device(device)
    definition = find_definition(asked)
    out = out or Path("studies", definition.name)
    plan = open_study(out, definition, device=target)
    local = share_machine(jobs, threads, device=target.type, cores=available_cores())
    setup = Setup(
        data_dir=data_dir,
        devices=_devices(str(target)) if cluster is None else [cluster.device],
        threads=(cluster or local).threads,
        retries=retries,
        retry_failed=retry_failed,
        tensorboard=tensorboard,
    )
    runner = LocalEngine(local.jobs) if cluster is None else RayEngine(cluster)
    _run(out, plan, where, runner, setup, as_json=as_json)


def _devices(asked: str) -> list[str]:
    """Return the devices that runs take turns on: all GPUs where none is named."""
    import torch

    count = torch.cuda.device_count() if asked == "cuda" else 0
    return [f"cuda:{index}" for index in range(count)] if count > 1 else [asked]


def _run(
    out: Path,
    plan: "StudyPlan",
    where: str | None,
    engine: "Engine",
    setup: "Setup",
    *,
    as_json: bool,
) -> None:
    from espalier.cli.study_display import show_study
    from espalier.study.planning import write_plan
    from espalier.study.runner import run_cells
    from espalier.study.view import StudyReader
    from espalier.study.where import matching

    cells = plan.cells if where is None else matching(plan.cells, where, what="--where")
    write_plan(out, plan)
    try:
        with show_study(StudyReader(out)) as observer, _silent_threads():
            outcome = run_cells(out, cells, engine, setup, observer)
    except KeyboardInterrupt as error:
        raise StoppedError(
            f"stopped; {out} keeps all finished epochs. The same command goes on."
        ) from error
    typer.echo(json.dumps(_as_json(out, outcome)) if as_json else study_summary(out, outcome))
    if not outcome.complete:
        raise typer.Exit(1)


@contextlib.contextmanager
def _silent_threads() -> Iterator[None]:
    """Drop what an engine's library prints: standard output is for the answer.

    Ray prints pages of a lost node's log; the reason is among the endings of runs anyway.
    """
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _as_json(out: Path, outcome: "StudyOutcome") -> dict[str, Any]:
    return {
        "study": str(out),
        "finished": outcome.finished,
        "skipped": outcome.skipped,
        "failed": outcome.failed,
        "left": outcome.left,
    }


def study_summary(out: Path, outcome: "StudyOutcome") -> str:
    """Return what a study has done, for people: counts, and reasons of what is not done."""
    counts = [f"{counted(len(outcome.finished), 'run')} finished"]
    if outcome.skipped:
        counts.append(f"{len(outcome.skipped)} finished before")
    if outcome.failed:
        counts.append(f"{len(outcome.failed)} failed")
    if outcome.left:
        counts.append(f"{len(outcome.left)} could not be run")
    lines = [f"{', '.join(counts)}; records in {out}"]
    lines += [f"failed   {name}: {reason}" for name, reason in outcome.failed.items()]
    lines += [f"left     {name}: {reason}" for name, reason in outcome.left.items()]
    if outcome.failed:
        lines.append("Once the cause is gone, add --retry-failed to try failed runs again.")
    if outcome.left:
        lines.append("Once the cause is gone, the same command runs what is left.")
    return "\n".join(lines)


@study.command()
def status(directory: Directory, as_json: AsJson = False) -> None:
    """Show how far a study has come: every cell, and what lies there that doesn't belong."""
    from espalier.cli.study_display import counts_line, study_table
    from espalier.records import read_study
    from espalier.study.view import overview

    found = read_study(directory)
    seen = overview(found.plan, found.cells)
    if as_json:
        typer.echo(json.dumps({**seen.to_json(), "problems": list(found.problems)}))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(study_table(seen))
    for row in seen.rows:
        if row.reason:
            console.print(f"failed   {row.label}: {row.reason}", soft_wrap=True, markup=False)
    for problem in found.problems:
        console.print(f"problem  {problem}", soft_wrap=True, markup=False)
    console.print(counts_line(seen), soft_wrap=True, markup=False)


@study.command()
def watch(directory: Directory) -> None:
    """Show how a study goes on, until nothing of it runs or waits; Ctrl-C ends the watching."""
    from espalier.cli.study_display import REFRESH_S, show_study
    from espalier.study.view import StudyReader

    reader = StudyReader(directory)
    reader.read()  # a directory that is no study is refused before anything is drawn
    try:
        with show_study(reader) as observer:
            while True:
                observer.tick()
                counts = reader.read().counts
                if not (counts["running"] or counts["waiting"]):
                    return
                time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        return


@study.command()
def merge(
    into: Annotated[
        Path, typer.Argument(help="The study that gets the records.", show_default=False)
    ],
    other: Annotated[
        Path, typer.Argument(help="The same study, run elsewhere.", show_default=False)
    ],
) -> None:
    """Join a study with its parts that were run elsewhere: the records of finished runs."""
    from espalier.study.merge import merge_studies

    try:
        merged = merge_studies(into, other)
    except ConfigError as error:
        raise RecordError(f"can't merge {other} into {into}: {error}") from error
    typer.echo(
        f"{counted(len(merged.copied), 'run')} copied, {len(merged.equal)} the same in both, "
        f"{len(merged.missing)} still missing"
    )
