"""The options that say a network's sizes, read off the network itself."""

from collections.abc import Callable
from typing import Any

from torch import nn

from espalier.errors import ConfigError, nearest

__all__ = ["SIZES", "sizes_of"]


def sizes_of(name: str, network: nn.Module) -> dict[str, Any]:
    """Return the options of one of Espalier's networks that make layers of these sizes.

    Args:
        name: one of ``MODELS``.
        network: what that function built, its layers cut since or not.

    Raises:
        ConfigError: it is none of Espalier's networks.

    Example:
        >>> from espalier.models import modulation_cnn
        >>> sizes_of("modulation_cnn", modulation_cnn(widths=(8, 16), kernels=(3, 3)))
        {'widths': [8, 16], 'hidden': 96}
    """
    if name not in SIZES:
        raise ConfigError(
            f"the sizes of {name!r} are its own matter; those of {', '.join(sorted(SIZES))} are "
            f"known.{nearest(name, SIZES)}"
        )
    return SIZES[name](network)


def _paper_cnn(network: nn.Module) -> dict[str, Any]:
    return {"widths": _outputs(network, "conv"), "hidden": _outputs(network, "fc")[:-1]}


def _modulation_cnn(network: nn.Module) -> dict[str, Any]:
    return {"widths": _outputs(network, "conv"), "hidden": _outputs(network, "fc")[0]}


def _resnet20(network: nn.Module) -> dict[str, Any]:
    blocks = [m for name, m in network.named_modules() if name.endswith(".conv1")]
    return {"inner": [len(block.weight) for block in blocks]}


def _outputs(network: nn.Module, prefix: str) -> list[int]:
    """Return the outputs of the layers called conv1, conv2 and so on, in order."""
    return [
        len(module.weight)  # type: ignore[arg-type]
        for name, module in network.named_children()
        if name.startswith(prefix) and name.removeprefix(prefix).isdigit()
    ]


SIZES: dict[str, Callable[[nn.Module], dict[str, Any]]] = {
    "modulation_cnn": _modulation_cnn,
    "paper_cnn": _paper_cnn,
    "resnet20": _resnet20,
}
"""By the network's name."""
