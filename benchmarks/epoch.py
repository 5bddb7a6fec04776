"""An epoch of Espalier's loop against the usual one: loading alone, and training.

    python benchmarks/epoch.py --data-dir DIR --images 6400 --rounds 5 --json

Both sides train ``paper_cnn`` with SGD and momentum, in the same precision, on the same images,
with flip and shifted crop. Espalier's side, as in ``espalier train``: batches from memory,
augmented whole, everything in memory format channels_last, normalization, ReLU and pooling in one
pass, freed memory kept for the next step. The usual side: ``DataLoader`` with two workers, flip,
crop and normalization of each image with PIL and PyTorch, contiguous NCHW, PyTorch's layers. Each
side lives in its own process, one works at a time, and rounds alternate between them, so that what
else the machine does meets both.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils import data

from espalier.data import Augment, Batches, Dataset, Split, limit, load_dataset
from espalier.models import build_model
from espalier.train.memory import keep_freed_memory
from measuring import machine

SIDES = ("espalier", "usual")
WARM_UP_STEPS = 5
PADDING = 4


@dataclass(frozen=True)
class Task:
    """What both sides do."""

    images: int
    batch_size: int
    threads: int
    bf16: bool
    data_dir: Path | None


def images_to_train_on(task: Task) -> Dataset:
    """Load CIFAR-10, or draw random images where no data is named; both sides get the same."""
    if task.data_dir is not None:
        return limit(load_dataset("cifar10", data_dir=task.data_dir), task.images)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(
        0, 256, (task.images, 32, 32, 3), dtype=torch.uint8, generator=generator
    ).permute(0, 3, 1, 2)
    split = Split(pixels, torch.randint(0, 10, (task.images,), generator=generator))
    return Dataset(
        name="random",
        train=split,
        validation=split,
        test=split,
        classes=tuple("0123456789"),
        mean=(0.5,) * 3,
        std=(0.29,) * 3,
        source="random images",
    )


class PilImages(data.Dataset[tuple[Tensor, int]]):
    """What a user writes: one image at a time, through PIL."""

    def __init__(self, dataset: Dataset, *, augment: bool = True) -> None:
        self.augment = augment
        self.images = dataset.train.inputs.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = dataset.train.labels.tolist()
        self.mean = torch.tensor(dataset.mean).view(3, 1, 1)
        self.std = torch.tensor(dataset.std).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        if self.augment:
            image = flipped_and_shifted(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.float().div(255).sub(self.mean).div(self.std), self.labels[index]


def flipped_and_shifted(image: Image.Image) -> Image.Image:
    """Return the image, mirrored or not, shifted by up to PADDING pixels."""
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = ImageOps.expand(image, PADDING)
    left, top = random.randint(0, 2 * PADDING), random.randint(0, 2 * PADDING)
    return image.crop((left, top, left + 32, top + 32))


class Side:
    """One of the two loops, ready to load or to train an epoch."""

    def __init__(self, name: str, task: Task) -> None:
        torch.set_num_threads(task.threads)
        torch.manual_seed(0)
        dataset = images_to_train_on(task)
        self.bf16 = task.bf16
        self.source = dataset.source
        self.epoch = 0
        self.model: nn.Module = build_model("paper_cnn")
        self.batches: Batches | None = None
        if name == "espalier":
            keep_freed_memory()
            self.model.to(memory_format=torch.channels_last)
            self.batches = Batches(
                dataset.train,
                dataset,
                batch_size=task.batch_size,
                augment=Augment(flip=True, crop=PADDING),
            )
        else:
            self.model = nn.Sequential(OrderedDict(self.model.named_children()))
            self.loader = data.DataLoader(
                PilImages(dataset),
                batch_size=task.batch_size,
                shuffle=True,
                num_workers=2,
                persistent_workers=True,
            )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)

    def loaded(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Begin the next epoch."""
        self.epoch += 1
        return self.loader if self.batches is None else self.batches.epoch(self.epoch)

    def load(self, most: int | None = None) -> None:
        """Load an epoch and leave it."""
        for number, _ in enumerate(self.loaded(), start=1):
            if number == most:
                return

    def train(self, most: int | None = None) -> None:
        """Train an epoch, or ``most`` steps of one."""
        self.model.train()
        total = torch.zeros(())
        for number, (inputs, labels) in enumerate(self.loaded(), start=1):
            self.optimizer.zero_grad()
            with self.precision():
                loss = F.cross_entropy(self.model(inputs), labels)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
            if number == most:
                break
        if not torch.isfinite(total):
            raise RuntimeError("the loss is not finite")

    def precision(self) -> AbstractContextManager[Any]:
        """Run what follows in the task's precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)


def work(name: str, task: Task, pipe: Connection) -> None:
    """Be one side: do what the pipe asks for, answer with the seconds it took."""
    side = Side(name, task)
    side.load(most=WARM_UP_STEPS)
    side.train(most=WARM_UP_STEPS)
    pipe.send(side.source)
    while (asked := pipe.recv()) != "end":
        start_s = time.perf_counter()
        getattr(side, asked)()
        pipe.send(time.perf_counter() - start_s)


def measure(task: Task, rounds: int) -> tuple[dict[str, dict[str, list[float]]], str]:
    """Alternate between the sides: seconds by what was done, side and round; and the source."""
    spawn = multiprocessing.get_context("spawn")
    pipes, source = {}, ""
    for name in SIDES:
        pipes[name], theirs = spawn.Pipe()
        spawn.Process(target=work, args=(name, task, theirs)).start()
        theirs.close()
        source = pipes[name].recv()
    seconds: dict[str, dict[str, list[float]]] = {
        asked: {name: [] for name in SIDES} for asked in ("load", "train")
    }
    try:
        for _ in range(rounds):
            for asked, of in seconds.items():
                for name, pipe in pipes.items():
                    pipe.send(asked)
                    of[name].append(pipe.recv())
    finally:
        for pipe in pipes.values():
            pipe.send("end")
    return seconds, source


def show(
    seconds: dict[str, dict[str, list[float]]], source: str, task: Task, rounds: int
) -> dict[str, Any]:
    """Print the table for people; return the numbers."""
    batches = -(-task.images // task.batch_size)
    print(
        f"{task.images} images a epoch, batches of {task.batch_size}, {rounds} rounds, "
        f"{'bf16 autocast' if task.bf16 else 'float32'}, {source}"
    )
    print(f"{machine(task.threads)}, numpy {np.__version__}, pillow {PIL.__version__}")
    print(f"{'':8} {'':10} {'median s':>9} {'min s':>9} {'max s':>9} {'ms a batch':>11}")
    found: dict[str, Any] = {}
    for asked, key in (("load", "loading_speedup"), ("train", "speedup")):
        for name in SIDES:
            times = seconds[asked][name]
            median = statistics.median(times)
            print(
                f"{asked:8} {name:10} {median:9.3f} {min(times):9.3f} {max(times):9.3f} "
                f"{1e3 * median / batches:11.3f}"
            )
            found[f"{asked}_{name}_s"] = round(median, 4)
        ratios = [u / e for e, u in zip(*(seconds[asked][n] for n in SIDES), strict=True)]
        found[key] = round(statistics.median(ratios), 3)
        print(f"{asked:8} ratio: {found[key]:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    share = found["load_espalier_s"] / found["train_espalier_s"]
    found["loading_share"] = round(share, 4)
    print(f"loading is {100 * share:.2f} % of an epoch of Espalier's")
    return found | {"source": source, "images": task.images, "rounds": rounds, "bf16": task.bf16}


def main() -> None:
    """Read the command line, measure, show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="CIFAR-10; default: random images")
    parser.add_argument("--images", type=int, default=6400, help="images an epoch (6400)")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each side (5)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    asked = parser.parse_args()
    capabilities = torch.cpu.get_capabilities()
    has_bf16 = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    task = Task(
        images=asked.images,
        batch_size=asked.batch_size,
        threads=asked.threads,
        bf16=has_bf16 if asked.precision == "auto" else asked.precision == "bf16",
        data_dir=asked.data_dir,
    )
    found = show(*measure(task, asked.rounds), task, asked.rounds)
    if asked.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
