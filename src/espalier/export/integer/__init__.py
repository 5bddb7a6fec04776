"""A network in integers: chosen from calibration data, defined to the last bit."""

from espalier.export.integer.grids import Grid
from espalier.export.integer.plan import IntegerPlan, plan_integers
from espalier.export.integer.run import run_integer, run_integer_all

__all__ = ["Grid", "IntegerPlan", "plan_integers", "run_integer", "run_integer_all"]
