"""``python -m espalier`` is ``espalier``."""

from espalier.cli import main

main()
