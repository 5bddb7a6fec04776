"""A size in bytes: found by really packing the network, at the start and at each epoch's end."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from espalier import artifact, bridge
from espalier.compressor import Compressor
from espalier.compressor.retarget import compress_again, go_on_with, trial_codes
from espalier.errors import BudgetWarning, ConfigError
from espalier.ops import Operator, Schedule
from espalier.records import RunSpec
from espalier.train.compression import density_ramp, operator_of
from espalier.train.describe import LONGEST_METRICS, metadata_of
from espalier.train.fit import fit_kept

__all__ = ["ByteBudget"]

FIRST_GUESS = 0.05
"""Density that is looked at first."""
LOWEST_SHARE = 0.97
"""Share of the budget that a file takes at least, if the network has so much; also what is left to
the smallest file, whose codes cost a few bytes more or less as weights change."""


@dataclass(slots=True, kw_only=True, eq=False)
class ByteBudget:
    """The density at which the packed file takes the spec's ``max_bytes``, as weights change."""

    spec: RunSpec
    model: nn.Module
    compressor: Compressor
    description: Mapping[str, Any]
    """Network, input and classes, as the file's metadata have them."""
    planned_steps: int
    prices: tuple[float, ...] = ()
    """What a weight of each parameter costs; empty where all cost the same."""
    density: float = FIRST_GUESS
    """That was found last."""
    warned: bool = False
    """Whether it was said that the whole network takes less."""

    @property
    def weights(self) -> int:
        """Weights that are compressed."""
        return sum(p.numel() for p in self.compressor.held_parameters())

    def begin(self) -> None:
        """Find the density for the first weights, and let the schedule lead to it.

        Raises:
            ConfigError: no density gives a file of that size; names the nearest size that one does.
        """
        whole = self._size(self.weights)
        if whole < LOWEST_SHARE * self._budget:
            raise ConfigError(
                f"max_bytes={self._budget}: the whole network at {self.spec.bits} bits takes "
                f"{whole} bytes, so that nothing would be pruned. Give at most {whole}, more bits, "
                "or a target density of 1."
            )
        self.density = self._found(
            f"max_bytes={self._budget}: with one weight a tensor the file still takes "
            f"{self._size(self._least)} bytes, most of them for tensors that are not compressed. "
            f"Give at least {math.ceil(self._size(self._least) / LOWEST_SHARE)}."
        )
        go_on_with(self.compressor, self._on_the_way())

    def settle(self, *, counts: bool) -> None:
        """Find the density for the weights of an epoch's end.

        Args:
            counts: the epoch's network must have the size: compress it anew with that density, and
                keep that for the steps that follow. Otherwise the schedule leads there.

        Where even the whole network takes less than 97 % of the size, which fresh weights did not,
        that is said once.

        Raises:
            ConfigError: the network has no weight left that could go.
        """
        self.density = self._found(
            f"max_bytes={self._budget}: the file takes more by now with one weight a tensor. "
            "Give more bytes."
        )
        go_on_with(self.compressor, self._there() if counts else self._on_the_way())
        if counts:
            compress_again(self.compressor)
            self._tell_what_is_not_filled()

    def resume(self, density: float, *, counted: bool) -> None:
        """Go on where a checkpoint was saved: with its density, reached in an epoch or not yet."""
        self.density = density
        go_on_with(self.compressor, self._there() if counted else self._on_the_way())

    def _tell_what_is_not_filled(self) -> None:
        if self.warned or self.density < 1:
            return
        whole = self._size(self.weights)
        if whole < LOWEST_SHARE * self._budget:
            self.warned = True
            warnings.warn(
                f"max_bytes={self._budget}: the whole network at {self.spec.bits} bits takes "
                f"{whole} bytes by now, so that nothing is pruned and {self._budget - whole} bytes "
                f"stay unused. Give more bits to fill them, or at most {whole} bytes.",
                BudgetWarning,
                stacklevel=2,
            )

    def _found(self, otherwise: str) -> float:
        weights = self.weights
        kept = fit_kept(
            self._size,
            self._budget,
            least=self._least,
            most=weights,
            guess=round(self.density * weights),
        )
        if kept is None:
            raise ConfigError(otherwise)
        return kept / weights

    @property
    def _budget(self) -> int:
        return self.spec.max_bytes or 0

    @property
    def _least(self) -> int:
        return len(self.compressor.held_parameters())

    def _there(self) -> Operator:
        return self._operator(self.density)

    def _on_the_way(self) -> Operator:
        ramp = density_ramp(self.spec, self.density, self.planned_steps)
        return self._operator(ramp)

    def _operator(self, density: float | Schedule) -> Operator:
        return operator_of(
            self.spec, self.planned_steps, density=density, model=self.model, prices=self.prices
        )

    def _size(self, kept: int) -> int:
        """Return the bytes of the file where so many weights stay; its metrics as long as any."""
        operator = self._operator(kept / self.weights)
        codes = trial_codes(self.compressor, operator)
        tensors = bridge.network_tensors(self.model.state_dict(), codes)
        meta = {
            "description": self.description,
            "operator": bridge.operator_data([operator]),
            "metrics": {"epoch": self.spec.epochs, **LONGEST_METRICS},
        }
        return len(artifact.pack(tensors, metadata_of(meta, self.spec)))
