"""A graph as a directory of C99 that builds anywhere."""

import contextlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from espalier.errors import ConfigError, StorageError, nearest
from espalier.export.c.files import MARK, sources
from espalier.export.c.float_numbers import FloatNumbers
from espalier.export.c.integer_numbers import IntegerNumbers, integer_target
from espalier.export.c.lower import lower
from espalier.export.c.numbers import Numbers
from espalier.export.c.packed_numbers import PackedNumbers
from espalier.export.c.targets import Target, TargetName, find_target
from espalier.export.c.weights import Optimize
from espalier.export.graph import Graph
from espalier.export.integer.plan import IntegerPlan, plan_integers

__all__ = ["Arithmetic", "code_of", "write_c"]

Arithmetic = Literal["float", "int"]


def write_c(
    graph: Graph,
    directory: str | Path,
    *,
    arithmetic: Arithmetic = "float",
    calibration: NDArray[np.float32] | None = None,
    optimize: Optimize = "speed",
    target: TargetName = "portable",
    name: str = "net",
) -> Path:
    """Write a network as C99: ``net.c``, ``net.h``, ``net_test.c`` and a Makefile.

    The code needs nothing but the compiler's headers (and ``expf`` for a softmax), takes no heap,
    works in one arena whose size ``net.h`` begins with, and keeps its weights constant, so that
    they stay in flash. Every layer skips its zeros, or doesn't, whichever is better.

    Args:
        graph: what to run.
        directory: made, or replaced where an earlier export made it; whole or not at all.
        arithmetic: "float": float32 sums, within 1e-5 of the largest output of float64. "int":
            integers of 4 to 8 bits, equal to their reference bit for bit on every machine.
        calibration: for "int": (samples, *input shape), float32, normalized, from which activations
            take their grids.
        optimize: "speed": what the measured costs of the target say is faster, for each layer.
            "size": weights packed into a byte or two each, zeros before them included, which the
            loops that sum unpack; maxima taken before values are stored.
        target: what blocks of sums are sized for; the code runs everywhere all the same. "scalar"
            for microcontrollers.
        name: of the files and functions, an identifier of C.

    Returns:
        The directory.

    Raises:
        ConfigError: an option is unknown, "int" without calibration, or the directory holds what no
            export has made.
        NonFiniteError: a value exceeds float32 on ordinary inputs or in calibration; names its
            layer.
        DataError: calibration of another shape than the network's input, or not finite.
        StorageError: the place can't be written to; an earlier export there stays as it was.
    """
    directory = Path(directory)
    _check_arithmetic(arithmetic, calibration)
    _check(optimize, "optimize", get_args(Optimize))
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigError(f"name={name!r} is no identifier of C; use letters, digits and '_'.")
    machine = find_target(target)
    _check_replaceable(directory)
    plan = None if arithmetic == "float" else plan_integers(graph, calibration)
    program = lower(graph, _numbers(plan, machine, optimize))
    _replace_directory(directory, sources(program, name, plan=plan))
    return directory


def code_of(
    graph: Graph,
    *,
    target: TargetName,
    arithmetic: Arithmetic = "float",
    calibration: NDArray[np.float32] | None = None,
    name: str = "net",
) -> dict[str, str]:
    """Return the code and header of a network for the host, by file names, made for speed."""
    _check_arithmetic(arithmetic, calibration)
    plan = None if arithmetic == "float" else plan_integers(graph, calibration)
    program = lower(graph, _numbers(plan, find_target(target), "speed"))
    return sources(program, name, plan=plan, complete=False)


def _numbers(plan: IntegerPlan | None, target: Target, optimize: Optimize) -> Numbers:
    if plan is None and optimize == "size":
        return PackedNumbers(target)
    if plan is None:
        return FloatNumbers(target)
    return IntegerNumbers(plan, integer_target(target), optimize)


def _check_arithmetic(arithmetic: str, calibration: object) -> None:
    _check(arithmetic, "arithmetic", get_args(Arithmetic))
    if arithmetic == "int" and calibration is None:
        raise ConfigError(
            "arithmetic='int' takes the ranges of activations from data: give calibration, an "
            "array (samples, *input shape) of normalized float32 inputs, some hundred of them."
        )
    if arithmetic != "int" and calibration is not None:
        raise ConfigError(f"calibration is for arithmetic='int', not {arithmetic!r}.")


def _check(asked: str, option: str, known: tuple[str, ...]) -> None:
    if asked not in known:
        raise ConfigError(
            f"{option}={asked!r} is unknown; known: {', '.join(known)}.{nearest(asked, known)}"
        )


def _check_replaceable(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ConfigError(f"{directory} is a file; C code takes a directory.")
    names = sorted(path.name for path in directory.iterdir())
    makefile = directory / "Makefile"
    if names and not (makefile.is_file() and MARK in makefile.read_text(errors="replace")):
        raise ConfigError(
            f"{directory} holds {names[0]}, which no export has made; name an empty directory."
        )


def _replace_directory(directory: Path, contents: dict[str, str]) -> None:
    """Write files beside the directory, then move them there in one piece."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    except OSError as error:
        raise StorageError(f"can't write {directory}: {error.strerror}.") from error
    old = new.with_name(f"{new.name}.old")
    try:
        new.chmod(0o755)
        for name, text in contents.items():
            (new / name).write_text(text, encoding="ascii", newline="\n")
        if directory.exists():
            directory.replace(old)
        new.replace(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            if old.exists() and not directory.exists():
                old.replace(directory)
        raise StorageError(f"can't write {directory}: {error.strerror}.") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if directory.exists():
            shutil.rmtree(old, ignore_errors=True)
