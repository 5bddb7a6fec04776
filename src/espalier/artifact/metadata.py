"""What a file says about its network: canonical JSON, read strictly. Data to show, never to run."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from espalier.errors import ArtifactMetadataError, nearest

__all__ = ["MAX_METADATA_BYTES", "Metadata"]

MAX_METADATA_BYTES = 65_536
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Everything about a network but its tensors. All values are those of JSON.

    Raises:
        ArtifactMetadataError: a value is of another type than its field says, or not JSON.

    Example:
        >>> Metadata.from_bytes(Metadata(classes=("cat", "dog")).to_bytes()).classes
        ('cat', 'dog')
    """

    network: Mapping[str, Any] | None = None
    """``{"name": text, "options": object}``: the function that builds it and its keywords."""
    folded: tuple[str, ...] = ()
    """Batch normalizations whose statistics are folded into their scale and shift."""
    operator: Mapping[str, Any] | None = None
    """How the weights were compressed."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What the writer measured, numbers and texts."""
    input: Mapping[str, Any] | None = None
    """``{"shape", "type", "scale", "mean", "std"}``: ``(sample / scale - mean) / std``."""
    classes: tuple[str, ...] = ()
    """Names of the outputs."""
    writer: str = ""
    """The program and its version."""

    def __post_init__(self) -> None:
        """Check types; arrays become tuples."""
        for name in ("folded", "classes"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
                raise _wrong(name, value, "a list of texts")
            object.__setattr__(self, name, tuple(value))
        if not isinstance(self.writer, str):
            raise _wrong("writer", self.writer, "a text")
        if not _is_object(self.metrics):
            raise _wrong("metrics", self.metrics, "an object")
        if self.operator is not None and not _is_object(self.operator):
            raise _wrong("operator", self.operator, "an object or null")
        _check_network(self.network)
        _check_input(self.input)

    def to_bytes(self) -> bytes:
        """Return canonical JSON.

        Raises:
            ArtifactMetadataError: it holds what JSON can't, or is too long.
        """
        try:
            text = _canonical({f.name: getattr(self, f.name) for f in fields(self)})
        except (TypeError, ValueError, RecursionError) as error:
            raise ArtifactMetadataError(f"metadata can't be JSON: {error}") from error
        content = text.encode("ascii")
        if len(content) > MAX_METADATA_BYTES:
            raise ArtifactMetadataError(
                f"metadata take {len(content)} bytes; at most {MAX_METADATA_BYTES} fit."
            )
        Metadata.from_bytes(content)  # what a reader would refuse is refused here
        return content

    @classmethod
    def from_bytes(cls, content: bytes, *, offset: int = 0) -> "Metadata":
        """Read what :meth:`to_bytes` gave.

        Args:
            content: of the section.
            offset: of its first byte in the file, for messages.

        Raises:
            ArtifactMetadataError: not JSON, not canonical, or other keys or types.
        """
        if len(content) > MAX_METADATA_BYTES:
            raise ArtifactMetadataError(
                f"metadata take {len(content)} bytes; at most {MAX_METADATA_BYTES} are allowed",
                offset=offset,
            )
        try:
            value = _parse(content)
            known = [f.name for f in fields(cls)]
            for key in value:
                if key not in known:
                    raise ValueError(f"unknown key {key!r}{nearest(key, known)}")
            for key in known:
                if key not in value:
                    raise ValueError(f"no key {key!r}")
            return cls(**value)
        except (ValueError, RecursionError) as error:
            raise ArtifactMetadataError(f"metadata: {error}", offset=offset) from error


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _parse(content: bytes) -> dict[str, Any]:
    """Return the object that canonical JSON spells."""
    text = content.decode("ascii")
    if _depth(text) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, found {type(value).__name__}")
    if _canonical(value) != text:
        raise ValueError("the JSON is not in canonical form")
    _no_surrogates(value)
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"duplicate key {key!r}")
        found[key] = value
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _no_surrogates(value: Any) -> None:
    """Refuse texts that no encoding can print."""
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, list):
        for item in value:
            _no_surrogates(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode("utf-8")
            _no_surrogates(item)


def _depth(text: str) -> int:
    """Return an upper bound of the nesting; brackets in texts count too."""
    deepest = depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_network(network: Any) -> None:
    if network is None:
        return
    fits = (
        _is_object(network)
        and set(network) == {"name", "options"}
        and isinstance(network["name"], str)
        and _is_object(network["options"])
    )
    if not fits:
        raise _wrong("network", network, 'null or {"name": text, "options": object}')


def _check_input(given: Any) -> None:
    if given is None:
        return
    fits = _is_object(given) and set(given) == {"shape", "type", "scale", "mean", "std"}
    fits = fits and given["type"] in ("uint8", "float32")
    fits = fits and _is_number(given["scale"]) and given["scale"] > 0
    for name in ("shape", "mean", "std"):
        fits = fits and isinstance(given[name], list | tuple) and all(map(_is_number, given[name]))
    fits = fits and all(isinstance(n, int) and 1 <= n < 2**31 for n in given["shape"])
    fits = fits and all(s > 0 for s in given["std"]) and len(given["shape"]) >= 1
    if not fits or not len(given["mean"]) == len(given["std"]) == given["shape"][0]:
        raise _wrong(
            "input",
            given,
            'null or {"shape", "type", "scale", "mean", "std"}, with a mean and a std a channel',
        )


def _wrong(name: str, value: Any, expected: str) -> ArtifactMetadataError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return ArtifactMetadataError(f"metadata: {name} is {shown}; expected {expected}")
