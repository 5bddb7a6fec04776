"""All words of the report, in English and Portuguese: one dict of texts for each language."""

from collections.abc import Mapping

from espalier.report.texts_en import ENGLISH
from espalier.report.texts_pt import PORTUGUESE

__all__ = ["LANGUAGES", "texts"]

LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": ENGLISH, "pt": PORTUGUESE}


def texts(lang: str) -> Mapping[str, str]:
    """Return a language's words by their keys.

    Example:
        >>> texts("pt")["bits"]
        'bits'
    """
    return LANGUAGES[lang]
