"""Files that stay whole: :mod:`espalier.files`, which needs no torch."""

from espalier.files import append_line, exclusive, make_directory, write_atomically

__all__ = ["append_line", "exclusive", "make_directory", "write_atomically"]
