"""The command, killed for real: what is left on the disk is enough to end with the same bits."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from espalier.records import RunResult, read_epochs, read_json
from espalier.train import RunDirectory, load_weights

CHILD = """
import sys
from espalier.cli import main
from espalier.data import DATASETS
from espalier.data.modulation import modulation

DATASETS["modulation"] = lambda **_: modulation(per_class=60, length=32)
main(sys.argv[1:])
"""
SETTINGS = (
    "train --data modulation --model modulation_cnn --gamma 0.3 --bits 4 --lr 0.02 --epochs 8 "
    "--threads 1 --device cpu --precision fp32 --batch-size 16 --json"
)
KILLS = 6
LONGEST_S = 300
"""Of a run that hangs."""


def start(out: Path) -> subprocess.Popen[str]:
    """Start or resume the run and wait until it trains, or is finished."""
    command = [sys.executable, "-c", CHILD, *SETTINGS.split(), "--resume", "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stderr is not None
    process.stderr.readline()
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the process and return its exit code and what it printed."""
    out, err = process.communicate(timeout=LONGEST_S)
    return process.returncode, out, err


def same_run(one: Path, other: Path) -> None:
    a, b = RunDirectory(one), RunDirectory(other)
    results = [RunResult.from_json(read_json(d.result)).comparable() for d in (a, b)]
    assert results[0] == results[1]
    metrics = [[r.comparable() for r in read_epochs(d.metrics)] for d in (a, b)]
    assert metrics[0] == metrics[1]
    for path, again in ((a.best, b.best), (a.best_by_validation, b.best_by_validation)):
        assert path.read_bytes() == again.read_bytes()
    tensors, others = (load_weights(d.checkpoint)[0] for d in (a, b))
    assert all(torch.equal(tensors[name], others[name]) for name in tensors | others)


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL and SIGTERM in turn, at random moments of training and saving."""
    assert end(start(tmp_path / "whole"))[0] == 0
    seconds = RunResult.from_json(read_json(tmp_path / "whole" / "result.json")).wall_s
    moments = random.Random(time.time_ns())
    killed = 0
    for attempt in range(KILLS):
        process = start(tmp_path / "killed")
        time.sleep(moments.uniform(0, 2 * seconds / KILLS))
        process.send_signal(signal.SIGTERM if attempt % 3 == 2 else signal.SIGKILL)
        code, _, err = end(process)
        if code == 1:
            assert "SIGTERM: stopped in epoch" in err
            assert "--resume" in err
        killed += code != 0
    code, out, _ = end(start(tmp_path / "killed"))

    assert code == 0
    assert out.count("\n") == 1
    assert killed > 0
    same_run(tmp_path / "whole", tmp_path / "killed")
