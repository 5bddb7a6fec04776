"""A network as an ONNX file that stock runtimes open: plain, integer, or self-extracting."""

from espalier.export.onnx.write import Profile, write_onnx

__all__ = ["Profile", "write_onnx"]
