"""Compression in a user's own training loop: which parameters, which operator, hooks, reports."""

from espalier.compressor.attaching import attach
from espalier.compressor.compressor import Compressor
from espalier.compressor.group import Update
from espalier.compressor.mixed import Sensitivity, allocate_bits, bits_of, mixed_rules
from espalier.compressor.options import Cadence
from espalier.compressor.preview import LayerPreview, Preview, preview
from espalier.compressor.prices import operation_prices
from espalier.compressor.recalibrate import recalibrate
from espalier.compressor.report import LayerReport, Report
from espalier.compressor.select import Rule

__all__ = [
    "Cadence",
    "Compressor",
    "LayerPreview",
    "LayerReport",
    "Preview",
    "Report",
    "Rule",
    "Sensitivity",
    "Update",
    "allocate_bits",
    "attach",
    "bits_of",
    "mixed_rules",
    "operation_prices",
    "preview",
    "recalibrate",
]
