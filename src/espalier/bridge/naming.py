"""Names of a model's tensors, whatever it is wrapped in."""

from typing import cast

from torch import Tensor, nn

__all__ = ["COUNTER", "plain_state", "unique_state", "unwrapped"]

COUNTER = "num_batches_tracked"
"""What batch normalizations count while they train; inference never reads it."""
COMPILED = "_orig_mod"
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside of data parallelism and ``torch.compile``."""
    while True:
        if isinstance(model, WRAPPERS):
            model = model.module
        elif hasattr(model, COMPILED):
            model = cast(nn.Module, getattr(model, COMPILED))
        else:
            return model


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's tensors by names that no wrapper adds to, where they lie."""
    state = unwrapped(model).state_dict(keep_vars=True)
    return {name.replace(f"{COMPILED}.", ""): tensor for name, tensor in state.items()}


def unique_state(model: nn.Module) -> dict[str, Tensor]:
    """Return :func:`plain_state` with tied tensors once, under their first name."""
    seen: set[int] = set()
    found = {}
    for name, tensor in plain_state(model).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found
