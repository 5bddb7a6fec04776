"""Options of an attachment, and their bounds."""

from typing import Literal, get_args

from espalier.compressor.group import Update
from espalier.errors import ConfigError, nearest

__all__ = ["Cadence", "OnDeadLayer", "check_options"]

Cadence = Literal["every_step", "every_epoch"]
"""When weights are compressed: after each optimizer step, or at each epoch's end."""

OnDeadLayer = Literal["warn", "error", "ignore"]


def check_options(
    update: str,
    cadence: str,
    steps_per_epoch: int | None,
    start_step: int,
    end_step: int | None,
    on_dead_layer: str,
) -> None:
    """Refuse what is unknown or out of bounds.

    Raises:
        ConfigError: with the option, its value and what it may be.
    """
    for what, value, known in (
        ("update", update, get_args(Update)),
        ("cadence", cadence, get_args(Cadence)),
        ("on_dead_layer", on_dead_layer, get_args(OnDeadLayer)),
    ):
        if value not in known:
            raise ConfigError(
                f"{what} is {value!r}; it is one of {', '.join(known)}.{nearest(str(value), known)}"
            )
    if steps_per_epoch is not None and steps_per_epoch < 1:
        raise ConfigError(f"steps_per_epoch is {steps_per_epoch}; an epoch has at least one step.")
    if start_step < 0:
        raise ConfigError(f"start_step is {start_step}; give the number of dense steps, >= 0.")
    if end_step is not None and end_step <= start_step:
        raise ConfigError(
            f"end_step is {end_step} and start_step {start_step}; pruning goes on from the one to "
            "the other, so give a later end, or None to prune to the last step."
        )
