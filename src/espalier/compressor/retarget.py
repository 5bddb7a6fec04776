"""Another operator in the midst of training: what it would give, and going on with it."""

from dataclasses import replace

import torch

from espalier.compressor.compressor import Compressor
from espalier.compressor.group import Group
from espalier.encoded import Encoded
from espalier.errors import ConfigError
from espalier.ops import Operator

__all__ = ["compress_again", "go_on_with", "trial_codes"]


@torch.no_grad()
def trial_codes(compressor: Compressor, operator: Operator) -> dict[str, Encoded]:
    """Return the codes that the weights would have under another operator; nothing changes.

    It starts from what the last pass started from: the dense weights of ``update="latent"``, or
    the parameters where nothing was compressed yet.

    Raises:
        ConfigError: the compressor has several rules, or keeps no dense weights.
        NonFiniteError: a weight is NaN or infinite.
    """
    group = _only_group(compressor)
    weights = dict(zip(group.names, group.shadows or group.parameters, strict=True))
    compressed, state = operator.apply(weights, replace(group.state, written=None, clock=None))
    return operator.encode(compressed, state)


def go_on_with(compressor: Compressor, operator: Operator) -> None:
    """Let another operator do the passes from now on; state and weights stay as they are.

    Raises:
        ConfigError: the compressor has several rules, or keeps no dense weights.
    """
    _only_group(compressor).operator = operator


@torch.no_grad()
def compress_again(compressor: Compressor) -> None:
    """Do the last pass anew, or the first one before any step, from the weights it started from.

    Raises:
        ConfigError: the compressor has several rules, or keeps no dense weights.
        NonFiniteError: a weight is NaN or infinite; nothing is written.
    """
    group = _only_group(compressor)
    group.restore()
    compressor._compress(max(compressor.steps - 1, 0))


def _only_group(compressor: Compressor) -> Group:
    if len(compressor._groups) != 1:
        raise ConfigError(
            f"the compressor has {len(compressor._groups)} rules; one operator can take over from "
            "one only."
        )
    if compressor._update != "latent" and compressor.steps:
        raise ConfigError(
            f"update is {compressor._update}: the weights that the last pass started from are "
            "gone; attach with update='latent'."
        )
    return compressor._groups[0]
