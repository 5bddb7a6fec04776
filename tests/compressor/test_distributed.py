"""DistributedDataParallel: ranks stay bit-identical, and train as one process would."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

PROGRAM = Path(__file__).with_name("ranks.py")


@pytest.fixture(scope="module")
def ranks():
    spec = importlib.util.spec_from_file_location("ranks", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_ranks_stay_bit_identical_and_equal_one_process(ranks, tmp_path):
    """Every update rule, stochastic rounding too; one process averages both gradients by hand."""
    running = [
        subprocess.Popen([sys.executable, PROGRAM, str(rank), "2", tmp_path]) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=300) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    for update, operator in ranks.SETTINGS:
        model = ranks.network()
        optimizer, compressor = ranks.start(model, update, operator)
        for step in range(ranks.STEPS):
            halves = []
            for rank in range(2):
                x, y = ranks.batch(rank, step)
                loss = torch.nn.functional.cross_entropy(model(x), y)
                halves.append(torch.autograd.grad(loss, list(model.parameters())))
            for p, a, b in zip(model.parameters(), *halves, strict=True):
                p.grad = a / 2 + b / 2
            optimizer.step()
            if step == 2:
                compressor.end_epoch()
            for name, p in model.named_parameters():
                found = first[f"{update} {operator} {step} {name}"]
                assert torch.equal(found, p.detach()), (update, operator, step, name)
