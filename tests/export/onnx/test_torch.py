"""From a PyTorch model to ONNX: the same outputs."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from espalier.export.onnx import write_onnx
from espalier.export.trace import trace
from espalier.models import build_model

SHAPES = {"paper_cnn": (3, 32, 32), "resnet20": (3, 32, 32), "modulation_cnn": (2, 128)}


@pytest.mark.parametrize("profile", ["float", "packed"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_file_computes_what_the_model_does(name: str, profile: str, tmp_path: Path) -> None:
    """Within 1e-5 of the largest output, normalization with statistics of its own included."""
    torch.manual_seed(0)
    model = build_model(name)
    inputs = torch.randn(8, *SHAPES[name])
    with torch.no_grad():
        for _ in range(3):
            model(inputs)  # so that normalization has seen something
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(parameter.abs() > parameter.std())
        expected = model.eval().double()(inputs.double()).numpy()
    path = tmp_path / "net.onnx"
    write_onnx(trace(model.float(), SHAPES[name]), path, profile=profile)  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
