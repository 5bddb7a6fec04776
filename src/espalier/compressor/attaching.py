"""Two lines in a user's own loop: the function that attaches a compressor to an optimizer."""

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary, WeakSet

from torch import nn
from torch.nn.parameter import Parameter
from torch.optim import LBFGS, Optimizer

from espalier.compressor.compressor import Compressor
from espalier.compressor.group import Group, Update
from espalier.compressor.options import Cadence, OnDeadLayer, check_options
from espalier.compressor.select import Rule, rules_of, select
from espalier.errors import ConfigError, UnsupportedOptimizerError
from espalier.ops import Operator

__all__ = ["attach"]

_attached: WeakKeyDictionary[Optimizer, "WeakSet[Compressor]"] = WeakKeyDictionary()
"""The compressors of each optimizer, detached ones too."""


def attach(
    model: nn.Module,
    optimizer: Optimizer,
    operator: Operator | Sequence[Rule],
    *,
    update: Update = "hybrid",
    cadence: Cadence = "every_step",
    steps_per_epoch: int | None = None,
    start_step: int = 0,
    end_step: int | None = None,
    on_dead_layer: OnDeadLayer = "warn",
) -> Compressor:
    """Compress a model's weights whenever its optimizer steps.

    What you write into the weights between steps, as by ``load_state_dict``, is what the next
    update starts from. (A write by way of ``parameter.data`` can't be seen.)

    Args:
        model: any module, wrapped or not. All its parameters are compressed, biases too, but for
            those of normalizations; give rules to choose otherwise.
        optimizer: any optimizer that takes one gradient a step, over parameters of the model.
        operator: what to do, or rules that say it for each parameter; the first match decides.
        update: what the next update starts from. ``hybrid``: the pruned weights, quantization being
            straight-through within an epoch and written at its end. ``inplace``: the compressed
            weights. ``latent``: a dense copy, updated by the gradient taken at the compressed
            weights.
        cadence: ``every_step``, or ``every_epoch`` as the conventional schemes do.
        steps_per_epoch: optimizer steps of an epoch; or call :meth:`Compressor.end_epoch`.
        start_step: number of first steps that train densely. What changes with the step, such as
            gamma, is a schedule of the operator.
        end_step: number of steps, or of the first epoch's end from there, after which pruning ends:
            what is zero then stays zero, and the rest is quantized on a grid from 0. None prunes
            to the last step.
        on_dead_layer: what to do when a tensor loses its last weight.

    Returns:
        The compressor: report, state, and the way back.

    Raises:
        ConfigError: an option is out of its bounds, what is given is neither an operator nor rules,
            or another compressor has these parameters.
        SelectionError: a rule matches nothing, or nothing is left to compress.
        UnsupportedOptimizerError: the optimizer evaluates its closure many times a step, or is none
            of torch's.

    Example:
        >>> import torch
        >>> from espalier.ops import PruneThenQuantize
        >>> model = torch.nn.Linear(8, 4)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> compressor = attach(model, optimizer, PruneThenQuantize(gamma=0.5, bits=3))
        >>> model(torch.ones(2, 8)).sum().backward()
        >>> optimizer.step()
        >>> compressor.report().density_mask < 1
        True
    """
    check_options(update, cadence, steps_per_epoch, start_step, end_step, on_dead_layer)
    if not isinstance(optimizer, Optimizer):
        raise UnsupportedOptimizerError(
            f"{type(optimizer).__name__} is no torch.optim.Optimizer, whose steps can be followed; "
            "call attach(model, optimizer, operator) with the one that updates the model."
        )
    if isinstance(optimizer, LBFGS):
        raise UnsupportedOptimizerError(
            "LBFGS evaluates its closure many times a step and mixes gradients of different "
            "weights, which compression at every step would falsify; use SGD, Adam or AdamW."
        )
    rules = rules_of(operator)
    updated = [p for group in optimizer.param_groups for p in group["params"]]
    selection = select(model, rules, updated=updated)
    _refuse_second(optimizer, [members for _, members in selection.groups])
    compressor = Compressor(
        model,
        optimizer,
        [Group(op, members, update) for op, members in selection.groups],
        selection.dense,
        update=update,
        cadence=cadence,
        steps_per_epoch=steps_per_epoch,
        start_step=start_step,
        end_step=end_step,
        on_dead_layer=on_dead_layer,
    )
    _attached.setdefault(optimizer, WeakSet()).add(compressor)
    return compressor


def _refuse_second(optimizer: Optimizer, sets: Sequence[Mapping[str, Parameter]]) -> None:
    taken = {id(p) for other in _attached.get(optimizer, ()) for p in other.held_parameters()}
    twice = [name for members in sets for name, p in members.items() if id(p) in taken]
    if twice:
        raise ConfigError(
            f"{', '.join(twice[:5])}{', ...' if len(twice) > 5 else ''} are compressed by another "
            "compressor of this optimizer; call its detach() first."
        )
