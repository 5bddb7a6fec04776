"""The file's core needs numpy only; the static coder is as good as another's."""

import subprocess
import sys

import numpy as np
import pytest

from espalier.artifact.coder import write_stream
from espalier.artifact.histogram import histogram_of
from espalier.artifact.matrix import Matrix

ALONE = """
import sys
heavy = ("torch", "safetensors", "matplotlib", "typer", "rich", "PIL", "pooch")
sys.modules.update(dict.fromkeys(heavy))  # importing any of them fails from here on
import numpy as np
from espalier import artifact
content = artifact.pack({"w": np.ones(3, np.float32)})
import io
assert artifact.ArtifactFile(io.BytesIO(content)).tensor("w").tolist() == [1, 1, 1]
"""


def test_reading_needs_numpy_only() -> None:
    """A device without torch can write and read."""
    subprocess.run([sys.executable, "-c", ALONE], check=True)


@pytest.mark.parametrize("density", [0.02, 0.2, 0.9])
def test_the_static_coder_is_as_good_as_constrictions(density: float) -> None:
    """Stream sizes of the same model, ours and that of a coder made by others, lie close."""
    constriction = pytest.importorskip("constriction", reason="constriction is not installed")
    rng = np.random.default_rng(0)
    mask = rng.random((100, 200)) < density
    codes = np.ceil(np.abs(rng.laplace(size=int(mask.sum())))).astype(np.int64)
    matrix = Matrix(
        rows=100, columns=200, kernel=(1, 1), nonzero=codes.size, offset=1, signed=False
    )
    histogram = histogram_of(mask, codes, matrix)
    ours = len(write_stream(mask, codes, matrix, histogram))
    weights = np.zeros(mask.shape, np.int64)
    weights[mask] = codes
    places = np.searchsorted(histogram.symbols, weights.ravel()).astype(np.int32)
    p = histogram.frequencies / 65_536
    model = constriction.stream.model.Categorical(p.astype(np.float64), perfect=False)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(places, model)
    theirs = 4 * len(encoder.get_compressed())
    assert abs(ours - theirs) <= 8 + 0.001 * theirs
    entropy = -float(np.sum(np.log2(p[places]))) / 8
    assert ours <= 1.001 * entropy + 5
