"""What the generated program does, one step after the other, before it is written as C."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from espalier.export.c.integer_weights import IntegerWeights
from espalier.export.c.layout import Buffer
from espalier.export.c.packed import PackedWeights
from espalier.export.c.targets import Target
from espalier.export.graph import Activation, Graph, Pool

__all__ = [
    "AnyWeights",
    "ArgmaxStep",
    "ConcatStep",
    "ConvolutionStep",
    "CopyStep",
    "ElementwiseStep",
    "LinearStep",
    "PatchesStep",
    "PoolStep",
    "Program",
    "SoftmaxStep",
    "SpreadStep",
    "Step",
    "Tile",
    "TurnStep",
    "Weights",
]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Nonzeros, or all weights, in the order in which the kernel reads them."""

    dense: bool
    counts: NDArray[np.int64]
    """Sparse: nonzeros, (filters, moves). Dense: empty."""
    offsets: NDArray[np.int64]
    """Where the input of a nonzero lies, in floats; empty where dense."""
    values: Floats
    scale: Floats
    shift: Floats
    moves: tuple[int, ...] = (0,)
    """How far to the right of the output the sums of some nonzeros lie; 0 last."""


AnyWeights = Weights | IntegerWeights | PackedWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Blocks of sums of one size, at even distances over a plane."""

    rows: int
    columns: int
    vectors: int
    row: int
    """Row of the first block; so ``column``."""
    row_count: int
    """Blocks below each other, ``rows`` apart."""
    column: int
    column_count: int
    split: bool = False
    """Whether a block's rows are summed apart; else what lies between them is summed too."""

    def pitch(self, row: int, lanes: int) -> int:
        """Return how far a row of a block's sums is from the next; ``row``: of the input's."""
        return self.vectors // self.rows * lanes if self.split else row

    def reach(self, row: int, lanes: int) -> int:
        """Return how many elements from its first input one weight of the last block reads."""
        inside = self.vectors * lanes
        if self.split:
            inside = (self.rows - 1) * row + self.pitch(row, lanes)
        down = self.row + (self.row_count - 1) * self.rows
        return down * row + self.column + (self.column_count - 1) * self.columns + inside


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStep:
    """Elements from one layout to another; None is the caller's array."""

    node: str
    source: Buffer | None
    output: Buffer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadStep:
    """Take an image apart by the remainders of its coordinates, so that strides become 1."""

    node: str
    source: Buffer
    output: Buffer
    stride: tuple[int, int]
    padding: tuple[int, int]
    """Above and left."""
    phases: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionStep:
    """A convolution of stride 1, with what follows it."""

    node: str
    source: Buffer
    output: Buffer
    base: int
    """Of the window's first element, from the source's start, in floats."""
    weights: AnyWeights
    taps: NDArray[np.int64]
    """Where the weights of a channel find their inputs, from the channel's start."""
    channel_step: int
    """From a channel's inputs to the next one's."""
    group_filters: int
    group_floats: int
    """From a group's input to the next one's."""
    tiles: tuple[Tile, ...]
    activation: Activation | None
    pool: tuple[int, int]
    """Rows and columns that a maximum is taken over; ones where none."""
    lanes: int
    """Sums a vector."""
    span: int
    """Columns of an input's row that hold what is summed, margins too."""

    @property
    def across(self) -> int:
        """From an output's inputs to those of the next in its row."""
        return 1

    @property
    def down(self) -> int:
        """The same to the next row."""
        return self.source.layout.row


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStep:
    """Lay channels last: what lies at a place of all planes, one after the other."""

    node: str
    source: Buffer
    output: Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchesStep:
    """A convolution that multiplies all weights: a filter with the patch of each output."""

    node: str
    source: Buffer
    """With channels last."""
    output: Buffer
    scratch: Buffer
    """Patches of a block."""
    base: int
    """Of the first patch's first element, from the source's start."""
    across: int
    """From an output's patch to that of the next in its row."""
    down: int
    """The same to the next row."""
    runs: tuple[int, ...]
    """Where the parts of a patch begin, each of ``run`` elements."""
    run: int
    group_filters: int
    group_inputs: int
    """Channels of a group."""
    length: int
    """From a patch, or a filter, to the next: its elements and zeros."""
    weights: IntegerWeights
    tiles: tuple[Tile, ...]
    activation: Activation | None
    pool: tuple[int, int]
    """Rows and columns that a maximum is taken over; ones where none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearStep:
    """A product with a vector, or with each row."""

    node: str
    source: Buffer
    output: Buffer
    weights: AnyWeights
    inputs: int
    activation: Activation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementwiseStep:
    """``activation(scale * (a + b) + shift)``, each part where there is one."""

    node: str
    sources: tuple[Buffer, ...]
    output: Buffer
    scale: Floats | None
    shift: Floats | None
    activation: Activation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStep:
    """A pooling of any kind."""

    node: str
    source: Buffer
    output: Buffer
    pool: Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcatStep:
    """Channels one after the other, or vectors."""

    node: str
    sources: tuple[Buffer, ...]
    output: Buffer
    sizes: tuple[tuple[int, int, int], ...]
    """Of each source."""
    vector: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxStep:
    """Over a vector."""

    node: str
    source: Buffer
    output: Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgmaxStep:
    """Over a vector."""

    node: str
    source: Buffer
    output: Buffer


Step = (
    CopyStep
    | SpreadStep
    | TurnStep
    | ConvolutionStep
    | PatchesStep
    | LinearStep
    | ElementwiseStep
    | PoolStep
    | ConcatStep
    | SoftmaxStep
    | ArgmaxStep
)


@dataclass(slots=True, kw_only=True)
class Program:
    """Steps in order over buffers in one arena."""

    graph: Graph
    target: Target
    steps: list[Step] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    arena: int = 0
    """Units in all."""
    unit: int
    """Bytes that the arena is counted in."""
    align: int
    """Where buffers begin, in units."""
