"""Mixed bits: how many each tensor gets, by what fewer would cost, under a budget."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from espalier.artifact import pack
from espalier.bridge import network_tensors
from espalier.bridge.naming import unique_state
from espalier.compressor.knapsack import cheapest, least_loss
from espalier.compressor.select import Rule, select
from espalier.encoded import Encoded
from espalier.errors import ConfigError, NonFiniteError, SelectionError, nearest
from espalier.ops import Operator, UniformQuantizer

__all__ = ["Sensitivity", "allocate_bits", "bits_of", "mixed_rules"]

Sensitivity = Literal["loss", "gradient", "error"]
"""What fewer bits of a tensor cost: the measured increase of the loss; the squared errors of its
weights, each times its squared gradient; the squared errors alone."""

Loss = Callable[[nn.Module], Tensor | float]
OperatorOf = Callable[[int], Operator]


def _uniform(bits: int) -> Operator:
    return UniformQuantizer(bits=bits)


def allocate_bits(
    model: nn.Module,
    *,
    max_bytes: int | None = None,
    mean_bits: float | None = None,
    choices: Sequence[int] = (2, 3, 4, 8),
    loss: Loss | None = None,
    sensitivity: Sensitivity | None = None,
    operator: OperatorOf = _uniform,
    biases: bool = True,
) -> dict[str, int]:
    """Give each parameter its bits: the least loss of accuracy that a budget allows.

    Every parameter is compressed with every choice. What a choice costs in loss is measured with
    all other parameters at the largest choice, and taken to add up; more bits never count as worse.
    The best combination under the budget is then found exactly.

    With ``loss`` it is measured, by one evaluation a parameter and choice. Without, the squared
    error of the weights stands for it, which costs nothing but looks at all layers alike;
    ``sensitivity="gradient"`` is between: one evaluation, its squared gradients weigh the errors.

    Args:
        model: trained, on the weights to be compressed; its weights are as before afterwards.
        max_bytes: the packed file is at most so large, without what it says about its network
            (under 1 kB mostly): tensors as the file codes them, parameters left dense included.
        mean_bits: bits of a weight at most, as the mean over all weights that get some; give this
            or ``max_bytes``.
        choices: bits to choose from, 1 to 32.
        loss: mean loss of a model on validation samples, always the same; in evaluation mode.
        sensitivity: how the cost of a choice is found; ``loss`` where there is one, else ``error``.
        operator: makes what is done to the parameters, as one set, with these bits; pruning is
            welcome, and then bytes are those of what stays.
        biases: whether biases get bits; those of normalizations never do.

    Returns:
        Bits by parameter name, for :func:`mixed_rules` or ``espalier train --layer-bits``.

    Raises:
        ConfigError: no budget or two, one below what the fewest bits take, an unknown sensitivity,
            or one that needs a loss without any.
        NonFiniteError: the loss is NaN or infinite.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 4, bias=False), nn.Linear(4, 2, bias=False))
        >>> with torch.no_grad():
        ...     _ = net[0].weight.fill_(1.0), net[1].weight.normal_()
        >>> allocate_bits(net, mean_bits=3.5, choices=(2, 8))
        {'0.weight': 2, '1.weight': 8}
    """
    choices = _checked(choices, max_bytes, mean_bits)
    how = _how(sensitivity, loss)
    (_, parameters), *_ = select(
        model, [Rule(operator=operator(max(choices)), biases=biases)]
    ).groups
    trial = _Trial(model, parameters, choices, operator)
    if how == "loss" and loss is not None:
        losses = trial.measured(loss)
    else:
        weigh = None if loss is None or how == "error" else trial.squared_gradients(loss)
        losses = trial.errors(weigh)
    if max_bytes is not None:
        costs, fixed = trial.sizes()
        budget = max_bytes - fixed
        if budget < cheapest(costs):
            raise ConfigError(
                f"max_bytes={max_bytes:,}: the fewest bits of {choices} take "
                f"{fixed + cheapest(costs):,}. Give at least that, fewer bits, or an operator that "
                "prunes."
            )
    else:
        counts = [p.numel() for p in parameters.values()]
        costs = [[n * bits for bits in choices] for n in counts]
        budget = math.floor((mean_bits or 0.0) * sum(counts) + 1e-9)
    chosen = least_loss(costs, losses, budget)
    return {name: choices[i] for name, i in zip(parameters, chosen, strict=True)}


def mixed_rules(bits: Mapping[str, int], operator: OperatorOf = _uniform) -> list[Rule]:
    """Return rules for :func:`espalier.attach` that give each parameter its bits.

    Every parameter is a set of its own: a budget such as ``GlobalMagnitude`` holds for each alone.
    To share one among parameters of different bits, put :class:`espalier.MixedBits` into a chain.

    Args:
        bits: by parameter name, or pattern of names as in :class:`Rule`; of :func:`allocate_bits`.
        operator: makes what is done to a parameter with these bits.

    Example:
        >>> [(rule.name, rule.operator.bits) for rule in mixed_rules({"fc1.weight": 3, "fc2.*": 8})]
        [('fc1.weight', 3), ('fc2.*', 8)]
    """
    return [Rule(name=name, operator=operator(b)) for name, b in bits.items()]


def bits_of(names: Sequence[str], patterns: Mapping[str, int], otherwise: int) -> list[int]:
    """Return the bits of each parameter: those of the pattern that it matches.

    Args:
        names: of the parameters.
        patterns: of names, as in :class:`Rule`, and their bits.
        otherwise: bits of what no pattern matches.

    Raises:
        SelectionError: a pattern matches nothing, or two that say different bits match a name.

    Example:
        >>> bits_of(["conv1.weight", "fc1.weight", "fc1.bias"], {"fc1.*": 3}, 8)
        [8, 3, 3]
    """
    found = {name: {p: b for p, b in patterns.items() if fnmatchcase(name, p)} for name in names}
    for pattern in patterns:
        if not any(pattern in matching for matching in found.values()):
            raise SelectionError(
                f"'{pattern}' matches no compressed parameter; they are "
                f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}."
                f"{nearest(pattern, names)}"
            )
    for name, matching in found.items():
        if len(set(matching.values())) > 1:
            said = ", ".join(f"'{p}' {b}" for p, b in matching.items())
            raise SelectionError(f"{name} has bits by several patterns: {said}; give one of them.")
    return [next(iter(matching.values()), otherwise) for matching in found.values()]


@dataclass(frozen=True, slots=True)
class _Trial:
    """Parameters with each choice of bits."""

    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    choices: tuple[int, ...]
    operator: OperatorOf

    def compressed(self, bits: int) -> tuple[dict[str, Tensor], dict[str, Encoded]]:
        """Return the weights with so many bits, and their codes."""
        operator = self.operator(bits)
        written, state = operator.apply(self.parameters, operator.init(self.parameters))
        return written, operator.encode(written, state)

    def errors(self, weigh: Mapping[str, Tensor] | None) -> list[list[float]]:
        """Return the squared errors of each parameter (rows) and choice, weighted where asked."""
        columns = []
        for bits in self.choices:
            written, _ = self.compressed(bits)
            squares = {
                n: (w.double() - self.parameters[n].detach()).square() for n, w in written.items()
            }
            if weigh is not None:
                squares = {n: s * weigh[n] for n, s in squares.items()}
            columns.append([float(s.sum()) for s in squares.values()])
        return _never_worse(columns)

    def measured(self, loss: Loss) -> list[list[float]]:
        """Return the loss with one parameter at a choice and the others at the largest."""
        written = {bits: self.compressed(bits)[0] for bits in self.choices}
        most = self.choices[-1]
        columns = [[0.0] * len(self.parameters) for _ in self.choices]
        with _Lent(self.model, self.parameters) as lent:
            lent.put(written[most])
            reference = _value(loss(self.model))
            for column, bits in zip(columns[:-1], self.choices[:-1], strict=True):
                for i, name in enumerate(self.parameters):
                    lent.put({name: written[bits][name]})
                    column[i] = _value(loss(self.model)) - reference
                    lent.put({name: written[most][name]})
        return _never_worse(columns)

    def squared_gradients(self, loss: Loss) -> dict[str, Tensor]:
        """Return the squared gradient of the loss at each weight, float64."""
        with _Lent(self.model, self.parameters, gradients=True):
            value = loss(self.model)
            if not isinstance(value, Tensor) or not value.requires_grad:
                raise ConfigError(
                    "sensitivity='gradient': the loss has no gradient; return a tensor, computed "
                    "without torch.no_grad()."
                )
            found = torch.autograd.grad(value, list(self.parameters.values()), allow_unused=True)
        pairs = zip(self.parameters.items(), found, strict=True)
        return {n: (0 * p if g is None else g).detach().double().square() for (n, p), g in pairs}

    def sizes(self) -> tuple[list[list[int]], int]:
        """Return the bytes of each parameter and choice in a file, and of all that is beside."""
        state = unique_state(self.model)
        dense = {n: t for n, t in state.items() if n not in self.parameters}
        fixed = len(pack(network_tensors(dense, {})))
        empty = len(pack({}))
        columns = [
            [len(pack({name: e})) - empty for name, e in self.compressed(bits)[1].items()]
            for bits in self.choices
        ]
        return [list(row) for row in zip(*columns, strict=True)], fixed


class _Lent:
    """Puts other weights into a model, in evaluation mode, and takes them back."""

    def __init__(
        self,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        *,
        gradients: bool = False,
    ) -> None:
        self._model, self._parameters = model, parameters
        self._before = {name: p.detach().clone() for name, p in parameters.items()}
        self._modes = {module: module.training for module in model.modules()}
        self._gradients, self._had = gradients, torch.is_grad_enabled()

    def __enter__(self) -> "_Lent":
        torch.set_grad_enabled(self._gradients)
        self._model.eval()
        return self

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Overwrite some of the weights."""
        with torch.no_grad():
            for name, w in weights.items():
                self._parameters[name].copy_(w)

    def __exit__(self, *_: object) -> None:
        self.put(self._before)
        torch.set_grad_enabled(self._had)
        for module, mode in self._modes.items():
            module.training = mode


