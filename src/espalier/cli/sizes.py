"""Sizes as people write them: ``48kB``."""

import re

from espalier.errors import ConfigError

__all__ = ["parse_size", "size_text"]

UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1_000_000, "gb": 1_000_000_000}
FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str, *, option: str) -> int:
    """Return bytes; 1 kB is 1000 bytes.

    Args:
        text: a number with or without a unit: B, kB, MB, GB.
        option: that it was given to, for the message.

    Raises:
        ConfigError: no such form, or less than a byte.

    Example:
        >>> parse_size("48kB", option="--max-bytes"), parse_size("1.5 MB", option="--max-bytes")
        (48000, 1500000)
    """
    found = FORM.fullmatch(text)
    unit = None if found is None else UNITS.get(found[2].lower())
    size = 0 if found is None or unit is None else int(float(found[1]) * unit)
    if size < 1:
        raise ConfigError(
            f"{option} {text}: expected a size such as 48kB, 48000 or 1.5MB; 1 kB is 1000 bytes."
        )
    return size


def size_text(size_bytes: int) -> str:
    """Return bytes as people read them.

    Example:
        >>> size_text(812), size_text(48_000), size_text(8_318_280)
        ('812 B', '48.0 kB', '8318.3 kB')
    """
    return f"{size_bytes} B" if size_bytes < 1000 else f"{size_bytes / 1000:.1f} kB"
