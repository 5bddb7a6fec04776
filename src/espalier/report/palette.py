"""Colors: gamma as an ordered palette, cut from viridis, that color-blind people tell apart."""

__all__ = ["blend", "diverging", "gamma_colors", "ink", "sequential"]

VIRIDIS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")
COLD, PALE, WARM = "#2166ac", "#f4f4f2", "#b2541b"
"""Below, at and above 0."""


def gamma_colors(count: int, *, dark: bool) -> list[str]:
    """Return a color for each gamma, from weak to strong, for a light or a dark page."""
    first, last = (0.3, 1.0) if dark else (0.0, 0.8)
    return [_viridis(first + (last - first) * i / max(1, count - 1)) for i in range(count)]


def sequential(share: float) -> str:
    """Return the color of a value's place in its range, 0 to 1: the larger the darker.

    Example:
        >>> sequential(1.0)
        '#440154'
    """
    return _viridis(0.95 * (1 - share))


def diverging(share: float) -> str:
    """Return the color of a difference, -1 to 1."""
    return blend(PALE, WARM if share > 0 else COLD, min(1.0, abs(share)))


def ink(color: str) -> str:
    """Return black or white, what is read better on a color."""
    red, green, blue = _channels(color)
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else "#111111"


def blend(one: str, other: str, share: float) -> str:
    """Return a color between two.

    Example:
        >>> blend("#000000", "#ffffff", 0.5)
        '#808080'
    """
    pairs = zip(_channels(one), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _viridis(at: float) -> str:
    place = at * (len(VIRIDIS) - 1)
    first = min(int(place), len(VIRIDIS) - 2)
    return blend(VIRIDIS[first], VIRIDIS[first + 1], place - first)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