def _never_worse(columns: list[list[float]]) -> list[list[float]]:
    """Turn columns of choices, bits rising, into rows in which more bits cost no more."""
    falling = np.maximum.accumulate(np.asarray(columns, float)[::-1], axis=0)[::-1]
    return [[float(x) for x in row] for row in falling.T]


def _value(loss: Tensor | float) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise NonFiniteError(
            f"the loss is {value}; bits can't be allocated by it. Look at the data, or leave out "
            "the smallest of the choices."
        )
    return value


def _how(sensitivity: Sensitivity | None, loss: Loss | None) -> Sensitivity:
    if sensitivity is None:
        return "error" if loss is None else "loss"
    if sensitivity not in get_args(Sensitivity):
        known = get_args(Sensitivity)
        raise ConfigError(
            f"sensitivity is {sensitivity!r}; it is one of {', '.join(known)}."
            f"{nearest(str(sensitivity), known)}"
        )
    if sensitivity != "error" and loss is None:
        raise ConfigError(
            f"sensitivity={sensitivity!r} needs a loss: a function of the model that gives its "
            "mean loss on validation samples."
        )
    return sensitivity


def _checked(
    choices: Sequence[int], max_bytes: int | None, mean_bits: float | None
) -> tuple[int, ...]:
    if (max_bytes is None) == (mean_bits is None):
        raise ConfigError(
            f"max_bytes={max_bytes} and mean_bits={mean_bits}: give one of them as the budget."
        )
    rising = tuple(sorted(set(choices)))
    if not rising:
        raise ConfigError("choices is empty; give the bits to choose from, such as (2, 3, 4, 8).")
    if mean_bits is not None and not mean_bits >= rising[0]:
        raise ConfigError(
            f"mean_bits={mean_bits} is below {rising[0]}, the fewest of the choices; give at least "
            "that."
        )
    return rising
