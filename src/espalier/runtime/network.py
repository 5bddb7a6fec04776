"""A network compiled for this machine: numpy arrays in, numpy arrays out."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise
from math import prod
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.artifact import DEFAULT_MAX_BYTES
from espalier.errors import ArtifactError, CompilerError, ConfigError
from espalier.export.c import Arithmetic, code_of
from espalier.export.graph import Argmax, Graph, Softmax
from espalier.runtime.cache import (
    Head,
    Kept,
    build,
    code_key,
    default_directory,
    file_key,
    find,
    remember,
)
from espalier.runtime.compiler import Compiler, find_compiler

__all__ = ["CompiledNetwork", "compile"]

Floats = NDArray[np.float32]
HEADS: dict[type, Head] = {Softmax: "softmax", Argmax: "argmax"}


class CompiledNetwork:
    """Runs a network; safe to call from several threads at once.

    Every call takes working memory of its own, and the interpreter's lock is free while it runs.
    """

    def __init__(self, kept: Kept, *, threads: int) -> None:
        self.input_shape = kept.input_shape
        self.output_shape = kept.output_shape
        self.head = kept.head
        """What the network ends with."""
        self.classes = kept.classes
        """Names of the outputs, empty where unknown."""
        self.threads = threads
        """Samples of a batch that run at the same time."""
        self.library = kept.library
        """The shared library's file."""
        try:
            loaded = ctypes.CDLL(str(kept.library))
        except OSError as error:
            raise CompilerError(
                f"can't load {kept.library}: {error}. Remove the file, so that it is built anew."
            ) from error
        self._run = loaded.net_run_many
        self._run.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p)
        self._run.restype = ctypes.c_int
        loaded.net_arena_bytes.restype = ctypes.c_long
        self.arena_bytes: int = loaded.net_arena_bytes()
        """Working memory of one sample."""
        self._arenas: SimpleQueue[tuple[NDArray[np.uint8], int]] = SimpleQueue()
        """Working memory that no call uses now, with its address."""
        self._pool = ThreadPoolExecutor(threads, "espalier") if threads > 1 else None

    def __call__(self, inputs: NDArray[Any]) -> Floats:
        """Run a batch.

        Args:
            inputs: (batch, *input_shape), float32, normalized as the network was trained; an empty
                batch is fine, and so is any order in memory.

        Returns:
            (batch, *output_shape), float32; each row is that of the sample alone, bit for bit.

        Raises:
            ConfigError: inputs of another shape or type.
        """
        self._check(inputs)
        inputs = np.ascontiguousarray(inputs)
        count = len(inputs)
        outputs = np.zeros((count, *self.output_shape), np.float32)
        if count <= 1 or self._pool is None:
            self._part(inputs, outputs)
            return outputs
        edges = np.linspace(0, count, min(self.threads, count) + 1).astype(int).tolist()
        parts = [slice(first, end) for first, end in pairwise(edges)]
        list(self._pool.map(lambda part: self._part(inputs[part], outputs[part]), parts))
        return outputs

    def _part(self, inputs: Floats, outputs: Floats) -> None:
        try:
            arena, address = self._arenas.get_nowait()
        except Empty:
            arena = np.zeros(self.arena_bytes, np.uint8)
            address = arena.ctypes.data
        status = self._run(inputs.ctypes.data, outputs.ctypes.data, len(inputs), address)
        self._arenas.put((arena, address))
        assert status == 0  # noqa: S101  # no pointer is null

    def _check(self, inputs: NDArray[Any]) -> None:
        wanted = f"(batch, {', '.join(map(str, self.input_shape))})"
        if not isinstance(inputs, np.ndarray):
            raise ConfigError(
                f"inputs are a {type(inputs).__name__}; the network takes a numpy array {wanted}."
            )
        if inputs.dtype != np.float32:
            raise ConfigError(
                f"inputs are {inputs.dtype}; the network takes normalized float32: "
                "images scaled to [0, 1], then normalized, then .astype(numpy.float32)."
            )
        if inputs.ndim != len(self.input_shape) + 1 or inputs.shape[1:] != self.input_shape:
            raise ConfigError(f"inputs have shape {inputs.shape}; the network takes {wanted}.")


