"""The page's example runs as it stands, and does what the page says."""

import re
from pathlib import Path

import torch


def test_the_page() -> None:
    """Its blocks, one after the other: fewer parameters, the same outputs, bits within the mean."""
    page = Path(__file__).parents[2] / "docs" / "structure.md"
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(block, names)
    model, small, bits = names["model"].eval(), names["small"].eval(), names["bits"]
    count = [sum(p.numel() for p in net.parameters()) for net in (model, small)]
    assert count[1] < 0.7 * count[0]
    with torch.no_grad():
        assert torch.allclose(model(names["x"]), small(names["x"]), atol=1e-4)
    sizes = {name: p.numel() for name, p in small.named_parameters() if name in bits}
    mean = sum(sizes[n] * b for n, b in bits.items()) / sum(sizes.values())
    assert 3 < mean <= 3.5
