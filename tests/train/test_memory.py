"""Freed memory stays with the process."""

import platform
import subprocess
import sys

import pytest

from espalier.train.memory import keep_freed_memory

FAULTS = """
import resource
import torch
from espalier.train.memory import keep_freed_memory

if {keep}:
    assert keep_freed_memory()
torch.set_num_threads(1)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    first = torch.ones(12_000_000)
    second = torch.ones(12_000_000)

step()
before = faults()
for _ in range(5):
    step()
print((faults() - before) // 5)
"""


def faults_a_step(*, keep: bool) -> int:
    program = FAULTS.format(keep=keep)
    return int(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.slow
def test_steps_fault_no_more() -> None:
    """96 MB allocated and freed a step cost page faults without it, and next to none with it."""
    assert faults_a_step(keep=False) > 1000
    assert faults_a_step(keep=True) < 100


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no glibc nothing happens."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_other_c_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without mallopt is left alone."""
    monkeypatch.setattr("espalier.train.memory.ctypes.CDLL", lambda name: object())
    monkeypatch.setattr(sys, "platform", "linux")
    assert not keep_freed_memory()
