"""JSON that a later version, or another program, can't misread in silence."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from espalier.errors import RecordError, nearest

__all__ = ["VERSION", "canonical", "check_keys", "read_json", "require_version"]

VERSION = 1
"""Version of the records that this code writes; older ones it can read, newer ones it refuses."""


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Example:
        >>> canonical({"b": 1.0, "a": [True, None]})
        '{"a":[true,null],"b":1.0}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def require_version(data: Any, what: str) -> dict[str, Any]:
    """Return the record's keys without its version, once that is one this code can read.

    Raises:
        RecordError: not an object, no version, or a newer one.
    """
    if not isinstance(data, Mapping):
        raise RecordError(f"{what} is {type(data).__name__}; expected a JSON object.")
    version = data.get("version")
    if isinstance(version, bool) or not isinstance(version, int):
        raise RecordError(f"{what} has no version; expected 'version': {VERSION}.")
    if not 1 <= version <= VERSION:
        raise RecordError(
            f"{what} has version {version}; this Espalier reads versions up to {VERSION}. "
            "Update Espalier to read it."
        )
    return {key: value for key, value in data.items() if key != "version"}


def check_keys(
    data: Mapping[str, Any], known: Iterable[str], what: str, *, optional: Iterable[str] = ()
) -> None:
    """Refuse keys that are unknown, or missing without being optional.

    Raises:
        RecordError: names the first of them.
    """
    known = list(known)
    for key in data:
        if key not in known:
            raise RecordError(f"{what} has an unknown key '{key}'.{nearest(key, known)}")
    missing = [key for key in known if key not in data and key not in optional]
    if missing:
        raise RecordError(f"{what} lacks {', '.join(repr(key) for key in missing)}.")


def read_json(path: Path) -> Any:
    """Return the value that a JSON file holds.

    Raises:
        RecordError: the file can't be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"can't read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise RecordError(f"{path} is not JSON ({error}); it was damaged or cut off.") from error
