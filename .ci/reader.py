"""Read files where numpy is all there is, as a device would: each hex file named on the line."""

import importlib.util
import sys
import tempfile
from pathlib import Path

import espalier.artifact

assert importlib.util.find_spec("torch") is None, "this check is for a place without torch"
with tempfile.TemporaryDirectory() as folder:
    for name in sys.argv[1:]:
        path = Path(folder, "net.espalier")
        path.write_bytes(bytes.fromhex(Path(name).read_text()))
        print(Path(name).stem, list(espalier.artifact.read(path).tensors))
