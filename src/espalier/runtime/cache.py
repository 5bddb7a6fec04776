"""Compiled networks on disk, found again by what they were made of.

An entry is a small file, named by a digest of everything that decides how a library turns out: the
artifact's bytes (or the code, where a graph was given), options, the generator's own sources, the
compiler and its flags. It names a library, whose name is the digest of its content, and the shapes
of its arrays. Entries and libraries that are not what they should be count as missing.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import espalier
from espalier.errors import StorageError
from espalier.files import make_directory
from espalier.runtime.compiler import Compiler

__all__ = ["Head", "Kept", "build", "code_key", "default_directory", "file_key", "find", "remember"]

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
Head = Literal["logits", "softmax", "argmax"]
GENERATOR = ("artifact", "bridge", "export", "models", "runtime", "encoded.py")
"""What of this package decides how a library turns out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A compiled network on disk, with what a caller wants to know of it."""

    library: Path
    input_shape: tuple[int, ...]
    """Of one sample; so ``output_shape``."""
    output_shape: tuple[int, ...]
    head: Head
    """What the network ends with."""
    classes: tuple[str, ...]
    """Names of the outputs, empty where unknown."""


def default_directory() -> Path:
    """Return $ESPALIER_CACHE, else ``espalier`` in the platform's directory for caches."""
    named = os.environ.get("ESPALIER_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "espalier"


def file_key(content: bytes, compiler: Compiler, options: Mapping[str, Any]) -> str:
    """Return the key of an artifact's network.

    Args:
        content: the artifact.
        compiler: what builds it.
        options: what else decides how it turns out, values of JSON.
    """
    chosen = json.dumps(dict(options), sort_keys=True)
    return _digest(content, chosen.encode(), _generator().encode(), *_identity(compiler))


def code_key(code: Mapping[str, str], compiler: Compiler) -> str:
    """Return the key of generated code."""
    text = (part for name in sorted(code) for part in (name, code[name]))
    return _digest(*(part.encode() for part in text), HOST.encode(), *_identity(compiler))


def find(directory: Path, key: str) -> Kept | None:
    """Return what was kept under a key; None where nothing is, or it is damaged."""
    try:
        checksum, _, body = _entry(directory, key).read_text("ascii").partition("\n")
        if checksum != _digest(key.encode(), body.encode()):
            return None
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in json.loads(body).items()
        }
        kept = Kept(**known | {"library": directory / known["library"]})
        whole = kept.library.name == _library_name(kept.library.read_bytes())
    except (OSError, ValueError, KeyError, TypeError):  # an entry of another version has its own
        return None
    return kept if whole else None


def build(code: Mapping[str, str], compiler: Compiler, directory: Path) -> Path:
    """Compile code to a library in the cache and return its path.

    The file appears whole or not at all, also where two processes build it at once.

    Args:
        code: ``net.c`` and ``net.h``.
        compiler: what builds it.
        directory: of the cache.

    Raises:
        StorageError: the directory can't be written to.
        CompilerError: the code does not compile.
    """
    make_directory(directory)
    try:
        with tempfile.TemporaryDirectory(prefix=".build-", dir=directory) as place:
            source, built = Path(place) / "net.c", Path(place) / "net.so"
            source.write_text(code["net.c"] + HOST)
            source.with_name("net.h").write_text(code["net.h"])
            compiler.build_library(source, built)
            library = directory / _library_name(built.read_bytes())
            built.replace(library)
    except OSError as error:
        raise _unwritable(directory, error) from error
    return library


def remember(directory: Path, key: str, kept: Kept) -> None:
    """Write an entry, whole or not at all.

    Raises:
        StorageError: the directory can't be written to.
    """
    body = json.dumps(asdict(kept) | {"library": kept.library.name}, sort_keys=True)
    text = f"{_digest(key.encode(), body.encode())}\n{body}"
    try:
        with tempfile.TemporaryDirectory(prefix=".build-", dir=directory) as place:
            written = Path(place) / "entry"
            written.write_text(text, "ascii")
            written.replace(_entry(directory, key))
    except OSError as error:
        raise _unwritable(directory, error) from error


def _entry(directory: Path, key: str) -> Path:
    return directory / f"net-{key}.json"


def _library_name(content: bytes) -> str:
    return f"net-{_digest(content)}.so"


def _identity(compiler: Compiler) -> tuple[bytes, ...]:
    parts = (*compiler.command, *compiler.flags, compiler.identity, compiler.target)
    return tuple(part.encode() for part in parts)


def _digest(*parts: bytes) -> str:
    """Return a digest of parts; where one ends and the next begins counts too."""
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:32]


@cache
def _generator() -> str:
    """Return a digest of what makes code of a file: our sources, and torch's version."""
    root = Path(espalier.__file__).parent
    places = [root / name for name in GENERATOR]
    files = sorted(f for p in places for f in (p.rglob("*") if p.is_dir() else (p,)))
    sources = [f for f in files if f.suffix in (".py", ".json")]
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "none"
    return _digest(torch.encode(), *(part for f in sources for part in _named(f, root)))


def _named(file: Path, root: Path) -> tuple[bytes, bytes]:
    return file.relative_to(root).as_posix().encode(), file.read_bytes()


def _unwritable(directory: Path, error: OSError) -> StorageError:
    return StorageError(
        f"can't write to the cache {directory}: {error.strerror}. Name another directory by "
        "cache_dir or ESPALIER_CACHE."
    )
