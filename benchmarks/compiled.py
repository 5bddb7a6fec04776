"""Times that a C program takes and prints: built with the host runtime's compiler and flags."""

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from espalier.runtime.compiler import Compiler

__all__ = ["times_of"]

CLOCK = """
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <stdio.h>
#include <time.h>
static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
"""


def times_of(
    text: str, words: Mapping[str, object], compiler: Compiler, flags: Sequence[str] = ()
) -> list[float]:
    """Build and run a program, and return the numbers that it prints.

    Args:
        text: the program; it has ``seconds()``, and ``@NAME@`` stands for the word of that name.
        words: by name.
        compiler: of the host.
        flags: beside the compiler's own.
    """
    for name, word in words.items():
        text = text.replace(f"@{name}@", str(word))
    own = [flag for flag in compiler.flags if flag not in ("-shared", "-fPIC")]
    with tempfile.TemporaryDirectory() as place:
        source, program = Path(place) / "times.c", Path(place) / "times"
        source.write_text(CLOCK + text)
        subprocess.run([*compiler.command, *own, *flags, source, "-o", program], check=True)
        done = subprocess.run([program], capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]
