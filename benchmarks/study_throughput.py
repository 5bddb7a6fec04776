"""How many images a study trains in a second: the usual loop, ours alone, ours side by side.

    python benchmarks/study_throughput.py --data-dir DIR --images 6400 --rounds 5 --json
    python benchmarks/study_throughput.py --data-dir DIR --images 1280 --rounds 4 --pieces FILE

All sides train ``paper_cnn`` with SGD and momentum at batch 64 on the same images, in the same
precision, without augmentation, as the built-in study ``paper`` does. Ours is the loop of
``espalier train`` with gamma 0.375 and 8 bits, compressing after every step: once as one run that
has all cores, then as several runs at once that share the cores, each in a process of its own, as
``espalier study run --jobs`` does; on a GPU they share the device, and steps are CUDA graphs, so
that a side without graphs is beside them. The usual loop is a dense
network (it compresses nothing), eager, with a ``DataLoader`` that goes image by image through PIL.

The number is images trained in a second, all runs together: images x epochs x runs / seconds.
Evaluation and the start of processes are left out. Sides live in processes of their own, one side
works at a time, and rounds alternate between them, so that what else the machine does meets all.
With ``--pieces`` a measurement is made of several short calls, whose rounds a file collects.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils import data

from epoch import PilImages, images_to_train_on
from epoch import Task as Images
from espalier.data import Dataset, Split
from espalier.models import build_model
from espalier.study.local import available_cores
from espalier.train import resolve_device, resolve_spec
from espalier.train.memory import keep_freed_memory
from espalier.train.run import Run
from measuring import machine

NO_GRAPH = "espalier, no graph"
"""Name of the side that starts each kernel of a GPU by itself."""
EVALUATED = 64
"""Images of the validation and test sets, which are not measured."""


@dataclass(frozen=True)
class Side:
    """One way to train: so many runs at once, with so many threads each."""

    name: str
    runs: int
    threads: int

    @property
    def label(self) -> str:
        """Name it in the table."""
        return f"{self.name}, {self.runs} x {self.threads}"


@dataclass(frozen=True)
class Task:
    """What every run of every side does."""

    images: int
    batch_size: int
    device: str
    precision: str
    workers: int
    data_dir: Path | None


def dataset_of(task: Task) -> Dataset:
    """Load the images; little is left to evaluate."""
    images = Images(
        images=task.images,
        batch_size=task.batch_size,
        threads=1,
        bf16=False,
        data_dir=task.data_dir,
    )
    dataset = images_to_train_on(images)
    few = Split(dataset.train.inputs[:EVALUATED], dataset.train.labels[:EVALUATED])
    return replace(dataset, validation=few, test=few)


class Ours:
    """A run of ``espalier train``."""

    def __init__(self, task: Task, *, graph: bool = True) -> None:
        keep_freed_memory()
        dataset = dataset_of(task)
        self.source, device = dataset.source, resolve_device(task.device)
        spec = resolve_spec(
            {
                "gamma": 0.375,
                "bits": 8,
                "batch_size": task.batch_size,
                "precision": task.precision,
                "epochs": 1_000_000,
            },
            device=device,
        )
        torch.manual_seed(0)
        self.run = Run.build(spec, dataset, device)
        if not graph:
            self.run.captured = None

    def train(self) -> None:
        """Train an epoch."""
        self.run.train_epoch(lambda: False, lambda moment: None)

    def rest(self) -> None:
        """End the epoch, unmeasured."""
        self.run.finish_epoch()


class Usual:
    """The eager loop with a ``DataLoader``, on a dense network."""

    def __init__(self, task: Task) -> None:
        dataset = dataset_of(task)
        self.source, self.device = dataset.source, resolve_device(task.device)
        self.bf16 = task.precision == "bf16"
        torch.manual_seed(0)
        self.model = build_model("paper_cnn").to(self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.loader = data.DataLoader(
            PilImages(dataset, augment=False),
            batch_size=task.batch_size,
            shuffle=True,
            num_workers=task.workers,
            persistent_workers=task.workers > 0,
            pin_memory=self.device.type != "cpu",
        )

    def train(self) -> None:
        """Train an epoch."""
        self.model.train()
        total = torch.zeros((), device=self.device)
        for images, truth in self.loader:
            inputs = images.to(self.device, non_blocking=True)
            labels = truth.to(self.device, non_blocking=True)
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = F.cross_entropy(self.model(inputs), labels)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        if not torch.isfinite(total):
            raise RuntimeError("the loss is not finite")

    def rest(self) -> None:
        """Do nothing between epochs."""


def work(side: Side, task: Task, pipe: Connection) -> None:
    """Be one run of a side: train an epoch whenever the pipe asks for one."""
    torch.set_num_threads(side.threads)
    run = Usual(task) if side.name == "usual" else Ours(task, graph=side.name != NO_GRAPH)
    run.train()  # warm
    run.rest()
    pipe.send(run.source)
    while pipe.recv() != "end":
        run.train()
        if task.device != "cpu":
            torch.cuda.synchronize()
        pipe.send("trained")
        run.rest()
        pipe.send("rested")


def measure(sides: Sequence[Side], task: Task, rounds: int) -> tuple[dict[Side, list[float]], str]:
    """Alternate between the sides; return images in a second, and the images' source."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[Side, list[Connection]] = {side: [] for side in sides}
    source = ""
    for side in sides:
        for _ in range(side.runs):
            ours, theirs = spawn.Pipe()
            spawn.Process(target=work, args=(side, task, theirs)).start()
            theirs.close()
            pipes[side].append(ours)
        for pipe in pipes[side]:
            source = pipe.recv()
    found: dict[Side, list[float]] = {side: [] for side in sides}
    try:
        for _ in range(rounds):
            for side, runs in pipes.items():
                began = time.perf_counter()
                for pipe in runs:
                    pipe.send("train")
                for pipe in runs:
                    pipe.recv()
                found[side].append(task.images * side.runs / (time.perf_counter() - began))
                for pipe in runs:
                    pipe.recv()
    finally:
        for runs in pipes.values():
            for pipe in runs:
                pipe.send("end")
    return found, source


