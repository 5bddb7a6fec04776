"""All words of the report, in English and Portuguese: one dict of texts for each language."""

import re
from collections.abc import Mapping

from espalier.report.texts_en import ENGLISH
from espalier.report.texts_pt import PORTUGUESE

__all__ = ["LANGUAGES", "spoken", "texts"]

NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)+")
"""Digits with points or commas between; not those within a name, as of layer ``features.0.1``."""
SHORT = re.compile(r"\b(?:lr|epoch)\b")
"""Words that rows use in the names of places."""
SWAPPED = str.maketrans(".,", ",.")

LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": ENGLISH, "pt": PORTUGUESE}


def texts(lang: str) -> Mapping[str, str]:
    """Return a language's words by their keys.

    Example:
        >>> texts("pt")["bits"]
        'bits'
    """
    return LANGUAGES[lang]


def spoken(text: str, words: Mapping[str, str]) -> str:
    """Return what rows say in numbers and symbols as a language writes it.

    Example:
        >>> spoken("γ 0.5 · 4 bits · lr 0.05: 1,234.5", texts("pt"))
        'γ 0,5 · 4 bits · taxa 0,05: 1.234,5'
    """
    if words["decimal"] == ",":
        text = NUMBER.sub(lambda found: found[0].translate(SWAPPED), text)
    return SHORT.sub(lambda found: words[f"short.{found[0]}"], text)
