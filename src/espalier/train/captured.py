"""Training steps on a GPU as one CUDA graph: captured once, then replayed batch after batch.

Starting a kernel takes the host longer than these networks' kernels take a GPU. A replay starts
forward, backward, update and compression all at once. What changes from step to step is read from
memory: images and labels from buffers that each batch is copied into, the learning rate from the
optimizer's tensor, gamma and budgets from a :class:`espalier.ops.schedules.Clock`. What changes
the kernels themselves, as an epoch's first step or its last, smaller batch does, runs without it.
"""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from espalier.compressor.replay import count_to, form_of_step, hold, reading, rows_of
from espalier.ops import Operator
from espalier.ops.schedules import Clock
from espalier.records import RunSpec

if TYPE_CHECKING:
    from espalier.train.run import Run

__all__ = ["CapturedSteps", "CudaGraphs", "Recorder", "why_not_captured"]

WARM_UP_STEPS = 3
"""Steps that libraries may take to set themselves up."""

Work = Callable[[], None]


class Recorder(Protocol):
    """Turns work that only starts kernels into a replay of them."""

    def warm_up(self, work: Work) -> None:
        """Do the work as it will be recorded."""

    def record(self, work: Work) -> Work:
        """Return a replay of the work, which is not done yet."""


class CudaGraphs:
    """Records CUDA graphs, on a stream of their own as CUDA wants it."""

    def __init__(self, device: torch.device) -> None:
        """Record on this device."""
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, work: Work) -> None:
        """Do the work on the stream that records."""
        now = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(now)
        with torch.cuda.stream(self.stream):
            work()
        now.wait_stream(self.stream)

    def record(self, work: Work) -> Work:
        """Capture the work; torch registers the generator that dropout draws from."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            work()
        return graph.replay


def why_not_captured(spec: RunSpec) -> str:
    """Say why a spec's steps can't be replayed; ``""`` where they can."""
    if spec.compresses and spec.rounding == "stochastic":
        return "stochastic rounding draws from a generator that the host holds"
    if spec.compresses and not spec.std_zeros:
        return "a deviation without zeros counts them on the host"
    return ""


class CapturedSteps:
    """Takes a run's steps, by replays wherever the next step is one that was captured.

    What is not captured, warm-up included, are true steps of the run, of the same kernels. A run
    that is built anew, as after an interruption, captures anew.
    """

    def __init__(self, run: "Run", recorder: Recorder) -> None:
        """Take over the steps of a run, whose optimizer is capturable."""
        self.run, self.recorder = run, recorder
        self.clock = Clock(run.device)
        self.operators: tuple[Operator, ...] = ()
        self.replays = 0
        """Steps that were replayed."""
        self.refused = why_not_captured(run.spec)
        """Why no more is captured; ``""`` as long as it is."""
        self.form: tuple[object, ...] | None = None
        """Of the steps that the graph replays."""
        self.last: tuple[object, ...] | None = None
        """Of the step before."""
        self.taken = 0
        self.replay: Work = lambda: None
        self.inputs = self.labels = torch.empty(0)
        self.memory: dict[str, Tensor] = {}
        """What compression leaves from step to step, where the graph reads and writes it."""

    def take(self, inputs: Tensor, labels: Tensor) -> None:
        """Take the run's next step."""
        form = self._form(inputs, labels)
        self.taken += 1
        if self.refused:
            self.run.compute(inputs, labels)
            return
        self._set_clock()
        if form != self.form:
            steady = form == self.last and self.taken > WARM_UP_STEPS
            if not (steady and self._capture(inputs, labels, form)):
                self.last = form
                self._by_clock(lambda: self.recorder.warm_up(self._work(inputs, labels)))
                return
        self.last = form
        self._replay(inputs, labels)

    def _form(self, inputs: Tensor, labels: Tensor) -> tuple[object, ...]:
        compressor = self.run.compressor
        parts = () if compressor is None else form_of_step(compressor)
        return (inputs.shape, labels.shape, *parts)

    def _set_clock(self) -> None:
        compressor = self.run.compressor
        if compressor is None:
            return
        if compressor.operators != self.operators:  # a clock without the schedules of the last ones
            self.clock, self.operators, self.form = (
                Clock(self.run.device),
                compressor.operators,
                None,
            )
        self.clock.set(compressor.steps)

    def _work(self, inputs: Tensor, labels: Tensor) -> Work:
        return lambda: self.run.compute(inputs, labels)

    def _by_clock(self, work: Work) -> None:
        if self.run.compressor is None:
            work()
            return
        with reading(self.run.compressor, self.clock):
            work()

    def _capture(self, inputs: Tensor, labels: Tensor, form: tuple[object, ...]) -> bool:
        """Capture a step like the last one, without taking it; False where that fails."""
        run, compressor = self.run, self.run.compressor
        self.inputs, self.labels = inputs.clone(), labels.clone()
        self.memory = {} if compressor is None else rows_of(compressor)
        saved = None if compressor is None else compressor.state_dict()
        samples = run.tally.samples

        def work() -> None:
            run.compute(self.inputs, self.labels)
            if compressor is not None:
                hold(compressor, self.memory)

        def record() -> None:
            self.replay = self.recorder.record(work)

        try:
            self._by_clock(record)
        except RuntimeError as error:
            self.refused = str(error).partition("\n")[0]
            warnings.warn(
                "the training step can't be captured as a CUDA graph, so the run goes on kernel by "
                f"kernel, slower and with the same numbers: {self.refused}",
                RuntimeWarning,
                stacklevel=2,
            )
            run.optimizer.zero_grad(set_to_none=True)
            if compressor is not None and saved is not None:
                compressor.load_state_dict(saved)
            return False
        finally:
            run.tally.samples = samples
            if compressor is not None and saved is not None:
                count_to(compressor, saved["config"]["steps"])
        self.form = form
        return True

    def _replay(self, inputs: Tensor, labels: Tensor) -> None:
        """Replay the captured step on a batch, and tell the host's counters."""
        run, compressor = self.run, self.run.compressor
        self.inputs.copy_(inputs)
        self.labels.copy_(labels)
        if compressor is not None:
            hold(compressor, self.memory)
        steps, samples = 0 if compressor is None else compressor.steps, run.tally.samples
        self._by_clock(self.replay)
        run.tally.samples = samples + len(labels)
        if compressor is not None:
            count_to(compressor, steps + 1)
        self.replays += 1