def with_pieces(path: Path, rates: dict[Side, list[float]]) -> dict[Side, list[float]]:
    """Add the rounds to those of earlier calls in a file, and return them all.

    The file is for calls that differ in nothing.
    """
    known = json.loads(path.read_text()) if path.exists() else {}
    together = {side: known.get(side.label, []) + found for side, found in rates.items()}
    path.write_text(json.dumps({side.label: found for side, found in together.items()}))
    return together


def show(found: dict[Side, list[float]], source: str, task: Task, cores: int) -> dict[str, Any]:
    """Print the table for people; return the numbers."""
    where = torch.cuda.get_device_name() if task.device != "cpu" else "CPU"
    rounds = len(next(iter(found.values())))
    print(
        f"{task.images} images an epoch, batches of {task.batch_size}, {rounds} rounds, "
        f"{task.precision}, {where}, {cores} cores, {source}"
    )
    print(machine(cores))
    print(f"{'runs x threads':22} {'images/s':>10} {'min':>10} {'max':>10} {'to usual':>9}")
    usual = statistics.median(next(rates for side, rates in found.items() if side.name == "usual"))
    rows = []
    for side, rates in found.items():
        rate = statistics.median(rates)
        print(
            f"{side.label:22} {rate:10.0f} {min(rates):10.0f} {max(rates):10.0f} "
            f"{rate / usual:8.2f}x"
        )
        rows.append(
            {
                "side": side.name,
                "runs": side.runs,
                "threads": side.threads,
                "images_per_s": round(rate, 1),
                "min": round(min(rates), 1),
                "max": round(max(rates), 1),
            }
        )
    best = max((row for row in rows if row["side"] == "espalier"), key=lambda r: r["images_per_s"])
    print(f"best split: {best['runs']} runs at once with {best['threads']} threads each")
    split = {"runs": best["runs"], "threads": best["threads"]}
    return {"rows": rows, "best": split, "device": where, "cores": cores, "source": source,
            "images": task.images, "precision": task.precision}  # fmt: skip


def main() -> None:
    """Read the command line, measure, show."""
    cores = available_cores()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="CIFAR-10; default: random images")
    parser.add_argument("--images", type=int, default=6400, help="images an epoch (6400)")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each side (5)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--cores", type=int, default=cores, help=f"to share ({cores})")
    parser.add_argument(
        "--runs",
        type=int,
        nargs="+",
        help="runs at once (on the CPU one a core, on a GPU 2, 4 and 8)",
    )
    parser.add_argument("--workers", type=int, default=2, help="of the usual loader (2)")
    parser.add_argument("--pieces", type=Path, help="collects the rounds of several calls")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    spec = resolve_spec({"precision": asked.precision}, device=device)
    task = Task(
        images=asked.images,
        batch_size=asked.batch_size,
        device=str(device),
        precision=spec.precision,
        workers=asked.workers,
        data_dir=asked.data_dir,
    )
    at_once = asked.runs or ([asked.cores] if device.type == "cpu" else [2, 4, 8])
    sides = dict.fromkeys(
        [
            Side("usual", 1, asked.cores),
            *([Side(NO_GRAPH, 1, asked.cores)] if device.type != "cpu" else []),
            Side("espalier", 1, asked.cores),
            *(Side("espalier", runs, max(1, asked.cores // runs)) for runs in at_once),
        ]
    )
    rates, source = measure(list(sides), task, asked.rounds)
    if asked.pieces is not None:
        rates = with_pieces(asked.pieces, rates)
    found = show(rates, source, task, asked.cores)
    if asked.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
