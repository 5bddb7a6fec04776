"""What runs a network: what a user would pick, and what is compiled here, behind one call."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from espalier.artifact import DEFAULT_MAX_BYTES, Metadata, open_artifact
from espalier.errors import ConfigError, ExportError, StorageError, nearest
from espalier.export.graph import Graph
from espalier.export.onnx import Profile, write_onnx
from espalier.export.onnx.builder import require
from espalier.runtime.network import compile
from espalier.runtime.samples import Samples

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "DEFAULT_ENGINES",
    "ENGINES",
    "Engine",
    "Subject",
    "check_engines",
    "make_engine",
    "open_subject",
]

Floats = NDArray[np.float32]
Run = Callable[[Floats], NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Subject:
    """A network in the forms that engines take."""

    path: Path
    """Of the artifact."""
    metadata: Metadata
    graph: Graph
    model: "nn.Module"
    float32_bytes: int
    """What all values of the artifact take as float32."""
    samples: Samples
    """What it is measured on; integer engines take their ranges from those for calibration."""
    folder: Path
    """For the files that engines open."""
    _written: dict[Profile, Path] = field(default_factory=dict, init=False, repr=False)

    def onnx(self, profile: Profile) -> Path:
        """Return the network as an ONNX file, written when it is asked for.

        Raises:
            ConfigError: the extra ``onnx`` is not installed.
        """
        if profile not in self._written:
            path = self.folder / f"{profile}.onnx"
            calibration = self.samples.calibration if profile == "int8" else None
            write_onnx(self.graph, path, profile=profile, calibration=calibration)
            self._written[profile] = path
        return self._written[profile]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Engine:
    """One way of running a network."""

    name: str
    run: Run
    """(batch, *input shape) float32, normalized -> (batch, outputs)."""
    file_bytes: int
    """What travels to whoever runs it, without the runtime."""
    note: str = ""
    """What must be known to read its numbers."""


def open_subject(
    path: Path,
    folder: Path,
    *,
    model: "nn.Module | None" = None,
    input_shape: tuple[int, ...] | None = None,
    samples: Callable[[Metadata, tuple[int, ...]], Samples],
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Subject:
    """Open a network for engines.

    Args:
        path: of the artifact.
        folder: for the files that engines open.
        model: what to fill, where the file's name does not build it.
        input_shape: of one sample, for files that do not say it.
        samples: finds what to measure on, by what the file says and the shape of an input.
        max_bytes: cap on the decoded size.

    Raises:
        ArtifactError: the file is damaged or larger than the cap.
        ConfigError: the network can't be built, or the file does not say the shape of its input.
        ExportError: an operator that no target knows.
    """
    from espalier.bridge import load
    from espalier.export.trace import graph_of

    with open_artifact(path, max_bytes=max_bytes) as opened:
        metadata = opened.metadata
        values = sum(info.size for info in opened.infos.values())
    network = load(path, model, max_bytes=max_bytes)
    shape = input_shape if metadata.input is None else tuple(metadata.input["shape"])
    found = None if shape is None else samples(metadata, shape)  # a trace takes seconds: before it
    graph = graph_of(path, network, input_shape=input_shape, max_bytes=max_bytes)
    assert found is not None  # noqa: S101  # without a shape there is no graph
    return Subject(
        path=path,
        metadata=metadata,
        graph=graph,
        model=network,
        float32_bytes=4 * values,
        samples=found,
        folder=folder,
    )


def make_engine(name: str, subject: Subject, *, threads: int, batch: int) -> Engine:
    """Return an engine, ready to run.

    Args:
        name: one of :data:`ENGINES`.
        subject: the network.
        threads: that it may use, >= 1.
        batch: samples that it is timed with; what compiles for a size compiles for this one.

    Raises:
        EspalierError: what it needs is not here; the message says what installs it.
    """
    check_engines([name])
    return ENGINES[name](subject, threads, batch)


def check_engines(names: Sequence[str]) -> None:
    """Check names of engines.

    Raises:
        ConfigError: there is no engine of such a name, or none at all is asked for.
    """
    if not names:
        raise ConfigError(f"no engine is asked for; there are {', '.join(ENGINES)}.")
    for name in names:
        if name not in ENGINES:
            raise ConfigError(
                f"no engine '{name}'; there are {', '.join(ENGINES)}.{nearest(name, ENGINES)}"
            )


def _torch(subject: Subject, threads: int, batch: int) -> Engine:
    return Engine(
        name="torch",
        run=_by_torch(subject.model, threads),
        file_bytes=subject.float32_bytes,
        note="float32 weights",
    )


def _torch_compile(subject: Subject, threads: int, batch: int) -> Engine:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what its compiler thinks of torch itself
            run = _by_torch(torch.compile(subject.model, dynamic=False), threads)
            run(np.zeros((batch, *subject.graph.input.shape), np.float32))
    except Exception as error:  # whatever its compilers say
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"torch.compile does not work here; it needs a C++ compiler, such as `apt install "
            f"g++`: {words}"
        ) from error
    return Engine(
        name="torch-compile",
        run=run,
        file_bytes=subject.float32_bytes,
        note="float32 weights",
    )


def _by_torch(model: "Callable[..., Any]", threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)

    def run(inputs: Floats) -> NDArray[Any]:
        with torch.inference_mode():
            outputs: NDArray[Any] = model(torch.from_numpy(inputs)).numpy()
        return outputs

    return run


def _ort_float(subject: Subject, threads: int, batch: int) -> Engine:
    return _ort("ort-fp32", subject, "float", threads)


def _ort_int8(subject: Subject, threads: int, batch: int) -> Engine:
    note = f"off the trained grid; calibrated on {subject.samples.calibration_source}"
    return _ort("ort-int8", subject, "int8", threads, note)


def _ort(name: str, subject: Subject, profile: Profile, threads: int, note: str = "") -> Engine:
    runtime = require("onnxruntime")
    path = subject.onnx(profile)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait by spinning would take the cores from the engine whose turn is next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each of its errors is a class of its own
        raise ExportError(f"ONNX Runtime can't open the profile '{profile}': {error}") from error
    source = subject.graph.input.name

    def run(inputs: Floats) -> NDArray[Any]:
        (outputs,) = session.run(None, {source: inputs})
        found: NDArray[Any] = outputs
        return found

    return Engine(name=name, run=run, file_bytes=path.stat().st_size, note=note)


def _espalier_float(subject: Subject, threads: int, batch: int) -> Engine:
    return Engine(
        name="espalier-float",
        run=compile(subject.graph, threads=threads),
        file_bytes=_size(subject.path),
    )


def _espalier_int(subject: Subject, threads: int, batch: int) -> Engine:
    network = compile(
        subject.graph, arithmetic="int", calibration=subject.samples.calibration, threads=threads
    )
    return Engine(
        name="espalier-int",
        run=network,
        file_bytes=_size(subject.path),
        note=f"on the trained grid; calibrated on {subject.samples.calibration_source}",
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror}.") from error


ENGINES: Mapping[str, Callable[[Subject, int, int], Engine]] = {
    "torch": _torch,
    "torch-compile": _torch_compile,
    "ort-fp32": _ort_float,
    "ort-int8": _ort_int8,
    "espalier-float": _espalier_float,
    "espalier-int": _espalier_int,
}
"""Every engine: its name and what makes it of a network, for so many threads and a batch."""
DEFAULT_ENGINES = tuple(name for name in ENGINES if name != "torch-compile")
"""Those that are ready within seconds."""
