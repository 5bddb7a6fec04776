"""Smoke test of an installed wheel: the README's two lines, with and without the compiled core."""

import os

import torch

import espalier
from espalier.core import core

if os.environ.get("ESPALIER_NO_CORE"):
    assert core is None
else:
    assert core is not None, "the wheel was built without its compiled core"

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
compressor = espalier.attach(model, optimizer, espalier.PruneThenQuantize(gamma=0.375, bits=8))
for _ in range(10):
    optimizer.zero_grad()
    model(torch.randn(16, 64)).square().mean().backward()
    optimizer.step()
report = compressor.report()
assert 0 < report.density_nonzero <= report.density_mask < 1
for name, encoded in compressor.encoded().items():
    weights = dict(model.named_parameters())[name].detach().numpy()
    assert (espalier.decode(encoded) == weights).all()
print(report)