def compile(
    source: Graph | str | Path,
    *,
    arithmetic: Arithmetic = "float",
    calibration: Floats | None = None,
    input_shape: tuple[int, ...] | None = None,
    cache_dir: str | Path | None = None,
    threads: int | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> CompiledNetwork:
    """Build a network for this machine's vector units and load it; the second time from the cache.

    A file whose content was compiled before, by the same compiler and version of this package, is
    neither decoded nor traced, and torch is not imported.

    Args:
        source: a graph, or the path of an artifact.
        arithmetic: "float", or "int": integer activations of 4 to 8 bits.
        calibration: for "int": (samples, *input shape), float32, normalized as the network wants
            its inputs; activations take their grids from it.
        input_shape: of one sample, for files that do not say it.
        cache_dir: where libraries are kept; $ESPALIER_CACHE or the platform's cache where None.
        threads: samples of a batch that run at the same time, >= 1; the cores that this process may
            use where None.
        max_bytes: cap on the decoded size of a file.

    Raises:
        CompilerError: no C compiler is found; the message says what to install.
        StorageError: the cache can't be written to.
        ConfigError: ``threads`` is less than 1, "int" without calibration, the network has a layer
            that C knows not, or a file does not say the shape of its input.
        DataError: calibration of another shape than the network's input, or not finite.
        ArtifactError: the file can't be read, or is not a whole artifact.

    Example:
        >>> from espalier.runtime import compile
        >>> network = compile("net.espalier")  # doctest: +SKIP
        >>> network(images).argmax(1)  # doctest: +SKIP
    """
    threads = _cores() if threads is None else threads
    if threads < 1:
        raise ConfigError(f"threads={threads} is less than 1; use at least 1.")
    compiler = find_compiler()
    directory = default_directory() if cache_dir is None else Path(cache_dir)
    if isinstance(source, Graph):
        kept = _of_graph(source, compiler, directory, arithmetic, calibration)
        return CompiledNetwork(kept, threads=threads)
    options = {
        "input_shape": input_shape,
        "arithmetic": arithmetic,
        "calibration": None if calibration is None else _digest(calibration),
    }
    key = file_key(_content(Path(source)), compiler, options)
    found = find(directory, key)
    if found is None:
        from espalier.export.trace import graph_of  # torch takes long to import

        graph = graph_of(source, input_shape=input_shape, max_bytes=max_bytes)
        found = _of_graph(graph, compiler, directory, arithmetic, calibration)
        remember(directory, key, found)
    return CompiledNetwork(found, threads=threads)


def _of_graph(
    graph: Graph,
    compiler: Compiler,
    directory: Path,
    arithmetic: Arithmetic,
    calibration: Floats | None,
) -> Kept:
    """Return a graph's library, built unless an earlier one is there."""
    if not prod(graph.input.shape) or not prod(graph.output.shape):
        raise ConfigError("the network has no input or no output; there is nothing to run.")
    code = code_of(graph, target=compiler.target, arithmetic=arithmetic, calibration=calibration)
    key = code_key(code, compiler)
    kept = find(directory, key)
    if kept is None:
        kept = _kept(graph, build(code, compiler, directory))
        remember(directory, key, kept)
    return _kept(graph, kept.library)


def _kept(graph: Graph, library: Path) -> Kept:
    last = graph.nodes[-1].layer if graph.nodes else None
    return Kept(
        library=library,
        input_shape=graph.input.shape,
        output_shape=graph.output.shape,
        head=HEADS.get(type(last), "logits"),
        classes=graph.classes,
    )


def _digest(calibration: Floats) -> str:
    given = np.ascontiguousarray(calibration)
    return sha256(f"{given.dtype} {given.shape}".encode() + given.tobytes()).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"can't read {path}: {error.strerror}.") from error


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
