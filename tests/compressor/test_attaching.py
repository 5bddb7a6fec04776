"""What the two lines are given: mistakes are told in a line, before anything is hooked."""

import pytest
import torch

from espalier.compressor import Rule, attach, preview
from espalier.errors import ConfigError, UnsupportedOptimizerError
from espalier.ops import PruneThenQuantize

OP = PruneThenQuantize(gamma=0.5, bits=4)


@pytest.mark.parametrize("wrong", ["prune", None, PruneThenQuantize, [OP], Rule(operator=OP)])
def test_what_is_no_operator_is_told(small, wrong):
    """A name, the class itself, operators where rules belong, a rule outside of a list."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for use in (lambda: attach(model, optimizer, wrong), lambda: preview(model, wrong)):
        with pytest.raises(ConfigError, match=r"operator is .*; give one, such as .* or a list of"):
            use()
    assert not optimizer._optimizer_step_post_hooks


def test_what_is_no_optimizer_is_told(small):
    """Model and optimizer swapped, or a wrapper that torch's hooks don't reach."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UnsupportedOptimizerError, match=f"{type(model).__name__} is no torch"):
        attach(optimizer, model, OP)
    with pytest.raises(UnsupportedOptimizerError, match=r"object is no torch.optim.Optimizer"):
        attach(model, object(), OP)
