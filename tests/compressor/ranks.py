"""One rank of a distributed training run: ``python ranks.py RANK WORLD FOLDER``.

Trains every setting in turn and writes the weights after each step.
"""

import itertools
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from espalier.compressor import Rule, attach
from espalier.ops import GlobalMagnitude, PruneThenQuantize

OPERATORS = {
    "nearest": [Rule(operator=PruneThenQuantize(gamma=0.5, bits=4))],
    "stochastic": [Rule(operator=PruneThenQuantize(gamma=0.3, bits=4, rounding="stochastic"))],
    "budget": [Rule(name="0.weight", operator=GlobalMagnitude(density=0.25))],
}
SETTINGS = [*itertools.product(("hybrid", "inplace", "latent"), OPERATORS)]
STEPS = 6


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def batch(rank, step):
    generator = torch.Generator().manual_seed(100 * step + rank)
    return torch.randn(8, 6, generator=generator), torch.randint(3, (8,), generator=generator)


def start(model, update, operator):
    """Return the optimizer and the compressor of a setting."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return optimizer, attach(model, optimizer, OPERATORS[operator], update=update)


def main(rank, world, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world
    )
    written = {}
    for update, operator in SETTINGS:
        model = DistributedDataParallel(network())
        optimizer, compressor = start(model, update, operator)
        for step in range(STEPS):
            x, y = batch(rank, step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            if step == 2:
                compressor.end_epoch()
            for name, p in model.module.named_parameters():
                written[f"{update} {operator} {step} {name}"] = p.detach().clone()
        written |= {
            f"{update} {operator} state {name}": t.clone()
            for name, t in compressor.state_dict()["tensors"].items()
        }
    save_file(written, Path(folder) / f"{rank}.safetensors")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
