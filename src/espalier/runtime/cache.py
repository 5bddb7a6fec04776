"""Compiled libraries on disk, found again by what they were made of."""

import os
import tempfile
from hashlib import sha256
from pathlib import Path

from espalier.errors import StorageError
from espalier.files import make_directory
from espalier.runtime.compiler import Compiler

__all__ = ["default_directory", "library_of"]

HOST = """
int net_run_many(const float *inputs, float *outputs, long count, void *arena);
long net_arena_bytes(void);

int net_run_many(const float *inputs, float *outputs, long count, void *arena)
{
    for (long i = 0; i < count; i++)
        if (net_run(inputs + i * NET_INPUT_SIZE, outputs + i * NET_OUTPUT_SIZE, arena) != 0)
            return 1;
    return 0;
}

long net_arena_bytes(void)
{
    return NET_ARENA_BYTES;
}
"""
"""What the host adds to a network: many samples in one call."""


def default_directory() -> Path:
    """Return $ESPALIER_CACHE, else ``espalier`` in the platform's directory for caches."""
    named = os.environ.get("ESPALIER_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "espalier"


def library_of(code: dict[str, str], compiler: Compiler, directory: Path) -> Path:
    """Return the library of some code, built unless an earlier one is there.

    The file appears whole or not at all, also where two processes build it at once.

    Args:
        code: ``net.c`` and ``net.h``.
        compiler: what builds it.
        directory: of the cache.

    Raises:
        StorageError: the directory can't be written to.
        CompilerError: the code does not compile.
    """
    text = code["net.c"] + HOST
    identity = "\0".join((text, code["net.h"], compiler.identity, *compiler.flags))
    library = directory / f"net-{sha256(identity.encode()).hexdigest()[:32]}.so"
    if library.is_file():
        return library
    make_directory(directory)
    try:
        with tempfile.TemporaryDirectory(prefix=".build-", dir=directory) as place:
            source = Path(place) / "net.c"
            source.write_text(text)
            source.with_name("net.h").write_text(code["net.h"])
            built = source.with_name("net.so")
            compiler.build_library(source, built)
            built.replace(library)
    except OSError as error:
        raise StorageError(
            f"can't write to the cache {directory}: {error.strerror}. Name another directory by "
            "cache_dir or ESPALIER_CACHE."
        ) from error
    return library
