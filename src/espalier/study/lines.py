"""Where in a TOML file a key stands: ``tomllib`` doesn't say."""

import re

__all__ = ["line_of"]

_HEADER = re.compile(r"^\s*\[{1,2}\s*([^\[\]]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[\w.-])+)\s*=""")


def line_of(text: str, table: str, key: str = "", *, nth: int = 1) -> int | None:
    r"""Return the number of a key's line, counted from 1, or of its table's header.

    Args:
        text: of the file.
        table: its name; ``""`` is the top.
        key: within the table; ``""`` asks for the header.
        nth: which of several tables of this name.

    Example:
        >>> line_of("[axes]\nbits = [4]", "axes", "bits")
        2
    """
    current, seen, header = "", 0, None
    for number, line in enumerate(text.splitlines(), start=1):
        found = _HEADER.match(line)
        if found:
            current = _bare(found[1])
            seen += current == table
            if current == table and seen == nth:
                header = number
            continue
        if not key or not (pair := _KEY.match(line)):
            continue
        name = f"{current}.{_bare(pair[1])}".lstrip(".")
        in_table = not table or seen == nth
        if in_table and name == f"{table}.{key}".lstrip("."):
            return number
    return header


def _bare(name: str) -> str:
    return re.sub(r"[\"'\s]", "", name)
