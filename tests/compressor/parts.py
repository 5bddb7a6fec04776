"""Runs that stop at a step and go on in another process, through safetensors and JSON.

Run as a program with a folder, it finishes every run that lies in it.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from espalier.compressor import Rule, attach
from espalier.ops import from_json, to_json

STEPS = 8


class Run:
    """A training run that is a pure function of its plain settings."""

    def __init__(self, settings):
        torch.manual_seed(0)
        self.settings = settings
        self.model = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)
        )
        make = {
            "sgd": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9),
            "adam": lambda ps: torch.optim.Adam(ps, lr=0.02),
        }[settings["optimizer"]]
        self.optimizer = make(self.model.parameters())
        operators = [from_json(plain) for plain in settings["operators"]]
        rules = [
            Rule(name=name, operator=operator)
            for name, operator in zip(("3.*", "*"), operators, strict=False)
        ]
        self.compressor = attach(
            self.model,
            self.optimizer,
            operators[0] if len(operators) == 1 else rules,
            on_dead_layer="ignore",
            **settings["options"],
        )

    def train(self, start, end):
        for i in range(start, end):
            generator = torch.Generator().manual_seed(i)
            x = torch.randn(16, 6, generator=generator)
            y = torch.randint(4, (16,), generator=generator)
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(x), y).backward()
            self.optimizer.step()
            if self.settings["end_epoch"] and (i + 1) % self.settings["end_epoch"] == 0:
                self.compressor.end_epoch()

    def tensors(self):
        """Return every tensor of the run, flat."""
        found = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for i, entry in self.optimizer.state_dict()["state"].items():
            found |= {
                f"optimizer.{i}.{k}": v for k, v in entry.items() if isinstance(v, torch.Tensor)
            }
        compressor = self.compressor.state_dict()["tensors"]
        return found | {f"compressor.{k}": v for k, v in compressor.items()}

    def plain(self):
        """Return everything else, ready for JSON."""
        state = self.compressor.state_dict()
        return {
            "settings": self.settings,
            "groups": self.optimizer.state_dict()["param_groups"],
            "version": state["version"],
            "config": state["config"],
        }

    def save(self, folder, step):
        folder.mkdir(exist_ok=True)
        tensors = {k: v.contiguous() for k, v in self.tensors().items()}
        save_file(tensors, folder / "tensors.safetensors")
        (folder / "plain.json").write_text(json.dumps(self.plain() | {"step": step}))

    @classmethod
    def load(cls, folder):
        plain = json.loads((folder / "plain.json").read_text())
        tensors = load_file(folder / "tensors.safetensors")
        run = cls(plain["settings"])

        def part(prefix):
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        state = {}
        for key, value in part("optimizer.").items():
            i, _, name = key.partition(".")
            state.setdefault(int(i), {})[name] = value
        run.optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})
        compressor = {"version": plain["version"], "config": plain["config"]}
        compressor["tensors"] = part("compressor.")
        if plain["step"] % 2:  # the order does not matter
            run.model.load_state_dict(part("model."))
            run.compressor.load_state_dict(compressor)
        else:
            run.compressor.load_state_dict(compressor)
            run.model.load_state_dict(part("model."))
        return run, plain["step"]


def settings(*operators, optimizer="sgd", end_epoch=None, **options):
    """Return the plain settings of a run."""
    return {
        "operators": [to_json(operator) for operator in operators],
        "optimizer": optimizer,
        "end_epoch": end_epoch,
        "options": options,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        run, step = Run.load(folder)
        run.train(step, STEPS)
        run.save(folder, STEPS)
