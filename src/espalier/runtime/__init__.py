"""Compile the generated C and run it: numpy arrays in, numpy arrays out."""

from espalier.runtime.network import CompiledNetwork, compile

__all__ = ["CompiledNetwork", "compile"]
