"""The system's C compiler: which one, with which flags, for which vector units."""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from espalier.errors import CompilerError
from espalier.export.c import TargetName

__all__ = ["Compiler", "find_compiler"]

NATIVE = (("-march=native",), ("-mcpu=native",), ())
"""How compilers name the machine they run on; the last one is for those that don't."""
MACROS: tuple[tuple[str, TargetName], ...] = (
    ("__AVX512F__", "avx512"),
    ("__AVX2__", "avx2"),
    ("__SSE2__", "sse"),
    ("__ARM_NEON", "neon"),
)
SHOWN = 15
"""Lines of a compiler's complaint in an error."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler that works, and what it builds for."""

    command: tuple[str, ...]
    flags: tuple[str, ...]
    identity: str
    """Its version and all macros of the machine: what a cached library depends on."""
    target: TargetName

    def build_library(self, source: Path, library: Path) -> None:
        """Compile a file to a shared library.

        Raises:
            CompilerError: it does not compile.
        """
        output = ("-o", str(library), str(source), "-lm")
        done = _run((*self.command, *self.flags, *output))
        if done.returncode != 0:
            shown = "\n".join(done.stderr.strip().splitlines()[:SHOWN])
            raise CompilerError(f"{shlex.join(self.command)} can't compile {source}:\n{shown}")


def find_compiler() -> Compiler:
    """Return the first that works of $CC, cc, gcc, clang, and zig from the package ``ziglang``.

    Raises:
        CompilerError: there is none, or $CC names one that does not work.
    """
    return _find(os.environ.get("CC", ""), os.environ.get("PATH", ""))


@cache
def _find(asked: str, path: str) -> Compiler:
    if asked.strip():
        compiler = _probe(tuple(shlex.split(asked)), path)
        if compiler is None:
            raise CompilerError(
                f"CC={asked!r} does not work as a C compiler; set CC to one, or unset it."
            )
        return compiler
    candidates = [("cc",), ("gcc",), ("clang",)]
    if find_spec("ziglang") is not None:
        candidates.append((sys.executable, "-m", "ziglang", "cc"))  # type: ignore[arg-type]
    for command in candidates:
        compiler = _probe(command, path)
        if compiler is not None:
            return compiler
    raise CompilerError(
        "no C compiler found: tried cc, gcc, clang and the package ziglang. Install one, such as "
        "`apt install gcc` or `pip install ziglang`, or set CC."
    )


def _probe(command: tuple[str, ...], path: str) -> Compiler | None:
    """Ask a compiler for its version and macros; None where it does not answer."""
    if shutil.which(command[0], path=path) is None:
        return None
    for native in NATIVE:
        done = _run((*command, *native, "-dM", "-E", "-x", "c", os.devnull))
        if done.returncode == 0 and "#define" in done.stdout:
            break
    else:
        return None
    version = _run((*command, "--version"))
    macros = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("#define")}
    target: TargetName = next((name for macro, name in MACROS if macro in macros), "portable")
    shared = ("-dynamiclib",) if sys.platform == "darwin" else ("-shared",)
    fast = ("-std=c99", "-O3", "-ffp-contract=fast", "-fPIC")
    return Compiler(
        command=command,
        flags=(*fast, *native, *shared),
        identity=version.stdout + done.stdout,
        target=target,
    )


def _run(command: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603  # the user's own compiler
            command, capture_output=True, text=True, check=False, errors="replace"
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
