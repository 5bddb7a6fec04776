"""What a network costs in each engine: bytes, time and accuracy, measured side by side."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.errors import ConfigError, EspalierError
from espalier.export.onnx import Profile
from espalier.runtime.engines import Engine, Subject, check_engines, make_engine

__all__ = ["Row", "Sizes", "accuracy", "bench", "sizes_of", "time_in_turns"]

Floats = NDArray[np.float32]
Say = Callable[[str], None]
LOW, HIGH = 10, 90
"""Percentiles that stand beside the median."""
CALLS = 10
"""Timed calls of a turn, or fewer, as many as ``TURN_S`` holds."""
TURN_S = 0.05
LEAST_TURNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One engine's numbers for one batch; None where it has none."""

    network: str
    engine: str
    batch: int
    threads: int
    file_bytes: int | None = None
    """What travels, without the runtime."""
    median_ms: float | None = None
    """Of a call with the whole batch."""
    low_ms: float | None = None
    """10 % of the calls took less; so ``high_ms``, 90 %."""
    high_ms: float | None = None
    calls: int = 0
    accuracy: float | None = None
    """Percent of the labelled samples."""
    labelled: int = 0
    """How many these are."""
    note: str = ""
    """What must be known to read the numbers."""
    missing: str | None = None
    """Why there are none, and what helps."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of the network's forms; None where the extra ``onnx`` is missing."""

    file: int
    float32: int
    """All values as float32, bare."""
    onnx_float: int | None
    onnx_int8: int | None
    onnx_packed: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the sizes as JSON values."""
        return asdict(self)


def sizes_of(subject: Subject) -> Sizes:
    """Return what each form of a network weighs."""
    return Sizes(
        file=subject.path.stat().st_size,
        float32=subject.float32_bytes,
        onnx_float=_onnx_bytes(subject, "float"),
        onnx_int8=_onnx_bytes(subject, "int8"),
        onnx_packed=_onnx_bytes(subject, "packed"),
    )


def _onnx_bytes(subject: Subject, profile: Profile) -> int | None:
    try:
        return subject.onnx(profile).stat().st_size
    except ConfigError:  # the engines' rows say what is missing
        return None


def bench(
    subject: Subject,
    *,
    engines: Sequence[str],
    batch: int = 1,
    threads: int = 1,
    seconds: float = 2.0,
    limit: int | None = None,
    say: Say = lambda text: None,
) -> list[Row]:
    """Measure engines on one batch, all in one run, taking turns; then their accuracy.

    An engine that is not here, or that fails, gets a row that says why; the others go on.

    Args:
        subject: the network, and what it is measured on.
        engines: names, in the order of the rows.
        batch: samples of a call, >= 1.
        threads: that each engine may use, >= 1.
        seconds: of timed calls an engine, about.
        limit: labelled samples that the accuracy is measured on; all where None.
        say: is told what is going on, before each step that may take a while.

    Raises:
        ConfigError: an unknown engine, a number out of its bounds, or labels without outputs for
            them.
        DataError: a sample is of another size than the network takes.
    """
    check_engines(engines)
    if min(batch, threads, seconds, 1 if limit is None else limit) <= 0:
        raise ConfigError(
            f"batch={batch}, threads={threads}, seconds={seconds}, limit={limit}: each must be "
            "above 0."
        )
    _check_labels(subject)
    inputs = subject.samples.first(batch)
    rows = {
        name: Row(network=subject.path.stem, engine=name, batch=batch, threads=threads)
        for name in engines
    }
    ready: dict[str, Engine] = {}
    for name in rows:
        say(f"preparing {name}")
        try:
            ready[name] = engine = make_engine(name, subject, threads=threads, batch=batch)
        except EspalierError as error:
            rows[name] = replace(rows[name], missing=str(error))
        else:
            rows[name] = replace(rows[name], file_bytes=engine.file_bytes, note=engine.note)
    for name, took in time_in_turns(ready, inputs, seconds=seconds, say=say).items():
        rows[name] = replace(rows[name], **_figures(took))
    if subject.samples.labels is not None:
        for name, engine in ready.items():
            say(f"accuracy of {name}")
            share, count = accuracy(engine, subject.samples.labelled(limit))
            rows[name] = replace(rows[name], accuracy=share, labelled=count)
    return list(rows.values())


def _check_labels(subject: Subject) -> None:
    labels, outputs = subject.samples.labels, subject.graph.output.shape
    if labels is None:
        return
    classes = int(labels.max(initial=-1)) + 1
    if len(outputs) != 1 or outputs[0] < classes:
        raise ConfigError(
            f"{subject.samples.source} has {classes} classes; the network gives {outputs}."
        )


def time_in_turns(
    engines: Mapping[str, Engine],
    inputs: Floats,
    *,
    seconds: float,
    say: Say = lambda text: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return how long calls took, in seconds, by engine.

    Engines take turns, so that whatever else goes on meets all of them; each round begins with
    another one. A turn is a call that isn't timed, which brings weights back to the caches, and
    then some that are.
    """
    took: dict[str, list[float]] = {name: [] for name in engines}
    if not engines:
        return took
    calls = {name: _calls(engine, inputs, clock) for name, engine in engines.items()}
    names, turn, begin = list(engines), 0, clock()
    say(f"timing {len(names)} engines in turns, {seconds * len(names):.0f} s")
    while turn < LEAST_TURNS or clock() - begin < seconds * len(names):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            run = engines[name].run
            run(inputs)
            for _ in range(calls[name]):
                start = clock()
                run(inputs)
                took[name].append(clock() - start)
        turn += 1
    return took


def accuracy(
    engine: Engine, batches: Iterable[tuple[Floats, NDArray[np.int64]]]
) -> tuple[float, int]:
    """Return the percent of samples that an engine classifies as labelled, and their number.

    Raises:
        ConfigError: there is no sample.
    """
    right = total = 0
    for inputs, labels in batches:
        right += int((engine.run(inputs).argmax(1) == labels).sum())
        total += len(labels)
    if not total:
        raise ConfigError("there is no labelled sample to measure the accuracy on.")
    return 100 * right / total, total


def _calls(engine: Engine, inputs: Floats, clock: Callable[[], float]) -> int:
    """Return how many calls make a turn, from the second call, when all is warm."""
    engine.run(inputs)
    start = clock()
    engine.run(inputs)
    return max(1, min(CALLS, int(TURN_S / max(clock() - start, 1e-9))))


def _figures(took: Sequence[float]) -> dict[str, Any]:
    low, middle, high = (1e3 * np.percentile(took, (LOW, 50, HIGH))).tolist()
    return {"median_ms": middle, "low_ms": low, "high_ms": high, "calls": len(took)}
