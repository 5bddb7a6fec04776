"""Freed memory stays with the process."""

import platform
import subprocess
import sys

import pytest

from espalier.train import memory
from espalier.train.memory import keep_freed_memory

FAULTS = """
import resource, runpy, sys

if sys.argv[2] == "keep":
    assert runpy.run_path(sys.argv[1])["keep_freed_memory"]()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    first = b"x" * 48_000_000
    second = b"y" * 48_000_000

step()
step()
before = faults()
for _ in range(4):
    step()
print((faults() - before) // 4)
"""


def faults_a_step(how: str) -> int:
    command = [sys.executable, "-c", FAULTS, memory.__file__, how]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_steps_fault_no_more() -> None:
    """96 MB allocated and freed a step cost page faults without it, and next to none with it."""
    assert faults_a_step("free") > 1000
    assert faults_a_step("keep") < 100


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no glibc nothing happens."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_other_c_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without mallopt is left alone."""
    monkeypatch.setattr("espalier.train.memory.ctypes.CDLL", lambda name: object())
    monkeypatch.setattr(sys, "platform", "linux")
    assert not keep_freed_memory()
