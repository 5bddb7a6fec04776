"""Digital modulation classification: generated IQ signals, deterministic by seed.

From symbols to samples: ``pulses`` -> ``signals`` (what a transmitter sends) -> ``impairments``
(what happens on the way) -> ``dataset``.
"""

from espalier.data.modulation.dataset import modulation, received
from espalier.data.modulation.signals import MODULATIONS

__all__ = ["MODULATIONS", "modulation", "received"]
