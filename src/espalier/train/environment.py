"""Where a run computes: device, precision, threads, versions, random generators."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator

import torch
from torch import Tensor

from espalier.errors import ConfigError, nearest
from espalier.records import PRECISIONS

__all__ = [
    "environment",
    "random_state",
    "reproducible",
    "resolve_device",
    "resolve_precision",
    "restore_random_state",
]

AUTO = "auto"
PACKAGES = ("espalier", "torch", "numpy")


def resolve_device(asked: str) -> torch.device:
    """Return the device to compute on: ``auto`` is the first GPU, or the CPU where there is none.

    Raises:
        ConfigError: no such device, or this machine lacks it.
    """
    if asked == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise ConfigError(f"device={asked!r}: expected auto, cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device={asked!r}: Espalier trains on cpu and cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={asked!r}: PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices here. Choose --device cpu, or install PyTorch with CUDA."
        )
    return device


def resolve_precision(asked: str, device: torch.device) -> str:
    """Return ``fp32`` or ``bf16``; ``auto`` is bf16 where the device has instructions for it.

    Raises:
        ConfigError: an unknown precision.
    """
    if asked == AUTO:
        return "bf16" if _has_bf16(device) else "fp32"
    if asked not in PRECISIONS:
        known = (AUTO, *PRECISIONS)
        raise ConfigError(
            f"precision={asked!r}: expected one of {', '.join(known)}.{nearest(asked, known)}"
        )
    return asked


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextlib.contextmanager
def reproducible(seed: int, threads: int, device: torch.device) -> Iterator[None]:
    """Seed all generators and fix the threads; both are as before at the end.

    On a GPU, cuDNN is held to its reproducible algorithms.
    """
    devices = [device] if device.type == "cuda" else []
    threads_before = torch.get_num_threads()
    cudnn = torch.backends.cudnn
    with torch.random.fork_rng(devices), cudnn.flags(deterministic=True, benchmark=False):
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Undo what was drawn since :func:`random_state`; a state of another device is left out."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def environment(device: torch.device) -> dict[str, str]:
    """Name the versions and the machine that a number was measured with."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    machine = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    processor = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    machine["processor"] = f"{processor}, {os.cpu_count()} cores"
    if device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return versions | machine
