"""What compression at every step costs: the paper's network, two models step by step in turn.

The floor of the compression call is the memory that it must move: `inplace` reads all weights twice
and writes them once; `hybrid` and `latent` also write the copy that takes the next update and bring
it back before it. Divided by the bandwidth of a plain copy, measured in the same run.

    python benchmarks/step_overhead.py
    python benchmarks/step_overhead.py --update inplace --precision bf16 --json
"""

import argparse
import contextlib
import json
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import espalier
from espalier.core import core
from espalier.models import build_model
from espalier.ops import Operator
from measuring import machine, spread

MOVES = {"inplace": 3, "hybrid": 6, "latent": 6}
"""Times that all weights pass between processor and memory, in one call."""


OPERATORS: dict[str, Callable[[argparse.Namespace], Operator]] = {
    "std": lambda args: espalier.PruneThenQuantize(gamma=args.gamma, bits=args.bits),
    "global": lambda args: _with_grid(espalier.GlobalMagnitude(density=args.density), args),
    "lamp": lambda args: _with_grid(espalier.Lamp(density=args.density), args),
}


def _with_grid(prune: Operator, args: argparse.Namespace) -> Operator:
    return espalier.Chain(prune=prune, quantize=espalier.UniformQuantizer(bits=args.bits))


class Side:
    """A model, its optimizer, and how long each part of a step took, in seconds."""

    def __init__(self, args: argparse.Namespace, *, compressed: bool) -> None:
        torch.manual_seed(0)
        self.model = build_model("paper_cnn").to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.bf16 = args.precision == "bf16"
        self.whole: list[float] = []
        self.update: list[float] = []
        self.compression: list[float] = []
        self.marks: list[float] = []
        # The optimizer calls hooks in the order of registration, so these stand around ours.
        self.optimizer.register_step_pre_hook(self._mark)
        self.optimizer.register_step_post_hook(self._mark)
        if compressed:
            operator = OPERATORS[args.operator](args)
            self.compressor = espalier.attach(
                self.model, self.optimizer, operator, update=args.update
            )
        self.optimizer.register_step_pre_hook(self._mark)
        self.optimizer.register_step_post_hook(self._mark)

    def _mark(self, *_: object) -> None:
        self.marks.append(perf_counter())

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Take one training step and note its times."""
        self.marks.clear()
        start = perf_counter()
        self.optimizer.zero_grad()
        cast = torch.autocast("cpu", torch.bfloat16) if self.bf16 else contextlib.nullcontext()
        with cast:
            loss = F.cross_entropy(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        self.whole.append(perf_counter() - start)
        before, restored, updated, compressed = self.marks
        self.update.append(updated - restored)
        self.compression.append((restored - before) + (compressed - updated))


def copy_seconds(model: nn.Module, rounds: int) -> float:
    """Time a copy of all weights: each byte is read once and written once."""
    weights = [p.detach() for p in model.parameters()]
    copies = [w.clone() for w in weights]
    times = []
    for _ in range(rounds):
        start = perf_counter()
        torch._foreach_copy_(copies, weights)
        times.append(perf_counter() - start)
    return median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="counted steps of each side")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--operator", choices=sorted(OPERATORS), default="std")
    parser.add_argument("--gamma", type=float, default=0.375, help="of std")
    parser.add_argument("--density", type=float, default=0.1, help="of global and lamp")
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--update", choices=sorted(MOVES), default="hybrid")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    plain, ours = Side(args, compressed=False), Side(args, compressed=True)
    images = torch.randn(args.batch_size, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (args.batch_size,))
    for i in range(args.steps + 3):
        for side in (plain, ours) if i % 2 else (ours, plain):
            side.step(images, labels)
    for side in (plain, ours):
        for times in (side.whole, side.update, side.compression):
            del times[:3]  # warm-up

    copy = copy_seconds(ours.model, 200)
    floor = MOVES[args.update] / 2 * copy
    ratio = median(ours.whole) / median(plain.whole)
    pairs = [a / b for a, b in zip(ours.whole, plain.whole, strict=True)]
    budget = args.operator != "std"
    strength = f"{args.operator} {args.density}" if budget else f"gamma {args.gamma}"
    print(machine(args.threads))
    print(
        f"paper_cnn, batch {args.batch_size}, {args.precision}, SGD with momentum, {args.update}, "
        f"{strength}, {args.bits} bits, core: {'compiled' if core else 'torch'}, "
        f"n = {args.steps}"
    )
    print(f"{'':34}{'median':>10}{'min':>10}{'max':>10}  ms")
    for name, times in (
        ("training step, plain", plain.whole),
        ("training step, compressed", ours.whole),
        ("compression call in it", ours.compression),
        ("optimizer's own update in it", plain.update),
        ("two empty hooks (what marks cost)", plain.compression),
    ):
        print(f"{name:34}{spread(times)}")
    print(f"{'copy of all weights':34}{1e3 * copy:10.3f}")
    print(f"{'floor of the compression call':34}{1e3 * floor:10.3f}")
    print(f"ratio of medians {ratio:.4f}; median of pairwise ratios {median(pairs):.4f}")
    if args.json:
        figures = {
            "ratio": ratio,
            "compress_ms": 1e3 * median(ours.compression),
            "optimizer_ms": 1e3 * median(plain.update),
            "floor_ms": 1e3 * floor,
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
