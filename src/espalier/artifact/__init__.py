"""The compressed file: docs/format.md in code. Needs numpy only, so that a device can read it."""

from espalier.artifact.metadata import Metadata
from espalier.artifact.payload import CoderChoice, Tensor
from espalier.artifact.reader import (
    DEFAULT_MAX_BYTES,
    Artifact,
    ArtifactFile,
    open_artifact,
    read,
)
from espalier.artifact.tensor import Compression, TensorInfo
from espalier.artifact.writer import pack, write

__all__ = [
    "DEFAULT_MAX_BYTES",
    "Artifact",
    "ArtifactFile",
    "CoderChoice",
    "Compression",
    "Metadata",
    "Tensor",
    "TensorInfo",
    "open_artifact",
    "pack",
    "read",
    "write",
]
