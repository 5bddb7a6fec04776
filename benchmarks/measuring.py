"""What every benchmark says beside its numbers."""

import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch


def machine(threads: int) -> str:
    """Name processor, threads and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    model = platform.processor() or platform.machine()
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{model}, {torch.backends.cpu.get_cpu_capability()}, {threads} threads; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def spread(seconds: Sequence[float]) -> str:
    """Median, minimum and maximum in milliseconds, in columns of ten."""
    figures = (median(seconds), min(seconds), max(seconds))
    return "".join(f"{1e3 * figure:10.3f}" for figure in figures)
